"""Lines that tell what was found: sources, companions, limits, warnings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lyot.analysis.summary import Fitted
    from lyot.run.execute import RunResult

GIVE_STAR = (
    "contrasts are unknown because the flux of the star was not given: give --star-flux, --star-mag, --star-kmag "
    "with --star-sptype, --star-simbad, --star-sed or --star-ta once; it is saved with the run"
)

FAINT_PLANET = (
    "the planet of the default scene is below the noise of such short exposures, so that lyot run detects no source; "
    "use --scene bright_planet for a detectable planet, or --size full for the observed depth"
)


def show_results(result: RunResult) -> None:
    """Print what a run found, target by target."""
    from lyot.exposures.names import COMPANIONS, CONTRAST

    tables = result.products("measure", ".ecsv")
    show_tables(tables)
    if _nothing_found(tables) and _simulated_faint({e.exposure.path.parent for e in result.plan.exposures}):
        typer.echo(f"Note: the input is simulated: {FAINT_PLANET}.", err=True)
    if any(p.name in (COMPANIONS, CONTRAST) for p in tables) and not result.plan.config.star.is_given:
        typer.echo(f"Note: {GIVE_STAR}.", err=True)


def _nothing_found(tables: Sequence[Path]) -> bool:
    """Whether sources were searched for and none was found."""
    from lyot.analysis.combined_image import read_detections
    from lyot.exposures.names import DETECTIONS

    searched = [path for path in tables if path.name == DETECTIONS]
    return bool(searched) and not any(len(read_detections(path)) for path in searched)


def _simulated_faint(folders: Iterable[Path]) -> bool:
    """Whether the input is a small simulation of the default scene, by the files that `lyot simulate` left with it."""
    for folder in folders:
        if not (folder / "truth.json").is_file():
            continue
        from lyot.errors import LyotError
        from lyot.simulator.plan import size_of
        from lyot.simulator.scene import load_scene, read_scene
        from lyot.simulator.truth import read_truth

        small = size_of("small")
        try:
            size = read_truth(folder).get("size")
            default = read_scene(folder / "scene.toml") == load_scene(None)
        except (LyotError, OSError):
            continue
        if default and size == {"science": list(small.science), "reference": list(small.reference)}:
            return True
    return False


def show_tables(tables: Sequence[Path]) -> None:
    """Print what some tables of measurements say, folder by folder (one for each target)."""
    from lyot.exposures.names import COMPANIONS, CONTRAST, DETECTIONS, DISK

    folders = list(dict.fromkeys(p.parent for p in tables if p.name == DETECTIONS))
    for folder in folders:
        star = f"{folder.name}: " if len(folders) > 1 else ""
        here = {p.name for p in tables if p.parent == folder}
        show_detections(folder, star, fitted=COMPANIONS in here)
        for name, show in ((COMPANIONS, show_companions), (CONTRAST, show_limits), (DISK, show_disks)):
            if name in here:
                show(folder, star)


def show_detections(folder: Path, star: str = "", *, fitted: bool = False) -> None:
    """Print the sources of a table of detections, those that were not fitted, and what was rejected."""
    from lyot.analysis.combined_image import CAP, is_candidate, is_source, read_detections
    from lyot.analysis.summary import unchecked_sources
    from lyot.exposures.names import DETECTIONS
    from lyot.written import plural, position_text, probability_text, snr_text

    table = read_detections(folder / DETECTIONS, all_peaks=True)
    sources = is_source(table)
    if not sources.any():
        typer.echo(f"{star}no source above the threshold")
    shown = table[sources] if not fitted else table[:0]
    for row, unsure in zip(shown, is_candidate(shown), strict=True):
        kind = "candidate that may be noise" if unsure else "source"
        typer.echo(
            f"{star}{kind} at separation {position_text(row['separation'], row['position_angle'])}, "
            f"S/N {snr_text(row['snr'])}, {snr_text(row['significance'])} sigma, "
            f"false-alarm probability {probability_text(row['false_alarm'])} ({plural(row['kl_modes'], 'KL mode')})"
        )
    for row in table[~sources]:
        typer.echo(
            f"{star}not a point source: separation "
            f"{position_text(row['separation'], row['position_angle'])}, S/N {snr_text(row['snr'])}: "
            f"{row['reason']} ({row['status']})"
        )
    for sentence in unchecked_sources(folder):
        typer.echo(f"Warning: {star}{sentence}", err=True)
    if CAP in table.meta:
        limit = plural(table.meta[CAP], "source")
        typer.echo(f"{star}the search ended at {limit}, and there may be more: increase measure.max_sources")


def companion_line(companion: Fitted) -> str:
    """A companion in one line: position, flux and contrast with errors, and how sure it is."""
    from lyot.written import flux_text, in_ascii, probability_text, snr_text, with_error

    c = companion
    parts = [
        f'separation {with_error(c.separation, c.separation_error)}"',
        f"PA {with_error(c.position_angle, c.position_angle_error)} deg",
    ]
    candidate = ["a candidate that may be noise"] if c.candidate else []
    if isfinite(c.upper_limit):
        parts.append(f"not detected, flux below {flux_text(c.upper_limit)} (95 %)")
        return in_ascii(", ".join([*parts, *candidate]))
    parts.append(f"flux {flux_text(c.flux, c.flux_error)}")
    if isfinite(c.contrast):
        parts.append(f"contrast {with_error(c.contrast, c.contrast_error)}")
    parts.append(f"S/N {snr_text(c.snr)}")
    if isfinite(c.significance):
        parts.append(f"{snr_text(c.significance)} sigma, false-alarm probability {probability_text(c.false_alarm)}")
    return in_ascii(", ".join([*parts, *candidate]))


def show_companions(folder: Path, star: str = "") -> None:
    """Print one line per companion."""
    from lyot.analysis.summary import read_fitted

    for number, companion in enumerate(read_fitted(folder), start=1):
        typer.echo(f"{star}companion {number}: {companion_line(companion)}")


def show_limits(folder: Path, star: str = "") -> None:
    """Print the limits at a few separations in one line."""
    from lyot.analysis.summary import read_limits
    from lyot.written import contrast_text, flux_text, in_ascii

    limits, sigma = read_limits(folder)
    parts = []
    for limit in limits:
        flux = in_ascii(flux_text(limit.flux)) if isfinite(limit.flux) else "not measurable"
        contrast = f" (contrast {contrast_text(limit.contrast)})" if isfinite(limit.contrast) else ""
        parts.append(f'{limit.separation:g}" {flux}{contrast}')
    if parts:
        typer.echo(f"{star}{sigma:g}-sigma limits: {', '.join(parts)}")


def show_disks(folder: Path, star: str = "") -> None:
    """Print the disk models that were fitted, which is best, and the parameters of the ring."""
    from lyot.exposures.names import DISK, DISK_RING
    from lyot.records.tables import read_ecsv
    from lyot.written import chi2_text, flux_text, in_ascii, snr_text, with_error

    table = read_ecsv(folder / DISK)
    for row in table:
        best = ", best" if len(table) > 1 and row["best"] else ""
        values = (
            f"scale {with_error(row['scale'], row['scale_err'])}, S/N {snr_text(row['snr'])}, "
            f"flux {flux_text(row['flux'], row['flux_err'])}, reduced chi2 {chi2_text(row['reduced_chi2'])}"
        )
        typer.echo(f"{star}disk {row['model']}: {in_ascii(values)}{best}")
    if not (folder / DISK_RING).is_file() or "ring" not in list(table["model"]):
        return
    for row in read_ecsv(folder / DISK_RING):
        if row["status"] != "fixed" and row["parameter"] != "flux":  # which is in the line above
            limit = "" if row["status"] == "fitted" else f" ({row['status']})"
            unit = "" if str(row["unit"]) in ("", "--") else f" {row['unit']}"
            value = in_ascii(with_error(float(row["value"]), row["error"]))
            typer.echo(f"  {row['parameter']} {value}{unit}{limit}")


def show_warnings(result: RunResult) -> None:
    """Print what was found about the input: when it was planned, and from the JSON next to the products of stage 3."""
    from lyot.exposures.names import QUALITY

    _show_notes(result.plan.notes, result.products("stage3", f"_{QUALITY}.json"), result.failed)


def show_notes(notes: Path, products: Sequence[Path], failed: Sequence[str]) -> None:
    """Print the same of a finished run: `notes` is the file in its output folder."""
    from lyot.exposures.names import QUALITY

    kept = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else []
    _show_notes(kept, [p for p in products if p.name.endswith(f"_{QUALITY}.json")], failed)


def _show_notes(notes: Sequence[str], quality: Sequence[Path], failed: Sequence[object]) -> None:
    from lyot.analysis.summary import merged

    for note in merged(notes):
        typer.echo(f"Note: {note}", err=True)
    found = [w["text"] for path in quality for w in json.loads(path.read_text(encoding="utf-8"))["warnings"]]
    for warning in merged(found):
        typer.echo(f"Warning: {warning}", err=True)
    for failure in failed:
        typer.echo(f"Warning: not measured: {failure}", err=True)
