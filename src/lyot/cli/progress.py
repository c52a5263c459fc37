"""Progress: of a run where there is no terminal, a line for each event; of a count, a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lyot.run.execute import Event


class Lines:
    """One line per event."""

    def __call__(self, event: Event) -> None:
        """Print the line of an event."""
        name = event.task.id if event.task else ""
        text = {
            "planned": f"{event.detail} tasks",
            "current": f"{name}: up to date",
            "started": f"{name}: started",
            "finished": f"{name}: done in {event.detail} s",
            "failed": f"{name}: failed",
        }.get(event.kind)
        if text:
            typer.echo(text)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that counts up to `total`, on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
