"""Background of a coronagraphic exposure from dedicated background exposures: thermal light and glow sticks.

The science integration k is modelled as ``D_k = A_k + s_k B_k + c_k`` with the astrophysical signal A, the background B
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

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.stats import sigma_clip
from numpy.typing import NDArray

from lyot.calibrate.glow_sticks import GlowStrip, glow_excess, glow_template
from lyot.errors import InputError, ReductionError
from lyot.params import param

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

METHODS = ("clipped_mean", "mean", "median", "scaled", "scaled_glow", "pca", "integration_matched")


@dataclass(frozen=True)
class BackgroundParams:
    """Parameters of `subtract_background`."""

    method: str = param("clipped_mean", help="how the background is estimated", choices=METHODS)
    sigma: float = param(3.0, help="clipping threshold of integrations and fits", unit="sigma", min=0.5)
    maxiters: int | None = param(None, help="clipping iterations; none: until nothing more is clipped", min=1)
    first_integration: str = param(
        "auto",
        help="background of the first science integration: same as the rest, matched to first ones, or as they differ",
        choices=("auto", "matched", "same"),
    )
    components: int = param(3, help="principal components (method pca)", min=1, max=50)
    fit_offset: bool = param(True, help="fit a constant with the scale or the components (methods scaled and pca)")
    exclusion_radius: float = param(
        4.0, help="radius about the star left out of fits (methods scaled and pca)", unit="arcsec", min=0.0
    )
    reject_sources: bool = param(
        True, help="replace stars and ghosts in one background exposure by what the other exposures show there"
    )


@dataclass(frozen=True)
class BackgroundExposure:
    """One background exposure.

    Attributes
    ----------
    data : (nints, ny, nx) float ndarray
        Integrations, in the unit and on the pixels of the science; NaN where bad.
    variance : (nints, ny, nx) float ndarray or None
        Variance of `data`; None lets the scatter of the integrations speak.
    """

    data: NDArray[np.floating]
    variance: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class BackgroundResult:
    """What `subtract_background` returns.

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
    """
    p = params or BackgroundParams()
    cube = np.asarray(science, dtype=np.float64)
    backs, n_rejected = _prepare(cube, exposures, p)
    difference, error = first_integration_difference(backs)
    matched = _match_first(p, backs, difference, error, cube.shape[0])
    rest = [_without_first(b) if matched else b for b in backs]
    image, image_variance = combine(rest, p)
    model = np.broadcast_to(image, cube.shape).copy()
    variance = np.broadcast_to(image_variance, cube.shape).copy()
    if p.method == "integration_matched":
        _match_integrations(model, variance, backs)
    elif matched:
        first = [BackgroundExposure(b.data[:1], None if b.variance is None else b.variance[:1]) for b in backs]
        model[0], variance[0] = combine(first, p, scatter=_scatter_variance(rest))
    region = np.ones(cube.shape[1:], bool) if fit_region is None else fit_region
    scale, offset, glow = np.ones(cube.shape[0]), np.zeros(cube.shape[0]), np.zeros(cube.shape[0])
    if p.method in ("scaled", "scaled_glow"):
        scale, offset = fit_scale(cube, model, variance, region, p)
        model = scale[:, None, None] * model + offset[:, None, None]
        variance *= scale[:, None, None] ** 2
        if p.method == "scaled_glow":
            added, glow = fit_glow(cube - model, image, strips)
            model += added
    elif p.method == "pca":
        components = principal_components(rest, image, p.components)
        added, offset = fit_components(cube - model, components, region, p)
        model += added
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
    cube: Float, exposures: Sequence[BackgroundExposure], p: BackgroundParams
) -> tuple[list[BackgroundExposure], int]:
    if cube.ndim != 3:
        raise InputError(f"science integrations must be (nints, ny, nx), got shape {cube.shape}.")
    if not exposures:
        raise InputError("no background exposure was given; leave the background step out instead.")
    for i, exposure in enumerate(exposures):
        if exposure.data.ndim != 3 or exposure.data.shape[1:] != cube.shape[1:]:
            raise InputError(
                f"background exposure {i} has shape {exposure.data.shape}, but the science frames are "
                f"{cube.shape[1:]}; cut both to the same pixels first."
            )
        if exposure.variance is not None and exposure.variance.shape != exposure.data.shape:
            raise InputError(f"the variance of background exposure {i} has another shape than its data.")
    if p.reject_sources and len(exposures) > 1 and p.method != "integration_matched":
        return reject_sources(exposures)
    return list(exposures), 0


def _without_first(exposure: BackgroundExposure) -> BackgroundExposure:
    variance = exposure.variance
    return BackgroundExposure(exposure.data[1:], None if variance is None else variance[1:])


def nanmean(data: NDArray[np.floating], axis: int = 0) -> Float:
    """Mean that leaves NaN out; NaN (and no warning) where all are NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(data, axis=axis, dtype=np.float64))


