"""Extensions of asdf, which all data models need, loaded in half the time."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import types
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)

KNOWN_ASDF = "5"
"""Major version of asdf whose private functions are known."""


@functools.cache
def load_extensions() -> None:
    """Load the extensions of asdf, if they are not there yet; the first data model would."""
    import asdf

    with _manifests_by_libyaml():
        _ = asdf.get_config().extensions


@contextlib.contextmanager
def _manifests_by_libyaml() -> Iterator[None]:
    """Let asdf read the lists of its extensions by the parser in C, as it reads schemas, where its version is known.

    There are fifty, and the parser in Python takes a quarter of a second for them.
    """
    import asdf
    import yaml

    module: Any = importlib.import_module("asdf.extension._manifest")
    loader = getattr(yaml, "CSafeLoader", None)
    load = functools.partial(yaml.load, Loader=loader)
    if loader is None or getattr(module, "yaml", None) is not yaml or asdf.__version__.partition(".")[0] != KNOWN_ASDF:
        log.debug("asdf %s: the lists of its extensions are read in the standard way", asdf.__version__)
        yield
        return
    module.yaml = types.SimpleNamespace(safe_load=load)
    try:
        yield
    finally:
        module.yaml = yaml
