"""Compare the products of two reductions, value by value: what a change of the code changed.

    python benchmarks/compare_products.py BEFORE AFTER [--tolerance 1e-6] [--ignore KEYWORD] [--json FILE]

BEFORE and AFTER are output folders of ``lyot run`` or ``lyot demo``, or any folders with FITS, ECSV and JSON files.
FITS files are compared extension by extension: images pixel by pixel (NaN equals NaN), tables column by column,
keywords one by one; ECSV tables by column and by entry of their metadata; JSON files by entry. Each difference is
printed with the number of values and the largest difference, also relative to the largest value. What differs in
each run is not looked at: times, versions, paths, logs, the manifest and the report.

Exit status 1 if there is a difference, relative to the largest value, above the tolerance (0 by default: bit for bit).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

SUFFIXES = (".fits", ".ecsv", ".json")
LEFT_OUT_FOLDERS = {"report", "log", "logs", "crds_cache"}
LEFT_OUT_FILES = {".checksums.json"}
VOLATILE = {
    "DATE", "CHECKSUM", "DATASUM", "LYOT_VER", "CAL_VER", "CAL_VCS", "CRDS_VER", "PRD_VER", "SDP_VER", "ASNTABLE",
    "ASNPOOL", "REDUCTN", "HISTORY", "COMMENT", "", "TABLENAM", "POOLNAME",
}  # fmt: skip
"""Keywords that hold times, versions and paths of the run."""
VOLATILE_ENTRIES = {"version_id", "creation_time", "lyot_version", "reduction", "generator", "lyot"}
"""The same in JSON files and in the metadata of tables."""


@dataclass(frozen=True)
class Difference:
    """One array, column, keyword or entry that is not the same.

    Attributes
    ----------
    file, where : str
        File below the folders; extension, column, keyword or entry.
    what : str
        Of what kind: values, shape, type, text, "only before" or "only after".
    count, total : int
        Values that differ, and all.
    largest : float
        Largest difference, unit of the data; infinite where a value is not finite on one side only; NaN for no numbers.
    relative : float
        The same over the largest finite value of both.
    """

    file: str
    where: str
    what: str
    count: int = 1
    total: int = 1
    largest: float = math.nan
    relative: float = math.nan

    def __str__(self) -> str:
        text = f"{self.file} [{self.where}]: {self.what}"
        if not math.isnan(self.largest):
            text += f", {self.count} of {self.total}, largest {self.largest:.3g}, relative {self.relative:.3g}"
        return text

    def exceeds(self, tolerance: float) -> bool:
        """Whether the difference is larger than a relative tolerance; no numbers always are."""
        return math.isnan(self.relative) or self.relative > tolerance


def compare_folders(before: Path, after: Path) -> tuple[int, list[Difference]]:
    """Compare all files of two folders.

    Parameters
    ----------
    before, after : Path

    Returns
    -------
    n_files : int
        Files that are in both.
    differences : list of Difference
    """
    found = [files_of(folder) for folder in (before, after)]
    differences = [
        Difference(str(name), "file", f"only {side}")
        for side, mine, other in (("before", *found), ("after", *found[::-1]))
        for name in sorted(mine - other)
    ]
    common = sorted(found[0] & found[1])
    for name in common:
        compare = {".fits": compare_fits, ".ecsv": compare_tables, ".json": compare_json}[name.suffix]
        differences += compare(before / name, after / name, str(name))
    return len(common), differences


def files_of(folder: Path) -> set[Path]:
    """Files to compare, relative to the folder."""
    paths = (p.relative_to(folder) for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    return {p for p in paths if not LEFT_OUT_FOLDERS & set(p.parts) and p.name not in LEFT_OUT_FILES}


def compare_fits(before: Path, after: Path, file: str) -> Iterator[Difference]:
    """Compare two FITS files extension by extension; the ASDF extension repeats the keywords and is not looked at."""
    with fits.open(before) as first, fits.open(after) as second:
        sides = [{(h.name, h.ver): h for h in hdus if h.name != "ASDF"} for hdus in (first, second)]
        for key in dict.fromkeys((*sides[0], *sides[1])):
            label = key[0] if key[1] == 1 else f"{key[0]},{key[1]}"
            if any(key not in side for side in sides):
                yield Difference(file, label, "only before" if key in sides[0] else "only after")
                continue
            a, b = (side[key] for side in sides)
            yield from compare_headers(a.header, b.header, file, label)
            if isinstance(a, fits.BinTableHDU) and isinstance(b, fits.BinTableHDU):
                columns = [{n: np.asarray(h.data[n]) for n in h.columns.names} for h in (a, b)]
                yield from compare_columns(columns[0], columns[1], file, label)
            elif a.data is not None or b.data is not None:
                yield from compare_arrays(a.data, b.data, file, label)


def compare_headers(before: fits.Header, after: fits.Header, file: str, label: str) -> Iterator[Difference]:
    """Compare the keywords of two headers, but those that differ in each run."""
    for key in dict.fromkeys((*before, *after)):
        if key in VOLATILE:
            continue
        where = f"{label} {key}"
        if key not in before or key not in after:
            yield Difference(file, where, "only before" if key in before else "only after")
        else:
            yield from compare_values(before[key], after[key], file, where)


def compare_columns(before: Mapping[str, Any], after: Mapping[str, Any], file: str, label: str) -> Iterator[Difference]:
    """Compare the columns of two tables."""
    for name in dict.fromkeys((*before, *after)):
        where = f"{label} {name}".strip()
        if name in VOLATILE:  # HDRTAB has the keywords of the inputs
            continue
        if name not in before or name not in after:
            yield Difference(file, where, "only before" if name in before else "only after")
        else:
            yield from compare_arrays(before[name], after[name], file, where)


def compare_tables(before: Path, after: Path, file: str) -> Iterator[Difference]:
    """Compare two ECSV tables: columns with their units, and metadata."""
    tables = [Table.read(path, format="ascii.ecsv") for path in (before, after)]
    columns = [{n: np.ma.filled(np.ma.asarray(t[n]), fill_for(t[n].dtype)) for n in t.colnames} for t in tables]
    yield from compare_columns(columns[0], columns[1], file, "")
    for name in set(tables[0].colnames) & set(tables[1].colnames):
        if tables[0][name].unit != tables[1][name].unit:
            yield Difference(file, f"{name} unit", f"text: {tables[0][name].unit} before, {tables[1][name].unit} after")
    yield from compare_values(dict(tables[0].meta), dict(tables[1].meta), file, "meta")


def fill_for(dtype: np.dtype[Any]) -> Any:
    """What stands for a masked value of a column."""
    return np.nan if dtype.kind == "f" else -1 if dtype.kind in "iu" else None


def compare_json(before: Path, after: Path, file: str) -> Iterator[Difference]:
    """Compare two JSON files by entry."""
    values = [json.loads(path.read_text(encoding="utf-8")) for path in (before, after)]
    yield from compare_values(values[0], values[1], file, "")


def compare_values(before: Any, after: Any, file: str, where: str) -> Iterator[Difference]:
    """Compare what is nested: mappings by entry, lists of numbers as arrays, other lists one by one, and single values.

    A text that is an absolute path counts by its last part.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            here = f"{where} {key}".strip()
            if str(key) in VOLATILE_ENTRIES:
                continue
            if key not in before or key not in after:
                yield Difference(file, here, "only before" if key in before else "only after")
            else:
                yield from compare_values(before[key], after[key], file, here)
    elif isinstance(before, list) and isinstance(after, list):
        if all(is_number(v) for v in (*before, *after)):
            yield from compare_arrays(np.array(before, float), np.array(after, float), file, where)
        elif len(before) != len(after):
            yield Difference(file, where, f"shape {len(before)} before, {len(after)} after")
        else:
            for i, (a, b) in enumerate(zip(before, after, strict=True)):
                yield from compare_values(a, b, file, f"{where} {i}".strip())
    elif is_number(before) and is_number(after):
        yield from compare_arrays(np.array([before], float), np.array([after], float), file, where)
    elif plain(before) != plain(after):
        yield Difference(file, where, f"text: {str(before)[:60]!r} before, {str(after)[:60]!r} after")


