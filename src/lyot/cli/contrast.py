"""``lyot contrast``: detection limits of a finished run."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyot.cli.options import STAR, TARGET, Group, Sections, options, refresh_report, show_target, star_of
from lyot.cli.results import GIVE_STAR

if TYPE_CHECKING:
    from astropy.table import Row, Table


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
    """Measure the 5-sigma contrast curve by injection and recovery.

    Sources are injected before stage 3, and all of it is repeated. Writes measure/contrast.ecsv and
    measure/contrast_map.fits. Known companions are subtracted first.
    """
    from lyot.analysis.finished_run import open_run
    from lyot.analysis.measurements import measure_contrast
    from lyot.exposures.names import CONTRAST
    from lyot.run.config import config_of_run
    from lyot.written import contrast_text, flux_text, in_ascii

    config = config_of_run(out, sections)
    params = config.contrast
    run = open_run(out, target=target, modes=params.modes)
    show_target(run)
    masses = params.mass_grid(run.sequence.coronagraph)
    star_section, star = star_of(run, config.star)
    table = measure_contrast(run, star, params, distance=star_section.distance, masses=masses)
    heading = f"   mass [MJup], {masses.models.name}" if masses is not None else ""
    typer.echo(f"separation [arcsec]   {params.sigma:g}-sigma flux   contrast{heading}")
    for row in table:
        flux = in_ascii(flux_text(row["flux_5sigma"])) if isfinite(row["flux_5sigma"]) else "none"
        limit = contrast_text(row["contrast_5sigma"]) if isfinite(row["contrast_5sigma"]) else "-"
        typer.echo(f"{row['separation']:12.3f} {flux:>21s} {limit:>10s}{mass_text(table, row)}")
    if not isfinite(star.flux):
        typer.echo(f"Note: {GIVE_STAR}.", err=True)
    typer.echo(f"{run.tables / CONTRAST}")
    refresh_report(out)


def mass_text(table: Table, row: Row) -> str:
    """The mass of a limit with its range for the error of the age; empty where there are no masses."""
    if "mass_5sigma" not in table.colnames:
        return ""

    def text(name: str) -> str:
        return f"{row[name]:.3g}" if isfinite(row[name]) else "outside the models"

    if "mass_5sigma_low" not in table.colnames:
        return f"   {text('mass_5sigma')}"
    return f"   {text('mass_5sigma')} ({text('mass_5sigma_low')} to {text('mass_5sigma_high')})"


COMMANDS = {"contrast": contrast}
