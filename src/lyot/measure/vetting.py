"""Classification of peaks: point source, hot pixel, speckle in a single roll, or part of a disk.

*Shape*: a source must look like the PSF behind the mask at its place. Its forward model and a plane are fitted to the
pixels within one resolution element. What they leave is compared with what the same fit leaves at other positions of
that separation, and with the light that the model explains.

*Rolls*: a source turns with the sky and is in all rolls whose field covers it. Its flux is measured in each roll with
that roll's forward model and its own ring of apertures. What stays in place on the detector is no source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.geometry import offset_grid, radius_map
from lyot.measure.noise import FloatArray, aperture_sums, gaussian_significance
from lyot.measure.source_snr import source_snr

RADIUS = 1.0
"""Radius of the pixels whose shape is compared, resolution elements."""

MISFIT = 0.3
"""Unexplained over explained light (both squared) of a peak that is no point source. A noiseless hot pixel has 6 or
more; the forward model of a source that is a tenth of lambda/D off leaves 0.03."""

MIN_PLACES = 20
"""Minimum number of other positions from which the misfit of noise is known."""

MAX_PLACES = 400
"""Number of positions from which it is known well enough."""

APART = 2.0
"""Minimum distance of the other positions from the source, resolution elements."""

BESIDE = 1.25
"""Distance of the apertures that a peak on extended light is compared with, resolution elements."""

MIN_LIGHT = 0.25
"""Minimum light that a source keeps in a roll, relative to the roll in which it is brightest; below, it is behind a
boundary of the mask and the roll is not compared."""

PREFERENCE = 1.1
"""Minimum ratio of the sums of (S/N)^2 on the detector and on the sky: the images of a source in two rolls lie within
0.2 pixels of each other, which changes the sum by less than 1 %; two images 2 pixels apart by 13 %."""

TURNED = 0.4
"""Minimum distance of two images that are fixed on the detector, resolution elements: closer ones are one image."""

MIN_PIXELS = 10
"""Minimum number of pixels that are compared."""

CORE_WIDTHS = (1.0, 1.25, 1.5, 1.75)
"""Widths of the Gaussian that stands for a point source where there is no model of it, resolution elements: pixels,
interpolation and the mean of the rolls widen it."""

CENTER = 0.35
"""Radius of the middle of a peak, which is low in the residuals of a wide one, resolution elements."""

HIGHEST = 0.25
"""Part of the unexplained light (squared) in one pixel, from which it is a hot pixel's: without noise it has
0.34 or more, white noise alone 0.1, and never 0.25 in 100 trials."""


@dataclass(frozen=True)
class Shape:
    """How a peak compares with the image of a point source.

    Attributes
    ----------
    score : float
        Misfit in standard deviations of that at other positions (of its logarithm); NaN where too few are known.
    misfit : float
        Unexplained over explained light, both squared.
    amplitude : float
        Factor on the model, a plane under the source fitted with it.
    excess : float
        Light left in the middle over the rms of what is left: negative for peaks wider than a point source.
    highest : float
        Part of what is left (squared) that is in its highest pixel: large for a hot pixel.
    """

    score: float
    misfit: float
    amplitude: float
    excess: float
    highest: float = 0.0

    @property
    def wide(self) -> bool:
        """Whether the peak is wider than a point source."""
        return self.excess < -0.5 and self.highest < HIGHEST

    def fails(self, threshold: float) -> bool:
        """Whether it is no point source; False where nothing can be said."""
        return bool(threshold > 0 and self.score > threshold and self.misfit > MISFIT)

    @property
    def reason(self) -> str:
        """What it is in place of a point source."""
        if self.highest >= HIGHEST:
            return "sharper than a point source"
        return "wider than a point source" if self.wide else "not the shape of a point source"


def shape_of(
    image: FloatArray,
    model: FloatArray,
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> Shape:
    """Compare a peak with the image of a point source there.

    Parameters
    ----------
    image : (ny, nx) float64 ndarray
        NaN where there are no data.
    model : (ny, nx) float64 ndarray
        Image of a source at the peak, any flux.
    at, center : (x, y)
        Positions of the peak and of the star, 0-based pixels.
    fwhm : float
        Resolution element, pixels.
    exclude : (ny, nx) bool ndarray, optional
        Pixels of other sources and of extended light, left out of the other positions.
    """
    shape = (image.shape[0], image.shape[1])
    unknown = Shape(np.nan, np.nan, np.nan, np.nan)
    dx, dy = offset_grid(shape, at)
    distance = np.hypot(dx, dy)
    rows, columns = np.nonzero((distance <= RADIUS * fwhm) & np.isfinite(image) & np.isfinite(model))
    if len(rows) < MIN_PIXELS:
        return unknown
    plane = [np.ones(len(rows)), dx[rows, columns], dy[rows, columns]]
    design = np.stack([model[rows, columns], *plane], axis=1)
    inverse = np.linalg.pinv(design)
    projector = np.eye(len(rows)) - design @ inverse
    data = image[rows, columns]
    amplitude = float(inverse[0] @ data)
    left = projector @ data
    explained = amplitude**2 * float(np.sum((design[:, 0] - design[:, 0].mean()) ** 2))
    if not amplitude > 0 or explained == 0:
        return Shape(np.nan, np.inf, amplitude, np.nan)
    middle = distance[rows, columns] <= CENTER * fwhm
    rms = float(np.sqrt(np.mean(left**2)))
    excess = float(left[middle].mean() / rms) if middle.any() and rms > 0 else 0.0
    highest = max(float(left.max()), 0.0) ** 2 / float(left @ left) if rms > 0 else 0.0
    rest = image - amplitude * np.nan_to_num(model)
    elsewhere = _elsewhere(rest, projector, (rows - round(at[1]), columns - round(at[0])), at, center, fwhm, exclude)
    misfit = float(left @ left) / explained
    if len(elsewhere) < MIN_PLACES or left @ left == 0:
        return Shape(np.nan, misfit, amplitude, excess, highest)
    typical = np.log(elsewhere)
    score = (np.log(left @ left) - typical.mean()) / max(float(typical.std(ddof=1)), 0.1)
    return Shape(float(score), misfit, amplitude, excess, highest)


def _elsewhere(
    rest: FloatArray,
    projector: FloatArray,
    pattern: tuple[NDArray[np.intp], NDArray[np.intp]],
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    exclude: NDArray[np.bool_] | None,
) -> FloatArray:
    """What the fit leaves (sum of squares) at other positions of about the same separation."""
    shape = (rest.shape[0], rest.shape[1])
    radius = float(np.hypot(at[0] - center[0], at[1] - center[1]))
    dx, dy = offset_grid(shape, at)
    ring = (np.abs(radius_map(shape, center) - radius) <= 0.5 * fwhm) & (np.hypot(dx, dy) >= APART * fwhm)
    if exclude is not None:
        ring &= ~exclude
    y, x = np.nonzero(ring)
    step = -(-len(y) // MAX_PLACES) or 1
    rows, columns = y[::step, None] + pattern[0], x[::step, None] + pattern[1]
    inside = ((rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])).all(axis=1)
    values = rest[rows[inside], columns[inside]]
    values = values[np.isfinite(values).all(axis=1)]
    squares = np.sum((values @ projector) ** 2, axis=1)
    return np.asarray(squares[squares > 0])


def gaussian_core(shape: tuple[int, int], at: tuple[float, float], fwhm: float) -> FloatArray:
    """Gaussian that stands for a point source where there is no model of its image.

    Parameters
    ----------
    shape : (ny, nx)
    at : (x, y)
        Its position, 0-based pixels.
    fwhm : float
        Full width at half maximum, pixels.

    Returns
    -------
    (ny, nx) float64 ndarray
        Unit peak.
    """
    dx, dy = offset_grid(shape, at)
    return np.asarray(np.exp(-4 * np.log(2) * (dx**2 + dy**2) / fwhm**2))


def shape_without_model(
    image: FloatArray,
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> tuple[Shape, FloatArray]:
    """Compare a peak with Gaussians of about the resolution, where there is no model of a source's image.

    Parameters
    ----------
    image, at, center, fwhm, exclude
        As for `shape_of`.

    Returns
    -------
    Shape
        Of the Gaussian that fits best.
    (ny, nx) float64 ndarray
        That Gaussian, unit peak.
    """
    cores = [gaussian_core((image.shape[0], image.shape[1]), at, width * fwhm) for width in CORE_WIDTHS]
    shapes = [shape_of(image, core, at, center, fwhm, exclude=exclude) for core in cores]
    best = min(range(len(cores)), key=lambda k: np.nan_to_num(shapes[k].misfit, nan=np.inf))
    return shapes[best], cores[best]


def prominence(sums: FloatArray, at: tuple[int, int], fwhm: float) -> float:
    """How far a peak stands out of a ridge that it lies on, in the unit of the apertures.

    The ridge is the direction in which the apertures on both sides, `BESIDE` away, are highest in the mean. A point
    source has little light there; a clump of a disk has neighbors nearly as bright as itself.

    Parameters
    ----------
    sums : (ny, nx) float64 ndarray
        Aperture fluxes (`lyot.measure.noise.aperture_sums`), NaN where there are no data.
    at : (x, y)
        Pixel of the peak.
    fwhm : float
        Resolution element, pixels.

    Returns
    -------
    float
        NaN where no direction has data on both sides.
    """
    angle = np.pi * np.arange(12) / 12
    dx, dy = np.rint(BESIDE * fwhm * np.cos(angle)).astype(int), np.rint(BESIDE * fwhm * np.sin(angle)).astype(int)
    margin = 1 + int(np.ceil(BESIDE * fwhm))
    padded = np.pad(sums, margin, constant_values=np.nan)
    x, y = at[0] + margin, at[1] + margin
    both = 0.5 * (padded[y + dy, x + dx] + padded[y - dy, x - dx])
    return float(padded[y, x] - np.nanmax(both)) if np.isfinite(both).any() else float("nan")


@dataclass(frozen=True)
class RollFlux:
    """A source in one roll, in units of its forward model; NaN where nothing can be said."""

    flux: float
    error: float
    elements: int


def roll_fluxes(
    rolls: FloatArray,
    models: FloatArray,
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> tuple[RollFlux, ...]:
    """Flux of a source in each roll that covers it and in which the mask lets enough of it through.

    Parameters
    ----------
    rolls, models : (n, ny, nx) float64 ndarray
        Star-subtracted image of each roll, north up, and that of a source of unit flux in it.
    at, center : (x, y)
        Positions of the source and of the star, 0-based pixels.
    fwhm : float
        Resolution element, pixels.
    exclude : (ny, nx) bool ndarray, optional
        Pixels that must not count as noise.
    """
    x, y = round(at[0]), round(at[1])
    near = (slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3))
    found = []
    for image, model, enough in zip(rolls, models, _enough_light(models, at), strict=True):
        if not enough or not np.isfinite(image[near]).all():
            continue
        own = source_snr(image, np.nan_to_num(model), at, center, fwhm, exclude=exclude)
        if np.isfinite(own.noise) and own.signal != 0 and own.scale != 0:
            found.append(RollFlux(own.scale, abs(own.noise * own.scale / own.signal), own.elements))
    return tuple(found)


def detector_preference(
    rolls: FloatArray,
    models: FloatArray,
    turns: Sequence[float],
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    *,
    exclude: NDArray[np.bool_] | None = None,
) -> float:
    """By how much a peak fits better if it stays in place on the detector, not on the sky, when the telescope rolls.

    A latent image of the star, or what is left of a glow stick, is in all rolls, at one place on the detector. If the
    rolls differ by less than its width it peaks in their mean like a source. The sums of (S/N)^2 over the rolls are
    compared: at the position on the sky, and at positions that are one place on the detector.

    Parameters
    ----------
    rolls, models : (n, ny, nx) float64 ndarray
        As for `roll_fluxes`.
    turns : (n,) sequence of float
        Position angle of the detector's +y axis in each roll, deg.
    at, center : (x, y)
        Positions of the source and of the star, 0-based pixels.
    fwhm : float
        Resolution element, pixels.
    exclude : (ny, nx) bool ndarray, optional
        Pixels that must not count as noise.

    Returns
    -------
    float
        Square root of the difference of the sums, sigma; 0 if the detector is not preferred by at least `PREFERENCE`,
        if only one roll can show the source, or if the images would lie closer than `TURNED`.
    """
    use = _enough_light(models, at)
    if use.sum() < 2:
        return 0.0
    angles = np.array(turns, dtype=float)[use]
    angles = (angles - angles[0] + 180.0) % 360.0 - 180.0
    if np.radians(np.ptp(angles)) * np.hypot(at[0] - center[0], at[1] - center[1]) < TURNED * fwhm:
        return 0.0
    around = [
        _snr_around(image, np.nan_to_num(model), at, center, fwhm, exclude)
        for image, model in zip(rolls[use], models[use], strict=True)
    ]

    def total(places: list[tuple[float, float]]) -> float:
        return sum(max(snr(place), 0.0) ** 2 for snr, place in zip(around, places, strict=True))

    on_sky = total([at] * len(angles))
    # the peak is at the image of one of the rolls, or between them
    references = {*angles.tolist(), 0.5 * float(angles.min() + angles.max())}
    on_detector = max(total([_turned(at, center, a - ref) for a in angles]) for ref in references)
    return float(np.sqrt(on_detector - on_sky)) if on_detector > PREFERENCE * on_sky else 0.0


def _turned(at: tuple[float, float], center: tuple[float, float], angle: float) -> tuple[float, float]:
    """A place (x, y) turned about the star counter-clockwise, as position angles increase where north is up; deg."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    dx, dy = at[0] - center[0], at[1] - center[1]
    return float(center[0] + c * dx - s * dy), float(center[1] + s * dx + c * dy)


