"""Fit of the optics to images of a star behind a four-quadrant mask."""

from lyot.optics.fitting.joint import (
    CompanionFrame,
    Misfit,
    OpticsFit,
    OpticsFitParams,
    StarFrames,
    fit_optics,
)

__all__ = ["CompanionFrame", "Misfit", "OpticsFit", "OpticsFitParams", "StarFrames", "fit_optics"]
