"""Arrays that take seconds to compute and never change, kept on disk from one process to the next.

A run is several processes, and so are the commands that follow it: without this each would draw the pupil and tabulate
the mask's throughput anew. What is kept is found by all that it follows from, the sources of the package and the
versions of numpy, scipy and poppy among it, and is the same bits.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "LYOT_CACHE"
"""Environment variable that names the folder; ``lyot`` in the user's cache otherwise. Empty: nothing is kept."""

MOST = 200
"""Files that are kept; the ones that were not used for longest go first."""

_PACKAGES = ("numpy", "scipy", "poppy")

Arrays = dict[str, NDArray[Any]]


def remembered(name: str, content: Mapping[str, Any], compute: Callable[[], Arrays], *, room: str | Path) -> Arrays:
    """Arrays from disk, or else computed and kept there.

    Parameters
    ----------
    name : str
        What they are, for the name of the file.
    content : mapping
        All that they follow from, JSON-ready.
    compute : callable
        Makes them: names and arrays.
    room : path
        Folder whose sources they follow from as well (``Path(__file__).parent``).

    Returns
    -------
    dict of str to ndarray
        Read-only. Where the folder cannot be read or written they are computed each time.
    """
    path = _place(name, content, Path(room))
    found = None if path is None else _read(path)
    if found is None:
        found = compute()
        if path is not None:
            _write(path, found)
    for array in found.values():
        array.setflags(write=False)
    return found


def cache_folder() -> Path | None:
    """Folder of what is kept; None if nothing shall be."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given is not None:
        return Path(given) if given else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - raises nothing without a home
    return Path(home) / "lyot"


def _place(name: str, content: Mapping[str, Any], room: Path) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    text = json.dumps({"content": content, "sources": _sources(room), "versions": _versions()}, sort_keys=True)
    return folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"


@functools.cache
def _sources(room: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted([*room.glob("*.py"), *Path(__file__).parent.glob("*.py")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _versions() -> dict[str, str]:
    return {package: metadata.version(package) for package in _PACKAGES}


def _read(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        os.utime(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if path.exists():
            log.debug("%s: cannot be used (%s)", path, error)
        return None
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type, unused-ignore]
        partial.replace(path)
        _prune(path.parent)
    except OSError as error:
        log.debug("%s: cannot be cached (%s)", path, error)
        partial.unlink(missing_ok=True) if partial.parent.is_dir() else None


def _prune(folder: Path) -> None:
    """Remove the files that were not used for longest, beyond `MOST`."""
    files = sorted(folder.glob("*.npz"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in files[MOST:]:
        path.unlink(missing_ok=True)
