"""Checks before a run: write permission, disk space, and no other run in the output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lyot.errors import OutputError, output_error
from lyot.records.manifest import FILE_NAME
from lyot.run.worker import PARTIAL

BYTES_PER_PIXEL = {"stage1": 24, "stage2": 32, "stage3": 200}
"""Rough size of the products per pixel of all integrations that go in, for the check of free space."""

DOWNLOADED = "uncal"
"""Folder below the output folder to which `lyot run PROGRAM` fetches the raw exposures before the run begins."""

_LOCK = ".lock"


def check_output(out: Path, *, overwrite: bool = False) -> None:
    """Check whether a folder can be used for output, without writing to it.

    Parameters
    ----------
    out : Path
        Output folder; need not be there.
    overwrite : bool, optional
        Allow a folder that holds something else than an earlier run.

    Raises
    ------
    OutputError
        If it is a file or holds other things, or it could not be made or written.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; choose a folder with --out.")
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir():
        raise output_error(out, NotADirectoryError(errno.ENOTDIR, "not a folder"))
    if not os.access(there, os.W_OK | os.X_OK):
        raise output_error(out, PermissionError(errno.EACCES, "no permission"))
    if overwrite or not out.is_dir():
        return
    foreign = sorted(p.name for p in out.iterdir() if not p.name.startswith(".") and p.name != DOWNLOADED)
    if foreign and not (out / FILE_NAME).exists():
        raise OutputError(
            f"{out}: not empty and not the folder of an earlier run (no {FILE_NAME}, but {foreign[0]}); choose "
            "another --out or add --overwrite."
        )


def prepare_output(out: Path) -> None:
    """Make the output folder and see that products can be written there.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe.{os.getpid()}"
        probe.write_bytes(b"lyot")
        probe.unlink()
    except OSError as error:
        raise output_error(out, error) from error


def check_space(out: Path, needed: int) -> None:
    """Raise if the disk has less room than the products will need.

    Parameters
    ----------
    out : Path
        Output folder.
    needed : int
        Estimate of the products, bytes.
    """
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OutputError(
            f"{out}: about {needed / 1e9:.1f} GB required, {free / 1e9:.1f} GB free; free some space or choose "
            "another --out."
        )


def _check_held(out: Path, stream: IO[str]) -> None:
    """Raise if the lock file was removed, by a run that just ended, between being opened and being locked."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(stream.fileno()), (out / _LOCK).stat()):
            return
    raise OutputError(f"{out}: another run in this folder has just ended; start this run again.")


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Lock the output folder for one run, and remove partial products at the end.

    Raises
    ------
    OutputError
        If another run is writing there.
    """
    try:
        stream = (out / _LOCK).open("w", encoding="utf-8")
    except OSError as error:
        raise output_error(out, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{out}: another run is writing to this folder; wait until it ends or choose another --out."
            ) from None
        except OSError:
            pass  # file systems without locks
        else:
            _check_held(out, stream)
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
            (out / _LOCK).unlink(missing_ok=True)
