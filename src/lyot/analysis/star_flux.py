"""The star's flux as a run is told it: a number, a magnitude, a spectrum, or a target-acquisition image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

from lyot.errors import ConfigError, InputError, LyotError, MissingInputError
from lyot.instrument import Coronagraph
from lyot.measure.photometry import MAGNITUDE, Bandpass, Star
from lyot.measure.star import ACQUISITION_WAVELENGTH, AcquisitionParams, star_from_acquisition
from lyot.params import describe, param
from lyot.steps.acquisition import open_acquisition

FLUX_SOURCES = ("flux", "magnitude", "sed", "acquisition")
"""Parameters of which one tells the star's flux."""


@dataclass(frozen=True)
class StarSection(AcquisitionParams):
    """Section ``[star]``: where the star's flux comes from; at most one of flux, magnitude, sed and acquisition."""

    flux: float | None = param(None, help="flux of the star in the filter", unit="Jy", min=0.0)
    magnitude: float | None = param(None, help="Vega magnitude of the star in the filter")
    sed: str | None = param(None, help="file of the star's spectrum: two columns um and Jy, or a table with units")
    acquisition: str | None = param(None, help="target-acquisition image of the star (FITS)")
    bandpass: str | None = param(None, help="file of the filter's bandpass for the spectrum; default a top hat")
    error: float = param(0.0, help="relative error of the star's flux", min=0.0)
    distance: float | None = param(None, help="distance of the star", unit="pc", min=0.01)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read."""
        return tuple(Path(p) for p in (self.sed, self.acquisition, self.bandpass) if p is not None)

    def check(self, where: str = "[star]") -> None:
        """Raise `ConfigError` if the star is given twice, or a bandpass without a spectrum."""
        given = [n for n in FLUX_SOURCES if getattr(self, n) is not None]
        if len(given) > 1:
            raise ConfigError(f"{where}: give one of flux, magnitude, sed and acquisition, not {' and '.join(given)}.")
        if self.bandpass is not None and self.sed is None:
            raise ConfigError(f"{where}: bandpass is used with sed only.")


def load_star(section: StarSection, coronagraph: Coronagraph) -> Star:
    """The star from its section; one of unknown flux if nothing is given.

    Parameters
    ----------
    section : StarSection
    coronagraph : Coronagraph
        Whose filter the flux is in.

    Returns
    -------
    Star
        Flux and its error, Jy; NaN where it is not known.

    Raises
    ------
    ConfigError
        If it is given twice.
    MissingInputError
        If a file is not there.
    InputError
        If a file cannot be used.
    """
    section.check()
    if section.flux is not None:
        return Star(section.flux, section.error * section.flux, "given")
    if section.magnitude is not None:
        return Star.from_magnitude(section.magnitude, coronagraph.vega_zero_point, section.error * MAGNITUDE)
    if section.sed is not None:
        return _from_sed(section, coronagraph)
    if section.acquisition is not None:
        return _from_acquisition(section, coronagraph)
    return Star()


def _from_sed(section: StarSection, coronagraph: Coronagraph) -> Star:
    assert section.sed is not None
    wavelength, flux = read_spectrum(Path(section.sed))
    band = Bandpass.top_hat(coronagraph.wavelength, coronagraph.bandwidth)
    if section.bandpass is not None:
        band = Bandpass(*read_curve(Path(section.bandpass), ("wavelength", "transmission"), (u.um, None)))
    try:
        star = Star.from_sed(wavelength, flux, band, section.error)
    except LyotError as error:
        raise InputError(f"{section.sed}: {error}") from error
    return Star(star.flux, star.error, f"spectrum {Path(section.sed).name}")


def read_spectrum(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wavelengths in um and flux densities in Jy of a text file with two columns, or of an ECSV or FITS table.

    Columns with units (ECSV, FITS) may be in any unit of length or frequency, and of flux density per frequency or
    wavelength; those without are um and Jy.
    """
    return read_curve(path, ("wavelength", "flux"), (u.um, u.Jy))


def read_curve(
    path: Path, names: tuple[str, str], unit: Sequence[u.Unit | None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two columns of a file: text, ECSV or FITS; the first two, or those named so, in the units asked for.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it does not hold two columns of numbers, or a unit cannot be converted.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: there is no such file.")
    try:
        table = _read_table(path)
        lower = {str(n).lower(): n for n in table.colnames}
        columns = [table[lower.get(name, table.colnames[i])] for i, name in enumerate(names)]
        first = _converted(columns[0], unit[0], u.spectral())
        second = _converted(columns[1], unit[1], u.spectral_density(first * u.um))
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: expected two columns, {names[0]} and {names[1]} ({reason}).") from error
    return first, second


def _read_table(path: Path) -> Table:
    with path.open("rb") as stream:
        start = stream.read(80)
    if start.startswith(b"SIMPLE"):
        return Table.read(path, hdu=1)
    if b"%ECSV" in start:
        return Table.read(path, format="ascii.ecsv", encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    delimiter = "," if "," in text else None
    values = np.loadtxt(path, usecols=(0, 1), ndmin=2, delimiter=delimiter)
    return Table(values, names=("column 1", "column 2"))


def _converted(column: Any, unit: u.Unit | None, equivalencies: Any) -> NDArray[np.float64]:
    values = np.asarray(column, dtype=float)
    if unit is None or getattr(column, "unit", None) is None:
        return values
    return np.asarray((values * column.unit).to_value(unit, equivalencies=equivalencies), dtype=float)


def _from_acquisition(section: StarSection, coronagraph: Coronagraph) -> Star:
    path = Path(section.acquisition or "")
    if not path.is_file():
        raise MissingInputError(f"{path}: there is no such acquisition image.")
    image, area, filter_name = read_acquisition(path)
    known = ACQUISITION_WAVELENGTH.get(filter_name)
    if known is None and section.color is None:
        raise InputError(
            f"{path.name}: the wavelength of filter {filter_name or 'without name'} is not known; give color, the "
            "ratio of the star's flux in the coronagraphic filter to that in this one."
        )
    values = {info.name: getattr(section, info.name) for info in describe(AcquisitionParams)}
    params = AcquisitionParams(**values)
    try:
        star, _ = star_from_acquisition(image, (known or 1.0, coronagraph.wavelength), params, pixel_area=area)
    except LyotError as error:
        raise InputError(f"{path.name}: {error}") from error
    total = star.flux * float(np.hypot(star.error / star.flux, section.error))
    return Star(star.flux, total, f"target acquisition {path.name} ({filter_name})")


def read_acquisition(path: Path) -> tuple[NDArray[np.float64], float | None, str]:
    """Image of a target acquisition (the last of several), its pixel area, and its filter.

    Returns
    -------
    image : (ny, nx) float64 ndarray
        NaN where DQ says DO_NOT_USE.
    area : float or None
        Steradian, for images in MJy/sr; None for others.
    filter : str
    """
    read = open_acquisition(path)
    image, header = read.image, read.header
    calibrated = str(header.get("BUNIT", "")).replace(" ", "").lower() == "mjy/sr"
    area = float(header["PIXAR_SR"]) if calibrated and header.get("PIXAR_SR") else None
    return image, area, str(header.get("FILTER", "")).strip()
