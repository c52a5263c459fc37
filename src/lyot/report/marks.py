"""What is marked in the images of the report: detections, companions, and which roll an exposure is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table
from numpy.typing import NDArray

from lyot.analysis.combined_image import is_candidate, is_source
from lyot.analysis.summary import read_fitted
from lyot.errors import InputError
from lyot.exposures.names import COMPANIONS, DETECTIONS
from lyot.geometry import sky_offset
from lyot.records.freshness import is_current
from lyot.records.tables import read_ecsv
from lyot.report.products import Product
from lyot.report.sky import Marked
from lyot.written import position_text, snr_text

log = logging.getLogger(__name__)

SAME_ROLL = 0.5
"""Roll angles that differ by less are one roll, degrees."""


def read_table(out: Path, name: str) -> Table | None:
    """Read a table that was measured in a run; None if it is not there, empty, damaged, or of an earlier reduction."""
    path = out / "measure" / name
    if not path.is_file() or not is_current(path, out):
        return None
    table = _undamaged(path)
    return table if table is not None and len(table) else None


def _undamaged(path: Path) -> Table | None:
    """A table; None if it is damaged, which is one of the flags: the rest of the report does without it."""
    try:
        return read_ecsv(path)
    except InputError as error:
        log.info("%s", error)
        return None


def finite(table: Table, row: int, name: str) -> float | None:
    """One value of a table; None where the column is missing, masked or not finite."""
    if name not in table.colnames or np.ma.is_masked(table[name][row]):
        return None
    value = float(table[name][row])
    return value if np.isfinite(value) else None


def read_peaks(out: Path) -> QTable | None:
    """Sources of a run and what was looked at besides; None if they were not searched for, or the table is damaged."""
    path = out / "measure" / DETECTIONS
    found = _undamaged(path) if path.is_file() else None
    if found is None:
        return None
    table = QTable(found)
    for name, unit in (("separation", "arcsec"), ("position_angle", "deg")):
        if table[name].unit is None:
            table[name].unit = unit
    return table


def read_sources(out: Path) -> QTable | None:
    """Sources of a run, highest S/N first; None if they were not searched for."""
    table = read_peaks(out)
    return None if table is None else table[is_source(table)]


def _marked(
    table: QTable | Table, kind: str, names: Sequence[str], unsure: Sequence[bool] | NDArray[np.bool_]
) -> list[Marked]:
    found = []
    for name, row, doubtful in zip(names, table, unsure, strict=True):
        separation, angle = float(getattr(row["separation"], "value", row["separation"])), row["position_angle"]
        angle = float(getattr(angle, "value", angle))
        east, north = (float(v) for v in sky_offset(separation, angle))
        sure = f", S/N {snr_text(float(row['snr']))}" if "snr" in table.colnames else ""
        found.append(Marked(name, kind, east, north, f"{position_text(separation, angle)}{sure}", bool(doubtful)))
    return found


def marked_sources(out: Path, sources: QTable | None) -> list[Marked]:
    """Detections by number, fitted companions as C1, C2, ..., and peaks that are no point sources as x.

    Candidates, and companions fitted to them, are marked as unsure.

    Parameters
    ----------
    out : Path
    sources : QTable or None
        Detections, highest S/N first.
    """
    found = []
    if sources is not None:
        found += _marked(sources, "detection", [str(n + 1) for n in range(len(sources))], is_candidate(sources))
    companions = read_table(out, COMPANIONS)
    if companions is not None:
        numbered = [f"C{n + 1}" for n in range(len(companions))]
        fitted = [n for n in range(len(companions)) if not finite(companions, n, "flux_upper_limit")]
        unsure = [companion.candidate for companion in read_fitted(out / "measure")]
        found += _marked(companions[fitted], "companion", [numbered[n] for n in fitted], [unsure[n] for n in fitted])
    peaks = read_peaks(out)
    if peaks is not None:
        rejected = peaks[~is_source(peaks)]
        found += _marked(rejected, "rejected", ["x"] * len(rejected), [False] * len(rejected))
    return found


def on_which_roll(science: Sequence[Product], number: int) -> str:
    """Name of the roll of a science exposure: ``roll 2 (ROLL_REF 117.6 deg)``."""
    angles: list[float] = []
    for item in science[: number + 1]:
        roll = float(item.header.get("ROLL_REF") or 0.0)
        same = [k for k, known in enumerate(angles) if abs(known - roll) < SAME_ROLL]
        if not same:
            angles.append(roll)
    roll = float(science[number].header.get("ROLL_REF") or 0.0)
    index = next(k for k, known in enumerate(angles) if abs(known - roll) < SAME_ROLL)
    return f"roll {index + 1} (ROLL_REF {angles[index]:.1f} deg)"
