"""The packages of lyot, and the names that each makes public."""

from __future__ import annotations

import importlib
import pkgutil

import lyot

ROOMS = sorted(m.name for m in pkgutil.walk_packages(lyot.__path__, "lyot.") if m.ispkg)
"""Full names of all packages below ``lyot``."""


MODULES = (
    "lyot.dq", "lyot.errors", "lyot.geometry", "lyot.instrument", "lyot.stacks", "lyot.report.figures",
    "lyot.tutorials.figures",
)  # fmt: skip
"""Modules outside of the packages, or in one, whose names are public there."""


def public_names() -> dict[str, list[str]]:
    """``__all__`` of ``lyot``, of each room, and of the public modules."""
    return {room: list(importlib.import_module(room).__all__) for room in ("lyot", *ROOMS, *MODULES)}
