"""The report of a run: one HTML page that holds its images, opens from disk and needs no network."""

from __future__ import annotations

import html
import json
import logging
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from astropy.table import QTable

from lyot.analysis.combined_image import is_source
from lyot.analysis.summary import read_fitted, read_limits
from lyot.errors import LyotError, MissingInputError
from lyot.exposures.background_state import state_advice
from lyot.exposures.given_roles import roles_of_members, with_given_roles
from lyot.exposures.names import COMPANIONS, CONTRAST, DETECTIONS, DISK, MATCHED_FILTER, exposure_root
from lyot.exposures.read import one_per_exposure, read_exposure
from lyot.exposures.roles import Assigned, advice, sort_roles
from lyot.records.freshness import is_current
from lyot.records.manifest import CONFIGURATION, FILE_NAME, Manifest, Record, write_text
from lyot.report import figures
from lyot.report.measured import (
    companion_rows,
    contrast_section,
    disk_section,
    fitted_text,
    limits_text,
    maps_section,
    motion_section,
    outdated_section,
    read_table,
)
from lyot.report.quality import COLUMNS as QUALITY_COLUMNS
from lyot.report.quality import quality_rows, read_notes, read_quality
from lyot.report.references import BUDGET_COLUMNS, REFERENCE_COLUMNS, budget_rows, reference_rows
from lyot.report.sections import Picture, Section, all_sections, grid, render
from lyot.report.views import targets_of, view
from lyot.version import __version__

log = logging.getLogger(__name__)

PAGE = Path("report") / "index.html"


@dataclass(frozen=True)
class Cell:
    """One cell of a table; numbers are set to the right."""

    text: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """One table of the page."""

    title: str
    anchor: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text: str = field(default="")


def cell(value: Any, digits: int = 3) -> Cell:
    """Format one value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell("" if value is None else str(value))
    return Cell(f"{value:.{digits}f}" if isinstance(value, float) else str(value), True)


def read_sources(out: Path) -> QTable | None:
    """Sources of a run, highest S/N first; None if they were not searched for."""
    table = _read_peaks(out)
    return None if table is None else table[is_source(table)]


def _read_peaks(out: Path) -> QTable | None:
    """Sources and what was looked at besides."""
    path = out / "measure" / DETECTIONS
    if not path.is_file():
        return None
    table = QTable.read(path, format="ascii.ecsv", encoding="utf-8")
    for name, unit in (("separation", "arcsec"), ("position_angle", "deg")):
        if table[name].unit is None:
            table[name].unit = unit
    return table


def _values(table: QTable, name: str, unit: str = "") -> list[float]:
    column = table[name]
    return [float(v) for v in (column.to_value(unit) if unit else column)]


def sources_table(table: QTable | None) -> Table | None:
    """Detections as a table of the page."""
    if table is None or not len(table):
        return None
    separations = _values(table, "separation", "arcsec")
    angles = _values(table, "position_angle", "deg")
    columns = ["#", "separation [arcsec]", "position angle [deg]", "S/N"]
    rows: list[tuple[Cell, ...]] = [
        (cell(n), cell(s), cell(a, 2), cell(v, 1))
        for n, (s, a, v) in enumerate(zip(separations, angles, _values(table, "snr"), strict=True), start=1)
    ]
    text = "Position angles are east of north."
    if "false_alarm" in table.colnames:
        columns += ["significance [sigma]", "false-alarm probability"]
        more = zip(_values(table, "significance"), _values(table, "false_alarm"), strict=True)
        rows = [(*row, cell(s, 1), Cell(f"{p:.1e}", True)) for row, (s, p) in zip(rows, more, strict=True)]
        text += (
            " The S/N is that against the ring of the source; the significance draws on neighboring rings and on the"
            " residuals of the references. False-alarm probability: that of a peak like this anywhere in the image."
        )
    return Table("Detections", "sources", tuple(columns), tuple(rows), text)


def rejected_table(out: Path) -> Table | None:
    """Peaks above the threshold that are no point sources, as a table of the page."""
    peaks = _read_peaks(out)
    if peaks is None:
        return None
    table = peaks[~is_source(peaks)]
    if not len(table):
        return None
    values = zip(_values(table, "separation", "arcsec"), _values(table, "position_angle", "deg"), strict=True)
    rows = tuple(
        (cell(s), cell(a, 2), cell(float(row["snr"]), 1), cell(str(row["status"])), cell(str(row["reason"])))
        for (s, a), row in zip(values, table, strict=True)
    )
    columns = ("separation [arcsec]", "position angle [deg]", "S/N", "status", "reason")
    return Table("Peaks that are no point sources", "rejected", columns, rows)


def companions_table(out: Path) -> Table | None:
    """Companions that were fitted, with error bars, as a table of the page."""
    found = read_table(out, COMPANIONS)
    if found is None:
        return None
    columns = (
        "#", "separation [arcsec]", "position angle [deg]", "contrast", "flux [Jy]", "magnitude [Vega]", "S/N",
        *(["mass [Jupiter masses]"] if "mass" in found.colnames else []),
    )  # fmt: skip
    rows = tuple(tuple(Cell(text, True) for text in row) for row in companion_rows(found))
    text = "Fitted by a forward model through the reduction; the errors hold the statistical and the systematic terms."
    return Table("Companions", "companions", columns, rows, text)


def _rows_of_text(rows: Iterable[tuple[str, ...]], words: Sequence[int]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of text as cells; all columns but `words` hold numbers."""
    return tuple(tuple(Cell(text, column not in words) for column, text in enumerate(row)) for row in rows)


