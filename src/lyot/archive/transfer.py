"""Download of one file from the archive, with resume, retries, and checks of size and format."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from lyot.archive.connection import BUSY, TOKEN_VARIABLE, Connection, new_session, pause_before_retry
from lyot.archive.records import ArchiveFile
from lyot.errors import ArchiveError, output_error

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

CHUNK: Final = 1 << 16
"""Bytes written at a time; what a broken connection loses is less than this."""

_BLOCK = 2880


_READING = threading.Lock()  # silencing warnings is not safe in several threads at once


class CancelledError(ArchiveError):
    """The download was canceled; partial files are kept and resumed next time."""


class _BrokenError(Exception):
    """A try failed in a way that may be mended by trying again."""

    def __init__(self, reason: str, answer: requests.Response | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


class _RestartError(_BrokenError):
    """What is on the disk must go."""


@dataclass(frozen=True)
class Transfer:
    """State shared by all transfers of one download.

    Attributes
    ----------
    connection : Connection
    stop : threading.Event
        Set to end all transfers.
    report : callable
        ``report(file, done)``, called from several threads with the bytes that are on the disk.
    """

    connection: Connection
    stop: threading.Event
    report: Callable[[ArchiveFile, int], None]


def destination(folder: Path, name: str) -> Path:
    """Path of a file in the output folder; `ArchiveError` for a name that would lie elsewhere."""
    path = folder / name
    if Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
        raise ArchiveError(
            f"The archive lists a file {name!r}, which would be outside {folder}; it was not downloaded."
        )
    return path


def is_whole(path: Path, size: int) -> bool:
    """Whether a file exists, has the size given by the archive, and is a complete FITS file.

    Parameters
    ----------
    path : Path
    size : int
        Bytes; 0 if unknown.
    """
    try:
        if not path.is_file() or (size and path.stat().st_size != size):
            return False
        return _form_error(path) is None
    except OSError:
        return False


def _form_error(path: Path) -> str | None:
    """What is wrong with a FITS file as far as its headers and its length tell; None if nothing."""
    import warnings

    from astropy.io import fits

    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(9)
        if path.name.removesuffix(".part").endswith(".gz"):
            return _compressed_error(path) if start.startswith(b"\x1f\x8b") else "it is not a compressed file"
        if start != b"SIMPLE  =":
            return "it is not a FITS file"
        if size % _BLOCK:
            return "it does not end at a FITS block boundary"
        stream.seek(0)
        with _READING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they would tell is found out here
            try:
                with fits.open(stream, memmap=False, lazy_load_hdus=False) as hdus:
                    info = hdus[-1].fileinfo()
            except (OSError, ValueError, TypeError, KeyError, fits.VerifyError) as error:
                return f"it is not a readable FITS file ({error})"
    return "it is truncated" if info["datLoc"] + info["datSpan"] > size else None


def _compressed_error(path: Path) -> str | None:
    """What is wrong with a compressed FITS file, all of which is read: it holds its own length and check sum."""
    import gzip
    import zlib

    size = 0
    try:
        with gzip.open(path) as stream:
            while piece := stream.read(CHUNK):
                if not size and not piece.startswith(b"SIMPLE  ="):
                    return "the compressed content is not a FITS file"
                size += len(piece)
    except EOFError:
        return "it is truncated"
    except (gzip.BadGzipFile, zlib.error) as error:
        return f"it is damaged ({error})"
    return "the compressed content does not end at a FITS block boundary" if size % _BLOCK or not size else None


def fetch(file: ArchiveFile, url: str, folder: Path, transfer: Transfer) -> Path:
    """Download one file, or the rest of a partial one.

    Bytes go to a hidden file beside the destination, which takes the final name only when it is whole.

    Parameters
    ----------
    file : ArchiveFile
    url : str
    folder : Path
        Output folder; must exist.
    transfer : Transfer

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ArchiveError
        If the archive refuses it, or it does not come whole in the connection's number of tries.
    OutputError
        If it cannot be written.
    """
    path = destination(folder, file.name)
    part = folder / f".{file.name}.part"
    connection = transfer.connection
    with new_session(connection, with_token=True) as session:
        attempt, furthest = 0, _size(part)
        while True:
            attempt += 1
            try:
                _try(session, file, url, part, transfer)
                _check(part, file)
                part.replace(path)
                _stamp(part).unlink(missing_ok=True)
                return path
            except _BrokenError as error:
                if isinstance(error, _RestartError):
                    part.unlink(missing_ok=True)
                if _size(part) > furthest:
                    attempt, furthest = 1, _size(part)  # it goes forward: as many tries again for the rest
                if attempt >= connection.tries:
                    raise ArchiveError(
                        f"{file.name}: the transfer failed {attempt} times ({error}); repeat the command to resume."
                    ) from error
                pause = pause_before_retry(connection, attempt, error.answer)
                log.warning("%s: %s; retrying in %.1f s", file.name, error, pause)
                if transfer.stop.wait(pause):
                    raise CancelledError(f"{file.name}: stopped.") from None
            except OSError as error:
                if isinstance(error, ArchiveError):
                    raise
                raise output_error(path, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _stamp(part: Path) -> Path:
    """Where the server's mark of the version that is being fetched is kept."""
    return part.with_suffix(".etag")


