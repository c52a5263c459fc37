"""Keep cached compiled kernels in step with the sources of their room.

numba's on-disk cache looks only at the file of the function itself. A kernel that calls one in another file keeps the
old callee compiled into it when that file changes, and with it old buffer sizes: after a ``git pull`` that could write
past the end of an array. `refresh` removes a room's cached kernels whenever any of its sources has changed.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

log = logging.getLogger(__name__)

_STAMP = "kernels.sha256"


def refresh(room: str | Path) -> bool:
    """Remove the cached kernels of a room if its sources are not those they were compiled from.

    Call it before the kernels of the room are imported.

    Parameters
    ----------
    room : path
        Folder of the room (``Path(__file__).parent`` of its ``__init__``).

    Returns
    -------
    bool
        Whether cached kernels were removed. Where the folder cannot be written (then numba keeps its cache elsewhere)
        nothing is done.
    """
    folder = Path(room)
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    cache = folder / "__pycache__"
    stamp = cache / _STAMP
    try:
        if stamp.is_file() and stamp.read_text() == digest.hexdigest():
            return False
        cache.mkdir(exist_ok=True)
        stale = [*cache.glob("*.nbi"), *cache.glob("*.nbc")]
        for path in stale:
            path.unlink(missing_ok=True)
        stamp.write_text(digest.hexdigest())
    except OSError as error:
        log.debug("%s: cached kernels cannot be checked (%s)", folder, error)
        return False
    return bool(stale)
