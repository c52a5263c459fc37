"""Noise around the star, with small-sample statistics.

At a separation of r only about ``2 pi r / FWHM`` independent resolution elements exist, so their scatter is itself
uncertain. Following Mawet et al. (2014, ApJ 792, 97, eq. 9), the signal-to-noise ratio of a source in one of them is

    snr = (x - mean(others)) / (std(others, ddof=1) * sqrt(1 + 1/n)),

which for Gaussian noise follows Student's t with n - 1 degrees of freedom, n being the number of other elements.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from lyot.errors import InputError
from lyot.geometry import radius_map
from lyot.measure.distributions import normal_cdf, normal_isf, normal_ppf, normal_sf, t_cdf, t_isf, t_sf

FloatArray = NDArray[np.float64]

MIN_ELEMENTS = 4
"""Fewest other resolution elements from which a scatter is estimated; with fewer, noise and S/N are NaN."""


def check_image(image: NDArray[np.floating], name: str = "image") -> FloatArray:
    """Return `image` as float64 with NaN for all non-finite values; it must be 2-D with some finite pixel."""
    array = np.array(image, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"{name}: expected a 2-D image, got shape {array.shape}.")
    array[~np.isfinite(array)] = np.nan
    if np.isnan(array).all():
        raise InputError(f"{name}: all pixels are NaN, nothing can be measured.")
    return array


def aperture_kernel(fwhm: float, *, oversample: int = 10) -> FloatArray:
    """Circular aperture of diameter `fwhm` pixels, with fractional edge pixels; values in [0, 1].

    Returns
    -------
    (n, n) float64 ndarray
        n is odd; the aperture is centered on the middle pixel.
    """
    half = int(np.ceil(fwhm / 2 + 0.5))
    n = 2 * half + 1
    sub = (np.arange(n * oversample) + 0.5) / oversample - n / 2
    inside = sub[:, None] ** 2 + sub[None, :] ** 2 <= (fwhm / 2) ** 2
    return np.asarray(inside.reshape(n, oversample, n, oversample).mean(axis=(1, 3)))


def aperture_sums(image: FloatArray, fwhm: float, *, min_coverage: float = 0.7) -> FloatArray:
    """Flux in an aperture of diameter `fwhm` centered on every pixel.

    NaN pixels are replaced by the mean of the rest of the aperture; where less than `min_coverage` of the aperture is
    finite the result is NaN.

    Parameters
    ----------
    image : (ny, nx) float64 ndarray
        Any linear unit; NaN marks pixels without data.
    fwhm : float
        Aperture diameter, pixels.
    min_coverage : float
        Fraction of the aperture's area that must be finite.

    Returns
    -------
    (ny, nx) float64 ndarray
        Sum in the unit of the image.
    """
    kernel = aperture_kernel(fwhm)
    finite = np.isfinite(image)
    total = ndimage.convolve(np.where(finite, image, 0.0), kernel, mode="constant")
    area = ndimage.convolve(finite.astype(float), kernel, mode="constant")
    full = kernel.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = total * full / area
    return np.where(area >= min_coverage * full, sums, np.nan)


def annulus_mean(values: FloatArray, center: tuple[float, float], width: float) -> FloatArray:
    """Mean of the pixels whose separation is about that of each pixel.

    Parameters
    ----------
    values : (ny, nx) float64 ndarray
        Any unit; NaN is left out.
    center : (x, y)
        Position of the star, 0-based pixels.
    width : float
        Width of the annuli, pixels: an odd number of bins of half a pixel, at least three.

    Returns
    -------
    (ny, nx) float64 ndarray
        Unit of `values`; NaN where the annulus has none.
    """
    total, count = annulus_sums(values, center, width)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count)


def annulus_sums(values: FloatArray, center: tuple[float, float], width: float) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the pixels whose separation is about that of each pixel, see `annulus_mean`.

    Parameters
    ----------
    values, center, width
        As for `annulus_mean`.

    Returns
    -------
    total, count : (ny, nx) float64 ndarray
        Unit of `values`, and a number.
    """
    bins = np.rint(2 * radius_map((values.shape[0], values.shape[1]), center)).astype(int)
    good = np.isfinite(values)
    count = np.bincount(bins[good], minlength=int(bins.max()) + 1).astype(float)
    total = np.bincount(bins[good], weights=values[good], minlength=len(count))
    kernel = np.ones(2 * max(1, round(width)) + 1)
    return np.convolve(total, kernel, mode="same")[bins], np.convolve(count, kernel, mode="same")[bins]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _ring_places(first, last, ny, nx, x0, y0, spacing, guard, turns, places):  # type: ignore[no-untyped-def]
    """Flat indices of the other elements on the ring through each pixel of some rows, and where each pixel's begin."""
    begins = np.zeros((last - first) * nx + 1, np.int64)
    n = 0
    for iy in range(first, last):
        for ix in range(nx):
            dx, dy = ix - x0, iy - y0
            r = np.sqrt(dx * dx + dy * dy)
            if r >= spacing:
                n_ring = int(np.floor(2 * np.pi * r / spacing))
                row = n_ring * (n_ring - 1) // 2
                # the elements beside the source share its light: `guard` of them on each side are left out
                for k in range(1 + guard, n_ring - guard):
                    cos, sin = turns[row + k, 0], turns[row + k, 1]
                    j, i = int(np.rint(x0 + (dx * cos - dy * sin))), int(np.rint(y0 + (dx * sin + dy * cos)))
                    if 0 <= i < ny and 0 <= j < nx:
                        places[n] = i * nx + j
                        n += 1
            begins[(iy - first) * nx + ix + 1] = n
    return begins


