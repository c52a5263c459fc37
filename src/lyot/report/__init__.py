"""Figures and the HTML report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "page": ["write_report"],
        "products": ["read_cube", "read_product", "view_of"],
    },
)
