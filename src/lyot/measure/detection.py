"""Sources in star-subtracted images: peaks of the S/N map, merged over truncations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from lyot.errors import InputError
from lyot.geometry import offset_grid, position_angle
from lyot.measure.masking import model_mask
from lyot.measure.noise import FloatArray, SignalToNoise, aperture_sums, snr_map, t_to_gaussian
from lyot.measure.source_snr import source_snr
from lyot.params import param

Template = Callable[[float, float], FloatArray]
"""``template(x, y)``: image (ny, nx) of a source at a pixel position of the searched image, any flux."""

LOOK_AGAIN = 0.5
"""Peaks above this part of the thresholds are measured with their own image taken out of the noise."""

MAX_REFUSED = 20
"""Peaks that turn out to be below the threshold, after which the search ends."""

MODEL_ERROR = 0.2
"""Part of a source that its scaled template may leave in the image, by the errors of its position and of the PSF."""


@dataclass(frozen=True)
class DetectionParams:
    """How sources are searched for."""

    threshold: float = param(5.0, help="Least S/N of a detection (few-sample corrected)", min=0.0)
    min_significance: float = param(
        3.0,
        help="Least significance as Gaussian sigmas: where few elements give the noise a high S/N means little",
        min=0.0,
    )
    inner_radius: float | None = param(
        None, help="Search outside this separation; default one FWHM", unit="arcsec", min=0
    )
    outer_radius: float | None = param(
        None, help="Search inside this separation; default the whole image", unit="arcsec"
    )
    max_sources: int = param(20, help="Most sources to report", min=1)
    edge: float = param(
        3.0,
        help="Search this far inside the edge of the data, and of where all exposures have data",
        unit="lambda/D",
        min=0.0,
    )


@dataclass(frozen=True)
class Detection:
    """One source.

    Attributes
    ----------
    x, y : float
        0-based pixel position in the image.
    separation : float
        From the star, arcsec.
    position_angle : float
        Degrees east of north.
    snr : float
        Few-sample corrected S/N at the peak (`source_snr` where there is a template, else `snr_map`).
    significance : float
        The same as Gaussian sigmas.
    signal, noise : float
        Aperture flux and its noise, unit of the image times pixels.
    truncation : int
        Number of KL modes (or other truncation) of the image in which it is most significant; -1 when not given.
    images : int
        In how many of the images it is above threshold.
    false_alarm : float
        Probability that Gaussian noise has a peak as significant as this, or more, anywhere in the searched area (of
        all images, taken as independent).
    """

    x: float
    y: float
    separation: float
    position_angle: float
    snr: float
    significance: float
    signal: float
    noise: float
    truncation: int
    images: int
    false_alarm: float = float("nan")


def false_alarm_probability(significance: float, elements: float) -> float:
    """Probability that Gaussian noise has a peak of `significance` or more somewhere.

    A smooth map has more peaks than it has independent elements: for a Gaussian field whose correlation has the width
    of an aperture, 0.48 u^2 times the elements that lie beyond u sigmas (the expected number of maxima, u above 2).

    Parameters
    ----------
    significance : float
        Gaussian sigmas u.
    elements : float
        Searched area over the area of an aperture.
    """
    peaks = elements * max(0.48 * significance**2, 1.0) * stats.norm.sf(significance)
    return float(-np.expm1(-peaks))


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
) -> tuple[Detection, ...]:
    """Find point sources, brightest (highest S/N) first.

    Each source found is taken out before the next is looked for, so that a bright companion neither hides a fainter
    one at the same separation nor has its own wings found: with `template`, its image is taken out of its own noise
    (`source_snr`), then subtracted, and what that may leave is masked; without, a circle around it is masked.

    Parameters
    ----------
    images : (ny, nx) or (n, ny, nx) array of float
        Star-subtracted images of one scene, e.g. at n truncations; NaN where there are no data.
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

    Returns
    -------
    tuple of Detection

    Raises
    ------
    InputError
        If shapes do not fit or nothing is finite.
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
    for k, image in enumerate(cube):
        first = maps[k] if maps is not None else None
        for d in _search_image(image, first, _Search(center, fwhm, allowed, p, template)):
            detection = _describe(d, center, pixel_scale, pa_y, labels[k])
            near = [g for g in found if np.hypot(g[0].x - detection.x, g[0].y - detection.y) < fwhm]
            if near:
                near[0].append(detection)
            else:
                found.append([detection])
    best = [max(group, key=lambda d: d.snr) for group in found]
    elements = sum(int((allowed & np.isfinite(image)).sum()) for image in cube) / (np.pi * fwhm**2 / 4)
    counted = [
        replace(b, images=len(g), false_alarm=false_alarm_probability(b.significance, elements))
        for b, g in zip(best, found, strict=True)
    ]
    return tuple(sorted(counted, key=lambda d: -d.snr)[: p.max_sources])


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