@functools.lru_cache(maxsize=2)
def _turns(most: int) -> FloatArray:
    """Cosine and sine of ``k`` of ``n`` equal parts of a circle, at ``n (n - 1) / 2 + k``, for n from 1 to `most`."""
    n = np.repeat(np.arange(1, most + 1), np.arange(1, most + 1))
    angle = 2 * np.pi * (np.arange(len(n)) - n * (n - 1) // 2) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _ring_statistics(values, usable, begins, places, mean, scatter, count):  # type: ignore[no-untyped-def]
    """Mean, scatter and number of the usable values at the places of each pixel.

    An element is the nearest pixel's own aperture sum: interpolating between sums would average the noise down by up to
    14 % at each axis and make every S/N too high.
    """
    for pixel in range(len(values)):
        if not np.isfinite(values[pixel]):
            continue
        n, m, m2 = 0, 0.0, 0.0
        for place in places[begins[pixel] : begins[pixel + 1]]:
            v = usable[place]
            if np.isfinite(v):
                n += 1
                d = v - m
                m += d / n
                m2 += d * (v - m)
        if n >= 2:
            mean[pixel] = m
            scatter[pixel] = np.sqrt(m2 / (n - 1))
            count[pixel] = n


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _ring_averages(first, values, good, begins, places, mean):  # type: ignore[no-untyped-def]
    """The same means as of `_ring_statistics`, of many images at once: each image is a column of the arrays.

    `values` are 0 and `good` is 0 where there is none: sums over the images that the processor does side by side.
    """
    n_images = values.shape[1]
    total, n = np.empty(n_images), np.empty(n_images)
    for pixel in range(len(begins) - 1):
        here = good[first + pixel]
        if not here.any():
            continue
        total[:] = 0.0
        n[:] = 0.0
        for place in places[begins[pixel] : begins[pixel + 1]]:
            for image in range(n_images):
                total[image] += values[place, image]
                n[image] += good[place, image]
        for image in range(n_images):
            if n[image] >= 2 and here[image]:
                mean[first + pixel, image] = total[image] / n[image]


_RING_ROOM = 24_000_000
"""Places on rings that are kept in memory at a time, 4 bytes each."""


@functools.lru_cache(maxsize=3)
def _rings(
    rows: tuple[int, int], shape: tuple[int, int], x0: float, y0: float, spacing: float, guard: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where the other elements of each pixel are: the same for all images of a reduction, and slow to work out."""
    y, x = np.mgrid[rows[0] : rows[1], : shape[1]]
    elements = 2 * np.pi * np.hypot(x - x0, y - y0) / spacing
    places = np.empty(int(elements.sum()) + 1, np.int32)
    begins = _ring_places(*rows, *shape, x0, y0, spacing, guard, _turns(int(elements.max()) + 1), places)
    return begins, places[: begins[-1]].copy()


def ring_statistics(
    values: FloatArray, excluded: NDArray[np.bool_], center: tuple[float, float], spacing: float, guard: int = 1
) -> tuple[FloatArray, FloatArray, NDArray[np.int32]]:
    """Mean, scatter and number of the other independent positions at the separation of each pixel.

    Parameters
    ----------
    values : (ny, nx) float64 ndarray
        One measurement per pixel, e.g. aperture sums; NaN where there is none.
    excluded : (ny, nx) bool ndarray
        True where a value must not count.
    center : (x, y)
        0-based pixel position of the star.
    spacing : float
        Distance of independent places on the ring, pixels.
    guard : int, optional
        Places on each side that are left out.

    Returns
    -------
    mean, scatter : (ny, nx) float64 ndarray
        NaN where there are fewer than two.
    count : (ny, nx) int32 ndarray
    """
    shape = values.shape[0], values.shape[1]
    mean, scatter, count = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.int32)
    usable = np.where(excluded, np.nan, values).ravel()
    for rows, begins, places in _parts_of_rings(shape, center, spacing, guard):
        _ring_statistics(
            values[rows].ravel(), usable, begins, places, mean[rows].ravel(), scatter[rows].ravel(), count[rows].ravel()
        )
    return mean, scatter, count


def _parts_of_rings(
    shape: tuple[int, int], center: tuple[float, float], spacing: float, guard: int
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int32]]]:
    """`_rings` of so many rows at a time as there is room for."""
    ny, nx = shape
    x0, y0 = float(center[0]), float(center[1])
    longest = 2 * np.pi * float(np.hypot(max(x0, nx - x0), max(y0, ny - y0))) / spacing
    step = max(1, int(_RING_ROOM / (longest * nx)))
    for first in range(0, ny, step):
        rows = slice(first, min(first + step, ny))
        # one and the same resolution element may come from two computations, with another last digit
        yield rows, *_rings((first, rows.stop), shape, x0, y0, round(float(spacing), 9), guard)


def ring_means(values: FloatArray, center: tuple[float, float], spacing: float, guard: int = 1) -> FloatArray:
    """The means of `ring_statistics` of many images, nothing excluded, up to rounding, in a tenth of the time.

    Parameters
    ----------
    values : (n, ny, nx) float64 ndarray
        As for `ring_statistics`, one for each image.
    center, spacing, guard
        As for `ring_statistics`.

    Returns
    -------
    (n, ny, nx) float64 ndarray
        Unit of `values`; NaN where there are fewer than two.
    """
    shape = values.shape[1], values.shape[2]
    columns = np.ascontiguousarray(values.reshape(len(values), -1).T)
    finite = np.isfinite(columns)
    columns = np.where(finite, columns, 0.0)
    good, mean = finite.astype(np.float64), np.full(columns.shape, np.nan)
    for rows, begins, places in _parts_of_rings(shape, center, spacing, guard):
        _ring_averages(rows.start * shape[1], columns, good, begins, places, mean)
    return np.ascontiguousarray(mean.T).reshape(values.shape)


@dataclass(frozen=True)
class SignalToNoise:
    """An S/N map with its signal and noise; all maps (ny, nx), NaN where undefined.

    Attributes
    ----------
    snr : float64
        Signal over noise, corrected for few samples (Mawet et al. 2014).
    signal : float64
        Aperture flux less the mean of the other elements at that separation, unit of the image times pixels.
    noise : float64
        Scatter of the other elements times sqrt(1 + 1/n), same unit.
    elements : int32
        Number n of other elements.
    fwhm : float
        Aperture diameter, pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import snr_map
    >>> maps = snr_map(np.random.default_rng(1).normal(size=(61, 61)), (30, 30), 4.0)
    >>> round(float(np.nanstd(maps.snr)), 1)
    1.1
    """

    snr: FloatArray
    signal: FloatArray
    noise: FloatArray
    elements: NDArray[np.int32]
    fwhm: float

    def significance(self) -> FloatArray:
        """S/N as the equivalent number of Gaussian sigmas, from Student's t with n - 1 degrees of freedom.

        Returns
        -------
        (ny, nx) float64 ndarray
            NaN where the S/N is.
        """
        return gaussian_significance(self.snr, self.elements)


def gaussian_significance(snr: FloatArray, elements: NDArray[np.integer]) -> FloatArray:
    """Equivalent number of Gaussian sigmas of an S/N with small-sample statistics.

    Parameters
    ----------
    snr : float64 ndarray
        NaN where nothing can be said; so is the result there.
    elements : int ndarray of the same shape
        Number n of other elements: Student's t has n - 1 degrees of freedom.
    """
    return np.where(np.isfinite(snr), t_to_gaussian(snr, np.maximum(elements - 1, 1)), np.nan)


def upper_limit(flux: float, error: float, *, level: float = 0.95) -> float:
    """Upper limit of the flux with probability `level`, with a prior that excludes negative fluxes (unit of `flux`)."""
    below_zero = normal_cdf(-flux / error)
    return float(flux + error * normal_ppf(below_zero + level * (1 - below_zero)))


def t_to_gaussian(t: NDArray[np.floating] | float, dof: NDArray[np.integer] | int) -> FloatArray:
    """Number of Gaussian sigmas with the same false-alarm probability as a Student t value."""
    return np.asarray(-normal_isf(t_cdf(t, dof))) if np.isscalar(t) else _t_to_gaussian_array(t, dof)


def _t_to_gaussian_array(t: NDArray[np.floating] | float, dof: NDArray[np.integer] | int) -> FloatArray:
    # the upper tail keeps its precision where the distribution function rounds to one
    magnitude = normal_isf(t_sf(np.abs(t), dof))
    return np.asarray(np.sign(t) * magnitude)


def snr_map(
    image: NDArray[np.floating],
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
    guard: int = 1,
) -> SignalToNoise:
    """S/N of a point source at every pixel of a star-subtracted image.

    Parameters
    ----------
    image : (ny, nx) array of float
        Star-subtracted image, any linear unit; NaN where there are no data.
    center : (x, y)
        0-based pixel position of the star.
    fwhm : float
        Diameter of the apertures and their spacing on the ring, pixels; about lambda/D.
    exclude : (ny, nx) bool array, optional
        True where a known source must not count as noise.
    guard : int
        Elements on each side of the source that are left out of the noise, because they share its light.

    Returns
    -------
    SignalToNoise

    Raises
    ------
    InputError
        If the image is not 2-D or holds no finite pixel, or `exclude` has another shape.

    Examples
    --------
    A pixel 20 pixels from the star has 28 other elements of 4 pixels on its ring, and one 8 pixels away 9:

    >>> import numpy as np
    >>> from lyot.measure import snr_map
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> image = np.random.default_rng(1).normal(size=x.shape) + 20 * np.exp(-((x - 20) ** 2 + y**2) / 4)
    >>> found = snr_map(image, center=(40, 40), fwhm=4.0)
    >>> np.unravel_index(np.nanargmax(found.snr), found.snr.shape) == (40, 60)
    True
    >>> int(found.elements[40, 60]), int(found.elements[40, 48])
    (28, 9)
    >>> bool(found.significance()[40, 60] < found.snr[40, 60])  # few elements: less certain
    True
    """
    data = check_image(image)
    if fwhm <= 0:
        raise InputError(f"fwhm: expected a positive number of pixels, got {fwhm}.")
    excluded = np.zeros(data.shape, bool) if exclude is None else np.asarray(exclude, bool)
    if excluded.shape != data.shape:
        raise InputError(f"exclude: expected shape {data.shape}, got {excluded.shape}.")
    sums = aperture_sums(data, fwhm)
    mean, scatter, count = ring_statistics(sums, excluded, center, fwhm, guard)
    enough = count >= MIN_ELEMENTS
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.where(enough, scatter * np.sqrt(1 + 1 / np.maximum(count, 1)), np.nan)
        noise[noise == 0] = np.nan
        signal = sums - mean
        return SignalToNoise(signal / noise, signal, noise, count, float(fwhm))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _ring_means(sums, excluded, x0, y0, xs, ys, spacing, guard):  # type: ignore[no-untyped-def]
    """Mean of the other elements on the ring through each of some positions."""
    mean = np.full(len(xs), np.nan)
    ny, nx = sums.shape
    for p in range(len(xs)):
        dx, dy = xs[p] - x0, ys[p] - y0
        r = np.sqrt(dx * dx + dy * dy)
        n_ring = int(np.floor(2 * np.pi * r / spacing))
        theta0 = np.arctan2(dy, dx)
        n, total = 0, 0.0
        for k in range(1, n_ring):
            if k <= guard or n_ring - k <= guard:
                continue
            theta = theta0 + 2 * np.pi * k / n_ring
            j, i = int(np.rint(x0 + r * np.cos(theta))), int(np.rint(y0 + r * np.sin(theta)))
            if i < 0 or j < 0 or i >= ny or j >= nx or excluded[i, j] or not np.isfinite(sums[i, j]):
                continue
            n += 1
            total += sums[i, j]
        if n > 0:
            mean[p] = total / n
    return mean


def aperture_signal(
    image: FloatArray,
    center: tuple[float, float],
    fwhm: float,
    positions: NDArray[np.floating],
    *,
    exclude: NDArray[np.bool_] | None = None,
    guard: int = 1,
) -> FloatArray:
    """What `snr_map` calls the signal, at a few positions (rounded to pixels): aperture flux less the ring's mean.

    Linear in the image, so that of a forward model it is the response of the measurement to a source.

    Parameters
    ----------
    image : (ny, nx) float64 ndarray
        NaN where there are no data.
    center : (x, y)
        Position of the star, 0-based pixels.
    fwhm : float
        Aperture diameter, pixels.
    positions : (n, 2) float array
        (x, y) of the apertures.
    exclude, guard
        As for `snr_map`.

    Returns
    -------
    (n,) float64 ndarray
        NaN outside the data.
    """
    sums = aperture_sums(image, fwhm)
    xy = np.rint(np.atleast_2d(positions)).astype(int)
    excluded = np.zeros(image.shape, bool) if exclude is None else np.asarray(exclude, bool)
    x, y = xy[:, 0].astype(float), xy[:, 1].astype(float)
    mean = _ring_means(sums, excluded, float(center[0]), float(center[1]), x, y, float(fwhm), guard)
    inside = (xy >= 0).all(axis=1) & (xy[:, 0] < image.shape[1]) & (xy[:, 1] < image.shape[0])
    values = np.full(len(xy), np.nan)
    values[inside] = sums[xy[inside, 1], xy[inside, 0]]
    return np.asarray(values - np.nan_to_num(mean))


def threshold_for(sigma: float, elements: NDArray[np.integer] | int) -> FloatArray:
    """S/N (small-sample statistics) with the false-alarm probability of `sigma` Gaussian sigmas.

    Parameters
    ----------
    sigma : float
        Gaussian sigmas.
    elements : int array
        Number of other resolution elements; fewer than `MIN_ELEMENTS` give NaN.
    """
    n = np.asarray(elements)
    t = t_isf(normal_sf(sigma), np.maximum(n - 1, 1))
    return np.asarray(np.where(n >= MIN_ELEMENTS, t, np.nan))
