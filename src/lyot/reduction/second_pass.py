"""Second pass of the subtraction, with the sources detected in the first pass masked in the fit.

A planet pulls at the model of the star, which costs a part of its light and spreads the rest over the ring that its
noise is measured on. Once the planet is known its pixels need not be fitted. Then the model may be given freedom that a
planet in the fit would abuse: the changes of the star's image by small drifts of the wavefront. The first pass stays
what it is: there all places are treated alike, as limits and detections need it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lyot import geometry
from lyot.errors import ConfigError, ReductionError, warn
from lyot.instrument import Coronagraph
from lyot.measure.detection import DetectionParams, detect_in_reduction
from lyot.measure.noise import aperture_sums
from lyot.optics.drift import drift_images
from lyot.params import param
from lyot.reduction.injector import injector_of, narrowed, off_axis_source, placed
from lyot.subtract import CoronagraphicSequence, ReductionParams, ReductionPlan, ReductionResult
from lyot.subtract.plan import plan_prepared
from lyot.subtract.prepared import prepare_reduction
from lyot.subtract.sequence import mean_by_group
from lyot.subtract.zones import radius_arcsec, subtracted_pixels, zone_edges
from lyot.written import position_text, snr_text

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
Place = tuple[float, float]
"""Separation (arcsec) and position angle (deg) from the star."""

REACH = 5.0
"""Sources are looked for, and drifts modeled, within this distance of the star, arcsec."""

GUARD = 2.0
"""Places that are compared with a source are at least so many lambda/D from any source."""

MOST_PLACES = 40
"""Places that a source is compared with: their scatter is then known to a tenth, and each costs a reduction."""


@dataclass(frozen=True)
class RefineParams(DetectionParams):
    """Parameters of the second pass: the search for the sources to mask, and the fit.

    Examples
    --------
    >>> from lyot.reduction import RefineParams
    >>> RefineParams(protect="0.8,150; 1.2,30").places()
    ((0.8, 150.0), (1.2, 30.0))
    """

    outer_radius: float | None = param(
        REACH, help="outer radius of the search for sources, at most 5 arcsec", unit="arcsec", max=REACH
    )
    max_sources: int = param(5, help="maximum number of masked sources; a larger number indicates speckles", min=1)

    protect: str = param(
        "auto",
        help="sources masked in the fit: auto (those detected in the first pass), or separation,position angle in "
        "arcsec and degrees, several separated by semicolons",
    )
    protect_radius: float = param(0.9, help="radius of the mask around each source", unit="lambda/D", min=0.1, max=5.0)
    wavefront_drift: float = param(
        4.0,
        help="expected rms wavefront drift between reference and science, whose effect is also fitted",
        unit="nm",
        min=0.0,
        max=100.0,
    )

    def places(self) -> tuple[Place, ...] | None:
        """Positions of the sources to mask, if they are given.

        Returns
        -------
        tuple of (float, float) or None
            Separation, arcsec, and position angle, degrees; None with ``auto``.

        Raises
        ------
        ConfigError
            If they cannot be read.
        """
        return None if self.protect.strip().lower() == "auto" else parse_places(self.protect)


@dataclass(frozen=True)
class Protected:
    """A source masked in the fit, compared with control positions at the same separation masked in the same way.

    Attributes
    ----------
    separation, position_angle : float
        arcsec, degrees.
    signal, noise : float
        Aperture of one lambda/D, unit of the image times pixels; noise is the scatter over the places (few-sample
        corrected), NaN where there are fewer than four.
    places : int
        How many there are.
    """

    separation: float
    position_angle: float
    signal: float
    noise: float
    places: int


@dataclass(frozen=True)
class Refined:
    """Result of the second pass.

    Attributes
    ----------
    plan : ReductionPlan
        Of the second pass, with the sources masked in the fit.
    result : ReductionResult
        Its images.
    sources : tuple of Protected
        The masked sources.
    """

    plan: ReductionPlan
    result: ReductionResult
    sources: tuple[Protected, ...]


def can_refine(params: ReductionParams) -> bool:
    """Whether a reduction with these parameters is one that the second pass can repeat."""
    return params.strategy == "rdi" and params.method in ("klip", "loci")


def refine(
    plan: ReductionPlan,
    coronagraph: Coronagraph,
    params: RefineParams | None = None,
    *,
    pixel_area: float | None = None,
) -> Refined | None:
    """Repeat the reduction with the sources of the first pass masked in the fit.

    Parameters
    ----------
    plan : ReductionPlan
        Of the first pass; `can_refine` must hold.
    coronagraph : Coronagraph
    params : RefineParams, optional
    pixel_area : float, optional
        Steradian; the instrument's by default.

    Returns
    -------
    Refined or None
        None if no source is named or found on the data.

    Raises
    ------
    ConfigError
        If `protect` cannot be read.
    ReductionError
        If too few pixels are left to fit.
    """
    params = params or RefineParams()
    one, radius = narrowed(plan, None), params.protect_radius * coronagraph.lambda_over_d
    places = params.places()
    if places is None:
        places = find_sources(one, coronagraph, pixel_area or coronagraph.pixel_area, params)
    places = on_data(one, places, radius)
    if not places:
        return None
    changes = star_changes(plan.sequence, coronagraph, params.wavefront_drift)
    prepared = one.prepared or prepare_reduction(one.sequence, one.params)
    second = plan_prepared(prepared.with_changes(changes), exclude=around(one.sequence, places, radius))
    result = second.reduce()
    own = [_against_alike(second, coronagraph, places, k, radius, changes) for k in range(len(places))]
    for s in own:
        log.info(
            "masked in the fit: separation %s; %s times the scatter of %d control positions masked in the same way",
            position_text(s.separation, s.position_angle), snr_text(s.signal / s.noise), s.places)  # fmt: skip
    return Refined(second, result, tuple(own))


def parse_places(text: str) -> tuple[Place, ...]:
    """Separations and position angles from ``"0.82,149.4; 2,30"``.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    places = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        try:
            separation, angle = (float(v) for v in part.split(","))
        except ValueError:
            separation = angle = float("nan")
        if not (0 < separation < 100 and np.isfinite(angle)):
            raise ConfigError(
                f"refine.protect: expected auto, or separation,position angle such as 0.82,149.4, got {part!r}."
            )
        places.append((separation, angle % 360.0))
    return tuple(places)


