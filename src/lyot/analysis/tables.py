"""Measurements as tables with units and provenance, and as images with coordinates."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from lyot.analysis.columns import APERTURE, describe
from lyot.analysis.combined_image import IDENTITY, copy_cards, wcs_of
from lyot.analysis.finished_run import MeasuredRun
from lyot.errors import output_error
from lyot.exposures.headers import star_pixel_cards
from lyot.exposures.names import COMPANIONS, CONTRAST, ERROR_BUDGET
from lyot.measure.companion import Companion
from lyot.measure.contrast import ContrastCurve
from lyot.measure.mass import AgedModels
from lyot.measure.photometry import Star, contrast_of, magnitude_of
from lyot.measure.systematics import ErrorTerm
from lyot.records.freshness import KEYWORD, LENGTH, META
from lyot.records.manifest import versions


def provenance(run: MeasuredRun, **more: Any) -> dict[str, Any]:
    """What a table was made from, for its metadata."""
    known: dict[str, Any] = {}
    if run.reduction is not None:
        c = run.reduction.coronagraph
        known = {"mask": c.mask, "kl_modes": run.reduction.modes, "vega_zero_point_jy": c.vega_zero_point}
    return {
        "target": str(run.image.primary.get("TARGPROP", "")),
        "filter": str(run.image.primary.get("FILTER", "")),
        **known,
        "fwhm_arcsec": round(run.image.fwhm * run.image.pixel_scale, 5),
        META: run.finished.key[:LENGTH],
        "versions": {k: versions()[k] for k in ("lyot", "jwst")},
        **more,
    }


def star_meta(star: Star) -> dict[str, Any]:
    """The star's flux for the metadata of a table."""
    known = np.isfinite(star.flux)
    return {"star_flux_jy": float(star.flux) if known else None, "star_flux_error_jy": star.error,
            "star_flux_source": star.source}  # fmt: skip


# Known companions


