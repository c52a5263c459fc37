"""Figures drawn by several processes are those that one process draws."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
from matplotlib.figure import Figure

from lyot.processes import ENDING
from lyot.report import rendering
from lyot.report.content import Picture


def picture(number: int) -> Picture:
    figure = Figure(figsize=(2, 1.5), layout="constrained")
    figure.subplots().plot([0, number, 1])
    return Picture(f"p{number}", figure, "caption", "alt")


@pytest.fixture
def four_cores(monkeypatch):
    """More cores than this machine may have."""
    monkeypatch.setattr(rendering, "available_cores", lambda: 4)


@pytest.fixture
def alone(monkeypatch):
    """No other thread, whatever runs these tests: those of the test runner hold nothing that drawing needs."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere figures are drawn one by one")
def test_each_picture_gets_its_own(four_cores, alone):
    drawn = [picture(n) for n in range(7)]
    rendering.render_pictures(drawn)
    assert all("png" in p.__dict__ for p in drawn)
    assert [p.png for p in drawn] == [picture(n).png for n in range(7)]
    assert len({p.png for p in drawn}) == 7


def test_next_to_other_threads_nothing_is_forked(four_cores):
    drawn = [picture(n) for n in range(7)]
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    rendering.render_pictures(drawn)
    end.set()
    thread.join()
    assert not any("png" in p.__dict__ for p in drawn)
    assert drawn[0].png == picture(0).png


def test_few_pictures_are_drawn_here(four_cores, alone):
    drawn = [picture(n) for n in range(4)]
    rendering.render_pictures(drawn)
    assert not any("png" in p.__dict__ for p in drawn)


class Standin:
    """A picture whose drawing tells of, or ends, the process that draws it."""

    def __init__(self, draw):
        self._draw, self._at_home = draw, os.getpid()

    def __getattr__(self, name):
        if name != "png":
            raise AttributeError(name)
        return self._draw(os.getpid() == self._at_home)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere figures are drawn one by one")
def test_processes_that_draw_do_not_have_the_commands_handler_of_signals(four_cores, alone):
    """With it they waited for a lock for ever when they were told to end, and the report with them."""
    before = {number: signal.signal(number, lambda *_: None) for number in ENDING}
    try:
        drawn = [Standin(lambda _here: str(signal.getsignal(signal.SIGTERM))) for _ in range(6)]
        rendering.render_pictures(drawn)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert {p.__dict__["png"] for p in drawn} == {str(signal.SIG_DFL)}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere figures are drawn one by one")
@pytest.mark.timeout(60)
def test_a_process_that_is_killed_costs_no_figure(four_cores, alone, caplog):
    def draw(here: bool) -> str:
        if not here:
            os.kill(os.getpid(), signal.SIGKILL)
        return "drawn here"

    drawn = [Standin(draw) for _ in range(6)]
    rendering.render_pictures(drawn)
    assert [p.png for p in drawn] == ["drawn here"] * 6
    assert "drawn one by one" in caplog.text
