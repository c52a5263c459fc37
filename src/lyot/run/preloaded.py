"""What tasks import, imported once by the process that workers are forked from; see `lyot.run.executors`.

Nothing here may start a thread: it would not survive the fork.
"""

from __future__ import annotations

import lyot.analysis.disks
import lyot.analysis.maps
import lyot.analysis.measurements
import lyot.analysis.proper_motion
import lyot.run.measure_task
import lyot.run.worker  # noqa: F401
from lyot.run.pipelines import pipeline_classes
from lyot.run.warm import warm_process

pipeline_classes()
warm_process()
