"""Sections of the configuration that tell what is measured after stage 3, beside the search for sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lyot.errors import ConfigError
from lyot.measure.companion import CompanionParams
from lyot.measure.contrast import ContrastParams
from lyot.measure.mass import MassGrid
from lyot.measure.matched_filter import MatchedFilterParams
from lyot.params import param


@dataclass(frozen=True)
class ContrastSection(ContrastParams):
    """Section ``[contrast]``: detection limits by injection and recovery."""

    measure: bool = param(True, help="measure the contrast curve and the map of limits in lyot run")
    modes: int | None = param(None, help="KL modes to measure; default those of the main product", min=1)
    masses: str | None = param(None, help="evolution models: columns age [Myr], mass [MJup], absolute magnitude")
    age: float | None = param(None, help="age of the star", unit="Myr", min=0.0)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read."""
        return (Path(self.masses),) if self.masses else ()

    def mass_grid(self) -> MassGrid | None:
        """The evolution models at the age of the star; None where none are given."""
        return None if self.masses is None else MassGrid.read(self.masses, age=self.age)


@dataclass(frozen=True)
class CompanionSection(CompanionParams):
    """Section ``[companion]``: flux and position of companions."""

    measure: bool = param(True, help="fit the sources that were detected in lyot run")
    positions: tuple[str, ...] = param((), help='fit companions near "SEPARATION,PA" (arcsec, degrees) in lyot run')
    modes: int | None = param(None, help="KL modes to measure; default those of the main product", min=1)

    @property
    def wanted(self) -> bool:
        """Whether anything is to be fitted."""
        return self.measure or bool(self.positions)

    def guesses(self) -> list[tuple[float, float]]:
        """The positions as (separation, position angle); empty for those of the detections."""
        return [parse_position(text, "[companion] positions") for text in self.positions]


@dataclass(frozen=True)
class MapsSection(MatchedFilterParams):
    """Section ``[maps]``: matched filter, STIM, limits and completeness in two dimensions."""

    measure: bool = param(False, help="make the maps in lyot run")
    modes: int | None = param(None, help="KL modes to measure; default those of the main product", min=1)
    sigma: float = param(5.0, help="level of limit and completeness, Gaussian sigmas", min=0.1)
    completeness_flux: float | None = param(
        None, help="map the probability that a source of this flux is found", unit="Jy", min=0.0
    )


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
        raise ConfigError(f"{where} {text}: expected a positive separation (arcsec) and an angle in degrees.")
    return separation, angle


def values_of(section: Any, *leave_out: str) -> dict[str, Any]:
    """A section as a dict, JSON-ready."""
    plain = {f.name: getattr(section, f.name) for f in fields(section) if f.name not in leave_out}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


FILES = ("sed", "acquisition", "bandpass", "masses")
"""Parameters that name files."""


def with_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections for a worker: the files absolute, wherever it works."""
    return {
        name: {k: str(Path(v).absolute()) if k in FILES and v else v for k, v in section.items()}
        for name, section in values.items()
    }


def without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections for the record: the files by name alone, as their content is in the key already."""
    return {
        name: {k: Path(v).name if k in FILES and v else v for k, v in section.items()}
        for name, section in values.items()
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
            raise ConfigError(f"{path}: there is no such file.")
    return [p.absolute() for p in paths]
