"""What a worker process does once, after its imports, so that each step costs less.

The official base class of steps collects garbage six times per step, over some millions of objects that the imports
left and that are never garbage; and asdf parses the YAML of a schema again for each model that is opened, validated or
written. Both are a third of the time of a small pipeline, and change no result. The first model that is opened loads
asdf's extensions, and the first question to CRDS all schemas of data models: once for all workers forked later.
"""

from __future__ import annotations

import functools
import gc
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_ASDF = "5"
"""Major version of asdf whose loader of schemas is known."""


@functools.cache
def warm_process() -> None:
    """Keep parsed schemas, and leave what the imports made out of garbage collections; once per process.

    For processes of ours only: the first changes a private function of asdf, where its version is known.
    """
    import asdf

    keep_schemas()
    asdf.get_config().validate_on_read = False  # what is read was validated when it was written, and will be again
    gc.collect()
    gc.freeze()


def rehearse() -> None:
    """Write and read a small model and ask how CRDS names a keyword, so that what this loads is there."""
    import crds.jwst.locate
    from stdatamodels.jwst import datamodels

    with tempfile.TemporaryDirectory(prefix="lyot-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the model has none of the keywords of an exposure
        path = Path(folder) / "rehearsal_calints.fits"
        with datamodels.CubeModel((1, 2, 2)) as model:
            model.save(path)
        datamodels.open(path).close()
        crds.jwst.locate.fits_to_parkeys({"meta.instrument.name": "MIRI"})


@functools.cache
def keep_schemas() -> None:
    """Let asdf keep what it has parsed of schemas, where its version is known."""
    import asdf
    import asdf.schema

    make_loader: Callable[[], Callable[[str], Any]] | None = getattr(asdf.schema, "_make_schema_loader", None)
    if make_loader is None or asdf.__version__.partition(".")[0] != _ASDF:
        log.debug("asdf %s: its schemas are parsed as ever", asdf.__version__)
        return
    loader = functools.cache(make_loader())  # the schemas are those of the installed packages
    asdf.schema._make_schema_loader = lambda: loader
