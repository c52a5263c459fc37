"""Progress bar of a run, on a terminal and in a notebook."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lyot.run.execute import Event, Listener

STEPS_EXPECTED = {"stage1": 20, "stage2": 5, "stage3": 5, "measure": 1}
"""Roughly how many steps each kind of task reports, to move the bar within a task."""

MOST_OF_A_TASK = 0.9
"""The bar of the run goes no further for a task that has not ended, however many steps it reports."""


class _Bars:
    """One bar for the run and one for each task at work."""

    def __init__(self, progress: object) -> None:
        self._progress = progress
        self._overall: int | None = None
        self._tasks: dict[str, int] = {}
        self._weights: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self._reading: int | None = self._add("reading the exposures", None)

    def __call__(self, event: Event) -> None:
        if event.kind == "planned" and event.plan is not None:
            if self._reading is not None:
                self._progress.remove_task(self._reading)  # type: ignore[attr-defined]
                self._reading = None
            self._weights = {t.id: t.weight for t in event.plan.tasks}
            self._overall = self._add("all", sum(self._weights.values()))
        elif event.task is not None:
            getattr(self, f"_{event.kind}")(event, event.task.id)

    def _add(self, label: str, total: float | None) -> int:
        return int(self._progress.add_task(label, total=total))  # type: ignore[attr-defined]

    def _print(self, text: str) -> None:
        self._progress.console.print(text, highlight=False)  # type: ignore[attr-defined]

    def _advance(self, task: str, share: float = 1.0) -> None:
        """Move the bar of the run to where `share` of a task is done."""
        self._begun[task] = share * self._weights.get(task, 0.0)
        self._progress.update(self._overall, completed=sum(self._begun.values()))  # type: ignore[attr-defined]

    def _current(self, _event: Event, task: str) -> None:
        self._print(f"{task}: up to date")
        self._advance(task)

    def _started(self, _event: Event, task: str) -> None:
        expected = STEPS_EXPECTED.get(task.partition("/")[0], 1)
        self._tasks[task] = self._add(task, expected)

    def _step(self, event: Event, task: str) -> None:
        if task in self._tasks:
            label = f"{task} {event.detail}"
            self._progress.update(self._tasks[task], advance=1, description=label)  # type: ignore[attr-defined]
            expected = STEPS_EXPECTED.get(task.partition("/")[0], 1)
            self._steps[task] = self._steps.get(task, 0) + 1
            self._advance(task, min(self._steps[task] / (expected + 1), MOST_OF_A_TASK))

    def _finished(self, event: Event, task: str) -> None:
        self._remove(task)
        self._print(f"{task}: done in {event.detail} s")
        self._advance(task)

    def _failed(self, _event: Event, task: str) -> None:
        self._remove(task)
        self._print(f"{task}: failed")
        self._advance(task, 0.0)

    def _remove(self, task: str) -> None:
        if task in self._tasks:
            self._progress.remove_task(self._tasks.pop(task))  # type: ignore[attr-defined]


@contextlib.contextmanager
def progress_display(elsewhere: Listener | None = None) -> Iterator[Listener]:
    """Listener for `lyot.run.execute.run` that shows the progress.

    Parameters
    ----------
    elsewhere : callable, optional
        The listener where there is neither a terminal nor a notebook; by default nothing is shown there.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console()
    if not (console.is_terminal or console.is_jupyter):
        yield elsewhere or (lambda _event: None)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(progress)
