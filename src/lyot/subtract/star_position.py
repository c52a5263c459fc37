"""Where the star stands behind the mask, from its image: a fit of the model of the optics to several exposures at once.

What the mask leaves of a centered star is even in its offset only if nothing else is uneven. The pupil's supports
and segments leave light that is real and even in the image plane; an offset adds light that is real and odd, and so the
image changes to first order in the offset, with a sign. What looks like an offset to first order is a wavefront error
that is odd over the pupil, such as coma: one exposure alone cannot tell 3 mas from 20 nm of it. Exposures of the same
wavefront at different offsets can, as the light of the second order in the offset differs: references on the small-grid
dither do that for the science exposures. All exposures are therefore fitted together:

    D_e = F_e I(x_e, y_e; z) + c_e + b_e B,

with one set of wavefront coefficients z, of which the prior is the telescope's usual wavefront error. Differences
between the exposures' offsets are much better known than their mean.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lyot.errors import InputError, ReductionError
from lyot.optics.small_errors import SmallErrors
from lyot.params import param
from lyot.subtract.sequence import BoolArray, FloatArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StarFitParams:
    """How the star's position is fitted."""

    radius: float = param(
        1.6, help="radius around the mask center within which pixels are fitted", unit="arcsec", min=0.5, max=3.0
    )
    model_error: float = param(0.02, help="error of the model image, relative to the star", min=0.0, max=1.0)
    prior: float = param(20.0, help="typical offset of the star from its nominal position (prior)", unit="mas", min=0.1)
    floor: float = param(
        1.5, help="systematic error of the fit not included in the optics model, per axis", unit="mas", min=0.0
    )
    relative_floor: float = param(
        0.5, help="error of the differences between exposures due to wavefront drifts, per axis", unit="mas", min=0.0
    )
    largest_residual: float = param(
        0.15,
        help="maximum rms of the residuals as a fraction of the starlight; a larger value rejects the fit",
        min=0.0,
    )
    largest_offset: float = param(
        60.0, help="maximum accepted offset, limited by the range of the model expansion", unit="mas", min=1.0
    )


@dataclass(frozen=True)
class StarFit:
    """Where the star is in each exposure.

    Attributes
    ----------
    offset : (n, 2) float64 ndarray
        (dx, dy) from the mask's center along the detector's axes, mas.
    error : (n, 2) float64 ndarray
        One sigma: of the fit (widened where the residuals ask for it) and the floor, in quadrature.
    relative_error : (n, 2) float64 ndarray
        Of the offset from the mean of all exposures, with `relative_floor`, mas.
    flux : (n,) float64 ndarray
        Of the star, unit of the frames in which the model's psf is 1.
    residual : (n,) float64 ndarray
        rms of what the model leaves beyond the noise of the pixels, over the rms of the star's light.
    reduced_chi2 : float
    believed : bool
        Whether the fit is good enough to be used.
    reason : str
        Why not; empty if it is.
    """

    offset: FloatArray
    error: FloatArray
    relative_error: FloatArray
    flux: FloatArray
    residual: FloatArray
    reduced_chi2: float
    believed: bool
    reason: str


