"""Disks: the starlight fitted together with a model of the disk, so that it does not take up the disk's light.

KLIP fits everything it is given, also the light of a disk, and subtracts part of it. With images m_j of the disk (and
anything else that is known) in the science frames, the amplitudes a_j and the coefficients of the modes are fitted
jointly. For a linear reduction this needs no new machinery: with R the residual of the reduction, the amplitudes are
the least-squares solution of ``R(s) = sum_j a_j R(m_j)``, and the starlight is that of ``s - sum_j a_j m_j``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError, ReductionError
from lyot.subtract.plan import ReductionPlan
from lyot.subtract.result import ReductionResult
from lyot.subtract.sequence import BoolArray, FloatArray


@dataclass(frozen=True)
class ModelConstrainedResult:
    """A reduction with the disk's light given back.

    Attributes
    ----------
    amplitudes : (nK, nmodels) float64 ndarray
        Best amplitude of each model image at each truncation.
    covariance : (nK, nmodels, nmodels) float64 ndarray
        Of the amplitudes, from the scatter of what is left; pixels count as independent.
    reduction : ReductionResult
        As of any reduction: residuals and images with the disk in them, unharmed by the subtraction.
    without_models : (nK, Ny, Nx) float64 ndarray
        Combined image of what neither star nor models explain.
    """

    amplitudes: FloatArray
    covariance: FloatArray
    reduction: ReductionResult
    without_models: FloatArray


def reduce_with_models(
    plan: ReductionPlan,
    models: NDArray[np.floating[Any]],
    *,
    science: NDArray[np.floating[Any]] | None = None,
    region: BoolArray | None = None,
) -> ModelConstrainedResult:
    """Fit and subtract the star jointly with models of a disk.

    Parameters
    ----------
    plan : ReductionPlan
        Of strategy "rdi" and a linear method.
    models : (nmodels, nframes, ny, nx) or (nframes, ny, nx) float ndarray
        Image of each component in each science frame, convolved with the PSF, any scale; no NaN.
    science : (nframes, ny, nx) float ndarray, optional
        In place of the sequence's.
    region : (ny, nx) bool ndarray, optional
        Pixels from which the amplitudes are fitted; default all that are subtracted.

    Raises
    ------
    InputError
        If the shape of `models` does not fit.
    ReductionError
        If the plan is not linear, or a model is nowhere in the region.
    """
    if plan.models is None or plan.params.method == "nmf":
        raise ReductionError("a model-constrained reduction needs strategy 'rdi' with a linear method.")
    data = plan.sequence.science if science is None else np.asarray(science)
    images = np.asarray(models, dtype=np.float64)
    images = images[np.newaxis] if images.ndim == 3 else images
    if images.shape[1:] != data.shape:
        raise InputError(f"models have shape {images.shape}; expected (nmodels, *{data.shape}).")
    masked = np.where(np.isfinite(data), images, np.nan)
    base = plan.reduce(data)
    left = np.stack([plan.reduce(m, with_variance=False).residuals for m in masked])
    frames = np.stack([plan.frames(m) for m in masked])
    amplitudes, covariance = _amplitudes(base.residuals, left, region)
    given_back = np.einsum("kj,jkfyx->kfyx", amplitudes, frames[:, np.newaxis] - left)
    residuals = base.residuals + given_back
    rolls, combined, weights = plan.combine(residuals)
    explained = np.einsum("kj,jkfyx->kfyx", amplitudes, left)
    without = plan.combine(base.residuals - explained)[1]
    reduction = ReductionResult(
        truncations=base.truncations,
        recommended=base.recommended,
        residuals=residuals,
        residual_variance=base.residual_variance,
        exposure=base.exposure,
        rolls=rolls,
        combined=combined,
        combined_variance=base.combined_variance,
        weights=weights,
        throughput=base.throughput,
        center=base.center,
        pixel_scale=base.pixel_scale,
        roll_variance=base.roll_variance,
    )
    return ModelConstrainedResult(amplitudes, covariance, reduction, without)


def _amplitudes(residuals: FloatArray, models: FloatArray, region: BoolArray | None) -> tuple[FloatArray, FloatArray]:
    """Amplitudes (nK, nmodels) and their covariance, by least squares over all frames."""
    n_models, n_k = models.shape[:2]
    amplitudes, covariance = np.empty((n_k, n_models)), np.empty((n_k, n_models, n_models))
    inside = np.ones(residuals.shape[-2:], dtype=bool) if region is None else np.asarray(region, dtype=bool)
    for k in range(n_k):
        good = np.isfinite(residuals[k]) & np.isfinite(models[:, k]).all(axis=0) & inside
        a, b = models[:, k][:, good], residuals[k][good]
        normal = a @ a.T
        if np.linalg.matrix_rank(normal) < n_models:
            raise ReductionError("models: a component has no light in the region, or is a combination of the others.")
        amplitudes[k] = np.linalg.solve(normal, a @ b)
        rest = b - amplitudes[k] @ a
        covariance[k] = np.linalg.inv(normal) * float(rest @ rest) / max(len(b) - n_models, 1)
    return amplitudes, covariance
