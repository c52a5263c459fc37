"""Sources in star-subtracted images: peaks of the S/N map that look like point sources, merged over truncations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.errors import InputError, warn
from lyot.geometry import offset_grid, position_angle
from lyot.measure.detected import (
    CANDIDATE,
    EXTENDED,
    NOT_COMPARED,
    REJECTED,
    SOURCE,
    Detection,
    false_alarm_probability,
)
from lyot.measure.extended import ExtendedLight, extended_light
from lyot.measure.forward import model_flux, source_image
from lyot.measure.injection import Injector
from lyot.measure.masking import model_mask
from lyot.measure.noise import FloatArray, SignalToNoise, aperture_sums, gaussian_significance, snr_map
from lyot.measure.significance import combined_significance, speckle_pattern
from lyot.measure.source_snr import source_snr
from lyot.measure.vetting import (
    MISFIT,
    Shape,
    detector_preference,
    in_one_roll,
    prominence,
    roll_difference,
    roll_fluxes,
    shape_of,
    shape_without_model,
)
from lyot.params import param

log = logging.getLogger(__name__)

Template = Callable[[float, float], FloatArray]
"""``template(x, y)``: image (ny, nx) of a source at a pixel position of the searched image, any flux."""

LOOK_AGAIN = 0.5
"""Peaks above this part of the thresholds are measured with their own image taken out of the noise."""

MAX_REFUSED = 20
"""Peaks that turn out to be below the threshold, after which the search ends."""

MAX_IN_STRUCTURE = 15
"""Peaks of one extended structure that are looked at."""

PART_OF_EXTENDED = "part of extended light"
"""Reason of a peak that does not stand out of the extended light that it lies on; one is listed for each structure."""

MODEL_ERROR = 0.2
"""Part of a source that its scaled template may leave in the image, by the errors of its position and of the PSF."""


@dataclass(frozen=True)
class DetectionParams:
    """Parameters of the search for sources.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import DetectionParams, detect_sources
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> image = np.random.default_rng(1).normal(size=x.shape) + 20 * np.exp(-((x - 20) ** 2 + y**2) / 4)
    >>> len(detect_sources(image, (40, 40), 4.0, 0.11, params=DetectionParams(threshold=100.0)))
    0
    """

    threshold: float = param(5.0, help="minimum S/N of a detection (with small-sample statistics)", min=0.0)
    min_significance: float = param(
        3.0,
        help="minimum significance of a detection, Gaussian sigmas; close to the star S/N alone is insufficient, "
        "because there are few noise samples",
        min=0.0,
    )
    max_false_alarm: float = param(
        0.01,
        help="false-alarm probability above which a source is listed as a candidate that may be noise; 1: never",
        min=0.0,
        max=1.0,
    )
    inner_radius: float | None = param(
        None, help="inner radius of the searched region; default: one FWHM", unit="arcsec", min=0
    )
    outer_radius: float | None = param(
        None, help="outer radius of the searched region; default: the whole image", unit="arcsec"
    )
    max_sources: int = param(20, help="maximum number of sources, in order of S/N", min=1)
    edge: float = param(
        3.0,
        help="width of the unsearched margin along the edges of the data and of the area covered by all exposures",
        unit="lambda/D",
        min=0.0,
    )
    extended_light: bool = param(True, help="exclude disks and other extended light from the noise")
    shape_threshold: float = param(
        4.0,
        help="deviation from a point-source image at which a peak is rejected; 0: never",
        unit="sigma",
        min=0.0,
    )
    roll_threshold: float = param(
        4.0, help="flux difference between rolls at which a peak is rejected; 0: never", unit="sigma", min=0.0
    )


@dataclass(frozen=True)
class RollImages:
    """Images of the single rolls, whose mean is the searched image.

    Attributes
    ----------
    images : (n, ny, nx) float64 ndarray
        Star-subtracted image of each roll, on the pixels of the combined one; NaN where there are no data.
    template : callable
        ``template(x, y)``: image of a source of unit flux in each roll, (n, ny, nx).
    turns : tuple of float
        Position angle of the detector's +y axis in each roll, deg; if empty, sources are not compared with what stays
        in place on the detector.
    """

    images: FloatArray
    template: Callable[[float, float], FloatArray]
    turns: tuple[float, ...] = ()


def _refined_peak(map_: FloatArray, ix: int, iy: int) -> tuple[float, float]:
    """Sub-pixel maximum of a parabola through the three points on each axis; the pixel itself where one is NaN."""
    ny, nx = map_.shape
    position = [float(ix), float(iy)]
    for axis, (i, n) in enumerate(((ix, nx), (iy, ny))):
        if not 0 < i < n - 1:
            continue
        a, b, c = (map_[iy, i - 1 : i + 2] if axis == 0 else map_[i - 1 : i + 2, ix]).tolist()
        curvature = a - 2 * b + c
        if np.isfinite(curvature) and curvature < 0:
            position[axis] += float(np.clip(0.5 * (a - c) / curvature, -0.5, 0.5))
    return position[0], position[1]


def _best_peak(sums: FloatArray, snr: FloatArray, allowed: NDArray[np.bool_], size: int) -> tuple[int, int] | None:
    """Pixel (ix, iy) of the highest S/N among the local maxima of the aperture flux, or None.

    Maxima of the flux and not of the S/N: beside a bright source the noise falls faster than the flux, which would
    move the peak away from it.
    """
    filled = np.where(np.isfinite(sums), sums, -np.inf)
    maxima = filled == ndimage.maximum_filter(filled, size=size, mode="constant", cval=-np.inf)
    ranked = np.where(maxima & allowed & np.isfinite(snr), snr, -np.inf)
    iy, ix = np.unravel_index(int(np.argmax(ranked)), ranked.shape)
    return (int(ix), int(iy)) if np.isfinite(ranked[iy, ix]) else None


def detect_sources(
    images: NDArray[np.floating],
    center: tuple[float, float],
    fwhm: float,
    pixel_scale: float,
    *,
    params: DetectionParams | None = None,
    pa_y: float = 0.0,
    truncations: Sequence[int] | None = None,
    maps: Sequence[SignalToNoise] | None = None,
    template: Template | None = None,
    coverage: NDArray[np.integer] | None = None,
    rolls: RollImages | None = None,
    speckles: NDArray[np.floating] | None = None,
) -> tuple[Detection, ...]:
    """Find point sources; rejected peaks follow them (`Detection.status`).

    Each source found is taken out before the next is looked for, so that a bright companion neither hides a fainter
    one at the same separation nor has its own wings found: with `template`, its image is taken out of its own noise
    (`source_snr`), then subtracted, and what that may leave is masked; without, a circle around it is masked. Extended
    light is left out of the noise; a peak in it is a source if it stands out of it with the shape of a point source.

    Parameters
    ----------
    images : (ny, nx) or (n, ny, nx) array of float
        Star-subtracted images of one scene, any unit, e.g. at n truncations; NaN where there are no data.
    center : (x, y)
        0-based pixel position of the star.
    fwhm : float
        Resolution element, pixels.
    pixel_scale : float
        arcsec per pixel.
    params : DetectionParams, optional
        Threshold and search region.
    pa_y : float
        Position angle of +y, degrees; 0 for images with north up.
    truncations : sequence of int, optional
        What the images stand for; reported with each detection.
    maps : sequence of SignalToNoise, optional
        S/N maps of the images if they are there already.
    template : callable, optional
        Image of a source at (x, y), such as a forward model.
    coverage : (ny, nx) integer array, optional
        Number of exposures that have data; by default that of an image whose finite pixels are all alike.
    rolls : RollImages, optional
        Single rolls, in which a source must be alike.
    speckles : (n, ny, nx) float array, optional
        Residuals of the references, any unit, which show where the noise is strong; NaN where there are no data.

    Returns
    -------
    tuple of Detection
        Sources, then candidates, then what is no point source, each by decreasing S/N.

    Raises
    ------
    InputError
        If shapes do not fit or nothing is finite.

    Examples
    --------
    A source 20 pixels to the right of the star, which is west with north up:

    >>> import numpy as np
    >>> from lyot.measure import detect_sources
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> image = np.random.default_rng(1).normal(size=x.shape) + 20 * np.exp(-((x - 20) ** 2 + y**2) / 4)
    >>> (found,) = detect_sources(image, center=(40, 40), fwhm=4.0, pixel_scale=0.11)
    >>> found.status, round(found.separation, 1), round(found.position_angle)
    ('source', 2.2, 270)
    """
    p = params or DetectionParams()
    cube = np.asarray(images, dtype=float)
    cube = cube[None] if cube.ndim == 2 else cube
    labels = list(truncations) if truncations is not None else [-1] * len(cube)
    if cube.ndim != 3 or len(labels) != len(cube):
        raise InputError(f"images: expected one image per truncation ({len(labels)}), got shape {np.shape(images)}.")
    dx, dy = offset_grid(cube.shape[1:], center)
    radius = np.hypot(dx, dy) * pixel_scale
    inner = p.inner_radius if p.inner_radius is not None else fwhm * pixel_scale
    allowed = (radius >= inner) & (radius <= (np.inf if p.outer_radius is None else p.outer_radius))

    if p.edge > 0:
        allowed &= away_from_edges(cube[0] if coverage is None else coverage, p.edge * fwhm)

    found: list[list[Detection]] = []
    search = _Search(center, fwhm, allowed, p, template, rolls, speckle_pattern(speckles, center, fwhm))
    for k, image in enumerate(cube):
        first = maps[k] if maps is not None else None
        for d in _search_image(image, first, search):
            detection = _describe(d, center, pixel_scale, pa_y, labels[k])
            near = [g for g in found if np.hypot(g[0].x - detection.x, g[0].y - detection.y) < fwhm]
            if near:
                near[0].append(detection)
            else:
                found.append([detection])
    best = [max(group, key=lambda d: (d.accepted, d.snr)) for group in found]
    elements = sum(int((allowed & np.isfinite(image)).sum()) for image in cube) / (np.pi * fwhm**2 / 4)
    counted = [
        _with_false_alarm(replace(b, images=len(g)), elements, p.max_false_alarm)
        for b, g in zip(best, found, strict=True)
    ]
    accepted = sorted((d for d in counted if d.accepted), key=lambda d: (d.status != SOURCE, -d.snr))
    if len(accepted) >= p.max_sources:
        warn(f"the search ends at {p.max_sources} sources (max_sources); there may be more")
    others = sorted((d for d in counted if not d.accepted), key=lambda d: -d.snr)
    return (*accepted[: p.max_sources], *others)


def _with_false_alarm(detection: Detection, elements: float, limit: float) -> Detection:
    """A peak with its false-alarm probability; a source is a candidate if that is above the limit."""
    probability = false_alarm_probability(detection.significance, elements)
    unsure = detection.status == SOURCE and probability > limit
    return replace(detection, false_alarm=probability, status=CANDIDATE if unsure else detection.status)


def detect_in_reduction(
    injector: Injector,
    fwhm: float,
    *,
    params: DetectionParams | None = None,
    truncation: int = -1,
    image: FloatArray | None = None,
    maps: SignalToNoise | None = None,
    coverage: NDArray[np.integer] | None = None,
) -> tuple[Detection, ...]:
    """Find sources in the image of a reduction, with its forward models, rolls and references.

    Parameters
    ----------
    injector : Injector
        The reduction: forward models, rolls, and residuals of the references.
    fwhm : float
        Resolution element, pixels.
    params : DetectionParams, optional
    coverage : (ny, nx) integer ndarray, optional
        As for `detect_sources`.
    truncation : int, optional
        Number of KL modes of the image; reported.
    image : (ny, nx) float64 ndarray, optional
        The image as it was written, MJy/sr; by default that of the injector.
    maps : SignalToNoise, optional
        Its S/N map if it is there already.

    Returns
    -------
    tuple of Detection
        See `detect_sources`.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import Injector, detect_in_reduction
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> noise = np.random.default_rng(1).normal(scale=0.1, size=(1, 81, 81))
    >>> frames = noise + psf(0, 1.1, 0.0)
    >>> injector = Injector(frames, np.zeros(1, int), psf, lambda frames: frames, center=(40, 40), pixel_scale=0.11)
    >>> found = detect_in_reduction(injector, 4.0)[0]
    >>> round(found.separation, 1), round(found.position_angle)
    (1.1, 90)
    """
    rolls = injector.rolls

    def in_rolls(x: float, y: float) -> FloatArray:
        return injector.forward_rolls(*injector.sky(x, y), flux=model_flux(injector, fwhm, (x, y)))

    return detect_sources(
        injector.image if image is None else image,
        injector.center,
        fwhm,
        injector.pixel_scale,
        params=params,
        truncations=(truncation,),
        maps=None if maps is None else (maps,),
        template=lambda x, y: source_image(injector, fwhm, (x, y)),
        coverage=coverage,
        rolls=None if rolls is None else RollImages(rolls, in_rolls, injector.roll_angles),
        speckles=injector.speckles,
    )


def away_from_edges(coverage: NDArray[Any], distance: float) -> NDArray[np.bool_]:
    """Pixels that lie `distance` pixels or more inside of the region where coverage is full.

    At the edge of an exposure's data flat fields, reference subtraction and interpolation are at their worst, and an
    edge in one exposure alone makes steps in the combined image.

    Parameters
    ----------
    coverage : (ny, nx) array
        Number of exposures with data (integers), or an image, whose NaN pixels have none. Holes do not count as edges.
    distance : float
        Pixels.

    Returns
    -------
    (ny, nx) bool ndarray
    """
    values = np.asarray(coverage)
    full = np.isfinite(values) if values.dtype.kind == "f" else (values == values.max()) & (values > 0)
    inside = np.pad(ndimage.binary_fill_holes(full), 1)
    return np.asarray(ndimage.distance_transform_edt(inside)[1:-1, 1:-1] > distance)


@dataclass(frozen=True)
class _Peak:
    x: float
    y: float
    snr: float
    significance: float
    signal: float
    noise: float
    ring_significance: float
    status: str = SOURCE
    reason: str = ""
    shape: float = np.nan
    roll_difference: float = np.nan
    rolls: int = 0


@dataclass(frozen=True)
class _Search:
    """What stays the same in the search of one image."""

    center: tuple[float, float]
    fwhm: float
    allowed: NDArray[np.bool_]
    params: DetectionParams
    template: Template | None
    rolls: RollImages | None = None
    pattern: FloatArray | None = None


@dataclass
class _Image:
    """The image that is searched: what was found is taken out of it.

    `excluded` pixels are neither searched nor counted as noise, those of `structure` are not counted; `refused` pixels
    were looked at and are below the thresholds.
    """

    work: FloatArray
    structure: ExtendedLight
    current: SignalToNoise
    excluded: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    tries: dict[int, int] = field(default_factory=dict)
    named: set[int] = field(default_factory=set)
    _sums: tuple[FloatArray, FloatArray] | None = None
    _significance: tuple[SignalToNoise, FloatArray] | None = None

    def sums(self, fwhm: float) -> FloatArray:
        """Sums in apertures of what is searched; made again only when something was taken out of it."""
        if self._sums is None or self._sums[0] is not self.work:
            self._sums = (self.work, aperture_sums(self.work, fwhm))
        return self._sums[1]

    def significance(self) -> FloatArray:
        """Significance at every pixel, in the same way."""
        if self._significance is None or self._significance[0] is not self.current:
            self._significance = (self.current, self.current.significance())
        return self._significance[1]

    @property
    def not_noise(self) -> NDArray[np.bool_]:
        return self.excluded | self.structure.mask


def _search_image(image: FloatArray, first: SignalToNoise | None, search: _Search) -> list[_Peak]:
    """Take the highest peak, take it out, look again, until nothing is above the threshold."""
    p = search.params
    state = _start(image, first, search)
    peaks: list[_Peak] = []
    while sum(q.status == SOURCE for q in peaks) < p.max_sources and np.count_nonzero(state.refused) < MAX_REFUSED:
        sums = state.sums(search.fwhm)
        peak = _candidate(state, sums, search)
        if peak is None:
            break
        found, model = _measured(state, sums, peak, search)
        if found is None:
            state.refused[peak[1], peak[0]] = True
            continue
        if _is_new(state, found, peak, p):
            peaks.append(found)
        _take_out(state, found, peak, model, search)
    return peaks


def _start(image: FloatArray, first: SignalToNoise | None, search: _Search) -> _Image:
    nothing = ExtendedLight(np.zeros(image.shape, np.int32), 0)
    structure = extended_light(image, search.center, search.fwhm) if search.params.extended_light else nothing
    if structure.count:
        log.info("extended light in %.1f %% of the image is excluded from the noise", 100 * structure.fraction(image))
        first = None
    current = first or snr_map(image, search.center, search.fwhm, exclude=structure.mask)
    excluded, refused = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    return _Image(np.where(np.isfinite(image), image, np.nan), structure, current, excluded, refused)


def _candidate(state: _Image, sums: FloatArray, search: _Search) -> tuple[int, int] | None:
    p = search.params
    lower = 1.0 if search.template is None else LOOK_AGAIN
    significance = np.nan_to_num(state.significance(), nan=-np.inf)
    high = np.nan_to_num(state.current.snr, nan=-np.inf) >= lower * p.threshold
    high &= significance >= lower * p.min_significance
    candidates = search.allowed & high & ~state.excluded & ~state.refused
    return _best_peak(sums, state.current.snr, candidates, int(np.ceil(search.fwhm)) | 1)


def _is_new(state: _Image, found: _Peak, peak: tuple[int, int], p: DetectionParams) -> bool:
    """Whether a peak is to be listed: of an extended structure the first one, and those that stand out of it."""
    label = state.structure.holds(*peak)
    if not label or found.status == SOURCE:
        return True
    state.tries[label] = state.tries.get(label, 0) + 1
    if state.tries[label] >= MAX_IN_STRUCTURE and label > 0:
        state.excluded |= state.structure.labels == label
    if found.reason != PART_OF_EXTENDED:
        return True
    if label in state.named or found.snr < p.threshold or found.significance < p.min_significance:
        return False
    state.named.add(label)
    return True


def _take_out(state: _Image, found: _Peak, peak: tuple[int, int], model: FloatArray | None, search: _Search) -> None:
    """Take a peak out of what is searched on: a source by its image, where there is one, else by a circle."""
    shape, fwhm = (state.work.shape[0], state.work.shape[1]), search.fwhm
    dx, dy = offset_grid(shape, peak)
    distance = np.hypot(dx, dy)
    inside = bool(state.structure.holds(*peak))
    if found.status != SOURCE:
        state.excluded |= distance <= (1.0 if inside else 2.0) * fwhm
    elif model is None:
        state.excluded |= distance <= 2 * fwhm
    else:
        state.work = state.work - model
        state.excluded |= (distance <= fwhm) | model_mask(model, state.current.noise, fwhm, uncertainty=MODEL_ERROR)
    if found.status == SOURCE or not inside:  # extended light is not counted as noise anyway
        state.current = snr_map(state.work, search.center, fwhm, exclude=state.not_noise)


def _measured(
    state: _Image, sums: FloatArray, peak: tuple[int, int], search: _Search
) -> tuple[_Peak | None, FloatArray | None]:
    """A peak with its S/N and its image; no peak if it is not above the threshold."""
    ix, iy = peak
    current, work, p = state.current, state.work, search.params
    x, y = _refined_peak(sums, ix, iy)
    snr = float(current.snr[iy, ix])
    ring = float(gaussian_significance(np.array(snr), np.array(current.elements[iy, ix])))
    signal, noise = float(current.signal[iy, ix]), float(current.noise[iy, ix])
    model, scale = None, 0.0
    if search.template is not None:
        model = np.nan_to_num(search.template(x, y))
        own = source_snr(work, model, peak, search.center, search.fwhm, exclude=state.not_noise)
        scale = max(own.scale, 0.0) if np.isfinite(own.scale) else 0.0
        if np.isfinite(own.noise) and own.scale > 0:
            snr, ring, signal, noise = own.snr, own.significance, own.signal, own.noise
    shape = _shape(state, (x, y), model, search)
    inside = bool(state.structure.holds(ix, iy))
    if inside:  # the light that it lies on is not its own
        scale = max(shape.amplitude, 0.0) if np.isfinite(shape.amplitude) else 0.0
    elif snr < p.threshold:
        return None, None
    significance = ring
    if model is not None:  # else its wings would count as noise of the neighboring rings
        combined = combined_significance(
            work - scale * model, search.pattern, signal, peak, search.center, search.fwhm, exclude=state.not_noise
        )
        significance = combined.significance if np.isfinite(combined.significance) else ring
    if significance < p.min_significance and not inside:
        return None, None
    found = _Peak(x, y, snr, significance, signal, noise, ring, shape=shape.score)
    stands_out = prominence(sums, peak, search.fwhm) >= p.threshold * noise and significance >= p.min_significance
    return _judged(found, shape, stands_out, inside, state, search), None if model is None else model * scale


def _shape(state: _Image, at: tuple[float, float], model: FloatArray | None, search: _Search) -> Shape:
    if model is None:
        return shape_without_model(state.work, at, search.center, search.fwhm, exclude=state.not_noise)[0]
    return shape_of(state.work, model, at, search.center, search.fwhm, exclude=state.not_noise)


def _judged(found: _Peak, shape: Shape, stands_out: bool, inside: bool, state: _Image, search: _Search) -> _Peak:
    """A peak with what it is taken for."""
    p = search.params
    if inside and not stands_out:
        return replace(found, status=EXTENDED, reason=PART_OF_EXTENDED)
    if inside and not shape.misfit <= MISFIT:
        return replace(found, status=EXTENDED, reason=f"stands out of extended light, {shape.reason}")
    if not inside and shape.fails(p.shape_threshold):
        return replace(found, status=EXTENDED if shape.wide else REJECTED, reason=shape.reason)
    if search.rolls is None or p.roll_threshold == 0:
        return found
    at, rolls = (found.x, found.y), search.rolls
    models = rolls.template(*at)
    fluxes = roll_fluxes(rolls.images, models, at, search.center, search.fwhm, exclude=state.not_noise)
    found = replace(found, roll_difference=roll_difference(fluxes), rolls=len(fluxes))
    if in_one_roll(fluxes, p.roll_threshold, combined=shape.amplitude):
        return replace(found, status=REJECTED, reason="in one roll only")
    if rolls.turns and len(fluxes) > 1:
        preference = detector_preference(
            rolls.images, models, rolls.turns, at, search.center, search.fwhm, exclude=state.not_noise
        )
        if preference > p.roll_threshold:
            return replace(found, status=REJECTED, reason="fixed on the detector")
    return replace(found, reason=NOT_COMPARED) if len(fluxes) < 2 else found


def _describe(peak: _Peak, center: tuple[float, float], pixel_scale: float, pa_y: float, label: int) -> Detection:
    dx, dy = peak.x - center[0], peak.y - center[1]
    return Detection(
        x=peak.x,
        y=peak.y,
        separation=float(np.hypot(dx, dy) * pixel_scale),
        position_angle=float(position_angle(dx, dy, pa_y)),
        snr=peak.snr,
        significance=peak.significance,
        signal=peak.signal,
        noise=peak.noise,
        truncation=int(label),
        images=1,
        ring_significance=peak.ring_significance,
        status=peak.status,
        reason=peak.reason,
        shape=peak.shape,
        roll_difference=peak.roll_difference,
        rolls=peak.rolls,
    )
