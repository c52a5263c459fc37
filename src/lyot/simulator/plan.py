"""Which exposures a simulated observing sequence has: roles, names, sizes, times, dithers and pointing errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from lyot.errors import unknown_name
from lyot.instrument import Coronagraph
from lyot.simulator.scene import Scene

Role = Literal["science", "reference", "science_background", "reference_background"]

PROGRAM: Final = "01386"
"""Program number of all simulated exposures."""

START_MJD: Final = {"F1065C": 59777.05, "F1140C": 59777.00, "F1550C": 59777.50, "F2300C": 59778.00}
"""Start of each filter's sequence, MJD (UTC): July 2022."""

SMALL_GRID: Final = ((0, 0), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""Positions of the 9-POINT-SMALL-GRID dither in steps along detector x and y, in the order of the observatory."""

BACKGROUND_DITHER: Final = ((6.0, 6.1), (-6.9, -6.0))
"""XOFFSET, YOFFSET of the two background exposures, arcsec."""

BACKGROUND_DISTANCE: Final = 90.0
"""Distance of the background fields from their star, arcsec (toward north)."""


@dataclass(frozen=True)
class Observations:
    """Observation numbers of one filter."""

    reference: int
    science: tuple[int, int]
    science_background: int
    reference_background: int


OBSERVATIONS: Final[dict[str, Observations]] = {
    "F1140C": Observations(6, (4, 5), 28, 29),
    "F1550C": Observations(7, (8, 9), 30, 31),
    "F1065C": Observations(62, (60, 61), 63, 64),
    "F2300C": Observations(72, (70, 71), 73, 74),
}
"""Observation numbers by filter; F1140C and F1550C as in program 1386, the others are free numbers."""


@dataclass(frozen=True)
class Size:
    """Integrations and groups of science exposures and their background, and of references and theirs."""

    science: tuple[int, int]
    reference: tuple[int, int]


SIZES: Final[dict[str, Size]] = {
    "full": Size((60, 250), (19, 100)),
    "medium": Size((12, 100), (4, 30)),
    "small": Size((5, 25), (3, 16)),
}
"""Sizes by name: ``full`` as observed, ``medium`` about 1 GB, ``small`` for demonstrations and tests."""


def size_of(size: str | Size) -> Size:
    """Look up a size by name; a `Size` is returned as it is."""
    if isinstance(size, Size):
        return size
    try:
        return SIZES[size]
    except KeyError:
        raise unknown_name("size", size, SIZES) from None


@dataclass(frozen=True)
class Exposure:
    """One exposure of the sequence.

    Attributes
    ----------
    index : int
        Number in the sequence, from 0: part of the key of its random numbers.
    role : Role
        What it is for.
    coronagraph : Coronagraph
        Filter, subarray, frame time.
    observation, number, activity : int
        OBSERVTN, the exposure's running number in the activity, and the first two digits of the activity (VISITGRP).
    nints, ngroups : int
        Integrations, and groups in each.
    roll : float
        ROLL_REF, degrees.
    start : float
        Start of the exposure, MJD (UTC).
    dither_number, dither_count : int
        PATT_NUM and NUMDTHPT.
    dither : (x, y)
        Intended offset of the star from the mask center, arcsec along detector x and y (zero for backgrounds).
    offset_keyword : (x, y)
        XOFFSET, YOFFSET: `dither` and the offset commanded in all visits; for backgrounds that of the field. arcsec.
    pointing_error : (x, y)
        What nobody knows: star minus mask center minus `dither`, arcsec.
    """

    index: int
    role: Role
    coronagraph: Coronagraph
    observation: int
    number: int
    activity: int
    nints: int
    ngroups: int
    roll: float
    start: float
    dither_number: int = 1
    dither_count: int = 1
    dither: tuple[float, float] = (0.0, 0.0)
    offset_keyword: tuple[float, float] = (0.0, 0.0)
    pointing_error: tuple[float, float] = (0.0, 0.0)

    @property
    def is_background(self) -> bool:
        """Whether no star is in the field."""
        return self.role.endswith("background")

    @property
    def is_reference(self) -> bool:
        """Whether the exposure belongs to the reference star."""
        return self.role.startswith("reference")

    @property
    def rootname(self) -> str:
        """Name of the file up to the detector, e.g. ``jw01386008001_04101_00001``."""
        return f"jw{PROGRAM}{self.observation:03d}001_{self.activity:02d}101_{self.number:05d}"

    @property
    def filename(self) -> str:
        """Name of the level-1b file."""
        return f"{self.rootname}_mirimage_uncal.fits"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(nints, ngroups, ny, nx)."""
        return (self.nints, self.ngroups, *self.coronagraph.shape)

    @property
    def nbytes(self) -> int:
        """Size of the science and the reference-output data, bytes (the reference output has a quarter of the rows)."""
        return int(np.prod(self.shape)) * 2 * 5 // 4

    @property
    def duration(self) -> float:
        """Time from the start to the end, s: one frame of reset between integrations."""
        return (self.nints * (self.ngroups + 1) - 1) * self.coronagraph.frame_time

    @property
    def star_offset(self) -> tuple[float, float]:
        """True offset of the star from the mask center along detector x and y, arcsec."""
        return (self.dither[0] + self.pointing_error[0], self.dither[1] + self.pointing_error[1])


@dataclass(frozen=True)
class _Visit:
    role: Role
    observation: int
    roll: float
    size: tuple[int, int]
    dithers: tuple[tuple[float, float], ...]


def _visits(coronagraph: Coronagraph, size: Size, scene: Scene) -> list[_Visit]:
    o, p = OBSERVATIONS[coronagraph.filter], scene.pointing
    step = scene.reference.dither
    grid = tuple((step * x, step * y) for x, y in SMALL_GRID)
    return [
        _Visit("reference", o.reference, p.roll_reference, size.reference, grid),
        _Visit("science", o.science[0], p.roll_1, size.science, ((0.0, 0.0),)),
        _Visit("science", o.science[1], p.roll_2, size.science, ((0.0, 0.0),)),
        _Visit("science_background", o.science_background, p.roll_1, size.science, BACKGROUND_DITHER),
        _Visit("reference_background", o.reference_background, p.roll_reference, size.reference, BACKGROUND_DITHER),
    ]


def plan_sequence(coronagraph: Coronagraph, size: str | Size, scene: Scene, seed: int) -> tuple[Exposure, ...]:
    """List the exposures of a sequence in the order of observation: references, both rolls, the backgrounds.

    Parameters
    ----------
    coronagraph : Coronagraph
        Its filter gives the observation numbers.
    size : "full", "medium", "small" or Size
        Integrations and groups.
    scene : Scene
        Pointing and rolls.
    seed : int
        Of the pointing errors.
    """
    rng = np.random.default_rng([seed, 0x9A77])
    p = scene.pointing
    clock = START_MJD[coronagraph.filter]
    exposures: list[Exposure] = []
    for visit in _visits(coronagraph, size_of(size), scene):
        background = visit.role.endswith("background")
        repeat = rng.normal(0.0, 1.0, 2) * p.repeatability
        clock += 1200.0 / 86400.0  # guide star and target acquisition
        for k, (x, y) in enumerate(visit.dithers):
            jitter = rng.normal(0.0, 1.0, 2) * p.jitter
            error = (p.mask_offset_x + repeat[0] + jitter[0], p.mask_offset_y + repeat[1] + jitter[1])
            exposure = Exposure(
                index=len(exposures),
                role=visit.role,
                coronagraph=coronagraph,
                observation=visit.observation,
                number=k + 1,
                activity=2 if background else 4,
                nints=visit.size[0],
                ngroups=visit.size[1],
                roll=visit.roll,
                start=clock,
                dither_number=k + 1,
                dither_count=len(visit.dithers),
                dither=(0.0, 0.0) if background else (x, y),
                offset_keyword=(x, y) if background else (x + p.commanded_x, y + p.commanded_y),
                pointing_error=(0.0, 0.0) if background else (float(error[0]), float(error[1])),
            )
            exposures.append(exposure)
            clock += (exposure.duration + 60.0) / 86400.0
    return tuple(exposures)
