"""``lyot companion``: flux and position of companions in a finished run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import STAR, TARGET, Group, Sections, options, refresh_report
from lyot.cli.results import GIVE_STAR, companion_line


@options(
    STAR,
    Group("companion", "lyot.analysis.parameters:CompanionSection", leave_out=("measure", "positions")),
    Group("systematics", "lyot.measure.systematics:SystematicParams", prefix="error-"),
)
def companion(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    sections: Sections,
    target: Annotated[str | None, TARGET] = None,
    guess: Annotated[
        list[str] | None,
        typer.Option(help="SEPARATION,PA in arcsec and degrees; may be repeated. Default: the detections of the run."),
    ] = None,
) -> None:
    """Fit flux and position of companions by a forward model through the reduction, with an error budget.

    Writes measure/companions.ecsv, measure/error_budget.ecsv and measure/companions_residual.fits.
    """
    from lyot.analysis.finished_run import open_run
    from lyot.analysis.measurements import measure_companions
    from lyot.analysis.parameters import parse_position
    from lyot.analysis.star_flux import load_star, resolved
    from lyot.analysis.summary import read_fitted
    from lyot.exposures.names import COMPANIONS
    from lyot.run.config import config_of_run, keep_star

    guesses = [parse_position(text, "--guess") for text in guess or ()]
    config = config_of_run(out, sections)
    run = open_run(out, target=target, modes=config.companion.modes)
    star_section = resolved(config.star, str(run.image.primary.get("TARGPROP", "")))
    star = load_star(star_section, run.sequence.coronagraph)
    keep_star(out, star_section)
    _, budgets = measure_companions(run, guesses, star, config.companion, systematics=config.systematics)
    for number, (fitted, terms) in enumerate(zip(read_fitted(run.tables), budgets, strict=True), start=1):
        typer.echo(f"companion {number}: {companion_line(fitted)}")
        for term in terms:
            typer.echo(
                f"  {term.name:17s} flux {100 * term.flux:5.2f} %  contrast {100 * term.contrast:5.2f} %  "
                f'separation {term.separation:.4f}"  PA {term.position_angle:.3f} deg'
            )
    if not isfinite(star.flux):
        typer.echo(f"Note: {GIVE_STAR}.", err=True)
    typer.echo(f"{run.tables / COMPANIONS}")
    refresh_report(out)


COMMANDS = {"companion": companion}
