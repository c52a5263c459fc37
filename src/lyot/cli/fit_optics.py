"""``lyot fit-optics``: fit Lyot stop, wavefront and mask errors to a dithered star."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import Group, Sections, options
from lyot.cli.progress import counting


@options(Group("optics", "lyot.optics.fitting:OpticsFitParams"))
def fit_optics(
    data: Annotated[
        list[Path], typer.Argument(help="Background-subtracted calints of one dithered star, or their folder.")
    ],
    sections: Sections,
    out: Annotated[
        Path,
        typer.Option("--out", help="Output file of the fit (.npz); a figure with the same name is written next to it."),
    ] = Path("optics.npz"),
    science: Annotated[
        Path | None,
        typer.Option("--science", help="Calints of another star with a companion far from the mask boundaries."),
    ] = None,
    companion: Annotated[
        str | None, typer.Option("--companion", help="SEP,PA of that companion, arcsec and degrees.")
    ] = None,
    star_flux: Annotated[
        str | None, typer.Option("--star-flux", help="FLUX,ERROR of the dithered star, Jy; free if not given.")
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            "--leave-out",
            help="Exposures to exclude from the fit and to predict instead, numbered from 1, e.g. 2,4,6,8.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier fit.")] = False,
) -> None:
    """Fit the optics of a four-quadrant mask to images of a star.

    Takes about a minute for nine dithers. The result describes starlight: use it as fitted_optics in the section
    [optics] of a scene, or as stage3.locate_star.fitted_optics.
    """
    from lyot.analysis.optics_fit import fit_exposures, free_to_write, save_fit
    from lyot.analysis.parameters import parse_position
    from lyot.optics.fitting import OpticsFitParams
    from lyot.params import from_mapping
    from lyot.report.optics import draw_fit
    from lyot.written import chi2_text, flux_text, in_ascii

    params = from_mapping(OpticsFitParams, sections.get("optics", {}), where="optics")
    files = free_to_write(out, overwrite=overwrite)
    with counting("fit of the optics", params.iterations) as progress:
        found = fit_exposures(
            data,
            science=science,
            companion=None if companion is None else parse_position(companion, "--companion"),
            leave_out=_numbers(leave_out),
            flux=_flux(star_flux),
            params=params,
            progress=progress,
        )
    save_fit(found, files.optics)
    draw_fit(found, files.picture)
    fit = found.fit
    lines = [
        f"{found.coronagraph.filter}: {len(found.names)} exposures, {fit.evaluations} evaluations, {fit.seconds:.0f} s",
        f"residual over image: {fit.fitted.inner:.3f} inside 1.6 arcsec, {fit.fitted.all:.3f} inside "
        f"{min(params.radius, 3.0):g}",
    ]
    if found.left_out:
        lines.append(f"excluded exposures: {fit.left_out.inner:.3f} and {fit.left_out.all:.3f}")
    if fit.companion_pixels:
        lines.append(f"companion: chi2 {chi2_text(fit.companion_chi2)} of {fit.companion_pixels} pixels")
    lines += [
        f"star {in_ascii(flux_text(fit.flux))}, ({fit.pointing[0]:.1f}, {fit.pointing[1]:.1f}) mas from the mask "
        "center",
        f"rejection 1/{fit.rejection:.0f}, wavefront {fit.wavefront_rms:.0f} nm rms, "
        f"open fraction {fit.open_fraction:.2f}",
        f"wrote {files.optics} and {files.picture}",
    ]
    typer.echo("\n".join(lines))


def _flux(text: str | None) -> tuple[float, float] | None:
    from lyot.errors import ConfigError

    if text is None:
        return None
    try:
        flux, error = (float(v) for v in text.split(","))
    except ValueError:
        flux = error = -1.0
    if not (flux > 0 and error > 0):
        raise ConfigError(f"--star-flux: expected FLUX,ERROR in Jy, both positive; got {text!r}.")
    return flux, error


def _numbers(text: str | None) -> tuple[int, ...]:
    from lyot.errors import ConfigError

    try:
        return () if text is None else tuple(int(v) for v in text.split(","))
    except ValueError:
        raise ConfigError(f"--leave-out: expected numbers of exposures such as 2,4; got {text!r}.") from None


COMMANDS = {"fit-optics": fit_optics}
