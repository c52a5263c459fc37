"""Matched filter: S/N, flux and detection limit of a point source at every pixel.

At each pixel the image is compared with what a source there looks like after mask, throughput of each roll, and
reduction (`lyot.measure.varying`). With weights w = 1/sigma^2 (sigma: scatter of the image at that separation), and m
less its weighted mean over the stamp, so that a constant background under the source does not matter,

    z = sum(w d m) / sqrt(sum(w m^2)),      flux = sum(w d m) / sum(w m^2).

Noise that is correlated, as speckles are, gives z a scatter other than one. It is therefore measured: from the other
independent places at the same separation, with the statistics of few samples of `lyot.measure.noise.snr_map`. As z is
compared and not the flux, places where mask and reduction leave less light do not spoil the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.errors import InputError
from lyot.geometry import offset_grid
from lyot.measure.distributions import t_sf
from lyot.measure.injection import FloatArray, Injector, in_threads
from lyot.measure.noise import MIN_ELEMENTS, check_image, gaussian_significance, ring_statistics, threshold_for
from lyot.measure.varying import VaryingImage, from_nodes, node_grid
from lyot.params import param

MIN_SIGNIFICANCE = 3.0
"""Least significance of a source that is taken out before the noise is told."""

OUTER_RADIUS = 5.0
"""Outermost separation of the map by default, arcsec."""

MODEL_ERROR = 0.2
"""Part of a source that may stay in the image when it is taken out; the pixel nearest to it stands for its position."""

MIN_LIGHT = 0.2
"""Least amplitude of a source's image, in terms of the brightest: on the mask's boundaries a source may vanish."""

MIN_COVERAGE = 0.6
"""Least part of a source's power that must lie on pixels with data."""


@dataclass(frozen=True)
class MatchedFilterParams:
    """Parameters of the matched filter."""

    outer_radius: float | None = param(
        None,
        help=f"outer radius of the map; default: {OUTER_RADIUS:g} arcsec, or 15 % beyond the outermost source",
        unit="arcsec",
        min=0.2,
    )
    spacing: float = param(
        1.8, help="grid spacing of the source images far from the mask boundaries", unit="lambda/D", min=0.3
    )
    fine_spacing: float = param(
        0.7, help="grid spacing of the source images where the mask throughput varies rapidly", unit="lambda/D", min=0.2
    )
    stamp_radius: float = param(3.0, help="half width of the source images", unit="lambda/D", min=1.0)
    threshold: float = param(5.0, help="S/N above which sources are subtracted before the noise is measured", min=0.0)
    max_sources: int = param(10, help="maximum number of sources subtracted before the noise is measured", min=0)


@dataclass(frozen=True)
class MatchedFilter:
    """Maps of a matched filter, all (ny, nx), NaN where undefined.

    Attributes
    ----------
    snr : float64
        S/N of a source on each pixel, corrected for few samples.
    flux : float64
        Its flux, unit of the images of the sources (Jy).
    flux_error : float64
        One sigma, few-sample correction included.
    elements : int32
        Number of other places from which the noise is known.
    z : float64
        Amplitude of the filter over what uncorrelated noise of the pixels would give it, mean of the ring taken off.
    """

    snr: FloatArray
    flux: FloatArray
    flux_error: FloatArray
    elements: NDArray[np.int32]
    z: FloatArray

    def significance(self) -> FloatArray:
        """S/N as the equivalent number of Gaussian sigmas."""
        return gaussian_significance(self.snr, self.elements)

    def limit(self, sigma: float = 5.0) -> FloatArray:
        """Flux at which a source's expected S/N has the false-alarm probability of `sigma` Gaussian sigmas."""
        return np.asarray(threshold_for(sigma, self.elements) * self.flux_error)

    def peak(self, x: int, y: int) -> tuple[float, float, float]:
        """Position (x, y) and flux at the maximum between the pixels around a pixel.

        The filter on the nearest pixel falls short of a source between pixels by up to 5 % at a resolution element of
        four pixels. A paraboloid through z on nine pixels tells what is missing; the pixel itself where that has no
        maximum within it.
        """
        z = self.z[y - 1 : y + 2, x - 1 : x + 2]
        if z.shape != (3, 3) or not np.isfinite(z).all():
            return float(x), float(y), float(self.flux[y, x])
        gy, gx = np.indices((3, 3)).reshape(2, -1) - 1.0
        design = np.column_stack([np.ones(9), gx, gy, gx**2, gx * gy, gy**2])
        c = np.linalg.lstsq(design, z.ravel(), rcond=None)[0]
        bend = np.array([[2 * c[3], c[4]], [c[4], 2 * c[5]]])
        if np.linalg.eigvalsh(bend).max() >= 0:
            return float(x), float(y), float(self.flux[y, x])
        step = np.clip(-np.linalg.solve(bend, c[1:3]), -1.0, 1.0)
        top = float(c[0] + c[1:3] @ step + 0.5 * step @ bend @ step)
        return x + float(step[0]), y + float(step[1]), float(self.flux[y, x] * max(top / z[1, 1], 1.0))

    def completeness(self, flux: float, sigma: float = 5.0) -> FloatArray:
        """Completeness for sources of `flux` at this threshold: (ny, nx), see `completeness_of`."""
        return completeness_of(flux, self.limit(sigma), self.elements, sigma)


