"""Errors that do not average down, listed one by one, and their sum with the statistical ones.

The defaults are what is known of MIRI's coronagraphs in flight; each can be replaced by the user's number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lyot.measure.companion import Companion
from lyot.measure.photometry import Star
from lyot.params import param

STAR_CENTER = 0.007
"""Error of the star's position behind the mask where nobody tells it, arcsec per axis."""


@dataclass(frozen=True)
class SystematicParams:
    """Systematic errors, one sigma."""

    flux_calibration: float = param(0.03, help="absolute flux calibration, relative", min=0.0)
    throughput: float = param(0.03, help="model of mask and Lyot stop: light of an off-axis source, relative", min=0.0)
    star_center: float | None = param(
        None,
        help="position of the star behind the mask, per axis; none: as the product's headers say (STARERRX, STARERRY), "
        "else 0.007",
        unit="arcsec",
        min=0.0,
    )
    plate_scale: float = param(0.001, help="plate scale with distortion, relative", min=0.0)
    north: float = param(0.06, help="orientation of the detector on the sky", unit="deg", min=0.0)


@dataclass(frozen=True)
class ErrorTerm:
    """One contribution to the errors of a companion, one sigma.

    Attributes
    ----------
    name : str
    flux : float
        Relative error of the absolute flux.
    contrast : float
        Relative error of the contrast.
    separation : float
        arcsec.
    position_angle : float
        Degrees.
    """

    name: str
    flux: float = 0.0
    contrast: float = 0.0
    separation: float = 0.0
    position_angle: float = 0.0


def error_budget(companion: Companion, star: Star, params: SystematicParams | None = None) -> tuple[ErrorTerm, ...]:
    """List the errors of a companion, the statistical ones first and the total (in quadrature) last.

    The absolute flux does not depend on the star's flux. The contrast carries the flux calibration as well, as the
    star's flux is taken from elsewhere and not measured through the same mask.

    Parameters
    ----------
    companion : Companion
    star : Star
    params : SystematicParams, optional

    Returns
    -------
    tuple of ErrorTerm
        One sigma each; the total is the last.
    """
    p = params or SystematicParams()
    relative = companion.flux_error / abs(companion.flux)
    separation = companion.separation
    star_center = STAR_CENTER if p.star_center is None else p.star_center
    lost = float(np.hypot(*companion.throughput_gradient)) * star_center
    turned = float(np.degrees(star_center / separation))
    star_error = star.error / star.flux if np.isfinite(star.flux) else 0.0
    terms = (
        ErrorTerm("statistical", relative, relative, companion.separation_error, companion.position_angle_error),
        ErrorTerm("flux calibration", flux=p.flux_calibration, contrast=p.flux_calibration),
        ErrorTerm("throughput model", flux=p.throughput, contrast=p.throughput),
        ErrorTerm("star centre", lost, lost, star_center, turned),
        ErrorTerm("star flux", contrast=star_error),
        ErrorTerm("plate scale", separation=p.plate_scale * separation),
        ErrorTerm("north", position_angle=p.north),
    )
    total = {
        name: float(np.sqrt(sum(getattr(t, name) ** 2 for t in terms)))
        for name in ("flux", "contrast", "separation", "position_angle")
    }
    return (*terms, ErrorTerm("total", **total))
