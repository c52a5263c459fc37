"""Which calibration references a run uses: what the user said, the environment, or a cache beside the input."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lyot.errors import ReferenceFileError
from lyot.run.config import RunParams
from lyot.run.manifest import write_text

log = logging.getLogger(__name__)

_BARE_SERVER = "https://crds-serverless-mode.stsci.edu"
"""The address by which the reference system knows that it must not connect."""

_BARE_CONTEXT = "jwst_0000.pmap"

_VARIABLES = ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL", "STPIPE_DISABLE_CRDS_STEPPARS", "CRDS_READONLY_CACHE")


@dataclass(frozen=True)
class Calibration:
    """Environment of the workers as far as calibration references are concerned.

    Attributes
    ----------
    environment : dict of str to str or None
        Variables to set, or to remove where None.
    context : str
        Name of the context, empty if the server chooses it.
    """

    environment: dict[str, str | None] = field(default_factory=dict)
    context: str = ""


def choose_calibration(params: RunParams, inputs: Iterable[Path], out: Path, *, needed: bool = True) -> Calibration:
    """Decide on the calibration cache and context.

    Parameters
    ----------
    params : RunParams
        ``crds_path`` and ``crds_context`` as the user gave them, or None.
    inputs : iterable of Path
        Exposure files; a folder ``crds_cache`` beside them, as `lyot simulate` writes it, is found.
    out : Path
        Output folder.
    needed : bool, optional
        Whether any stage to be run uses references. Where none does and there are none, an empty cache in the
        output folder keeps the official software, which asks for a context in any case, away from the network.

    Returns
    -------
    Calibration

    Raises
    ------
    ReferenceFileError
        If references are needed and there are none.
    """
    search = sorted({folder for path in inputs for folder in (path.parent, path.parent.parent)})
    try:
        module = importlib.import_module("lyot.steps.crds_environment")
    except ModuleNotFoundError as error:
        if error.name != "lyot.steps.crds_environment":
            raise
        return Calibration(context=os.environ.get("CRDS_CONTEXT", ""))
    try:
        return _resolved(module, params, search)
    except ReferenceFileError:
        if needed or params.crds_path is not None:
            raise
        return bare_calibration(out)


def bare_calibration(out: Path) -> Calibration:
    """A calibration cache without any reference, for stages that use none."""
    cache = out / ".crds"
    config = {
        "observatory": "jwst", "operational_context": _BARE_CONTEXT, "latest_context": _BARE_CONTEXT,
        "bad_files": "", "bad_files_list": [], "last_synced": "", "crds_version": {"str": "0"}, "status": "cache",
        "connected": False, "force_remote_mode": False, "server": "none",
    }  # fmt: skip
    write_text(cache / "config" / "jwst" / "server_config", repr(config) + "\n")
    write_text(cache / "config" / "jwst" / "bad_files.txt", "")
    write_text(cache / "config" / "jwst" / "ref_cache_subdir_mode", "instrument")
    environment = {
        "CRDS_PATH": str(cache), "CRDS_CONTEXT": _BARE_CONTEXT, "CRDS_SERVER_URL": _BARE_SERVER,
        "STPIPE_DISABLE_CRDS_STEPPARS": "true",
    }  # fmt: skip
    return Calibration(environment=dict(environment), context="none")


def _resolved(module: Any, params: RunParams, search: list[Path]) -> Calibration:
    before = {name: os.environ.get(name) for name in _VARIABLES}
    found = module.resolve_crds(params.crds_path, params.crds_context, search=search)
    try:
        found.apply()
        after = {name: os.environ.get(name) for name in _VARIABLES}
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return Calibration(environment=after, context=after.get("CRDS_CONTEXT") or getattr(found, "context", None) or "")
