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


@dataclass(frozen=True)
class ShiftSum:
    """A sum over pixels of a fixed array times a shifted one, as a function of the shift, with its derivatives.

    ``f(dx, dy) = sum_p g(p) t(p - (dx, dy))`` is a trigonometric sum of the product of two spectra, and its phases
    separate in x and y: once the product is there, value, gradient and curvature at any shift cost a matrix product, no
    transform.

    Attributes
    ----------
    product : (ky, kx) complex128 ndarray
        conj(g) t / number of pixels on a half plane of frequencies, the columns that stand for two counted twice.
    fx, fy : (kx,), (ky,) float64 ndarray
        Frequencies, cycles per pixel.
    """

    product: ComplexArray
    fx: FloatArray
    fy: FloatArray

    def __call__(self, dx: float, dy: float) -> tuple[float, FloatArray, FloatArray]:
        """Value, gradient (2,) and second derivatives (2, 2) at a shift."""
        wx, wy = -2j * np.pi * self.fx, -2j * np.pi * self.fy
        px, py = np.exp(wx * dx), np.exp(wy * dy)
        columns = self.product @ np.stack([px, wx * px, wx * wx * px], axis=1)
        s = (np.stack([py, wy * py, wy * wy * py]) @ columns).real
        return float(s[0, 0]), np.array([s[0, 1], s[1, 0]]), np.array([[s[0, 2], s[1, 1]], [s[1, 1], s[2, 0]]])

    def on_grid(self, ny: int, nx: int, *, period: int | None = None) -> tuple[FloatArray, float, float]:
        """Values from low frequencies alone on a coarse grid of shifts, and the steps of the grid in y and x.

        The grid (ny, nx) is wrapped as in a Fourier transform; `period` in y, pixels (default: the number of rows).
        """
        period = len(self.product) if period is None else period
        half = nx // 2 + 1
        rows = np.rint(fft.fftfreq(ny) * ny).astype(int)
        low = np.conj(self.product[rows % len(self.product), :half]) * (ny * nx)
        low[:, 1:] /= 2
        low[np.abs(rows) == ny // 2] = 0.0
        return fft.irfft2(low, s=(ny, nx)), period / ny, 1.0 / (self.fx[1] * nx)

    def low(self, highest: float) -> ShiftSum:
        """The part with frequencies of at most `highest` along x and y, for a first look at a fraction of the cost."""
        columns = int(np.searchsorted(self.fx, highest, side="right"))
        rows = np.abs(self.fy) <= highest
        return ShiftSum(self.product[rows, :columns], self.fx[:columns], self.fy[rows])


class ShiftedFit:
    """Least squares of a shifted and scaled template to frames: what does not depend on the frame.

    Parameters
    ----------
    template : ShiftableImage
        Components at the Nyquist frequency, whose shift is ambiguous, are left out.
    """

    def __init__(self, template: ShiftableImage) -> None:
        my, mx = template.padded_shape
        self.template = template
        spectrum = template.spectrum.copy()
        spectrum[np.abs(fft.fftfreq(my)) == 0.5] = 0.0
        spectrum[:, fft.rfftfreq(mx) == 0.5] = 0.0
        self._spectrum = spectrum
        fine = np.zeros((2 * my, mx + 1), dtype=np.complex128)
        rows = np.rint(fft.fftfreq(my) * my).astype(int)
        fine[rows % (2 * my), : spectrum.shape[1]] = spectrum
        norm = np.full(mx + 1, 2.0 / (my * mx))
        norm[[0, -1]] = 1.0 / (my * mx)
        self._squared = fft.rfft2((4 * fft.irfft2(fine, s=(2 * my, 2 * mx))) ** 2) * (norm / 4.0)
        self._spectrum *= 2.0 / (my * mx)
        self._spectrum[:, 0] /= 2
        self._square_of: tuple[FloatArray, ShiftSum] | None = None

    def frame(self, weighted: FloatArray, w2: FloatArray) -> FrameSums:
        """Sums of one frame: its squared weights `w2` and those times its data `weighted`, (ny, nx), 0 where bad.

        What depends on the weights alone is kept for the next frame, which most often has the same.
        """
        my, mx = self.template.padded_shape
        product = np.conj(fft.rfft2(self._padded(weighted)))
        product *= self._spectrum
        if self._square_of is None or not np.array_equal(self._square_of[0], w2):
            self._square_of = (w2, self._square(w2))
        return FrameSums(ShiftSum(product, fft.rfftfreq(mx), fft.fftfreq(my)), self._square_of[1])

    def _square(self, w2: FloatArray) -> ShiftSum:
        """The sum of w2 and the squared template, whose frequencies reach to twice Nyquist."""
        my, mx = self.template.padded_shape
        half = np.conj(fft.rfft2(self._padded(w2)))
        whole = np.empty((my, mx + 1), dtype=np.complex128)
        whole[:, : half.shape[1]] = half
        mirror = np.arange(half.shape[1], mx + 1)
        np.conj(half[-np.arange(my)][:, mx - mirror], out=whole[:, mirror[0] :])  # of a real image
        square = np.empty_like(self._squared)
        np.multiply(whole, self._squared[:my], out=square[:my])
        np.multiply(whole, self._squared[my:], out=square[my:])
        return ShiftSum(square, np.arange(mx + 1) / mx, np.rint(fft.fftfreq(2 * my) * 2 * my) / my)

    def _padded(self, image: FloatArray) -> FloatArray:
        pad, (ny, nx) = self.template.pad, self.template.shape
        out = np.zeros(self.template.padded_shape)
        out[pad : pad + ny, pad : pad + nx] = image
        return out


@dataclass(frozen=True)
class FrameSums:
    """``sum w^2 d t(shift)`` and ``sum w^2 t(shift)^2`` of one frame, as functions of the shift.

    The square of the template has frequencies of up to twice Nyquist, and is taken on a finer grid that holds them.
    """

    product: ShiftSum
    square: ShiftSum

    def low(self, highest: float) -> FrameSums:
        """Both sums from frequencies of at most `highest`, cycles per pixel."""
        return FrameSums(self.product.low(highest), self.square.low(highest))

    def gain(self, s: FloatArray) -> Gain:
        """What the best scale explains at shift (dx, dy)."""
        n, gn, hn = self.product(float(s[0]), float(s[1]))
        d, gd, hd = self.square(float(s[0]), float(s[1]))
        b = n / d
        gb = (gn - b * gd) / d
        hb = (hn - b * hd - np.outer(gb, gd) - np.outer(gd, gb)) / d
        return Gain(
            value=n * b,
            gradient=gn * b + n * gb,
            hessian=hn * b + np.outer(gn, gb) + np.outer(gb, gn) + n * hb,
            scale=b,
            scale_slope=gb,
            square=d,
        )

    def coarse(self, reach: float) -> tuple[float, float]:
        """Shift (dx, dy), each up to `reach`, on a grid of about two pixels, that explains most of the frame."""
        shape = self.product.product.shape
        ny, nx = 2 * (shape[0] // 4), 2 * (shape[1] // 2)
        n, step_y, step_x = self.product.on_grid(ny, nx)
        d = self.square.on_grid(ny, nx, period=shape[0])[0]
        dy, dx = fft.fftfreq(ny) * ny * step_y, fft.fftfreq(nx) * nx * step_x
        rows, columns = np.flatnonzero(np.abs(dy) <= reach), np.flatnonzero(np.abs(dx) <= reach)
        near = np.ix_(rows, columns)
        n, d = n[near], d[near]
        gain = np.where((n > 0) & (d > 0), n * n / np.where(d > 0, d, 1.0), -1.0)
        iy, ix = np.unravel_index(int(np.argmax(gain)), gain.shape)
        return float(dx[columns[ix]]), float(dy[rows[iy]])


@dataclass(frozen=True)
class Gain:
    """Part of the weighted sum of squares that the best scale explains.

    It is N^2 / D, with gradient and second derivatives; the scale N / D and its gradient; and D.
    """

    value: float
    gradient: FloatArray
    hessian: FloatArray
    scale: float
    scale_slope: FloatArray
    square: float
