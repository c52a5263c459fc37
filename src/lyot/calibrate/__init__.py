"""Stage 2 on arrays: background and glow sticks, bad pixels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "background": ["BackgroundParams", "BackgroundResult", "subtract_background"],
        "background_combine": ["BackgroundExposure"],
        "bad_pixels": ["BadPixelParams", "BadPixels", "find_bad_pixels", "repair"],
        "glow_sticks": ["glow_excess", "glow_strips", "glow_template"],
    },
)
