"""Companion or background star: positions at several epochs compared with the motion of the star.

A background object stands still while the star moves by its proper motion and its parallax; the offset from the star
then changes by the opposite of that. A companion keeps its offset (its orbit is not modeled). Both are fitted to the
measured positions with the object's offset at one date as the only unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lyot import geometry
from lyot.errors import InputError
from lyot.measure.distributions import chi2_sf

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Positions:
    """Positions of an object relative to the star.

    Attributes
    ----------
    years : (n,) float64 ndarray
        Dates, Julian years.
    separation, separation_error : (n,) float64 ndarray
        arcsec.
    position_angle, position_angle_error : (n,) float64 ndarray
        Degrees east of north.
    observer : (n, 3) float64 ndarray
        Barycentric position of the observer at the dates, au, equatorial axes (ICRS).

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import Positions
    >>> positions = Positions(
    ...     years=np.array([2016.0, 2024.0]), separation=np.array([0.8, 0.8]), separation_error=np.full(2, 0.01),
    ...     position_angle=np.array([90.0, 180.0]), position_angle_error=np.full(2, 0.5), observer=np.zeros((2, 3)),
    ... )
    >>> (positions.offsets().round(3) + 0.0).tolist()
    [[0.8, 0.0], [0.0, -0.8]]
    """

    years: FloatArray
    separation: FloatArray
    separation_error: FloatArray
    position_angle: FloatArray
    position_angle_error: FloatArray
    observer: FloatArray

    def __post_init__(self) -> None:
        n = len(self.years)
        for name in ("separation", "separation_error", "position_angle", "position_angle_error"):
            values = np.asarray(getattr(self, name), dtype=float)
            if values.shape != (n,) or not np.isfinite(values).all():
                raise InputError(f"positions: expected {n} finite values of {name}, got shape {values.shape}.")
        if np.shape(self.observer) != (n, 3):
            raise InputError(f"positions: expected an observer of shape ({n}, 3), got {np.shape(self.observer)}.")
        if n < 2 or np.ptp(self.years) == 0:
            raise InputError("positions: expected two dates or more, which are not all the same.")
        errors = np.concatenate([self.separation_error, self.position_angle_error])
        if (self.separation <= 0).any() or (errors <= 0).any():
            raise InputError("positions: expected positive separations and errors.")

    def offsets(self) -> FloatArray:
        """Offsets from the star.

        Returns
        -------
        (n, 2) float64 ndarray
            East and north, arcsec.
        """
        return np.stack(geometry.sky_offset(self.separation, self.position_angle), axis=1)

    def covariances(self) -> FloatArray:
        """Covariance of each offset, from the errors of separation and position angle.

        Returns
        -------
        (n, 2, 2) float64 ndarray
            Of (east, north), arcsec squared.
        """
        t = np.radians(self.position_angle)
        radial = np.stack([np.sin(t), np.cos(t)], axis=1)
        across = np.stack([np.cos(t), -np.sin(t)], axis=1)
        tangential = self.separation * np.radians(self.position_angle_error)
        found = np.einsum("n,ni,nj->nij", self.separation_error**2, radial, radial)
        return np.asarray(found + np.einsum("n,ni,nj->nij", tangential**2, across, across))


@dataclass(frozen=True)
class StarMotion:
    """Position, proper motion and parallax of the star.

    Attributes
    ----------
    ra, dec : float
        Degrees, ICRS.
    pm_ra, pm_dec : float
        mas per year; the first with the cosine of the declination in it.
    parallax : float
        mas.
    pm_error, parallax_error : float
        One sigma; the first for each axis, mas per year; the second in mas.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import StarMotion, background_track
    >>> star = StarMotion(ra=0.0, dec=0.0, pm_ra=0.0, pm_dec=-50.0, parallax=0.0)
    >>> (background_track([2020.0, 2024.0], np.zeros((2, 3)), star).round(3) + 0.0).tolist()
    [[0.0, 0.0], [0.0, 0.2]]
    """

    ra: float
    dec: float
    pm_ra: float
    pm_dec: float
    parallax: float
    pm_error: float = 0.0
    parallax_error: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite([self.ra, self.dec, self.pm_ra, self.pm_dec, self.parallax]).all() or self.parallax < 0:
            raise InputError("star: expected a finite position, proper motion, and a parallax that is not negative.")


@dataclass(frozen=True)
class MotionTest:
    """Comparison of both hypotheses for a set of positions.

    Attributes
    ----------
    chi2_background, chi2_common : float
        Of an object that stands still, and of one that moves with the star.
    freedom : int
        Degrees of freedom of each: two per date, less two for the offset at the first.
    probability_background, probability_common : float
        Of a chi2 as large or larger by chance.
    background, common : (n, 2) float64 ndarray
        Offsets (east, north) at the dates, arcsec, that fit best.
    """

    chi2_background: float
    chi2_common: float
    freedom: int
    probability_background: float
    probability_common: float
    background: FloatArray
    common: FloatArray

    @property
    def verdict(self) -> str:
        """``common proper motion``, ``background``, ``neither`` or ``undecided``: what is refused at 3 sigmas."""
        refused = [p < REFUSED for p in (self.probability_background, self.probability_common)]
        words = {(True, False): "common proper motion", (False, True): "background", (True, True): "neither"}
        return words.get((refused[0], refused[1]), "undecided")


REFUSED = 0.0027
"""Probability below which an explanation is refused: that of three Gaussian sigmas."""


def parallax_factors(ra: float, dec: float, observer: ArrayLike) -> FloatArray:
    """Displacement of a star by a parallax of 1 arcsec.

    Parameters
    ----------
    ra, dec : float
        Degrees.
    observer : (n, 3) array_like
        Barycentric position of the observer, au, equatorial axes.

    Returns
    -------
    (n, 2) float64 ndarray
        East and north, arcsec (Urban & Seidelmann 2013, Explanatory Supplement to the Astronomical Almanac, chapter 7).
    """
    x, y, z = np.asarray(observer, dtype=float).T
    a, d = np.radians([ra, dec])
    east = x * np.sin(a) - y * np.cos(a)
    north = x * np.cos(a) * np.sin(d) + y * np.sin(a) * np.sin(d) - z * np.cos(d)
    return np.stack([east, north], axis=1)


def background_track(years: ArrayLike, observer: ArrayLike, star: StarMotion, *, first: int = 0) -> FloatArray:
    """Offsets of a stationary background object relative to those at one of the epochs.

    Parameters
    ----------
    years : (n,) array_like
        Julian years.
    observer : (n, 3) array_like
        Barycentric position of the observer at these dates, au, equatorial axes.
    star : StarMotion
    first : int, optional
        Index of the date whose offset is the reference.

    Returns
    -------
    (n, 2) float64 ndarray
        East and north, arcsec; 0 at the reference.

    Examples
    --------
    A star that moves east by 100 mas per year leaves a background object to the west of where it was:

    >>> star = StarMotion(ra=0.0, dec=0.0, pm_ra=100.0, pm_dec=0.0, parallax=0.0)
    >>> background_track([2020.0, 2022.0], np.zeros((2, 3)), star).round(3).tolist()
    [[0.0, 0.0], [-0.2, 0.0]]
    """
    time = np.asarray(years, dtype=float)
    factors = parallax_factors(star.ra, star.dec, observer)
    motion = np.outer(time - time[first], [star.pm_ra, star.pm_dec]) + star.parallax * (factors - factors[first])
    return np.asarray(0.0 - 1e-3 * motion)


def compare_motion(positions: Positions, star: StarMotion) -> MotionTest:
    """Compare the hypotheses of a background object and of a comoving companion.

    Parameters
    ----------
    positions : Positions
        At two dates or more.
    star : StarMotion
        Its errors count against the background alone, and in the same way at all dates.

    Returns
    -------
    MotionTest

    Examples
    --------
    The star moves by 39 mas per year, the object stays where it is next to it:

    >>> import numpy as np
    >>> from lyot.measure import Positions, StarMotion, compare_motion
    >>> positions = Positions(
    ...     years=np.array([2016.0, 2024.0]), separation=np.full(2, 0.8), separation_error=np.full(2, 0.005),
    ...     position_angle=np.full(2, 150.0), position_angle_error=np.full(2, 0.3), observer=np.zeros((2, 3)),
    ... )
    >>> test = compare_motion(positions, StarMotion(ra=201.15, dec=-51.5, pm_ra=-34.0, pm_dec=-19.0, parallax=9.0))
    >>> test.verdict, test.freedom
    ('common proper motion', 2)
    """
    measured = positions.offsets()
    n = len(measured)
    covariance = np.zeros((2 * n, 2 * n))
    for k, block in enumerate(positions.covariances()):
        covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = block
    track = background_track(positions.years, positions.observer, star)
    factors = parallax_factors(star.ra, star.dec, positions.observer)
    of_motion = np.zeros_like(covariance)
    for axis in (0, 1):
        moved = np.zeros((n, 2))
        moved[:, axis] = 1e-3 * star.pm_error * (positions.years - positions.years[0])
        of_motion += np.outer(moved.ravel(), moved.ravel())
    turned = 1e-3 * star.parallax_error * (factors - factors[0])
    of_motion += np.outer(turned.ravel(), turned.ravel())
    still, chi2_still = _offset(measured - track, covariance + of_motion)
    moving, chi2_moving = _offset(measured, covariance)
    freedom = 2 * n - 2
    return MotionTest(
        chi2_background=chi2_still, chi2_common=chi2_moving, freedom=freedom,
        probability_background=float(chi2_sf(chi2_still, freedom)),
        probability_common=float(chi2_sf(chi2_moving, freedom)),
        background=still + track, common=np.tile(moving, (n, 1)),
    )  # fmt: skip


def _offset(offsets: FloatArray, covariance: FloatArray) -> tuple[FloatArray, float]:
    """The one offset that fits all best, (2,), and its chi2."""
    design = np.tile(np.eye(2), (len(offsets), 1))
    weight = np.linalg.inv(covariance)
    data = offsets.ravel()
    found = np.linalg.solve(design.T @ weight @ design, design.T @ weight @ data)
    left = data - design @ found
    return np.asarray(found), float(left @ weight @ left)
