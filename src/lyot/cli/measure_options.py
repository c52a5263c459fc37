"""What the measuring commands have in common: options of the star."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from lyot.analysis.star_flux import StarSection

STAR_FLUX = typer.Option("--star-flux", help="Flux of the star in the filter, Jy.")
STAR_MAG = typer.Option("--star-mag", help="Vega magnitude of the star in the filter.")
STAR_SED = typer.Option(
    "--star-sed",
    help="Spectrum of the star: text (um, Jy), or an ECSV or FITS table with units; averaged over the band.",
)
STAR_TA = typer.Option(
    "--star-ta", help="Target-acquisition image of the star; see the [star] section for its options."
)
STAR_TA_UNIT = typer.Option("--star-ta-jy", help="Jy for one unit of the acquisition image, if it is not in MJy/sr.")
STAR_ERROR = typer.Option("--star-error", help="Relative error of the star's flux.", min=0.0)
DISTANCE = typer.Option("--distance", help="Distance of the star, pc.", min=0.1)
MODES = typer.Option("--modes", help="Number of KL modes to measure; by default those of the main product.", min=1)


def star_values(
    *,
    flux: float | None = None,
    magnitude: float | None = None,
    sed: Path | None = None,
    acquisition: Path | None = None,
    jy_per_unit: float | None = None,
    error: float | None = None,
    distance: float | None = None,
) -> dict[str, Any]:
    """The section ``[star]`` from the options; what was not given is left out."""
    values = {
        "flux": flux, "magnitude": magnitude, "sed": sed and str(sed), "acquisition": acquisition and str(acquisition),
        "jy_per_unit": jy_per_unit, "error": error, "distance": distance,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def star_section(**values: Any) -> StarSection:
    """The star from the options of a command; see `star_values`.

    Raises
    ------
    ConfigError
        If it is given twice, or a value cannot be used.
    """
    from lyot.analysis.star_flux import StarSection
    from lyot.params import from_mapping

    section = from_mapping(StarSection, star_values(**values), where="--star: ")
    section.check("--star")
    return section


def refresh_report(out: Path) -> None:
    """Write the report of a run again, with what was just measured in it."""
    from lyot.report import write_report

    typer.echo(f"report: {write_report(out)}")
