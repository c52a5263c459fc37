"""Lyot: JWST/MIRI coronagraphy from raw ramps to a measured planet.

>>> import lyot
>>> run = lyot.reduce("mydata/", "reduced")  # doctest: +SKIP
>>> run.detections  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lyot import kernel_cache
from lyot.version import __version__

if TYPE_CHECKING:
    from lyot.errors import LyotError, LyotWarning
    from lyot.interface.arrays import Subtracted, subtract_star
    from lyot.interface.run import Run, open, reduce
    from lyot.interface.simulation import simulate


__all__ = [
    "LyotError",
    "LyotWarning",
    "Run",
    "Subtracted",
    "__version__",
    "open",
    "reduce",
    "simulate",
    "subtract_star",
]

kernel_cache.provide_writable(Path(__file__).parent)

_HOMES = {
    "LyotError": "lyot.errors",
    "LyotWarning": "lyot.errors",
    "Run": "lyot.interface.run",
    "Subtracted": "lyot.interface.arrays",
    "open": "lyot.interface.run",
    "reduce": "lyot.interface.run",
    "simulate": "lyot.interface.simulation",
    "subtract_star": "lyot.interface.arrays",
}
"""Where the public names are defined; each is imported when it is first used."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lyot' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
