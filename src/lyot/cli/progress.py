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
    """One line for each task that ends, with how many of all have ended."""

    def __init__(self) -> None:
        self._ended = 0
        self._total = "?"

    def __call__(self, event: Event) -> None:
        """Print the line of an event."""
        if event.kind == "planned":
            self._total = event.detail
            return
        name = event.task.id if event.task else ""
        text = {
            "current": f"{name}: up to date",
            "finished": f"{name}: done in {event.detail} s",
            "failed": f"{name}: failed",
        }.get(event.kind)
        if text:
            self._ended += 1
            typer.echo(f"[{self._ended}/{self._total}] {text}")


@contextmanager
def starting() -> Iterator[None]:
    """Say on a terminal that the program starts: importing the official pipeline takes seconds."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status("starting"):
        yield


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that counts up to `total`, on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
