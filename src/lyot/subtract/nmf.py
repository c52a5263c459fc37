"""Non-negative matrix factorisation: modes and coefficients that are not negative (Ren et al. 2018).

A model that only adds light cannot take a disk for negative starlight as easily as KLIP does. It is not linear in the
science frame, so variances and fast injections are not available for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from lyot.subtract.sequence import FloatArray

ITERATIONS = 300
"""Multiplicative updates; the modes of coronagraphic halos do not change visibly beyond."""


@dataclass(frozen=True)
class NonNegativeModel:
    """Modes of one zone, one set for each truncation.

    Attributes
    ----------
    fit_modes, subtract_modes : tuple of (k, n) float64 ndarray
        On the pixels of the fit and of subtraction; all values >= 0.
    constant : bool
        Whether a constant of either sign is fitted as well.
    """

    fit_modes: tuple[FloatArray, ...]
    subtract_modes: tuple[FloatArray, ...]
    constant: bool


def nmf_model(
    library_fit: FloatArray,
    library_subtract: FloatArray | None,
    truncations: tuple[int, ...],
    *,
    subtract_mean: bool = True,
) -> NonNegativeModel:
    """Factorise a library of frames.

    Parameters
    ----------
    library_fit : (nlibrary, nfit) float64 ndarray
        Frames on the pixels of the fit, no NaN; negative values count as 0.
    library_subtract : (nlibrary, nsubtract) float64 ndarray or None
        On the pixels of subtraction; None if they are the same.
    truncations : tuple of int
        Numbers of modes; each is a factorisation of its own, started from the frames most unlike each other.
    subtract_mean : bool, optional
        Fit a constant to the science frames as well.
    """
    x = np.maximum(library_fit, 0.0)
    y = x if library_subtract is None else np.maximum(library_subtract, 0.0)
    fits, subtracts = [], []
    for k in truncations:
        weights, modes = _factorise(x, k)
        fits.append(modes)
        subtracts.append(modes if library_subtract is None else _continue(weights, y))
    return NonNegativeModel(tuple(fits), tuple(subtracts), subtract_mean)


def subtract(
    model: NonNegativeModel, fit_frames: NDArray[np.floating[Any]], frames: NDArray[np.floating[Any]] | None = None
) -> FloatArray:
    """Subtract the model from frames: (nK, n, nsubtract); NaN pixels are left out of the fit of their frame."""
    frames = fit_frames if frames is None else frames
    out = np.empty((len(model.fit_modes), *frames.shape))
    for t, (fit_modes, subtract_modes) in enumerate(zip(model.fit_modes, model.subtract_modes, strict=True)):
        extra = np.array([[1.0], [-1.0]]) if model.constant else np.empty((0, 1))
        scale = max(float(fit_modes.max(initial=0.0)), 1e-300)
        a = np.vstack([fit_modes, scale * extra * np.ones((1, fit_modes.shape[1]))])
        b = np.vstack([subtract_modes, scale * extra * np.ones((1, subtract_modes.shape[1]))])
        for i, frame in enumerate(fit_frames):
            good = np.isfinite(frame)
            coef = optimize.nnls(a[:, good].T, frame[good])[0] if good.any() else np.full(len(a), np.nan)
            out[t, i] = frames[i] - coef @ b
    return out


def _factorise(x: FloatArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Weights (n, k) and modes (k, npix), not negative, with ``weights @ modes`` close to x."""
    modes = x[_unlike(x, k)] + 1e-6 * max(float(x.max()), 1e-300)
    weights = np.full((len(x), len(modes)), 1.0 / len(modes))
    for _ in range(ITERATIONS):
        weights *= (x @ modes.T) / np.maximum(weights @ (modes @ modes.T), 1e-300)
        modes *= (weights.T @ x) / np.maximum((weights.T @ weights) @ modes, 1e-300)
    return weights, modes


def _continue(weights: FloatArray, y: FloatArray) -> FloatArray:
    """Modes on other pixels, for known weights."""
    modes = np.repeat(y.mean(axis=0, keepdims=True), weights.shape[1], axis=0) + 1e-12
    gram, right = weights.T @ weights, weights.T @ y
    for _ in range(ITERATIONS):
        modes *= right / np.maximum(gram @ modes, 1e-300)
    return modes


def _unlike(x: FloatArray, k: int) -> list[int]:
    """Frames to start from: the brightest, then each time the one least explained by those before."""
    residual = x.copy()
    chosen: list[int] = []
    for _ in range(min(k, len(x))):
        power = np.einsum("ij,ij->i", residual, residual)
        power[chosen] = -1.0
        i = int(np.argmax(power))
        chosen.append(i)
        norm = float(residual[i] @ residual[i])
        if norm > 0:
            residual -= np.outer(residual @ residual[i] / norm, residual[i])
    return chosen
