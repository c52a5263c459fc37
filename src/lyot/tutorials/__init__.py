"""Helpers of the notebooks and the demo: inputs, folders, figures, small tables."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "notebook": ["Demo", "open_demo"],
        "data": ["get_inputs"],
    },
)
