"""A run with several products of stage 3, seen as one run for each of them."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from lyot.records.manifest import CONFIGURATION, FILE_NAME, NOTES, Manifest, Record


def targets_of(records: Sequence[Record]) -> dict[str, str]:
    """Folder of the tables of each product of stage 3 (its name), where a run has several; empty for one."""
    names = {r.name for r in records if r.kind == "stage3"}
    found = {}
    for record in records:
        if record.kind == "measure" and record.name in names and record.folder:
            found[record.name] = record.folder
    return found


def _belonging(out: Path, records: Sequence[Record], name: str, folder: str) -> list[Record]:
    """Records of a product: what it was made from, and what was measured in it."""
    makers = {str(out.absolute() / p.path): r for r in records for p in r.products}
    todo = [r for r in records if (r.kind, r.name) == ("stage3", name)]
    todo += [r for r in records if r.products and Path(r.products[0].path).parent == Path("measure") / folder]
    todo += [r for r in records if r.failure and r.name.endswith(f"_{folder}")]
    found: dict[str, Record] = {}
    while todo:
        record = todo.pop()
        if record.task not in found:
            found[record.task] = record
            todo += [makers[i["path"]] for i in record.inputs if i["path"] in makers]
    return [r for r in records if r.task in found]


@contextlib.contextmanager
def view(out: Path, name: str, folder: str) -> Iterator[Path]:
    """A folder of links that looks like the output of a run with this product alone.

    Parameters
    ----------
    out : Path
        Output folder of the run.
    name : str
        Name of the product of stage 3.
    folder : str
        Folder of its tables below ``measure``.
    """
    records = _belonging(out, Manifest(out).records, name, folder)
    with tempfile.TemporaryDirectory(prefix="lyot-report-") as temporary:
        place = Path(temporary)
        lines = [json.dumps(asdict(record)) for record in records]
        (place / FILE_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
        files = {Path(p.path): out / p.path for r in records if r.kind != "measure" for p in r.products}
        files |= {Path(r.association): out / r.association for r in records if r.association}
        files |= {Path("measure") / p.name: p for p in (out / "measure" / folder).glob("*")}
        files |= {Path(name): out / name for name in (CONFIGURATION, NOTES)}
        logs = (Path("logs") / f"{r.kind}_{r.name}.log" for r in records)
        files |= {path: out / path for path in logs}
        for link, path in files.items():
            if path.is_file():
                (place / link).parent.mkdir(parents=True, exist_ok=True)
                (place / link).symlink_to(path.absolute())
        yield place
