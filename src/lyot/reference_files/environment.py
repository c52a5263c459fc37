"""Location of the calibration references, from the environment variables of CRDS.

In this order: a cache that is named (an option), a cache that the environment names (CRDS_PATH), a ``crds_cache``
folder beside the input files (the simulator writes one), a server (CRDS_SERVER_URL). What is chosen is checked before
the pipeline starts, because the reference system ends the whole process when it finds nothing.

Nothing here imports jwst or crds: both read the environment, which must be set before.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from lyot.errors import ConfigError, ReferenceFileError

log = logging.getLogger(__name__)

FOLDER: Final = "crds_cache"
"""Name of the cache folder that is looked for beside the input files."""

DEFAULT_SERVER: Final = "https://jwst-crds.stsci.edu"

SIMULATED_MARKER: Final = "config/jwst/lyot_context"
"""File in a cache written by the simulator (`lyot.simulator.crds_cache.MARKER`)."""

_SYMBOLIC: Final = ("latest", "build", "jwst-latest", "jwst-operational", "jwst-build", "jwst-edit", "jwst-versions")

_HOW: Final = f"set CRDS_PATH to a filled cache, or both CRDS_PATH and CRDS_SERVER_URL={DEFAULT_SERVER}"


@dataclass(frozen=True)
class CrdsEnvironment:
    """Calibration cache and context.

    Attributes
    ----------
    source : "given", "environment", "beside" or "server"
        Named by an option, by CRDS_PATH, found beside the input files, or fetched from a server.
    path : Path
        Cache folder.
    context : str or None
        Rules to use (``.pmap``); None leaves the choice to the server or to the cache's latest.
    server : str or None
        Server to ask; None for a cache that is used without a network.
    variables : mapping of str to str or None
        Environment variables that make the reference system follow this choice; None removes one.
    ignored : tuple of Path
        Simulated caches beside the input files that the environment overrules: the files were simulated with other
        references than those they will be calibrated with.

    Examples
    --------
    >>> from lyot.reference_files import CrdsEnvironment
    >>> cache = CrdsEnvironment("given", Path("/data/crds"), "jwst_1535.pmap", None, {"CRDS_PATH": "/data/crds"})
    >>> str(cache)
    'cache /data/crds, context jwst_1535.pmap'
    >>> with cache.applied():
    ...     os.environ["CRDS_PATH"]
    '/data/crds'
    """

    source: Literal["given", "environment", "beside", "server"]
    path: Path
    context: str | None
    server: str | None
    variables: Mapping[str, str | None]
    ignored: tuple[Path, ...] = ()

    def apply(self) -> None:
        """Set the environment variables of this process; best before jwst or crds is imported.

        When crds is in memory already, what it remembers of the previous choice is forgotten.
        """
        set_variables(self.variables)
        log.info("Calibration references: %s", self)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Set the environment variables inside a ``with`` block, and restore them afterwards.

        Yields
        ------
        None
        """
        before: dict[str, str | None] = {name: os.environ.get(name) for name in self.variables}
        self.apply()
        try:
            yield
        finally:
            set_variables(before)

    def __str__(self) -> str:
        where = {
            "given": f"cache {self.path}",
            "environment": f"cache {self.path} (CRDS_PATH)",
            "beside": f"cache {self.path} (next to the input)",
            "server": f"server {self.server}, kept in {self.path}",
        }[self.source]
        return f"{where}, context {self.context or 'the latest'}"


def resolve_crds(
    explicit_path: str | Path | None = None,
    context: str | None = None,
    search: Iterable[str | Path] = (),
) -> CrdsEnvironment:
    """Choose the calibration references, and check that they are available.

    Parameters
    ----------
    explicit_path : path, optional
        Cache named by the user; goes before everything else.
    context : str, optional
        Context (``.pmap``) named by the user; otherwise CRDS_CONTEXT, otherwise the cache's latest.
    search : iterable of paths
        Input files or their folders; each folder and the one above it is looked at for a ``crds_cache``.

    Returns
    -------
    CrdsEnvironment
        To be applied in this process, or given to workers through its `variables`.

    Raises
    ------
    ReferenceFileError
        If there is no cache and no server, or the cache cannot be read, or lacks the context.
    ConfigError
        If the inputs come with different caches.

    Examples
    --------
    >>> import tempfile
    >>> from lyot.reference_files import resolve_crds
    >>> from lyot.simulator import write_empty_cache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = write_empty_cache(folder)
    ...     found = resolve_crds(folder)
    >>> found.context
    'jwst_lyotdcda26e1.pmap'
    """
    server = os.environ.get("CRDS_SERVER_URL") or None
    wanted = context or os.environ.get("CRDS_CONTEXT") or None
    if explicit_path is not None:
        path = Path(explicit_path).expanduser()
        # the environment's context belongs to the environment's cache
        same = os.environ.get("CRDS_PATH") and Path(os.environ["CRDS_PATH"]).expanduser().resolve() == path.resolve()
        return _cache("given", path, wanted if same else context, server)
    if os.environ.get("CRDS_PATH"):
        choice = _cache("environment", Path(os.environ["CRDS_PATH"]).expanduser(), wanted, server)
        return _with_ignored(choice, search)
    found = find_caches(search)
    if len(found) > 1:
        raise ConfigError(
            f"The inputs have different calibration caches ({', '.join(str(p) for p in found)}); reduce them "
            "separately, or select one cache with CRDS_PATH."
        )
    if found:
        simulated = (found[0] / SIMULATED_MARKER).is_file()
        return _cache("beside", found[0], context if simulated else wanted, None if simulated else server)
    if server:
        path = Path.home() / FOLDER
        return CrdsEnvironment("server", path, wanted, server, _variables(path, wanted, server))
    raise ReferenceFileError(f"No calibration references: there is no {FOLDER} next to the input files; {_HOW}.")


