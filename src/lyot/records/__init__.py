"""The manifest of a run: what each product was made from, and whether it is up to date."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "manifest": ["Manifest", "Product", "Record"],
        "freshness": ["is_current", "outdated"],
    },
)
