"""The companions of a run against earlier or later positions: companion or background star."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import get_body_barycentric, solar_system_ephemeris
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from numpy.typing import ArrayLike, NDArray

from lyot.analysis.finished_run import MeasuredRun
from lyot.analysis.tables import provenance, write_table
from lyot.errors import ConfigError, InputError
from lyot.exposures.names import PROPER_MOTION
from lyot.geometry import separation_and_pa
from lyot.measure.proper_motion import MotionTest, Positions, StarMotion, background_track, compare_motion
from lyot.params import param

L2 = 1.01
"""Distance of the second Lagrange point from the Sun, in the Earth's."""


@dataclass(frozen=True)
class AstrometrySection:
    """Section ``[astrometry]``: other positions of a companion, and the motion of the star."""

    epochs: tuple[str, ...] = param(
        (),
        help='other positions of a companion, "DATE,SEPARATION,ERROR,PA,ERROR" (arcsec, degrees; date as 2015-05-30 or '
        "2015.41)",
    )
    pm_ra: float | None = param(None, help="proper motion of the star in right ascension times cos(dec)", unit="mas/yr")
    pm_dec: float | None = param(None, help="proper motion of the star in declination", unit="mas/yr")
    pm_error: float = param(0.0, help="error of the proper motion, each axis", unit="mas/yr", min=0.0)
    parallax: float | None = param(
        None, help="parallax of the star; default from its distance", unit="mas", min=0.0, max=1000.0
    )
    parallax_error: float = param(0.0, help="error of the parallax", unit="mas", min=0.0)
    date: str | None = param(None, help="date of the images, as 2024-01-20 or 2024.05; default from their headers")

    def check(self, where: str, distance: float | None) -> None:
        """Raise `ConfigError` if an epoch cannot be used, or the star's motion is not known."""
        for text in self.epochs:
            parse_epoch(text)
        if self.date is not None:
            parse_date(self.date, f"{where} date")
        if not self.epochs:
            return
        if self.pm_ra is None or self.pm_dec is None:
            raise ConfigError(f"{where}: epochs need the star's proper motion; give pm_ra and pm_dec, in mas/yr.")
        if self.parallax is None and distance is None:
            raise ConfigError(f"{where}: epochs need the star's parallax in mas, or [star] distance in pc.")

    def motion(self, sky: tuple[float, float], distance: float | None) -> StarMotion:
        """The star's motion, its position (ra, dec) in degrees and its distance in pc given."""
        self.check("[astrometry]", distance)
        parallax = self.parallax if self.parallax is not None else 1e3 / (distance or np.inf)
        return StarMotion(
            sky[0], sky[1], self.pm_ra or 0.0, self.pm_dec or 0.0, parallax, self.pm_error, self.parallax_error
        )


@dataclass(frozen=True)
class Epoch:
    """A position of a companion: date in Julian years, arcsec, degrees east of north, one-sigma errors."""

    year: float
    separation: float
    separation_error: float
    position_angle: float
    position_angle_error: float


def parse_date(text: str, where: str) -> float:
    """A date as Julian year.

    Parameters
    ----------
    text : str
        ``2015-05-30`` (with or without a time), ``2015.41``, or a modified Julian date.
    where : str
        For the message.

    Returns
    -------
    float

    Raises
    ------
    ConfigError
        If it is none of these.
    """
    try:
        if re.fullmatch(r"\s*[\d.]+\s*", text):
            number = float(text)
            if 1700 < number < 2200:
                return number
            if 15000 < number < 110000:
                return float(Time(number, format="mjd", scale="tdb").jyear)
            raise ValueError(text)
        return float(Time(text.strip(), scale="tdb").jyear)
    except ValueError:
        raise ConfigError(f"{where} {text}: expected a date such as 2015-05-30, 2015.41 or an MJD.") from None


EXAMPLE = "2015-05-30,7.11,0.03,307.3,0.2"


