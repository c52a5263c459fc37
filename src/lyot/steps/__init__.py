"""Steps and pipelines for stpipe that replace those of `jwst`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "detector1": ["Detector1Pipeline"],
        "image2": ["Image2Pipeline"],
        "coron3": ["Coron3Pipeline"],
        "stage1_slopes": ["JumpStep", "RampFitStep"],
        "stage2_background": ["BackgroundStep"],
        "stage2_bad_pixels": ["BadPixelStep"],
        "stage3_refs": ["AlignRefsStep", "StackRefsStep"],
        "stage3_star": ["LocateStarStep"],
        "stage3_klip": ["KlipStep"],
        "stage3_combine": ["CombineStep"],
        "stage3_refine": ["RefineStep"],
        "stage1_corrections": [
            "DQInitStep",
            "DarkCurrentStep",
            "FirstFrameStep",
            "GainScaleStep",
            "LastFrameStep",
            "LinearityStep",
            "RefPixStep",
            "ResetStep",
            "RscdStep",
            "SaturationStep",
        ],
        "stage3_plan": ["reduction_plan"],
    },
)
