"""``lyot demo``: simulate a small sequence with a bright planet, reduce it, and compare what was found to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lyot.run.execute import RunResult

SCENE = "bright_planet"
SEED = 1


def _observations(folder: Path, filter_name: str, size: str) -> None:
    """Simulate, unless the same sequence is there already."""
    from lyot.cli.simulate import make_sequence
    from lyot.simulator.plan import size_of
    from lyot.simulator.truth import read_truth
    from lyot.version import __version__

    if (folder / "truth.json").is_file() and (folder / "crds_cache").is_dir():
        truth = read_truth(folder)
        wanted = {"science": list(size_of(size).science), "reference": list(size_of(size).reference)}
        same = (truth["size"], truth["instrument"]["filter"], truth["seed"]) == (wanted, filter_name.upper(), SEED)
        if same and truth["generator"]["lyot"] == __version__:
            typer.echo(f"observations: {folder} (simulated before)")
            return
    typer.echo(f"observations: simulating into {folder} ...")
    make_sequence(folder, filter_name=filter_name, size=size, seed=SEED, scene=SCENE, overwrite=True, jobs=None)


def nearest_source(result: RunResult, companion: dict[str, Any]) -> tuple[Any, float] | None:
    """The detection nearest to a companion of the truth, and their distance in arcsec; None without detections."""
    import numpy as np

    from lyot.analysis.combined_image import read_detections
    from lyot.exposures.names import DETECTIONS

    paths = result.products("measure", DETECTIONS)
    table = read_detections(paths[0]) if paths else None
    if table is None or not len(table):
        return None
    truth = companion["separation_arcsec"] * np.exp(1j * np.radians(companion["position_angle_deg"]))
    found = np.asarray(table["separation"]) * np.exp(1j * np.radians(np.asarray(table["position_angle"])))
    nearest = int(np.argmin(np.abs(found - truth)))
    return table[nearest], float(np.abs(found - truth)[nearest])


def _planet_line(result: RunResult, companion: dict[str, Any]) -> str:
    expected = f'{companion["separation_arcsec"]:.3f}", PA {companion["position_angle_deg"]:.2f} deg'
    nearest = nearest_source(result, companion)
    if nearest is None:
        return f"planet {companion['name']}: not found (put in at {expected})"
    row, distance = nearest
    return (
        f'planet {companion["name"]}: separation {row["separation"]:.3f}", PA {row["position_angle"]:.2f} deg, '
        f"S/N {row['snr']:.1f}; put in at {expected}; {distance * 1000:.0f} mas apart"
    )


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for observations and products.")] = Path("demo"),
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=0, help="Worker processes; 0: by the machine.")
    ] = None,
    filter_name: Annotated[str, typer.Option("--filter", help="F1065C, F1140C, F1550C or F2300C.")] = "F1550C",
    size: Annotated[str, typer.Option(help="small, medium or full.")] = "small",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do everything again.")] = False,
) -> None:
    """Simulate a small observing sequence, reduce it from the raw ramps, and show the planet; no network needed."""
    from lyot.cli.run import reduce_and_report
    from lyot.run.config import load_config
    from lyot.simulator.truth import read_truth

    observations, reduction = out / "observations", out / "reduction"
    _observations(observations, filter_name, size)
    config = load_config(jobs=jobs, crds_path=str(observations / "crds_cache"))
    result = reduce_and_report([observations], reduction, config, overwrite=overwrite)
    for companion in read_truth(observations)["sky"]["companions"]:
        typer.echo(_planet_line(result, companion))


COMMANDS = {"demo": demo}