def parse_epoch(text: str) -> Epoch:
    """A position from ``DATE,SEPARATION,ERROR,PA,ERROR``.

    Parameters
    ----------
    text : str

    Returns
    -------
    Epoch

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    parts = text.split(",")
    wanted = f"epoch {text}: expected DATE,SEPARATION,ERROR,PA,ERROR in arcsec and degrees ({EXAMPLE})"
    if len(parts) != 5:
        raise ConfigError(f"{wanted}; found {len(parts)} values.")
    year = parse_date(parts[0], f"epoch {text}:")
    try:
        separation, error, angle, angle_error = (float(part) for part in parts[1:])
    except ValueError:
        raise ConfigError(f"{wanted}.") from None
    if not (0 < separation < 100 and error > 0 and abs(angle) <= 720 and angle_error > 0):
        raise ConfigError(f"{wanted}: a positive separation, and positive errors.")
    return Epoch(year, separation, error, angle, angle_error)


def observer_at(years: ArrayLike, *, at_l2: Sequence[bool] | None = None) -> NDArray[np.float64]:
    """Barycentric position of the Earth, or of the second Lagrange point beyond it.

    Parameters
    ----------
    years : (n,) array_like
        Julian years.
    at_l2 : sequence of bool, optional
        For each date, whether the observer was at L2 (JWST); by default on the Earth.

    Returns
    -------
    (n, 3) float64 ndarray
        au, equatorial axes (ICRS), from the analytical ephemeris that astropy has built in.
    """
    time = Time(np.asarray(years, dtype=float), format="jyear", scale="tdb")
    with solar_system_ephemeris.set("builtin"):
        earth, sun = (get_body_barycentric(body, time).xyz.to_value(u.au).T for body in ("earth", "sun"))
    stretch = np.where(np.zeros(len(earth), bool) if at_l2 is None else np.asarray(at_l2), L2, 1.0)[:, None]
    return np.asarray(sun + stretch * (earth - sun))


def date_of(run: MeasuredRun) -> float:
    """Mean date of the science exposures, Julian year.

    Parameters
    ----------
    run : MeasuredRun

    Returns
    -------
    float

    Raises
    ------
    InputError
        If their headers have none.
    """
    dates = [_date_of(path) for path in run.finished.calints]
    known = [d for d in dates if d is not None]
    if not known:
        raise InputError(
            f"{run.finished.calints[0]}: the date is not in the header (EXPMID, EXPSTART, MJD-AVG, DATE-OBS); give it "
            "with [astrometry] date (--date)."
        )
    return float(np.mean(known))


def _date_of(path: Path) -> float | None:
    header = fits.getheader(path)
    for key in ("EXPMID", "MJD-AVG", "EXPSTART", "MJD-BEG", "MJD-OBS"):
        value = header.get(key)
        if isinstance(value, int | float) and value > 15000:
            return float(Time(value, format="mjd", scale="tdb").jyear)
    value = str(header.get("DATE-OBS", ""))[:10]
    return float(Time(value, scale="tdb").jyear) if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else None


def measure_motion(
    run: MeasuredRun, companions: Table, section: AstrometrySection, *, distance: float | None = None
) -> tuple[Table, MotionTest]:
    """Compare fitted companions with other positions of theirs; writes `PROPER_MOTION`.

    The positions belong to the companion that they fit best, standing still or moving with the star.

    Parameters
    ----------
    run : MeasuredRun
    companions : Table
        Of `lyot.analysis.measurements.measure_companions`, one row or more.
    section : AstrometrySection
    distance : float, optional
        pc, where the parallax is not given.

    Returns
    -------
    Table
        One row per date: the position, and what a background star and a companion would have there.
    MotionTest

    Raises
    ------
    ConfigError
        If the star's motion is not known or an epoch cannot be used.
    InputError
        If there is no companion, or the date of the images is not known.
    """
    if not len(companions):
        raise InputError("proper motion: no companion was fitted; name its position with --guess SEPARATION,PA.")
    star = section.motion(run.sequence.sky, distance)
    year = date_of(run) if section.date is None else parse_date(section.date, "[astrometry] date")
    own_telescope = str(run.image.primary.get("TELESCOP", "JWST")).strip() == "JWST"
    tests = []
    for row in companions:
        own = Epoch(year, *(float(row[name]) for name in
                            ("separation", "separation_err", "position_angle", "position_angle_err")))  # fmt: skip
        tests.append(_compared([own, *map(parse_epoch, section.epochs)], star, own_telescope))
    index = int(np.argmin([min(t.chi2_background, t.chi2_common) for t, _ in tests]))
    test, positions = tests[index]
    table = motion_table(index + 1, test, positions)
    track = _track(positions, star)
    table.meta.update(
        provenance(
            run, verdict=test.verdict, chi2_background=test.chi2_background, chi2_common=test.chi2_common,
            degrees_of_freedom=test.freedom, probability_background=test.probability_background,
            probability_common=test.probability_common, pm_mas_per_year=[star.pm_ra, star.pm_dec],
            parallax_mas=star.parallax, track=track,
        )
    )  # fmt: skip
    write_table(table, run.tables / PROPER_MOTION)
    return table, test


def _compared(epochs: Sequence[Epoch], star: StarMotion, own_at_l2: bool) -> tuple[MotionTest, Positions]:
    """The test of positions, of which the first is the run's own."""
    names = ("separation", "separation_error", "position_angle", "position_angle_error")
    columns = {name: np.array([getattr(e, name) for e in epochs]) for name in names}
    years = np.array([e.year for e in epochs])
    observer = observer_at(years, at_l2=[own_at_l2] + [False] * (len(epochs) - 1))
    try:
        positions = Positions(years=years, observer=observer, **columns)
    except InputError as error:
        raise InputError(f"proper motion: {error}") from error
    return compare_motion(positions, star), positions


def motion_table(companion: int, test: MotionTest, positions: Positions) -> Table:
    """The positions, and what both explanations have there, as a table.

    Parameters
    ----------
    companion : int
        Its number, from 1.
    test : MotionTest
    positions : Positions

    Returns
    -------
    Table
        One row per date, the run's own first.
    """
    table = Table()
    table["companion"] = np.full(len(positions.years), companion)
    table["year"] = positions.years * u.yr
    for name in ("separation", "position_angle"):
        unit = u.arcsec if name == "separation" else u.deg
        table[name] = getattr(positions, name) * unit
        table[f"{name}_err"] = getattr(positions, f"{name}_error") * unit
    for name, offsets in (("background", test.background), ("common", test.common)):
        separation, angle = separation_and_pa(offsets[:, 0], offsets[:, 1])
        table[f"{name}_separation"], table[f"{name}_position_angle"] = separation * u.arcsec, angle * u.deg
    table["background_separation"].description = "of an object that stands still while the star moves, best fit"
    table["common_separation"].description = "of an object that moves with the star, best fit"
    return table


def _track(positions: Positions, star: StarMotion) -> list[list[float]]:
    """Year, east and north (arcsec) of the background's change since the first date, finely sampled, for pictures."""
    first, last = float(positions.years.min()), float(positions.years.max())
    years = np.unique(np.concatenate([np.linspace(first, last, 200), positions.years[:1]]))
    at = int(np.searchsorted(years, positions.years[0]))
    change = background_track(years, observer_at(years), star, first=at)
    rows = np.column_stack([years, change]).round(5)
    return [[float(value) for value in row] for row in rows]