def is_number(value: Any) -> bool:
    """Whether a value is a number (no truth value)."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A value without what differs in each run: folders of a path."""
    return value.rpartition("/")[2] if isinstance(value, str) and value.startswith("/") else value


def compare_arrays(before: Any, after: Any, file: str, where: str) -> Iterator[Difference]:
    """Compare two arrays value by value; NaN equals NaN."""
    a, b = np.asarray(before), np.asarray(after)
    if a.shape != b.shape:
        yield Difference(file, where, f"shape {a.shape} before, {b.shape} after")
        return
    are_numbers = a.dtype.kind in "fiubc" and b.dtype.kind in "fiubc"
    if are_numbers and a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
        yield Difference(file, where, f"type {a.dtype} before, {b.dtype} after")
    if not are_numbers:
        pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
        different = np.array([plain(x) != plain(y) for x, y in pairs])
        if different.any():
            yield Difference(file, where, "text", int(different.sum()), a.size)
        return
    a, b = (x.astype(complex if x.dtype.kind == "c" else float) for x in (a, b))
    different = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not different.any():
        return
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b)[different]
    apart = np.where(np.isfinite(apart), apart, np.inf)
    finite = np.abs(np.concatenate([a[np.isfinite(a)].ravel(), b[np.isfinite(b)].ravel()]))
    scale = float(finite.max(initial=0.0))
    largest = float(apart.max())
    yield Difference(file, where, "values", len(apart), a.size, largest, largest / scale if scale else math.inf)


def main(arguments: list[str] | None = None) -> int:
    """Compare two folders and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="relative to the largest value of an array")
    parser.add_argument("--ignore", action="append", default=[], help="keyword that does not count; may be repeated")
    parser.add_argument("--json", type=Path, help="also write the differences to this file")
    options = parser.parse_args(arguments)
    for folder in (options.before, options.after):
        if not folder.is_dir():
            parser.error(f"{folder}: no such folder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        n_files, differences = compare_folders(options.before, options.after)
    differences = [d for d in differences if d.where.rpartition(" ")[2] not in options.ignore]
    if not n_files:
        parser.error("the folders have no file in common")
    for difference in differences:
        print(difference)
    above = sum(d.exceeds(options.tolerance) for d in differences)
    print(f"{n_files} files compared: {len(differences)} differences, {above} above {options.tolerance:g}")
    if options.json:
        options.json.write_text(json.dumps([asdict(d) for d in differences], indent=1) + "\n", encoding="utf-8")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
