"""Tables of a run, cached after the first reading."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from astropy.table import Table

from lyot.errors import InputError


def read_ecsv(path: Path) -> Table:
    """Read a table (``.ecsv``); the file is parsed again only if it has changed.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Table
        A copy, which can be changed.

    Raises
    ------
    OSError
        If the file is not there.
    InputError
        If it is no such table, e.g. empty or truncated.
    """
    status = path.stat()
    return _parsed(path.absolute(), status.st_mtime_ns, status.st_size).copy()


@lru_cache(maxsize=32)
def _parsed(path: Path, _changed: int, _size: int) -> Table:
    try:
        return Table.read(path, format="ascii.ecsv", encoding="utf-8")
    except (ValueError, TypeError, KeyError, IndexError) as error:  # of a damaged file, whichever line is the first
        reason = " ".join(str(error).split()).partition(". ")[0][:120].rstrip(".:") or "damaged"
        raise InputError(f"{path}: not a readable ECSV table ({reason}); repeat the measurement.") from error
