"""KLIP: principal components of the reference frames, all truncations from one decomposition.

The star's image in a science frame s is modeled in a zone as a combination of the first K Karhunen-Loeve modes of the
reference frames (Soummer, Pueyo and Larkin 2012), ``model = Z_K^T Z_K s`` with orthonormal modes ``Z_K``. The modes
come from the eigenvectors of the Gram matrix of the references, always in float64: in float32 the small eigenvalues
drown and high truncations are wrong by tens of per cent.

A constant may be fitted too. With references of zero mean it is one more mode, orthogonal to the others, which makes
this the same as the subtraction of each frame's mean.

The references are noisy, and so are their modes: the coefficient of a mode is low by the part of its eigenvalue that is
noise, as in any regression on a noisy variable, and that part of the star stays in the image. For the first mode, which
is the star's mean image, the coefficient is divided by what is left (`LinearModel.ridge`), so that all of it is
subtracted. Other modes are left as they are: there is little of the star in those with much noise, and the noise would
grow.

Pixels that are NaN in a science frame are left out of that frame's fit: its coefficients are then the least-squares
ones over its good pixels, not a projection of a frame filled with zeros.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lyot.errors import ReductionError
from lyot.stacks import nanmedian
from lyot.subtract.sequence import BoolArray, FloatArray, IntArray

log = logging.getLogger(__name__)

LARGEST_NOISE = 0.7
"""Part of a template's power that may be noise; a noisier one is not fitted, as its coefficient would not be known."""

LARGEST_SHARE = 0.7
"""Part of the first mode's power that may be noise; the coefficient of a noisier one is left as it is."""

SMALLEST_EIGENVALUE = 1e-13
"""Modes whose eigenvalue is smaller than this times the largest are rounding noise and are not used."""


@dataclass(frozen=True)
class NoisyTemplate:
    """A template whose noise stands in the science with the opposite sign, as it was subtracted from it before.

    Let the template be T = B + n, the science a B - n + (the star) + ..., and P the projection that takes off the other
    modes of the fit. With q = |P T|^2 and v the expected |n|^2 the least-squares coefficient of T has the mean
    (a (q - v) - v) / q: it is biased low, by 1 where the template is noise alone, and the fit then carves a trench into
    the image where B has structure. With c that coefficient, (c q + v) / (q - v) has the mean a. Of a smoothed template
    (`lyot.subtract.templates`) v is what its noise has in common with that in the science; the power of its own noise
    in q, two thirds of that, is taken to be the same.

    Attributes
    ----------
    row : int
        Row of the modes that is the template's direction.
    norm : float
        |T|, without what a constant takes up.
    noise : float
        v: sum of the template's variances over the pixels of the fit.
    shares : (m,) float64 ndarray
        What each of the modes had of the template's direction before it was taken off.
    """

    row: int
    norm: float
    noise: float
    shares: FloatArray

    def correction(self, columns: int) -> tuple[float, FloatArray]:
        """Factor v / (q - v) / (1 + M), and the direction P T / |T| (1 + M) in terms of the modes of a truncation."""
        direction = -self.shares[:columns]
        direction[self.row] = 1.0
        spread = float(direction @ direction)
        return self.noise / ((self.norm**2 / spread - self.noise) * spread), direction

    def behind(self, count: int) -> NoisyTemplate:
        """The same with `count` modes put in front, which hold nothing of the template."""
        return replace(self, row=self.row + count, shares=np.concatenate([np.zeros(count), self.shares]))

    def usable(self) -> bool:
        """Whether there is more than noise in the template, for the fit with all modes."""
        spread = 1.0 + float(self.shares @ self.shares)
        return self.noise < LARGEST_NOISE * self.norm**2 / spread


@dataclass(frozen=True)
class LinearModel:
    """Orthonormal modes of one zone, and how many of them each truncation uses.

    Attributes
    ----------
    fit_modes : (m, nfit) float64 ndarray
        Modes on the pixels of the fit, rows orthonormal.
    subtract_modes : (m, nsubtract) float64 ndarray
        The same modes on the pixels of subtraction.
    columns : tuple of int
        Number of leading modes of each truncation (the constant counts).
    mixing : (m, nlibrary) float64 ndarray
        Modes as combinations of library frames: a model with coefficients c takes frame r with weight ``c @ mixing``.
    eigenvalues : (nmodes,) float64 ndarray
        Of the Gram matrix, largest first (no entry for the constant).
    ridge : (m,) float64 ndarray
        Damping of each coefficient, relative to the weight of the data: 0 for KLIP, and less than 0 for a first mode
        whose coefficient noise makes too small, by the part of its power that is noise.
    template : NoisyTemplate or None
        The template among the modes whose noise biases its coefficient.
    """

    fit_modes: FloatArray
    subtract_modes: FloatArray
    columns: tuple[int, ...]
    mixing: FloatArray
    eigenvalues: FloatArray
    ridge: FloatArray
    template: NoisyTemplate | None = None


