"""What was made from what, and whether it is still true: the manifest of a run, and freshness."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "manifest": ["Manifest", "Product", "Record"],
        "freshness": ["is_current", "outdated"],
    },
)