def _with_ignored(choice: CrdsEnvironment, search: Iterable[str | Path]) -> CrdsEnvironment:
    """Note, and warn of, simulated caches that were made for the inputs but are not used."""
    beside = tuple(p for p in find_caches(search) if p != choice.path.resolve() and (p / SIMULATED_MARKER).is_file())
    for path in beside:
        log.warning(
            "CRDS_PATH is set to %s, so the references in %s, with which the input was simulated, are not used; "
            "unset CRDS_PATH (and CRDS_CONTEXT) to use them.",
            choice.path,
            path,
        )
    return replace(choice, ignored=beside)


def find_caches(search: Iterable[str | Path]) -> list[Path]:
    """Caches named ``crds_cache`` in the folders of `search` (files or folders) or just above, each once, in order."""
    found: list[Path] = []
    for item in search:
        start = Path(item).resolve()
        folder = start if start.is_dir() else start.parent
        for place in (folder, folder.parent):
            candidate = place / FOLDER
            if (candidate / "config" / "jwst" / "server_config").is_file():
                if candidate not in found:
                    found.append(candidate)
                break
    return found


def _cache(
    source: Literal["given", "environment", "beside"], path: Path, context: str | None, server: str | None
) -> CrdsEnvironment:
    """The choice of a cache folder, checked as far as it must serve without a server."""
    if (path / SIMULATED_MARKER).is_file():
        server = None  # the server knows nothing of it
    if server is None:
        context = check_cache(path, context)
    elif path.exists() and not os.access(path, os.R_OK | os.X_OK):
        raise ReferenceFileError(f"The calibration cache {path} cannot be read; give read permission, or {_HOW}.")
    return CrdsEnvironment(source, path, context, server, _variables(path, context, server))


def _variables(path: Path, context: str | None, server: str | None) -> dict[str, str | None]:
    return {"CRDS_PATH": str(path.resolve()), "CRDS_CONTEXT": context, "CRDS_SERVER_URL": server}


def check_cache(path: str | Path, context: str | None = None) -> str:
    """Check that a cache can be used offline; return the context that will be used.

    Parameters
    ----------
    path : path
        Cache folder.
    context : str, optional
        Wanted context; by default the latest that the cache knows.

    Raises
    ------
    ReferenceFileError
        Naming what is missing.
    """
    path = Path(path)
    if not path.is_dir():
        raise ReferenceFileError(f"The calibration cache {path} does not exist; {_HOW}.")
    config = _server_config(path / "config" / "jwst" / "server_config")
    known = str(config.get("latest_context") or config.get("operational_context") or "")
    name = known if context is None or context in _SYMBOLIC else context
    mappings = path / "mappings" / "jwst"
    if not name:
        raise ReferenceFileError(
            f"The calibration cache {path} names no context; set CRDS_CONTEXT to one of its .pmap files."
        )
    if name.endswith(".pmap") and not os.access(mappings / name, os.R_OK):
        there = ", ".join(sorted(p.name for p in mappings.glob("*.pmap"))) or "none"
        raise ReferenceFileError(
            f"The calibration cache {path} has no readable context {name} (it has: {there}); "
            f"set CRDS_CONTEXT, or {_HOW}."
        )
    return name


def _server_config(file: Path) -> Mapping[str, Any]:
    try:
        config = ast.literal_eval(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReferenceFileError(
            f"{file.parents[2]} is not a complete calibration cache: config/jwst/server_config is missing; connect "
            f"once with CRDS_SERVER_URL={DEFAULT_SERVER}, or select another cache with CRDS_PATH."
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise ReferenceFileError(
            f"The calibration cache's {file} cannot be read ({error}); remove the file and connect once with "
            f"CRDS_SERVER_URL={DEFAULT_SERVER}, or select another cache with CRDS_PATH."
        ) from error
    if not isinstance(config, Mapping) or config.get("observatory") != "jwst":
        raise ReferenceFileError(
            f"{file} does not belong to a JWST calibration cache; select another cache with CRDS_PATH."
        )
    return config


def set_variables(variables: Mapping[str, str | None]) -> None:
    """Set or unset (None) variables of this process; a crds in memory forgets what it knows of the former ones."""
    changed = {name: value for name, value in variables.items() if os.environ.get(name) != value}
    for name, value in changed.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if changed and "crds" in sys.modules:
        _forget()


def _forget() -> None:
    """Make a crds that is in memory read the environment anew."""
    from crds.client import api
    from crds.core import config, utils

    utils.clear_function_caches()
    config.CRDS_REF_SUBDIR_MODE = "None"
    server = os.environ.get("CRDS_SERVER_URL")
    if server:
        api.set_crds_server(server)
    else:
        vars(api).pop("URL", None)
        api.S = None


@contextlib.contextmanager
def stop_system_exit(name: str) -> Iterator[None]:
    """Convert a `SystemExit` raised by CRDS into an error.

    Without a network and a usable cache it raises `SystemExit`, which ``except Exception`` does not catch and at which
    worker pools hang.

    Parameters
    ----------
    name : str
        What is being done, for the message; e.g. ``"stage 1 of jw01386008001_03101_00001_mirimage"``.
    """
    try:
        yield
    except SystemExit as error:
        raise ReferenceFileError(
            f"{name}: the calibration reference system (CRDS) failed (exit {error.code}); {_HOW}."
        ) from error
