"""The companions of a run against earlier or later positions: companion or background star."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import get_body_barycentric, solar_system_ephemeris
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from numpy.typing import ArrayLike, NDArray

from lyot.analysis.astrometry import AstrometrySection, Epoch, parse_date, parse_epoch
from lyot.analysis.columns import describe
from lyot.analysis.finished_run import MeasuredRun
from lyot.analysis.tables import provenance, write_table
from lyot.errors import InputError
from lyot.exposures.names import PROPER_MOTION
from lyot.geometry import separation_and_pa
from lyot.measure.proper_motion import MotionTest, Positions, StarMotion, background_track, compare_motion

L2 = 1.01
"""Distance of the second Lagrange point from the Sun, in the Earth's."""


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
        Parsec, where the parallax is not given.

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
        raise InputError("proper motion: no companion was fitted; give its position with --guess SEPARATION,PA.")
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
    describe(table, PROPER_MOTION)
    return table


def _track(positions: Positions, star: StarMotion) -> list[list[float]]:
    """Year, east and north (arcsec) of the background's change since the first date, finely sampled, for pictures."""
    first, last = float(positions.years.min()), float(positions.years.max())
    years = np.unique(np.concatenate([np.linspace(first, last, 200), positions.years[:1]]))
    at = int(np.searchsorted(years, positions.years[0]))
    change = background_track(years, observer_at(years), star, first=at)
    rows = np.column_stack([years, change]).round(5)
    return [[float(value) for value in row] for row in rows]