def nanmedian(data: NDArray[np.floating], axis: int = 0) -> Float:
    """Median that leaves NaN out; NaN (and no warning) where all are NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(data, axis=axis), dtype=np.float64)


def clipped_mean(
    data: NDArray[np.floating], *, sigma: float = 3.0, maxiters: int | None = None
) -> tuple[Float, NDArray[np.int64]]:
    """Sigma-clipped mean along the first axis, about the median, as the official pipeline has it.

    Parameters
    ----------
    data : (n, ny, nx) float ndarray
        Values; NaN is left out.
    sigma : float
        Clipping threshold, standard deviations.
    maxiters : int, optional
        Largest number of iterations; until convergence by default.

    Returns
    -------
    mean : (ny, nx) float64 ndarray
        NaN where nothing is left.
    count : (ny, nx) int ndarray
        Values kept.
    """
    finite = np.where(np.isfinite(data), data, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy warns of NaN in the input and of empty slices: both are meant
        kept = sigma_clip(finite, sigma=sigma, maxiters=maxiters, axis=0, masked=False)
    return nanmean(kept), np.isfinite(kept).sum(axis=0)


def _scatter_variance(exposures: Sequence[BackgroundExposure]) -> Float:
    """Variance of a single integration from the scatter of the integrations of each exposure; NaN if single."""
    sums = np.zeros(exposures[0].data.shape[1:])
    dof = np.zeros_like(sums)
    for exposure in exposures:
        deviation = exposure.data - nanmean(exposure.data)
        sums += np.nansum(deviation**2, axis=0)
        dof += np.maximum(np.isfinite(deviation).sum(axis=0) - 1, 0)
    return np.where(dof > 0, sums / np.maximum(dof, 1), np.nan)


def _single_variance(exposures: Sequence[BackgroundExposure], scatter: Float | None) -> Float:
    """Variance of a single integration: from the exposures' own variances, or the scatter."""
    given = [e.variance for e in exposures if e.variance is not None]
    if len(given) == len(exposures):
        return nanmean(np.concatenate(given))
    single = _scatter_variance(exposures) if scatter is None else scatter
    return np.where(np.isfinite(single), single, 0.0)


