"""``lyot info``: what the exposures are for, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyot.cli.options import ROLE

if TYPE_CHECKING:
    from rich.table import Table

    from lyot.exposures.roles import Assigned


def exposure_table(assigned: Sequence[Assigned]) -> Table:
    """Table of exposures with their roles, for the terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("role", "exposure", "stage", "target", "filter"):
        table.add_column(name, overflow="fold")
    for name in ("obs", "dither", "roll (deg)", "ints x groups", "time (s)"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in assigned:
        e = item.exposure
        table.add_row(
            item.label, e.root, "" if e.is_acquisition else e.stage, e.target, e.filter, e.observation,
            f"{e.dither}/{e.n_dithers}" if e.n_dithers > 1 else "",
            "" if e.roll is None else f"{e.roll:.3f}",
            f"{e.n_integrations} x {e.n_groups}", f"{e.integration_time * e.n_integrations:.0f}",
        )  # fmt: skip
    return table


def show(assigned: Sequence[Assigned], *, left_out: Sequence[str] = (), width: int | None = None) -> None:
    """Print the table of exposures, what was left out, and what is missing."""
    from rich.console import Console

    from lyot.exposures.background_state import state_advice
    from lyot.exposures.roles import advice

    console = Console(highlight=False, soft_wrap=False, width=width)
    if not console.is_terminal and width is None:
        console = Console(highlight=False, width=160)
    console.print(exposure_table(assigned))
    lines = [*advice(assigned), *state_advice(assigned)]
    for line in (*left_out, *lines):
        console.print(f"- {line}", style="yellow", soft_wrap=True)
    if not lines:
        console.print("Nothing is missing for stage 3.", soft_wrap=True)


def info(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or associations.")],
    role: Annotated[list[str] | None, ROLE] = None,
) -> None:
    """List the role of each exposure, and what is missing for a reduction."""
    from lyot.exposures.given_roles import roles_section
    from lyot.exposures.inputs import look_at
    from lyot.exposures.roles import sort_roles

    found = look_at(paths, roles=roles_section(role))
    if found.exposures:
        show(sort_roles(found.exposures), left_out=found.left_out)
    failures = list(found.failures.values())
    for failure in failures[1:]:
        typer.echo(f"Error: {failure}", err=True)
    if failures:
        raise failures[0]


COMMANDS = {"info": info}
