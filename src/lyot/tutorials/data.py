"""Source of the exposures of the tutorials: an earlier notebook, the archive, or the simulator.

`get_inputs` looks in that order and says which it was. Real observations are as large as they are, so that the archive
is asked only for ``size="full"`` (or when it is asked for by name); the smaller sizes are always simulated.
"""

from __future__ import annotations

import json
import logging
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lyot.errors import ConfigError, MissingInputError, unknown_name

log = logging.getLogger(__name__)

Level = Literal["uncal", "rateints", "calints"]
Origin = Literal["earlier", "archive", "simulator"]

PROGRAM: Final = 1386
"""The program whose observations of HIP 65426 the tutorials follow."""

SCENE: Final = "bright_planet"
SEED: Final = 1

ARCHIVE_HOST: Final = ("mast.stsci.edu", 443)

LEVELS: Final = ("uncal", "rateints", "calints")
SOURCES: Final = ("auto", "archive", "simulator")


@dataclass(frozen=True)
class Inputs:
    """Exposures that a tutorial can start from.

    Attributes
    ----------
    files : tuple of Path
        Sorted by name.
    origin : "earlier", "archive" or "simulator"
        Where they come from; ``earlier`` is what was in the folder already.
    """

    files: tuple[Path, ...]
    origin: Origin

    def __str__(self) -> str:
        words = {
            "earlier": "already present", "archive": "downloaded from MAST", "simulator": "simulated",
        }  # fmt: skip
        size = sum(f.stat().st_size for f in self.files) / 1e6
        return f"{len(self.files)} exposures, {size:.0f} MB, {words[self.origin]}"


def find_exposures(folder: str | Path, level: Level) -> tuple[Path, ...]:
    """Files of one level in a folder, by name; empty if there are none."""
    return tuple(sorted(Path(folder).glob(f"*_{level}.fits")))


def has_network(host: tuple[str, int] = ARCHIVE_HOST, timeout: float = 3.0) -> bool:
    """Whether the archive can be reached.

    Parameters
    ----------
    host : (name, port)
        Of the server.
    timeout : float
        Seconds.

    Returns
    -------
    bool
    """
    try:
        with socket.create_connection(host, timeout=timeout):
            return True
    except OSError:
        return False


def get_inputs(
    level: Level,
    folder: str | Path,
    *,
    size: str = "small",
    source: str = "auto",
    filter: str = "F1550C",
    progress: Callable[[float, str], None] | None = None,
) -> Inputs:
    """Take the exposures of one level from a folder; else download them; else simulate them.

    Parameters
    ----------
    level : "uncal", "rateints" or "calints"
        What is wanted. The simulator makes ``uncal`` only.
    folder : path
        Where they are or shall be.
    size : "small", "medium" or "full"
        Of a simulated sequence; only ``full`` is as observed.
    source : "auto", "archive" or "simulator"
        Where to take missing exposures from. ``auto``: the archive for size ``full`` if it can be reached, otherwise
        the simulator.
    filter : str
        Coronagraphic filter.
    progress : callable, optional
        Called with the fraction done and what is being made.

    Returns
    -------
    Inputs

    Raises
    ------
    ConfigError
        If the folder holds a simulated sequence of another size or filter.
    MissingInputError
        If calibrated exposures are missing and the archive is not to be asked.
    UnknownNameError
        For a level or source that does not exist.
    """
    _check("level", level, LEVELS)
    _check("source", source, SOURCES)
    folder = Path(folder)
    found = find_exposures(folder, level)
    if found:
        check_size(folder, size, filter)
        return Inputs(found, "earlier")
    if wants_archive(size, source):
        download(level, folder, filter)
        found = find_exposures(folder, level)
        if not found:
            raise MissingInputError(f"{folder}: the archive gave no {level} exposure of program {PROGRAM} in {filter}.")
        return Inputs(found, "archive")
    if level != "uncal":
        raise MissingInputError(f"{folder}: there is no *_{level}.fits; run the notebook of the stage before first.")
    _simulate(folder, size, filter, progress)
    return Inputs(find_exposures(folder, "uncal"), "simulator")


def wants_archive(size: str, source: str) -> bool:
    """Whether missing exposures are to be taken from the archive."""
    if source == "auto":
        return size == "full" and has_network()
    return source == "archive"


def read_size(folder: str | Path) -> dict[str, Any] | None:
    """Size and filter of the simulated sequence in a folder; None if it holds none."""
    path = Path(folder) / "truth.json"
    if not path.is_file():
        return None
    truth = json.loads(path.read_text(encoding="utf-8"))
    return {"size": truth["size"], "filter": truth["instrument"]["filter"]}


def check_size(folder: Path, size: str, filter: str) -> None:
    """Raise if a simulated sequence differs from the requested one.

    Raises
    ------
    ConfigError
        Naming both and the cure.
    """
    from lyot.simulator.plan import size_of

    there = read_size(folder)
    if there is None:
        return
    wanted = {"science": list(size_of(size).science), "reference": list(size_of(size).reference)}
    if there != {"size": wanted, "filter": filter.upper()}:
        ints, groups = there["size"]["science"]
        raise ConfigError(
            f"{folder}: holds a simulated {there['filter']} sequence of {ints} integrations of {groups} groups, "
            f"not {filter} at size {size}; empty the folders of pipeline_demos to change."
        )


def download(level: Level, folder: Path, filter: str) -> None:
    """Download the sequence of the tutorials from the archive; complete files are not downloaded again.

    Raises
    ------
    ArchiveError
        If the archive cannot be reached or has nothing.
    """
    from lyot import archive

    listing = archive.find(archive.make_query([str(PROGRAM)], filters=[filter], level=level))
    log.info("%d files, %.1f GB, from MAST into %s", len(listing.files), listing.size / 1e9, folder)
    archive.download(listing.files, folder)


def _simulate(folder: Path, size: str, filter: str, progress: Callable[[float, str], None] | None) -> None:
    """Simulate beside `folder`, then move everything in, so that a broken-off simulation leaves nothing behind."""
    from lyot.exposures.names import is_product
    from lyot.simulator.sequence import simulate_sequence

    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".simulated-", dir=folder))
    try:
        made = simulate_sequence(
            scratch / "sequence", filter=filter, size=size, seed=SEED, scene=SCENE, progress=progress
        )
        # the exposures come last: they are what says that everything is there
        for item in sorted(made.path.iterdir(), key=lambda p: is_product(p, "uncal")):
            target = folder / item.name
            if target.is_dir():
                shutil.rmtree(target)
            item.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check(what: str, name: str, allowed: tuple[str, ...]) -> None:
    if name not in allowed:
        raise unknown_name(what, name, allowed)
