"""``lyot disk``: disk models, and a parametric ring, in a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import TARGET, Group, Sections, options, refresh_report


@options(
    Group("disk", "lyot.analysis.parameters:DiskSection", leave_out=("models",),
          aliases={"position_angle": ("--pa",), "outer_radius": ("--outer",), "inner_radius": ("--inner",)}),
)  # fmt: skip
def disk(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    sections: Sections,
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Images of disk models (FITS): Jy per pixel, or a surface brightness."),
    ] = None,
    target: Annotated[str | None, TARGET] = None,
) -> None:
    """Fit images of disk models, or a parametric ring, through mask, PSF and the whole reduction.

    Writes measure/disk.ecsv and measure/disk_residual.fits; with --ring also measure/disk_ring.ecsv and
    measure/disk_ring.fits.
    """
    from lyot.analysis.disks import basis_for_disks, measure_disks, models_of, ring_table
    from lyot.analysis.finished_run import find_finished, open_run
    from lyot.exposures.names import DISK
    from lyot.run.config import config_of_run

    if models:
        sections["disk"]["models"] = [str(m) for m in models]
    section = config_of_run(out, sections).disk
    images = models_of(section)
    finished = find_finished(out, target=target)
    run = open_run(finished, modes=section.modes, strategy=basis_for_disks(finished, rolls=section.rolls))
    found = measure_disks(run, images, section if section.ring else None, section)
    for row in found.table:
        typer.echo(
            f"{row['model']}: scale {row['scale']:.4g} +- {row['scale_err']:.2g} (S/N {row['snr']:.1f}), flux "
            f"{1e6 * row['flux']:.4g} +- {1e6 * row['flux_err']:.2g} uJy, reduced chi2 {row['reduced_chi2']:.2f}"
        )
    if len(found.names) > 1:
        typer.echo(f"best: {found.names[found.best]}")
    if found.ring is not None:
        for row in ring_table(found.ring):
            if row["status"] != "fixed":
                error = f" +- {row['error']:.2g}" if row["status"] == "fitted" else f" ({row['status']})"
                typer.echo(f"  {row['parameter']} {row['value']}{error} {row['unit']}".rstrip())
    typer.echo(f"{run.tables / DISK}")
    refresh_report(out)


COMMANDS = {"disk": disk}
