"""What tasks import, imported once by the process that workers are forked from; see `lyot.run.executors`.

What stage 1 needs besides is in `lyot.run.preloaded_stage1`, as runs of slopes or calibrated exposures do without it.
Nothing here may start a thread: it would not survive the fork.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from lyot.processes import without_collections


@contextlib.contextmanager
def _absent(name: str) -> Iterator[None]:
    """Within this context, imports of a module that is not loaded yet fail with ImportError."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's own sign for it
    try:
        yield
    finally:
        del sys.modules[name]


def import_all() -> None:
    """Import what tasks import, and load what they load."""
    with _absent("scipy.stats"):  # a third of a second; emcee does without it but for a move that is not used
        import emcee  # noqa: F401

    import lyot.analysis.disks
    import lyot.analysis.maps
    import lyot.analysis.measurements
    import lyot.analysis.proper_motion
    import lyot.run.measure_task
    import lyot.run.worker  # noqa: F401
    from lyot.run.pipelines import specification
    from lyot.run.warm import keep_schemas, rehearse, warm_process

    for stage in ("stage2", "stage3"):
        specification(stage)
    keep_schemas()
    rehearse()
    warm_process()  # at the end: what is there now is left out of garbage collections


# whatever goes wrong, the worker meets it again, and says so in the log of its task
with contextlib.suppress(Exception), without_collections():
    import_all()
