"""The tables of the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from astropy.table import QTable

from lyot.analysis.combined_image import is_candidate, is_source
from lyot.analysis.summary import read_fitted
from lyot.exposures.background_state import state_advice
from lyot.exposures.names import COMPANIONS
from lyot.exposures.roles import Assigned, advice
from lyot.records.manifest import Record
from lyot.report.content import Cell, Table, cell
from lyot.report.glow import glow_sticks
from lyot.report.marks import read_peaks, read_table
from lyot.report.measured import companion_rows
from lyot.report.quality import COLUMNS as QUALITY_COLUMNS
from lyot.report.quality import quality_rows
from lyot.report.references import REFERENCE_COLUMNS, budget_rows, reference_rows
from lyot.written import plural, probability_text, snr_text, with_error


def values_of(table: QTable, name: str, unit: str = "") -> list[float]:
    """A column as numbers: in a unit, by default that of the column."""
    column = table[name]
    return [float(v) for v in (column.to_value(unit) if unit else getattr(column, "value", column))]


def sources_table(table: QTable | None) -> Table | None:
    """Detections as a table of the page."""
    if table is None or not len(table):
        return None
    separations = values_of(table, "separation", "arcsec")
    angles = values_of(table, "position_angle", "deg")
    columns = ["#", "separation [arcsec]", "position angle [deg]", "S/N"]
    rows: list[tuple[Cell, ...]] = [
        (cell(n), cell(s), cell(a, 2), Cell(snr_text(v), True))
        for n, (s, a, v) in enumerate(zip(separations, angles, values_of(table, "snr"), strict=True), start=1)
    ]
    text = "Position angles are east of north."
    if "false_alarm" in table.colnames:
        columns += ["significance [sigma]", "false-alarm probability"]
        more = zip(values_of(table, "significance"), values_of(table, "false_alarm"), strict=True)
        rows = [
            (*row, Cell(snr_text(s), True), Cell(probability_text(p), True))
            for row, (s, p) in zip(rows, more, strict=True)
        ]
        text += (
            " The noise of the S/N is measured on the ring of the source; the significance also uses neighboring "
            "rings and the residuals of the references. False-alarm probability: probability of such a peak anywhere "
            "in the image."
        )
    if is_candidate(table).any():
        columns.append("status")
        rows = [(*row, cell(str(status))) for row, status in zip(rows, table["status"], strict=True)]
        text += " Candidates may be noise: their false-alarm probability exceeds the limit (measure.max_false_alarm)."
    return Table("Detections", "sources", tuple(columns), tuple(rows), text)


def rejected_table(out: Path) -> Table | None:
    """Peaks above the threshold that are no point sources, as a table of the page."""
    peaks = read_peaks(out)
    if peaks is None:
        return None
    table = peaks[~is_source(peaks)]
    if not len(table):
        return None
    values = zip(values_of(table, "separation", "arcsec"), values_of(table, "position_angle", "deg"), strict=True)
    rows = tuple(
        (
            cell(s),
            cell(a, 2),
            Cell(snr_text(float(row["snr"])), True),
            cell(str(row["status"])),
            cell(str(row["reason"])),
        )
        for (s, a), row in zip(values, table, strict=True)
    )
    columns = ("separation [arcsec]", "position angle [deg]", "S/N", "status", "reason")
    return Table("Rejected peaks", "rejected", columns, rows)


def companions_table(out: Path) -> Table | None:
    """Companions that were fitted, with error bars, as a table of the page."""
    found = read_table(out, COMPANIONS)
    if found is None:
        return None
    columns = (
        "#", "separation [arcsec]", "position angle [deg]", "contrast", "flux", "magnitude [Vega]", "S/N",
        *(["mass [Jupiter masses]"] if "mass" in found.colnames else []),
    )  # fmt: skip
    rows = tuple(tuple(Cell(text, True) for text in row) for row in companion_rows(found))
    text = "Fitted with forward models through the reduction; the errors include statistical and systematic terms."
    unsure = [f"C{n}" for n, companion in enumerate(read_fitted(out / "measure"), start=1) if companion.candidate]
    if unsure:
        text += f" {' and '.join(unsure)} may be noise: {'candidates' if len(unsure) > 1 else 'a candidate'}."
    return Table("Companions", "companions", columns, rows, text)


def _rows_of_text(rows: Iterable[tuple[str, ...]], words: Sequence[int]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of text as cells; all columns but `words` hold numbers."""
    return tuple(tuple(Cell(text, column not in words) for column, text in enumerate(row)) for row in rows)


def budget_table(out: Path) -> Table | None:
    """What the errors of the fitted companions are made of, as a table of the page."""
    columns, rows = budget_rows(out)
    if not rows:
        return None
    text = "Errors are one sigma; the last line of each companion is the total."
    return Table("Error budget", "error-budget", columns, _rows_of_text(rows, (1,)), text)


