"""What was measured, for the report: companions with error bars, and the contrast curve."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Row
from astropy.table import Table as AstroTable
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lyot.analysis.published import PublishedCurve, read_published
from lyot.analysis.summary import Fitted, Limit
from lyot.errors import LyotError
from lyot.exposures.names import (
    COMPANIONS,
    CONTRAST,
    CONTRAST_MAP,
    DISK,
    DISK_RESIDUAL,
    DISK_RING,
    MATCHED_FILTER,
    PROPER_MOTION,
    STIM_MAP,
)
from lyot.records.freshness import is_current, outdated
from lyot.records.manifest import CONFIGURATION
from lyot.report import figures
from lyot.report.content import Layer, Picture, Section, grid
from lyot.report.marks import finite, read_sources, read_table
from lyot.report.products import view_of
from lyot.written import chi2_text, contrast_text, flux_text, plural, probability_text, snr_text, with_error

log = logging.getLogger(__name__)


def _quantity(table: AstroTable, row: int, name: str, write: Callable[[float, float], str] = with_error) -> str:
    """Value and error of one quantity, e.g. ``0.812 ± 0.011``; empty when it is not known."""
    value, error = finite(table, row, name), finite(table, row, f"{name}_err")
    return "" if value is None else write(value, np.nan if error is None else error)


def fitted_text(companion: Fitted) -> str:
    """A companion in one line, with its errors."""
    c = companion
    parts = [
        f'separation {with_error(c.separation, c.separation_error)}"',
        f"position angle {with_error(c.position_angle, c.position_angle_error)} deg",
        f"flux {flux_text(c.flux, c.flux_error)}",
    ]
    if np.isfinite(c.contrast):
        parts.append(f"contrast {with_error(c.contrast, c.contrast_error)}")
    sure = f"{snr_text(c.significance)} sigma" if np.isfinite(c.significance) else f"S/N {snr_text(c.snr)}"
    if c.candidate:
        chance = f"false-alarm probability {probability_text(c.false_alarm)}"
        return f"Candidate: {', '.join(parts)}; {sure}; it may be noise ({chance})"
    return f"Companion: {', '.join(parts)}; {sure}"


def limits_text(limits: Sequence[Limit], sigma: float) -> str:
    """Limits at a few separations in one sentence; empty if none was measured."""
    parts = []
    for limit in limits:
        if not np.isfinite(limit.flux):
            continue
        contrast = f" (contrast {contrast_text(limit.contrast)})" if np.isfinite(limit.contrast) else ""
        parts.append(f'{flux_text(limit.flux)} at {limit.separation:g}"{contrast}')
    missing = ", ".join(f'{limit.separation:g}"' for limit in limits if not np.isfinite(limit.flux))
    none = f"; not measurable at {missing}" if missing else ""
    return f"Limits at {sigma:g} sigma: {', '.join(parts)}{none}." if parts else ""


def companion_rows(table: AstroTable) -> list[tuple[str, ...]]:
    """Companions as text: separation, position angle, contrast, flux and S/N."""
    return [
        (
            f"C{row + 1}",
            _quantity(table, row, "separation"),
            _quantity(table, row, "position_angle"),
            _quantity(table, row, "contrast"),
            _quantity(table, row, "flux", flux_text),
            _quantity(table, row, "magnitude"),
            _quantity(table, row, "snr", lambda value, _: snr_text(value)),
            *((_quantity(table, row, "mass"),) if "mass" in table.colnames else ()),
        )
        for row in range(len(table))
    ]


def outdated_section(out: Path) -> Section | None:
    """What is in the folder but was measured on an earlier reduction, and so is not shown."""
    names = outdated(out)
    if not names:
        return None
    text = (
        f"Not shown, because measured on an earlier reduction: {', '.join(names)} in the folder measure. Repeat the "
        "measurement with lyot contrast, lyot companion, lyot detect --maps or lyot disk."
    )
    return Section("Outdated measurements", "outdated", text)


def contrast_section(out: Path) -> Section | None:
    """The contrast curve with the companions, and the published curves to compare with."""
    table = read_table(out, CONTRAST)
    if table is None:
        return None
    separation = np.asarray(table["separation"], dtype=float)
    modes = table.meta.get("kl_modes")
    end = "" if modes is None else f", {plural(modes, 'KL mode')}"
    curves = {
        label + end: (separation, np.asarray(table[name], dtype=float))
        for name, label in (("contrast_5sigma", "5 sigma, calibrated by injection"), ("contrast_raw", "5 sigma, raw"))
        if name in table.colnames and np.isfinite(np.asarray(table[name], dtype=float)).any()
    }
    what, published = "contrast", {curve.label: (curve.separation, curve.contrast) for curve in published_curves(out)}
    if not curves:
        what = "flux"
        if "flux_5sigma" not in table.colnames:
            return None
        curves = {f"5 sigma flux{end}": (separation, np.asarray(table["flux_5sigma"], dtype=float))}
    figure, (ax,) = grid(1)
    figure.set_size_inches(7.4, 5.2)
    found = read_table(out, COMPANIONS)
    figures.draw_contrast(
        ax, curves, companions=_companions_in(found, what), published=published if what == "contrast" else {},
        lambda_over_d=table.meta.get("fwhm_arcsec"), distance=distance_of(out),
    )  # fmt: skip
    if what == "flux":
        ax.set_ylabel("flux [Jy]", fontsize=9)
    low, high = f"{what}_5sigma_low", f"{what}_5sigma_high"
    if low in table.colnames and high in table.colnames:
        bounds = (np.asarray(table[low], dtype=float), np.asarray(table[high], dtype=float))
        ax.fill_between(separation, *bounds, alpha=0.2, lw=0)
    ax.annotate(_star_line(table), (0.99, 0.01), xycoords="axes fraction", fontsize=7.5, ha="right", va="bottom")
    noise = "the other apertures at the same separation"
    if table.meta.get("noise", "ring") != "ring":
        noise = "the noise used for the significance of detections"
    caption = (
        f"{table.meta.get('sigma', 5):g}-sigma limit relative to {noise}, with small-sample statistics; the band "
        "spans 16 to 84 % completeness."
    )
    if published and what == "contrast":
        caption += f" Dotted: {', '.join(published)}, for comparison."
    elif published:
        missing = f"{', '.join(published)}: published contrasts are not shown, because the flux of the star is unknown."
        log.warning("%s", missing)
        caption += f" {missing}"
    alt = f"{what.capitalize()} as a function of separation"
    pictures = [Picture("contrast", figure, caption, alt, table=table)]
    recovered = _injection_picture(table)
    pictures += [] if recovered is None else [recovered]
    if "mass_5sigma" in table.colnames and np.isfinite(np.asarray(table["mass_5sigma"], dtype=float)).any():
        pictures.append(_mass_picture(table, found))
    return Section("Contrast", "contrast", _star_text(table), tuple(pictures))


def _injection_picture(table: AstroTable) -> Picture | None:
    """How much of the light of injected planets the curve was made with is left; None where the table does not say."""
    if "throughput" not in table.colnames or not table.meta.get("injections"):
        return None
    separation, left = (np.asarray(table[name], dtype=float) for name in ("separation", "throughput"))
    if not np.isfinite(left).any():
        return None
    figure, (ax,) = grid(1)
    figure.set_size_inches(7.4, 3.2)
    ax.plot(separation, left, marker="o", ms=3.5, lw=1.2, color="#0b6e99")
    ax.axhline(1.0, color="0.8", lw=0.8)
    ax.set_ylim(0.0, max(1.08, 1.05 * float(np.nanmax(left))))
    ax.set_xlabel("separation [arcsec]", fontsize=9)
    ax.set_ylabel("throughput", fontsize=9)
    ax.tick_params(labelsize=8)
    number = int(table.meta["injections"])
    caption = (
        f"Throughput of mask and subtraction for {number} injected planets, median over position angle. It decreases "
        "toward the star, where both remove more flux; a step or dip elsewhere marks the edge of a zone of the fit "
        "or a masked region."
    )
    return Picture(
        "injected_planets",
        figure,
        caption,
        f"Throughput for {number} injected planets as a function of separation",
        table=table["separation", "throughput"],
    )


def _companions_in(found: AstroTable | None, what: str) -> list[tuple[float, float, str]]:
    """Companions as points of the plot of limits: separation, contrast or flux, and name."""
    points = []
    for row in range(len(found) if found is not None else 0):
        where, how_bright = finite(found, row, "separation"), finite(found, row, what)
        if where is not None and how_bright is not None and not finite(found, row, "flux_upper_limit"):
            points.append((where, how_bright, f"C{row + 1}"))
    return points


def distance_of(out: Path) -> float | None:
    """Distance of the star as the run was given it, pc."""
    path = out / CONFIGURATION
    value = tomllib.loads(path.read_text(encoding="utf-8")).get("star", {}).get("distance") if path.is_file() else None
    return None if value is None else float(value)


def published_curves(out: Path) -> list[PublishedCurve]:
    """Curves that the run was given for comparison; a file that is no longer there is passed over."""
    path = out / CONFIGURATION
    section = tomllib.loads(path.read_text(encoding="utf-8")).get("report", {}) if path.is_file() else {}
    found = []
    for name in section.get("compare_contrast", ()):
        try:
            found.append(read_published(Path(name)))
        except LyotError as error:
            log.warning("%s The curve is omitted from the report.", error)
    return found


def _star_line(table: AstroTable) -> str:
    """Flux of the star and its source, in a few words."""
    flux = table.meta.get("star_flux_jy")
    if flux is None:
        return "flux of the star unknown"
    return f"star {flux_text(float(flux))} ({table.meta.get('star_flux_source', 'given')})"


def _star_text(table: AstroTable) -> str:
    """What the limits were measured with: truncation, and the star's flux with its error and where it comes from."""
    modes, flux = table.meta.get("kl_modes"), table.meta.get("star_flux_jy")
    text = "" if modes is None else f"{plural(modes, 'KL mode')}. "
    if flux is None:
        return f"{text}The flux of the star is unknown; limits are given as fluxes."
    error = float(table.meta.get("star_flux_error_jy") or 0.0)
    return f"{text}Flux of the star: {flux_text(float(flux), error)} ({table.meta.get('star_flux_source', 'given')})."