def _try(session: requests.Session, file: ArchiveFile, url: str, part: Path, transfer: Transfer) -> None:
    """Ask for what is lacking and write it."""
    import requests

    start = _size(part)
    if file.size and start > file.size:
        part.unlink()
        start = 0
    if file.size and start == file.size:
        return
    headers = {"Accept-Encoding": "identity"}  # sizes and ranges are those of the file as it is
    if start:
        headers["Range"] = f"bytes={start}-"
        mark = _stamp(part).read_text(encoding="utf-8") if _stamp(part).is_file() else ""
        if mark:
            headers["If-Range"] = mark
    try:
        with session.get(url, headers=headers, stream=True) as answer:
            start = _accepted(answer, file, start, transfer.connection)
            _write(answer, file, part, start, transfer)
    except requests.RequestException as error:
        raise _BrokenError("the connection was lost") from error


def _accepted(answer: requests.Response, file: ArchiveFile, start: int, connection: Connection) -> int:
    """Where in the file the answer begins; raises for refusals."""
    state = answer.status_code
    if state in (401, 403):
        if connection.token:
            raise ArchiveError(
                f"{file.name}: under exclusive access, and the archive does not accept the token in {TOKEN_VARIABLE}; "
                "the token may have expired, or its owner is not an investigator of the program."
            )
        raise ArchiveError(f"{file.name}: under exclusive access; set {TOKEN_VARIABLE} to your MAST token.")
    if state == 404:
        raise ArchiveError(f"{file.name}: the archive lists this file but does not have it; try again later.")
    if state == 416:
        return _restart(answer)
    if state in BUSY:
        raise _BrokenError(f"the archive returned status {state}", answer)
    if state not in (200, 206):
        raise ArchiveError(f"{file.name}: the archive returned status {state}.")
    if state == 200:
        return 0
    given = answer.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {start}-"):
        return _restart(answer)
    total = given.rpartition("/")[2]
    if file.size and total.isdigit() and int(total) != file.size:
        return _restart(answer)
    return start


def _restart(answer: requests.Response) -> int:
    raise _RestartError("the partial file does not match the file in the archive", answer)


@contextlib.contextmanager
def _opened(part: Path, start: int) -> Iterator[IO[bytes]]:
    """The hidden file, cut to what is kept; never through a link that somebody put there."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(part, flags, 0o644), "wb") as stream:
        stream.truncate(start)
        stream.seek(start)
        yield stream


def _write(answer: requests.Response, file: ArchiveFile, part: Path, start: int, transfer: Transfer) -> None:
    """Write the answer behind `start`; what came stays even if the rest does not come."""
    mark = answer.headers.get("ETag", "")
    done = start
    with _opened(part, start) as stream:
        if mark and not mark.startswith("W/"):
            _stamp(part).write_text(mark, encoding="utf-8")
        else:
            _stamp(part).unlink(missing_ok=True)
        for chunk in answer.iter_content(CHUNK):
            if transfer.stop.is_set():
                raise CancelledError(f"{file.name}: stopped.")
            stream.write(chunk)
            done += len(chunk)
            transfer.report(file, done)
            if file.size and done > file.size:
                break


def _check(part: Path, file: ArchiveFile) -> None:
    """Raise if what came is not the whole file."""
    size = _size(part)
    if file.size and size < file.size:
        raise _BrokenError(f"{size} of {file.size} bytes received")
    error = f"{size} bytes received instead of {file.size}" if file.size and size > file.size else _form_error(part)
    if error:
        part.unlink(missing_ok=True)
        raise _BrokenError(error)
