"""CRDS: selection, location and availability of the calibration reference files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "calibration": ["Calibration", "choose_calibration"],
        "environment": ["CrdsEnvironment", "resolve_crds"],
        "prefetch": ["Prefetched", "prefetch"],
    },
)
