"""Disks: a model image propagated through mask, position-dependent PSF and reduction, and its best-fit scale.

The model is put on the detector of each exposure with its flux conserved, spread with the image of a point source that
belongs to each place (`lyot.measure.varying`), and taken through the reduction that made the image, so that what the
subtraction takes away from the disk is in the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from lyot import geometry
from lyot.errors import InputError, ReductionError
from lyot.measure.injection import FloatArray, Injector, Window, in_threads
from lyot.measure.varying import VaryingImage, from_nodes, node_grid
from lyot.params import param


@dataclass(frozen=True)
class DiskModel:
    """A model image on the sky.

    Attributes
    ----------
    image : (ny, nx) float64 ndarray
        Flux in each pixel (Jy for scales that are to be read as factors of the flux); not NaN.
    pixel_scale : float
        arcsec per pixel.
    position_angle : float
        Of the image's +y axis, degrees east of north; east is at +x turned by 90 degrees to the left of +y, as on the
        sky.
    center : (x, y) or None
        Position of the star, 0-based pixels; the middle of the image by default.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import DiskModel
    >>> image = np.zeros((5, 5))
    >>> image[2, 4] = 0.01
    >>> east, north, flux = DiskModel(image, pixel_scale=0.1, position_angle=90.0).light()
    >>> east.round(3).tolist(), north.round(3).tolist(), flux.tolist()
    ([0.0], [0.2], [0.01])
    """

    image: FloatArray
    pixel_scale: float
    position_angle: float = 0.0
    center: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        image = np.array(self.image, dtype=np.float64)
        if image.ndim != 2 or not np.isfinite(image).all() or not image.any():
            raise InputError(f"disk model: expected a finite image that is not all 0, got shape {image.shape}.")
        if not self.pixel_scale > 0:
            raise InputError(f"disk model: expected a positive pixel scale in arcsec, got {self.pixel_scale}.")
        object.__setattr__(self, "image", image)

    def light(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positions and fluxes of the pixels that are not 0.

        Returns
        -------
        east, north : (n,) float64 ndarray
            Offsets from the star, arcsec.
        flux : (n,) float64 ndarray
            Unit of `image`.
        """
        ny, nx = self.image.shape
        center = ((nx - 1) / 2, (ny - 1) / 2) if self.center is None else self.center
        y, x = np.nonzero(self.image)
        dx, dy = (x - center[0]) * self.pixel_scale, (y - center[1]) * self.pixel_scale
        east, north = geometry.sky_offset(np.hypot(dx, dy), geometry.position_angle(dx, dy, self.position_angle))
        return east, north, self.image[y, x]


