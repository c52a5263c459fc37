"""Contrast, companions and detections of a finished run: `lyot contrast`, `lyot companion`, `lyot detect`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.geometry import radius_map, separation_and_pa
from lyot.measure.companion import Companion, CompanionParams, fit_companions
from lyot.measure.contrast import ContrastCurve, ContrastParams, contrast_curve, limit_map
from lyot.measure.detection import Detection, DetectionParams, detect_in_reduction, detect_sources
from lyot.measure.masking import model_mask
from lyot.measure.mass import MassGrid
from lyot.measure.noise import aperture_signal, snr_map
from lyot.measure.photometry import Star, contrast_of
from lyot.measure.systematics import ErrorTerm, SystematicParams, error_budget
from lyot.run.freshness import is_current
from lyot.run.measured import MeasuredRun, open_run, read_truncations, template_of
from lyot.run.measurement_tables import (
    budget_table,
    companion_table,
    contrast_table,
    provenance,
    star_meta,
    write_images,
    write_table,
)
from lyot.run.measuring import (
    DETECTIONS,
    SNR_MAP,
    detection_table,
    read_detections,
    shape_model,
    star_error,
    write_snr_map,
)

__all__ = ["MeasuredRun", "measure_companions", "measure_contrast", "measure_detections", "open_run"]

log = logging.getLogger(__name__)

CONTRAST = "contrast.ecsv"
CONTRAST_MAP = "contrast_map.fits"
COMPANIONS = "companions.ecsv"
RESIDUAL = "companions_residual.fits"
BUDGET = "error_budget.ecsv"


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
        path = run.folder / name
        if not path.is_file():
            continue
        if not is_current(path):
            log.warning("%s was measured on an earlier reduction and is left out; fit the companions again", path)
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
    unit = aperture_signal(injector.forward(*injector.sky(x, y)), injector.center, fwhm, where)[0]
    return float(aperture_signal(injector.image, injector.center, fwhm, where)[0] / unit)


# Contrast


def measure_contrast(
    run: MeasuredRun,
    star: Star | None = None,
    params: ContrastParams | None = None,
    *,
    distance: float | None = None,
    masses: MassGrid | None = None,
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
    masses : MassGrid, optional
        Masses against absolute magnitude in the filter.

    Returns
    -------
    Table
    """
    star = star or Star()
    injector, fwhm = run.sequence.injector, run.sequence.fwhm
    sources, origin = known_sources(run)
    known, exclude = _known_model(run, sources)
    full = _lossless_signal(run)
    curve = contrast_curve(injector, fwhm, params, known=known, exclude=exclude, full_signal=full)
    flux_map = limit_map(injector, curve, fwhm, throughput=run.sequence.throughput, known=known, exclude=exclude)
    behind = run.sequence.coronagraph.spot_radius
    if behind > 0:
        curve, flux_map = _without_spot(curve, flux_map, run, behind)
    table = contrast_table(curve, run, star, distance=distance, masses=masses)
    if behind > 0:
        table.meta["no_limit_inside_arcsec"] = behind
        table.meta["no_limit_because"] = "behind the opaque spot a source leaves no image of its own"
    injected = int(np.isfinite(curve.limits).sum())
    more = {"sigma": curve.sigma, "injections": injected, "known_sources": len(sources), "known_sources_from": origin}
    table.meta.update(provenance(run, **more, **star_meta(star)))
    write_table(table, run.folder / CONTRAST)
    layers = {"SCI": contrast_of(flux_map, star) if np.isfinite(star.flux) else flux_map, "FLUX": flux_map}
    unit = {"SCI": "" if np.isfinite(star.flux) else "Jy", "FLUX": "Jy"}
    write_images(run, run.folder / CONTRAST_MAP, layers, unit)
    return table


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
    model = np.sum([f * np.nan_to_num(injector.forward(e, n)) for e, n, f in sources], axis=0)
    noise = snr_map(injector.image - model, injector.center, fwhm).noise
    return model, model_mask(model, noise, fwhm, uncertainty=0.1)


def _lossless_signal(run: MeasuredRun) -> float:
    """Aperture sum of a source of 1 Jy far from the mask's features."""
    from lyot.optics import CoronagraphModel, OpticsParams

    c = run.sequence.coronagraph
    model = CoronagraphModel.build(c, OpticsParams(n_wavelengths=3))
    angle = np.radians(45.0 + c.boundary_tilt)
    r = 0.3 * c.field_size
    stamp = model.off_axis_psf((r * float(np.cos(angle)), r * float(np.sin(angle))), size=61)
    area = (run.sequence.injector.pixel_scale / 206264.806) ** 2
    sums = aperture_signal(stamp * 1e-6 / area, (1e6, 30.0), run.sequence.fwhm, np.array([[30, 30]]))
    return float(sums[0])


