"""``lyot contrast``: detection limits of a finished run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import STAR, TARGET, Group, Sections, options, refresh_report, show_target


@options(
    STAR,
    Group("contrast", "lyot.analysis.parameters:ContrastSection", leave_out=("measure",),
          aliases={"outer_radius": ("--outer",), "inner_radius": ("--inner",)}),
)  # fmt: skip
def contrast(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    sections: Sections,
    target: Annotated[str | None, TARGET] = None,
) -> None:
    """Measure the 5-sigma contrast by injection and recovery through the whole of stage 3.

    Writes measure/contrast.ecsv and measure/contrast_map.fits. Known companions are subtracted first.
    """
    from lyot.analysis.finished_run import open_run
    from lyot.analysis.measurements import measure_contrast
    from lyot.analysis.star_flux import load_star
    from lyot.exposures.names import CONTRAST
    from lyot.run.config import config_of_run

    config = config_of_run(out, sections)
    params = config.contrast
    run = open_run(out, target=target, modes=params.modes)
    show_target(run)
    star = load_star(config.star, run.sequence.coronagraph)
    table = measure_contrast(run, star, params, distance=config.star.distance, masses=params.mass_grid())
    typer.echo(f"separation [arcsec]   {params.sigma:g}-sigma flux [uJy]   contrast")
    for row in table:
        limit = f"{row['contrast_5sigma']:16.3g}" if isfinite(row["contrast_5sigma"]) else f"{'-':>16s}"
        typer.echo(f"{row['separation']:12.3f} {1e6 * row['flux_5sigma']:20.3g} {limit}")
    if not isfinite(star.flux):
        typer.echo("For contrasts give the star's flux: --star-flux, --star-mag, --star-sed or --star-ta.")
    typer.echo(f"{run.tables / CONTRAST}")
    refresh_report(out)


COMMANDS = {"contrast": contrast}
