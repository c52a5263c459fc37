"""``lyot contrast``: detection limits of a finished run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.measure_options import (
    DISTANCE,
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


def contrast(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    star_flux: Annotated[float | None, STAR_FLUX] = None,
    star_mag: Annotated[float | None, STAR_MAG] = None,
    star_sed: Annotated[Path | None, STAR_SED] = None,
    star_ta: Annotated[Path | None, STAR_TA] = None,
    star_ta_jy: Annotated[float | None, STAR_TA_UNIT] = None,
    star_error: Annotated[float | None, STAR_ERROR] = None,
    distance: Annotated[float | None, DISTANCE] = None,
    masses: Annotated[
        Path | None, typer.Option(help="Evolution models: columns age [Myr], mass [MJup], absolute magnitude.")
    ] = None,
    age: Annotated[float | None, typer.Option(help="Age of the star, Myr.", min=0.0)] = None,
    separations: Annotated[int, typer.Option(help="Number of separations.", min=2)] = 20,
    angles: Annotated[int, typer.Option(help="Injected sources at each separation.", min=1)] = 8,
    outer: Annotated[float, typer.Option(help="Last separation, arcsec.", min=0.2)] = 5.0,
    sigma: Annotated[float, typer.Option(help="Level of the limit, Gaussian sigmas.", min=0.1)] = 5.0,
    modes: Annotated[int | None, MODES] = None,
) -> None:
    """Measure the 5-sigma contrast by injection and recovery through the whole of stage 3.

    Writes measure/contrast.ecsv and measure/contrast_map.fits. Known companions are taken out first.
    """
    from lyot.analysis.finished_run import open_run
    from lyot.analysis.measurements import measure_contrast
    from lyot.analysis.star_flux import load_star
    from lyot.errors import ConfigError
    from lyot.measure.contrast import ContrastParams
    from lyot.measure.mass import MassGrid

    if masses is not None and distance is None:
        raise ConfigError("--masses needs --distance.")
    section = star_section(flux=star_flux, magnitude=star_mag, sed=star_sed, acquisition=star_ta,
                           jy_per_unit=star_ta_jy, error=star_error)  # fmt: skip
    run = open_run(out, modes=modes)
    star = load_star(section, run.sequence.coronagraph)
    params = ContrastParams(separations=separations, angles=angles, outer_radius=outer, sigma=sigma)
    grid = None if masses is None else MassGrid.read(masses, age=age)
    table = measure_contrast(run, star, params, distance=distance, masses=grid)
    typer.echo(f"separation [arcsec]   {sigma:g}-sigma flux [uJy]   contrast")
    for row in table:
        contrast = f"{row['contrast_5sigma']:16.3g}" if isfinite(row["contrast_5sigma"]) else f"{'-':>16s}"
        typer.echo(f"{row['separation']:12.3f} {1e6 * row['flux_5sigma']:20.3g} {contrast}")
    if not isfinite(star.flux):
        typer.echo("For contrasts say how bright the star is: --star-flux, --star-mag, --star-sed or --star-ta.")
    typer.echo(f"{run.tables / 'contrast.ecsv'}")
    refresh_report(out)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("contrast")(contrast)
