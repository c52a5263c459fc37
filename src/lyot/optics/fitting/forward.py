"""Images of a star behind the four-quadrant mask and, by the adjoint of each operation, gradients of a loss.

The model is that of `lyot.optics.model` on a coarser pupil. Every operation from the stop, the wavefront, the pointing
and the mask's errors to the pixels is linear or a square, so that the gradient of a function of the pixels with respect
to all of them costs no more than a second image, and needs no automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse

from lyot.geometry import ARCSEC
from lyot.instrument import Coronagraph
from lyot.optics import field as _field
from lyot.optics import propagate
from lyot.optics.pupil import CIRCUMSCRIBED_DIAMETER, jwst_pupil

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_REACH = 8  # samples on either side of a pixel's center over which its response is taken
_PERIOD, _FINER = 64, 16  # samples of the periodic table of the response, and points between two of them


@dataclass(frozen=True)
class Gradient:
    """Derivatives of a loss.

    Attributes
    ----------
    stop, opd : (n, n) float64 ndarray
        With respect to the stop's transmission, and to the wavefront, per m.
    offset : (nexp, 2) float64 ndarray
        With respect to the star's offset along the mask's axes, per arcsec.
    center : (2,) float64 ndarray
        With respect to the mask's position on the detector, along the mask's axes, per arcsec.
    phase_error : float
    leak : (2,) float64 ndarray
        Real and imaginary part.
    diffusion : float
        With respect to the variance of the charge diffusion, per arcsec^2.
    """

    stop: FloatArray
    opd: FloatArray
    offset: FloatArray
    center: FloatArray
    phase_error: float
    leak: FloatArray
    diffusion: float

    def with_shared(self, other: Gradient) -> Gradient:
        """With the derivatives of another image of the same optics added, but for the offsets, which are its own."""
        return Gradient(
            self.stop + other.stop,
            self.opd + other.opd,
            self.offset,
            self.center + other.center,
            self.phase_error + other.phase_error,
            self.leak + other.leak,
            self.diffusion + other.diffusion,
        )


class Pixels:
    """Detector pixels that sample an image in the mask frame, with charge diffusion between them.

    Parameters
    ----------
    coronagraph : Coronagraph
    dx, dy : (npixels,) float64 ndarray
        Centers of the pixels from that of the mask along the detector's axes, arcsec.
    step : float
        Spacing of the image's samples, arcsec.
    diffusions : (3,) of float
        Sigmas, arcsec, at which the response is tabulated; between them it is interpolated in the variance.
    """

    def __init__(
        self,
        coronagraph: Coronagraph,
        dx: FloatArray,
        dy: FloatArray,
        step: float,
        diffusions: tuple[float, float, float] = (0.01, 0.045, 0.07),
    ) -> None:
        u, v = _field.to_mask_frame(dx, dy, coronagraph.boundary_tilt)
        self.grid = _field.sample_grid(u, v, step=step)
        self._variances = np.array(diffusions) ** 2
        self._weights = [_weights(coronagraph, self.grid, u, v, s) for s in diffusions]
        self._transposed = [w.T.tocsr() for w in self._weights]

    def __call__(self, image: FloatArray, variance: float) -> FloatArray:
        """Light in the pixels of an image (nv, nu) on `grid`: (npixels,)."""
        share = self._shares(variance)[0]
        return np.asarray(sum(s * (w @ image.ravel()) for s, w in zip(share, self._weights, strict=True)))

    def back(self, pixels: FloatArray, image: FloatArray, variance: float) -> tuple[FloatArray, float]:
        """Adjoint of the call: gradient with respect to the image, and to the variance of the charge diffusion."""
        share, slope = self._shares(variance)
        spread = sum(s * (w @ pixels) for s, w in zip(share, self._transposed, strict=True))
        by_variance = sum(s * float(pixels @ (w @ image.ravel())) for s, w in zip(slope, self._weights, strict=True))
        return np.asarray(spread).reshape(self.grid.shape), float(by_variance)

    def _shares(self, variance: float) -> tuple[FloatArray, FloatArray]:
        """Lagrange weights of the three tables, and their derivatives."""
        at = self._variances
        value, slope = np.empty(3), np.empty(3)
        for i in range(3):
            a, b = at[[j for j in range(3) if j != i]]
            scale = (at[i] - a) * (at[i] - b)
            value[i], slope[i] = (variance - a) * (variance - b) / scale, (2 * variance - a - b) / scale
        return value, slope


def _weights(
    c: Coronagraph, grid: _field.SampleGrid, u: FloatArray, v: FloatArray, diffusion: float
) -> sparse.csr_matrix:
    """Weights of the image's samples in each pixel: (npixels, nv * nu).

    The response of a pixel, limited to the frequencies that an image can hold, is tabulated finely and looked up.
    """
    axis = np.asarray(np.arange(_PERIOD) * grid.step, dtype=np.float64)
    period = _field.SampleGrid(axis, axis, grid.step)
    response = _field.pixel_response(period, c, diffusion)
    f = np.abs(fft.fftfreq(_PERIOD, grid.step))
    band = CIRCUMSCRIBED_DIAMETER * 1.06 / ((c.wavelength - c.bandwidth / 2) * 1e-6) * ARCSEC
    taper = np.cos(np.pi / 2 * np.clip((f - band) / (0.5 / grid.step - band), 0.0, 1.0)) ** 2
    half = _PERIOD // 2 + 1
    n = _PERIOD * _FINER
    table = np.zeros((n, n // 2 + 1), dtype=np.complex128)
    rows = fft.fftfreq(_PERIOD, 1 / _PERIOD).astype(int)
    table[rows[:, None], np.arange(half)[None, :]] = response * taper[:, None] * taper[None, :half]
    fine = fft.fftshift(fft.irfft2(table, s=(n, n))) * _FINER**2
    smooth = ndimage.spline_filter(fine, order=3, mode="grid-wrap")
    k = np.arange(-_REACH, _REACH + 1)
    column = np.rint((u - grid.u[0]) / grid.step).astype(int)[:, None] + k
    row = np.rint((v - grid.v[0]) / grid.step).astype(int)[:, None] + k
    at_u = ((column * grid.step + grid.u[0]) - u[:, None]) / grid.step * _FINER + n // 2
    at_v = ((row * grid.step + grid.v[0]) - v[:, None]) / grid.step * _FINER + n // 2
    shape = (len(u), len(k), len(k))
    where = [np.broadcast_to(at_v[:, :, None], shape), np.broadcast_to(at_u[:, None, :], shape)]
    value = ndimage.map_coordinates(smooth, where, order=3, mode="grid-wrap", prefilter=False)
    index = row[:, :, None] * grid.u.size + column[:, None, :]
    pixel = np.broadcast_to(np.arange(len(u))[:, None, None], shape)
    size = (len(u), grid.u.size * grid.v.size)
    return sparse.csr_matrix((value.ravel(), (pixel.ravel(), index.ravel())), shape=size)


@dataclass(frozen=True)
class Star:
    """What an image of a star depends on.

    Attributes
    ----------
    stop, opd : (n, n) float64 ndarray
        Transmission of the Lyot stop; wavefront error, m.
    offset : (nexp, 2) float64 ndarray
        Of the star along the mask's axes, arcsec, in each exposure.
    center : (2,) float64 ndarray
        Position of the mask on the detector from its nominal one, along the mask's axes, arcsec.
    phase_error : float
        Relative error of the mask's phase step.
    leak : complex
        Field that passes as if there were no mask.
    variance : float
        Of the charge diffusion, arcsec^2.
    """

    stop: FloatArray
    opd: FloatArray
    offset: FloatArray
    center: FloatArray
    phase_error: float
    leak: complex
    variance: float


@dataclass(frozen=True)
class _Kept:
    """What the adjoint needs of one wavelength."""

    field: ComplexArray
    odd: ComplexArray
    even: ComplexArray
    behind: ComplexArray
    shift: ComplexArray
    amplitude: ComplexArray
    to_v: ComplexArray
    to_u: ComplexArray


class StarImages:
    """Images of a star and their adjoint, for one coronagraph.

    Parameters
    ----------
    coronagraph : Coronagraph
        With a four-quadrant mask.
    npix : int
        Samples across the pupil array.
    n_wavelengths : int
        Wavelengths over the band.
    """

    def __init__(self, coronagraph: Coronagraph, npix: int, n_wavelengths: int) -> None:
        self.coronagraph = c = coronagraph
        self.pupil = jwst_pupil(npix)
        spread = (np.arange(n_wavelengths) + 0.5) / n_wavelengths - 0.5
        self.wavelengths = (c.wavelength + c.bandwidth * spread) * 1e-6
        photons = self.wavelengths**-3.0
        self.weights = photons / photons.sum()
        half = _field.window_half_width(c)
        xi = self.pupil.coordinates
        self._kernels = [
            (propagate.window_kernel(xi, half, w), propagate.sign_kernel(xi, half, w)) for w in self.wavelengths
        ]
        self.image_step = float(self.wavelengths.min() / CIRCUMSCRIBED_DIAMETER / ARCSEC / 4.5)

    def pixels(self, dx: FloatArray, dy: FloatArray) -> Pixels:
        """Pixels at offsets (dx, dy) from the mask's center, arcsec, 1-D."""
        return Pixels(self.coronagraph, dx, dy, self.image_step)

    def __call__(
        self, star: Star, pixels: Pixels, *, mask: bool = True
    ) -> tuple[FloatArray, Callable[[FloatArray], Gradient]]:
        """Images in the unit of `CoronagraphModel.psf`, (nexp, npixels), and the function that gives gradients.

        It takes the derivative of a loss with respect to the images, (nexp, npixels). Without `mask` the star shines
        through the stop alone, and there is no gradient.
        """
        xi = self.pupil.coordinates
        energy = float(((self.pupil.amplitude * star.stop) ** 2).sum())
        images = np.zeros((len(star.offset), *pixels.grid.shape))
        kept = []
        for k, wave in enumerate(self.wavelengths):
            even, odd = self._kernels[k]
            turn = 2j * np.pi * ARCSEC / wave
            entrance = self.pupil.amplitude * np.exp(2j * np.pi / wave * star.opd)
            tilt = (
                np.exp(turn * star.offset[:, 1, None] * xi)[:, :, None]
                * np.exp(turn * star.offset[:, 0, None] * xi)[:, None, :]
            )
            field = entrance * tilt
            if mask:
                a, b = self._factors(wave, star)
                by_odd, by_even = _two_sided(odd, field), _two_sided(even, field)
                behind = b * by_odd + a * by_even
            else:
                by_odd = by_even = behind = field
            shift = np.exp(-turn * star.center[1] * xi)[:, None] * np.exp(-turn * star.center[0] * xi)[None, :]
            to_v = propagate.fourier_matrix(pixels.grid.v, xi, wave)
            to_u = propagate.fourier_matrix(pixels.grid.u, xi, wave)
            amplitude = to_v @ (behind * (star.stop * shift)) @ to_u.T
            images += self._scale(k) * (amplitude.real**2 + amplitude.imag**2)
            kept.append(_Kept(field, by_odd, by_even, behind, shift, amplitude, to_v, to_u))
        light = np.stack([pixels(image, star.variance) for image in images]) / energy

        def gradient(by_light: FloatArray) -> Gradient:
            return self._adjoint(star, pixels, images, light, energy, kept, by_light)

        return light, gradient

    def _scale(self, k: int) -> float:
        sx, sy = self.coronagraph.pixel_scale
        return float(sx * sy * (ARCSEC * self.pupil.step / self.wavelengths[k]) ** 2 * self.weights[k])

    def _step(self, wave: float) -> float:
        """Phase step of the perfect mask, radian."""
        return float(np.pi * self.coronagraph.design_wavelength * 1e-6 / wave)

    def _factors(self, wave: float, star: Star) -> tuple[complex, complex]:
        turn = np.exp(1j * self._step(wave) * (1.0 + star.phase_error))
        return complex((1.0 + turn) / 2.0 + star.leak), complex(-(1.0 - turn) / 2.0)

    def _adjoint(
        self,
        star: Star,
        pixels: Pixels,
        images: FloatArray,
        light: FloatArray,
        energy: float,
        kept: list[_Kept],
        by_light: FloatArray,
    ) -> Gradient:
        n, xi = len(self.pupil.coordinates), self.pupil.coordinates
        back = [pixels.back(g, i, star.variance) for g, i in zip(by_light / energy, images, strict=True)]
        by_image = np.stack([b[0] for b in back])
        stop, opd, offset = np.zeros((n, n)), np.zeros((n, n)), np.zeros((len(star.offset), 2))
        center, phase_error, leak = np.zeros(2), 0.0, 0j
        for k, (wave, w) in enumerate(zip(self.wavelengths, kept, strict=True)):
            even, odd = self._kernels[k]
            a, b = self._factors(wave, star)
            turn = 2 * np.pi * ARCSEC / wave
            by_amplitude = 2 * self._scale(k) * by_image * w.amplitude
            by_lyot = w.to_v.conj().T @ by_amplitude @ w.to_u.conj()
            passed = by_lyot.conj() * w.behind * w.shift
            stop += passed.real.sum(axis=0)
            turned = (passed.imag * star.stop).sum(axis=0)
            center += [turn * (turned.sum(axis=0) @ xi), turn * (turned.sum(axis=1) @ xi)]
            by_behind = by_lyot * (star.stop * w.shift.conj())
            by_odd, by_even = (by_behind.conj() * w.odd).sum(), (by_behind.conj() * w.even).sum()
            half_turn = 0.5j * self._step(wave) * np.exp(1j * self._step(wave) * (1.0 + star.phase_error))
            phase_error += float(((by_odd + by_even) * half_turn).real)
            leak += np.conj(by_even)
            by_field = np.conj(b) * _two_sided(odd.T, by_behind) + np.conj(a) * _two_sided(even.T, by_behind)
            phase = -(by_field.conj() * w.field).imag
            opd += 2 * np.pi / wave * phase.sum(axis=0)
            offset += turn * np.stack([phase.sum(axis=1) @ xi, phase.sum(axis=2) @ xi], axis=1)
        stop -= 2.0 * self.pupil.amplitude**2 * star.stop / energy * float((by_light * light).sum())
        diffusion = float(sum(b[1] for b in back))
        return Gradient(stop, opd, offset, center, phase_error, np.array([leak.real, leak.imag]), diffusion)


def _two_sided(kernel: FloatArray, field: ComplexArray) -> ComplexArray:
    """``kernel @ field @ kernel.T`` for a real kernel and complex fields (..., n, n), as real products."""
    real = kernel @ np.ascontiguousarray(field.real) @ kernel.T
    imaginary = kernel @ np.ascontiguousarray(field.imag) @ kernel.T
    return np.asarray(real + 1j * imaginary)
