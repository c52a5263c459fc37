"""Whole reductions on arrays: the injector, the second pass, choices made from the data, the star's position."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "injector": ["injector_of", "off_axis_source", "reference_residuals"],
        "second_pass": ["RefineParams", "Refined", "refine"],
        "choice": ["ChoiceParams", "choose_parameters", "reject"],
        "star": ["StarPosition", "StarPositionParams", "fit_sequence"],
    },
)
