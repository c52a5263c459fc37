"""Exposures: headers (read once into an `Exposure`), roles, names of products, associations."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "exposure": ["Exposure"],
        "read": ["find_exposures", "read_exposure"],
        "roles": ["Assigned", "Role", "advice", "sort_roles", "with_role"],
        "associations": ["level2", "level3"],
    },
)