def _enough_light(models: FloatArray, at: tuple[float, float]) -> NDArray[np.bool_]:
    """Rolls in which the mask lets enough light of a source through."""
    x, y = round(at[0]), round(at[1])
    near = (slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3))
    light = np.array([np.nansum(np.nan_to_num(m)[near]) for m in models])
    return np.asarray(light >= MIN_LIGHT * light.max())


def _snr_around(
    image: FloatArray,
    model: FloatArray,
    at: tuple[float, float],
    center: tuple[float, float],
    fwhm: float,
    exclude: NDArray[np.bool_] | None,
) -> Callable[[tuple[float, float]], float]:
    """S/N at places (x, y) around `at`, by the noise at `at`; 0 where there are no data, or where that is unknown.

    One noise for all places: that of few apertures differs from place to place by more than the flux does.
    """
    own = source_snr(image, model, at, center, fwhm, exclude=exclude)
    sums = aperture_sums(image, fwhm)
    background = sums[round(at[1]), round(at[0])] - own.signal

    def snr(place: tuple[float, float]) -> float:
        x, y = round(place[0]), round(place[1])
        patch = sums[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        if patch.shape != (5, 5) or not np.isfinite(patch).all():
            return 0.0
        exact = ndimage.map_coordinates(patch, [[place[1] - y + 2], [place[0] - x + 2]], order=3)[0]
        return float(np.nan_to_num((exact - background) / own.noise))

    return snr


def roll_difference(fluxes: tuple[RollFlux, ...]) -> float:
    """Largest difference of the fluxes of two rolls, as Gaussian sigmas; NaN with fewer than two rolls."""
    worst = np.nan
    for a, b in combinations(fluxes, 2):
        ratio = np.array(abs(a.flux - b.flux) / np.hypot(a.error, b.error))
        sigma = float(gaussian_significance(ratio, np.array(min(a.elements, b.elements))))
        worst = sigma if np.isnan(worst) else max(worst, sigma)
    return float(worst)


def in_one_roll(fluxes: tuple[RollFlux, ...], threshold: float, *, combined: float = np.nan) -> bool:
    """Whether a source is in some rolls and not in others: it differs, and by more than half of its flux.

    If the mask lets its light through in one roll only, the flux there is compared with `combined`, that in the mean of
    the rolls: a peak that comes from the roll in which the source would be hidden is no source.
    """
    values = [f.flux for f in fluxes]
    if threshold <= 0 or not values:
        return False
    if len(values) == 1:
        (only,) = fluxes
        ratio = np.array((combined - only.flux) / only.error)
        sigma = float(gaussian_significance(ratio, np.array(only.elements)))
        return bool(sigma > threshold and only.flux < 0.5 * combined)
    return bool(roll_difference(fluxes) > threshold and min(values) < 0.5 * max(values))
