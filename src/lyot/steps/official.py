"""The official pipelines of the three stages, imported without what MIRI coronagraphy never uses.

Importing ``jwst.pipeline`` imports the pipelines of all modes of all instruments, and with them what extracts spectra
and finds sources (photutils, BayesicFitting, pyplot): a third of all imports of a run. Here only the modules of the
three pipelines are imported, and what the 1/f noise step, skipped by default, does its work with is loaded when it is
first used. Whoever imports ``jwst.pipeline`` afterwards gets all of it, with the same classes.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_PACKAGE = "jwst.pipeline"

_RARELY_USED = ("jwst.clean_flicker_noise.autoparam", "jwst.clean_flicker_noise.clean_flicker_noise")
"""Modules that their step imports as wholes, so that they can be loaded at the first use of one of their attributes."""


class _Deferring(MetaPathFinder):
    """Finds the named modules as Python does, with a loader that waits for the first use of an attribute."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)
        self.waiting: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self.names else None
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None
        spec.loader = importlib.util.LazyLoader(spec.loader)
        self.waiting.append(fullname)
        return spec


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Within this context, imports of these modules do not load them yet; those loaded before stay as they are.

    Afterwards whoever imported them has them, and loads them at the first use of an attribute; they are not in
    `sys.modules`, as everything that walks through all modules there (`inspect.getmodule`) would load them.

    Parameters
    ----------
    *names : str
        Full names of modules, each imported as ``from package import module``.
    """
    finder = _Deferring(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.waiting:
            if type(sys.modules.get(name)) is not ModuleType:  # a module becomes one when it is loaded
                sys.modules.pop(name, None)


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


with bare_package(_PACKAGE), deferred(*_RARELY_USED):
    from jwst.pipeline.calwebb_coron3 import Coron3Pipeline
    from jwst.pipeline.calwebb_detector1 import Detector1Pipeline
    from jwst.pipeline.calwebb_image2 import Image2Pipeline

__all__ = ["Coron3Pipeline", "Detector1Pipeline", "Image2Pipeline"]
