"""The official pipelines of the three stages, each imported alone and without what MIRI coronagraphy never uses.

Importing ``jwst.pipeline`` imports the pipelines of all modes of all instruments, and with them what extracts spectra
and finds sources (photutils, BayesicFitting, pyplot): a third of all imports of a run. Here only the modules of the
three pipelines are imported, each when its stage is run; the modules that the steps for 1/f noise, electronic
interference, outliers and resampling, skipped by default, do their work with are loaded when they are first used.
Whoever imports ``jwst.pipeline`` afterwards gets all of it, with the same classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_PACKAGE = "jwst.pipeline"

_RARELY_USED = (
    "jwst.clean_flicker_noise.autoparam", "jwst.clean_flicker_noise.clean_flicker_noise",
    *(f"jwst.outlier_detection.{kind}" for kind in ("coron", "ifu", "imaging", "spec", "tso")),
    "jwst.emicorr.emicorr", "jwst.picture_frame.picture_frame", "jwst.resample.resample",
    "jwst.resample.resample_spec",
)  # fmt: skip
"""Modules of which their step imports the whole, or functions, so that they can be loaded at the first use."""


class _Deferred(ModuleType):
    """Stands for a module, which is imported when one of its attributes is asked for.

    Where an attribute is imported itself, it must be a function: what is imported calls it.
    """

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is not self:
            return getattr(importlib.import_module(self.__name__), name)
        if name.startswith("__"):  # the import system asks for it
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*args, **kwargs)

        return call


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Within this context, imports of these modules give what stands for them, unless they are loaded already.

    Afterwards imports give the modules themselves, and whoever imported them within the context gets their attributes.

    Parameters
    ----------
    *names : str
        Full names of modules, each imported as ``from package import module``.
    """
    waiting = {name: _Deferred(name) for name in names if name not in sys.modules}
    sys.modules.update(waiting)
    try:
        yield
    finally:
        for name, module in waiting.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


@contextmanager
def bare_package(name: str) -> Iterator[None]:
    """Within this context, modules of a package can be imported without what its ``__init__`` imports.

    Parameters
    ----------
    name : str
        Full name of the package. If it is imported already, nothing changes.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        yield
        return
    bare = ModuleType(name)
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = bare
    try:
        yield
    finally:
        if sys.modules.get(name) is bare:
            del sys.modules[name]


def official_pipeline(module: str, name: str) -> Any:
    """The official pipeline of one stage, its module imported with the steps of this stage only.

    Parameters
    ----------
    module : str
        Module of ``jwst.pipeline``, e.g. ``"calwebb_coron3"``.
    name : str
        Its class, e.g. ``"Coron3Pipeline"``.
    """
    with bare_package(_PACKAGE), deferred(*_RARELY_USED):
        return getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
