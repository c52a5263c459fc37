"""CRDS: which calibration references are used, where they come from, and that they are there."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "calibration": ["Calibration", "choose_calibration"],
        "environment": ["CrdsEnvironment", "resolve_crds"],
        "prefetch": ["Prefetched", "prefetch"],
    },
)