def budget_table(out: Path) -> Table | None:
    """What the errors of the fitted companions are made of, as a table of the page."""
    rows = budget_rows(out)
    if not rows:
        return None
    text = "One sigma each; the last line of a companion is the total."
    return Table("Error budget", "error-budget", BUDGET_COLUMNS, _rows_of_text(rows, (1,)), text)


def references_table(out: Path) -> Table | None:
    """The reference exposures and what each was worth, as a table of the page."""
    rows = reference_rows(out)
    if not rows:
        return None
    text = (
        "Position and brightness of the reference star relative to the science, mean and scatter over the "
        "integrations; similarity is the correlation with the science near the star; worth is the "
        "increase of the residual if the exposure is dropped."
    )
    return Table("Reference star", "references", REFERENCE_COLUMNS, _rows_of_text(rows, (0, 5)), text)


def quality_table(out: Path) -> Table | None:
    """Flagged fraction of every exposure as a table of the page."""
    rows = quality_rows(out)
    if not rows:
        return None
    text = (
        "Fraction of the frame's pixels that are not usable. The star's light is relative to the other integrations of "
        "the exposure."
    )
    return Table("Usable data", "usable-data", QUALITY_COLUMNS, _rows_of_text(rows, (0, 1, 4)), text)


def warnings_table(out: Path) -> Table | None:
    """Warnings about the input as a table of the page."""
    found = [("input", note) for note in read_notes(out)]
    found += [(w["code"], w["text"]) for w in read_quality(out)["warnings"]]
    found += [("not measured", r.failure) for r in Manifest(out).records if r.failure and not _made_since(out, r)]
    rows = tuple((cell(code), cell(text)) for code, text in found)
    return Table("Warnings", "warnings", ("kind", "what was found"), rows) if rows else None


def _made_since(out: Path, record: Record) -> bool:
    """Whether a measurement that failed in the run was made by its command afterwards."""
    names = {"companions": COMPANIONS, "contrast": CONTRAST, "maps": MATCHED_FILTER, "disk": DISK}
    path = out / "measure" / names.get(record.name.partition("_")[0], DETECTIONS)
    return path.is_file() and is_current(path, out)


def exposures_table(assigned: Sequence[Assigned], said: Sequence[str] = ()) -> Table:
    """The exposures and their roles as a table of the page, with what is missing and not `said` already."""
    rows = []
    for a in assigned:
        e = a.exposure
        size = f"{e.n_integrations} x {e.n_groups}"
        roll = None if e.roll is None else float(e.roll)
        values = (e.root, a.label, e.target, e.filter, e.mask, e.stage, size, roll, f"{e.dither}/{e.n_dithers}")
        rows.append(tuple(cell(v) for v in values))
    columns = ("exposure", "role", "target", "filter", "mask", "given as", "ints x groups", "roll [deg]", "dither")
    lines = [line for line in (*advice(assigned), *state_advice(assigned)) if line not in said]
    notes = " ".join(line[0].upper() + line[1:] for line in lines)
    return Table("Exposures", "exposures", columns, tuple(rows), notes)


