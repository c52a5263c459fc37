"""What a worker process does once, after its imports, so that each step costs less.

The official base class of steps collects garbage six times per step, over some millions of objects that the imports
left and that are never garbage; and asdf parses the YAML of a schema again for each model that is opened, validated or
written, where stdatamodels copies and merges that of its kind. These are more than a third of the time of a small
pipeline, and change no result. The first model that is opened loads asdf's extensions, and the first question to CRDS
all schemas of data models: once for all workers forked later.
"""

from __future__ import annotations

import copy
import functools
import gc
import logging
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lyot.steps.asdf_extensions import KNOWN_ASDF, load_extensions

log = logging.getLogger(__name__)

_STDATAMODELS = "6"
"""Major version of stdatamodels whose private functions are known."""

_DESCRIBING = frozenset({"title", "description", "fits_keyword", "fits_hdu", "blend_table", "blend_rule"})
"""Entries of a schema that say nothing of what a value may be."""

_FITS_OPTIONS = ("enable_record_valued_keyword_cards", "extension_name_case_sensitive", "strip_header_whitespace")
"""Options of `astropy.io.fits` that are looked up for every card of a header."""


@functools.cache
def warm_process() -> None:
    """Keep parsed schemas, and leave what the imports made out of garbage collections; once per process.

    Values that were valid are not validated again. For processes of ours only: this changes private functions of asdf
    and stdatamodels, where their versions are known.
    """
    import asdf

    keep_schemas()
    _share_schemas()
    _remember_valid()
    _settle_fits_options()
    asdf.get_config().validate_on_read = False  # what is read was validated when it was written, and will be again
    gc.freeze()  # not collected before: next to none of what the imports leave is garbage


def _settle_fits_options() -> None:
    """Read the options of `astropy.io.fits` once: it looks them up for every card, a fifth of the time of opening.

    They can still be set in a worker (``fits.conf.NAME = value``), but not for a while (``fits.conf.set_temp``).
    """
    from astropy.io import fits

    for name in _FITS_OPTIONS:
        if hasattr(fits.conf, name):
            setattr(type(fits.conf), name, getattr(fits.conf, name))


@functools.cache
def settle(_what: str) -> None:
    """Leave what is there now out of garbage collections; once for each kind of work, after which its caches are full.

    Not after every task: what is kept from one task to the next, and is in a cycle, would never be freed.
    """
    gc.collect()
    gc.freeze()


def rehearse() -> None:
    """Write and read a small model and ask how CRDS names a keyword, so that what this loads is there."""
    import crds.jwst.locate
    from stdatamodels.jwst import datamodels

    with tempfile.TemporaryDirectory(prefix="lyot-") as folder, warnings.catch_warnings():
        load_extensions()
        warnings.simplefilter("ignore")  # the model has none of the keywords of an exposure
        path = Path(folder) / "rehearsal_calints.fits"
        with datamodels.CubeModel((1, 2, 2)) as model:
            model.save(path)
        datamodels.open(path).close()
        crds.jwst.locate.fits_to_parkeys({"meta.instrument.name": "MIRI"})


def _remember_valid() -> None:
    """Let data models validate a number or a text once for each rule: exposures have hundreds, most of them alike."""
    import stdatamodels
    import stdatamodels.validate

    check: Callable[[Any, Any, Any], None] | None = getattr(stdatamodels.validate, "_check_value", None)
    if check is None or stdatamodels.__version__.partition(".")[0] != _STDATAMODELS:
        log.debug("stdatamodels %s: values are validated in the standard way", stdatamodels.__version__)
        return
    valid: set[tuple[Any, ...]] = set()

    def remembering(value: Any, schema: Any, ctx: Any) -> None:
        key = _validity_key(value, schema)
        if key is None:
            check(value, schema, ctx)
        elif key not in valid:
            check(value, schema, ctx)  # raises if it is not
            valid.add(key)

    stdatamodels.validate._check_value = remembering


def _share_schemas() -> None:
    """Let all data models of a kind have one schema: it was copied and merged anew for each model that is opened.

    A model whose schema is extended gets its own, as ever.
    """
    import stdatamodels
    import stdatamodels.model_base as module

    load = getattr(getattr(module, "asdf_schema", None), "load_schema", None)
    merge = getattr(getattr(module, "mschema", None), "merge_property_trees", None)
    if load is None or merge is None or stdatamodels.__version__.partition(".")[0] != _STDATAMODELS:
        log.debug("stdatamodels %s: each model has a schema of its own", stdatamodels.__version__)
        return
    loaded: dict[tuple[str, bool], Any] = {}
    merged: dict[int, Any] = {}

    def load_once(url: str, *, resolve_references: bool = False) -> Any:
        key = url, resolve_references
        if key not in loaded:
            loaded[key] = load(url, resolve_references=resolve_references)
            merged[id(loaded[key])] = merge(loaded[key])
        return loaded[key]

    def merge_once(schema: Any) -> Any:
        return merged[id(schema)] if id(schema) in merged else merge(copy.deepcopy(schema))

    patched: Any = module
    patched.asdf_schema = types.SimpleNamespace(**{**vars(module.asdf_schema), "load_schema": load_once})
    patched.mschema = types.SimpleNamespace(**{**vars(module.mschema), "merge_property_trees": merge_once})


def _validity_key(value: Any, schema: Any) -> tuple[Any, ...] | None:
    """All that the validity of a plain value depends on; None where that cannot be told."""
    if type(value) not in (str, int, float, bool):
        return None
    rules = [(name, tuple(rule) if isinstance(rule, list) else rule)
             for name, rule in schema.items() if name not in _DESCRIBING]  # fmt: skip
    key = (type(value), value, *rules)
    try:
        hash(key)
    except TypeError:  # rules within rules
        return None
    return key


@functools.cache
def keep_schemas() -> None:
    """Let asdf keep what it has parsed of schemas, where its version is known."""
    import asdf
    import asdf.schema

    make_loader: Callable[[], Callable[[str], Any]] | None = getattr(asdf.schema, "_make_schema_loader", None)
    if make_loader is None or asdf.__version__.partition(".")[0] != KNOWN_ASDF:
        log.debug("asdf %s: its schemas are parsed in the standard way", asdf.__version__)
        return
    loader = functools.cache(make_loader())  # the schemas are those of the installed packages
    asdf.schema._make_schema_loader = lambda: loader