def completeness_of(flux: float, limit: FloatArray, elements: NDArray[np.integer], sigma: float = 5.0) -> FloatArray:
    """Probability that a source of some flux exceeds the detection threshold.

    The S/N of a source scatters about flux / error as Student's t does with the noise's degrees of freedom; the
    threshold is the S/N at the limit.

    Parameters
    ----------
    flux : float
        Of the source, unit of `limit`.
    limit : float array
        Flux whose expected S/N is the threshold: there the completeness is one half.
    elements : int array
        Number of places from which the noise is known, shape of `limit`.
    sigma : float, optional
        Gaussian sigmas of the threshold.

    Returns
    -------
    float64 ndarray
        0 to 1, NaN where the limit is.
    """
    return exceeding(flux, limit, elements, threshold_for(sigma, elements))


def exceeding(flux: float, limit: FloatArray, elements: NDArray[np.integer], threshold: FloatArray) -> FloatArray:
    """`completeness_of` with the S/N of the threshold given (`threshold_for`), for many fluxes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        below = threshold * (1.0 - flux / np.asarray(limit))
    found = t_sf(below, np.maximum(np.asarray(elements) - 1, 1))
    return np.asarray(np.where(np.isfinite(below), found, np.nan))


def source_images(
    injector: Injector,
    fwhm: float,
    params: MatchedFilterParams | None = None,
    *,
    throughput: FloatArray | None = None,
    flux: float | None = None,
) -> VaryingImage:
    """Images of a source of unit flux at every pixel of the combined image, each through mask and reduction.

    Parameters
    ----------
    injector : Injector
        The reduction.
    fwhm : float
        Resolution element, pixels.
    params : MatchedFilterParams, optional
    throughput : (Ny, Nx) float array, optional
        Light that the mask leaves on the combined image: the nodes are dense where it changes quickly. Without it they
        are dense everywhere.
    flux : float, optional
        Flux of the sources where the reduction is not linear; by default about ten times the noise.

    Returns
    -------
    VaryingImage

    Raises
    ------
    InputError
        If there are no data within the outer radius.
    """
    p = params or MatchedFilterParams()
    image = injector.image
    shape = (image.shape[0], image.shape[1])
    dx, dy = offset_grid(shape, injector.center)
    radius = np.hypot(dx, dy)
    outer = OUTER_RADIUS if p.outer_radius is None else p.outer_radius
    wanted = (radius * injector.pixel_scale <= outer) & np.isfinite(image)
    if not wanted.any():
        raise InputError("matched filter: no data within the outer radius.")
    nodes = _nodes(shape, wanted, fwhm, p, throughput)
    half = int(np.ceil(p.stamp_radius * fwhm))
    scale = 1.0 if flux is None else flux
    if flux is None and injector.reduce_many is None:
        peak = float(np.nanmax(injector.signal(*injector.sky(*map(float, nodes[len(nodes) // 2])))))
        scale = 10.0 * float(np.nanstd(image[wanted])) / peak
    stamps = injector_stamps(injector, nodes, half, scale)
    good = stamps.any(axis=(1, 2))
    images = from_nodes(stamps[good], nodes[good].astype(float), shape)
    return replace(images, known=images.known & wanted)


def _nodes(
    shape: tuple[int, int],
    wanted: NDArray[np.bool_],
    fwhm: float,
    p: MatchedFilterParams,
    throughput: FloatArray | None,
) -> NDArray[np.intp]:
    """A coarse grid, and a fine one where the throughput changes by more than 5 % from fine node to fine node."""
    fine = max(round(p.fine_spacing * fwhm), 1)
    if throughput is None:
        return node_grid(shape, wanted, fine)
    filled = np.where(np.isfinite(throughput), throughput, 0.0)
    spread = ndimage.maximum_filter(filled, 2 * fine + 1) - ndimage.minimum_filter(filled, 2 * fine + 1)
    coarse_nodes = node_grid(shape, wanted, max(round(p.spacing * fwhm), fine))
    fine_nodes = node_grid(shape, wanted & (spread > 0.1), fine)
    return np.unique(np.concatenate([coarse_nodes, fine_nodes]), axis=0)


def injector_stamps(injector: Injector, nodes: NDArray[np.intp], half: int, flux: float = 1.0) -> FloatArray:
    """Forward models around some pixels (x, y) of the combined image, NaN as 0: (n, 2 half + 1, 2 half + 1)."""
    image = injector.image  # made once, before the threads ask for it

    def stamp(node: NDArray[np.intp]) -> FloatArray:
        x, y = int(node[0]), int(node[1])
        rows, columns = slice(max(y - half, 0), y + half + 1), slice(max(x - half, 0), x + half + 1)
        part = injector.forward_window(*injector.sky(float(x), float(y)), (rows, columns), flux=flux)
        out = np.zeros((2 * half + 1, 2 * half + 1))
        top, left = half - (y - rows.start), half - (x - columns.start)
        out[top : top + part.shape[0], left : left + part.shape[1]] = np.nan_to_num(part)
        return out

    assert image is not None
    return np.stack(in_threads(stamp, list(nodes)))


def matched_filter(
    image: NDArray[np.floating],
    center: tuple[float, float],
    fwhm: float,
    sources: VaryingImage,
    *,
    known: FloatArray | None = None,
    exclude: NDArray[np.bool_] | None = None,
    guard: int = 1,
) -> MatchedFilter:
    """Matched-filter maps of a star-subtracted image.

    See `matched_filter_of_sources` for one that takes out what it finds before it tells the noise.

    Parameters
    ----------
    image : (ny, nx) array of float
        NaN where there are no data.
    center : (x, y)
        0-based pixel position of the star.
    fwhm : float
        Resolution element, pixels: the distance of independent places.
    sources : VaryingImage
        Images of sources on the pixels of `image`, from `source_images`.
    known : (ny, nx) float array, optional
        Image of known sources: taken out where the noise is told, and left in where the signal is.
    exclude : (ny, nx) bool array, optional
        True where a known source must not count as noise.
    guard : int, optional
        Places on each side of the source that are left out of the noise, because they share its light.

    Returns
    -------
    MatchedFilter

    Raises
    ------
    InputError
        If shapes do not fit.
    """
    data = check_image(image)
    if sources.shape != data.shape:
        raise InputError(f"image has shape {data.shape}, the images of the sources are for {sources.shape}.")
    excluded = np.zeros(data.shape, bool) if exclude is None else np.asarray(exclude, bool)
    if excluded.shape != data.shape:
        raise InputError(f"exclude: expected shape {data.shape}, got {excluded.shape}.")
    good = np.isfinite(data)
    empty = data if known is None else data - np.nan_to_num(known)
    mean, sigma = _radial_scatter(empty, center, fwhm, good & ~excluded)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.where(sigma > 0, 1.0 / sigma**2, 0.0)
    weight = np.where(good, whole, 0.0)
    total = np.maximum(sources.around(weight), 1e-300)
    mass = sources.matched(weight)
    covered, light = sources.power(weight), sources.power(np.ones(data.shape))
    usable = sources.known & good & (covered > MIN_COVERAGE * sources.power(whole))
    usable &= light > MIN_LIGHT**2 * light[sources.known].max()
    power = covered - mass**2 / total  # of the images less their mean
    usable &= power > 0
    root = np.sqrt(np.where(usable, power, 1.0))

    def z_of(image: FloatArray) -> FloatArray:
        weighted = weight * np.where(good, image - mean, 0.0)
        amplitude = sources.matched(weighted) - mass * sources.around(weighted) / total
        return np.where(usable, amplitude / root, np.nan)

    z = z_of(data)
    ring_mean, scatter, count = ring_statistics(z if known is None else z_of(empty), excluded, center, fwhm, guard)
    enough = usable & (count >= MIN_ELEMENTS) & (scatter > 0)
    noise = np.where(enough, scatter * np.sqrt(1 + 1 / np.maximum(count, 1)), np.nan)
    signal = np.where(enough, z - ring_mean, np.nan)
    number = np.where(enough, count, 0).astype(np.int32)
    return MatchedFilter(signal / noise, signal / root, noise / root, number, signal)


def matched_filter_of_sources(
    image: NDArray[np.floating],
    center: tuple[float, float],
    fwhm: float,
    sources: VaryingImage,
    params: MatchedFilterParams | None = None,
) -> tuple[MatchedFilter, FloatArray, tuple[tuple[int, int], ...]]:
    """Matched-filter maps with the noise measured after the sources above the threshold have been subtracted.

    Parameters
    ----------
    image, center, fwhm, sources
        As for `matched_filter`.
    params : MatchedFilterParams, optional
        `threshold` and `max_sources`.

    Returns
    -------
    maps : MatchedFilter
    model : (ny, nx) float64 ndarray
        Image of the sources that were taken out.
    places : tuple of (x, y)
        Their pixels.
    """
    p = params or MatchedFilterParams()
    data = check_image(image)
    model, excluded = np.zeros(data.shape), np.zeros(data.shape, bool)
    places: list[tuple[int, int]] = []
    maps = matched_filter(data, center, fwhm, sources)
    while len(places) < p.max_sources:
        rest = matched_filter(data - model, center, fwhm, sources, exclude=excluded) if places else maps
        peak = _highest(rest, p.threshold, excluded, fwhm)
        if peak is None:
            break
        x, y = peak
        one = np.zeros(data.shape)
        one[y, x] = rest.flux[y, x]
        source = sources.spread(one)
        model += source
        places.append((x, y))
        dx, dy = offset_grid((data.shape[0], data.shape[1]), (float(x), float(y)))
        left = MODEL_ERROR * np.abs(_flux_of(source, sources)) > np.nan_to_num(rest.flux_error, nan=np.inf)
        excluded |= (np.hypot(dx, dy) <= fwhm) | left
    if places:
        maps = matched_filter(data, center, fwhm, sources, known=model, exclude=excluded)
    return maps, model, tuple(places)


def _highest(maps: MatchedFilter, threshold: float, excluded: NDArray[np.bool_], fwhm: float) -> tuple[int, int] | None:
    """Pixel (x, y) of the highest local maximum of z that is significant; None without.

    Of z and not of the S/N: where few places tell the noise, beside a bright source, a S/N may be anything.
    """
    z = np.nan_to_num(maps.z, nan=-np.inf)
    high = (np.nan_to_num(maps.snr) >= threshold) & (np.nan_to_num(maps.significance()) >= MIN_SIGNIFICANCE)
    top = z == ndimage.maximum_filter(z, size=int(np.ceil(fwhm)) | 1, mode="constant", cval=-np.inf)
    ranked = np.where(high & top & ~excluded, z, -np.inf)
    y, x = np.unravel_index(int(np.argmax(ranked)), ranked.shape)
    return (int(x), int(y)) if np.isfinite(ranked[y, x]) else None


def _flux_of(image: FloatArray, sources: VaryingImage) -> FloatArray:
    """Flux that an unweighted filter makes of an image, at every pixel."""
    power = sources.power(np.ones(image.shape))
    return np.asarray(np.where(power > 0, sources.matched(image) / np.where(power > 0, power, 1.0), 0.0))


def _radial_scatter(
    data: FloatArray, center: tuple[float, float], fwhm: float, use: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Mean and scatter of the pixels at the same separation (rings of half a resolution element), at every pixel."""
    dx, dy = offset_grid((data.shape[0], data.shape[1]), center)
    radius = np.hypot(dx, dy) / (0.5 * fwhm)
    ring = np.rint(radius).astype(int)
    n = int(ring.max()) + 1
    count = np.bincount(ring[use], minlength=n).astype(float)
    first = np.bincount(ring[use], data[use], minlength=n)
    second = np.bincount(ring[use], data[use] ** 2, minlength=n)
    count, first, second = (np.convolve(v, np.ones(3), "same") for v in (count, first, second))
    known = count >= 6
    if not known.any():
        raise InputError("matched filter: fewer than six pixels at every separation.")
    mean = np.where(known, first / np.maximum(count, 1), 0.0)
    sigma = np.sqrt(np.maximum(second / np.maximum(count, 1) - mean**2, 0.0))
    rings = np.arange(n)
    mean, sigma = (np.interp(radius, rings[known], v[known]) for v in (mean, sigma))
    return mean, sigma