def _inputs(records: Iterable[Record]) -> list[Path]:
    """Input files that came from outside the run (they alone have a checksum) and are still there."""
    given = (Path(item["path"]) for record in records for item in record.inputs if item["sha256"])
    return sorted({path for path in given if path.is_absolute() and path.is_file()})


def glow_table(out: Path) -> Table | None:
    """Glow sticks before and after the background subtraction, from the files beside the products of stage 2."""
    rows, units = [], set()
    for path in sorted((out / "stage2").glob("*_background.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        units.add(str(content.get("unit", "DN/s")))
        for strip in content.get("glow_sticks", []):
            pairs = [f"{value:.3f} ± {error:.3f}" for value, error in (strip["before"], strip["after"])]
            name = path.name.removesuffix("_background.json")
            rows.append((cell(name), cell(strip["name"]), Cell(pairs[0], True), Cell(pairs[1], True)))
    if not rows:
        return None
    text = "Mean brightness of each strip above its surroundings. After the subtraction it should agree with zero."
    unit = " or ".join(sorted(units))
    columns = ("exposure", "strip", f"before [{unit}]", f"after [{unit}]")
    return Table("Glow sticks", "glow-sticks", columns, tuple(rows), text)


def timings_table(records: Sequence[Record]) -> Table:
    """How long each task took and how much memory."""
    rows = tuple((cell(r.kind), cell(r.name), cell(r.wall_time, 1), cell(r.peak_memory, 0)) for r in records)
    total = sum(r.wall_time for r in records)
    text = f"{len(records)} tasks, {total:.0f} s of work in all (tasks run side by side)."
    return Table("Timings", "timings", ("stage", "task", "wall time [s]", "peak memory [MB]"), rows, text)


def parameter_tables(records: Iterable[Record]) -> list[Table]:
    """Every parameter of every step, once for each stage and distinct set of values."""
    tables: list[Table] = []
    seen: dict[tuple[str, str], None] = {}
    for record in records:
        key = (record.kind, json.dumps(record.parameters, sort_keys=True, default=str))
        if key in seen:
            continue
        seen[key] = None
        rows = tuple((Cell(n), Cell(v)) for n, v in _flat(record.parameters))
        tables.append(Table(record.kind, f"parameters-{len(tables)}", ("parameter", "value"), rows))
    return tables


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str)


def answer(out: Path, table: QTable | None) -> tuple[str, list[str]]:
    """The headline of the page: the brightest companion as it was fitted, else the brightest source; then limits."""
    if table is None:
        return "No measurement in this run.", ["Run stage 3 to see what is beside the star."]
    folder = out / "measure"
    fitted = [c for c in read_fitted(folder) if not np.isfinite(c.upper_limit)] if is_current(
        folder / COMPANIONS, out
    ) else []  # fmt: skip
    limits = limits_text(*read_limits(folder)) if is_current(folder / CONTRAST, out) else ""
    more = [limits] if limits else []
    if fitted:
        brightest = max(fitted, key=lambda c: c.flux)
        left = max(len(fitted), len(table)) - 1
        return fitted_text(brightest), [*([f"{left} more below."] if left else []), *more]
    if not len(table):
        return "No source above the threshold.", more
    brightest_row = int(np.argmax(_values(table, "signal"))) if "signal" in table.colnames else 0
    sep = _values(table, "separation", "arcsec")[brightest_row]
    pa = _values(table, "position_angle", "deg")[brightest_row]
    snr = _values(table, "snr")[brightest_row]
    more = [*([f"{len(table) - 1} more below."] if len(table) > 1 else []), *more]
    return f'Brightest source: separation {sep:.3f}", position angle {pa:.1f} deg, S/N {snr:.1f}', more


def _timing_picture(records: Sequence[Record]) -> Picture:
    figure, (ax,) = grid(1)
    figure.set_size_inches(8, max(1.5, 0.22 * len(records) + 0.7))
    figures.draw_timings(ax, {f"{r.kind} {r.name}": r.wall_time for r in records})
    return render(figure, "Wall time of each task.", "Bar chart of the wall time of each task")


def _title(assigned: Sequence[Assigned]) -> tuple[str, str]:
    science = [a.exposure for a in assigned if a.roll_number]
    if not science:
        return "Lyot reduction", ""
    first = science[0]
    rolls = len({a.roll_number for a in assigned if a.roll_number})
    subtitle = f"{first.instrument} {first.mask}, program {first.program}, {rolls} roll{'s' if rolls > 1 else ''}"
    return f"{first.target} in {first.filter}", subtitle


def write_report(out: str | Path) -> Path:
    """Write ``report/index.html`` of a run; with several targets, a page for each and a list of them.

    Parameters
    ----------
    out : path
        Folder that ``lyot run`` wrote to.

    Returns
    -------
    Path
        The page, or the list of pages.

    Raises
    ------
    MissingInputError
        If the folder holds no run.
    OutputError
        If the page cannot be written.
    """
    out = Path(out)
    if not (out / FILE_NAME).is_file():
        raise MissingInputError(f"{out}: no {FILE_NAME} here; give the folder that 'lyot run' wrote to.")
    path = out / PAGE
    targets = targets_of(Manifest(out).records)
    if not targets:
        write_text(path, _page(out))
        return path
    entries = []
    for name, folder in targets.items():
        with view(out, name, folder) as alone:
            write_text(path.parent / folder / path.name, _page(alone))
            title, _ = _title(_assigned(alone, Manifest(alone).records))
            entries.append((f"{folder}/{path.name}", title, answer(alone, read_sources(alone))[0]))
    write_text(path, _list_of_pages(entries))
    return path


def _list_of_pages(entries: Sequence[tuple[str, str, str]]) -> str:
    """Page that leads to those of the targets: link, title and headline of each."""
    rows = "".join(
        f'<li><a href="{html.escape(link)}">{html.escape(title)}</a>: {html.escape(text)}</li>\n'
        for link, title, text in entries
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Lyot reductions</title></head>\n'
        f"<body><h1>{len(entries)} targets</h1>\n<ul>\n{rows}</ul></body></html>\n"
    )


def _page(out: Path) -> str:
    """The page of a run with one product."""
    records = Manifest(out).records
    sources = read_sources(out)
    assigned = _assigned(out, records)
    title, subtitle = _title(assigned)
    headline, details = answer(out, sources)
    sections = list(all_sections(out, sources))
    measured = (contrast_section(out), motion_section(out), disk_section(out), maps_section(out), outdated_section(out))
    sections[1:1] = [s for s in measured if s is not None]
    sections.append(Section("How long it took", "timing-chart", "", (_timing_picture(records),)))
    config = out / CONFIGURATION
    return _template().render(
        title=title,
        subtitle=subtitle,
        answer=headline,
        answer_details=details,
        lead_tables=[
            t
            for t in (
                warnings_table(out),
                companions_table(out),
                budget_table(out),
                sources_table(sources),
                rejected_table(out),
            )
            if t
        ],
        sections=sections,
        tables=[
            t
            for t in (
                exposures_table(assigned, read_notes(out)),
                quality_table(out),
                references_table(out),
                glow_table(out),
                timings_table(records),
            )
            if t
        ],
        parameters=parameter_tables(records),
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        versions=_versions(records),
        version=__version__,
    )


def _assigned(out: Path, records: Sequence[Record]) -> list[Assigned]:
    """The exposures that went in, with their roles; other files, such as a spectrum of the star, are passed over."""
    exposures = []
    for path in _inputs(records):
        try:
            exposures.append(read_exposure(path))
        except LyotError as error:
            log.info("not in the table of exposures: %s", error)
    chosen = with_given_roles(one_per_exposure(exposures), _given_roles(out), strict=False)
    return sort_roles(chosen)


def _given_roles(out: Path) -> dict[str, str]:
    """Roles that were given by hand, and those that the exposures have in stage 3."""
    roles: dict[str, str] = {}
    config = out / CONFIGURATION
    if config.is_file():
        roles |= tomllib.loads(config.read_text(encoding="utf-8")).get("roles", {})
    for path in sorted((out / "asn").glob("*_coron3_asn.json")):
        members = roles_of_members(json.loads(path.read_text(encoding="utf-8")))
        roles |= {exposure_root(Path(name)): role for name, role in members.items()}
    return roles


def _versions(records: Sequence[Record]) -> str:
    if not records:
        return ""
    last = records[-1]
    lines = [f"{name} {version}" for name, version in sorted(last.versions.items())]
    return "\n".join([*lines, f"CRDS context: {last.crds_context or 'not used'}"])


def _template() -> jinja2.Template:
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(text)
