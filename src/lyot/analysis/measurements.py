"""Contrast, companions and detections of a finished run: `lyot contrast`, `lyot companion`, `lyot detect`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage

from lyot.analysis.columns import describe
from lyot.analysis.combined_image import (
    CAP,
    UNCOMPARED,
    detection_table,
    read_detections,
    shape_model,
    star_error,
    write_snr_map,
)
from lyot.analysis.finished_run import MeasuredRun, read_truncations, template_of
from lyot.analysis.injected_planet import planet_at_the_limit
from lyot.analysis.parameters import CompanionSection
from lyot.analysis.tables import (
    add_masses,
    budget_table,
    companion_table,
    contrast_table,
    provenance,
    star_meta,
    write_images,
    write_table,
)
from lyot.errors import InputError
from lyot.exposures.names import (
    COMPANIONS,
    COMPANIONS_RESIDUAL,
    CONTRAST,
    CONTRAST_MAP,
    DETECTIONS,
    ERROR_BUDGET,
    INJECTED,
    SNR_MAP,
)
from lyot.geometry import ARCSEC_PER_RADIAN, radius_map, separation_and_pa, sky_offset
from lyot.instrument import nircam_coronagraph
from lyot.measure.companion import Companion, CompanionParams, fit_companions
from lyot.measure.contrast import OUTER_RADIUS, ContrastCurve, ContrastParams, contrast_curve, limit_map
from lyot.measure.detected import Detection
from lyot.measure.detection import DetectionParams, RollImages, detect_in_reduction, detect_sources
from lyot.measure.forward import source_image
from lyot.measure.masking import model_mask
from lyot.measure.mass import AgedModels
from lyot.measure.noise import SignalToNoise, aperture_signal, snr_map
from lyot.measure.photometry import Star, contrast_of
from lyot.measure.systematics import ErrorTerm, SystematicParams, error_budget
from lyot.measure.vetting import gaussian_core
from lyot.records.freshness import is_current
from lyot.written import position_text, probability_text, snr_text

log = logging.getLogger(__name__)

OPEN_FIELD = 95.0
"""Percentile of the throughput over the image that stands for a place where the mask takes no light."""


def known_sources(run: MeasuredRun) -> tuple[list[tuple[float, float, float]], str]:
    """Sources (east, north, flux) that a limit must not count as noise: fitted companions, else detections.

    Returns
    -------
    sources : list of (east, north, flux)
        arcsec, Jy.
    origin : str
        The table they are from; empty if there is none.
    """
    injector = run.sequence.injector
    for name in (COMPANIONS, DETECTIONS):
        path = run.tables / name
        if not path.is_file():
            continue
        if not is_current(path, run.finished.out):
            log.warning("%s was measured on an earlier reduction and is not used; fit the companions again", path)
            continue
        sources = []
        for row in read_detections(path):
            t = np.radians(float(row["position_angle"]))
            east, north = float(row["separation"]) * np.sin(t), float(row["separation"]) * np.cos(t)
            if name == COMPANIONS:
                if float(row["snr"]) >= 3:
                    sources.append((east, north, float(row["flux"])))
                continue
            sources.append((east, north, _aperture_flux(run, *injector.pixel(east, north))))
        return sources, name
    return [], ""


def _aperture_flux(run: MeasuredRun, x: float, y: float) -> float:
    injector, fwhm = run.sequence.injector, run.sequence.fwhm
    where = np.array([[x, y]])
    unit = aperture_signal(source_image(injector, fwhm, (x, y)), injector.center, fwhm, where)[0]
    return float(aperture_signal(injector.image, injector.center, fwhm, where)[0] / unit)


# Contrast


def measure_contrast(
    run: MeasuredRun,
    star: Star | None = None,
    params: ContrastParams | None = None,
    *,
    distance: float | None = None,
    masses: AgedModels | None = None,
) -> Table:
    """Measure the contrast curve and the limit map; writes `CONTRAST` and `CONTRAST_MAP`.

    Parameters
    ----------
    run : MeasuredRun
    star : Star, optional
        Its flux; without it fluxes and magnitudes are given, and contrasts are NaN.
    params : ContrastParams, optional
    distance : float, optional
        pc, for separations in au (and masses).
    masses : AgedModels, optional
        Masses against absolute magnitude in the filter.

    Returns
    -------
    Table
    """
    star = star or Star()
    injector, fwhm = run.sequence.injector, run.sequence.fwhm
    sources, origin = known_sources(run)
    known, exclude = _known_model(run, sources)
    params = params or ContrastParams()
    params = replace(
        params, outer_radius=range_to_measure(params.outer_radius, OUTER_RADIUS, sources, "contrast.outer_radius")
    )
    full = _lossless_signal(run)
    curve = contrast_curve(injector, fwhm, params, known=known, exclude=exclude, full_signal=full)
    flux_map = limit_map(injector, curve, throughput=run.sequence.throughput)
    behind = run.sequence.coronagraph.spot_radius
    if behind > 0:
        curve, flux_map = _without_spot(curve, flux_map, run, behind)
    table = contrast_table(curve, run, star, distance=distance, masses=masses)
    if behind > 0:
        table.meta["no_limit_inside_arcsec"] = behind
        table.meta["no_limit_because"] = "behind the opaque spot a source has no detectable image"
    injected = int(np.isfinite(curve.limits).sum())
    more = {
        "sigma": curve.sigma,
        "noise": params.noise,
        "injections": injected,
        "known_sources": len(sources),
        "known_sources_from": origin,
    }
    table.meta.update(provenance(run, **more, **star_meta(star)))
    write_table(table, run.tables / CONTRAST)
    layers = {"SCI": contrast_of(flux_map, star) if np.isfinite(star.flux) else flux_map, "FLUX": flux_map}
    unit = {"SCI": "" if np.isfinite(star.flux) else "Jy", "FLUX": "Jy", INJECTED: "MJy/sr"}
    cards = {}
    planet = planet_at_the_limit(run, curve, sources)
    if planet is not None:
        separation, angle, flux, layers[INJECTED] = planet
        cards[INJECTED] = {
            "INJSEP": (separation, "[arcsec] separation of the injected planet"),
            "INJPA": (angle, "[deg] its position angle"),
            "INJFLUX": (flux, "[Jy] its flux before the mask: the limit"),
            "INJSIGMA": (curve.sigma, "[sigma] level of the limit, Gaussian"),
        }
    write_images(run, run.tables / CONTRAST_MAP, layers, unit, cards)
    return table


def range_to_measure(
    given: float | None, default: float, sources: Sequence[tuple[float, float, float]], parameter: str
) -> float:
    """Outermost separation of a measurement, so that each known source is inside unless the user says otherwise.

    Parameters
    ----------
    given : float or None
        What the user asked for, arcsec: used, with a warning where a source lies outside.
    default : float
        Without it, arcsec; extended to 15 % beyond the outermost source.
    sources : sequence of (east, north, flux)
        arcsec, Jy; see `known_sources`.
    parameter : str
        Name of the parameter, for the warning.

    Returns
    -------
    float
        arcsec.
    """
    outermost = max((float(np.hypot(east, north)) for east, north, _ in sources), default=0.0)
    if given is None:
        return max(default, 1.15 * outermost)
    if outermost > given:
        log.warning(
            "the source at %.2f arcsec is outside %s, %.2f arcsec; increase it",
            outermost,
            parameter,
            given,
        )
    return given


def _without_spot(
    curve: ContrastCurve, flux_map: NDArray[np.float64], run: MeasuredRun, radius: float
) -> tuple[ContrastCurve, NDArray[np.float64]]:
    """NaN for the limits behind an opaque spot: what light passes there is diffracted, and no image of the source."""
    hidden = curve.separation < radius
    names = ("flux_raw", "flux_limit", "flux_low", "flux_high", "throughput")
    changed: dict[str, Any] = {name: np.where(hidden, np.nan, getattr(curve, name)) for name in names}
    injector = run.sequence.injector
    distance = radius_map((flux_map.shape[0], flux_map.shape[1]), injector.center) * injector.pixel_scale
    limits = np.where(hidden[:, None], np.nan, curve.limits)
    return replace(curve, limits=limits, **changed), np.where(distance < radius, np.nan, flux_map)


def _known_model(
    run: MeasuredRun, sources: Sequence[tuple[float, float, float]]
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_] | None]:
    """Sum of the known sources' forward models, and the mask of what their subtraction may leave."""
    if not sources:
        return None, None
    injector, fwhm = run.sequence.injector, run.sequence.fwhm
    model = np.sum([f * np.nan_to_num(injector.forward(e, n, flux=-f or 1.0)) for e, n, f in sources], axis=0)
    noise = snr_map(injector.image - model, injector.center, fwhm).noise
    return model, model_mask(model, noise, fwhm, uncertainty=0.1)


