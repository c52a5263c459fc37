"""Systematic errors, listed one by one, and their sum with the statistical errors.

The defaults are what is known of MIRI's coronagraphs in flight; each can be replaced by the user's number. Two terms
depend on the companion: the model of the mask is uncertain where the mask takes light, and a source that does not look
like its model has a flux that depends on how it is compared to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lyot.measure.companion import Companion
from lyot.measure.photometry import Star
from lyot.params import param

STAR_CENTER = 0.007
"""Error of the star's position behind the mask where nobody tells it, arcsec per axis."""

STAR_TERM = "star flux"
"""Name of the error of the contrast that comes from the flux of the star."""


@dataclass(frozen=True)
class SystematicParams:
    """Systematic errors, one sigma.

    Examples
    --------
    >>> from lyot.measure import SystematicParams
    >>> SystematicParams(flux_calibration=0.05).flux_calibration
    0.05
    """

    flux_calibration: float = param(0.03, help="relative error of the absolute flux calibration", min=0.0)
    throughput: float = param(
        0.03, help="relative error of the throughput of mask and Lyot stop for an off-axis source", min=0.0
    )
    mask: float = param(
        0.08,
        help="additional throughput error where the mask attenuates, relative to the open field: this value times "
        "the square root of the attenuated fraction",
        min=0.0,
    )
    mask_position: float = param(
        0.02,
        help="position error per axis where the mask attenuates: this value times the square root of the attenuated "
        "fraction",
        unit="lambda/D",
        min=0.0,
    )
    star_center: float | None = param(
        None,
        help="error of the star position behind the mask, per axis; none: from STARERRX and STARERRY of the product, "
        "otherwise 0.007",
        unit="arcsec",
        min=0.0,
    )
    plate_scale: float = param(0.001, help="relative error of the plate scale, including distortion", min=0.0)
    north: float = param(0.06, help="error of the orientation of the detector on the sky", unit="deg", min=0.0)


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


def throughput_error(kept: float, params: SystematicParams) -> float:
    """Relative error of the throughput model where the mask leaves a part of the light.

    Parameters
    ----------
    kept : float
        Light of a source there over that of one in the open field, 0 to 1.
    params : SystematicParams

    Returns
    -------
    float
        ``throughput`` in the open field. Where the mask takes light, ``mask * sqrt(1 - kept) / kept`` on top: models
        of the four-quadrant masks (the geometric, the effective and the eroded stop, and the transmission maps of
        others) differ by 0.02 to 0.07 of the open field there (``benchmarks/throughput_models.py``).
    """
    part = min(max(kept, 0.02), 1.0)
    return float(np.hypot(params.throughput, params.mask * np.sqrt(1.0 - part) / part))


def position_error(kept: float, params: SystematicParams) -> float:
    """Position error per axis by the model of the mask, lambda/D.

    Parameters
    ----------
    kept : float
        Light of a source there over that of one in the open field, 0 to 1.
    params : SystematicParams

    Returns
    -------
    float
        ``mask_position * sqrt(1 - kept)``. The image of a source on a boundary depends on the wavefront and on the
        Lyot stop, which the model does not know exactly: planets of simulations with other optics (stop, shear,
        wavefront, blur) came out 8 to 17 mas off there in F1550C, where their statistical errors were 1 to 6 mas.
    """
    return float(params.mask_position * np.sqrt(1.0 - min(max(kept, 0.0), 1.0)))


def error_budget(
    companion: Companion,
    star: Star,
    params: SystematicParams | None = None,
    *,
    kept: float = 1.0,
    lambda_over_d: float = 0.0,
) -> tuple[ErrorTerm, ...]:
    """List the errors of a companion: statistical errors first, the total (in quadrature) last.

    The absolute flux does not depend on the star's flux. The contrast carries the flux calibration as well, as the
    star's flux is taken from elsewhere and not measured through the same mask.

    Parameters
    ----------
    companion : Companion
    star : Star
    params : SystematicParams, optional
    kept : float, optional
        Light that the mask leaves at the companion's place, over that in the open field; see `throughput_error`.
    lambda_over_d : float, optional
        Resolution element, arcsec, by which the position error next to a boundary scales; see `position_error`.

    Returns
    -------
    tuple of ErrorTerm
        One sigma each; the total is the last.

    Examples
    --------
    The contrast carries the error of the star's flux, the flux does not:

    >>> import numpy as np
    >>> from lyot.measure import CompanionParams, Injector, Star, error_budget, fit_companions
    >>> y, x = np.indices((61, 61)) - 30.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> science = np.random.default_rng(1).normal(scale=0.1, size=(1, 61, 61)) + 3 * psf(0, 1.0, 0.5)
    >>> injector = Injector(science, np.zeros(1, int), psf, lambda frames: frames, center=(30, 30), pixel_scale=0.11)
    >>> (found,) = fit_companions(injector, 4.0, [(1.1, 65.0)], CompanionParams(posterior=False))
    >>> terms = {term.name: term for term in error_budget(found, Star(flux=1000.0, error=20.0))}
    >>> terms["star flux"].flux, terms["star flux"].contrast, terms["flux calibration"].contrast
    (0.0, 0.02, 0.03)
    >>> bool(terms["total"].contrast > terms["total"].flux > terms["statistical"].flux)
    True
    """
    p = params or SystematicParams()
    relative = companion.flux_error / abs(companion.flux)
    separation = companion.separation
    star_center = STAR_CENTER if p.star_center is None else p.star_center
    lost = float(np.hypot(*companion.throughput_gradient)) * star_center
    modeled, moved = throughput_error(kept, p), position_error(kept, p) * lambda_over_d
    turned = float(np.degrees(star_center / separation))
    star_error = star.error / star.flux if np.isfinite(star.flux) else 0.0
    terms = (
        ErrorTerm("statistical", relative, relative, companion.separation_error, companion.position_angle_error),
        ErrorTerm("flux calibration", flux=p.flux_calibration, contrast=p.flux_calibration),
        ErrorTerm("throughput model", modeled, modeled, moved, float(np.degrees(moved / separation))),
        ErrorTerm("image shape", flux=companion.shape_error, contrast=companion.shape_error),
        ErrorTerm("star center", lost, lost, star_center, turned),
        ErrorTerm(STAR_TERM, contrast=star_error),
        ErrorTerm("plate scale", separation=p.plate_scale * separation),
        ErrorTerm("north", position_angle=p.north),
    )
    total = {
        name: float(np.sqrt(sum(getattr(t, name) ** 2 for t in terms)))
        for name in ("flux", "contrast", "separation", "position_angle")
    }
    return (*terms, ErrorTerm("total", **total))
