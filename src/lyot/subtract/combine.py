"""Rolls turned north up and combined, with one interpolation from the detector to the final grid.

The final image has square pixels with the area of the detector's, north up and east to the left, the star on the
center of its middle pixel. The interpolation is a quintic B-spline: for the images of MIRI, sampled at about lambda/2D
or better, it moves a point source without changing its flux or its shape by more than a few 1e-4. Bad pixels are filled
from their neighbors before the spline is made, and what depends mostly on them is NaN afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot import geometry
from lyot.subtract.sequence import BoolArray, FloatArray

TAPS = 6
"""Support of the quintic B-spline, pixels."""

EDGE = 1e-6
"""Positions this far (pixels) beyond the centers of the outermost pixels count as on them: rounding."""

MASKS = 8
"""Masks of bad pixels for which an interpolation is kept prepared."""


@dataclass(frozen=True)
class NorthUpGrid:
    """Grid of the combined image.

    Attributes
    ----------
    shape : (ny, nx)
        Odd in both directions.
    pixel_scale : float
        arcsec per (square) pixel.
    """

    shape: tuple[int, int]
    pixel_scale: float

    @property
    def center(self) -> tuple[float, float]:
        """Position (x, y) of the star, 0-based pixels."""
        return (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2

    def detector_positions(
        self, star: FloatArray, pa_y: float, pixel_scale: tuple[float, float]
    ) -> tuple[FloatArray, FloatArray]:
        """Detector position (x, y) of each pixel of the grid, each (ny, nx), 0-based pixels."""
        dx, dy = geometry.offset_grid(self.shape, self.center)
        separation = np.hypot(dx, dy) * self.pixel_scale
        x, y = geometry.detector_offset(separation, geometry.position_angle(dx, dy, 0.0), pa_y)
        return star[0] + x / pixel_scale[0], star[1] + y / pixel_scale[1]


def grid_for(field: BoolArray, star: FloatArray, pixel_scale: tuple[float, float]) -> NorthUpGrid:
    """Smallest grid that holds the field of every exposure at any roll.

    Parameters
    ----------
    field : (ny, nx) bool ndarray
        Pixels that hold data.
    star : (nexposures, 2) float ndarray
        Position (x, y) of the star in each exposure.
    pixel_scale : (x, y)
        arcsec per pixel.
    """
    scale = float(np.sqrt(pixel_scale[0] * pixel_scale[1]))
    y, x = np.nonzero(field)
    far = max(
        float(np.hypot((x - sx) * pixel_scale[0], (y - sy) * pixel_scale[1]).max()) if len(x) else 0.0
        for sx, sy in star
    )
    half = int(np.ceil(far / scale)) + 1
    return NorthUpGrid((2 * half + 1, 2 * half + 1), scale)


@dataclass(frozen=True)
class Resampler:
    """Interpolation of one exposure's images onto the north-up grid; linear for a given mask of bad pixels.

    Attributes
    ----------
    x, y : (Ny, Nx) float64 ndarray
        Detector position of each pixel of the grid, 0-based.
    shape : (ny, nx)
        Shape of the detector images.
    """

    x: FloatArray
    y: FloatArray
    shape: tuple[int, int]

    @cached_property
    def inside(self) -> BoolArray:
        """Pixels of the grid that lie on the detector image: (Ny, Nx) bool."""
        ny, nx = self.shape
        x, y = self.x, self.y
        return np.asarray((x >= -EDGE) & (x <= nx - 1 + EDGE) & (y >= -EDGE) & (y <= ny - 1 + EDGE))

    def window(self, rows: slice, columns: slice) -> tuple[Resampler, slice, slice]:
        """Resampler of a part of the grid alone, with the rows and columns of the detector image that it needs.

        The spline of a part is that of the whole to 1e-8 of the brightest pixel.
        """
        if rows == slice(None) and columns == slice(None):
            return self, rows, columns
        x, y = self.x[rows, columns], self.y[rows, columns]
        low_x, high_x = _span(x, self.shape[1])
        low_y, high_y = _span(y, self.shape[0])
        part = Resampler(x - low_x, y - low_y, (high_y - low_y, high_x - low_x))
        return part, slice(low_y, high_y), slice(low_x, high_x)

    def coverage(self, good: BoolArray) -> FloatArray:
        """Weight of good pixels in the bilinear neighborhood of each pixel of the grid: (Ny, Nx), 0 to 1."""
        cover = ndimage.map_coordinates(good.astype(float), [self.y, self.x], order=1, mode="nearest")
        return np.asarray(np.where(self.inside, cover, 0.0))

    def images(self, images: NDArray[np.floating[Any]], *, min_coverage: float = 0.5) -> FloatArray:
        """Interpolate images.

        Parameters
        ----------
        images : (n, ny, nx) float ndarray
            Images on the detector, NaN where bad.
        min_coverage : float, optional
            Pixels of the grid that depend on good pixels by less than this are NaN.

        Returns
        -------
        (n, Ny, Nx) float64 ndarray
        """
        out = np.empty((len(images), *self.x.shape))
        splines = np.empty((len(images), *self.shape))
        covered = []
        for i, image in enumerate(images):
            fill, cover = self._masked(np.isfinite(image))
            covered.append(cover >= min_coverage)
            splines[i] = ndimage.spline_filter(fill(image), order=5, mode="mirror")
        _interpolate(splines, self.x, self.y, out)
        for i, keep in enumerate(covered):
            out[i][~keep] = np.nan
        return out

    def _masked(self, good: BoolArray) -> tuple[Filling, FloatArray]:
        """How bad pixels are filled, and the coverage; kept for the last masks, as most images have the same one."""
        key = good.tobytes()
        known = self._masks.get(key)
        if known is None:
            known = Filling(good), self.coverage(good)
            if len(self._masks) >= MASKS:
                self._masks.clear()
            self._masks[key] = known
        return known

    @cached_property
    def _masks(self) -> dict[bytes, tuple[Filling, FloatArray]]:
        return {}

    def variance(self, variance: NDArray[np.floating[Any]], *, min_coverage: float = 0.5) -> FloatArray:
        """Interpolate variances, (n, ny, nx) to (n, Ny, Nx).

        The variance of a pixel of the grid is that of the detector there (interpolated linearly): noise of neighboring
        pixels is correlated by the interpolation, and with this choice sums over apertures of more than a few pixels
        have the right variance, while the scatter of single pixels is somewhat smaller.
        """
        out = np.empty((len(variance), *self.x.shape))
        for i, image in enumerate(variance):
            good = np.isfinite(image)
            cover = self.coverage(good)
            total = ndimage.map_coordinates(np.where(good, image, 0.0), [self.y, self.x], order=1, mode="nearest")
            with np.errstate(invalid="ignore", divide="ignore"):
                out[i] = np.where(cover >= min_coverage, total / cover, np.nan)
        return out


def _span(position: FloatArray, size: int, *, margin: int = 24) -> tuple[int, int]:
    """Range of pixels around positions, with a margin in which the spline forgets where it was cut."""
    low = min(max(int(np.floor(position.min())) - margin, 0), size - 2)
    high = max(min(int(np.ceil(position.max())) + margin + 1, size), low + 2)
    return low, high


def resampler(
    grid: NorthUpGrid, star: FloatArray, pa_y: float, pixel_scale: tuple[float, float], shape: tuple[int, int]
) -> Resampler:
    """Prepare the interpolation of one exposure: star (x, y) and roll `pa_y` as in `CoronagraphicSequence`."""
    x, y = grid.detector_positions(star, pa_y, pixel_scale)
    return Resampler(x, y, shape)


def fill_bad(image: NDArray[np.floating[Any]], good: BoolArray | None = None) -> FloatArray:
    """Fill NaN pixels from their surroundings: a Gaussian-weighted mean of near ones, else the nearest good pixel.

    Parameters
    ----------
    image : (ny, nx) float ndarray
        Any unit; NaN where bad.
    good : (ny, nx) bool ndarray, optional
        Pixels to keep; the finite ones by default.

    Returns
    -------
    (ny, nx) float64 ndarray
        A copy without NaN; 0 if no pixel is good.

    Examples
    --------
    >>> import numpy as np
    >>> fill_bad(np.array([[1.0, 1.0, 1.0], [1.0, np.nan, 1.0]]))[1, 1].item()
    1.0
    """
    return Filling(np.isfinite(image) if good is None else good)(image)


class Filling:
    """What `fill_bad` does with a mask of bad pixels, prepared once for many images.

    Parameters
    ----------
    good : (ny, nx) bool ndarray
        Pixels to keep.
    """

    def __init__(self, good: BoolArray) -> None:
        self._good = good
        self._whole, self._empty = bool(good.all()), not good.any()
        if self._whole or self._empty:
            return
        weight = ndimage.gaussian_filter(good.astype(float), 1.0, truncate=3.0)
        self._close = ~good & (weight > 0.05)
        self._weight = weight[self._close]
        far = ~good & ~self._close
        self._far = far if far.any() else None
        if self._far is not None:
            index = ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True)
            self._nearest = index[0][far], index[1][far]

    def __call__(self, image: NDArray[np.floating[Any]]) -> FloatArray:
        """A copy of an image without NaN: (ny, nx) float64."""
        out = np.array(image, dtype=np.float64)
        if self._whole:
            return out
        if self._empty:
            return np.zeros_like(out)
        out[~self._good] = 0.0
        near = ndimage.gaussian_filter(out, 1.0, truncate=3.0)
        if self._far is not None:
            out[self._far] = out[self._nearest]
        out[self._close] = near[self._close] / self._weight
        return out


@nb.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def _weights(t: float, w: FloatArray) -> None:
    """Quintic B-spline at t + 2, t + 1, t, t - 1, t - 2, t - 3 (t in [0, 1))."""
    for j in range(TAPS):
        u = abs(t + 2.0 - j)
        if u < 1.0:
            w[j] = 0.55 + u * u * (-0.5 + u * u * (0.25 - u / 12.0))
        elif u < 2.0:
            w[j] = 0.425 + u * (0.625 + u * (-1.75 + u * (1.25 + u * (-0.375 + u / 24.0))))
        elif u < 3.0:
            w[j] = (3.0 - u) ** 5 / 120.0
        else:
            w[j] = 0.0


@nb.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def _mirror(i: int, n: int) -> int:
    if n == 1:
        return 0
    period = 2 * n - 2
    i = abs(i) % period
    return i if i < n else period - i


@nb.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def _interpolate(splines: FloatArray, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    n, ny, nx = splines.shape
    wx = np.empty(TAPS)
    wy = np.empty(TAPS)
    jx = np.empty(TAPS, np.int64)
    jy = np.empty(TAPS, np.int64)
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            px, py = x[r, c], y[r, c]
            if px < -EDGE or py < -EDGE or px > nx - 1 + EDGE or py > ny - 1 + EDGE:
                for i in range(n):
                    out[i, r, c] = np.nan
                continue
            fx, fy = int(np.floor(px)), int(np.floor(py))
            _weights(px - fx, wx)
            _weights(py - fy, wy)
            for j in range(TAPS):
                jx[j] = _mirror(fx - 2 + j, nx)
                jy[j] = _mirror(fy - 2 + j, ny)
            for i in range(n):
                total = 0.0
                for a in range(TAPS):
                    row = 0.0
                    for b in range(TAPS):
                        row += wx[b] * splines[i, jy[a], jx[b]]
                    total += wy[a] * row
                out[i, r, c] = total