def _lossless_signal(run: MeasuredRun) -> float:
    """Aperture sum of a source of 1 Jy far from the mask's features."""
    c = run.sequence.coronagraph
    angle = np.radians(45.0 + c.boundary_tilt)
    r = 0.3 * c.field_size
    stamp = run.sequence.imager((r * float(np.cos(angle)), r * float(np.sin(angle))), (0.0, 0.0))
    area = (run.sequence.injector.pixel_scale / ARCSEC_PER_RADIAN) ** 2
    middle = stamp.shape[0] // 2
    sums = aperture_signal(stamp * 1e-6 / area, (1e6, float(middle)), run.sequence.fwhm, np.array([[middle, middle]]))
    return float(sums[0])


@dataclass(frozen=True)
class FittedCompanions:
    """Companions of a run: the fits, the table with total errors, and the error budget of each."""

    companions: tuple[Companion, ...]
    table: Table
    budgets: tuple[tuple[ErrorTerm, ...], ...]


def fit_run(
    run: MeasuredRun,
    guesses: Sequence[tuple[float, float]],
    star: Star | None = None,
    params: CompanionParams | None = None,
    *,
    systematics: SystematicParams | None = None,
    distance: float | None = None,
    masses: AgedModels | None = None,
) -> FittedCompanions:
    """Fit companions; nothing is written.

    Parameters
    ----------
    run : MeasuredRun
    guesses : sequence of (separation, position angle)
        arcsec, degrees.
    star : Star, optional
    params : CompanionParams, optional
    systematics : SystematicParams, optional
    distance : float, optional
        pc, for masses.
    masses : AgedModels, optional
        Evolution models in the filter.

    Returns
    -------
    FittedCompanions
        The fits, their table and the error budget of each.
    """
    star = star or Star()
    companions = fit_companions(run.sequence.injector, run.sequence.fwhm, list(guesses), params)
    _tell_ambiguous(companions)
    terms = systematics or SystematicParams()
    if terms.star_center is None:
        terms = replace(terms, star_center=star_error(run.image))
    resolution = run.sequence.coronagraph.lambda_over_d
    budgets = tuple(
        error_budget(c, star, terms, kept=_light_kept(run, c), lambda_over_d=resolution) for c in companions
    )
    table = companion_table(companions, budgets, run, star)
    table.meta.update(provenance(run, **star_meta(star)))
    if masses is not None and distance is not None:
        add_masses(table, masses, distance)
    return FittedCompanions(companions, table, budgets)


