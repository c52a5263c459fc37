"""``lyot companion``: flux and position of companions in a finished run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import STAR, TARGET, Group, Sections, options, refresh_report, show_target, star_of
from lyot.cli.results import GIVE_STAR, companion_line

MASSES = ("masses", "age", "age_error", "mass_filter", "mass_photometry")


@options(
    STAR,
    Group("companion", "lyot.analysis.parameters:CompanionSection", leave_out=("measure", "positions")),
    Group("astrometry", "lyot.analysis.astrometry:AstrometrySection", aliases={"epochs": ("--epoch!",)}),
    Group("contrast", "lyot.analysis.parameters:ContrastSection", only=MASSES),
    Group("systematics", "lyot.measure.systematics:SystematicParams", prefix="error-"),
)
def companion(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    sections: Sections,
    target: Annotated[str | None, TARGET] = None,
    guess: Annotated[
        list[str] | None,
        typer.Option(
            help="Initial position SEPARATION,PA in arcsec and degrees; may be repeated. Default: the detections of "
            "the run."
        ),
    ] = None,
) -> None:
    """Measure flux and position of companions, with an error budget.

    Companions are fitted with forward models that pass through the reduction. Writes measure/companions.ecsv,
    measure/error_budget.ecsv and measure/companions_residual.fits; with --epoch also measure/proper_motion.ecsv.
    """
    from lyot.analysis.finished_run import open_run
    from lyot.analysis.measurements import measure_companions
    from lyot.analysis.parameters import parse_position
    from lyot.analysis.proper_motion import measure_motion
    from lyot.analysis.summary import read_fitted
    from lyot.exposures.names import COMPANIONS
    from lyot.measure.systematics import STAR_TERM
    from lyot.run.config import config_of_run
    from lyot.written import chi2_text, error_text, in_ascii, with_error

    guesses = [parse_position(text, "--guess") for text in guess or ()]
    config = config_of_run(out, sections)
    run = open_run(out, target=target, modes=config.companion.modes)
    show_target(run)
    masses = config.contrast.mass_grid(run.sequence.coronagraph)
    star_section, star = star_of(run, config.star)
    table, budgets = measure_companions(
        run, guesses, star, config.companion, systematics=config.systematics, distance=star_section.distance,
        masses=masses,
    )  # fmt: skip
    for number, (fitted, terms) in enumerate(zip(read_fitted(run.tables), budgets, strict=True), start=1):
        typer.echo(f"companion {number}: {companion_line(fitted)}")
        if "mass" in table.colnames:
            row = table[number - 1]
            value = "outside the models"
            if isfinite(row["mass"]):
                parts = f"flux {error_text(row['mass_err_flux'])}, age {error_text(row['mass_err_age'])}"
                value = f"{in_ascii(with_error(row['mass'], row['mass_err']))} MJup ({parts})"
            typer.echo(f"  mass {value}; {table.meta['evolution_models']}")
        for term in terms:
            if term.name == STAR_TERM and not isfinite(star.flux):
                continue
            contrast = f"contrast {error_text(100 * term.contrast):>8s} %  " if isfinite(star.flux) else ""
            typer.echo(
                f"  {term.name:17s} flux {error_text(100 * term.flux):>8s} %  {contrast}"
                f'separation {error_text(term.separation):>8s}"  PA {error_text(term.position_angle)} deg'
            )
    if not isfinite(star.flux):
        typer.echo(f"Note: {GIVE_STAR}.", err=True)
    if config.astrometry.epochs:
        motion, test = measure_motion(run, table, config.astrometry, distance=star_section.distance)
        typer.echo(
            f"companion {motion['companion'][0]}: {test.verdict}, chi2 {chi2_text(test.chi2_background)} for a "
            f"background star, {chi2_text(test.chi2_common)} for common proper motion ({test.freedom} degrees of "
            "freedom)"
        )
    typer.echo(f"{run.tables / COMPANIONS}")
    refresh_report(out)


COMMANDS = {"companion": companion}
