"""Contrast, companions and detections of a finished run: `lyot contrast`, `lyot companion`, `lyot detect`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from lyot.errors import InputError, MissingInputError
from lyot.measure.companion import Companion, CompanionParams, fit_companions
from lyot.measure.contrast import ContrastCurve, ContrastParams, contrast_curve, limit_map
from lyot.measure.detection import Detection, DetectionParams, Template, detect_sources
from lyot.measure.masking import model_mask
from lyot.measure.mass import MassGrid
from lyot.measure.noise import aperture_signal, snr_map
from lyot.measure.photometry import Star, contrast_of, magnitude_of
from lyot.measure.systematics import ErrorTerm, SystematicParams, error_budget
from lyot.run.manifest import Manifest, Record, output_error, versions
from lyot.run.measuring import (
    DETECTIONS,
    SNR_MAP,
    CombinedImage,
    detection_table,
    read_combined,
    wcs_of,
    write_snr_map,
)
from lyot.steps.measuring_io import MeasuredSequence, open_reduction

log = logging.getLogger(__name__)

CONTRAST = "contrast.ecsv"
CONTRAST_MAP = "contrast_map.fits"
COMPANIONS = "companions.ecsv"
RESIDUAL = "companions_residual.fits"
BUDGET = "error_budget.ecsv"


@dataclass(frozen=True)
class MeasuredRun:
    """A run's folder, opened for measurements.

    Attributes
    ----------
    out : Path
    sequence : MeasuredSequence
    image : CombinedImage
        The main product and its header.
    klcube : Path or None
        Combined images of all truncations.
    """

    out: Path
    sequence: MeasuredSequence
    image: CombinedImage
    klcube: Path | None

    @property
    def folder(self) -> Path:
        """Where the tables go."""
        return self.out / "measure"


def _last_stage3(out: Path) -> Record:
    if not (out / "manifest.jsonl").is_file():
        raise MissingInputError(f"{out}: no manifest.jsonl; expected the output folder of lyot run.")
    records = [r for r in Manifest(out).records if r.kind == "stage3"]
    if not records:
        raise MissingInputError(f"{out}: stage 3 has not been run; run lyot run with --stages up to 3 first.")
    return records[-1]


def _product(out: Path, record: Record, suffix: str) -> Path | None:
    found = [out / p.path for p in record.products if p.path.endswith(f"_{suffix}.fits") and "_roll" not in p.path]
    return found[0] if found else None


def open_run(out: str | Path, *, modes: int | None = None) -> MeasuredRun:
    """Open a finished run for measurements.

    Parameters
    ----------
    out : path
        Output folder of ``lyot run``.
    modes : int, optional
        Truncation to measure; that of the main product by default.

    Raises
    ------
    MissingInputError
        If stage 3 has not been run there, or its inputs are gone.
    """
    out = Path(out)
    record = _last_stage3(out)
    association = json.loads((out / record.association).read_text())
    members = association["products"][0]["members"]
    science = [_member(out, record, m["expname"]) for m in members if m["exptype"] == "science"]
    i2d = _product(out, record, "i2d")
    if i2d is None or not i2d.is_file():
        raise MissingInputError(f"{out}: the combined image of stage 3 is gone; run lyot run again.")
    parameters = record.parameters.get("klip", {})
    sequence = open_reduction(science, _product(out, record, "psfalign"), parameters, modes=modes)
    return MeasuredRun(out, sequence, read_combined(i2d), _product(out, record, "klcube"))


def _member(out: Path, record: Record, name: str) -> Path:
    path = Path(name) if Path(name).is_absolute() else (out / record.association).parent / name
    if not path.is_file():
        raise MissingInputError(f"{path}: the calibrated exposure is gone; measurements repeat the reduction of it.")
    return path


def provenance(run: MeasuredRun, **more: Any) -> dict[str, Any]:
    """What a table was made from, for its metadata."""
    c = run.sequence.coronagraph
    return {
        "target": str(run.image.primary.get("TARGPROP", "")),
        "filter": c.filter,
        "mask": c.mask,
        "kl_modes": run.sequence.modes,
        "fwhm_arcsec": round(run.sequence.fwhm * run.sequence.injector.pixel_scale, 5),
        "vega_zero_point_jy": c.vega_zero_point,
        "versions": {k: versions()[k] for k in ("lyot", "jwst")},
        **more,
    }


def _star_meta(star: Star) -> dict[str, Any]:
    known = np.isfinite(star.flux)
    return {"star_flux_jy": float(star.flux) if known else None, "star_flux_error_jy": star.error,
            "star_flux_source": star.source}  # fmt: skip


# Known companions


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
        sources = []
        for row in Table.read(path, format="ascii.ecsv"):
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
    table = contrast_table(curve, run, star, distance=distance, masses=masses)
    injected = int(np.isfinite(curve.limits).sum())
    more = {"sigma": curve.sigma, "injections": injected, "known_sources": len(sources), "known_sources_from": origin}
    table.meta.update(provenance(run, **more, **_star_meta(star)))
    write_table(table, run.folder / CONTRAST)
    layers = {"SCI": contrast_of(flux_map, star) if np.isfinite(star.flux) else flux_map, "FLUX": flux_map}
    unit = {"SCI": "" if np.isfinite(star.flux) else "Jy", "FLUX": "Jy"}
    write_images(run, run.folder / CONTRAST_MAP, layers, unit)
    return table


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


def contrast_table(
    curve: ContrastCurve,
    run: MeasuredRun,
    star: Star,
    *,
    distance: float | None = None,
    masses: MassGrid | None = None,
) -> Table:
    """The curve as a table with units and descriptions."""
    c = run.sequence.coronagraph
    zero = c.vega_zero_point
    table = Table()
    table["separation"] = curve.separation * u.arcsec
    table["separation_lod"] = curve.separation / c.lambda_over_d
    if distance is not None:
        table["separation_au"] = curve.separation * distance * u.AU
    table["contrast_raw"] = contrast_of(curve.flux_raw, star)
    table["contrast_5sigma"] = contrast_of(curve.flux_limit, star)
    table["contrast_5sigma_low"] = contrast_of(curve.flux_low, star)
    table["contrast_5sigma_high"] = contrast_of(curve.flux_high, star)
    table["delta_mag"] = -2.5 * np.log10(contrast_of(curve.flux_limit, star))
    table["flux_5sigma"] = curve.flux_limit * u.Jy
    table["flux_5sigma_low"] = curve.flux_low * u.Jy
    table["flux_5sigma_high"] = curve.flux_high * u.Jy
    table["magnitude_5sigma"] = magnitude_of(curve.flux_limit, zero) * u.mag
    table["throughput"] = curve.throughput
    table["noise"] = curve.noise
    table["elements"] = curve.elements
    table["threshold"] = curve.threshold
    if masses is not None and distance is not None:
        absolute = magnitude_of(curve.flux_limit, zero) - 5 * np.log10(distance / 10.0)
        table["mass_5sigma"] = masses.mass(absolute) * u.Mjup
    for name, text in {
        "separation_lod": "in lambda/D",
        "contrast_raw": "sigma x noise over the star's flux, no losses, no few-sample correction",
        "contrast_5sigma": "calibrated by injection and recovery, with few-sample statistics; median over angles",
        "contrast_5sigma_low": "16th percentile over position angles",
        "contrast_5sigma_high": "84th percentile over position angles",
        "flux_5sigma": "before the mask",
        "magnitude_5sigma": "Vega",
        "throughput": "light left in the aperture by mask and reduction",
        "noise": "of an aperture of one lambda/D, MJy/sr pixel",
        "elements": "resolution elements the noise is measured from",
        "threshold": "S/N whose false-alarm probability is that of sigma Gaussian sigmas",
    }.items():
        table[name].description = text
    return table


# Companions


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
    budgets = tuple(error_budget(c, star, systematics) for c in companions)
    table = companion_table(companions, budgets, run, star)
    table.meta.update(provenance(run, **_star_meta(star)))
    write_table(table, run.folder / COMPANIONS)
    write_table(budget_table(budgets), run.folder / BUDGET)
    model = np.sum([c.model for c in companions], axis=0)
    write_images(run, run.folder / RESIDUAL, {"SCI": injector.image - model, "MODEL": model},
                 {"SCI": "MJy/sr", "MODEL": "MJy/sr"})  # fmt: skip
    return table, budgets


def _detected(run: MeasuredRun) -> list[tuple[float, float]]:
    path = run.folder / DETECTIONS
    found = Table.read(path, format="ascii.ecsv") if path.is_file() else []
    if not len(found):
        raise InputError("no source was detected; name a position with --guess SEPARATION,PA.")
    return [(float(row["separation"]), float(row["position_angle"])) for row in found]


def companion_table(
    companions: Sequence[Companion], budgets: Sequence[Sequence[ErrorTerm]], run: MeasuredRun, star: Star
) -> Table:
    """Companions as a table: total errors, and the statistical ones beside them."""
    zero = run.sequence.coronagraph.vega_zero_point
    total = [b[-1] for b in budgets]
    flux = np.array([c.flux for c in companions])
    ra, dec = run.sequence.sky
    east, north = (np.array([getattr(c, k) for c in companions]) for k in ("east", "north"))
    table = Table()
    table["separation"] = np.array([c.separation for c in companions]) * u.arcsec
    table["separation_err"] = np.array([t.separation for t in total]) * u.arcsec
    table["position_angle"] = np.array([c.position_angle for c in companions]) * u.deg
    table["position_angle_err"] = np.array([t.position_angle for t in total]) * u.deg
    table["contrast"] = contrast_of(flux, star)
    table["contrast_err"] = table["contrast"] * np.array([t.contrast for t in total])
    table["flux"] = flux * u.Jy
    table["flux_err"] = np.abs(flux) * np.array([t.flux for t in total]) * u.Jy
    table["snr"] = np.array([c.snr for c in companions])
    table["significance"] = np.array([c.significance for c in companions])
    table["magnitude"] = magnitude_of(flux, zero) * u.mag
    table["magnitude_err"] = 2.5 / np.log(10) * np.array([t.flux for t in total]) * u.mag
    table["flux_err_stat"] = np.array([c.flux_error for c in companions]) * u.Jy
    table["separation_err_stat"] = np.array([c.separation_error for c in companions]) * u.arcsec
    table["position_angle_err_stat"] = np.array([c.position_angle_error for c in companions]) * u.deg
    table["flux_upper_limit"] = np.array([c.upper_limit for c in companions]) * u.Jy
    table["delta_ra"], table["delta_dec"] = east * u.arcsec, north * u.arcsec
    table["ra"] = (ra + east / 3600 / np.cos(np.radians(dec))) * u.deg
    table["dec"] = (dec + north / 3600) * u.deg
    for name, percent in (("low", 16), ("high", 84)):
        table[f"flux_posterior_{name}"] = [
            np.nan if c.samples is None else float(np.percentile(c.samples[:, 0], percent)) for c in companions
        ] * u.Jy
    table["noise_scale"] = np.array([c.noise_scale for c in companions])
    table["reduced_chi2"] = np.array([c.reduced_chi2 for c in companions])
    for name, text in {
        "separation": "from the star", "position_angle": "east of north", "flux": "before the mask",
        "flux_err": "statistical and systematic; see the error budget", "magnitude": "Vega",
        "snr": "flux over its statistical error", "significance": "the same as Gaussian sigmas, few-sample statistics",
        "flux_upper_limit": "95 %, given for sources that are not detected",
        "delta_ra": "on the sky, east positive",
        "noise_scale": "factor on the predicted errors, from the same template at other position angles",
    }.items():  # fmt: skip
        table[name].description = text
    return table


def budget_table(budgets: Sequence[Sequence[ErrorTerm]]) -> Table:
    """Error budgets as a table: one row per companion and term."""
    rows = [(i + 1, t.name, t.flux, t.contrast, t.separation, t.position_angle)
            for i, terms in enumerate(budgets) for t in terms]  # fmt: skip
    names = ("companion", "term", "flux", "contrast", "separation", "position_angle")
    table = Table(rows=rows, names=names)
    table["separation"].unit, table["position_angle"].unit = u.arcsec, u.deg
    table["flux"].description = table["contrast"].description = "relative error, one sigma"
    return table


# Detections


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
    images, modes = injector.image[np.newaxis], [run.sequence.modes]
    if all_truncations and run.klcube is not None and run.klcube.is_file():
        images, modes = read_truncations(run.klcube)
    detections = detect_sources(
        images, injector.center, fwhm, injector.pixel_scale, params=params, truncations=modes, template=template_of(run)
    )
    table = detection_table(detections, run.image)
    table.meta.update(provenance(run))
    write_table(table, run.folder / DETECTIONS)
    (run.folder / SNR_MAP).unlink(missing_ok=True)
    write_snr_map(run.folder / SNR_MAP, run.image, snr_map(injector.image, injector.center, fwhm))
    return detections


def template_of(run: MeasuredRun) -> Template:
    """Image of a source at a pixel of the combined image, through the reduction."""
    injector = run.sequence.injector
    return lambda x, y: injector.forward(*injector.sky(x, y))


def read_truncations(klcube: Path) -> tuple[NDArray[np.float64], list[int]]:
    """Combined images of all truncations, (nK, Ny, Nx), and their numbers of modes."""
    with fits.open(klcube) as hdus:
        return np.asarray(hdus["SCI"].data, dtype=float), [int(k) for k in hdus["KLMODES"].data["MODES"]]


# Files


def write_table(table: Table, path: Path) -> None:
    """Write an ECSV table.

    Raises
    ------
    OutputError
        If that fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write(path, format="ascii.ecsv", overwrite=True)
    except OSError as error:
        raise output_error(path, error) from error


def write_images(run: MeasuredRun, path: Path, layers: dict[str, NDArray[np.float64]], units: dict[str, str]) -> None:
    """Write images with the coordinates of the combined image, one extension each."""
    coordinates = wcs_of(run.image.header).to_header()
    primary = fits.PrimaryHDU()
    for key in ("TELESCOP", "INSTRUME", "FILTER", "TARGPROP", "TARGNAME", "PROGRAM"):
        if key in run.image.primary:
            primary.header[key] = run.image.primary[key]
    primary.header["KLMODES"] = run.sequence.modes
    primary.header["STARX"] = (run.image.center[0] + 1, "[pixel] position of the star, 1-based")
    primary.header["STARY"] = (run.image.center[1] + 1, "[pixel] position of the star, 1-based")
    hdus = [fits.ImageHDU(data.astype(np.float32), coordinates, name=name) for name, data in layers.items()]
    for hdu in hdus:
        hdu.header["BUNIT"] = units[hdu.name]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.HDUList([primary, *hdus]).writeto(path, overwrite=True)
    except OSError as error:
        raise output_error(path, error) from error
