"""Angles and positions, in one place.

Conventions used throughout Lyot:

- Arrays are indexed ``[y, x]``; positions are given as ``(x, y)`` in 0-based pixels, the center of the first pixel
  being ``(0, 0)``. FITS ``CRPIX`` is 1-based: ``x = CRPIX1 - 1``.
- Position angle (PA) is measured on the sky from north toward east, in degrees, in [0, 360).
- ``pa_y`` is the PA of the detector's +y axis. On JWST's coronagraphic imagers the detector's x grows to the west of y
  (``VPARITY = -1``), so an offset (dx, dy) has ``PA = pa_y + atan2(-dx, dy)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ARCSEC",
    "ARCSEC_PER_RADIAN",
    "angular_distance",
    "detector_offset",
    "offset_grid",
    "pa_of_detector_y",
    "position_angle",
    "quadrant_map",
    "radius_map",
    "scale_of_matrix",
    "separation_and_pa",
    "sky_offset",
]

FloatArray = NDArray[np.float64]

ARCSEC = np.pi / 648000.0
"""One arcsecond in radians."""

ARCSEC_PER_RADIAN = 648000.0 / np.pi

ROLL_TOLERANCE = 0.5
"""Exposures whose rolls differ by less than this belong to one roll, degrees."""


def pa_of_detector_y(roll_ref: float, v3i_yang: float) -> float:
    """Position angle of the detector's +y axis, degrees east of north in [0, 360).

    Parameters
    ----------
    roll_ref : float
        ``ROLL_REF``: V3 roll angle at the reference point, degrees east of north.
    v3i_yang : float
        ``V3I_YANG``: angle from V3 to the ideal y axis, degrees.

    Returns
    -------
    float
        Degrees.

    Examples
    --------
    >>> round(pa_of_detector_y(108.171, 4.835), 3)  # ROLL_REF and V3I_YANG of the header
    113.006
    """
    return float((roll_ref + v3i_yang) % 360.0)


def number_rolls(angles: Iterable[float]) -> list[int]:
    """Number the rolls of exposures from 0, in their order; those within `ROLL_TOLERANCE` are one roll.

    Parameters
    ----------
    angles : iterable of float
        Roll angle of each exposure, degrees.

    Examples
    --------
    >>> number_rolls([359.9, 10.0, 0.1])
    [0, 1, 0]
    """
    known: list[float] = []
    numbers = []
    for angle in angles:
        same = [i for i, other in enumerate(known) if abs((angle - other + 180) % 360 - 180) < ROLL_TOLERANCE]
        if not same:
            known.append(angle)
        numbers.append(same[0] if same else len(known) - 1)
    return numbers


def scale_of_matrix(matrix: ArrayLike) -> tuple[float, float]:
    """Pixel scale (x, y) of a linear celestial transformation.

    Parameters
    ----------
    matrix : (2, 2) array_like of float
        CD matrix, degrees per pixel.

    Returns
    -------
    (float, float)
        arcsec per pixel along the detector's x and y.

    Examples
    --------
    >>> [round(scale, 4) for scale in scale_of_matrix([[-3e-5, 0.0], [0.0, 4e-5]])]
    [0.108, 0.144]
    """
    cd = np.asarray(matrix, dtype=float)
    return 3600.0 * float(np.hypot(*cd[:, 0])), 3600.0 * float(np.hypot(*cd[:, 1]))


def position_angle(dx: ArrayLike, dy: ArrayLike, pa_y: float) -> FloatArray:
    """Position angle on the sky of a detector offset.

    Parameters
    ----------
    dx, dy : (...) array_like of float
        Offset from the star along detector x and y, in pixels (equal scales) or arcsec.
    pa_y : float
        Position angle of the detector's +y axis, degrees; 0 for an image with north up and east left.

    Returns
    -------
    (...) float64 ndarray
        Degrees east of north in [0, 360).

    Examples
    --------
    >>> float(position_angle(-1.0, 0.0, pa_y=0.0))  # to the left in a north-up image is east
    90.0
    """
    angle = np.degrees(np.arctan2(-np.asarray(dx, dtype=float), np.asarray(dy, dtype=float)))
    return np.asarray((pa_y + angle) % 360.0)


def detector_offset(separation: ArrayLike, pa: ArrayLike, pa_y: float) -> tuple[FloatArray, FloatArray]:
    """Detector offset (dx, dy) of a sky position; the inverse of `position_angle`.

    Parameters
    ----------
    separation : (...) array_like of float
        Angular separation from the star, arcsec (or pixels; the result has the same unit).
    pa : (...) array_like of float
        Position angle on the sky, degrees east of north.
    pa_y : float
        Position angle of the detector's +y axis, degrees.

    Returns
    -------
    dx, dy : (...) float64 ndarray
        Offsets along detector x and y, in the unit of the separation.

    Examples
    --------
    >>> dx, dy = detector_offset(0.82, 149.4, pa_y=113.0)
    >>> round(float(dx), 3), round(float(dy), 3)
    (-0.487, 0.66)
    """
    t = np.radians(np.asarray(pa, dtype=float) - pa_y)
    r = np.asarray(separation, dtype=float)
    return np.asarray(-r * np.sin(t)), np.asarray(r * np.cos(t))


def sky_offset(separation: ArrayLike, pa: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Offsets (east, north) of a separation and position angle.

    Parameters
    ----------
    separation : (...) array_like of float
        arcsec, or any other unit.
    pa : (...) array_like of float
        Position angle, degrees east of north.

    Returns
    -------
    east, north : (...) float64 ndarray
        In the unit of the separation.

    Examples
    --------
    >>> east, north = sky_offset(0.82, 149.4)
    >>> round(float(east), 3), round(float(north), 3)
    (0.417, -0.706)
    """
    t = np.radians(np.asarray(pa, dtype=float))
    r = np.asarray(separation, dtype=float)
    return np.asarray(r * np.sin(t)), np.asarray(r * np.cos(t))