def combine(
    exposures: Sequence[BackgroundExposure], params: BackgroundParams, *, scatter: Float | None = None
) -> tuple[Float, Float]:
    """Combine background exposures to one image.

    Parameters
    ----------
    exposures : sequence of BackgroundExposure
        At least one.
    params : BackgroundParams
        `method`, `sigma` and `maxiters` are used.
    scatter : (ny, nx) float64 ndarray, optional
        Variance of one integration, used where an exposure brings none.

    Returns
    -------
    image, variance : (ny, nx) float64 ndarray
        Combined background and its variance; NaN where no integration is good.
    """
    single = _single_variance(exposures, scatter)
    if params.method in ("mean", "median"):
        stack = np.concatenate([e.data for e in exposures])
        count = np.isfinite(stack).sum(axis=0)
        image = nanmean(stack) if params.method == "mean" else nanmedian(stack)
        # the median of a normal sample is pi/2 less efficient than its mean; of one or two values it is the mean
        loss = np.where(count > 2, np.pi / 2, 1.0) if params.method == "median" else 1.0
        return image, _divide(single * loss, count)
    means, counts = [], []
    for exposure in exposures:
        mean, count = clipped_mean(exposure.data, sigma=params.sigma, maxiters=params.maxiters)
        means.append(mean)
        counts.append(count)
    image, n_exposures = clipped_mean(np.stack(means), sigma=params.sigma, maxiters=params.maxiters)
    # variance of a mean of means: sum of single / n_i over the exposures, by their number squared
    each = np.where(np.stack(counts) > 0, 1.0 / np.maximum(np.stack(counts), 1), 0.0)
    return image, _divide(single * each.sum(axis=0), n_exposures**2)


def _divide(value: Float, count: NDArray[np.integer]) -> Float:
    return np.where(count > 0, value / np.maximum(count, 1), np.nan)


def first_integration_difference(exposures: Sequence[BackgroundExposure]) -> tuple[float, float]:
    """Median over the field of first minus later background integrations, and its statistical error.

    Needs an exposure with at least three integrations; (nan, nan) otherwise.
    """
    long = [e for e in exposures if e.data.shape[0] >= 3]
    if not long:
        return float("nan"), float("nan")
    difference = nanmean(np.stack([e.data[0] - nanmean(e.data[1:]) for e in long]))
    good = difference[np.isfinite(difference)]
    if good.size < 10:
        return float("nan"), float("nan")
    median = float(np.median(good))
    spread = 1.4826 * float(np.median(np.abs(good - median)))
    return median, 1.2533 * spread / np.sqrt(good.size)


def _match_first(
    p: BackgroundParams, backs: Sequence[BackgroundExposure], difference: float, error: float, nints: int
) -> bool:
    """Decide whether the first integration gets a background of its own."""
    if p.method == "integration_matched" or p.first_integration == "same":
        return False
    possible = nints > 1 and all(b.data.shape[0] >= 2 for b in backs)
    if p.first_integration == "matched":
        if not possible:
            log.warning("the first integration cannot be matched: science or a background has a single integration")
        return possible
    return bool(possible and np.isfinite(difference) and abs(difference) > 5 * error)


def _match_integrations(model: Float, variance: Float, backs: Sequence[BackgroundExposure]) -> None:
    """Fill `model` and `variance` (nints, ny, nx) in place with the background of the same integration number."""
    last = max(b.data.shape[0] for b in backs)
    scatter = _scatter_variance(backs)
    for k in range(model.shape[0]):
        if k < last:
            chosen = [_slice(b, k, k + 1) for b in backs if b.data.shape[0] > k]
        else:
            chosen = [_slice(b, min(1, b.data.shape[0] - 1), None) for b in backs]
        stack = np.concatenate([c.data for c in chosen])
        model[k] = nanmean(stack)
        variance[k] = _divide(_single_variance(chosen, scatter), np.isfinite(stack).sum(axis=0))


def _slice(exposure: BackgroundExposure, start: int, stop: int | None) -> BackgroundExposure:
    variance = exposure.variance
    return BackgroundExposure(exposure.data[start:stop], None if variance is None else variance[start:stop])


