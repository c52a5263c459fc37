"""Fits of a background to science integrations: scale and offset, glow sticks, principal components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lyot.calibrate.background_combine import BackgroundExposure, BackgroundParams
from lyot.calibrate.glow_sticks import GlowStrip, glow_excess, glow_template
from lyot.errors import ReductionError, warn

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


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
        warn("no glow stick is detected in the background; its scale is not fitted")
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
        center = np.median(residual[good])
        spread = 1.4826 * np.median(np.abs(residual[good] - center))
        clipped = good & (np.abs(residual - center) <= params.sigma * max(spread, 1e-30))
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
