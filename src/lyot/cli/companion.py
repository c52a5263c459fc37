"""``lyot companion``: flux and position of companions in a finished run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import STAR, TARGET, Group, Sections, options, refresh_report, show_target


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
    from lyot.analysis.star_flux import load_star
    from lyot.exposures.names import COMPANIONS
    from lyot.run.config import config_of_run

    guesses = [parse_position(text, "--guess") for text in guess or ()]
    config = config_of_run(out, sections)
    run = open_run(out, target=target, modes=config.companion.modes)
    show_target(run)
    star = load_star(config.star, run.sequence.coronagraph)
    table, budgets = measure_companions(run, guesses, star, config.companion, systematics=config.systematics)
    for row, terms in zip(table, budgets, strict=True):
        contrast = f"contrast {row['contrast']:.3g} +- {row['contrast_err']:.2g}"
        if not isfinite(row["contrast"]):
            contrast = "contrast unknown (give the star's flux: --star-flux, --star-mag, --star-sed or --star-ta)"
        typer.echo(
            f'separation {row["separation"]:.4f} +- {row["separation_err"]:.4f}", '
            f"PA {row['position_angle']:.3f} +- {row['position_angle_err']:.3f} deg, "
            f"flux {1e6 * row['flux']:.2f} +- {1e6 * row['flux_err']:.2f} uJy (magnitude {row['magnitude']:.2f}), "
            f"{contrast}, S/N {row['snr']:.1f}"
        )
        if row["flux_upper_limit"] > 0:
            typer.echo(f"  not detected: flux below {1e6 * row['flux_upper_limit']:.2f} uJy (95 %)")
        for term in terms:
            typer.echo(
                f"  {term.name:17s} flux {100 * term.flux:5.2f} %  contrast {100 * term.contrast:5.2f} %  "
                f'separation {term.separation:.4f}"  PA {term.position_angle:.3f} deg'
            )
    typer.echo(f"{run.tables / COMPANIONS}")
    refresh_report(out)


COMMANDS = {"companion": companion}
