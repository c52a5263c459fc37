"""Detection limits: 5-sigma contrast as a function of separation, and in two dimensions.

A limit is the flux of a source whose expected S/N is the threshold: threshold x noise / response. The noise is that of
the significance of detections (`lyot.measure.significance.combined_noise`), or of the ring alone (`snr_map`); the
threshold carries the statistics of few samples, and the response is what an aperture holds of a source of unit flux
that went through the mask and the whole reduction, at that place. The source's own image is taken out of the
apertures that tell the noise. With it left in, a source bright enough for the high threshold close to the star would
raise its own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.errors import InputError, ReductionError
from lyot.geometry import offset_grid, position_angle, sky_offset
from lyot.measure.injection import FloatArray, Injector, in_threads
from lyot.measure.matched_filter import exceeding
from lyot.measure.noise import SignalToNoise, aperture_kernel, aperture_sums, snr_map, threshold_for
from lyot.measure.significance import combined_noise, speckle_pattern
from lyot.params import param

log = logging.getLogger(__name__)


OUTER_RADIUS = 5.0
"""Last separation by default, arcsec."""


@dataclass(frozen=True)
class ContrastParams:
    """Where and how detection limits are measured.

    Examples
    --------
    >>> params = ContrastParams(separations=10, angles=16, outer_radius=3.0)
    >>> params.sigma, params.noise
    (5.0, 'combined')
    """

    separations: int = param(20, help="number of separations", min=2)
    angles: int = param(8, help="number of position angles at which sources are injected at each separation", min=1)
    inner_radius: float | None = param(
        None, help="smallest separation; default: 1.2 resolution elements", unit="arcsec"
    )
    outer_radius: float | None = param(
        None, help="largest separation; default: 5 arcsec, or beyond the outermost source, limited by the field",
        unit="arcsec", min=0.1,
    )  # fmt: skip
    sigma: float = param(5.0, help="significance of the detection limit, Gaussian sigmas", min=0.1)
    first_angle: float = param(0.0, help="position angle of the first injected source", unit="deg")
    noise: str = param(
        "combined",
        help="noise used for the limits: combined (as for the significance of detections) or ring (only the other "
        "apertures at the same separation)",
        choices=("combined", "ring"),
    )


@dataclass(frozen=True)
class Responses:
    """Signal of sources of unit flux on a polar grid, after mask and reduction.

    Attributes
    ----------
    separation : (nsep,) float64 ndarray
        arcsec.
    position_angle : (nsep, nangle) float64 ndarray
        Degrees, see `spread_angles`; the angles of neighboring separations are staggered.
    response : (nsep, nangle) float64 ndarray
        What an aperture holds of a source of unit flux, unit of the image times pixels; NaN outside the field.
    """

    separation: FloatArray
    position_angle: FloatArray
    response: FloatArray


@dataclass(frozen=True)
class ContrastCurve:
    """Detection limits as a function of separation; fluxes in the unit of the injected sources (Jy), (nsep,) each.

    Attributes
    ----------
    separation : float64
        arcsec.
    flux_raw : float64
        `sigma` x noise for a source whose light all arrives: no losses, no few-sample correction.
    flux_limit : float64
        The calibrated limit: half of the sources of this flux, at all position angles, are found; see `half_found`.
    flux_low, flux_high : float64
        Fluxes of which 16 and 84 percent are found, at all position angles: the limit depends on where the source
        lies behind the mask, and its S/N scatters.
    noise : float64
        Of an aperture, unit of the image times pixels: the median over the ring.
    elements : int
        Number of resolution elements that the noise was measured from.
    threshold : float64
        S/N that corresponds to `sigma` at that number.
    throughput : float64
        Median response over the response without mask and reduction.
    limits : (nsep, nangle) float64
        The limit at each position angle of `responses`.
    responses : Responses
    sigma : float
        Level of the limits, Gaussian sigmas.
    fwhm : float
        arcsec.
    maps : SignalToNoise
        S/N without the known sources, and the noise that the limits are against, at every pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import ContrastParams, Injector, contrast_curve
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> noise = np.random.default_rng(1).normal(scale=0.1, size=(1, 81, 81))
    >>> injector = Injector(noise, np.zeros(1, int), psf, lambda frames: frames, center=(40, 40), pixel_scale=0.11)
    >>> curve = contrast_curve(injector, 4.0, ContrastParams(separations=3, angles=4, outer_radius=3.0))
    >>> bool((curve.flux_low < curve.flux_high).all()), curve.throughput.round(1).tolist()
    (True, [1.0, 1.0, 1.0])
    """

    separation: FloatArray
    flux_raw: FloatArray
    flux_limit: FloatArray
    flux_low: FloatArray
    flux_high: FloatArray
    noise: FloatArray
    elements: NDArray[np.intp]
    threshold: FloatArray
    throughput: FloatArray
    limits: FloatArray
    responses: Responses
    sigma: float
    fwhm: float
    maps: SignalToNoise


def measure_responses(injector: Injector, fwhm: float, params: ContrastParams, *, flux: float = 1.0) -> Responses:
    """Inject a source at each point of a polar grid, one at a time, and measure its remaining signal.

    Parameters
    ----------
    injector : Injector
    fwhm : float
        Resolution element, pixels.
    params : ContrastParams
    flux : float, optional
        Flux of the sources where the reduction is not linear.
    """
    separation = _separations(injector, fwhm, params)
    stagger = (np.arange(len(separation)) % 2) * 45.0 / params.angles
    angle = (params.first_angle + stagger[:, None] + spread_angles(params.angles)[None, :]) % 360.0
    places = [sky_offset(r, pa) for r, row in zip(separation, angle, strict=True) for pa in row]
    _on_data(injector, 0.0, 0.0)  # the image is made once, before the threads ask for it

    def measure(place: tuple[FloatArray, FloatArray]) -> float:
        return aperture_response(injector, float(place[0]), float(place[1]), fwhm, flux=flux)

    return Responses(separation, angle, np.array(in_threads(measure, places)).reshape(angle.shape))


def spread_angles(n: int) -> FloatArray:
    """Angles all around that are evenly spread within a quarter turn as well, degrees: (n,).

    A four-quadrant mask looks the same after a quarter turn. Eight angles of equal distance would lie at two places
    behind it only, and their median would not be that of all angles.
    """
    k = np.arange(n)
    return np.asarray(360.0 / n * (k + np.floor(4 * k / n) / 4))


def aperture_response(injector: Injector, east: float, north: float, fwhm: float, *, flux: float = 1.0) -> float:
    """What the aperture on the pixel of a source of unit flux holds after mask and reduction; NaN where no data are."""
    if not _on_data(injector, east, north):
        return float("nan")
    x, y = (round(v) for v in injector.pixel(east, north))
    half = int(np.ceil(fwhm))
    rows, columns = (slice(max(v - half, 0), v + half + 1) for v in (y, x))
    model = injector.forward_window(east, north, (rows, columns), flux=flux)
    return float(aperture_sums(model, fwhm)[y - rows.start, x - columns.start])


def _separations(injector: Injector, fwhm: float, params: ContrastParams) -> FloatArray:
    inner = params.inner_radius if params.inner_radius is not None else 1.2 * fwhm * injector.pixel_scale
    dx, dy = offset_grid((injector.image.shape[0], injector.image.shape[1]), injector.center)
    field = float(np.hypot(dx, dy)[np.isfinite(injector.image)].max(initial=0.0)) * injector.pixel_scale
    outer = min(OUTER_RADIUS if params.outer_radius is None else params.outer_radius, field)
    if inner >= outer:
        raise InputError(
            f"contrast: the smallest separation {inner:.2f} arcsec is not below the largest, {outer:.2f} arcsec; "
            "change inner_radius or outer_radius."
        )
    return np.geomspace(inner, outer, params.separations)


def _on_data(injector: Injector, east: float, north: float) -> bool:
    x, y = (round(v) for v in injector.pixel(east, north))
    ny, nx = injector.image.shape
    return 0 <= x < nx and 0 <= y < ny and bool(np.isfinite(injector.image[y, x]))


def contrast_curve(
    injector: Injector,
    fwhm: float,
    params: ContrastParams | None = None,
    *,
    known: FloatArray | None = None,
    exclude: NDArray[np.bool_] | None = None,
    full_signal: float | None = None,
    responses: Responses | None = None,
) -> ContrastCurve:
    """Detection limit as a function of separation, calibrated by injection and recovery.

    Parameters
    ----------
    injector : Injector
        The reduction.
    fwhm : float
        Resolution element, pixels.
    params : ContrastParams, optional
    known : (Ny, Nx) float array, optional
        Model of known companions, in the unit of the image, subtracted before the noise is measured.
    exclude : (Ny, Nx) bool array, optional
        Pixels that do not count as noise; see `lyot.measure.masking.model_mask`.
    full_signal : float, optional
        Signal in an aperture of a source of unit flux without losses; by default the largest response.
    responses : Responses, optional
        If they are measured already.

    Returns
    -------
    ContrastCurve

    Raises
    ------
    ReductionError
        If no separation gives a finite limit.

    Examples
    --------
    In white noise the limit grows toward the star, where there are few resolution elements to measure the noise from:

    >>> import numpy as np
    >>> from lyot.measure import ContrastParams, Injector, contrast_curve
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> noise = np.random.default_rng(1).normal(scale=0.1, size=(1, 81, 81))
    >>> injector = Injector(noise, np.zeros(1, int), psf, lambda frames: frames, center=(40, 40), pixel_scale=0.11)
    >>> curve = contrast_curve(injector, 4.0, ContrastParams(separations=3, angles=4, outer_radius=3.0))
    >>> curve.separation.round(2).tolist()
    [0.53, 1.26, 3.0]
    >>> bool(curve.flux_limit[0] > curve.flux_limit[1]), bool(curve.threshold[0] > curve.threshold[1] > 5)
    (True, True)
    """
    p = params or ContrastParams()
    image = injector.image if known is None else injector.image - np.nan_to_num(known)
    maps = limit_noise(injector, image, fwhm, p.noise, exclude=exclude)
    if responses is None:
        first = _typical_flux(maps, fwhm) if injector.reduce_many is None else 1.0
        responses = measure_responses(injector, fwhm, p, flux=first)
    noise, elements = noise_profile(maps, injector.center, responses.separation / injector.pixel_scale)
    threshold = threshold_for(p.sigma, elements)
    positive = np.where(responses.response > 0, responses.response, np.nan)
    needed, others = _needed_signal(maps, injector, responses, p.sigma)
    limits = needed / positive
    if not np.isfinite(limits).any():
        raise ReductionError("no detection limit could be measured: too few resolution elements or no data.")
    lossless = float(np.nanmax(positive)) if full_signal is None else full_signal
    low, half, high = (
        np.array([half_found(row, n, p.sigma, fraction=f) for row, n in zip(limits, others, strict=True)])
        for f in (0.16, 0.5, 0.84)
    )
    return ContrastCurve(
        separation=responses.separation,
        flux_raw=p.sigma * noise / lossless,
        flux_limit=half,
        flux_low=low,
        flux_high=high,
        noise=noise,
        elements=elements,
        threshold=threshold,
        throughput=_percentiles(positive)[1] / lossless,
        limits=limits,
        responses=responses,
        sigma=p.sigma,
        fwhm=fwhm * injector.pixel_scale,
        maps=maps,
    )


def limit_noise(
    injector: Injector,
    image: FloatArray,
    fwhm: float,
    kind: str,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> SignalToNoise:
    """S/N map with the noise used for the limits, and the number of elements from which it is determined.

    Parameters
    ----------
    injector : Injector
        Its `speckles` tell where residual starlight is strong.
    image : (Ny, Nx) float64 ndarray
        Without known sources.
    fwhm : float
        Pixels.
    kind : str
        ``combined`` or ``ring``, see `ContrastParams.noise`; where the combined noise is not known, that of the ring.
    exclude : (Ny, Nx) bool ndarray, optional
        Pixels that do not count as noise.
    """
    maps = snr_map(image, injector.center, fwhm, exclude=exclude)
    if kind == "ring":
        return maps
    pattern = speckle_pattern(injector.speckles, injector.center, fwhm)
    noise, elements = combined_noise(image, pattern, injector.center, fwhm, exclude=exclude)
    known = np.isfinite(noise) & np.isfinite(maps.noise)
    noise = np.where(known, noise, maps.noise)
    counted: NDArray[np.int32] = np.where(known, np.floor(elements), maps.elements).astype(np.int32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return replace(maps, noise=noise, snr=maps.signal / noise, elements=counted)


def half_found(limits: FloatArray, elements: NDArray[np.integer], sigma: float, *, fraction: float = 0.5) -> float:
    """Flux of 50 % completeness (or another fraction) for limits that vary with position angle.

    Somewhat more than the median of the limits: the S/N of a source scatters, and where a mask makes a few limits much
    higher than the others, more sources lie just above their limit, and are lost by scatter, than just below.

    Parameters
    ----------
    limits : (n,) float64 ndarray
        Limit at each position angle; NaN where there is none.
    elements : (n,) int ndarray
        Number of other places from which the noise is known there.
    sigma : float
        Gaussian sigmas of the limit.
    fraction : float, optional
        Fraction of the sources that is found.

    Returns
    -------
    float
        NaN where there are no limits.
    """
    good = np.isfinite(limits)
    if not good.any():
        return float("nan")
    limits, elements = limits[good], elements[good]
    threshold = threshold_for(sigma, elements)
    low, high = 0.2 * float(limits.min()), 2.0 * float(limits.max())
    for _ in range(40):
        flux = np.sqrt(low * high)
        enough = float(np.mean(exceeding(flux, limits, elements, threshold))) > fraction
        low, high = (low, flux) if enough else (flux, high)
    return float(np.sqrt(low * high))


def _needed_signal(
    maps: SignalToNoise, injector: Injector, responses: Responses, sigma: float
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Threshold times noise at the injected sources, and the elements it is from, (nsep, nangle).

    Noise and light left both depend on the place.
    """
    east, north = sky_offset(responses.separation[:, None], responses.position_angle)
    x = np.rint(injector.center[0] - east / injector.pixel_scale).astype(int)
    y = np.rint(injector.center[1] + north / injector.pixel_scale).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < maps.noise.shape[1]) & (y < maps.noise.shape[0])
    x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    elements = maps.elements[y, x].astype(np.intp)
    needed = threshold_for(sigma, elements) * maps.noise[y, x]
    return np.asarray(np.where(inside, needed, np.nan)), elements