def _mass_picture(table: AstroTable, companions: AstroTable | None) -> Picture:
    """Limits of mass against separation, and the companions."""
    figure, (ax,) = grid(1)
    figure.set_size_inches(7, 4.4)
    separation, mass = (np.asarray(table[name], dtype=float) for name in ("separation", "mass_5sigma"))
    ax.plot(separation, mass, lw=1.5, label="5 sigma")
    if "mass_5sigma_low" in table.colnames:
        low, high = (np.asarray(table[f"mass_5sigma_{end}"], dtype=float) for end in ("low", "high"))
        ax.fill_between(separation, low, high, alpha=0.2, lw=0)
    for row in range(len(companions) if companions is not None else 0):
        value, where = finite(companions, row, "mass"), finite(companions, row, "separation")
        if value is not None and where is not None:
            ax.errorbar([where], [value], yerr=[finite(companions, row, "mass_err") or 0.0], fmt="o", ms=4)
            ax.annotate(f"companion {row + 1}", (where, value), xytext=(6, 4), textcoords="offset points", fontsize=8)
    ax.set_yscale("log")
    ax.set_xlabel("separation [arcsec]")
    ax.set_ylabel("mass [Jupiter masses]")
    meta = table.meta
    error = float(meta.get("age_error_myr") or 0.0)
    age = f"{with_error(float(meta['age_myr']), error)}" if "age_myr" in meta else "the given"
    caption = f"The limits converted to masses: {meta.get('evolution_models', 'evolution models')} at {age} Myr."
    caption += " The band shows the error of the age." if error else ""
    return Picture("mass_limits", figure, caption, "Mass as a function of separation", table=table)


