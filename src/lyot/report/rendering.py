"""Figures of the report drawn by several processes at once.

Drawing takes most of the time of a report. The processes are forked, so that they have the figures without copying
them; where that is not safe (threads are running, as in a notebook) or not possible, figures are drawn one by one.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from lyot.processes import serve_parent
from lyot.report.content import Picture
from lyot.run.executors import available_cores

log = logging.getLogger(__name__)

FEW = 3
"""Figures that are not worth a process."""

_waiting: Sequence[Picture] = ()
"""Figures to draw, for the processes that are forked while they are here."""


def render_pictures(pictures: Sequence[Picture]) -> None:
    """Draw figures in parallel, where that is possible; otherwise each is drawn when its `Picture.png` is read.

    Parameters
    ----------
    pictures : sequence of Picture
    """
    global _waiting
    pictures = [picture for picture in pictures if "png" not in picture.__dict__]  # some were drawn before
    processes = min(available_cores(), len(pictures) // FEW)
    if processes < 2 or sys.platform != "linux" or threading.active_count() > 1:
        return
    _waiting = pictures
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(processes, mp_context=context, initializer=serve_parent) as pool:
            for picture, png in zip(pictures, pool.map(_png, range(len(pictures))), strict=True):
                picture.__dict__["png"] = png  # where `cached_property` keeps it
    except BrokenProcessPool:  # e.g. for want of memory
        log.warning("a process drawing figures of the report was killed; the remaining figures are drawn one by one")
    finally:
        _waiting = ()


def _png(number: int) -> str:
    return _waiting[number].png
