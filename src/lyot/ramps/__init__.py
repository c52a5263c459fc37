"""Stage 1 on arrays: flags, corrections, jumps, slopes, and the engine that streams an exposure through them."""

from pathlib import Path

import lazy_loader

from lyot import kernel_cache

kernel_cache.refresh(Path(__file__).parent)

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dq_init": ["initialize_flags"],
        "saturation": ["SaturationParams", "flag_saturation"],
        "firstlast": ["flag_first_group", "flag_last_group"],
        "reset": ["subtract_reset"],
        "linearity": ["linearize"],
        "rscd": ["flag_rscd"],
        "dark": ["match_dark", "subtract_dark"],
        "jump": ["JumpResult", "detect_jumps"],
        "jump_params": ["JumpParams"],
        "ramp_fit": ["RampFitParams", "fit_ramps"],
        "slopes": ["GroupTimes", "RampFitResult", "SlopeImage"],
        "gain_scale": ["scale_slopes"],
        "engine": ["StreamParams", "StreamResult", "process_exposure"],
    },
)