def on_data(plan: ReductionPlan, places: Sequence[Place], radius: float) -> tuple[Place, ...]:
    """Those of some places that have pixels of the reduction within `radius` (arcsec); the log names the others."""
    seen = subtracted_pixels(plan.zones, plan.sequence.shape)
    kept = tuple(p for p in places if (around(plan.sequence, [p], radius) & seen).any())
    for place in places:
        if place not in kept:
            warn(f"separation {position_text(*place)} is outside the data: nothing to mask in the fit")
    return kept


def find_sources(
    plan: ReductionPlan, coronagraph: Coronagraph, pixel_area: float, params: DetectionParams
) -> tuple[Place, ...]:
    """Sources in the image of the first pass, found as ``lyot detect`` finds them; warns where there may be more."""
    injector = injector_of(plan, off_axis_source(plan.sequence, coronagraph.filter, pixel_area))
    fwhm = coronagraph.lambda_over_d / plan.grid.pixel_scale
    found = detect_in_reduction(injector, fwhm, params=params)
    return tuple((d.separation, d.position_angle) for d in found if d.accepted)


def star_changes(sequence: CoronagraphicSequence, coronagraph: Coronagraph, drift: float) -> FloatArray | None:
    """Images of the changes by a drift of the wavefront (nm rms), as bright as the star: (n, ny, nx) or None for 0.

    The star's brightness is that of the model's image that fits the mean of the science frames within 2.4 arcsec, which
    is good to a tenth or two; no more is needed for the size of a prior.
    """
    if drift == 0:
        return None
    center = sequence.mask_center or tuple(float(v) for v in sequence.star.mean(axis=0))
    reach = int(np.ceil(REACH / min(sequence.pixel_scale)))
    middle = (round(center[0]), round(center[1]))
    corner = (middle[0] - reach, middle[1] - reach)
    box = drift_images(coronagraph.filter, (2 * reach + 1,) * 2, (center[0] - corner[0], center[1] - corner[1]))
    star = placed(box.star, sequence.shape, middle)
    changes = np.stack([placed(change, sequence.shape, middle) for change in box.changes])
    mean = mean_by_group(sequence.science, np.zeros(len(sequence.science), np.intp), 1)[0]
    near = (radius_arcsec(sequence) < 2.4) & np.isfinite(mean)
    design = np.stack([star[near], np.ones(int(near.sum()))], axis=1)
    flux = float(np.linalg.lstsq(design, mean[near], rcond=None)[0][0])
    return changes * max(flux, 0.0) * drift