def measure_companions(
    run: MeasuredRun,
    guesses: Sequence[tuple[float, float]] = (),
    star: Star | None = None,
    params: CompanionParams | None = None,
    *,
    systematics: SystematicParams | None = None,
) -> tuple[Table, tuple[tuple[ErrorTerm, ...], ...]]:
    """Fit companions; writes `COMPANIONS`, `BUDGET` and `RESIDUAL`.

    Parameters
    ----------
    run : MeasuredRun
    guesses : sequence of (separation, position angle)
        arcsec, degrees; by default the detections of the run.
    star : Star, optional
    params : CompanionParams, optional
    systematics : SystematicParams, optional

    Returns
    -------
    Table
        One row per companion.
    tuple of tuple of ErrorTerm
        Error budget of each.
    """
    star = star or Star()
    injector, fwhm = run.sequence.injector, run.sequence.fwhm
    companions = fit_companions(injector, fwhm, list(guesses) or _detected(run), params)
    _tell_ambiguous(companions)
    terms = systematics or SystematicParams()
    if terms.star_center is None:
        terms = replace(terms, star_center=star_error(run.image))
    budgets = tuple(error_budget(c, star, terms) for c in companions)
    table = companion_table(companions, budgets, run, star)
    table.meta.update(provenance(run, **star_meta(star)))
    write_table(table, run.folder / COMPANIONS)
    budget = budget_table(budgets)
    budget.meta.update(provenance(run))
    write_table(budget, run.folder / BUDGET)
    model = np.sum([c.model for c in companions], axis=0)
    write_images(run, run.folder / RESIDUAL, {"SCI": injector.image - model, "MODEL": model},
                 {"SCI": "MJy/sr", "MODEL": "MJy/sr"})  # fmt: skip
    return table, budgets


def _tell_ambiguous(companions: Sequence[Companion]) -> None:
    for i, c in enumerate(companions):
        if not c.ambiguous:
            continue
        other = c.alternatives[0]
        separation, angle = separation_and_pa(other.east, other.north)
        log.warning(
            "companion %d at %.3f arcsec, %.1f deg: %.3f arcsec, %.1f deg fits nearly as well (probability %.2f); "
            "the errors cover both.", i + 1, c.separation, c.position_angle, separation, angle, other.probability,
        )  # fmt: skip


def _detected(run: MeasuredRun) -> list[tuple[float, float]]:
    path = run.folder / DETECTIONS
    found = read_detections(path) if path.is_file() else []
    if not len(found):
        raise InputError("no source was detected; name a position with --guess SEPARATION,PA.")
    return [(float(row["separation"]), float(row["position_angle"])) for row in found]


def measure_detections(
    run: MeasuredRun, params: DetectionParams | None = None, *, all_truncations: bool = False
) -> tuple[Detection, ...]:
    """Search for sources, those found taken out by their forward models; writes `DETECTIONS` and `SNR_MAP`.

    Parameters
    ----------
    run : MeasuredRun
    params : DetectionParams, optional
    all_truncations : bool, optional
        Search the images of all truncations and merge what is found; more false alarms are then to be expected.
    """
    injector, fwhm = run.sequence.injector, run.sequence.fwhm
    if all_truncations and run.klcube is not None and run.klcube.is_file():
        images, modes = read_truncations(run.klcube)
        detections = detect_sources(
            images, injector.center, fwhm, injector.pixel_scale, params=params, truncations=modes,
            template=template_of(run), coverage=run.image.coverage,
        )  # fmt: skip
    else:
        detections = detect_in_reduction(
            injector, fwhm, params=params, truncation=run.sequence.modes, coverage=run.image.coverage
        )
    table = detection_table(detections, run.image)
    table.meta["shape_model"] = shape_model(True)
    table.meta.update(provenance(run))
    write_table(table, run.folder / DETECTIONS)
    (run.folder / SNR_MAP).unlink(missing_ok=True)
    write_snr_map(run.folder / SNR_MAP, run.image, snr_map(injector.image, injector.center, fwhm))
    return detections
