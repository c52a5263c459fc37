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
    from lyot.analysis.summary import in_ascii, read_fitted, with_error
    from lyot.exposures.names import COMPANIONS
    from lyot.measure.systematics import STAR_TERM
    from lyot.run.config import config_of_run

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
                value = (
                    f"{in_ascii(with_error(row['mass'], row['mass_err']))} MJup (flux {row['mass_err_flux']:.2g}, age "
                    f"{row['mass_err_age']:.2g})"
                )
            typer.echo(f"  mass {value}; {table.meta['evolution_models']}")
        for term in terms:
            if term.name == STAR_TERM and not isfinite(star.flux):
                continue
            contrast = f"contrast {100 * term.contrast:5.2f} %  " if isfinite(star.flux) else ""
            typer.echo(
                f"  {term.name:17s} flux {100 * term.flux:5.2f} %  {contrast}"
                f'separation {term.separation:.4f}"  PA {term.position_angle:.3f} deg'
            )
    if not isfinite(star.flux):
        typer.echo(f"Note: {GIVE_STAR}.", err=True)
    if config.astrometry.epochs:
        motion, test = measure_motion(run, table, config.astrometry, distance=star_section.distance)
        typer.echo(
            f"companion {motion['companion'][0]}: {test.verdict}, chi2 {test.chi2_background:.1f} for a background "
            f"star, {test.chi2_common:.1f} for common proper motion ({test.freedom} degrees of freedom)"
        )
    typer.echo(f"{run.tables / COMPANIONS}")
    refresh_report(out)


COMMANDS = {"companion": companion}