def _light_kept(run: MeasuredRun, companion: Companion) -> float:
    """Light that the mask leaves at a companion over that in the open field, mean of the rolls; 1 where unknown."""
    light = run.sequence.throughput
    if light is None or not np.isfinite(light).any():
        return 1.0
    x, y = run.sequence.injector.pixel(companion.east, companion.north)
    here = float(ndimage.map_coordinates(np.nan_to_num(light), [[y], [x]], order=1, mode="nearest")[0])
    return here / float(np.nanpercentile(light, OPEN_FIELD))


def measure_companions(
    run: MeasuredRun,
    guesses: Sequence[tuple[float, float]] = (),
    star: Star | None = None,
    params: CompanionParams | None = None,
    *,
    systematics: SystematicParams | None = None,
    distance: float | None = None,
    masses: AgedModels | None = None,
) -> tuple[Table, tuple[tuple[ErrorTerm, ...], ...]]:
    """Fit companions; writes `COMPANIONS`, `ERROR_BUDGET` and `COMPANIONS_RESIDUAL`.

    Parameters
    ----------
    run : MeasuredRun
    guesses : sequence of (separation, position angle)
        arcsec, degrees; by default the detections of the run.
    star : Star, optional
    params : CompanionParams, optional
    systematics : SystematicParams, optional
    distance : float, optional
        pc, for masses.
    masses : AgedModels, optional
        Evolution models in the filter.

    Returns
    -------
    Table
        One row per companion.
    tuple of tuple of ErrorTerm
        Error budget of each.
    """
    fit = fit_run(
        run, list(guesses) or detected(run), star, params, systematics=systematics, distance=distance, masses=masses
    )
    write_table(fit.table, run.tables / COMPANIONS)
    budget = budget_table(fit.budgets)
    budget.meta.update(provenance(run))
    write_table(budget, run.tables / ERROR_BUDGET)
    model = np.sum([c.model for c in fit.companions], axis=0)
    write_images(run, run.tables / COMPANIONS_RESIDUAL, {"SCI": run.sequence.injector.image - model, "MODEL": model},
                 {"SCI": "MJy/sr", "MODEL": "MJy/sr"})  # fmt: skip
    return fit.table, fit.budgets