def contrast_table(
    curve: ContrastCurve,
    run: MeasuredRun,
    star: Star,
    *,
    distance: float | None = None,
    masses: AgedModels | None = None,
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
    table["delta_mag"] = -2.5 * np.log10(contrast_of(curve.flux_limit, star)) * u.mag
    table["flux_5sigma"] = curve.flux_limit * u.Jy
    table["flux_5sigma_low"] = curve.flux_low * u.Jy
    table["flux_5sigma_high"] = curve.flux_high * u.Jy
    table["magnitude_5sigma"] = magnitude_of(curve.flux_limit, zero) * u.mag
    table["throughput"] = curve.throughput
    table["noise"] = curve.noise * u.Unit(APERTURE)
    table["elements"] = curve.elements
    table["threshold"] = curve.threshold
    if masses is not None and distance is not None:
        absolute = magnitude_of(curve.flux_limit, zero) - 5 * np.log10(distance / 10.0)
        table["mass_5sigma"] = masses.mass(absolute) * u.Mjup
        table.meta.update(models_meta(masses))
        if masses.error > 0:
            low, high = masses.range(absolute)
            table["mass_5sigma_low"], table["mass_5sigma_high"] = low * u.Mjup, high * u.Mjup
    describe(table, CONTRAST)
    return table


# Companions


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
    table["ra"] = (ra + east / 3600 / np.cos(np.radians(dec))) % 360 * u.deg
    table["dec"] = (dec + north / 3600) * u.deg
    for name, percent in (("low", 16), ("high", 84)):
        table[f"flux_posterior_{name}"] = [
            np.nan if c.samples is None else float(np.percentile(c.samples[:, 0], percent)) for c in companions
        ] * u.Jy
    table["noise_scale"] = np.array([c.noise_scale for c in companions])
    table["reduced_chi2"] = np.array([c.reduced_chi2 for c in companions])
    table["ambiguous"] = np.array([c.ambiguous for c in companions], dtype=bool)
    describe(table, COMPANIONS)
    return table


def models_meta(masses: AgedModels) -> dict[str, Any]:
    """The evolution models and the age for the metadata of a table."""
    return {"evolution_models": masses.models.name, "evolution_filter": masses.models.filter, "age_myr": masses.age,
            "age_error_myr": masses.error}  # fmt: skip


def add_masses(table: Table, masses: AgedModels, distance: float) -> None:
    """Give companions their masses, with the errors of flux and age; NaN outside the models."""
    absolute = np.asarray(table["magnitude"], dtype=float) - 5 * np.log10(distance / 10.0)
    found = masses.with_error(absolute, np.asarray(table["magnitude_err"], dtype=float))
    table["mass"], table["mass_err"] = found.mass * u.Mjup, found.error * u.Mjup
    table["mass_err_flux"], table["mass_err_age"] = found.from_flux * u.Mjup, found.from_age * u.Mjup
    describe(table, COMPANIONS)
    table.meta.update(models_meta(masses))


def budget_table(budgets: Sequence[Sequence[ErrorTerm]]) -> Table:
    """Error budgets as a table: one row per companion and term."""
    rows = [(i + 1, t.name, t.flux, t.contrast, t.separation, t.position_angle)
            for i, terms in enumerate(budgets) for t in terms]  # fmt: skip
    names = ("companion", "term", "flux", "contrast", "separation", "position_angle")
    table = Table(rows=rows, names=names)
    table["separation"].unit, table["position_angle"].unit = u.arcsec, u.deg
    describe(table, ERROR_BUDGET)
    return table


# Detections


DIGITS = 8
"""Significant digits of a number in a table that is written."""

_DIGITS_OF = {"ra": 11, "dec": 11, "shape": 4, "false_alarm": 4}
"""Of columns that need more (0.01 mas of a position in degrees), or are known to fewer (single precision, tails)."""


def write_table(table: Table, path: Path) -> None:
    """Write an ECSV table, its floats rounded.

    The last digits of a double depend on the number of threads; without them the same measurement gives the same file,
    and what was made from it stays up to date.

    Raises
    ------
    OutputError
        If that fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        _rounded(table).write(text, format="ascii.ecsv")
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise output_error(path, error) from error


def _rounded(table: Table) -> Table:
    """The table with its floats to as many significant digits as their columns are written with."""
    out = table.copy()
    for name in out.colnames:
        if out[name].dtype.kind == "f":
            values, digits = np.asarray(out[name], dtype=float), _DIGITS_OF.get(name, DIGITS)
            out[name][...] = np.array([float(f"{v:.{digits}g}") for v in values.ravel()]).reshape(values.shape)
    return out


def write_images(
    run: MeasuredRun,
    path: Path,
    layers: dict[str, NDArray[np.float64]],
    units: dict[str, str],
    cards: dict[str, dict[str, tuple[Any, str]]] | None = None,
) -> None:
    """Write images with the coordinates of the combined image, one extension each, and further keywords of each."""
    coordinates = wcs_of(run.image.header).to_header()
    primary = fits.PrimaryHDU()
    copy_cards(run.image.primary, primary.header, IDENTITY)
    primary.header["KLMODES"] = (run.sequence.modes, "number of modes subtracted")
    primary.header[KEYWORD] = (run.finished.key[:LENGTH], "key of the reduction in manifest.jsonl")
    for card, value, comment in star_pixel_cards(run.image.center):
        primary.header[card] = (value, comment)
    hdus = [fits.ImageHDU(data.astype(np.float32), coordinates, name=name) for name, data in layers.items()]
    for hdu in hdus:
        hdu.header["BUNIT"] = (units[hdu.name], "unit of the image")
        for key, value in (cards or {}).get(hdu.name, {}).items():
            hdu.header[key] = value
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.HDUList([primary, *hdus]).writeto(path, overwrite=True)
    except OSError as error:
        raise output_error(path, error) from error