def motion_section(out: Path) -> Section | None:
    """Positions of a companion at several dates, with the track of a background star."""
    table = read_table(out, PROPER_MOTION)
    if table is None:
        return None
    meta = table.meta
    angle, separation = (np.radians(np.asarray(table["position_angle"], float)), np.asarray(table["separation"], float))
    east, north = separation * np.sin(angle), separation * np.cos(angle)
    figure, (ax,) = grid(1)
    figure.set_size_inches(5.4, 4.8)
    track = np.array(meta["track"], dtype=float)
    still = np.radians(float(table["background_position_angle"][0]))
    start = float(table["background_separation"][0]) * np.array([np.sin(still), np.cos(still)])
    ax.plot(start[0] + track[:, 1], start[1] + track[:, 2], lw=1, color="0.5", label="background star")
    t = np.radians(np.asarray(table["background_position_angle"], float))
    r = np.asarray(table["background_separation"], float)
    ax.plot(r * np.sin(t), r * np.cos(t), "x", color="0.5")
    tangential = separation * np.radians(np.asarray(table["position_angle_err"], float))
    radial = np.asarray(table["separation_err"], float)
    errors = [np.hypot(radial * np.sin(angle), tangential * np.cos(angle)),
              np.hypot(radial * np.cos(angle), tangential * np.sin(angle))]  # fmt: skip
    ax.errorbar(east, north, xerr=errors[0], yerr=errors[1], fmt="o", ms=4, label="measured")
    for x, y, year in zip(east, north, np.asarray(table["year"], float), strict=True):
        ax.annotate(f"{year:.2f}", (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8)
    ax.invert_xaxis()
    ax.set_xlabel("offset east [arcsec]")
    ax.set_ylabel("offset north [arcsec]")
    ax.legend(fontsize=8)
    text = (
        f"Companion {table['companion'][0]}: {meta['verdict']}. Chi2 {chi2_text(meta['chi2_background'])} for a "
        f"background star and {chi2_text(meta['chi2_common'])} for common proper motion, {meta['degrees_of_freedom']} "
        "degrees of freedom."
    )
    caption = "Offsets from the star. Line and crosses: track of a stationary background star, at the same dates."
    picture = Picture("proper_motion", figure, caption, "Positions at several epochs", table=table)
    return Section("Proper motion", "motion", text, (picture,))


_Header = dict[str, object]


@dataclass(frozen=True)
class _Layer:
    """One extension of a file of maps, as it is shown."""

    file: str
    name: str
    title: str
    label: str
    cmap: str = "RdBu_r"
    limits: tuple[float, float] | None = None
    scale: float = 1.0
    logarithm: bool = False


MAPS = (
    _Layer(MATCHED_FILTER, "SCI", "matched filter: signal to noise", "S/N", limits=(-6.0, 6.0)),
    _Layer(MATCHED_FILTER, "LIMIT", "limit at 5 sigma, matched filter", "log10 of µJy", "viridis", None, 1e6, True),
    _Layer(MATCHED_FILTER, "COMPLETE", "completeness", "probability", "cividis", (0.0, 1.0)),
    _Layer(CONTRAST_MAP, "FLUX", "limit at 5 sigma, injected sources", "log10 of µJy", "viridis", None, 1e6, True),
    _Layer(STIM_MAP, "SCI", "STIM over its threshold", "ratio", limits=(-1.5, 1.5)),
)
"""Maps that the report shows, those that are there."""


MAPS_RADIUS = 6.0
"""Largest half width at which maps are drawn, arcsec, unless a source is farther out."""


def maps_section(out: Path) -> Section | None:
    """The maps that were made, in two dimensions."""
    shown = [(layer, found) for layer in MAPS if (found := _read_layer(out, layer)) is not None]
    if not shown:
        return None
    figure, axes = grid(len(shown), 3)
    sources = read_sources(out)
    separations = [] if sources is None else sources["separation"].to_value("arcsec")
    widest = max([MAPS_RADIUS, *(1.15 * float(separation) for separation in separations)])
    for ax, (layer, (image, header)) in zip(axes, shown, strict=True):
        _draw_layer(ax, layer, image, header, widest)
    texts = [_completeness_text(header) for layer, (_, header) in shown if layer.name == "COMPLETE"]
    return Section("Maps", "maps", " ".join(texts), (_maps_picture(figure, shown),))


def _read_layer(out: Path, layer: _Layer) -> tuple[NDArray[np.float64], dict[str, object]] | None:
    path = out / "measure" / layer.file
    if not path.is_file() or not is_current(path, out):
        return None
    with fits.open(path) as hdus:
        if layer.name not in hdus:
            return None
        image = np.asarray(hdus[layer.name].data, dtype=float) * layer.scale
        header = {**dict(hdus[0].header), **dict(hdus[layer.name].header)}
    threshold = header.get("THRESH")
    if layer.file == STIM_MAP and isinstance(threshold, float) and threshold > 0:
        image = image / threshold
    if layer.logarithm:
        positive = np.isfinite(image) & (image > 0)
        image = np.where(positive, np.log10(np.where(positive, image, 1.0)), np.nan)
    return (image, header) if np.isfinite(image).any() else None


def _draw_layer(ax: Axes, layer: _Layer, image: NDArray[np.float64], header: dict[str, object], widest: float) -> None:
    """Draw a map out to where it has values, at most `widest` arcsec."""
    view = view_of(header, image.shape, north_up=True)
    y, x = np.indices(image.shape)
    r = np.hypot((x - view.center[0]) * view.pixel_scale[0], (y - view.center[1]) * view.pixel_scale[1])
    radius = min(float(r[np.isfinite(image)].max()) * 1.04, widest)
    inside = image[(r <= radius) & np.isfinite(image)]
    limits = layer.limits or figures.color_limits(inside, 1.0, 98.0)
    shown = figures.View(view.center, view.pixel_scale, 0.0, radius)
    figures.draw_image(ax, image, view=shown, label=layer.label, cmap=layer.cmap, limits=limits)
    figures.mark_star(ax, color=figures.DARK_INK if layer.cmap in figures.DIVERGING else figures.INK)
    ax.set_title(layer.title, fontsize=8)


def _completeness_text(header: dict[str, object]) -> str:
    flux = header.get("CFLUX")
    return f"Completeness is for a source of {flux_text(flux)}." if isinstance(flux, float) else ""


def _maps_picture(figure: Figure, shown: Sequence[tuple[_Layer, tuple[NDArray[np.float64], _Header]]]) -> Picture:
    caption = "North is up, east to the left. The limit depends on the position angle where the mask attenuates."
    if any(layer.file == MATCHED_FILTER for layer, _ in shown):
        caption += (
            " The templates of the matched filter are images of sources after mask and reduction, each roll with its "
            "own throughput."
        )
    alt = f"Maps: {', '.join(layer.title for layer, _ in shown)}"
    layers = [Layer(layer.title, image, layer.label, header, True) for layer, (image, header) in shown]
    return Picture("maps", figure, caption, alt, layers)


def disk_section(out: Path) -> Section | None:
    """The disks that were fitted: image, best model and residual, the residuals of the others, and the ring."""
    path = out / "measure" / DISK_RESIDUAL
    if not path.is_file() or not is_current(path, out):
        return None
    with fits.open(path) as hdus:
        names = [h.name for h in hdus if h.name in ("IMAGE", "MODEL", "SCI") or h.name.startswith("RESID")]
        images = {name: np.asarray(hdus[name].data, dtype=float) for name in names}
        headers = {name: dict(hdus[name].header) for name in names}
        header = {**dict(hdus[0].header), **headers["SCI"]}
    view = view_of(header, images["SCI"].shape, north_up=True)
    y, x = np.indices(images["SCI"].shape)
    r = np.hypot((x - view.center[0]) * view.pixel_scale[0], (y - view.center[1]) * view.pixel_scale[1])
    model = np.nan_to_num(np.abs(images["MODEL"]))
    lit = model > 0.1 * model.max()
    radius = max(1.5 * float(r[lit].max()), 1.5) if lit.any() else 3.0
    limit = figures.symmetric_limits(images["IMAGE"][(r <= radius) & np.isfinite(images["IMAGE"])], 99.0)
    best = str(header.get("DMODEL", "disk"))
    panels = [("IMAGE", "image"), ("MODEL", f"model: {best}"), ("SCI", "image minus model")]
    for name in names:
        if name.startswith("RESID") and headers[name].get("DMODEL") != header.get("DMODEL"):
            panels.append((name, f"image minus {headers[name].get('DMODEL', name)}"))
    figure, axes = grid(len(panels), 3)
    shown = figures.View(view.center, view.pixel_scale, 0.0, radius)
    for ax, (name, title) in zip(axes, panels, strict=True):
        figures.draw_image(ax, images[name], view=shown, label="MJy/sr", cmap="RdBu_r", limits=limit)
        figures.mark_star(ax, color=figures.DARK_INK)
        chi2 = headers[name].get("DCHI2")
        ax.set_title(title if chi2 is None else f"{title}\nreduced chi2 {chi2_text(float(str(chi2)))}", fontsize=8)
    caption = (
        "North is up, east to the left. The model is propagated through mask, PSF and reduction, including "
        "over-subtraction."
    )
    layers = [Layer(title, images[name], "MJy/sr", header, True) for name, title in panels]
    picture = Picture("disk", figure, caption, "Image, disk model and residual", layers)
    return Section("Disk", "disk", _disk_text(out, header), (picture,))


def _ring_value(row: Row) -> str:
    """A parameter of a ring with its error, both to two digits of the error: ``radius 0.419 ± 0.022 arcsec``."""
    name, unit = str(row["parameter"]).replace("_", " "), str(row["unit"])
    error = float(row["error"])
    if row["status"] == "fitted" and error > 0:
        return f"{name} {with_error(float(row['value']), error)} {unit}".rstrip()
    return f"{name} {row['value']} {unit}".rstrip() + f" ({row['status']})"


def _disk_text(out: Path, header: dict[str, object]) -> str:
    """Scale, flux and chi2 of each model, and the parameters of the ring."""
    table = read_table(out, DISK)
    if table is None or "model" not in table.colnames:
        scale, error = (float(str(header.get(key, "nan"))) for key in ("DSCALE", "DSCALERR"))
        return f"Best-fit scale factor of the model flux: {with_error(scale, error)}."
    lines = []
    for row in table:
        start = "Best: " if row["best"] and len(table) > 1 else ""
        times = "" if row["model"] == "ring" else f"scale factor {with_error(row['scale'], row['scale_err'])}, "
        lines.append(
            f"{start}{row['model']}: {times}{flux_text(row['flux'], row['flux_err'])}, "
            f"reduced chi2 {chi2_text(row['reduced_chi2'])}."
        )
    ring = read_table(out, DISK_RING)
    if ring is not None and "ring" in list(table["model"]):
        values = [_ring_value(row) for row in ring if row["status"] != "fixed" and row["parameter"] != "flux"]
        lines += [f"Ring: {', '.join(values)}."] if values else []
    return " ".join(lines)