def write_no_companion(run: MeasuredRun) -> Table:
    """Write an empty table `COMPANIONS`: nothing was detected and no position was given."""
    units = {"separation": u.arcsec, "position_angle": u.deg, "flux": u.Jy, "flux_err": u.Jy, "snr": None}
    table = Table({name: [0.0] for name in units}, units=units)[:0]
    describe(table, COMPANIONS)
    table.meta["note"] = "no source was detected"
    table.meta.update(provenance(run))
    write_table(table, run.tables / COMPANIONS)
    return table


def _tell_ambiguous(companions: Sequence[Companion]) -> None:
    for i, c in enumerate(companions):
        if not c.ambiguous:
            continue
        other = c.alternatives[0]
        separation, angle = separation_and_pa(other.east, other.north)
        log.warning(
            "companion %d at separation %s: separation %s fits nearly as well (probability %s); the errors cover both.",
            i + 1, position_text(c.separation, c.position_angle), position_text(float(separation), float(angle)),
            probability_text(other.probability),
        )  # fmt: skip


def places_to_fit(run: MeasuredRun, section: CompanionSection) -> list[tuple[float, float]]:
    """Where companions are fitted: the positions that a section names, and the detections apart from these.

    Parameters
    ----------
    run : MeasuredRun
    section : CompanionSection

    Returns
    -------
    list of (separation, position angle)
        arcsec, degrees; empty if no position is named and nothing was detected.

    Raises
    ------
    InputError
        If the detections are wanted and sources were not searched for.
    """
    places = section.guesses()
    if not section.measure:
        return places
    path = run.tables / DETECTIONS
    if not path.is_file():
        raise InputError("companions: no search for sources was made; give positions with --companion SEPARATION,PA.")
    given = np.array([sky_offset(*place) for place in places]).reshape(-1, 2)
    found = [(float(row["separation"]), float(row["position_angle"])) for row in read_detections(path)]
    resolution = run.image.fwhm * run.image.pixel_scale
    apart = [p for p in found if not (np.hypot(*(given - sky_offset(*p)).T) < resolution).any()]
    return [*places, *apart]


def detected(run: MeasuredRun) -> list[tuple[float, float]]:
    """Separations [arcsec] and position angles [deg] of the detections of a run.

    Raises
    ------
    InputError
        If there is none.
    """
    path = run.tables / DETECTIONS
    found = read_detections(path) if path.is_file() else []
    if not len(found):
        raise InputError("no source was detected; give a position with --guess SEPARATION,PA.")
    return [(float(row["separation"]), float(row["position_angle"])) for row in found]


@dataclass(frozen=True)
class FoundSources:
    """Sources in an image of a run: the detections, their table, and the S/N map that they were found in."""

    detections: tuple[Detection, ...]
    table: Table
    snr: SignalToNoise


