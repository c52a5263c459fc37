"""Keep cached compiled kernels in step with the sources of their room.

numba's on-disk cache looks only at the file of the function itself. A kernel that calls one in another file keeps the
old callee compiled into it when that file changes, and with it old buffer sizes: after a ``git pull`` that could write
past the end of an array. `refresh` removes a room's cached kernels whenever any of its sources has changed.

Where neither the installation nor the user's home can be written, `provide_writable` gives numba (which refuses to be
imported otherwise) and matplotlib a folder among the temporary files.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import stat
import tempfile
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
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest.hexdigest():
            return False
        cache.mkdir(exist_ok=True)
        stale = [*cache.glob("*.nbi"), *cache.glob("*.nbc")]
        for path in stale:
            path.unlink(missing_ok=True)
        stamp.write_text(digest.hexdigest(), encoding="utf-8")
    except OSError as error:
        log.debug("%s: cached kernels cannot be verified (%s)", folder, error)
        return False
    return bool(stale)


def provide_writable(package: str | Path) -> None:
    """Set NUMBA_CACHE_DIR and MPLCONFIGDIR where the usual places cannot be written and they are not set.

    Call it before numba and matplotlib are imported.

    Parameters
    ----------
    package : path
        Folder of the package.
    """
    package = Path(package)
    home = os.environ.get
    cache = Path(home("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - raises nothing without a home
    config = Path(home("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))  # noqa: PTH111
    if "NUMBA_CACHE_DIR" not in os.environ and not any(map(_writable, (package / "ramps" / "__pycache__", cache))):
        os.environ["NUMBA_CACHE_DIR"] = str(_own_folder(package) / "numba")
    if "MPLCONFIGDIR" not in os.environ and not _writable(config):
        os.environ["MPLCONFIGDIR"] = str(_own_folder(package) / "matplotlib")


def _writable(folder: Path) -> bool:
    """Whether files can be written in a folder, which need not be there yet."""
    there = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    return there is not None and os.access(there, os.W_OK | os.X_OK)


def _own_folder(package: Path) -> Path:
    """A folder of this user among the temporary files, another one for other sources of the package."""
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(source.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"lyot-{os.getuid()}-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return folder
    except OSError as error:
        log.debug("%s: cannot be created (%s)", folder, error)
    own = tempfile.mkdtemp(prefix="lyot-")  # the other one is somebody else's: what it holds must not be run
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)
