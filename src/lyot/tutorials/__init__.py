"""Helpers of the notebooks and the demo: inputs, folders, figures, small tables."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "notebook": [
            "Demo",
            "difference_table",
            "exposure_table",
            "flag_table",
            "log_lines",
            "log_to",
            "open_demo",
            "parameter_table",
            "reference_table",
            "show_progress",
            "use_style",
        ],
        "data": ["get_inputs", "has_network"],
    },
)