def _typical_flux(maps: SignalToNoise, fwhm: float) -> float:
    """A flux of about ten times the noise, for reductions whose response depends on the flux."""
    return 10.0 * float(np.nanmedian(maps.noise)) / float(aperture_kernel(fwhm).sum())


def _percentiles(values: FloatArray) -> FloatArray:
    """16th, 50th and 84th percentile over the second axis, NaN where nothing is finite: (3, n)."""
    out = np.full((3, len(values)), np.nan)
    for i, row in enumerate(values):
        good = row[np.isfinite(row)]
        if len(good):
            out[:, i] = np.percentile(good, [16, 50, 84])
    return out


def noise_profile(
    maps: SignalToNoise, center: tuple[float, float], radii: FloatArray
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Noise of an aperture at some radii: median over the ring of the noise map.

    Parameters
    ----------
    maps : SignalToNoise
    center : (x, y)
        0-based pixels.
    radii : (n,) float64 ndarray
        Pixels.

    Returns
    -------
    noise : (n,) float64 ndarray
        NaN where there are too few elements.
    elements : (n,) int ndarray
        Median number of elements.
    """
    shape = (maps.noise.shape[0], maps.noise.shape[1])
    dx, dy = offset_grid(shape, center)
    radius = np.hypot(dx, dy)
    noise, elements = np.full(len(radii), np.nan), np.zeros(len(radii), np.intp)
    for i, r in enumerate(radii):
        ring = (np.abs(radius - r) <= 0.75) & np.isfinite(maps.noise)
        if ring.any():
            noise[i] = np.median(maps.noise[ring])
            elements[i] = round(float(np.median(maps.elements[ring])))
    return noise, elements


def limit_map(injector: Injector, curve: ContrastCurve, *, throughput: FloatArray | None = None) -> FloatArray:
    """Detection limit at every pixel: behind a four-quadrant mask it depends on the position angle.

    The response between the injected sources is interpolated after the mask's own throughput is divided out, and
    multiplied with it again.

    Parameters
    ----------
    injector, curve
        As for `contrast_curve`, and its result.
    throughput : (Ny, Nx) float array, optional
        Light that the mask leaves of a source at each pixel of the combined image.

    Returns
    -------
    (Ny, Nx) float64 ndarray
        Flux; NaN inside the first separation, outside the last, and where there are no data.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import ContrastParams, Injector, contrast_curve, limit_map
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> noise = np.random.default_rng(1).normal(scale=0.1, size=(1, 81, 81))
    >>> injector = Injector(noise, np.zeros(1, int), psf, lambda frames: frames, center=(40, 40), pixel_scale=0.11)
    >>> curve = contrast_curve(injector, 4.0, ContrastParams(separations=3, angles=4, outer_radius=3.0))
    >>> limits = limit_map(injector, curve)
    >>> limits.shape, bool(np.isnan(limits[40, 40])), bool(np.isfinite(limits[40, 60]))
    ((81, 81), True, True)
    """
    response = response_map(injector, curve.responses, throughput=throughput)
    with np.errstate(invalid="ignore", divide="ignore"):
        limit = threshold_for(curve.sigma, curve.maps.elements) * curve.maps.noise / response
    return np.asarray(np.where(np.isfinite(limit) & (response > 0), limit, np.nan))


def response_map(injector: Injector, responses: Responses, *, throughput: FloatArray | None = None) -> FloatArray:
    """Response to a source of unit flux at every pixel of the combined image: (Ny, Nx), see `limit_map`."""
    shape = (injector.image.shape[0], injector.image.shape[1])
    dx, dy = offset_grid(shape, injector.center)
    radius, angle = np.hypot(dx, dy) * injector.pixel_scale, position_angle(dx, dy, 0.0)
    mask = np.ones(shape) if throughput is None else np.where(np.isfinite(throughput), throughput, 0.0)
    nodes = np.array(responses.response)
    for i, r in enumerate(responses.separation):
        east, north = sky_offset(np.full(nodes.shape[1], r), responses.position_angle[i])
        x = injector.center[0] - east / injector.pixel_scale
        y = injector.center[1] + north / injector.pixel_scale
        at = ndimage.map_coordinates(mask, [y, x], order=1, mode="nearest")
        nodes[i] = np.where(at > 0.02, nodes[i] / np.maximum(at, 0.02), np.nan)
        nodes[i] = np.where(np.isfinite(nodes[i]), nodes[i], _finite_mean(nodes[i]))
    inside = (radius >= responses.separation[0]) & (radius <= responses.separation[-1]) & np.isfinite(injector.image)
    out = np.full(shape, np.nan)
    out[inside] = _polar_interpolation(responses, nodes, radius[inside], angle[inside]) * mask[inside]
    return out


def _finite_mean(row: FloatArray) -> float:
    good = row[np.isfinite(row)]
    return float(good.mean()) if len(good) else float("nan")


def _polar_interpolation(responses: Responses, nodes: FloatArray, radius: FloatArray, angle: FloatArray) -> FloatArray:
    """Linear in position angle on the two neighboring rings, linear in log separation between them."""
    log_r = np.log(responses.separation)
    upper = np.clip(np.searchsorted(log_r, np.log(radius)), 1, len(log_r) - 1)
    part = (np.log(radius) - log_r[upper - 1]) / (log_r[upper] - log_r[upper - 1])
    values = np.zeros(len(radius))
    for ring, (angles, row) in enumerate(zip(responses.position_angle, nodes, strict=True)):
        for mine, weight in ((upper == ring, part), (upper - 1 == ring, 1 - part)):
            values[mine] += weight[mine] * np.interp(angle[mine], angles, row, period=360.0)
    return values
