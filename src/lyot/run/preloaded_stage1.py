"""What stage 1 needs besides `lyot.run.preloaded`, imported once by the process that workers are forked from."""

from __future__ import annotations

import contextlib

from lyot.processes import without_collections

with contextlib.suppress(Exception), without_collections():  # as there
    from lyot.run.pipelines import specification

    specification("stage1")
