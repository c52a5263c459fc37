"""Background of a coronagraphic exposure from dedicated background exposures: thermal light and glow sticks.

The science integration k is modeled as ``D_k = A_k + s_k B_k + c_k`` with the astrophysical signal A, the background B
measured on empty sky with the same detector settings, a scale s and an offset c. The methods differ in B, s and c:

- ``clipped_mean``: B is the sigma-clipped mean over the integrations of each exposure, then over the exposures, as the
  official pipeline has it; s = 1, c = 0.
- ``mean``, ``median``: of all background integrations together.
- ``scaled``: B as in ``clipped_mean``; s and c fitted for each science integration on the pixels away from the star.
- ``scaled_glow``: as ``scaled``, and each glow stick with a scale of its own, ``D_k = A_k + s_k B + g_k G + c_k`` with
  the glow G cut out of B (`lyot.calibrate.glow_sticks`): they do not follow the level of the background between visits.

A background with noise makes an ordinary least-squares scale too small, by the ratio of its noise to its structure; the
fits here subtract the noise's expected contribution from the normal equations.
- ``pca``: B is the mean plus the leading principal components of the background integrations, whose coefficients (and
  c) are fitted for each science integration on the pixels away from the star.
- ``integration_matched``: B_k is the mean over the exposures of their integration k; science integrations beyond the
  last background integration get the mean of all but the first.

The first integration after a pause behaves differently from all later ones (resets went before it). Where the
background shows that, the first science integration gets the first background integrations and all others the rest:
see ``first_integration``.

The subtracted image has variance ``var(D) + s^2 var(B)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.calibrate.background_combine import (
    METHODS,
    BackgroundExposure,
    BackgroundParams,
    clipped_mean,
    combine,
    divide,
    first_integration_difference,
    reject_sources,
    scatter_variance,
    single_variance,
)
from lyot.calibrate.background_fit import fit_components, fit_glow, fit_scale, principal_components
from lyot.calibrate.glow_sticks import GlowStrip
from lyot.errors import InputError, warn
from lyot.stacks import nanmean

__all__ = [
    "METHODS",
    "BackgroundExposure",
    "BackgroundParams",
    "BackgroundResult",
    "clipped_mean",
    "first_integration_difference",
    "reject_sources",
    "subtract_background",
]

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class BackgroundResult:
    """Result of `subtract_background`.

    Attributes
    ----------
    data : (nints, ny, nx) float64 ndarray
        Science minus background; NaN where the science or all backgrounds are bad.
    variance : (nints, ny, nx) float64 ndarray
        Variance that the subtraction added.
    image, image_variance : (ny, nx) float64 ndarray
        Combined background of all but a first integration treated apart, and its variance; NaN where there is none.
    scale, offset, glow : (nints,) float64 ndarray
        s, c and (mean over the strips) g of each science integration; 1, 0 and 0 where they are not fitted.
    first_matched : bool
        Whether the first integration got a background of its own.
    first_difference, first_difference_error : float
        Median over the field of first minus later background integrations, and its error; NaN if not measurable.
    n_integrations : int
        Number of background integrations used.
    rejected_pixels : int
        Pixels of single exposures replaced because a source stood there.
    """

    data: Float
    variance: Float
    image: Float
    image_variance: Float
    scale: Float
    offset: Float
    glow: Float
    first_matched: bool
    first_difference: float
    first_difference_error: float
    n_integrations: int
    rejected_pixels: int


def subtract_background(
    science: NDArray[np.floating],
    exposures: Sequence[BackgroundExposure],
    params: BackgroundParams | None = None,
    *,
    fit_region: Bool | None = None,
    strips: Sequence[GlowStrip] = (),
    first_integration: int = 1,
    n_integrations: int | None = None,
) -> BackgroundResult:
    """Subtract the background of dedicated exposures from the integrations of a science exposure.

    Parameters
    ----------
    science : (nints, ny, nx) float ndarray
        Science integrations; NaN where bad. Not changed.
    exposures : sequence of BackgroundExposure
        Background exposures on the same pixels; any number of integrations each.
    params : BackgroundParams, optional
        Parameters.
    fit_region : (ny, nx) bool ndarray, optional
        Pixels on which scale, offset and components may be fitted (True); all by default.
    strips : sequence of GlowStrip, optional
        Where the glow sticks are (method ``scaled_glow``).
    first_integration : int, optional
        Number of the first frame of `science` in its exposure, from 1 (segmented exposures).
    n_integrations : int, optional
        Integrations of the whole exposure; those of `science` by default.

    Returns
    -------
    BackgroundResult
        The subtracted integrations and what was subtracted.

    Raises
    ------
    InputError
        If shapes differ or there is no background.
    ReductionError
        If a fit has too few good pixels.

    Examples
    --------
    >>> import numpy as np
    >>> result = subtract_background(np.full((2, 4, 4), 45.0), [BackgroundExposure(np.full((3, 4, 4), 42.0))])
    >>> float(result.data[0, 0, 0]), float(result.image[0, 0]), result.n_integrations
    (3.0, 42.0, 3)
    """
    p = params or BackgroundParams()
    cube = np.asarray(science)  # of single precision, as in the files, it becomes double where it is used
    backs, n_rejected = _prepare(cube, exposures, p)
    difference, error = first_integration_difference(backs)
    matched = _match_first(p, backs, difference, error, n_integrations or cube.shape[0])
    rest = [b.part(1, None) if matched and b.has_first else b for b in backs]
    image, image_variance = combine(rest, p)
    model = np.broadcast_to(image, cube.shape)  # copied only where integrations differ
    variance = np.broadcast_to(image_variance, cube.shape)
    if matched or p.method == "integration_matched":
        model, variance = model.copy(), variance.copy()
    if p.method == "integration_matched":
        _match_integrations(model, variance, backs, first_integration)
    elif matched and first_integration == 1:
        first = [b.part(0, 1) for b in backs if b.has_first]
        model[0], variance[0] = combine(first, p, scatter=scatter_variance(rest))
    region = np.ones(cube.shape[1:], bool) if fit_region is None else fit_region
    scale, offset, glow = np.ones(cube.shape[0]), np.zeros(cube.shape[0]), np.zeros(cube.shape[0])
    if p.method in ("scaled", "scaled_glow"):
        scale, offset = fit_scale(cube.astype(np.float64), model, variance, region, p)
        model = scale[:, None, None] * model + offset[:, None, None]
        variance = variance * scale[:, None, None] ** 2
        if p.method == "scaled_glow":
            added, glow = fit_glow(cube - model, image, strips)
            model += added
    elif p.method == "pca":
        components = principal_components(rest, image, p.components)
        added, offset = fit_components(cube - model, components, region, p)
        model = model + added
    return BackgroundResult(
        data=cube - model,
        variance=variance,
        image=image,
        image_variance=image_variance,
        scale=scale,
        offset=offset,
        glow=glow,
        first_matched=matched,
        first_difference=difference,
        first_difference_error=error,
        n_integrations=sum(b.data.shape[0] for b in backs),
        rejected_pixels=n_rejected,
    )


def _prepare(
    cube: NDArray[np.floating], exposures: Sequence[BackgroundExposure], p: BackgroundParams
) -> tuple[list[BackgroundExposure], int]:
    if cube.ndim != 3:
        raise InputError(f"science integrations must be (nints, ny, nx), got shape {cube.shape}.")
    if not exposures:
        raise InputError("no background exposure was given; skip the background step instead.")
    for i, exposure in enumerate(exposures):
        if exposure.data.ndim != 3 or exposure.data.shape[1:] != cube.shape[1:]:
            raise InputError(
                f"background exposure {i} has shape {exposure.data.shape}, but the science frames are "
                f"{cube.shape[1:]}; crop both to the same pixels first."
            )
        if exposure.variance is not None and exposure.variance.shape != exposure.data.shape:
            raise InputError(
                f"the shape of the variance of background exposure {i} differs from that of its data; expected the "
                "same."
            )
    if p.reject_sources and len(exposures) > 1 and p.method != "integration_matched":
        return reject_sources(exposures)
    return list(exposures), 0


def _match_first(
    p: BackgroundParams, backs: Sequence[BackgroundExposure], difference: float, error: float, nints: int
) -> bool:
    """Decide whether the first integration of an exposure of `nints` gets a background of its own."""
    if p.method == "integration_matched" or p.first_integration == "same":
        return False
    beginnings = [b for b in backs if b.has_first]
    possible = nints > 1 and bool(beginnings) and all(b.data.shape[0] >= 2 for b in beginnings)
    if p.first_integration == "matched":
        if not possible:
            warn(
                "the first integration cannot be matched: the science exposure or a background has a single "
                "integration, or the backgrounds lack their first one"
            )
        return possible
    return bool(possible and np.isfinite(difference) and abs(difference) > 5 * error)


def _match_integrations(model: Float, variance: Float, backs: Sequence[BackgroundExposure], first: int) -> None:
    """Fill `model` and `variance` (nints, ny, nx) in place with the background of the same integration number.

    `first` is the number of the first frame.
    """
    scatter = scatter_variance(backs)
    for k, number in enumerate(range(first, first + len(model))):
        places = [(b, b.integrations.index(number)) for b in backs if number in b.integrations]
        chosen = [b.part(i, i + 1) for b, i in places]
        if not chosen:
            chosen = [b.part(1, None) if b.has_first and len(b.data) > 1 else b for b in backs]
        stack = np.concatenate([c.data for c in chosen])
        model[k] = nanmean(stack)
        variance[k] = divide(single_variance(chosen, scatter), np.isfinite(stack).sum(axis=0))