def fit_scale(
    cube: Float, model: Float, variance: Float, region: Bool, params: BackgroundParams
) -> tuple[Float, Float]:
    """Fit ``cube_k = s_k model_k + c_k`` on `region`, clipping outliers.

    Parameters
    ----------
    cube, model, variance : (nints, ny, nx) float64 ndarray
        Science, background and variance of the background.
    region : (ny, nx) bool ndarray
        Pixels of the fit.
    params : BackgroundParams
        `sigma`, `maxiters` and `fit_offset` are used.

    Returns
    -------
    scale, offset : (nints,) float64 ndarray
        s and c.
    """
    scale, offset = np.ones(len(cube)), np.zeros(len(cube))
    for k, frame in enumerate(cube):
        columns = [model[k], np.ones_like(frame)] if params.fit_offset else [model[k]]
        noise = [variance[k], np.zeros_like(frame)][: len(columns)]
        solution = _clipped_least_squares(frame, columns, region, params, noise=noise)
        scale[k] = solution[0]
        offset[k] = solution[1] if params.fit_offset else 0.0
    return scale, offset


def fit_glow(residual: Float, image: Float, strips: Sequence[GlowStrip]) -> tuple[Float, Float]:
    """Scale the glow of the background so that no excess is left in each strip.

    Means over a strip are compared, not pixels, so that noise in the background does not bias the scale.

    Parameters
    ----------
    residual : (nints, ny, nx) float64 ndarray
        Science minus scaled background.
    image : (ny, nx) float64 ndarray
        Background.
    strips : sequence of GlowStrip
        From `lyot.calibrate.glow_sticks.glow_strips`.

    Returns
    -------
    added : (nints, ny, nx) float64 ndarray
        Glow to subtract from `residual` as well.
    glow : (nints,) float64 ndarray
        Its scale, mean over the strips.
    """
    added, glow = np.zeros_like(residual), np.zeros(len(residual))
    have = glow_excess(image, strips)
    usable = [i for i, h in enumerate(have) if np.isfinite(h.value) and abs(h.value) > 3 * h.error]
    if not usable:
        log.warning("no glow stick is seen in the background; its scale is not fitted")
        return added, glow
    templates = [glow_template(image, [strips[i]]) for i in usable]
    for k, frame in enumerate(residual):
        left = glow_excess(frame, [strips[i] for i in usable])
        factors = [e.value / have[i].value if np.isfinite(e.value) else 0.0 for e, i in zip(left, usable, strict=True)]
        for factor, template in zip(factors, templates, strict=True):
            added[k] += factor * template
        glow[k] = float(np.mean(factors))
    return added, glow


def principal_components(exposures: Sequence[BackgroundExposure], image: Float, n: int) -> Float:
    """Leading principal components of the background integrations about their mean image.

    Parameters
    ----------
    exposures : sequence of BackgroundExposure
        Background integrations; NaN counts as no deviation.
    image : (ny, nx) float64 ndarray
        Mean background.
    n : int
        Number of components wanted; fewer are returned if there are fewer integrations.

    Returns
    -------
    (k, ny, nx) float64 ndarray
        Orthonormal components, strongest first.
    """
    stack = np.concatenate([np.asarray(e.data, dtype=np.float64) for e in exposures]) - image
    flat = np.nan_to_num(stack, nan=0.0).reshape(len(stack), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][: min(n, len(stack) - 1)]
    order = order[values[order] > 1e-12 * max(values.max(), 1e-300)]
    components = (vectors[:, order] / np.sqrt(values[order])).T @ flat
    return np.asarray(components.reshape(len(order), *image.shape))


def fit_components(residual: Float, components: Float, region: Bool, params: BackgroundParams) -> tuple[Float, Float]:
    """Fit components (and a constant) to each frame of `residual` on `region`.

    Returns
    -------
    added : (nints, ny, nx) float64 ndarray
        Fitted sum of components and constant.
    offset : (nints,) float64 ndarray
        The constants.
    """
    added, offset = np.zeros_like(residual), np.zeros(residual.shape[0])
    for k, frame in enumerate(residual):
        columns = list(components) + ([np.ones_like(frame)] if params.fit_offset else [])
        if not columns:
            continue
        solution = _clipped_least_squares(frame, columns, region, params)
        added[k] = np.tensordot(solution[: len(components)], components, axes=1)
        if params.fit_offset:
            offset[k] = solution[-1]
            added[k] += offset[k]
    return added, offset


