"""The sources that a product depends on: a changed program makes its products anew, as a changed version does."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

ENTRY = {
    "stage1": "lyot.steps.detector1",
    "stage2": "lyot.steps.image2",
    "stage3": "lyot.steps.coron3",
    "measure": "lyot.run.measure_task",
}
"""Module that does each kind of task; what it imports, and what that imports, belongs to it."""

_ROOT = Path(__file__).parents[1]

_IMPORT = re.compile(
    r"^\s*(?:from\s+(lyot[\w.]*)\s+import\s+(?:\(([^)]*)\)|([^\n]*))|import\s+(lyot[\w.]*))", re.MULTILINE
)


@functools.cache
def source_digest(kind: str) -> str:
    """Checksum of all sources of this package that a kind of task runs through; follows the import statements.

    Parameters
    ----------
    kind : str
        A key of `ENTRY`; for any other, that of the measurement.
    """
    digest = hashlib.sha256()
    for path in sorted(modules_of(ENTRY.get(kind, ENTRY["measure"]))):
        digest.update(path.relative_to(_ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def modules_of(entry: str) -> set[Path]:
    """Files of a module of this package and of all others that it imports, directly or not, anywhere in the code."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        path = _file_of(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += [] if path == _ROOT / "__init__.py" else _imported(path)  # the face names all rooms, lazily
    return found


def _file_of(module: str) -> Path | None:
    """Source of a module of this package; None for what is no module, such as a function."""
    base = _ROOT.joinpath(*module.split(".")[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    """Names after ``import`` and ``from`` that may be modules of this package, with the packages they are in."""
    names = []
    for package, inside, beside, plain in _IMPORT.findall(path.read_text(encoding="utf-8")):
        words = re.sub(r"#.*", "", inside or beside).split(",")
        names += [plain] if plain else [f"{package}.{word.split()[0]}" for word in words if word.strip()]
    parts = [name.split(".") for name in names]
    return tuple({".".join(p[:n]): None for p in parts for n in range(1, len(p) + 1)})
