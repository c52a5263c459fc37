"""Registration of the reference frames: shift and brightness of each relative to the science image.

A reference r is modelled as the science image t, moved and scaled, ``r(x, y) = scale t(x - dx, y - dy)``, by weighted
least squares over the good pixels: Gauss-Newton with the analytic (Fourier) gradient of the science image. A masked
correlation over whole pixels comes first, so that shifts of many pixels are found.

Behind a four-quadrant phase mask the image of the star changes its shape, not only its place, when the star moves by
a hundredth of an arcsec. Registration by images is then a matter of taste: see `RegistrationParams.max_shift`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError, ReductionError
from lyot.params import param
from lyot.subtract.combine import fill_bad
from lyot.subtract.fourier import ShiftableImage, masked_correlation, shiftable
from lyot.subtract.sequence import BoolArray, FloatArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegistrationParams:
    """How references are registered to the science image."""

    max_shift: float = param(
        15.0, help="largest shift that is looked for; 0 fits the scale only", unit="pixel", min=0.0
    )
    tolerance: float = param(1e-5, help="change of the shift at which the fit has converged", unit="pixel", min=0.0)
    max_iterations: int = param(40, help="largest number of iterations of a fit", min=1)
    pad: int = param(
        24,
        help="pixels of padding against wrap-around; 0 for the periodic shift of the official step",
        unit="pixel",
        min=0,
    )


@dataclass(frozen=True)
class Registration:
    """Where each frame is relative to the science image.

    Attributes
    ----------
    shift : (n, 2) float64 ndarray
        (dx, dy) of each frame, pixels: positive if its star is further toward +x, +y.
    scale : (n,) float64 ndarray
        Brightness of each frame relative to the science image.
    covariance : (n, 3, 3) float64 ndarray
        Of (dx, dy, scale), from the scatter of the residuals of the fit.
    residual_rms : (n,) float64 ndarray
        rms of the residuals over the pixels of the fit, unit of the frames.
    converged : (n,) bool ndarray
        False where the fit did not settle; its frame should be looked at or left out.
    """

    shift: FloatArray
    scale: FloatArray
    covariance: FloatArray
    residual_rms: FloatArray
    converged: BoolArray

    @property
    def uncertainty(self) -> FloatArray:
        """One-sigma uncertainty of (dx, dy, scale): (n, 3)."""
        return np.sqrt(np.einsum("nii->ni", self.covariance))


def register(
    frames: NDArray[np.floating[Any]],
    science: NDArray[np.floating[Any]],
    *,
    weight: NDArray[Any] | None = None,
    params: RegistrationParams | None = None,
) -> Registration:
    """Measure shift and scale of frames relative to a science image.

    Parameters
    ----------
    frames : (n, ny, nx) float ndarray
        Reference frames, NaN where bad.
    science : (ny, nx) float ndarray
        Science image, NaN where bad; best the mean of all integrations.
    weight : (ny, nx) array, optional
        Weight of each pixel's residual (as in the official step: residuals are multiplied by it); 0 leaves it out.
    params : RegistrationParams, optional

    Returns
    -------
    Registration

    Raises
    ------
    InputError
        If shapes differ.
    ReductionError
        If no pixel is good in the science image.
    """
    params = RegistrationParams() if params is None else params
    frames = np.asarray(frames)
    frames = frames[np.newaxis] if frames.ndim == 2 else frames
    science = np.array(science, dtype=np.float64)
    if frames.shape[1:] != science.shape:
        raise InputError(f"frames have shape {frames.shape[1:]}, the science image {science.shape}; they must agree.")
    weight = np.ones(science.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if weight.shape != science.shape:
        raise InputError(f"weight has shape {weight.shape}; expected {science.shape}, as the science image.")
    if not (np.isfinite(science) & (weight > 0)).any():
        raise ReductionError("registration: no pixel of the science image is both good and of positive weight.")
    template = _Template(np.asarray(science, dtype=np.float64), weight, params)
    fits = [template.fit(frame) for frame in frames]
    return Registration(
        shift=np.array([f.parameters[:2] for f in fits]).reshape(-1, 2),
        scale=np.array([f.parameters[2] for f in fits]),
        covariance=np.array([f.covariance for f in fits]).reshape(-1, 3, 3),
        residual_rms=np.array([f.rms for f in fits]),
        converged=np.array([f.converged for f in fits], dtype=bool),
    )


def align(
    frames: NDArray[np.floating[Any]], registration: Registration, *, pad: int = 24, variance: bool = False
) -> FloatArray:
    """Shift frames back onto the science image.

    Parameters
    ----------
    frames : (n, ny, nx) float ndarray
        NaN where bad.
    registration : Registration
        Of these frames; the brightness is left as it is.
    pad : int, optional
        Padding against wrap-around, pixels; 0 for the periodic shift of the official step.
    variance : bool, optional
        The frames are variances: interpolated linearly, so that they stay positive and bad pixels do not spread.

    Returns
    -------
    (n, ny, nx) float64 ndarray
        NaN where the nearest pixel of the frame was.
    """
    out = np.empty(frames.shape)
    for i, (frame, (dx, dy)) in enumerate(zip(frames, registration.shift, strict=True)):
        good = np.isfinite(frame)
        filled = fill_bad(frame, good)
        if variance:
            from scipy import ndimage

            out[i] = ndimage.shift(filled, (-dy, -dx), order=1, mode="nearest")
        else:
            out[i] = shiftable(filled, pad=pad).shifted(-dx, -dy)
        if not good.all():
            out[i][_moved(~good, round(-dx), round(-dy))] = np.nan
    return out


def _moved(mask: BoolArray, dx: int, dy: int) -> BoolArray:
    """Mask moved by whole pixels, False where nothing comes in."""
    ny, nx = mask.shape
    out = np.zeros_like(mask)
    if abs(dx) >= nx or abs(dy) >= ny:
        return out
    to_y, from_y = slice(max(dy, 0), ny + min(dy, 0)), slice(max(-dy, 0), ny + min(-dy, 0))
    to_x, from_x = slice(max(dx, 0), nx + min(dx, 0)), slice(max(-dx, 0), nx + min(-dx, 0))
    out[to_y, to_x] = mask[from_y, from_x]
    return out


class _Template:
    """The science image, with what is computed once for all frames."""

    def __init__(self, science: FloatArray, weight: FloatArray, params: RegistrationParams) -> None:
        self.params = params
        good = np.isfinite(science)
        self.filled = fill_bad(science, good)
        self.weight = np.where(good, weight, 0.0)
        self.image: ShiftableImage = shiftable(self.filled, pad=params.pad)
        self.at_zero = self.image.shifted_with_gradient(0.0, 0.0)

    def fit(self, frame: NDArray[np.floating[Any]]) -> _Fit:
        """Fit one frame: from no shift, and from the best whole-pixel shift if that does not explain the frame."""
        good = np.isfinite(frame)
        weight = self.weight * good
        if np.count_nonzero(weight) <= 3:
            return _Fit(np.full(3, np.nan), np.full((3, 3), np.nan), np.nan, False)
        data = np.where(good, frame, 0.0)
        if self.params.max_shift == 0:
            scale = _scale(self.filled, data, weight)
            return _measure(np.array([0.0, 0.0, scale]), self.at_zero, data, weight, settled=True)
        first = self._descend((0.0, 0.0), data, weight)
        if first.converged and np.abs(first.parameters[:2]).max() < 2 and _explains(first, data, weight):
            return first
        start = self._coarse(data, weight)
        second = self._descend(start, data, weight)
        return max(first, second, key=lambda fit: (fit.converged, -fit.rms))

    def _coarse(self, data: FloatArray, weight: FloatArray) -> tuple[float, float]:
        """Best shift by whole pixels."""
        reach = int(np.ceil(self.params.max_shift))
        masks = (self.weight > 0).astype(float), (weight > 0).astype(float)
        corr = masked_correlation(self.filled, data, *masks, reach)
        iy, ix = np.unravel_index(int(np.argmax(corr)), corr.shape)
        return float(ix - reach), float(iy - reach)

    def _descend(self, start: tuple[float, float], data: FloatArray, weight: FloatArray) -> _Fit:
        """Gauss-Newton with the gradient of the image where it stands."""
        s = np.array(start)
        limit = self.params.max_shift + 1.0
        columns = self.at_zero
        for iteration in range(self.params.max_iterations):
            if iteration or start != (0.0, 0.0):
                columns = self.image.shifted_with_gradient(float(s[0]), float(s[1]))
            scale = _scale(columns[0], data, weight)
            step, scale = _linear_step(columns, data, weight, scale)
            length = float(np.hypot(*step))
            s = s + step * min(1.0, 2.0 / max(length, 1e-300))
            if not np.all(np.isfinite(s)) or np.abs(s).max() > limit:
                break
            if length < self.params.tolerance:
                return _measure(np.array([*s, scale]), columns, data, weight, settled=True)
        return _Fit(np.array([*s, np.nan]), np.full((3, 3), np.nan), np.inf, False)


@dataclass(frozen=True)
class _Fit:
    """One frame's parameters (dx, dy, scale), covariance, rms of the residuals, and whether the fit settled."""

    parameters: FloatArray
    covariance: FloatArray
    rms: float
    converged: bool


