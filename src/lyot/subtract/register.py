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
    tolerance: float = param(1e-6, help="change of the shift at which the fit has converged", unit="pixel", min=0.0)
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
        shift=np.array([f[0][:2] for f in fits]).reshape(-1, 2),
        scale=np.array([f[0][2] for f in fits]),
        covariance=np.array([f[1] for f in fits]).reshape(-1, 3, 3),
        residual_rms=np.array([f[2] for f in fits]),
        converged=np.array([f[3] for f in fits], dtype=bool),
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
        self.good = np.isfinite(science)
        self.filled = fill_bad(science, self.good)
        self.weight = np.where(self.good, weight, 0.0)
        self.image: ShiftableImage = shiftable(self.filled, pad=params.pad)
        self.at_zero = self.image.shifted_with_gradient(0.0, 0.0)

    def fit(self, frame: NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray, float, bool]:
        """Parameters (dx, dy, scale), covariance, residual rms and convergence for one frame."""
        good = np.isfinite(frame)
        weight = self.weight * good
        if np.count_nonzero(weight) <= 3:
            return np.full(3, np.nan), np.full((3, 3), np.nan), np.nan, False
        data = fill_bad(frame, good)
        if self.params.max_shift == 0:
            return self._finish(np.array([0.0, 0.0, self._scale(data, weight)]), data, weight, settled=True)
        best: tuple[FloatArray, FloatArray, float, bool] | None = None
        for start in self._starts(data, weight):
            p, settled = self._descend(start, data, weight)
            result = self._finish(p, data, weight, settled=settled)
            if best is None or (result[3], -result[2]) > (best[3], -best[2]):
                best = result
        assert best is not None
        return best

    def _scale(self, data: FloatArray, weight: FloatArray) -> float:
        t = self.filled * weight
        return float(np.vdot(t, data * weight) / np.vdot(t, t))

    def _starts(self, data: FloatArray, weight: FloatArray) -> list[tuple[float, float]]:
        """No shift, and the best shift by whole pixels if that is another."""
        reach = int(np.ceil(self.params.max_shift))
        binary = (weight > 0).astype(float)
        corr = masked_correlation(self.filled, data, (self.weight > 0).astype(float), binary, reach)
        iy, ix = np.unravel_index(int(np.argmax(corr)), corr.shape)
        dx, dy = float(ix - reach), float(iy - reach)
        near = max(abs(dx), abs(dy)) <= 1
        return [(0.0, 0.0)] if near else [(dx, dy), (0.0, 0.0)]

    def _descend(self, start: tuple[float, float], data: FloatArray, weight: FloatArray) -> tuple[FloatArray, bool]:
        """Gauss-Newton: gradient at the start, then again at each solution until it does not move any more."""
        s = np.array(start)
        columns = self.at_zero if start == (0.0, 0.0) else self.image.shifted_with_gradient(*start)
        limit = self.params.max_shift + 1.0
        for _ in range(self.params.max_iterations):
            scale = _linear_scale(columns[0], data, weight)
            step, scale = _linear_step(columns, data, weight, scale)
            length = float(np.hypot(*step))
            if length > 2.0:
                step *= 2.0 / length
            s = s + step
            if not np.all(np.isfinite(s)) or np.abs(s).max() > limit:
                return np.array([*s, scale]), False
            if length < self.params.tolerance:
                return np.array([*s, scale]), True
            columns = self.image.shifted_with_gradient(float(s[0]), float(s[1]))
        return np.array([*s, scale]), False

    def _finish(
        self, p: FloatArray, data: FloatArray, weight: FloatArray, *, settled: bool
    ) -> tuple[FloatArray, FloatArray, float, bool]:
        if not np.all(np.isfinite(p)):
            return p, np.full((3, 3), np.nan), np.inf, False
        t, gx, gy = self.image.shifted_with_gradient(float(p[0]), float(p[1]))
        used = weight > 0
        w = weight[used]
        jacobian = np.stack([p[2] * gx[used], p[2] * gy[used], t[used]]) * w
        residual = (data[used] - p[2] * t[used]) * w
        dof = max(len(w) - 3, 1)
        variance = float(residual @ residual) / dof
        covariance = np.asarray(variance * np.linalg.pinv(jacobian @ jacobian.T, hermitian=True), dtype=np.float64)
        return p, covariance, float(np.sqrt(np.mean((residual / w) ** 2))), settled and bool(p[2] > 0)


def _linear_scale(model: FloatArray, data: FloatArray, weight: FloatArray) -> float:
    m = model * weight
    norm = float(np.vdot(m, m))
    return float(np.vdot(m, data * weight)) / norm if norm > 0 else 1.0


def _linear_step(
    columns: tuple[FloatArray, FloatArray, FloatArray], data: FloatArray, weight: FloatArray, scale: float
) -> tuple[FloatArray, float]:
    """Step (dx, dy) of the linearised fit, and the new scale."""
    used = weight > 0
    w = weight[used]
    a = np.stack([scale * columns[1][used], scale * columns[2][used], columns[0][used]]) * w
    right = a @ ((data[used] - scale * columns[0][used]) * w)
    solution = np.linalg.lstsq(a @ a.T, right, rcond=1e-14)[0]
    return np.asarray(solution[:2], dtype=np.float64), scale + float(solution[2])
