"""Sections of the configuration for the measurements after stage 3, in addition to the search for sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lyot.analysis.published import PublishedCurve, read_published
from lyot.errors import ConfigError
from lyot.instrument import Coronagraph
from lyot.measure.companion import CompanionParams
from lyot.measure.contrast import ContrastParams
from lyot.measure.disks import DiskParams
from lyot.measure.mass import AgedModels
from lyot.measure.matched_filter import MatchedFilterParams
from lyot.measure.ring import check_fitted
from lyot.measure.ring_fit import RingFitParams
from lyot.params import param


@dataclass(frozen=True)
class ContrastSection(ContrastParams):
    """Section ``[contrast]``: detection limits by injection and recovery.

    Examples
    --------
    >>> from lyot.run import build_config
    >>> section = build_config({"contrast": {"angles": 16}}).contrast
    >>> section.angles, section.measure
    (16, True)
    """

    measure: bool = param(True, help="measure the contrast curve and the map of limits")
    modes: int | None = param(
        None, help="number of KL modes of the image to measure; default: that of the main product", min=1
    )
    masses: str | None = param(
        None,
        help="evolutionary models: a published table of ATMO 2020, BEX or Sonora (file or folder), or a table with "
        "the columns age [Myr], mass [MJup], absolute magnitude",
    )
    age: float | None = param(None, help="age of the star", unit="Myr", min=0.0)
    age_error: float = param(0.0, help="error of the age, one sigma", unit="Myr", min=0.0)
    mass_filter: str | None = param(
        None, help="filter of the evolutionary models to use in place of the filter of the images, e.g. F1000W"
    )
    mass_photometry: str | None = param(
        None, help="Sonora: table of fluxes or magnitudes that accompanies the evolution table in masses"
    )

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read, those of folders one by one."""
        named = [Path(path) for path in (self.masses, self.mass_photometry) if path]
        return tuple(
            file
            for path in named
            for file in (sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path])
        )

    def check(self, where: str, distance: float | None) -> None:
        """Check that masses can be computed with these parameters.

        Parameters
        ----------
        where : str
            Start of error messages, e.g. ``[contrast]``.
        distance : float or None
            Distance of the star, pc.

        Raises
        ------
        ConfigError
            If masses are asked for without a distance, or an error of the age is given without an age.
        """
        if self.masses is not None and distance is None:
            raise ConfigError(f"{where}: masses requires the distance of the star; give [star] distance, in pc.")
        if self.masses is not None and self.age_error > 0 and self.age is None:
            raise ConfigError(f"{where}: age_error requires the age of the star; give age, in Myr.")

    def mass_grid(self, coronagraph: Coronagraph) -> AgedModels | None:
        """The evolutionary models in the filter, at the age of the star.

        Parameters
        ----------
        coronagraph : Coronagraph
            Its filter is used unless `mass_filter` names another; its zero point converts fluxes of Sonora.

        Returns
        -------
        AgedModels or None
            None if no models are given.

        Raises
        ------
        InputError
            If the table cannot be used.
        """
        if self.masses is None:
            return None
        from lyot.analysis.mass_tables import read_aged

        return read_aged(
            self.masses, self.mass_filter or coronagraph.filter, self.age, self.age_error,
            photometry=self.mass_photometry, zero_point=coronagraph.vega_zero_point,
        )  # fmt: skip


@dataclass(frozen=True)
class CompanionSection(CompanionParams):
    """Section ``[companion]``: flux and position of companions.

    Examples
    --------
    >>> CompanionSection(positions=("0.82,149",)).guesses()
    [(0.82, 149.0)]
    """

    measure: bool = param(True, help="fit the detected sources")
    positions: tuple[str, ...] = param((), help='fit companions near "SEPARATION,PA" (arcsec, degrees)')
    modes: int | None = param(
        None, help="number of KL modes of the image to measure; default: that of the main product", min=1
    )

    @property
    def wanted(self) -> bool:
        """Whether anything is to be fitted."""
        return self.measure or bool(self.positions)

    def guesses(self) -> list[tuple[float, float]]:
        """Starting positions of the fits.

        Returns
        -------
        list of (float, float)
            Separation, arcsec, and position angle, degrees; empty if the detections are fitted.

        Raises
        ------
        ConfigError
            If one of `positions` is not two numbers, or its separation is not positive.
        """
        return [parse_position(text, "[companion] positions") for text in self.positions]


@dataclass(frozen=True)
class MapsSection(MatchedFilterParams):
    """Section ``[maps]``: matched filter, STIM, limits and completeness in two dimensions.

    Examples
    --------
    >>> MapsSection(completeness_flux=1e-4).max_sources
    10
    """

    measure: bool = param(False, help="compute the maps")
    modes: int | None = param(
        None, help="number of KL modes of the image to measure; default: that of the main product", min=1
    )
    sigma: float = param(5.0, help="level of detection limit and completeness, Gaussian sigmas", min=0.1)
    completeness_flux: float | None = param(
        None, help="source flux for which completeness is mapped", unit="Jy", min=0.0
    )