def _measure(
    p: FloatArray,
    columns: tuple[FloatArray, FloatArray, FloatArray],
    data: FloatArray,
    weight: FloatArray,
    *,
    settled: bool,
) -> _Fit:
    used = weight > 0
    n = int(np.count_nonzero(used))
    jacobian = np.stack([p[2] * columns[1], p[2] * columns[2], columns[0]]) * weight
    flat = jacobian.reshape(3, -1)
    difference = data - p[2] * columns[0]
    residual = (difference * weight).ravel()
    variance = float(residual @ residual) / max(n - 3, 1)
    covariance = np.asarray(variance * np.linalg.pinv(flat @ flat.T, hermitian=True), dtype=np.float64)
    rms = float(np.sqrt(np.sum(difference[used] ** 2) / n))
    return _Fit(p, covariance, rms, settled and bool(p[2] > 0))


def _explains(fit: _Fit, data: FloatArray, weight: FloatArray) -> bool:
    """Whether the fit leaves less than a fifth of the variance of the frame."""
    return fit.rms**2 < 0.2 * float(np.var(data[weight > 0]))


def _scale(model: FloatArray, data: FloatArray, weight: FloatArray) -> float:
    m = model * weight
    norm = float(np.vdot(m, m))
    return float(np.vdot(m, data * weight)) / norm if norm > 0 else 1.0


def _linear_step(
    columns: tuple[FloatArray, FloatArray, FloatArray], data: FloatArray, weight: FloatArray, scale: float
) -> tuple[FloatArray, float]:
    """Step (dx, dy) of the linearised fit, and the new scale."""
    a = (np.stack([columns[1], columns[2], columns[0]]) * weight).reshape(3, -1)
    a[:2] *= scale
    right = a @ ((data - scale * columns[0]) * weight).ravel()
    solution = np.linalg.lstsq(a @ a.T, right, rcond=1e-14)[0]
    return np.asarray(solution[:2], dtype=np.float64), scale + float(solution[2])
