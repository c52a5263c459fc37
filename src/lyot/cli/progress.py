"""Progress of a run where there is no terminal: a line for each event."""

from __future__ import annotations

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