def references_table(out: Path) -> Table | None:
    """The reference exposures and what each was worth, as a table of the page."""
    rows = reference_rows(out)
    if not rows:
        return None
    text = (
        "Position and brightness of the reference star relative to the science star: mean and scatter over the "
        "integrations, or the error of the fit if there is one integration; similarity is the correlation with the "
        "science images near the star; the last column is the increase of the residual if the exposure is omitted."
    )
    return Table("Reference star", "references", REFERENCE_COLUMNS, _rows_of_text(rows, (0, 5)), text)


def quality_table(out: Path) -> Table | None:
    """Flagged fraction of every exposure as a table of the page."""
    rows = quality_rows(out)
    if not rows:
        return None
    text = (
        "Fraction of unusable pixels in each frame. The stellar flux is relative to the other integrations of the "
        "exposure."
    )
    return Table("Usable data", "usable-data", QUALITY_COLUMNS, _rows_of_text(rows, (0, 1, 4)), text)


def exposures_table(assigned: Sequence[Assigned], said: Sequence[str] = ()) -> Table:
    """The exposures and their roles as a table of the page, with what is missing and not `said` already."""
    rows = []
    for a in assigned:
        e = a.exposure
        size = f"{e.n_integrations} x {e.n_groups}"
        roll = None if e.roll is None else f"{e.roll:.2f}"
        seconds = e.n_integrations * e.integration_time
        values = (e.root, a.label, e.target, e.stage, size, f"{seconds:.0f}" if seconds else "", roll,
                  f"{e.dither}/{e.n_dithers}")  # fmt: skip
        rows.append(tuple(Cell(str(v or ""), number in (4, 5, 6, 7)) for number, v in enumerate(values)))
    columns = ("exposure", "role", "target", "given as", "ints x groups", "time [s]", "roll [deg]", "dither")
    lines = [line for line in (*advice(assigned), *state_advice(assigned)) if line not in said]
    settings = dict.fromkeys(f"{a.exposure.instrument} {a.exposure.filter} {a.exposure.mask}" for a in assigned)
    text = [f"{', '.join(settings)}.", times_text(assigned), *(line[0].upper() + line[1:] for line in lines)]
    return Table("Exposures", "exposures", columns, tuple(rows), " ".join(part for part in text if part))


def times_text(assigned: Sequence[Assigned]) -> str:
    """Exposure time by role in a sentence, such as ``Exposure time: science 3600 s, reference 1200 s``."""
    found: dict[str, float] = {}
    for a in assigned:
        role = str(a.role)
        found[role] = found.get(role, 0.0) + a.exposure.n_integrations * a.exposure.integration_time
    parts = [f"{role} {seconds:.0f} s" for role, seconds in found.items() if seconds > 0]
    return f"Exposure time: {', '.join(parts)}." if parts else ""


def glow_table(out: Path) -> Table | None:
    """Glow sticks before and after the background subtraction."""
    strips = glow_sticks(out)
    if not strips:
        return None
    rows = [
        (cell(s.exposure), cell(s.name), Cell(with_error(s.before, s.before_error), True),
         Cell(with_error(s.after, s.after_error), True))
        for s in strips
    ]  # fmt: skip
    text = (
        "Mean brightness of each strip above its surroundings. After the subtraction it should be consistent with zero."
    )
    unit = " or ".join(sorted({s.unit for s in strips}))
    columns = ("exposure", "strip", f"before [{unit}]", f"after [{unit}]")
    return Table("Glow sticks", "glow-sticks", columns, tuple(rows), text)


def timings_table(records: Sequence[Record]) -> Table:
    """How long each task took and how much memory."""
    rows = tuple((cell(r.kind), cell(r.name), cell(r.wall_time, 1), cell(r.peak_memory, 0)) for r in records)
    total = sum(r.wall_time for r in records)
    peak = max((r.peak_memory for r in records), default=0.0)
    text = (
        f"{plural(len(records), 'task')}, {total:.0f} s of computing time in total (tasks may run in parallel), at "
        f"most {peak:.0f} MB of memory per process."
    )
    return Table("Time and memory", "timings", ("stage", "task", "wall time [s]", "peak memory [MB]"), rows, text)


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
        title = record.kind if record.kind != "measure" else f"measure: {_measured_by(record.name)}"
        tables.append(Table(title, f"parameters-{len(tables)}", ("parameter", "value"), rows))
    return tables


def _measured_by(name: str) -> str:
    """What a measuring task of a name does."""
    what = name.partition("_")[0]
    return what if what in ("companions", "contrast", "maps", "disk") else "search for sources"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str)