def fill_library(library: NDArray[np.floating[Any]], *, min_good: float) -> tuple[FloatArray, BoolArray]:
    """Fill bad pixels of reference frames from the other frames.

    Parameters
    ----------
    library : (nlibrary, npix) float ndarray
        Reference frames of a zone, NaN where bad.
    min_good : float
        Pixels good in a smaller part of the frames are not usable.

    Returns
    -------
    filled : (nlibrary, npix) float64 ndarray
        Bad pixels replaced by the median of the other frames at that pixel, all scaled to the brightness of the frame;
        0 where not usable.
    usable : (npix,) bool ndarray
    """
    filled = np.array(library, dtype=np.float64)
    good = np.isfinite(filled)
    count = good.sum(axis=0)
    usable = (count >= max(1.0, min_good * len(filled))) & (count > 0)
    filled[:, ~usable] = 0.0
    holes = usable & (count < len(filled))
    if holes.any():
        index = np.flatnonzero(holes)
        scale = _brightness(filled, usable & ~holes)
        typical = nanmedian(filled[:, index] / scale[:, None])
        for frame, mask, bright in zip(filled, good, scale, strict=True):
            missing = ~mask[index]
            frame[index[missing]] = bright * typical[missing]
    return filled, np.asarray(usable)


def _brightness(frames: FloatArray, whole: BoolArray) -> FloatArray:
    """Brightness of each frame relative to the median frame, from pixels good in all; 1 where it cannot be told."""
    if not whole.any():
        return np.ones(len(frames))
    part = frames[:, whole]
    median = np.median(part, axis=0)
    norm = float(median @ median)
    scale = part @ median / norm if norm > 0 else np.ones(len(frames))
    return np.where(scale > 0, scale, 1.0)


def klip_model(
    library_fit: FloatArray,
    library_subtract: FloatArray | None,
    truncations: tuple[int, ...],
    *,
    subtract_mean: bool = True,
    damping: float = 0.0,
    templates: tuple[FloatArray, FloatArray] | None = None,
    template_noise: float | None = None,
    noise: FloatArray | None = None,
) -> LinearModel:
    """Karhunen-Loeve modes of a library of frames.

    Parameters
    ----------
    library_fit : (nlibrary, nfit) float64 ndarray
        Frames on the pixels of the fit, without NaN.
    library_subtract : (nlibrary, nsubtract) float64 ndarray or None
        The same frames on the pixels of subtraction; None if these are the same pixels.
    truncations : tuple of int
        Numbers of modes; those beyond the rank of the library use all modes there are.
    subtract_mean : bool, optional
        Take the mean (over the fit) off each frame and fit a constant as well.
    damping : float, optional
        Damping of the coefficients of the library's frames, in units of the mean power of a frame.
    templates : pair of (ntemplates, nfit), (ntemplates, nsubtract) float64 ndarray, optional
        Patterns that are taken off the library and fitted at every truncation, as the constant is.
    template_noise : float, optional
        Sum of the variances of the first template over the pixels of the fit, if the template was subtracted from the
        science before: see `NoisyTemplate`. A template that is mostly noise is not fitted.
    noise : (nlibrary, nlibrary) float64 ndarray, optional
        Expected Gram matrix of the noise of the frames on the pixels of the fit (`lyot.subtract.library_noise`).

    Returns
    -------
    LinearModel
    """
    model = _klip_model(
        library_fit, library_subtract, truncations, subtract_mean, damping, templates, template_noise, noise
    )
    if model.template is None or model.template.usable():
        return model
    log.info("the background template is mostly noise and is not fitted")
    return _klip_model(library_fit, library_subtract, truncations, subtract_mean, damping, None, None, noise)


