"""``lyot demo``: simulate a small sequence with a bright planet, reduce it, and compare what was found to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lyot.cli.options import Group, Sections, options

if TYPE_CHECKING:
    from lyot.analysis.summary import Fitted
    from lyot.simulator.params import SequenceParams

SCENE = "bright_planet"


def _observations(folder: Path, params: SequenceParams) -> None:
    """Simulate, unless the same sequence is there already."""
    from lyot.cli.simulate import make_sequence
    from lyot.simulator.plan import size_of
    from lyot.simulator.truth import read_truth
    from lyot.version import __version__

    if (folder / "truth.json").is_file() and (folder / "crds_cache").is_dir():
        truth = read_truth(folder)
        size = size_of(params.size)
        wanted = {"science": list(size.science), "reference": list(size.reference)}
        made = truth["size"], truth["instrument"]["filter"], truth["seed"]
        same = made == (wanted, params.filter.upper(), params.seed)
        if same and truth["generator"]["lyot"] == __version__:
            typer.echo(f"observations: {folder} (from an earlier simulation)")
            return
    typer.echo(f"observations: simulating into {folder} ...")
    make_sequence(folder, params, overwrite=True)


def nearest_companion(folder: Path, truth: dict[str, Any]) -> Fitted | None:
    """The fitted companion nearest to one of the truth, within 0.5 arcsec; None if there is none."""
    import numpy as np

    from lyot.analysis.summary import read_fitted
    from lyot.geometry import sky_offset

    here = sky_offset(truth["separation_arcsec"], truth["position_angle_deg"])
    fitted = [(float(np.hypot(*np.subtract(here, sky_offset(c.separation, c.position_angle)))), c)
              for c in read_fitted(folder)]  # fmt: skip
    distance, nearest = min(fitted, key=lambda pair: pair[0], default=(np.inf, None))
    return nearest if distance < 0.5 else None


def _planet_line(folder: Path, truth: dict[str, Any]) -> str:
    """The planet as it was put in and as it was found, and the differences in sigmas."""
    from math import isfinite

    from lyot.cli.results import companion_line
    from lyot.written import flux_text, in_ascii, position_text

    flux = truth["flux_jy"]
    expected = (
        f"separation {position_text(truth['separation_arcsec'], truth['position_angle_deg'])}, "
        f"flux {in_ascii(flux_text(flux))}"
    )
    found = nearest_companion(folder, truth)
    if found is None or isfinite(found.upper_limit):
        return f"planet {truth['name']}: injected at {expected}; not detected"
    turn = (found.position_angle - truth["position_angle_deg"] + 180.0) % 360.0 - 180.0
    off = (
        (found.separation - truth["separation_arcsec"]) / found.separation_error,
        turn / found.position_angle_error,
        (found.flux - flux) / found.flux_error,
    )
    return (
        f"planet {truth['name']}: injected at {expected}\n  measured: {companion_line(found)}\n  differences: "
        f"separation {off[0]:+.1f}, PA {off[1]:+.1f}, flux {off[2]:+.1f} sigma"
    )


@options(
    Group("sequence", "lyot.simulator.params:SequenceParams", only=("filter", "size")),
    Group("run", "lyot.run.config:RunParams", only=("jobs",), aliases={"jobs": ("-j",)}),
)
def demo(
    sections: Sections,
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder for observations and products.")] = Path(
        "demo"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Redo everything, even if up to date.")] = False,
) -> None:
    """Simulate a small sequence, reduce it, and measure the planet.

    The reduction starts from the raw ramps. No network is needed.
    """
    from lyot.cli.run import reduce_and_report
    from lyot.params import from_mapping
    from lyot.run.config import load_config
    from lyot.simulator.params import SequenceParams
    from lyot.simulator.truth import read_truth

    observations, reduction = out / "observations", out / "reduction"
    _observations(observations, from_mapping(SequenceParams, {"scene": SCENE, **sections["sequence"]}, where="demo: "))
    truth = read_truth(observations)["sky"]
    star = {"flux": truth["star"]["flux_jy"]}  # as its spectrum would tell
    run = {**sections["run"], "crds_path": str(observations / "crds_cache")}
    config = load_config(sections={"star": star, "run": run})
    result = reduce_and_report([observations], reduction, config, overwrite=overwrite)
    for companion in truth["companions"]:
        typer.echo(_planet_line(result.out / "measure", companion))


COMMANDS = {"demo": demo}
