"""The bars of a run: how far it is, what is at work, and what has ended."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from lyot.cli.progress import Lines
from lyot.interface import progress
from lyot.run.execute import Event
from lyot.run.task import Task


def task(name: str) -> Task:
    return Task(name, name.partition("/")[0], name.partition("/")[2], (), {})


@pytest.fixture
def shown() -> tuple[progress._Bars, Progress, io.StringIO]:
    written = io.StringIO()
    bars = Progress(console=Console(file=written, width=100), auto_refresh=False)
    return progress._Bars(bars), bars, written


def test_a_run_from_its_plan_to_its_end(shown):
    listener, bars, written = shown
    tasks = [SimpleNamespace(id=name, weight=weight) for name, weight in (("stage1/a", 3.0), ("stage2/a", 1.0))]
    assert [(t.description, t.total) for t in bars.tasks] == [("reading the exposures", None)]
    listener(Event("planned", plan=SimpleNamespace(tasks=tasks)))
    (overall,) = bars.tasks
    assert (overall.total, overall.completed) == (4.0, 0)
    listener(Event("current", task=task("stage1/a")))  # its products are there
    assert overall.completed == 3.0
    listener(Event("started", task=task("stage2/a")))
    assert [t.description for t in bars.tasks] == ["all", "stage2/a"]
    listener(Event("step", task=task("stage2/a"), detail="flat_field"))
    at_work = bars.tasks[1]
    assert at_work.description == "stage2/a flat_field"
    assert (at_work.completed, at_work.total) == (1, progress.STEPS_EXPECTED["stage2"])
    assert overall.completed == pytest.approx(3.0 + 1.0 / 6.0)  # the bar moves within a task: one of five steps
    for _ in range(20):
        listener(Event("step", task=task("stage2/a"), detail="more"))
    assert overall.completed == pytest.approx(3.9)  # and ends only with it
    listener(Event("finished", task=task("stage2/a"), detail="12"))
    assert overall.finished and len(bars.tasks) == 1
    assert written.getvalue().splitlines() == ["stage1/a: up to date", "stage2/a: done in 12 s"]


def test_one_line_for_each_task_that_ends(capsys):
    lines = Lines()
    lines(Event("planned", detail="3"))
    for kind, name in (("current", "stage1/a"), ("started", "stage2/a"), ("step", "stage2/a")):
        lines(Event(kind, task=task(name), detail="flat_field"))
    lines(Event("finished", task=task("stage2/a"), detail="12.0"))
    lines(Event("failed", task=task("stage3/a"), detail="no references"))
    said = ["[1/3] stage1/a: up to date", "[2/3] stage2/a: done in 12.0 s", "[3/3] stage3/a: failed"]
    assert capsys.readouterr().out.splitlines() == said


def test_what_fails_is_told_and_does_not_count(shown):
    listener, bars, written = shown
    listener(Event("planned", plan=SimpleNamespace(tasks=[SimpleNamespace(id="stage3/a", weight=1.0)])))
    listener(Event("step", task=task("stage3/a"), detail="klip"))  # of a task that was not seen to start
    listener(Event("started", task=task("stage3/a")))
    listener(Event("failed", task=task("stage3/a"), detail="no references"))
    assert bars.tasks[0].completed == 0 and len(bars.tasks) == 1
    assert written.getvalue().splitlines() == ["stage3/a: failed"]


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_for_terminals(terminal, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: terminal))
    told = []
    with progress.progress_display(told.append) as listener:
        assert isinstance(listener, progress._Bars) == terminal
        listener(Event("planned", plan=SimpleNamespace(tasks=[])))
    assert len(told) == (not terminal)
    if not terminal:
        with progress.progress_display() as listener:
            assert listener(Event("planned")) is None