@dataclass(frozen=True)
class DiskOptions:
    """Scale, orientation and flux of model images, if not given in the files.

    Examples
    --------
    >>> from lyot.analysis import DiskOptions
    >>> DiskOptions(center="100,99.5").place()
    (100.0, 99.5)
    """

    pixel_scale: float | None = param(
        None,
        help="pixel scale of the model; default: from the WCS of the file or its keyword PIXELSCL",
        unit="arcsec",
        min=1e-4,
    )
    position_angle: float | None = param(
        None,
        help="position angle of the model's +y axis, east of north; default: from the WCS of the file, otherwise 0",
        unit="deg",
    )
    center: str | None = param(
        None, help='position of the star in the model, "X,Y" in 0-based pixels; default: the image center'
    )
    total_flux: float | None = param(
        None, help="total flux to which the model is scaled before the fit", unit="Jy", min=0.0
    )

    def place(self) -> tuple[float, float] | None:
        """Position of the star in the model image.

        Returns
        -------
        (float, float) or None
            x and y, 0-based pixels; None for the center of the image.

        Raises
        ------
        ConfigError
            If `center` is not two numbers.
        """
        if self.center is None:
            return None
        try:
            x, y = (float(part) for part in self.center.split(","))
        except ValueError:
            raise ConfigError(f"center {self.center}: expected X,Y in pixels, e.g. 100,100.") from None
        return x, y


@dataclass(frozen=True)
class DiskSection(DiskOptions, DiskParams, RingFitParams):
    """Section ``[disk]``: images of disk models and a parametric ring, fitted through mask, PSF and reduction.

    Examples
    --------
    >>> from lyot.analysis import DiskSection
    >>> DiskSection().wanted, DiskSection(ring=True).wanted
    (False, True)
    """

    models: tuple[str, ...] = param((), help="images of disk models (FITS) to fit and compare")
    ring: bool = param(False, help="fit a parametric ring")
    rolls: bool = param(
        False,
        help="fit in the reduction of the run, even if its PSF library contains other rolls; by default the fit uses "
        "a reduction with reference stars only, to avoid self-subtraction of the disk",
    )
    modes: int | None = param(
        None, help="number of KL modes of the image to measure; default: that of the main product", min=1
    )

    @property
    def wanted(self) -> bool:
        """Whether anything is to be fitted."""
        return self.ring or bool(self.models)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read."""
        return tuple(map(Path, self.models))

    def check(self) -> None:
        """Check the parameters before anything is read.

        Raises
        ------
        ConfigError
            If `center` is not two numbers, or a parameter of the ring cannot be fitted.
        """
        self.place()
        if self.ring:
            check_fitted(self.start(), self.fit)


@dataclass(frozen=True)
class ReportSection:
    """Section ``[report]``: additional content of the report.

    Examples
    --------
    >>> from lyot.analysis import ReportSection
    >>> ReportSection().curves()
    []
    """

    compare_contrast: tuple[str, ...] = param(
        (),
        help="published contrast curves to plot for comparison: tables (ECSV or CSV) with the columns separation "
        "[arcsec] and contrast, contrast_5sigma or delta_mag",
    )

    def curves(self) -> list[PublishedCurve]:
        """The published contrast curves to compare with.

        Returns
        -------
        list of PublishedCurve

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        return [read_published(Path(path)) for path in self.compare_contrast]


MASS_PARAMETERS = ("masses", "age", "age_error", "mass_filter", "mass_photometry")
"""Parameters of ``[contrast]`` that tell the masses of companions, too."""


def parse_position(text: str, where: str) -> tuple[float, float]:
    """Separation [arcsec] and position angle [deg] from ``SEP,PA``.

    Raises
    ------
    ConfigError
        If they are not two numbers, or the separation is not positive.
    """
    try:
        separation, angle = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{where} {text}: expected SEPARATION,PA in arcsec and degrees, e.g. 0.82,149.") from None
    if not (0 < separation < 100 and abs(angle) <= 720):
        raise ConfigError(
            f"{where} {text}: expected a positive separation in arcsec and an angle in degrees, e.g. 0.82,149."
        )
    return separation, angle


def values_of(section: Any, *leave_out: str) -> dict[str, Any]:
    """A section as a dict, JSON-ready."""
    plain = {f.name: getattr(section, f.name) for f in fields(section) if f.name not in leave_out}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


FILES = ("sed", "acquisition", "bandpass", "masses", "mass_photometry", "models", "compare_contrast")
"""Parameters that name files."""


def with_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections for a worker: the files absolute, wherever it works."""
    return _each_file(values, lambda path: str(path.absolute()))


def without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections for the record: the files by name alone, as their content is in the key already."""
    return _each_file(values, lambda path: path.name)


def _each_file(values: Mapping[str, Any], change: Callable[[Path], str]) -> dict[str, Any]:
    def changed(value: Any) -> Any:
        return [change(Path(v)) for v in value] if isinstance(value, list) else change(Path(value))

    return {
        name: {k: changed(v) if k in FILES and v else v for k, v in section.items()} for name, section in values.items()
    }


def existing(paths: Sequence[Path]) -> list[Path]:
    """The files, absolute.

    Raises
    ------
    ConfigError
        If one is not there.
    """
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; check the path.")
    return [p.absolute() for p in paths]