def _klip_model(
    library_fit: FloatArray,
    library_subtract: FloatArray | None,
    truncations: tuple[int, ...],
    subtract_mean: bool,
    damping: float,
    templates: tuple[FloatArray, FloatArray] | None,
    template_noise: float | None,
    noise: FloatArray | None,
) -> LinearModel:
    x = np.asarray(library_fit, dtype=np.float64)
    y = x if library_subtract is None else np.asarray(library_subtract, dtype=np.float64)
    always_fit, always_subtract = _always(x.shape[1], y.shape[1], subtract_mean, templates)
    share = x @ always_fit.T
    x = _without(x, share, always_fit)
    values, vectors = linalg.eigh(x @ x.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int(np.sum(values > SMALLEST_EIGENVALUE * max(values[0], 0.0))) if values[0] > 0 else 0
    kept, extra = min(rank, max(truncations)), len(always_fit)
    if kept + extra == 0:
        raise ReductionError("the reference frames have no flux in a zone, so no modes can be computed.")
    mixing = (vectors[:, :kept] / np.sqrt(values[:kept])).T
    fit_modes = _stacked(always_fit, mixing, x)
    subtract_modes = fit_modes
    if library_subtract is not None:
        subtract_modes = _stacked(always_subtract, mixing, _without(y, share, always_subtract))
    ridge = np.concatenate([np.zeros(extra), damping * float(np.mean(values)) / values[:kept]])
    if noise is not None and kept:
        ridge[extra] -= _noise_of_first(mixing[0], noise)
    return LinearModel(
        fit_modes=fit_modes,
        subtract_modes=subtract_modes,
        columns=tuple(min(k, kept) + extra for k in truncations),
        mixing=np.vstack([np.zeros((extra, len(x))), mixing]),
        eigenvalues=values,
        ridge=ridge,
        template=_noisy_template(templates, always_fit, mixing @ share, int(subtract_mean), template_noise),
    )


def _noise_of_first(weights: FloatArray, noise: FloatArray) -> float:
    """Part of the first mode's power that is noise; 0 where it is most of it, as the rest is then not known."""
    share = float(weights @ noise @ weights)
    return share if share < LARGEST_SHARE else 0.0


def _noisy_template(
    templates: tuple[FloatArray, FloatArray] | None,
    always: FloatArray,
    shares: FloatArray,
    row: int,
    noise: float | None,
) -> NoisyTemplate | None:
    """The first template with its noise; None without noise, or where the template is but a constant."""
    if templates is None or not noise or len(always) <= row:
        return None
    norm = float(always[row] @ templates[0][0])
    return NoisyTemplate(row, norm, noise, np.concatenate([np.zeros(len(always)), shares[:, row]]))


def _without(frames: FloatArray, share: FloatArray, modes: FloatArray) -> FloatArray:
    """Frames less their shares of some modes."""
    out = share @ modes
    return np.subtract(frames, out, out=out)


def _stacked(always: FloatArray, mixing: FloatArray, frames: FloatArray) -> FloatArray:
    """The modes of every truncation, and below them the combinations of frames."""
    out = np.empty((len(always) + len(mixing), frames.shape[1]))
    out[: len(always)] = always
    np.matmul(mixing, frames, out=out[len(always) :])
    return out


def _always(
    n_fit: int, n_subtract: int, constant: bool, templates: tuple[FloatArray, FloatArray] | None
) -> tuple[FloatArray, FloatArray]:
    """Modes that belong to every truncation, orthonormal on the fit: the constant and the templates."""
    level = 1.0 / np.sqrt(n_fit)
    fit, rest = np.full((int(constant), n_fit), level), np.full((int(constant), n_subtract), level)
    for pattern_fit, pattern_rest in zip(*templates, strict=True) if templates else ():
        share = fit @ pattern_fit
        left, left_rest = pattern_fit - share @ fit, pattern_rest - share @ rest
        norm = float(np.sqrt(left @ left))
        if norm > 1e-9 * float(np.sqrt(pattern_fit @ pattern_fit)):
            fit, rest = np.vstack([fit, left / norm]), np.vstack([rest, left_rest / norm])
    return fit, rest


def coefficients(model: LinearModel, frames: NDArray[np.floating[Any]]) -> FloatArray:
    """Coefficients of the modes in each frame, for each truncation.

    Parameters
    ----------
    model : LinearModel
    frames : (n, nfit) float ndarray
        Frames on the pixels of the fit; NaN pixels are left out of their frame's fit.

    Returns
    -------
    (nK, n, m) float64 ndarray
        0 beyond the truncation; NaN where too few pixels are good.
    """
    good = np.isfinite(frames)
    whole = good.all(axis=1)
    data = frames if whole.all() else np.where(good, frames, 0.0)
    projection = np.asarray(data, dtype=np.float64) @ model.fit_modes.T
    out = np.zeros((len(model.columns), *projection.shape))
    for t, c in enumerate(model.columns):
        out[t, :, :c] = projection[:, :c] / (1.0 + model.ridge[:c])
    for i in np.flatnonzero(~whole):
        bad = model.fit_modes[:, ~good[i]]
        normal = np.diag(1.0 + model.ridge) - bad @ bad.T
        for t, c in enumerate(model.columns):
            out[t, i, :c] = _solve(normal[:c, :c], projection[i, :c])
    return out


def _solve(normal: FloatArray, right: FloatArray) -> FloatArray:
    """Solve the normal equations of a frame with missing pixels; NaN when they do not determine the coefficients."""
    values, vectors = linalg.eigh(normal)
    if len(values) and values[0] < 1e-6:
        return np.full(len(right), np.nan)
    return np.asarray(vectors @ ((vectors.T @ right) / values))


def subtract(
    model: LinearModel,
    fit_frames: NDArray[np.floating[Any]],
    frames: NDArray[np.floating[Any]] | None = None,
    *,
    signal: bool = False,
) -> FloatArray:
    """Subtract the modeled star from frames, at every truncation.

    Parameters
    ----------
    model : LinearModel
    fit_frames : (n, nfit) float ndarray
        Frames on the pixels of the fit; NaN where bad.
    frames : (n, nsubtract) float ndarray, optional
        Frames on the pixels of subtraction; None if these are the same pixels.
    signal : bool, optional
        The frames are signals that are added to science frames, and hold no noise of a template.

    Returns
    -------
    (nK, n, nsubtract) float64 ndarray
        Residuals; NaN where `frames` are.
    """
    frames = fit_frames if frames is None else frames
    coef = coefficients(model, fit_frames)
    out = np.empty((len(model.columns), *frames.shape))
    if np.isfinite(fit_frames).all():
        out = _subtract_nested(model, coef, frames, out)
    else:
        for t, c in enumerate(model.columns):
            np.matmul(coef[t, :, :c], model.subtract_modes[:c], out=out[t])
            np.subtract(frames, out[t], out=out[t])
    if model.template is not None:
        _without_template_bias(model, model.template, coef, out, signal=signal)
    return out


def _without_template_bias(
    model: LinearModel, template: NoisyTemplate, coef: FloatArray, out: FloatArray, *, signal: bool
) -> None:
    """Change residuals in place to those with the unbiased coefficient of a noisy template; see `NoisyTemplate`."""
    for t, c in enumerate(model.columns):
        factor, direction = template.correction(c)
        least_squares = coef[t, :, :c] @ direction
        more = factor * (least_squares + (0.0 if signal else template.norm))
        out[t] -= np.outer(more, direction @ model.subtract_modes[:c])


def _subtract_nested(
    model: LinearModel, coef: FloatArray, frames: NDArray[np.floating[Any]], out: FloatArray
) -> FloatArray:
    """Frames without NaN share coefficients between truncations: each takes only its own modes off the one before."""
    order = np.argsort(model.columns, kind="stable")
    done, last = 0, np.asarray(frames, dtype=np.float64)
    for t in order:
        c = model.columns[t]
        if c > done:
            np.matmul(coef[t, :, done:c], model.subtract_modes[done:c], out=out[t])
            np.subtract(last, out[t], out=out[t])
        else:
            out[t] = last
        done, last = c, out[t]
    return out


def residual_variance(
    model: LinearModel,
    coef: FloatArray,
    variance_fit: FloatArray,
    variance: FloatArray,
    same_pixels: IntArray | None,
    library_variance: NDArray[np.floating[Any]] | None,
) -> FloatArray:
    """Variance of the residuals of one frame, from the variances of its pixels and of the library's.

    The residual is linear in the science frame, so its noise is carried exactly, including what the coefficients take
    up; the noise of the library is carried through the coefficients of its frames, not the modes (first order).

    Parameters
    ----------
    model : LinearModel
    coef : (nK, m) float64 ndarray
        Coefficients of the frame.
    variance_fit, variance : (nfit,), (nsubtract,) float64 ndarray
        Variances of the frame on the pixels of the fit (NaN: not fitted) and of subtraction.
    same_pixels : (nsubtract,) int ndarray or None
        Position of each subtracted pixel among those of the fit, -1 where it is not; None if they are the same.
    library_variance : (nlibrary, nsubtract) float ndarray or None
        Variances of the library frames; NaN counts as 0.

    Returns
    -------
    (nK, nsubtract) float64 ndarray
    """
    v = np.where(np.isfinite(variance_fit), variance_fit, 0.0)
    shrink = 1.0 / (1.0 + model.ridge)
    moment = ((model.fit_modes * v) @ model.fit_modes.T) * np.outer(shrink, shrink)
    if same_pixels is None:
        fitted = model.fit_modes
    else:
        fitted = np.where(same_pixels >= 0, model.fit_modes[:, np.maximum(same_pixels, 0)], 0.0)
    out = np.empty((len(model.columns), len(variance)))
    for t, c in enumerate(model.columns):
        z = model.subtract_modes[:c]
        cross = np.einsum("ij,ij->j", z * shrink[:c, None], fitted[:c])
        out[t] = variance * (1.0 - 2.0 * cross) + np.einsum("ij,ij->j", moment[:c, :c] @ z, z)
        if library_variance is not None:
            weight = coef[t, :c] @ model.mixing[:c]
            out[t] += weight**2 @ np.where(np.isfinite(library_variance), library_variance, 0.0)
    return out
