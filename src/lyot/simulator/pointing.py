"""Where the telescope points: attitude, aperture and WCS keywords of one exposure, consistent with one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.geometry import pa_of_detector_y
from lyot.instrument import V3_IDEAL_Y_ANGLE, Coronagraph

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Attitude:
    """Sky position of the aperture's reference point and of the telescope's axis, all in degrees (ICRS).

    Attributes
    ----------
    ra_ref, dec_ref, roll_ref : float
        Reference point, and V3's position angle there.
    ra_v1, dec_v1, pa_v3 : float
        Telescope axis, and V3's position angle there.
    """

    ra_ref: float
    dec_ref: float
    roll_ref: float
    ra_v1: float
    dec_v1: float
    pa_v3: float


def _direction(longitude: float, latitude: float) -> FloatArray:
    a, d = np.radians(longitude), np.radians(latitude)
    return np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def _axes(longitude: float, latitude: float, angle: float) -> FloatArray:
    """Rows: the direction, the unit vector there toward `angle` (from north toward east, deg), and that 90 deg east."""
    a, d, t = np.radians(longitude), np.radians(latitude), np.radians(angle)
    north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    toward = np.cos(t) * north + np.sin(t) * east
    return np.stack([_direction(longitude, latitude), toward, np.cos(t) * east - np.sin(t) * north])


def attitude(ra_ref: float, dec_ref: float, roll_ref: float, *, v2_ref: float, v3_ref: float) -> Attitude:
    """Attitude of the telescope from that of an aperture's reference point.

    Parameters
    ----------
    ra_ref, dec_ref, roll_ref : float
        degrees; `roll_ref` is the position angle of V3 at the reference point, north toward east.
    v2_ref, v3_ref : float
        Telescope coordinates of the reference point, arcsec.
    """
    sky = _axes(ra_ref, dec_ref, roll_ref)
    telescope = _axes(v2_ref / 3600.0, v3_ref / 3600.0, 0.0)
    rotation = sky.T @ telescope  # telescope vector -> sky vector
    v1, v3 = rotation[:, 0], rotation[:, 2]
    ra_v1, dec_v1 = np.degrees(np.arctan2(v1[1], v1[0])) % 360.0, np.degrees(np.arcsin(v1[2]))
    frame = _axes(ra_v1, dec_v1, 0.0)
    pa_v3 = np.degrees(np.arctan2(frame[2] @ v3, frame[1] @ v3)) % 360.0
    return Attitude(ra_ref, dec_ref, roll_ref, float(ra_v1), float(dec_v1), float(pa_v3))


def offset_position(ra: float, dec: float, separation: float, pa: float) -> tuple[float, float]:
    """Sky position (ra, dec), degrees, at `separation` arcsec and position angle `pa` degrees from (ra, dec)."""
    axes = _axes(ra, dec, pa)
    s = np.radians(separation / 3600.0)
    v = np.cos(s) * axes[0] + np.sin(s) * axes[1]
    return float(np.degrees(np.arctan2(v[1], v[0])) % 360.0), float(np.degrees(np.arcsin(v[2])))


def shifted_pointing(
    ra: float, dec: float, offset: tuple[float, float], roll_ref: float
) -> tuple[float, float]:  # fmt: skip
    """Sky position of the reference point that puts a target at (ra, dec) at `offset` (x, y) arcsec on the detector."""
    pa_y = pa_of_detector_y(roll_ref, V3_IDEAL_Y_ANGLE)
    x, y = offset
    pa = pa_y + float(np.degrees(np.arctan2(x, -y)))  # of (-x, -y), the reference point seen from the target
    return offset_position(ra, dec, float(np.hypot(x, y)), pa)


def pc_matrix(roll_ref: float) -> FloatArray:
    """PC matrix (2, 2) of an image with VPARITY = -1: pixel offsets (x, y) to (east, north)."""
    t = np.radians(pa_of_detector_y(roll_ref, V3_IDEAL_Y_ANGLE))
    return np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])


def footprint(coronagraph: Coronagraph, a: Attitude) -> str:
    """S_REGION of the subarray's corners (tangent plane, no distortion)."""
    ny, nx = coronagraph.shape
    x_ref, y_ref = coronagraph.reference_point
    corners = [(-0.5, -0.5), (nx - 0.5, -0.5), (nx - 0.5, ny - 0.5), (-0.5, ny - 0.5)]
    values = []
    for x, y in corners:
        offset = np.array([(x - x_ref) * coronagraph.pixel_scale[0], (y - y_ref) * coronagraph.pixel_scale[1]])
        east, north = pc_matrix(a.roll_ref) @ offset
        pa = float(np.degrees(np.arctan2(east, north)))
        values += list(offset_position(a.ra_ref, a.dec_ref, float(np.hypot(east, north)), pa))
    return "POLYGON ICRS  " + " ".join(f"{v:.9f}" for v in values)
