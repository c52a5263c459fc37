"""Noise of the star-subtracted image around a source: radial variance and spatial correlation, from the image itself.

Residual speckles are correlated over about a resolution element. The covariance of two pixels is
``sigma(r1) sigma(r2) rho(distance)``: the scatter sigma and the correlation rho are measured on the residuals at the
separation of the source, outside of it, and the whole is scaled so that the amplitude of the source's own template,
fitted at other position angles, scatters as predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg

from lyot.errors import ReductionError
from lyot.geometry import radius_map

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CORRELATION_REACH = 2.5
"""Distance at which the correlation is taken as zero, resolution elements."""

RING_WIDTH = 1.5
"""Half-width of the annulus from which the correlation is measured, resolution elements."""


RADIAL_CORRELATION = 0.35
"""Standard deviation of the Gaussian over which the error of the radial mean is correlated, resolution elements."""

PRIOR_ELEMENTS = 6
"""Weight of the prediction from the correlation of the residuals against the template's scatter, in places.

Chosen on simulated sequences: with 4 the errors of positions inside 1.2 arcsec are a quarter too large, with 12 those
of fluxes there are too small.
"""


@dataclass(frozen=True)
class RadialNoise:
    """Mean and scatter of the residuals against distance from the star.

    Attributes
    ----------
    mean, sigma : (ny, nx) float64 ndarray
        Unit of the image; NaN where nothing is known.
    count : (ny, nx) float64 ndarray
        Number of pixels that the mean is from.
    width : float
        Width of the annuli of the mean, pixels.
    """

    mean: FloatArray
    sigma: FloatArray
    count: FloatArray
    width: float


def radial_noise(residual: FloatArray, center: tuple[float, float], exclude: BoolArray, *, width: float) -> RadialNoise:
    """Mean and scatter in annuli of half-width `width` pixels around the radius of each pixel.

    Parameters
    ----------
    residual : (ny, nx) float64 ndarray
        Image less the model of the known sources; NaN where there are no data.
    center : (x, y)
        Position of the star, 0-based pixels.
    exclude : (ny, nx) bool ndarray
        Pixels that are left out.
    width : float
        Pixels.
    """
    radius = radius_map((residual.shape[0], residual.shape[1]), center)
    good = np.isfinite(residual) & ~exclude
    bins = np.rint(radius * 2).astype(int)  # half-pixel bins
    n_bins = int(bins.max()) + 1
    n = np.bincount(bins[good], minlength=n_bins).astype(float)
    total = np.bincount(bins[good], weights=residual[good], minlength=n_bins)
    square = np.bincount(bins[good], weights=residual[good] ** 2, minlength=n_bins)
    half = max(1, round(width * 2))
    kernel = np.ones(2 * half + 1)
    n, total, square = (np.convolve(v, kernel, mode="same") for v in (n, total, square))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = (square - n * mean**2) / (n - 1)
    sigma = np.sqrt(np.where((n > 8) & (variance > 0), variance, np.nan))
    return RadialNoise(mean[bins], sigma[bins], n[bins], half + 0.5)


def correlation(z: FloatArray, use: BoolArray, reach: float) -> FloatArray:
    """Isotropic correlation of normalized residuals against distance in pixels: rho at 0, 1, 2, ... up to `reach`.

    Parameters
    ----------
    z : (ny, nx) float64 ndarray
        Residuals over their scatter.
    use : (ny, nx) bool ndarray
        Pixels that count.
    reach : float
        Pixels; rho is tapered smoothly to 0 there.
    """
    data = np.where(use, z, 0.0)
    ny, nx = data.shape
    shape = [fft.next_fast_len(2 * n) for n in (ny, nx)]
    spectrum = fft.rfft2(data, shape)
    counts = fft.rfft2(use.astype(float), shape)
    power = fft.irfft2(np.abs(spectrum) ** 2, shape)
    pairs = fft.irfft2(np.abs(counts) ** 2, shape)
    half = int(np.ceil(reach)) + 1
    lags = np.arange(-half, half + 1)
    distance = np.hypot(lags[:, None], lags[None, :])
    index = np.ix_(lags % shape[0], lags % shape[1])
    p, c = power[index], pairs[index]
    steps = np.arange(half + 1)
    rho = np.array([_near(p, distance, float(s)) / max(_near(c, distance, float(s)), 1.0) for s in steps])
    rho = rho / rho[0] if rho[0] > 0 else np.where(steps == 0, 1.0, 0.0)
    u = np.clip(steps / reach, 0, 1)
    return np.asarray(rho * (1 - u) ** 2 * (1 + 2 * u))


def _near(values: FloatArray, distance: FloatArray, step: float) -> float:
    return float(values[np.abs(distance - step) < 0.5].sum())


@dataclass(frozen=True)
class StampNoise:
    """Covariance of the pixels of a stamp, as its whitening.

    Attributes
    ----------
    lower : (n, n) float64 ndarray
        Cholesky factor of the covariance.
    around_mean : (n, n) float64 ndarray
        The covariance of pixels that helped to make the radial mean which was taken off: less by twice the mean's own.
    scale : float
        Factor on the errors that makes the template's scatter at other position angles as predicted.
    elements : int
        Number of independent places where that scatter was measured; 0: nowhere, scale is 1.
    """

    lower: FloatArray
    around_mean: FloatArray
    scale: float = 1.0
    elements: int = 0

    def whiten(self, values: FloatArray) -> FloatArray:
        """Values (..., n) turned into ones with unit, independent noise (but for `scale`)."""
        flat = np.atleast_2d(values)
        out = linalg.solve_triangular(self.lower, flat.T, lower=True).T
        return np.asarray(out[0] if np.ndim(values) == 1 else out)


def stamp_covariance(noise: RadialNoise, rho: FloatArray, geometry: StampGeometry) -> StampNoise:
    """Covariance of a stamp's pixels less the radial mean of others: the error of that mean counts.

    Raises
    ------
    ReductionError
        If the scatter is not known at some of them.
    """
    rows, columns = geometry.rows, geometry.columns
    sigma = noise.sigma[rows, columns]
    if not np.isfinite(sigma).all():
        raise ReductionError("the noise around the source is unknown: too few pixels with data at its separation.")
    distance = np.hypot(rows[:, None] - rows[None, :], columns[:, None] - columns[None, :])
    matrix = np.interp(distance, np.arange(len(rho)), rho, right=0.0)
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(
        values, 1e-2
    )  # a measured correlation is not quite positive; pixels keep some noise of their own
    matrix = (vectors * values) @ vectors.T
    radius = np.hypot(columns - geometry.center[0], rows - geometry.center[1])
    apart = np.abs(radius[:, None] - radius[None, :]) / (RADIAL_CORRELATION * geometry.fwhm)
    length = 1.0 + 2.0 * float(np.sum(np.maximum(rho[1:], 0.0)))  # pixels that are correlated, along a ring
    share = np.sqrt(np.minimum(length * noise.width / np.maximum(noise.count[rows, columns], 1.0), 1.0))
    mean = share[:, None] * share[None, :] * np.exp(-0.5 * apart**2)
    outer = sigma[:, None] * sigma[None, :]
    return StampNoise(np.linalg.cholesky((matrix + mean) * outer), (matrix - mean) * outer)


def template_scale(
    residual: FloatArray,
    noise: RadialNoise,
    stamp: StampNoise,
    template: FloatArray,
    geometry: StampGeometry,
    usable: BoolArray,
) -> tuple[float, int]:
    """Scatter of the template's amplitude at other position angles over the predicted one.

    Parameters
    ----------
    residual : (ny, nx) float64 ndarray
        Image less the models of the sources and the radial mean.
    noise : RadialNoise
    stamp : StampNoise
        Covariance at the source.
    template : (n,) float64 ndarray
        The source's forward model on the stamp.
    geometry : StampGeometry
        Where the stamp and the star are.
    usable : (ny, nx) bool ndarray
        False for pixels with known sources or without data.

    Returns
    -------
    scale : float
        Drawn toward 1 as if `PRIOR_ELEMENTS` further places scattered as predicted.
    elements : int
        Number of independent places.
    """
    white = stamp.whiten(template)
    weights = linalg.solve_triangular(stamp.lower.T, white, lower=False) / (white @ white)
    amplitudes = []
    n_independent = int(2 * np.pi * geometry.radius / geometry.fwhm)
    angles = 2 * np.pi * np.arange(4 * n_independent) / (4 * max(n_independent, 1))
    x0, y0 = geometry.center
    for angle in angles:
        dx = round(x0 + geometry.radius * np.cos(angle)) - geometry.middle[0]
        dy = round(y0 + geometry.radius * np.sin(angle)) - geometry.middle[1]
        if np.hypot(dx, dy) < 1.5 * geometry.fwhm:
            continue
        rows, columns = geometry.rows + dy, geometry.columns + dx
        if rows.min() < 0 or columns.min() < 0:
            continue
        if rows.max() >= residual.shape[0] or columns.max() >= residual.shape[1]:
            continue
        if usable[rows, columns].mean() < 0.95:
            continue
        there, here = noise.sigma[rows, columns], noise.sigma[geometry.rows, geometry.columns]
        values = np.where(usable[rows, columns] & (there > 0), residual[rows, columns] / there * here, 0.0)
        amplitudes.append(float(weights @ values))
    independent = len(amplitudes) // 4
    predicted = float(weights @ stamp.around_mean @ weights)
    if predicted <= 0:
        return 1.0, 0
    measured = float(np.mean(np.square(amplitudes))) / predicted if amplitudes else 1.0
    weight = independent / (independent + PRIOR_ELEMENTS)
    return float(np.sqrt(weight * measured + (1 - weight))), independent


@dataclass(frozen=True)
class StampGeometry:
    """Where a stamp lies.

    Attributes
    ----------
    rows, columns : (n,) int ndarray
        Its pixels.
    middle : (x, y)
        Pixel of the source.
    center : (x, y)
        Position of the star, 0-based pixels.
    fwhm : float
        Resolution element, pixels.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    middle: tuple[int, int]
    center: tuple[float, float]
    fwhm: float

    @property
    def radius(self) -> float:
        """Separation of the source, pixels."""
        return float(np.hypot(self.middle[0] - self.center[0], self.middle[1] - self.center[1]))


def inflation(elements: int) -> float:
    """Width of Student's t with the degrees of freedom that a noise scale from some places has."""
    freedom = elements + PRIOR_ELEMENTS
    return float(np.sqrt(freedom / (freedom - 2)))