@dataclass(frozen=True)
class _Search:
    """What stays the same in the search of one image."""

    center: tuple[float, float]
    fwhm: float
    allowed: NDArray[np.bool_]
    params: DetectionParams
    template: Template | None


def _search_image(image: FloatArray, first: SignalToNoise | None, search: _Search) -> list[_Peak]:
    """Take the highest peak, take it out, look again, until nothing is above the threshold."""
    p, center, fwhm = search.params, search.center, search.fwhm
    peaks: list[_Peak] = []
    excluded, refused = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    current = first or snr_map(image, center, fwhm)
    work = np.where(np.isfinite(image), image, np.nan)
    lower = 1.0 if search.template is None else LOOK_AGAIN
    while len(peaks) < p.max_sources and np.count_nonzero(refused) < MAX_REFUSED:
        sums = aperture_sums(work, fwhm)
        significance = np.nan_to_num(current.significance(), nan=-np.inf)
        high = np.nan_to_num(current.snr, nan=-np.inf) >= lower * p.threshold
        high &= significance >= lower * p.min_significance
        candidates = search.allowed & high & ~excluded & ~refused
        peak = _best_peak(sums, current.snr, candidates, int(np.ceil(fwhm)) | 1)
        if peak is None:
            break
        found, model = _measured(work, sums, current, peak, search, excluded)
        if found is None:
            refused[peak[1], peak[0]] = True
            continue
        peaks.append(found)
        dx, dy = offset_grid((image.shape[0], image.shape[1]), peak)
        distance = np.hypot(dx, dy)
        if model is None:
            excluded |= distance <= 2 * fwhm
        else:
            work = work - model
            excluded |= (distance <= fwhm) | model_mask(model, current.noise, fwhm, uncertainty=MODEL_ERROR)
        current = snr_map(work, center, fwhm, exclude=excluded)
    return peaks


def _measured(
    work: FloatArray,
    sums: FloatArray,
    current: SignalToNoise,
    peak: tuple[int, int],
    search: _Search,
    excluded: NDArray[np.bool_],
) -> tuple[_Peak | None, FloatArray | None]:
    """A peak with its S/N and its image; no peak if it is not above the threshold."""
    ix, iy = peak
    x, y = _refined_peak(sums, ix, iy)
    snr, dof = float(current.snr[iy, ix]), np.array(max(int(current.elements[iy, ix]) - 1, 1))
    significance = float(t_to_gaussian(np.array(snr), dof))
    signal, noise = float(current.signal[iy, ix]), float(current.noise[iy, ix])
    p = search.params
    if search.template is None:
        return _Peak(x, y, snr, significance, signal, noise), None
    model = np.nan_to_num(search.template(x, y))
    own = source_snr(work, model, peak, search.center, search.fwhm, exclude=excluded)
    if np.isfinite(own.noise) and own.scale > 0:
        snr, significance, signal, noise = own.snr, own.significance, own.signal, own.noise
    if snr < p.threshold or significance < p.min_significance:
        return None, None
    return _Peak(x, y, snr, significance, signal, noise), model * max(own.scale if np.isfinite(own.scale) else 0.0, 0.0)


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
    )
