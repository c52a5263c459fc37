"""Download of calibration references before a run, so that all workers use the same files from disk.

The environment (CRDS_PATH, CRDS_CONTEXT, CRDS_SERVER_URL) says where from; it must be set before, see
`lyot.reference_files.environment`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lyot.errors import ArchiveError
from lyot.reference_files.environment import DEFAULT_SERVER, resolve_crds

log = logging.getLogger(__name__)

TYPES: Final = (
    "area", "bkg", "camera", "chromcorr", "collimator", "dark", "dflat", "disperser", "distortion", "emicorr",
    "fflat", "filteroffset", "flat", "fore", "fpa", "gain", "ifufore", "ifupost", "ifuslicer", "ipc", "linearity",
    "mask", "msa", "ote", "pastasoss", "photom", "pictureframe", "psfmask", "readnoise", "refpix", "regions", "reset",
    "rscd", "saturation", "sflat", "sirskernel", "specwcs", "superbias", "wavelengthrange",
)  # fmt: skip
"""Kinds of reference that the official stages 1 to 3 of coronagraphy look up, whether or not an instrument has them;
parameter files (``pars-...``) come on top."""


@dataclass(frozen=True)
class Prefetched:
    """Downloaded reference files.

    Attributes
    ----------
    context : str
        Rules (``.pmap``) by which the references were chosen, to be used by all workers.
    cache : Path
        Folder that holds them.
    references : tuple of str
        Names of the reference files, sorted.
    """

    context: str
    cache: Path
    references: tuple[str, ...]


def prefetch(
    files: Sequence[Path], *, context: str | None = None, on_progress: Callable[[int, int], None] | None = None
) -> Prefetched:
    """Download the reference files of exposures into the cache at CRDS_PATH.

    Without a network, a cache that holds all that is needed serves too.

    Parameters
    ----------
    files : sequence of Path
        Exposures, at any stage.
    context : str, optional
        Rules (``.pmap``); by default CRDS_CONTEXT, else the server's present ones.
    on_progress : callable, optional
        ``on_progress(done, total)``, in exposures.

    Returns
    -------
    Prefetched

    Raises
    ------
    ArchiveError
        If the server is out of reach and the cache does not hold what is needed.
    """
    references: set[str] = set()
    with _reaching_server():
        from crds.core import config, heavy_client, rmap

        pinned = str(heavy_client.get_context_name("jwst", context))
        if not Path(config.locate_mapping(pinned)).is_file():
            from crds.client import api

            api.dump_mappings(pinned)
        rules = rmap.get_cached_mapping(pinned)
        for done, path in enumerate(files, start=1):
            references.update(_references_of(path, pinned, rules))
            if on_progress is not None:
                on_progress(done, len(files))
    log.info("Calibration context %s, %d reference files in the cache", pinned, len(references))
    return Prefetched(pinned, Path(os.environ["CRDS_PATH"]), tuple(sorted(references)))


def prefetch_for(files: Sequence[Path], *, cache: Path | None = None, context: str | None = None) -> Prefetched:
    """Choose the source of the reference files of exposures, and download them.

    Where neither an argument nor the environment names a cache or a server, the observatory's server is asked.

    Parameters
    ----------
    files : sequence of Path
        Exposures, at any stage.
    cache : Path, optional
        Calibration cache that the user names.
    context : str, optional
        Calibration context (``.pmap``) that the user names.

    Returns
    -------
    Prefetched
        Its `cache` serves all workers from then on.

    Raises
    ------
    ReferenceFileError, ConfigError
        See `lyot.reference_files.environment.resolve_crds`.
    ArchiveError
        See `prefetch`.
    """
    nowhere = cache is None and not os.environ.get("CRDS_PATH") and not os.environ.get("CRDS_SERVER_URL")
    if nowhere:
        os.environ["CRDS_SERVER_URL"] = DEFAULT_SERVER
    try:
        chosen = resolve_crds(cache, context, files)
        with chosen.applied():
            return replace(prefetch(files, context=chosen.context), cache=chosen.path)
    finally:
        if nowhere:  # from here on the cache serves, and every worker reads the same
            os.environ.pop("CRDS_SERVER_URL", None)


def _references_of(path: Path, context: str, rules: Any) -> set[str]:
    """Names of the reference files of one exposure, which are in the cache afterwards."""
    from crds.core import heavy_client
    from stdatamodels.jwst import datamodels

    with datamodels.JwstDataModel(path) as model:  # the keywords, whatever the arrays are
        parameters = model.get_crds_parameters()
    kinds = rules.get_imap(str(parameters["meta.instrument.name"]).lower()).get_filekinds()
    wanted = sorted(k for k in map(str.lower, kinds) if k in TYPES or k.startswith("pars-"))
    found = heavy_client.getreferences(parameters, reftypes=wanted, context=context, observatory="jwst")
    return {Path(p).name for p in found.values() if not str(p).upper().startswith(("N/A", "NOT FOUND", "UNDEFINED"))}


@contextmanager
def _reaching_server() -> Iterator[None]:
    """One sentence for the many ways in which the reference system fails, one of which ends the process."""
    quiet = logging.getLogger("CRDS")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except (SystemExit, Exception) as error:
        from crds.core.exceptions import CrdsError

        if not isinstance(error, (SystemExit, CrdsError, OSError)):
            raise
        server, cache = os.environ.get("CRDS_SERVER_URL"), os.environ.get("CRDS_PATH", "")
        where = f"The calibration reference server {server} cannot be reached" if server else "No server is configured"
        raise ArchiveError(
            f"{where}, and the cache {cache} lacks some of the required references; check the network connection, or "
            "select a filled cache with CRDS_PATH."
        ) from error
    finally:
        quiet.setLevel(level)