def fit_star(
    frames: NDArray[np.floating[Any]],
    model: SmallErrors,
    *,
    variance: NDArray[np.floating[Any]] | None = None,
    expected: NDArray[np.floating[Any]] | None = None,
    background: NDArray[np.floating[Any]] | None = None,
    params: StarFitParams | None = None,
) -> StarFit:
    """Fit the star's offset from the mask's center in several exposures.

    Parameters
    ----------
    frames : (n, npixels) float ndarray
        Mean frame of each exposure on the pixels of `model`, any unit; NaN where bad.
    model : SmallErrors
        Fields of the star on these pixels, with modes of the wavefront.
    variance : (n, npixels) float ndarray, optional
        Of the frames; by default the model's error alone counts.
    expected : (n, 2) float ndarray, optional
        Where the star should be, mas (dithers); by default at the mask's center.
    background : (npixels,) float ndarray, optional
        Pattern of the background that may be left, beside a constant; NaN counts as 0.
    params : StarFitParams, optional

    Raises
    ------
    InputError
        If shapes do not agree.
    ReductionError
        If an exposure has too few good pixels, or they do not determine the fit.
    """
    p = params or StarFitParams()
    data = np.atleast_2d(np.asarray(frames, dtype=np.float64))
    if data.shape[1] != model.fields.shape[2]:
        raise InputError(f"frames have {data.shape[1]} pixels, the model of the star {model.fields.shape[2]}.")
    good = np.isfinite(data)
    if variance is not None:
        good &= np.isfinite(variance) & (np.asarray(variance) >= 0)
    if good.sum(axis=1).min() < 50:
        raise ReductionError("star position: fewer than 50 good pixels near the mask center in an exposure.")
    noise = np.zeros(data.shape) if variance is None else np.where(good, variance, 0.0)
    where = np.zeros((len(data), 2)) if expected is None else np.asarray(expected, dtype=np.float64)
    patterns = [np.ones(data.shape[1])]
    if background is not None:
        patterns.append(np.nan_to_num(np.asarray(background, dtype=np.float64)))
    fit = _Fit(np.where(good, data, 0.0), good, noise, model, where, np.array(patterns), p)
    try:
        fit.run()
    except linalg.LinAlgError as error:
        raise ReductionError(f"star position: the pixels do not determine the fit ({error}).") from error
    return fit.result()


