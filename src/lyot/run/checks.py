"""What is checked before any work starts: can the products be written, is there room, is nobody else writing there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lyot.errors import OutputError
from lyot.run.manifest import FILE_NAME, output_error
from lyot.run.tasks import PARTIAL

BYTES_PER_PIXEL = {"stage1": 24, "stage2": 32, "stage3": 200}
"""Rough size of the products per pixel of all integrations that go in, for the check of free space."""

_LOCK = ".lock"


def prepare_output(out: Path, *, overwrite: bool = False) -> None:
    """Make the output folder and see that products can be written there.

    Parameters
    ----------
    out : Path
        Output folder; made if it is not there.
    overwrite : bool, optional
        Allow a folder that holds something else than an earlier run.

    Raises
    ------
    OutputError
        If it cannot be made or written, or holds other things.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; give a folder with --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in out.iterdir() if not p.name.startswith(".")]
        if foreign and not (out / FILE_NAME).exists() and not overwrite:
            raise OutputError(
                f"{out}: is not empty and holds no earlier run (no {FILE_NAME}); "
                "choose another --out or add --overwrite."
            )
        probe = out / f".probe.{os.getpid()}"
        probe.write_bytes(b"lyot")
        probe.unlink()
    except OutputError:
        raise
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
            f"{out}: about {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; "
            "free some space or choose another --out."
        )


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the output folder for one run at a time, and leave no partial products behind.

    Raises
    ------
    OutputError
        If another run is writing there.
    """
    try:
        stream = (out / _LOCK).open("w")
    except OSError as error:
        raise output_error(out, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{out}: another run is writing there; wait for it or choose another --out.") from None
        except OSError:
            pass  # file systems without locks
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
            (out / _LOCK).unlink(missing_ok=True)
