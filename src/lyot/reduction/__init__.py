"""Complete reductions on arrays: injections, second pass, data-driven choices, position of the star."""

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
