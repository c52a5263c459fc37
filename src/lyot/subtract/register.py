"""Registration of the reference frames: shift and brightness of each relative to the science image.

A reference r is modeled as the science image t, moved and scaled, ``r(x, y) = scale t(x - dx, y - dy)``, by weighted
least squares over the good pixels. The sum of squares is a trigonometric sum of the shift, so that after two transforms
of each frame its value, gradient and curvature cost next to nothing at any shift: the best shift on a coarse grid is
looked up first (so that shifts of many pixels are found), Newton steps do the rest.

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
from lyot.subtract.fourier import FrameSums, Gain, ShiftableImage, ShiftedFit, shiftable
from lyot.subtract.sequence import BoolArray, FloatArray

log = logging.getLogger(__name__)

LOW_FREQUENCIES = 0.125
"""Frequencies that a frame is first registered with, cycles per pixel: a quarter of those there are, on either axis."""


@dataclass(frozen=True)
class RegistrationParams:
    """How references are registered to the science image."""

    max_shift: float = param(15.0, help="maximum shift; 0: only the scale is fitted", unit="pixel", min=0.0)
    tolerance: float = param(1e-5, help="change of the shift below which the fit has converged", unit="pixel", min=0.0)
    max_iterations: int = param(40, help="maximum number of iterations of a fit", min=1)
    pad: int = param(
        24,
        help="width of the padding that prevents wrap-around; 0: periodic shift of the official step",
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
        raise ReductionError("registration: no good pixel of the science image has positive weight.")
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
        self.sums = ShiftedFit(self.image)

    def fit(self, frame: NDArray[np.floating[Any]]) -> _Fit:
        """Fit one frame: best whole-pixel shift, then Newton steps."""
        good = np.isfinite(frame)
        weight = self.weight * good
        n_good = int(np.count_nonzero(weight))
        if n_good <= 3:
            return _Fit(np.full(3, np.nan), np.full((3, 3), np.nan), np.nan, False)
        data = np.where(good, frame, 0.0)
        w2 = weight * weight
        weighted = w2 * data
        sums = self.sums.frame(weighted, w2)
        s, gain, settled = np.array([0.0, 0.0]), None, True
        if self.params.max_shift > 0:
            s, gain, settled = self._newton(sums)
            if self.params.pad == 0:
                s, settled = self._polish(s, data, weight)
                gain = None
        gain = sums.gain(s) if gain is None else gain
        power = _Power(float(np.vdot(weighted, data)), float(w2.sum()), n_good)
        return _measure(s, gain, power, settled=settled)

    def _newton(self, sums: FrameSums) -> tuple[FloatArray, Gain, bool]:
        """Shift that explains most; whether it was found near the best one on a coarse grid.

        Low frequencies, a sixteenth of the sums, bring it to a few hundredths of a pixel, all of them to the end. The
        last step, of less than a few ten-thousandths of a pixel, is not followed by a look at where it led: Newton's
        error is of the order of its square.
        """
        start = np.array(sums.coarse(self.params.max_shift))
        near = self._steps(sums.low(LOW_FREQUENCIES), start, start, tolerance=1e-2)
        found = self._steps(sums, start if near is None else near[0], start, tolerance=self.params.tolerance)
        if found is None and near is not None:  # the low frequencies may have led astray
            found = self._steps(sums, start, start, tolerance=self.params.tolerance)
        if found is None:
            return start, sums.gain(start), False
        return found

    def _steps(
        self, sums: FrameSums, s: FloatArray, start: FloatArray, *, tolerance: float
    ) -> tuple[FloatArray, Gain, bool] | None:
        """Newton steps from `s`; None where they do not settle within 4 pixels of `start`."""
        enough = max(tolerance, min(0.1 * tolerance**0.5, 3e-4))
        for _ in range(self.params.max_iterations):
            gain = sums.gain(s)
            values, vectors = np.linalg.eigh(-gain.hessian)
            floor = max(1e-3 * float(np.abs(values).max()), 1e-300)
            step = vectors @ ((vectors.T @ gain.gradient) / np.maximum(np.abs(values), floor))
            length = float(np.hypot(*step))
            s = s + step * min(1.0, 0.7 / max(length, 1e-300))
            if not np.all(np.isfinite(s)) or np.abs(s - start).max() > 4:
                return None
            if length < enough:
                return s, gain, bool(values[0] > 0)
        return None

    def _polish(self, s: FloatArray, data: FloatArray, weight: FloatArray) -> tuple[FloatArray, bool]:
        """Gauss-Newton on the images themselves, the components at the Nyquist frequency included."""
        for _ in range(self.params.max_iterations):
            columns = self.image.shifted_with_gradient(float(s[0]), float(s[1]))
            a = (np.stack(columns) * weight).reshape(3, -1)
            target = (data * weight).ravel()
            scale = float(a[0] @ target) / float(a[0] @ a[0])
            a[1:] *= scale
            step = np.linalg.lstsq(a @ a.T, a @ (target - scale * a[0]), rcond=1e-14)[0][1:]
            s = s + step
            if float(np.hypot(*step)) < self.params.tolerance:
                return s, True
        return s, False


@dataclass(frozen=True)
class _Fit:
    """One frame's parameters (dx, dy, scale), covariance, rms of the residuals, and whether the fit settled."""

    parameters: FloatArray
    covariance: FloatArray
    rms: float
    converged: bool


@dataclass(frozen=True)
class _Power:
    """Weighted sum of squares of a frame, sum of its squared weights, number of pixels with any."""

    total: float
    weight: float
    n_good: int


def _measure(s: FloatArray, gain: Gain, power: _Power, *, settled: bool) -> _Fit:
    """Scale, covariance and rms at the solution; the covariance from the curvature of the sum of squares."""
    left = max(power.total - gain.value, 0.0)
    variance = left / max(power.n_good - 3, 1)
    covariance = np.empty((3, 3))
    shift_covariance = 2 * variance * np.linalg.pinv(-gain.hessian, hermitian=True)
    cross = shift_covariance @ gain.scale_slope
    covariance[:2, :2], covariance[:2, 2], covariance[2, :2] = shift_covariance, cross, cross
    covariance[2, 2] = variance / gain.square + float(gain.scale_slope @ cross)
    rms = float(np.sqrt(left / power.weight))
    good = settled and bool(np.all(np.isfinite(s))) and gain.scale > 0
    return _Fit(np.array([*s, gain.scale]), covariance, rms, good)
