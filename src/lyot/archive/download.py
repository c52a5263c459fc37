"""Parallel download of the files of a listing; complete files are not downloaded again."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lyot.archive.connection import TOKEN_VARIABLE, Connection, connection_from_environment
from lyot.archive.mast import MastClient
from lyot.archive.records import ArchiveFile
from lyot.archive.transfer import CancelledError, Transfer, destination, fetch, is_whole
from lyot.errors import ArchiveError, LyotError, OutputError, output_error

log = logging.getLogger(__name__)

RECORD: Final = "downloads.jsonl"
"""File in the output folder that says where each file came from, one JSON object a line."""

AT_ONCE: Final = 4
"""Files fetched at the same time."""

_SPARE = 50 * 2**20


@dataclass(frozen=True)
class Downloaded:
    """Local files of a listing.

    Attributes
    ----------
    folder : Path
    fetched, current : tuple of Path
        Files fetched now, and files that were there and whole.

    Examples
    --------
    >>> from lyot.archive import Downloaded
    >>> done = Downloaded(Path("uncal"), fetched=(Path("uncal/b.fits"),), current=(Path("uncal/a.fits"),))
    >>> [file.name for file in done.files]
    ['a.fits', 'b.fits']
    """

    folder: Path
    fetched: tuple[Path, ...]
    current: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, sorted."""
        return tuple(sorted((*self.fetched, *self.current)))


def to_fetch(files: Sequence[ArchiveFile], folder: str | Path) -> list[ArchiveFile]:
    """Files that are missing in the folder or incomplete.

    Parameters
    ----------
    files : sequence of ArchiveFile
    folder : path

    Returns
    -------
    list of ArchiveFile
        In the given order.

    Raises
    ------
    ArchiveError
        For a file whose name would lie outside the folder.

    Examples
    --------
    >>> from lyot.archive import ArchiveFile, to_fetch
    >>> from lyot.exposures import Exposure
    >>> file = ArchiveFile(Exposure(root="a"), "a_uncal.fits", "mast:JWST/a", size=1000, public=True)
    >>> [f.name for f in to_fetch([file], "folder_that_does_not_exist")]
    ['a_uncal.fits']
    """
    return [f for f in files if not is_whole(destination(Path(folder), f.name), f.size)]


def download(
    files: Sequence[ArchiveFile],
    folder: str | Path,
    *,
    connection: Connection | None = None,
    at_once: int = AT_ONCE,
    on_progress: Callable[[ArchiveFile, int], None] | None = None,
) -> Downloaded:
    """Download files into a folder.

    Parameters
    ----------
    files : sequence of ArchiveFile
        From `lyot.archive.search.find`.
    folder : path
        Made if it is not there and there is something to fetch.
    connection : Connection, optional
        By default what the environment says.
    at_once : int, optional
        Files fetched at the same time.
    on_progress : callable, optional
        ``on_progress(file, done)`` with the bytes on the disk; called from several threads, one at a time.

    Returns
    -------
    Downloaded

    Raises
    ------
    ArchiveError
        If any file could not be had, after all others were fetched. Run again, it goes on from there.
    OutputError
        If the folder cannot be written or is too small.
    """
    folder = Path(folder)
    connection = connection or connection_from_environment()
    lacking = to_fetch(files, folder)
    names = {f.name for f in lacking}
    current = tuple(destination(folder, f.name) for f in files if f.name not in names)
    if not lacking:
        return Downloaded(folder, (), current)
    closed = [f for f in lacking if not f.public and connection.token is None]
    wanted = [f for f in lacking if f not in closed]
    batch = _Batch(folder, MastClient(connection), on_progress)
    if wanted:  # else no folder is made, and none is found too small
        _prepare(folder, wanted)
        batch.run(wanted, max(1, at_once))
    _complain(batch.failures, closed, len(files))
    return Downloaded(folder, tuple(sorted(batch.fetched)), current)


def _prepare(folder: Path, lacking: Sequence[ArchiveFile]) -> None:
    """Make the folder; raise if it cannot hold the files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise output_error(folder, error) from error
    there = sum(p.stat().st_size for f in lacking if (p := folder / f".{f.name}.part").is_file())
    needed = sum(f.size for f in lacking) - there + _SPARE
    if needed > free:
        room = f"{needed / 1e9:.1f} GB required, {free / 1e9:.1f} GB free"
        raise OutputError(f"{folder}: {room}; choose another folder with --out.")


class _Batch:
    """The transfers of one download."""

    def __init__(
        self, folder: Path, client: MastClient, on_progress: Callable[[ArchiveFile, int], None] | None
    ) -> None:
        self.folder = folder
        self.fetched: list[Path] = []
        self.failures: list[LyotError] = []
        self._client = client
        self._lock = threading.Lock()
        self._listener = on_progress
        self._transfer = Transfer(client.connection, threading.Event(), self._report)

    def run(self, files: Sequence[ArchiveFile], at_once: int) -> None:
        """Fetch all; a file that fails does not keep the others from coming, a full disk or Ctrl-C does."""
        with ThreadPoolExecutor(at_once, thread_name_prefix="lyot-download") as pool:
            waiting: set[Future[None]] = {pool.submit(self._one, file) for file in files}
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
            except BaseException:
                self._transfer.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, file: ArchiveFile) -> None:
        if self._transfer.stop.is_set():
            raise CancelledError(f"{file.name}: stopped.")
        try:
            path = fetch(file, self._client.url(file.uri), self.folder, self._transfer)
        except CancelledError:
            raise
        except ArchiveError as error:
            log.warning("%s", error)
            with self._lock:
                self.failures.append(error)
            return
        self._report(file, path.stat().st_size)
        with self._lock:
            self.fetched.append(path)
            self._record(file, path)

    def _record(self, file: ArchiveFile, path: Path) -> None:
        entry = {
            "file": file.name,
            "size": path.stat().st_size,
            "server": self._client.connection.server,
            "uri": file.uri,
            "public": file.public,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            with (self.folder / RECORD).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise output_error(self.folder / RECORD, error) from error

    def _report(self, file: ArchiveFile, done: int) -> None:
        if self._listener is not None:
            with self._lock:
                self._listener(file, done)


def _complain(failures: Sequence[LyotError], closed: Sequence[ArchiveFile], total: int) -> None:
    """Raise one error for all files that did not come."""
    if closed:
        verb = "is" if len(closed) == 1 else "are"
        raise ArchiveError(
            f"{len(closed)} of {total} files {verb} under exclusive access, such as {closed[0].name}; "
            f"set {TOKEN_VARIABLE} to your MAST token (https://auth.mast.stsci.edu/tokens) and run again."
        )
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ArchiveError(f"{len(failures)} of {total} files were not downloaded; the first: {failures[0]}")