def separation_and_pa(east: ArrayLike, north: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Separation and position angle of sky offsets; the inverse of `sky_offset`.

    Parameters
    ----------
    east, north : (...) array_like of float
        Offsets from the star, arcsec or any other unit.

    Returns
    -------
    separation : (...) float64 ndarray
        In the unit of the offsets.
    position_angle : (...) float64 ndarray
        Degrees east of north in [0, 360).

    Examples
    --------
    >>> separation, angle = separation_and_pa(0.417, -0.706)
    >>> round(float(separation), 2), round(float(angle), 1)
    (0.82, 149.4)
    """
    e, n = np.asarray(east, dtype=float), np.asarray(north, dtype=float)
    return np.hypot(e, n), np.asarray(np.degrees(np.arctan2(e, n)) % 360.0)


def angular_distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Angle between two sky positions.

    Parameters
    ----------
    a, b : (longitude, latitude)
        Degrees.

    Returns
    -------
    float
        Degrees.

    Examples
    --------
    >>> round(3600 * angular_distance((201.15, -51.5), (201.15, -51.501)), 1)  # arcsec
    3.6
    """
    ra1, dec1, ra2, dec2 = (math.radians(v) for v in (*a, *b))
    half = math.sin((dec2 - dec1) / 2) ** 2 + math.cos(dec1) * math.cos(dec2) * math.sin((ra2 - ra1) / 2) ** 2
    # below 0 only for a latitude beyond a pole, as broken headers have
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(max(0.0, half)))))


def offset_grid(shape: tuple[int, int], center: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Pixel offsets (dx, dy) of every pixel from `center`.

    Parameters
    ----------
    shape : (ny, nx)
        Image shape.
    center : (x, y)
        0-based pixel position.

    Returns
    -------
    dx, dy : (ny, nx) ndarray of float64
        Offsets in pixels.

    Examples
    --------
    >>> dx, dy = offset_grid((2, 2), (0.5, 0.0))
    >>> dx[0].tolist()
    [-0.5, 0.5]
    """
    y, x = np.indices(shape, dtype=float)
    return x - center[0], y - center[1]


def radius_map(shape: tuple[int, int], center: tuple[float, float]) -> FloatArray:
    """Distance of every pixel from `center`.

    Parameters
    ----------
    shape : (ny, nx)
        Image shape.
    center : (x, y)
        0-based pixel position.

    Returns
    -------
    (ny, nx) float64 ndarray
        Pixels.

    Examples
    --------
    >>> radius_map((1, 4), (1.0, 0.0)).tolist()
    [[1.0, 0.0, 1.0, 2.0]]
    """
    dx, dy = offset_grid(shape, center)
    return np.hypot(dx, dy)


def quadrant_map(
    shape: tuple[int, int], center: tuple[float, float], tilt: float
) -> tuple[NDArray[np.int8], FloatArray]:
    """Quadrants of a four-quadrant phase mask, with its true tilt.

    Parameters
    ----------
    shape : (ny, nx)
        Image shape.
    center : (x, y)
        0-based position of the crossing of the boundaries.
    tilt : float
        Rotation of the boundaries from the pixel axes, degrees, counter-clockwise from +x toward +y
        (`lyot.instrument.Coronagraph.boundary_tilt`).

    Returns
    -------
    quadrant : (ny, nx) int8 ndarray
        1 to 4, counter-clockwise, 1 where both rotated coordinates are positive.
    boundary_distance : (ny, nx) float64 ndarray
        Distance to the nearest boundary, pixels.

    Examples
    --------
    >>> from lyot.geometry import quadrant_map
    >>> quadrant, distance = quadrant_map((4, 4), center=(1.5, 1.5), tilt=0.0)
    >>> quadrant.tolist()
    [[3, 3, 4, 4], [3, 3, 4, 4], [2, 2, 1, 1], [2, 2, 1, 1]]
    >>> distance[0].tolist()
    [1.5, 0.5, 0.5, 1.5]
    """
    dx, dy = offset_grid(shape, center)
    t = np.radians(tilt)
    u = dx * np.cos(t) + dy * np.sin(t)
    v = -dx * np.sin(t) + dy * np.cos(t)
    quadrant = np.where(v >= 0, np.where(u >= 0, 1, 2), np.where(u < 0, 3, 4)).astype(np.int8)
    return quadrant, np.minimum(np.abs(u), np.abs(v))
