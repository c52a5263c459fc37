"""What a worker process does once, after its imports, so that each step costs less.

The official base class of steps collects garbage six times per step, over some millions of objects that the imports
left and that are never garbage; and asdf parses the YAML of a schema again for each model that is opened, validated or
written. Both are a third of the time of a small pipeline, and change no result.
"""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_ASDF = "5"
"""Major version of asdf whose loader of schemas is known."""


@functools.cache
def warm_process() -> None:
    """Keep parsed schemas, and leave what the imports made out of garbage collections; once per process.

    For processes of ours only: the first changes a private function of asdf, where its version is known.
    """
    _keep_schemas()
    gc.collect()
    gc.freeze()


def _keep_schemas() -> None:
    import asdf
    import asdf.schema

    make_loader: Callable[[], Callable[[str], Any]] | None = getattr(asdf.schema, "_make_schema_loader", None)
    if make_loader is None or asdf.__version__.partition(".")[0] != _ASDF:
        log.debug("asdf %s: its schemas are parsed as ever", asdf.__version__)
        return
    loader = functools.cache(make_loader())  # the schemas are those of the installed packages
    asdf.schema._make_schema_loader = lambda: loader