def _clipped_least_squares(
    frame: Float,
    columns: list[Float],
    region: Bool,
    params: BackgroundParams,
    *,
    noise: list[Float] | None = None,
) -> Float:
    """Coefficients of `columns` in `frame`; `noise` holds the variances of the columns (errors in variables)."""
    design: Float = np.stack([c.ravel() for c in columns], axis=1)
    target: Float = frame.ravel()
    good = region.ravel() & np.isfinite(target) & np.isfinite(design).all(axis=1)
    solution: Float = np.zeros(len(columns))
    for _ in range(params.maxiters or 10):
        if good.sum() < 10 * len(columns):
            raise ReductionError(
                f"the background fit has {int(good.sum())} good pixels for {len(columns)} unknowns; "
                "lower exclusion_radius or use method clipped_mean."
            )
        normal = design[good].T @ design[good]
        if noise is not None:
            normal -= np.diag(_bounded_noise(normal, [float(np.nansum(n.ravel()[good])) for n in noise]))
        solution = np.asarray(np.linalg.lstsq(normal, design[good].T @ target[good], rcond=None)[0])
        residual = target - design @ solution
        centre = np.median(residual[good])
        spread = 1.4826 * np.median(np.abs(residual[good] - centre))
        clipped = good & (np.abs(residual - centre) <= params.sigma * max(spread, 1e-30))
        if clipped.sum() == good.sum():
            break
        good = clipped
    return np.asarray(solution)


def _bounded_noise(normal: Float, noise: list[float]) -> Float:
    """Noise power to subtract from the normal matrix: at most half of what the first column has beside a constant."""
    power = np.array(noise)
    own = normal[0, 0] - (normal[0, 1] ** 2 / normal[1, 1] if len(normal) > 1 else 0.0)
    power[0] = min(power[0], 0.5 * max(float(own), 0.0))
    return power


def reject_sources(
    exposures: Sequence[BackgroundExposure], *, threshold: float = 5.0, width: float = 1.5
) -> tuple[list[BackgroundExposure], int]:
    """Blank (NaN) what only one background exposure shows: a star, galaxy or ghost that moved with the dither.

    The mean of each exposure is compared with the lowest mean of the others after light smoothing; pixels that stand
    out by `threshold` times the spread of that difference are blanked in all integrations of the exposure, unless all
    exposures would be blank there. With one exposure nothing can be compared.

    Parameters
    ----------
    exposures : sequence of BackgroundExposure
        At least one.
    threshold : float
        In units of the robust spread of the smoothed difference.
    width : float
        Gaussian sigma of the smoothing, pixels.

    Returns
    -------
    exposures : list of BackgroundExposure
        New exposures that share the variances.
    n_pixels : int
        Pixels blanked, summed over the exposures.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter, median_filter

    means = np.stack([nanmean(e.data) for e in exposures])
    bad = np.zeros(means.shape, bool)
    for i in range(len(means)):
        others = np.delete(means, i, axis=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            difference = means[i] - np.nanmin(others, axis=0)
        finite = np.isfinite(difference)
        filled = np.where(finite, difference, np.nanmedian(difference) if finite.any() else 0.0)
        smooth = gaussian_filter(filled - median_filter(filled, size=31), width)
        spread = 1.4826 * np.median(np.abs(smooth[finite] - np.median(smooth[finite]))) if finite.any() else 0.0
        if spread > 0:
            bad[i] = binary_dilation((smooth > threshold * spread) & finite, iterations=2)
    bad &= ~np.all(bad | ~np.isfinite(means), axis=0)
    cleaned = [BackgroundExposure(np.where(bad[i], np.nan, e.data), e.variance) for i, e in enumerate(exposures)]
    return cleaned, int(bad.sum())
