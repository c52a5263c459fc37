"""Images shifted by fractions of a pixel through their Fourier transform, with derivatives, and without wrap-around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lyot.subtract.sequence import FloatArray

ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True)
class ShiftableImage:
    """A real image ready to be shifted: its half spectrum, and the frame of padding around it.

    Attributes
    ----------
    spectrum : (my, mx // 2 + 1) complex128 ndarray
        ``rfft2`` of the padded image.
    padded_shape : (my, mx)
    shape : (ny, nx)
        Of the image itself.
    pad : int
        Pixels added on every side.
    """

    spectrum: ComplexArray
    padded_shape: tuple[int, int]
    shape: tuple[int, int]
    pad: int

    def shifted(self, dx: float, dy: float) -> FloatArray:
        """Image moved by (dx, dy) pixels toward +x and +y: (ny, nx) float64."""
        return self._back(self.spectrum * self._phase(dx, dy))

    def shifted_with_gradient(self, dx: float, dy: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shifted image and its derivatives with respect to dx and dy, each (ny, nx) float64."""
        phases = (self._phase(dx, dy), self._phase(dx, dy, slope="x"), self._phase(dx, dy, slope="y"))
        moved, along_x, along_y = (self._back(self.spectrum * phase) for phase in phases)
        return moved, along_x, along_y

    def _phase(self, dx: float, dy: float, *, slope: str = "") -> ComplexArray:
        """Factor of each Fourier component, or its derivative with respect to dx or dy."""
        my, mx = self.padded_shape
        px = _phase_1d(fft.rfftfreq(mx), dx, slope=slope == "x")
        py = _phase_1d(fft.fftfreq(my), dy, slope=slope == "y")
        phase = py[:, None] * px
        if my % 2 == 0 and mx % 2 == 0:
            turn = np.pi * (dx + dy)
            phase[my // 2, -1] = -np.pi * np.sin(turn) if slope else np.cos(turn)
        return phase

    def _back(self, spectrum: ComplexArray) -> FloatArray:
        full = fft.irfft2(spectrum, s=self.padded_shape)
        ny, nx = self.shape
        return np.asarray(full[self.pad : self.pad + ny, self.pad : self.pad + nx])


def _phase_1d(frequency: FloatArray, shift: float, *, slope: bool = False) -> ComplexArray:
    """exp(-2 pi i f s) or its derivative; real at the Nyquist frequency, as the shift of a real image needs."""
    phase = np.exp(-2j * np.pi * frequency * shift)
    if slope:
        phase = phase * (-2j * np.pi * frequency)
    nyquist = np.abs(frequency) == 0.5
    phase[nyquist] = phase[nyquist].real
    return np.asarray(phase)


def shiftable(image: NDArray[np.floating[Any]], *, pad: int) -> ShiftableImage:
    """Prepare an image for shifting.

    Parameters
    ----------
    image : (ny, nx) float ndarray
        Without NaN.
    pad : int
        Smallest number of pixels added on each side, in which the image runs linearly to the median of its border, so
        that nothing comes in from the other side; 0 for the periodic shift that the official pipeline makes.
    """
    data = np.asarray(image, dtype=np.float64)
    ny, nx = data.shape
    if pad == 0:
        return ShiftableImage(fft.rfft2(data), (ny, nx), (ny, nx), 0)
    border = np.concatenate([data[0], data[-1], data[:, 0], data[:, -1]])
    level = float(np.median(border))
    my, mx = fft.next_fast_len(ny + 2 * pad, True), fft.next_fast_len(nx + 2 * pad, True)
    width = ((pad, my - ny - pad), (pad, mx - nx - pad))
    padded = np.pad(data, width, mode="linear_ramp", end_values=level)
    return ShiftableImage(fft.rfft2(padded), (my, mx), (ny, nx), pad)


def masked_correlation(
    template: FloatArray, image: FloatArray, weight_template: FloatArray, weight_image: FloatArray, reach: int
) -> FloatArray:
    """Normalised correlation of two images with masks, for every shift by whole pixels up to `reach`.

    Only pixels that are good in both at a given shift count (Padfield 2012), so that neither masks nor the edges of the
    field draw the maximum toward zero shift.

    Parameters
    ----------
    template, image : (ny, nx) float64 ndarray
        Without NaN.
    weight_template, weight_image : (ny, nx) float64 ndarray
        1 where good, 0 where not.
    reach : int
        Largest shift, pixels.

    Returns
    -------
    (2 reach + 1, 2 reach + 1) float64 ndarray
        Correlation [dy + reach, dx + reach], -1 to 1, of the image with the template moved by (dx, dy).
    """
    ny, nx = template.shape
    size = (fft.next_fast_len(ny + reach, True), fft.next_fast_len(nx + reach, True))
    t, i = template * weight_template, image * weight_image
    spectra = [fft.rfft2(a, size) for a in (weight_template, t, t * template)]
    others = [fft.rfft2(a, size) for a in (weight_image, i, i * image)]

    def cross(a: ComplexArray, b: ComplexArray) -> FloatArray:
        full = fft.irfft2(np.conj(a) * b, s=size)
        index = np.arange(-reach, reach + 1)
        return np.asarray(full[np.ix_(index, index)])

    count = np.maximum(cross(spectra[0], others[0]), 1.0)
    sum_t, sum_i = cross(spectra[1], others[0]), cross(spectra[0], others[1])
    covariance = cross(spectra[1], others[1]) - sum_t * sum_i / count
    var_t = cross(spectra[2], others[0]) - sum_t**2 / count
    var_i = cross(spectra[0], others[2]) - sum_i**2 / count
    norm = np.sqrt(np.maximum(var_t, 0) * np.maximum(var_i, 0))
    enough = (norm > 1e-9 * np.nanmax(norm)) & (count > 0.2 * weight_template.sum()) if norm.max() > 0 else norm > 0
    return np.where(enough, covariance / np.where(norm > 0, norm, 1.0), -1.0)
