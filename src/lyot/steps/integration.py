"""What this package registers with stpipe: classes, their names for ``strun``, and whether they are pipelines.

This module is imported by every ``strun`` and ``stpipe list``, so it imports nothing. Names are global over all
installed packages, hence the prefix ``lyot_``: ``strun jump`` stays the official step.
"""

from __future__ import annotations

_STAGE1: tuple[tuple[str, str | None, bool], ...] = (
    ("lyot.steps.detector1.Detector1Pipeline", "lyot_detector1", True),
)


def get_steps() -> tuple[tuple[str, str | None, bool], ...]:
    """Steps and pipelines of this package: (class path, name for ``strun``, is a pipeline)."""
    return _STAGE1
