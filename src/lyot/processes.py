"""What a process of ours has from its first moment: standard streams, and the signals that end it."""

from __future__ import annotations

import os
import signal
import sys

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


def end_when_asked() -> None:
    """End at a signal at once, in a fork: the handlers of the command would wait for locks that no thread here frees.

    What is ignored, as by nohup, stays ignored.
    """
    for number in (*ENDING, signal.SIGINT):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