@dataclass(frozen=True)
class Detector:
    """Position and orientation of the detector on the sky in each exposure.

    Attributes
    ----------
    star : (nexposures, 2) float ndarray
        Position (x, y) of the star, 0-based pixels.
    pa_y : (nexposures,) float ndarray
        Position angle of +y, degrees.
    pixel_scale : (x, y)
        arcsec per pixel.
    """

    star: FloatArray
    pa_y: FloatArray
    pixel_scale: tuple[float, float]

    def pixel(self, exposure: int, east: FloatArray, north: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Position (x, y) of offsets on the sky."""
        separation, pa = geometry.separation_and_pa(east, north)
        dx, dy = geometry.detector_offset(separation, pa, float(self.pa_y[exposure]))
        return self.star[exposure, 0] + dx / self.pixel_scale[0], self.star[exposure, 1] + dy / self.pixel_scale[1]

    def sky(self, exposure: int, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Offset (east, north), arcsec, of pixels."""
        dx = (x - self.star[exposure, 0]) * self.pixel_scale[0]
        dy = (y - self.star[exposure, 1]) * self.pixel_scale[1]
        return geometry.sky_offset(np.hypot(dx, dy), geometry.position_angle(dx, dy, float(self.pa_y[exposure])))


@dataclass(frozen=True)
class DiskParams:
    """Parameters of the disk fit."""

    stamp_radius: float = param(
        5.0, help="half width of the PSF images with which the model is convolved", unit="lambda/D", min=1.0
    )
    spacing: float = param(0.6, help="spacing of the grid on which these images are computed", unit="lambda/D", min=0.2)
    threshold: float = param(
        0.1, help="fraction of the model's maximum above which pixels are fitted", min=0.0, max=0.9
    )
    inner_radius: float | None = param(
        None, help="inner radius of the fitted region; default: one lambda/D", unit="arcsec", min=0
    )
    outer_radius: float | None = param(
        None, help="outer radius of the fitted region; default: the whole image", unit="arcsec", min=0.1
    )
    background: bool = param(True, help="also fit a constant background")
    iterations: int = param(8, help="maximum number of iterations if the reduction is nonlinear", min=1)


@dataclass(frozen=True)
class DiskFit:
    """A fitted disk; images (Ny, Nx) in the unit of the combined image.

    Attributes
    ----------
    scale, error : float
        Factor of the model's flux that fits best; error one sigma, with the noise's spatial correlation.
    model : float64
        The disk at that scale, as mask and reduction leave it.
    residual : float64
        Image less the model; NaN where there are no data.
    background : float
        Constant that was fitted, unit of the image.
    chi2 : float
        Of the residuals over the scatter at each separation, summed over the pixels.
    region : bool
        Pixels that were fitted.
    correlation : float
        Variance of the scale over that for independent pixels: about the number of pixels that share their noise.
    """

    scale: float
    error: float
    model: FloatArray
    residual: FloatArray
    background: float
    chi2: float
    region: NDArray[np.bool_]
    correlation: float = 1.0

    @property
    def snr(self) -> float:
        """Scale divided by its error."""
        return self.scale / self.error

    @property
    def reduced_chi2(self) -> float:
        """Chi2 per degree of freedom (pixels minus two); 1 if the scatter was determined from these residuals."""
        return self.chi2 / max(int(self.region.sum()) - 2, 1)


def on_detector(model: DiskModel, detector: Detector, exposure: int, shape: tuple[int, int]) -> FloatArray:
    """Flux of the model on the pixels of an exposure, before convolution with the PSF: (ny, nx), flux per pixel.

    Each pixel of the model is a point whose flux is shared out among six pixels in each direction so that the image of
    the point, spread with a PSF of MIRI's sampling, lies where it belongs (Lagrange weights of fifth degree, whose sum
    is one).
    """
    east, north, flux = model.light()
    x, y = detector.pixel(exposure, east, north)
    ix, iy = np.floor(x).astype(int), np.floor(y).astype(int)
    wx, wy = _lagrange(x - ix), _lagrange(y - iy)
    ny, nx = shape
    out = np.zeros(ny * nx)
    for j in range(6):
        for i in range(6):
            px, py = ix + i - 2, iy + j - 2
            inside = (px >= 0) & (px < nx) & (py >= 0) & (py < ny)
            weight = (flux * wy[j] * wx[i])[inside]
            out += np.bincount(py[inside] * nx + px[inside], weight, minlength=ny * nx)
    return out.reshape(shape)


def _lagrange(t: FloatArray) -> FloatArray:
    """Weights of the nodes -2 ... 3 for a point at `t` in [0, 1): (6, n)."""
    nodes = np.arange(-2.0, 4.0)
    out = np.ones((6, len(t)))
    for i, node in enumerate(nodes):
        for other in np.delete(nodes, i):
            out[i] *= (t - other) / (node - other)
    return out


@dataclass(frozen=True)
class DiskImager:
    """Images of a point source around the star in each exposure, made once for any number of disk models.

    Attributes
    ----------
    injector : Injector
    detector : Detector
    images : mapping of int to VaryingImage
        Images of a source on the detector, by exposure.
    """

    injector: Injector
    detector: Detector
    images: Mapping[int, VaryingImage]

    def signal(self, model: DiskModel) -> FloatArray:
        """Signal of a disk in the science frames: (nframes, ny, nx), unit of the frames.

        Raises
        ------
        InputError
            If no light of the model falls on the detector.
        """
        shape = (self.injector.science.shape[1], self.injector.science.shape[2])
        frames = {}
        for exposure, image in self.images.items():
            light = on_detector(model, self.detector, exposure, shape)
            if not light.any():
                raise InputError(NO_LIGHT)
            frames[exposure] = image.spread(light)
        return np.stack([frames[int(e)] for e in self.injector.exposure])

    def unit(self, model: DiskModel, window: Window | None = None) -> FloatArray:
        """A disk in the combined image, after mask and reduction: (Ny, Nx), or the part in a window.

        Raises
        ------
        ReductionError
            If the reduction is not linear in the science frames.
        """
        many = self.injector.reduce_many
        if many is None:
            raise ReductionError(NOT_LINEAR)
        signal = self.signal(model)[np.newaxis]
        if window is None:
            return np.asarray(many(signal)[0, self.injector.index])
        if self.injector.reduce_window is None:
            return np.asarray(many(signal)[0, self.injector.index][window])
        return np.asarray(self.injector.reduce_window(signal, window)[0, self.injector.index])


NO_LIGHT = "disk model: no flux falls on the detector; check pixel scale and center."

NOT_LINEAR = (
    "disk: the PSF library contains the other rolls, or the reduction is nonlinear, so that the disk subtracts "
    "itself by an amount that depends on its flux, and a ring cannot be fitted; fit it without rolls (in a reduction "
    "with reference stars only), or fit the image of a model."
)


def disk_imager(
    injector: Injector, detector: Detector, fwhm: float, radius: float, params: DiskParams | None = None
) -> DiskImager:
    """Make the images of a point source within a distance from the star.

    Parameters
    ----------
    injector : Injector
        Its `psf` is the image of a point source of unit flux.
    detector : Detector
    fwhm : float
        Resolution element, pixels of the detector.
    radius : float
        arcsec; light farther from the star is lost.
    params : DiskParams, optional

    Returns
    -------
    DiskImager
    """
    shape = (injector.science.shape[1], injector.science.shape[2])
    wanted = {}
    for exposure in map(int, np.unique(injector.exposure)):
        x0, y0 = detector.star[exposure]
        y, x = np.indices(shape)
        distance = np.hypot((x - x0) * detector.pixel_scale[0], (y - y0) * detector.pixel_scale[1])
        wanted[exposure] = distance <= radius + 4 * max(detector.pixel_scale)
    return _imager(injector, detector, fwhm, wanted, params)


def disk_signal(
    injector: Injector, model: DiskModel, detector: Detector, fwhm: float, params: DiskParams | None = None
) -> FloatArray:
    """Signal of the disk in the science frames: (nframes, ny, nx), unit of the frames.

    Parameters
    ----------
    injector : Injector
        Its `psf` is the image of a point source of unit flux.
    model : DiskModel
    detector : Detector
    fwhm : float
        Resolution element, pixels of the detector.
    params : DiskParams, optional
    """
    shape = (injector.science.shape[1], injector.science.shape[2])
    exposures = map(int, np.unique(injector.exposure))
    wanted = {exposure: on_detector(model, detector, exposure, shape) != 0 for exposure in exposures}
    if not all(lit.any() for lit in wanted.values()):
        raise InputError(NO_LIGHT)
    return _imager(injector, detector, fwhm, wanted, params).signal(model)


def _imager(
    injector: Injector,
    detector: Detector,
    fwhm: float,
    wanted: Mapping[int, NDArray[np.bool_]],
    params: DiskParams | None,
) -> DiskImager:
    """Images of a point source at the wanted pixels of each exposure."""
    p = params or DiskParams()
    return DiskImager(injector, detector, {e: _sources(injector, detector, e, w, fwhm, p) for e, w in wanted.items()})


def _sources(
    injector: Injector, detector: Detector, exposure: int, wanted: NDArray[np.bool_], fwhm: float, p: DiskParams
) -> VaryingImage:
    """Images of a point source at every detector pixel that holds light."""
    shape = (wanted.shape[0], wanted.shape[1])
    nodes = node_grid(shape, wanted, max(round(p.spacing * fwhm), 1))
    half = int(np.ceil(p.stamp_radius * fwhm))

    def stamp(node: NDArray[np.intp]) -> FloatArray:
        east, north = detector.sky(exposure, np.array(float(node[0])), np.array(float(node[1])))
        frame = np.pad(injector.psf(exposure, float(east), float(north)), half)
        x, y = int(node[0]), int(node[1])
        return frame[y : y + 2 * half + 1, x : x + 2 * half + 1]

    return from_nodes(np.stack(in_threads(stamp, list(nodes))), nodes.astype(float), shape, keep=0.9999, most=20)


def fit_disk(
    injector: Injector,
    model: DiskModel,
    detector: Detector,
    fwhm: float,
    params: DiskParams | None = None,
    *,
    imager: DiskImager | None = None,
) -> DiskFit:
    """Fit the scale of a disk model to the combined image.

    Parameters
    ----------
    injector : Injector
        The reduction.
    model : DiskModel
    detector : Detector
    fwhm : float
        Resolution element, pixels of the combined image.
    params : DiskParams, optional
    imager : DiskImager, optional
        Images of a source that were made before, as far out as the model has light.

    Returns
    -------
    DiskFit

    Raises
    ------
    InputError
        If the model has no light on the detector.
    ReductionError
        If too few pixels can be fitted.
    """
    p = params or DiskParams()
    signal = disk_signal(injector, model, detector, fwhm, p) if imager is None else imager.signal(model)
    image = injector.image
    grid = (injector.center, injector.pixel_scale, fwhm)
    if injector.reduce_many is not None:
        unit = np.asarray(injector.reduce_many(signal[np.newaxis])[0, injector.index])
        return fit_scale(image, unit, *grid, p)
    return _fit_by_removal(injector, signal, grid, p)


def same_pixels(
    fits: Sequence[DiskFit], injector: Injector, fwhm: float, params: DiskParams | None = None
) -> tuple[DiskFit, ...]:
    """Refit disks on the same pixels with the same weights, so that their chi2 can be compared.

    The pixels are those of any of the models, the weights the inverse scatter at each separation that the best of them
    leaves there.

    Parameters
    ----------
    fits : sequence of DiskFit
    injector : Injector
        The reduction.
    fwhm : float
        Resolution element, pixels of the combined image.
    params : DiskParams, optional

    Returns
    -------
    tuple of DiskFit
        In the same order; where the reduction is not linear only chi2 and region are new.
    """
    region = np.any([f.region for f in fits], axis=0) & np.all([np.isfinite(f.residual) for f in fits], axis=0)
    radius = geometry.radius_map((region.shape[0], region.shape[1]), injector.center)
    scatter = [noise_by_separation(f.residual - f.background, region, radius, fwhm) for f in fits]
    sigma = np.min([np.where(s > 0, s, np.inf) for s in scatter], axis=0)
    sigma = np.where(np.isfinite(sigma), sigma, 0.0)
    grid = (injector.center, injector.pixel_scale, fwhm)
    found = []
    for fit in fits:
        if injector.reduce_many is None or fit.scale == 0:
            use = region & (sigma > 0)
            z = np.where(use, (fit.residual - fit.background) / np.where(use, sigma, 1.0), 0.0)
            found.append(replace(fit, chi2=float((z**2).sum()), region=use))
        else:
            again = fit_scale(injector.image, fit.model / fit.scale, *grid, params, region=region, sigma=sigma)
            found.append(again)
    return tuple(found)


def _fit_by_removal(
    injector: Injector, signal: FloatArray, grid: tuple[tuple[float, float], float, float], p: DiskParams
) -> DiskFit:
    """The scale at which the disk taken out of the frames leaves least, by Gauss-Newton steps.

    The reduction is not linear: a disk that is in the frames subtracts itself, one that was taken out does not. The
    basis then changes with the scale and fits noise as well, so that the scale may be off by several of its stated
    errors (20 % in the tests' two-roll sequences): measure disks in reductions with references alone.
    """
    image = injector.image

    def without(scale: float) -> FloatArray:
        return np.asarray(injector.reduce(injector.science - scale * signal)[injector.index])

    step = 0.1 * float(np.nanstd(image)) / float(np.abs(signal).max())
    scale, left, change = 0.0, image, DiskFit(0.0, np.inf, image, image, 0.0, np.nan, np.isfinite(image))
    for _ in range(p.iterations):
        slope = (left - without(scale + step)) / step
        change = fit_scale(left, slope, *grid, p)
        scale += change.scale
        left = without(scale)
        if abs(change.scale) < 0.05 * change.error:
            break
        step = max(change.error, step)
    return replace(change, scale=scale, model=image - left, residual=left)


def fit_scale(
    image: FloatArray,
    unit: FloatArray,
    center: tuple[float, float],
    pixel_scale: float,
    fwhm: float,
    params: DiskParams | None = None,
    *,
    region: NDArray[np.bool_] | None = None,
    sigma: FloatArray | None = None,
) -> DiskFit:
    """Least-squares scale of a template in an image, with its error from the correlated residuals.

    Weights are the inverse scatter of the residuals at each separation. The scale's variance is that of a weighted sum
    of noise whose correlation is the residuals' own, as in the fit of companions.

    Parameters
    ----------
    image : (Ny, Nx) float64 ndarray
        NaN where there are no data.
    unit : (Ny, Nx) float64 ndarray
        The template at unit scale, same unit.
    center : (x, y)
        Position of the star.
    pixel_scale : float
        arcsec per pixel.
    fwhm : float
        pixels.
    params : DiskParams, optional
    region : (Ny, Nx) bool ndarray, optional
        Pixels to fit; by default those around the template's light.
    sigma : (Ny, Nx) float64 ndarray, optional
        Scatter of the noise, 0 where it is not known; by default that of the residuals.

    Returns
    -------
    DiskFit

    Raises
    ------
    ReductionError
        If too few pixels can be fitted.
    """
    p = params or DiskParams()
    radius = geometry.radius_map((image.shape[0], image.shape[1]), center)
    fitted = region if region is not None else _region(image, unit, radius, pixel_scale, fwhm, p)
    fitted = fitted & np.isfinite(image) & np.isfinite(unit)
    template, data = np.where(fitted, unit, 0.0), np.where(fitted, image, 0.0)
    scale, background = 0.0, 0.0
    for _ in range(4 if sigma is None else 1):
        noise = noise_by_separation(image - scale * unit - background, fitted, radius, fwhm) if sigma is None else sigma
        weight = np.where(fitted & (noise > 0), 1.0 / np.where(noise > 0, noise, 1.0) ** 2, 0.0)
        mass = weight.sum()
        mean_t, mean_d = (float((weight * v).sum() / mass) if p.background else 0.0 for v in (template, data))
        centered = np.where(fitted, template - mean_t, 0.0)
        normal = float((weight * centered**2).sum())
        scale = float((weight * centered * (data - mean_d)).sum()) / normal
        background = mean_d - scale * mean_t
    residual = image - scale * unit
    use = weight > 0
    z = np.where(use, (residual - background) * np.sqrt(weight), 0.0)
    products = correlated_products((centered * np.sqrt(weight))[np.newaxis], z, use, fwhm)
    variance = float(products[0, 0]) / normal**2
    chi2 = float((z**2).sum())
    correlation = max(variance * normal, 1e-30)
    return DiskFit(scale, float(np.sqrt(variance)), scale * unit, residual, background, chi2, use, correlation)


def _region(
    image: FloatArray, unit: FloatArray, radius: FloatArray, pixel_scale: float, fwhm: float, p: DiskParams
) -> NDArray[np.bool_]:
    """Pixels of the disk and a resolution element around it, between the two radii."""
    inner = fwhm if p.inner_radius is None else p.inner_radius / pixel_scale
    outer = np.inf if p.outer_radius is None else p.outer_radius / pixel_scale
    usable = np.isfinite(image) & np.isfinite(unit) & (radius >= inner) & (radius <= outer)
    if not usable.any():
        raise ReductionError("disk: no data in the fitted region.")
    bright = usable & (np.abs(np.nan_to_num(unit)) > p.threshold * np.abs(unit[usable]).max())
    grown = ndimage.distance_transform_edt(~bright) <= 2 * fwhm
    region = usable & grown
    if region.sum() < 30:
        raise ReductionError("disk: fewer than 30 pixels to fit; lower the threshold or the inner radius.")
    return np.asarray(region)


def noise_by_separation(residual: FloatArray, region: NDArray[np.bool_], radius: FloatArray, fwhm: float) -> FloatArray:
    """Scatter of residuals in rings of half a resolution element.

    Parameters
    ----------
    residual : (Ny, Nx) float64 ndarray
        NaN where there are no data.
    region : (Ny, Nx) bool ndarray
        Pixels that count, and that the scatter is wanted for.
    radius : (Ny, Nx) float64 ndarray
        Distance from the star, pixels.
    fwhm : float
        Pixels.

    Returns
    -------
    (Ny, Nx) float64 ndarray
        Root mean square of three neighboring rings; 0 outside of the region, and where six pixels are not there.
    """
    ring = np.rint(radius / (0.5 * fwhm)).astype(int)
    near = region & np.isfinite(residual)
    n = int(ring.max()) + 1
    out = np.zeros(residual.shape)
    total, count = (np.zeros(n) for _ in range(2))
    np.add.at(total, ring[near], residual[near] ** 2)
    np.add.at(count, ring[near], 1.0)
    total, count = (np.convolve(v, np.ones(3), "same") for v in (total, count))
    sigma = np.sqrt(np.where(count >= 6, total / np.maximum(count, 1), 0.0))
    out[region] = sigma[ring[region]]
    return out


def correlated_products(templates: FloatArray, z: FloatArray, use: NDArray[np.bool_], fwhm: float) -> FloatArray:
    """Covariance of sum(template n) for noise n of the correlation of `z`: at least that of white noise.

    Parameters
    ----------
    templates : (k, Ny, Nx) float64 ndarray
        Weighted by the inverse scatter; 0 outside of `use`.
    z : (Ny, Nx) float64 ndarray
        Residuals over their scatter; 0 outside of `use`.
    use : (Ny, Nx) bool ndarray
    fwhm : float
        Pixels; the correlation is followed to twice this distance.

    Returns
    -------
    (k, k) float64 ndarray
    """
    shape = tuple(fft.next_fast_len(2 * n, real=True) for n in z.shape)

    def autocorrelation(image: FloatArray) -> FloatArray:
        return np.asarray(fft.irfft2(np.abs(fft.rfft2(image, shape)) ** 2, shape))

    pairs = autocorrelation(use.astype(float))
    rho = autocorrelation(z) / np.maximum(pairs, 1.0)
    lags = np.hypot(*np.meshgrid(*(fft.fftfreq(n, 1 / n) for n in shape), indexing="ij"))
    near = (lags <= 2.0 * fwhm) & (pairs > 30)
    kernel = fft.rfft2(np.where(near, rho, 0.0))
    smoothed = np.array(
        [fft.irfft2(kernel * fft.rfft2(t, shape), shape)[: z.shape[0], : z.shape[1]] for t in templates]
    )
    flat = templates.reshape(len(templates), -1)
    found = flat @ smoothed.reshape(len(templates), -1).T
    white = np.einsum("ij,ij->i", flat, flat) * rho[0, 0]
    missing = np.maximum(white - np.diag(found), 0.0)
    return np.asarray(0.5 * (found + found.T) + np.diag(missing))
