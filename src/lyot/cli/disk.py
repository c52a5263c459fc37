"""``lyot disk``: disk models, and a parametric ring, in a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import TARGET, Group, Sections, options, refresh_report, show_target
from lyot.cli.results import show_disks


@options(
    Group("disk", "lyot.analysis.parameters:DiskSection", leave_out=("models",),
          aliases={"position_angle": ("--pa",), "outer_radius": ("--outer",), "inner_radius": ("--inner",)}),
)  # fmt: skip
def disk(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    sections: Sections,
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Images of disk models (FITS), in Jy per pixel or as surface brightness."),
    ] = None,
    target: Annotated[str | None, TARGET] = None,
) -> None:
    """Fit images of disk models, or a parametric ring.

    Models are propagated through mask, PSF and reduction. Writes measure/disk.ecsv and measure/disk_residual.fits; with
    --ring also measure/disk_ring.ecsv and measure/disk_ring.fits.
    """
    from lyot.analysis.disks import basis_for_disks, measure_disks, models_of
    from lyot.analysis.finished_run import find_finished, open_run
    from lyot.exposures.names import DISK
    from lyot.run.config import config_of_run

    if models:
        sections["disk"]["models"] = [str(m) for m in models]
    section = config_of_run(out, sections).disk
    images = models_of(section)
    finished = find_finished(out, target=target)
    run = open_run(finished, modes=section.modes, strategy=basis_for_disks(finished, rolls=section.rolls))
    show_target(run)
    measure_disks(run, images, section if section.ring else None, section)
    show_disks(run.tables)
    typer.echo(f"{run.tables / DISK}")
    refresh_report(out)


COMMANDS = {"disk": disk}
