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


STAGES = {"stage1": "stage 1", "stage2": "stage 2", "stage3": "stage 3", "measure": "measuring"}


def show_run(out: Path) -> None:
    """Print what an output folder of `lyot run` holds: stages, images, what was found, and warnings."""
    from lyot.cli.results import show_notes, show_tables
    from lyot.exposures.names import is_product
    from lyot.records.manifest import NOTES, Manifest

    records = Manifest(out).records
    if not records:
        typer.echo(f"{out}: no task of the run has finished yet; to continue, use lyot run with the same --out.")
        return
    last = max(records, key=lambda r: r.started)
    typer.echo(f"{out}: lyot {last.versions.get('lyot', '?')}, jwst {last.versions.get('jwst', '?')}, "
               f"last task of {last.started[:16].replace('T', ' ')} UTC")  # fmt: skip
    for kind, name in STAGES.items():
        done = [r for r in records if r.kind == kind and not r.failure]
        if done:
            tasks = "1 task" if len(done) == 1 else f"{len(done)} tasks"
            typer.echo(f"{name}: {tasks}, {sum(r.wall_time for r in done):.0f} s")
    products = [out / p.path for r in records if r.kind in ("stage3", "measure") for p in r.products]
    for path in products:
        if is_product(path, "i2d"):
            typer.echo(f"image: {path}" + ("" if path.is_file() else " (missing; rerun lyot run)"))
    there = [path for path in products if path.is_file()]
    show_tables(there)
    show_notes(out / NOTES, there, [r.failure for r in records if r.failure])
    report = out / "report" / "index.html"
    if report.is_file():
        typer.echo(f"report: {report}")


def info(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or associations, or output folders of lyot run.")],
    role: Annotated[list[str] | None, ROLE] = None,
) -> None:
    """List exposures with their roles, or the results of a run.

    For exposures, what is missing for a reduction is listed as well.
    """
    from lyot.exposures.given_roles import roles_section
    from lyot.exposures.inputs import look_at
    from lyot.exposures.roles import sort_roles
    from lyot.records.manifest import FILE_NAME

    for out in [path for path in paths if (path / FILE_NAME).is_file()]:
        show_run(out)
        paths = [path for path in paths if path != out]
    if not paths:
        return
    found = look_at(paths, roles=roles_section(role))
    if found.exposures:
        show(sort_roles(found.exposures), left_out=found.left_out)
    failures = list(found.failures.values())
    for failure in failures[1:]:
        typer.echo(f"Error: {failure}", err=True)
    if failures:
        raise failures[0]


COMMANDS = {"info": info}
