"""The stellar flux of a run, from its configuration.

A number, a magnitude in the filter, a K magnitude with a spectral type (given, or fetched from SIMBAD), a spectrum, or
a target-acquisition image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from lyot.measure.star_colors import star_from_k
from lyot.params import describe, param

FLUX_SOURCES = ("flux", "magnitude", "sed", "acquisition", "k_magnitude", "simbad")
"""Parameters of which one tells the star's flux."""

BESIDE_SOURCES = ("bandpass", "jy_per_unit", "spectral_type")
"""Parameters that belong to one of them."""

HEADER_TARGET = "TARGET"
"""Stands for the target's name in the headers, where the name of a star in SIMBAD is asked for."""


@dataclass(frozen=True)
class StarSection(AcquisitionParams):
    """Section ``[star]``: source of the stellar flux; at most one of `FLUX_SOURCES`.

    Examples
    --------
    >>> StarSection(magnitude=6.67, distance=107.5).distance
    107.5
    """

    flux: float | None = param(None, help="flux of the star in the filter", unit="Jy", min=0.0)
    magnitude: float | None = param(None, help="Vega magnitude of the star in the filter")
    sed: str | None = param(None, help="spectrum of the star: file with two columns (um and Jy), or a table with units")
    acquisition: str | None = param(None, help="target-acquisition image of the star (FITS)")
    bandpass: str | None = param(None, help="bandpass of the filter for the spectrum (file); default: a top hat")
    k_magnitude: float | None = param(
        None, help="2MASS K magnitude of the star, converted to the filter with the spectral type"
    )
    spectral_type: str | None = param(None, help="spectral type of the star, B5 to K7, for the K magnitude, e.g. F5V")
    simbad: str | None = param(
        None,
        help="name under which K magnitude and spectral type are queried from SIMBAD; TARGET: the name in the headers",
    )
    error: float = param(0.0, help="relative error of the flux of the star", min=0.0)
    distance: float | None = param(None, help="distance of the star", unit="pc", min=0.01)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read."""
        return tuple(Path(p) for p in (self.sed, self.acquisition, self.bandpass) if p is not None)

    @property
    def is_given(self) -> bool:
        """Whether the flux of the star is given in any way."""
        return any(getattr(self, name) is not None for name in FLUX_SOURCES)

    def check(self, where: str = "[star]") -> None:
        """Check that the flux of the star is given once, and each parameter with the ones that it needs.

        Parameters
        ----------
        where : str, optional
            Start of error messages.

        Raises
        ------
        ConfigError
            If it is not so.
        """
        given = [n for n in FLUX_SOURCES if getattr(self, n) is not None]
        if len(given) > 1 and given != ["k_magnitude", "simbad"]:  # the one was fetched by the other
            names = f"{', '.join(FLUX_SOURCES[:-1])} and {FLUX_SOURCES[-1]}"
            raise ConfigError(f"{where}: give one of {names}, not {' and '.join(given)}.")
        if self.bandpass is not None and self.sed is None:
            raise ConfigError(f"{where}: bandpass is used with sed only; give sed, or remove bandpass.")
        if (self.k_magnitude is None) != (self.spectral_type is None):
            raise ConfigError(f"{where}: k_magnitude and spectral_type are used together; give both.")


def resolved(section: StarSection, target: str) -> StarSection:
    """The section with what SIMBAD says of the star in it; the same where it names none, or was filled in before.

    Parameters
    ----------
    section : StarSection
    target : str
        Name of the target in the headers (TARGPROP), for `HEADER_TARGET`.

    Returns
    -------
    StarSection
        K magnitude, spectral type, the larger of the two errors, and the distance if none was given.

    Raises
    ------
    ArchiveError
        If SIMBAD cannot be reached.
    InputError
        If it does not know the star, or not well enough.
    """
    if section.simbad is None or section.k_magnitude is not None:
        return section
    from lyot.archive.simbad import look_up_star

    found = look_up_star(target if section.simbad.upper() == HEADER_TARGET else section.simbad)
    error = found.k_error / MAGNITUDE if np.isfinite(found.k_error) else 0.0
    distance = 1000.0 / found.parallax if section.distance is None and found.parallax > 0 else section.distance
    return replace(
        section, simbad=found.name, k_magnitude=found.k_magnitude, spectral_type=found.spectral_type,
        error=max(section.error, float(error)), distance=distance,
    )  # fmt: skip


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

    Examples
    --------
    >>> from lyot.analysis import StarSection, load_star
    >>> from lyot.instrument import coronagraph
    >>> star = load_star(StarSection(magnitude=6.67), coronagraph("F1550C"))
    >>> round(star.flux, 3), star.source
    (0.034, 'magnitude 6.67')
    """
    section.check()
    if section.flux is not None:
        return Star(section.flux, section.error * section.flux, "given")
    if section.sed is None and section.is_given and not np.isfinite(coronagraph.vega_zero_point):
        raise ConfigError(
            f"[star]: the Vega zero point of {coronagraph.instrument} {coronagraph.filter} is not known; give the flux "
            "of the star in Jy (flux), or its spectrum with the bandpass of the filter (sed, bandpass)."
        )
    if section.magnitude is not None:
        return Star.from_magnitude(section.magnitude, coronagraph.vega_zero_point, section.error * MAGNITUDE)
    if section.k_magnitude is not None and section.spectral_type is not None:
        star = star_from_k(
            section.k_magnitude, section.spectral_type, coronagraph.wavelength, coronagraph.vega_zero_point,
            error=section.error * MAGNITUDE,
        )  # fmt: skip
        return replace(star, source=f"SIMBAD, {section.simbad}: {star.source}" if section.simbad else star.source)
    if section.simbad is not None:
        raise ConfigError("[star] simbad: the star was not looked up; see lyot.analysis.star_flux.resolved.")
    if section.sed is not None:
        return _from_sed(section, coronagraph)
    if section.acquisition is not None:
        return _from_acquisition(section, coronagraph)
    return Star()


def _from_sed(section: StarSection, coronagraph: Coronagraph) -> Star:
    assert section.sed is not None
    wavelength, flux = read_spectrum(Path(section.sed))
    if section.bandpass is None and not np.isfinite(coronagraph.bandwidth):
        raise ConfigError(
            f"[star] sed: the bandpass of {coronagraph.instrument} {coronagraph.filter} is not known; give it "
            "(bandpass)."
        )
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
        raise MissingInputError(f"{path}: no such file; check the path.")
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
        raise MissingInputError(f"{path}: no such acquisition image; check the path.")
    image, area, filter_name = read_acquisition(path)
    known = ACQUISITION_WAVELENGTH.get(filter_name)
    if known is None and section.color is None:
        raise InputError(
            f"{path.name}: the wavelength of filter {filter_name or 'without name'} is unknown; give color, the ratio "
            "of the stellar flux in the coronagraphic filter to that in this filter."
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
    from lyot.exposures.acquisition import open_acquisition

    read = open_acquisition(path)
    image, header = read.image, read.header
    calibrated = str(header.get("BUNIT", "")).replace(" ", "").lower() == "mjy/sr"
    area = float(header["PIXAR_SR"]) if calibrated and header.get("PIXAR_SR") else None
    return image, area, str(header.get("FILTER", "")).strip()
