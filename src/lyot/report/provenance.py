"""Where a result comes from: calibration of the given files, versions, parameters that differ from the defaults."""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from lyot.errors import LyotError
from lyot.exposures.roles import Assigned
from lyot.params import describe
from lyot.records.manifest import CONFIGURATION, Record
from lyot.report.content import Cell, Table
from lyot.run.config import OWN
from lyot.run.pipelines import effective_parameters


@dataclass(frozen=True)
class Calibration:
    """How exposures that were given as slopes or calibrated had been calibrated.

    Attributes
    ----------
    version, context : str
        CAL_VER and CRDS_CTX; empty where the files do not say.
    first, last : str
        Earliest and latest DATE.
    count : int
        Number of exposures.
    """

    version: str
    context: str
    first: str
    last: str
    count: int


def given_calibrations(assigned: Sequence[Assigned]) -> list[Calibration]:
    """Calibrations of the exposures that are not raw, one for each version and context."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in assigned:
        if item.exposure.stage == "uncal" or not item.exposure.path.is_file():
            continue
        header = fits.getheader(item.exposure.path)
        version, context, date = (str(header.get(key, "")).strip() for key in ("CAL_VER", "CRDS_CTX", "DATE"))
        groups.setdefault((version, context), []).append(date[:10])
    return [
        Calibration(version, context, min(dates), max(dates), len(dates))
        for (version, context), dates in groups.items()
    ]


def calibration_table(assigned: Sequence[Assigned]) -> Table | None:
    """Calibrations of the given files as a table of the page; None if all were raw."""
    found = given_calibrations(assigned)
    if not found:
        return None
    rows = []
    for c in found:
        date = c.first if c.first == c.last else f"{c.first} to {c.last}"
        values = (c.version or "not stated", c.context or "not stated", date)
        rows.append((*(Cell(v) for v in values), Cell(str(c.count), True)))
    text = "From the headers of the input files (CAL_VER, CRDS_CTX, DATE)."
    columns = ("jwst version", "CRDS context", "date", "exposures")
    return Table("Calibration of the input files", "given-calibration", columns, tuple(rows), text)


def versions_text(records: Sequence[Record], *, calibrated: bool) -> str:
    """Versions of the packages and calibration context of the run, one a line."""
    if not records:
        return ""
    last = records[-1]
    lines = [f"{name} {version}" for name, version in sorted(last.versions.items())]
    context = last.crds_context if last.crds_context not in ("", "none") else ""
    unused = "No CRDS context was used in this run" + (
        "; that of the input files is in the table below." if calibrated else "."
    )
    return "\n".join([*lines, f"CRDS context: {context}" if context else unused])


def _text(value: Any) -> str:
    return json.dumps(value, default=str)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)):
        return list(a or ()) == list(b or ())
    if isinstance(a, str) or isinstance(b, str):
        return str(a) == str(b)
    return bool(a == b)


def _stage_changes(record: Record) -> Iterable[tuple[str, str, str]]:
    """Parameters of a stage that are not the defaults: name, value, default."""
    try:
        defaults = effective_parameters(record.kind, {"steps": {}})
    except LyotError:  # a stage of an earlier version
        return
    for step, values in record.parameters.items():
        known = defaults.get(step, {})
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if name in known and not _same(value, known[name]):
                yield ".".join(p for p in (record.kind, step, name) if p), _text(value), _text(known[name])


def _own_changes(out: Path) -> Iterable[tuple[str, str, str]]:
    """The same of the sections that no stage has."""
    path = out / CONFIGURATION
    table = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for section, cls in OWN.items():
        defaults = {info.name: info.default for info in describe(cls)}
        for name, value in table.get(section, {}).items():
            if name in defaults and not _same(value, defaults[name]):
                default = "not set" if defaults[name] is None else _text(defaults[name])
                yield f"{section}.{name}", _text(value), default


def changed_table(out: Path, records: Sequence[Record]) -> Table:
    """Parameters that differ from the defaults as a table of the page."""
    found: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str]] = set()
    for record in records:
        if record.kind not in ("stage1", "stage2", "stage3"):
            continue
        key = (record.kind, _text(record.parameters))
        if key in seen:
            continue
        seen.add(key)
        found |= {(name, value): default for name, value, default in _stage_changes(record)}
    found |= {(name, value): default for name, value, default in _own_changes(out)}
    rows = tuple((Cell(name), Cell(value), Cell(default)) for (name, value), default in found.items())
    text = "" if rows else "All parameters have their default values."
    return Table("Parameters that differ from the defaults", "changed", ("parameter", "value", "default"), rows, text)


def command_text(out: Path, assigned: Sequence[Assigned]) -> str:
    """Command that repeats the run with its configuration."""
    paths = [str(a.exposure.path.parent) for a in assigned]
    folders = list(dict.fromkeys(paths))
    if len(folders) > 3:
        folders = [os.path.commonpath(folders)]
    given = " ".join(shlex.quote(f) for f in folders) or "DATA"
    return f"lyot run {given} --config {shlex.quote(str((out / CONFIGURATION).resolve()))} --out REPEATED"
