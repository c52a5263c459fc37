"""Tables of a run, parsed once however often they are asked for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from astropy.table import Table


def read_ecsv(path: Path) -> Table:
    """Read a table (``.ecsv``); parsed again only where the file has changed.

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
    ValueError
        If it is no such table.
    """
    status = path.stat()
    return _parsed(path.absolute(), status.st_mtime_ns, status.st_size).copy()


@lru_cache(maxsize=32)
def _parsed(path: Path, _changed: int, _size: int) -> Table:
    return Table.read(path, format="ascii.ecsv", encoding="utf-8")
