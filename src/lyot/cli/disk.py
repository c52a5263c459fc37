"""``lyot disk``: the scale of a disk model in a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import TARGET, Group, Sections, options, refresh_report, show_target


@options(
    Group("model", "lyot.analysis.disks:DiskOptions", aliases={"position_angle": ("--pa",)}),
    Group("fit", "lyot.measure.disks:DiskParams",
          aliases={"outer_radius": ("--outer",), "inner_radius": ("--inner",)}),
)  # fmt: skip
def disk(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    model: Annotated[Path, typer.Argument(help="Image of the disk (FITS): Jy per pixel, or a surface brightness.")],
    sections: Sections,
    target: Annotated[str | None, TARGET] = None,
    modes: Annotated[
        int | None, typer.Option(help="Number of KL modes to measure; by default those of the main product.", min=1)
    ] = None,
) -> None:
    """Fit the scale of a disk model that goes through mask, PSF and the whole reduction.

    Writes measure/disk.ecsv and measure/disk_residual.fits.
    """
    from lyot.analysis.disks import DiskOptions, measure_disk, read_disk
    from lyot.analysis.finished_run import open_run
    from lyot.exposures.names import DISK
    from lyot.measure.disks import DiskParams
    from lyot.params import from_mapping

    params = from_mapping(DiskParams, sections["fit"], where="lyot disk: ")
    image = read_disk(model, from_mapping(DiskOptions, sections["model"], where="lyot disk: "))
    run = open_run(out, target=target, modes=modes)
    show_target(run)
    fit = measure_disk(run, image, params)
    flux = 1e6 * float(image.image.sum())
    typer.echo(
        f"scale {fit.scale:.4g} +- {fit.error:.2g} (S/N {fit.snr:.1f}), flux {fit.scale * flux:.4g} +- "
        f"{fit.error * flux:.2g} uJy, reduced chi2 {fit.reduced_chi2:.2f}"
    )
    typer.echo(f"{run.tables / DISK}")
    refresh_report(out)


COMMANDS = {"disk": disk}
