"""Selection of the calibration references of a run: user option, environment, or a cache next to the input."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lyot.errors import ReferenceFileError
from lyot.reference_files.environment import CrdsEnvironment, resolve_crds

log = logging.getLogger(__name__)

_EMPTY = ".no_references"
"""Folder below the output folder with a cache that knows no reference, for stages that use none."""

_VARIABLES = ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL", "STPIPE_DISABLE_CRDS_STEPPARS", "CRDS_READONLY_CACHE")


@dataclass(frozen=True)
class Calibration:
    """CRDS settings of the workers.

    Attributes
    ----------
    environment : dict of str to str or None
        Variables to set, or to remove where None.
    context : str
        Name of the context; ``"none"`` where no reference is used.
    """

    environment: dict[str, str | None] = field(default_factory=dict)
    context: str = ""

    def prepared(self, out: Path) -> Calibration:
        """Settings that work without references: with an empty cache in the output folder where none are used.

        The official software requires a context in any case, and would look for it on the network.

        Parameters
        ----------
        out : Path
            Output folder, in which the cache is written.

        Returns
        -------
        Calibration
            The same object if references are used.
        """
        if self.context != "none":
            return self
        from lyot.simulator.crds_cache import write_empty_cache

        cache = write_empty_cache(out / _EMPTY)
        variables = {**dict.fromkeys(_VARIABLES), **cache.environment(), "STPIPE_DISABLE_CRDS_STEPPARS": "true"}
        return replace(self, environment=variables)  # where there are no files, no parameters need be asked for


def choose_calibration(
    inputs: Iterable[Path], *, cache: str | None = None, context: str | None = None, needed: bool = True
) -> Calibration:
    """Decide on the calibration cache and context; nothing is written in the output folder.

    Where a server is to be asked, the references of the inputs are fetched now: all workers then use the same context,
    and find the files on the disk.

    Parameters
    ----------
    inputs : iterable of Path
        Exposure files; a folder ``crds_cache`` beside them, as `lyot simulate` writes it, is found.
    cache : str, optional
        Folder of the calibration cache; by default that of the environment, or the one found beside the inputs.
    context : str, optional
        Calibration context (``.pmap``); by default that of the environment or of the cache.
    needed : bool, optional
        Whether any stage to be run uses references.

    Returns
    -------
    Calibration

    Raises
    ------
    ReferenceFileError
        If references are needed and there are none.
    ArchiveError
        If the server is out of reach and the cache does not hold what is needed.
    """
    files = list(inputs)
    search = sorted({folder for path in files for folder in (path.parent, path.parent.parent)})
    try:
        found = resolve_crds(cache, context, search=search)
    except ReferenceFileError:
        if needed or cache is not None:
            raise
        return Calibration(context="none")
    pinned = _pinned(found, files) if needed and found.server is not None else found.context
    variables = {name: os.environ.get(name) for name in _VARIABLES} | dict(found.variables)
    if pinned is not None:
        variables["CRDS_CONTEXT"] = pinned
    return Calibration(environment=variables, context=pinned or "")


def _pinned(found: CrdsEnvironment, files: list[Path]) -> str:
    """Fetch the references of the inputs from the server; gives the context by which they were chosen."""
    from lyot.reference_files.prefetch import prefetch

    with found.applied():
        return prefetch(files, context=found.context).context
