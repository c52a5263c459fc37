"""``lyot simulate``: a simulated observing sequence with its truth and its calibration cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyot.cli.options import Group, Sections, options
from lyot.cli.results import FAINT_PLANET

if TYPE_CHECKING:
    from lyot.simulator.params import SequenceParams
    from lyot.simulator.sequence import SimulatedSequence


@contextlib.contextmanager
def _fraction_bar() -> Iterator[Callable[[float, str], None] | None]:
    """A bar fed with a fraction and a message; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console()
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("simulate", total=1.0)

        def show(fraction: float, message: str) -> None:
            progress.update(task, completed=fraction, description=message)

        yield show


def make_sequence(out: Path, params: SequenceParams, *, overwrite: bool) -> SimulatedSequence:
    """Simulate with the progress shown."""
    from lyot.simulator.sequence import simulate_sequence

    with _fraction_bar() as bar:
        return simulate_sequence(out, **vars(params), overwrite=overwrite, progress=bar)


@options(Group("sequence", "lyot.simulator.params:SequenceParams", aliases={"jobs": ("-j",)}))
def simulate(
    out: Annotated[Path, typer.Argument(help="Output folder.")],
    sections: Sections,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an earlier simulated sequence.")] = False,
) -> None:
    """Simulate the raw exposures of HIP 65426 and its reference.

    The true scene and a calibration cache are written next to the raw files.
    """
    from lyot.params import from_mapping
    from lyot.simulator.params import SequenceParams

    params = from_mapping(SequenceParams, sections["sequence"], where="simulate: ")
    sequence = make_sequence(out, params, overwrite=overwrite)
    typer.echo(f"{len(sequence.uncal)} raw exposures in {sequence.path}; true values: {sequence.truth}")
    if params.size == "small" and params.scene is None:
        typer.echo(f"Note: {FAINT_PLANET}.")
    if sequence.crds is not None:
        typer.echo("lyot run finds the calibration cache automatically; for the official pipelines:")
        typer.echo(f"export CRDS_PATH={sequence.crds.path.absolute()}\nexport CRDS_CONTEXT={sequence.crds.context}")


COMMANDS = {"simulate": simulate}