def around(sequence: CoronagraphicSequence, places: Sequence[Place], radius: float) -> NDArray[np.bool_]:
    """Pixels within `radius` (arcsec) of sources in any of the exposures: (ny, nx) bool."""
    mask = np.zeros(sequence.shape, dtype=bool)
    scale = np.array(sequence.pixel_scale)
    for star, pa_y in zip(sequence.star, sequence.pa_y, strict=True):
        for separation, angle in places:
            offset = np.array(geometry.detector_offset(separation, angle, float(pa_y)), dtype=float)
            x, y = (float(v) for v in star + offset / scale)
            dx, dy = geometry.offset_grid(sequence.shape, (x, y))
            mask |= np.hypot(dx * scale[0], dy * scale[1]) <= radius
    return mask


def _against_alike(
    plan: ReductionPlan,
    coronagraph: Coronagraph,
    places: Sequence[Place],
    index: int,
    radius: float,
    changes: FloatArray | None,
) -> Protected:
    """A source against the same aperture at other angles, each left out of the fit in its turn as the source was.

    Where pixels are left out of a fit they are noisier than where they are fitted; the other apertures of the product's
    ring would tell too small a noise.
    """
    separation, angle = places[index]
    step = np.degrees(2.0 * np.arcsin(min(1.0, coronagraph.lambda_over_d / (2.0 * separation))))
    edges = (0.0, *zone_edges(plan.sequence, plan.params), np.inf)
    half = 0.5 * coronagraph.lambda_over_d + 1.5 * plan.grid.pixel_scale  # the aperture may lie in two zones
    inner = max(e for e in edges if e <= max(separation - half, 0.0))
    outer = min(e for e in edges if e > separation + half)
    zone = replace(
        plan.params,
        inner_radius=max(plan.params.inner_radius, inner),
        outer_radius=min(outer, plan.params.outer_radius or np.inf) if np.isfinite(outer) else plan.params.outer_radius,
    )
    fwhm = coronagraph.lambda_over_d / plan.grid.pixel_scale
    try:
        prepared = prepare_reduction(plan.sequence, zone, changes=changes)  # only the pixels left out differ
    except ReductionError:  # no reference has data there
        return Protected(separation, angle, float("nan"), float("nan"), 0)

    def value(place: Place) -> float:
        left_out = around(plan.sequence, [*places, place], radius)
        try:
            trial = plan_prepared(prepared, exclude=left_out)
        except ReductionError:
            return float("nan")  # nothing is left to fit
        image = trial.reduce(with_variance=False).combined[0]
        east, north = geometry.sky_offset(*place)
        side, (x, y) = trial.grid.pixel_scale, trial.grid.center
        return _aperture(image, (x - float(east) / side, y + float(north) / side), fwhm)

    others = [(separation, (angle + step * k) % 360.0) for k in range(1, int(360.0 / step))]
    free = [p for p in others if all(_distance(p, q) >= GUARD * coronagraph.lambda_over_d for q in places)]
    values = np.array([value(p) for p in free[:: -(-len(free) // MOST_PLACES) or 1]])
    values = values[np.isfinite(values)]
    mine, n = value((separation, angle)), len(values)
    if n < 4:
        return Protected(separation, angle, mine, float("nan"), n)
    noise = float(np.std(values, ddof=1) * np.sqrt(1.0 + 1.0 / n))
    return Protected(separation, angle, mine - float(values.mean()), noise, n)


def _distance(a: Place, b: Place) -> float:
    return float(np.hypot(*np.subtract(geometry.sky_offset(*a), geometry.sky_offset(*b))))


def _aperture(image: FloatArray, at: tuple[float, float], fwhm: float) -> float:
    """Sum in the aperture of one FWHM centered on the nearest pixel; NaN where it has no data."""
    x, y = round(at[0]), round(at[1])
    inside = 0 <= y < image.shape[0] and 0 <= x < image.shape[1]
    return float(aperture_sums(image, fwhm)[y, x]) if inside else float("nan")
