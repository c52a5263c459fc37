"""What a process of ours has from its first moment: standard streams, and the signals that end it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator

ENDING = (signal.SIGHUP, signal.SIGTERM)
"""Signals at which a command leaves in order, besides Ctrl-C."""


def provide_streams() -> None:
    """Open the standard streams that are closed, to nowhere.

    Otherwise the next file that is opened gets the number of one of them, and is written to by whoever prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number that is free
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def leave_signals_to_parent() -> None:
    """End when the parent asks, and at no signal that reaches all processes of a terminal: the parent reacts to that.

    A fork has the handlers of the command, which would wait for locks that no thread of its own frees.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage within this context: imports make millions of objects, of which next to none is garbage.

    Looking through them again and again takes a fifth of the time of the imports of a run.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def collections_of_new_objects() -> Iterator[None]:
    """Within this context, garbage collections look only at what was made in it; at its beginning all is collected.

    The official base class collects garbage at the beginning of each step, over the million objects of the imports.
    Where objects are left out already, as in workers, nothing changes.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def release_memory() -> None:
    """Give memory that is free back to the system, where the C library can (glibc).

    It keeps freed arrays of up to 32 MB for later ones, which in a worker that goes from one kind of work to another
    are hundreds of MB.
    """
    if sys.platform != "linux":
        return
    import ctypes  # not when a command starts

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def serve_parent() -> None:
    """Set up a process that works for its parent: it ends with it, however that ends, and when it asks."""
    leave_signals_to_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing  # not when a command starts

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
