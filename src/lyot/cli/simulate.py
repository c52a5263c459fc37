"""``lyot simulate``: a simulated observing sequence with its truth and its calibration cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyot.cli.results import FAINT_PLANET

if TYPE_CHECKING:
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


def make_sequence(
    out: Path, *, filter_name: str, size: str, seed: int, scene: str | None, overwrite: bool, jobs: int | None
) -> SimulatedSequence:
    """Simulate with the progress shown."""
    from lyot.simulator.sequence import simulate_sequence

    with _fraction_bar() as bar:
        return simulate_sequence(
            out, filter=filter_name, size=size, seed=seed, scene=scene, overwrite=overwrite, jobs=jobs, progress=bar
        )


def simulate(
    out: Annotated[Path, typer.Argument(help="Output folder.")],
    filter_name: Annotated[str, typer.Option("--filter", help="F1065C, F1140C, F1550C or F2300C.")] = "F1550C",
    size: Annotated[str, typer.Option(help="small (170 MB), medium (1 GB) or full (as observed, 13 GB).")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 1,
    scene: Annotated[str | None, typer.Option(help="Scene file (TOML), or the name of a bundled scene.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an earlier simulated sequence.")] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Number of threads. Default: all cores.")
    ] = None,
) -> None:
    """Simulate the raw exposures of HIP 65426 and its reference.

    The true scene and a calibration cache are written next to the raw files.
    """
    sequence = make_sequence(
        out, filter_name=filter_name, size=size, seed=seed, scene=scene, overwrite=overwrite, jobs=jobs
    )
    typer.echo(f"{len(sequence.uncal)} raw exposures in {sequence.path}; true values: {sequence.truth}")
    if size == "small" and scene is None:
        typer.echo(f"Note: {FAINT_PLANET}.")
    if sequence.crds is not None:
        typer.echo("lyot run finds the calibration cache automatically; for the official pipelines:")
        typer.echo(f"export CRDS_PATH={sequence.crds.path.absolute()}\nexport CRDS_CONTEXT={sequence.crds.context}")


COMMANDS = {"simulate": simulate}
