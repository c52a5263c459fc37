"""``lyot disk``: the scale of a disk model in a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.measure_options import MODES, refresh_report


def disk(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    model: Annotated[Path, typer.Argument(help="Image of the disk (FITS): Jy per pixel, or a surface brightness.")],
    pixel_scale: Annotated[
        float | None, typer.Option(help="arcsec per pixel; default from the file.", min=0.0001)
    ] = None,
    position_angle: Annotated[
        float | None,
        typer.Option("--pa", help="Of the model's +y, degrees east of north; default from the file, else 0."),
    ] = None,
    center: Annotated[str | None, typer.Option(help="X,Y of the star, 0-based pixels; default the middle.")] = None,
    total_flux: Annotated[float | None, typer.Option(help="Scale the model to this flux first, Jy.", min=0.0)] = None,
    inner: Annotated[float | None, typer.Option(help="Fit outside this separation, arcsec.", min=0.0)] = None,
    outer: Annotated[float | None, typer.Option(help="Fit inside this separation, arcsec.", min=0.1)] = None,
    modes: Annotated[int | None, MODES] = None,
) -> None:
    """Fit the scale of a disk model that goes through mask, PSF and the whole reduction.

    Writes measure/disk.ecsv and measure/disk_residual.fits.
    """
    from lyot.analysis.disks import DISK, DiskOptions, measure_disk, read_disk
    from lyot.analysis.finished_run import open_run
    from lyot.errors import ConfigError
    from lyot.measure.disks import DiskParams

    place: tuple[float, float] | None = None
    if center is not None:
        try:
            x, y = (float(part) for part in center.split(","))
        except ValueError:
            raise ConfigError(f"--center {center}: expected X,Y in pixels, e.g. 100,100.") from None
        place = (x, y)
    image = read_disk(model, DiskOptions(pixel_scale, position_angle, place, total_flux))
    run = open_run(out, modes=modes)
    fit = measure_disk(run, image, DiskParams(inner_radius=inner, outer_radius=outer))
    flux = 1e6 * float(image.image.sum())
    typer.echo(
        f"scale {fit.scale:.4g} +- {fit.error:.2g} (S/N {fit.snr:.1f}), flux {fit.scale * flux:.4g} +- "
        f"{fit.error * flux:.2g} uJy, reduced chi2 {fit.reduced_chi2:.2f}"
    )
    typer.echo(f"{run.tables / DISK}")
    refresh_report(out)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("disk")(disk)
