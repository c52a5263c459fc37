"""``lyot companion``: flux and position of companions in a finished run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.measure_options import (
    MODES,
    STAR_ERROR,
    STAR_FLUX,
    STAR_MAG,
    STAR_SED,
    STAR_TA,
    STAR_TA_UNIT,
    refresh_report,
    star_section,
)


def companion(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    guess: Annotated[
        list[str] | None,
        typer.Option(help="SEPARATION,PA in arcsec and degrees; may be repeated. Default: the detections of the run."),
    ] = None,
    star_flux: Annotated[float | None, STAR_FLUX] = None,
    star_mag: Annotated[float | None, STAR_MAG] = None,
    star_sed: Annotated[Path | None, STAR_SED] = None,
    star_ta: Annotated[Path | None, STAR_TA] = None,
    star_ta_jy: Annotated[float | None, STAR_TA_UNIT] = None,
    star_error: Annotated[float | None, STAR_ERROR] = None,
    posterior: Annotated[bool, typer.Option(help="Sample the posterior.")] = True,
    modes: Annotated[int | None, MODES] = None,
) -> None:
    """Fit flux and position of companions by a forward model through the reduction, with an error budget.

    Writes measure/companions.ecsv, measure/error_budget.ecsv and measure/companions_residual.fits.
    """
    from lyot.analysis.finished_run import open_run
    from lyot.analysis.measurements import measure_companions
    from lyot.analysis.parameters import parse_position
    from lyot.analysis.star_flux import load_star
    from lyot.measure.companion import CompanionParams

    guesses = [parse_position(text, "--guess") for text in guess or ()]
    section = star_section(flux=star_flux, magnitude=star_mag, sed=star_sed, acquisition=star_ta,
                           jy_per_unit=star_ta_jy, error=star_error)  # fmt: skip
    run = open_run(out, modes=modes)
    star = load_star(section, run.sequence.coronagraph)
    table, budgets = measure_companions(run, guesses, star, CompanionParams(posterior=posterior))
    for row, terms in zip(table, budgets, strict=True):
        contrast = f"contrast {row['contrast']:.3g} +- {row['contrast_err']:.2g}"
        if not isfinite(row["contrast"]):
            contrast = "contrast unknown (say how bright the star is: --star-flux, --star-mag, --star-sed or --star-ta)"
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
    typer.echo(f"{run.tables / 'companions.ecsv'}")
    refresh_report(out)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("companion")(companion)
