"""What the measuring commands have in common: options of the star, and tables on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lyot.instrument import Coronagraph
    from lyot.measure.photometry import Star

STAR_FLUX = typer.Option("--star-flux", help="Flux of the star in the filter, Jy.")
STAR_MAG = typer.Option("--star-mag", help="Vega magnitude of the star in the filter.")
STAR_SED = typer.Option("--star-sed", help="Text file of the star's spectrum: wavelength [um], flux density [Jy].")
STAR_ERROR = typer.Option("--star-error", help="Relative error of the star's flux.", min=0.0)
MODES = typer.Option("--modes", help="Number of KL modes to measure; by default those of the main product.", min=1)


def star_of(
    coronagraph: Coronagraph, *, flux: float | None, magnitude: float | None, sed: Path | None, error: float
) -> Star:
    """The star from the options; unknown if none is given.

    Raises
    ------
    ConfigError
        If more than one of them is given, or a value cannot be used.
    """
    import numpy as np

    from lyot.errors import ConfigError, MissingInputError
    from lyot.measure.photometry import Star

    given = [v for v in (flux, magnitude, sed) if v is not None]
    if len(given) > 1:
        raise ConfigError("give one of --star-flux, --star-mag and --star-sed.")
    if flux is not None:
        return Star(flux, error * flux, "given")
    if magnitude is not None:
        return Star.from_magnitude(magnitude, coronagraph.vega_zero_point, error / 0.921)
    if sed is not None:
        if not sed.is_file():
            raise MissingInputError(f"{sed}: there is no such file.")
        try:
            wavelength, density = np.loadtxt(sed, usecols=(0, 1), unpack=True, ndmin=2)
        except (ValueError, IndexError) as problem:
            raise ConfigError(f"{sed}: expected two columns, wavelength [um] and flux [Jy] ({problem}).") from problem
        return Star.from_sed(wavelength, density, (coronagraph.wavelength, coronagraph.bandwidth), error)
    return Star()