def search_sources(
    run: MeasuredRun, params: DetectionParams | None = None, *, all_truncations: bool = False
) -> FoundSources:
    """Search for sources, subtracting each detected one with its forward model; nothing is written.

    Where the reduction cannot be repeated, the sources found are masked by circles instead.

    Parameters
    ----------
    run : MeasuredRun
    params : DetectionParams, optional
    all_truncations : bool, optional
        Search the images of all truncations and merge what is found; more false alarms are then to be expected.

    Returns
    -------
    FoundSources
        Detections, highest S/N first, with their table and the S/N map.
    """
    image = run.image
    main = int(image.primary.get("KLMODES", -1))
    modes = [main if run.reduction is None else run.reduction.modes]
    pixels = image.data if run.reduction is None or modes == [main] else run.reduction.injector.image
    whole = snr_map(pixels, image.center, image.fwhm)
    several = all_truncations and run.finished.klcube is not None and run.finished.klcube.is_file()
    if several and run.finished.klcube is not None:
        images, modes = read_truncations(run.finished.klcube)
        detections = detect_sources(
            images, image.center, image.fwhm, image.pixel_scale, params=params, truncations=modes,
            template=template_of(run), coverage=image.coverage,
        )  # fmt: skip
    elif run.reduction is None:
        detections = detect_sources(
            pixels, image.center, image.fwhm, image.pixel_scale, params=params, truncations=modes, maps=(whole,),
            coverage=image.coverage, rolls=_rolls_without_model(run),
        )  # fmt: skip
    else:
        detections = detect_in_reduction(
            run.reduction.injector, image.fwhm, params=params, truncation=modes[0], image=pixels, maps=whole,
            coverage=image.coverage,
        )  # fmt: skip
    _log_detections(detections, run)
    table = detection_table(detections, image)
    limit = (DetectionParams() if params is None else params).max_sources
    if sum(d.accepted for d in detections) >= limit:
        table.meta[CAP] = limit
    table.meta["shape_model"] = shape_model(run.reduction is not None)
    if len(run.finished.rolls) > 1 and any(d.accepted for d in detections) and not any(d.rolls for d in detections):
        why = "all truncations were searched" if several else "the image of a source is not known in this reduction"
        table.meta[UNCOMPARED] = why
    table.meta.update(provenance(run))
    return FoundSources(detections, table, whole)


def _rolls_without_model(run: MeasuredRun) -> RollImages | None:
    """Images of the rolls where there is no model of a source's image; None if a source need not be alike in them.

    Behind a round mask a source keeps its light when the sky turns, so that a Gaussian stands for it in each roll.
    """
    image = run.image
    name, mask = (str(image.primary.get(key, "")) for key in ("FILTER", "CORONMSK"))
    is_round = nircam_coronagraph(name, mask, (image.pixel_scale, image.pixel_scale)) is not None
    if len(run.finished.rolls) < 2 or not is_round:
        return None
    images, turns = [], []
    for path in run.finished.rolls:
        with fits.open(path) as hdus:
            images.append(np.asarray(hdus["SCI"].data, dtype=float))
            turns.append(hdus["SCI"].header.get("PA_V3"))
    rolls = np.stack(images)
    if rolls.shape[1:] != image.data.shape:
        return None

    shape = (image.data.shape[0], image.data.shape[1])
    return RollImages(
        rolls,
        lambda x, y: np.broadcast_to(gaussian_core(shape, (x, y), image.fwhm), rolls.shape),
        () if None in turns else tuple(float(turn) for turn in turns),  # only their differences matter
    )


def _log_detections(detections: Sequence[Detection], run: MeasuredRun) -> None:
    log.info("%d sources in %s", sum(d.accepted for d in detections), run.finished.i2d.name)
    for d in detections:
        if not d.accepted:
            log.info("not a point source: separation %s, S/N %s: %s (%s)",
                     position_text(d.separation, d.position_angle), snr_text(d.snr), d.reason, d.status)  # fmt: skip


def measure_detections(
    run: MeasuredRun, params: DetectionParams | None = None, *, all_truncations: bool = False
) -> tuple[Detection, ...]:
    """Search for sources, see `search_sources`; writes `DETECTIONS` and `SNR_MAP`.

    Parameters
    ----------
    run : MeasuredRun
    params : DetectionParams, optional
    all_truncations : bool, optional
        Search the images of all truncations and merge what is found.

    Returns
    -------
    tuple of Detection
        Highest S/N first.
    """
    found = search_sources(run, params, all_truncations=all_truncations)
    write_table(found.table, run.tables / DETECTIONS)
    (run.tables / SNR_MAP).unlink(missing_ok=True)
    write_snr_map(run.tables / SNR_MAP, run.image, found.snr)
    return found.detections