class _Fit:
    """Levenberg-Marquardt over the shared wavefront and, for each exposure, flux, background and offset."""

    def __init__(
        self,
        data: FloatArray,
        good: BoolArray,
        noise: FloatArray,
        model: SmallErrors,
        expected: FloatArray,
        patterns: FloatArray,
        params: StarFitParams,
    ) -> None:
        self.data, self.good, self.noise = data, good, noise
        self.model, self.expected, self.patterns, self.params = model, expected, patterns, params
        self.n, self.k = len(data), model.n_modes
        self.each = 3 + len(patterns)
        self.z = np.zeros(self.k)
        self.own = np.zeros((self.n, self.each))  # offset (2), flux, background
        self.own[:, :2] = expected
        self.weight = np.zeros(data.shape)
        self.settled = False
        for e in range(self.n):
            image = model.image((expected[e, 0], expected[e, 1]), self.z)
            columns = np.vstack([image, patterns])[:, good[e]]
            self.own[e, 2:] = np.linalg.lstsq(columns.T, data[e, good[e]], rcond=None)[0]

    def run(self) -> None:
        """Fit, with weights made anew from the model and the residuals a few times."""
        for _ in range(4):
            self._weigh()
            damping, cost = 1e-3, self._cost(self.z, self.own)
            for _ in range(15):
                normal, gradient = self._equations()
                while True:
                    step = linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient, assume_a="pos")
                    z, own = self.z + step[: self.k], self.own + step[self.k :].reshape(self.own.shape)
                    new = self._cost(z, own)
                    if new <= cost or damping > 1e8:
                        break
                    damping *= 10
                if not new <= cost:
                    break
                gain, cost, damping = cost - new, new, max(damping / 10, 1e-9)
                self.z, self.own = z, own
                if gain < 1e-2:
                    self.settled = True
                    break

    def _weigh(self) -> None:
        """Weights of the pixels: noise, error of the model (half of it flat), less for outliers such as a planet."""
        for e in range(self.n):
            image, left = self._image(e), self._left(e)
            error = self.params.model_error * abs(self.own[e, 2])
            sigma2 = self.noise[e] + error**2 * 0.5 * (image**2 + np.mean(image**2)) + 1e-300
            pull = np.abs(left) / np.sqrt(sigma2)
            spread = max(1.0, 1.4826 * float(np.median(pull[self.good[e]])))
            self.weight[e] = self.good[e] / sigma2 * np.minimum(1.0, 2.5 * spread / np.maximum(pull, 1e-12))

    def _image(self, e: int) -> FloatArray:
        return self.model.image((float(self.own[e, 0]), float(self.own[e, 1])), self.z)

    def _left(self, e: int) -> FloatArray:
        return np.asarray(self.data[e] - self.own[e, 2] * self._image(e) - self.own[e, 3:] @ self.patterns)

    def _cost(self, z: FloatArray, own: FloatArray) -> float:
        cost = float(z @ z) + float(np.sum((own[:, :2] - self.expected) ** 2)) / self.params.prior**2
        for e in range(self.n):
            image = self.model.image((float(own[e, 0]), float(own[e, 1])), z)
            left = self.data[e] - own[e, 2] * image - own[e, 3:] @ self.patterns
            cost += float(np.sum(self.weight[e] * left * left))
        return cost

    def _equations(self) -> tuple[FloatArray, FloatArray]:
        """Normal matrix and gradient."""
        size = self.k + self.n * self.each
        normal, gradient = np.zeros((size, size)), np.zeros(size)
        normal[: self.k, : self.k] = np.eye(self.k)
        gradient[: self.k] = -self.z
        for e in range(self.n):
            first = self.k + e * self.each
            image, slopes = self.model.image_with_slopes((float(self.own[e, 0]), float(self.own[e, 1])), self.z)
            flux = self.own[e, 2]
            columns = np.vstack([flux * slopes[2:], flux * slopes[:2], image, self.patterns])
            left = self.data[e] - flux * image - self.own[e, 3:] @ self.patterns
            index = np.r_[np.arange(self.k), np.arange(first, first + self.each)]
            weighted = columns * self.weight[e]
            normal[np.ix_(index, index)] += weighted @ columns.T
            gradient[index] += weighted @ left
            for axis in range(2):
                normal[first + axis, first + axis] += 1 / self.params.prior**2
                gradient[first + axis] -= (self.own[e, axis] - self.expected[e, axis]) / self.params.prior**2
        return normal, gradient

    def result(self) -> StarFit:
        """Offsets and what to think of them."""
        left = np.array([self._left(e) for e in range(self.n)]) * self.good
        light = np.array([self.own[e, 2] * self._image(e) for e in range(self.n)]) * self.good
        beyond = np.maximum((left**2 - self.noise * self.good).sum(axis=1), 0.0)  # short exposures are not at fault
        residual = np.sqrt(beyond / np.maximum((light**2).sum(axis=1), 1e-300))
        freedom = max(int(self.good.sum()) - self.k - self.own.size, 1)
        chi2 = float(np.sum(self.weight * left**2)) / freedom
        covariance = linalg.pinvh(self._equations()[0]) * max(chi2, 1.0)
        index = self.k + np.arange(self.n)[:, None] * self.each + np.arange(2)
        error = np.sqrt(covariance[index, index])
        relative = np.empty_like(error)
        for axis in range(2):
            mine = covariance[np.ix_(index[:, axis], index[:, axis])]
            centering = np.eye(self.n) - 1 / self.n
            relative[:, axis] = np.sqrt(np.maximum(np.diag(centering @ mine @ centering), 0.0))
        reason = self._doubts(residual)
        return StarFit(
            offset=self.own[:, :2].copy(),
            error=np.hypot(error, self.params.floor),
            relative_error=np.hypot(relative, self.params.relative_floor),
            flux=self.own[:, 2].copy(),
            residual=residual,
            reduced_chi2=chi2,
            believed=not reason,
            reason=reason,
        )

    def _doubts(self, residual: FloatArray) -> str:
        p = self.params
        worst = float(np.max(residual))
        if not self.settled:
            return "the fit did not converge"
        if not np.all(self.own[:, 2] > 0):
            return "no star is detected behind the mask"
        if worst > p.largest_residual:
            return f"the optics model leaves {100 * worst:.0f} % of the starlight (rms)"
        if float(np.abs(self.own[:, :2]).max()) > p.largest_offset:
            return f"the star would be {float(np.abs(self.own[:, :2]).max()):.0f} mas from the mask center"
        return ""
