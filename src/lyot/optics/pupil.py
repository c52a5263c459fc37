"""The JWST entrance pupil and the Lyot stops of MIRI's coronagraphs.

Arrays are in the telescope's own frame as projected on the sky: y along V3, x to the west of it, as the detector's
axes but for the tilt. The boundaries of the four-quadrant masks are parallel to these axes, so the coronagraph is
modeled in this *mask frame*; the detector is rotated from it by `Coronagraph.boundary_tilt`. Segments have flat
tops, one strut points up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.errors import ConfigError
from lyot.kept_arrays import Arrays, remembered

FloatArray = NDArray[np.float64]

CIRCUMSCRIBED_DIAMETER: Final = 6.603
"""Diameter of the circle around the segmented pupil, m."""

GRID_DIAMETER: Final = 6.75
"""Side of the pupil array, m: the circumscribed diameter and a margin."""

SEGMENT_GAP: Final = 0.007
"""Gap between segments, m."""

SECONDARY_RADIUS: Final = 0.37
"""Radius of the secondary mirror's obscuration, m."""

STRUT_WIDTH: Final = 0.10
"""Width of the secondary's three supports as seen from the primary, m."""

STRUT_ANGLES: Final = (0.0, 150.0, 210.0)
"""Directions of the supports, degrees counter-clockwise from +y."""

_FINE = 4  # geometry is drawn this much finer, then averaged, so that gaps and edges have their true area


@dataclass(frozen=True)
class Pupil:
    """The telescope pupil on a square grid.

    Attributes
    ----------
    amplitude : (n, n) float64 ndarray
        Transmission of the field, 0 to 1 (gray at edges and gaps), [y, x] in the mask frame.
    segment : (n, n) int64 ndarray
        Number of the nearest segment, 1 to 18 (poppy's order: clockwise from the top, ring by ring).
    segment_centers : (18, 2) float64 ndarray
        (x, y) of the segments' centers, m.
    coordinates : (n,) float64 ndarray
        Position of the samples along either axis, m; symmetric about 0.
    """

    amplitude: FloatArray
    segment: NDArray[np.int64]
    segment_centers: FloatArray
    coordinates: FloatArray

    @property
    def step(self) -> float:
        """Sample spacing, m."""
        return float(self.coordinates[1] - self.coordinates[0])

    @property
    def area(self) -> float:
        """Clear area, m^2."""
        return float(self.amplitude.sum()) * self.step**2


def pupil_coordinates(npix: int) -> FloatArray:
    """Sample positions along one axis of the pupil array, m: (npix,) float64, symmetric about 0."""
    return np.asarray((np.arange(npix) - (npix - 1) / 2.0) * (GRID_DIAMETER / npix), dtype=np.float64)


def _segment_flat_to_flat() -> float:
    """Flat-to-flat size of a segment for which the whole pupil has the circumscribed diameter, m."""
    # outermost corner of the outer ring: (f / (2 sqrt 3), 2.5 f + 2 gap) at half the diameter
    r, g = CIRCUMSCRIBED_DIAMETER / 2.0, SEGMENT_GAP
    a, b, c = 6.25 + 1.0 / 12.0, 10.0 * g, 4.0 * g**2 - r**2
    return float((-b + np.sqrt(b**2 - 4.0 * a * c)) / (2.0 * a))


def _bin(image: FloatArray, factor: int) -> FloatArray:
    n = image.shape[0] // factor
    return np.asarray(image.reshape(n, factor, n, factor).mean(axis=(1, 3)))


@lru_cache(maxsize=4)
def _fine_geometry(npix: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Pupil with gaps, pupil without gaps, and segment centers, drawn `_FINE` times finer than `npix`."""
    import poppy

    n = npix * _FINE
    wave = poppy.Wavefront(npix=n, diam=GRID_DIAMETER, wavelength=10e-6)
    size = _segment_flat_to_flat()
    hexagons = poppy.MultiHexagonAperture(rings=2, flattoflat=size, gap=SEGMENT_GAP)
    filled = poppy.MultiHexagonAperture(rings=2, flattoflat=size + SEGMENT_GAP, gap=0.0)
    obscuration = poppy.AsymmetricSecondaryObscuration(
        secondary_radius=SECONDARY_RADIUS, support_angle=STRUT_ANGLES, support_width=STRUT_WIDTH
    )
    shade = np.asarray(obscuration.get_transmission(wave), dtype=float)
    clear = np.asarray(hexagons.get_transmission(wave), dtype=float) * shade
    solid = np.asarray(filled.get_transmission(wave), dtype=float) * shade
    centers = np.array([hexagons._aper_center(k)[::-1] for k in hexagons.segmentlist], dtype=float)
    return clear, solid, centers


@lru_cache(maxsize=8)
def jwst_pupil(npix: int = 256) -> Pupil:
    """Draw the JWST pupil: 18 hexagonal segments with gaps, the secondary and its three supports.

    Parameters
    ----------
    npix : int
        Samples across `GRID_DIAMETER`.
    """
    xi = pupil_coordinates(npix)

    def draw() -> Arrays:
        clear, _, centers = _fine_geometry(npix)
        distance = (xi[None, None, :] - centers[:, 0, None, None]) ** 2 + (
            xi[None, :, None] - centers[:, 1, None, None]
        ) ** 2
        segment = (np.argmin(distance, axis=0) + 1).astype(np.int64)
        return {"amplitude": _bin(clear, _FINE), "segment": segment, "centers": centers}

    drawn = remembered("pupil", {"npix": npix}, draw, room=Path(__file__).parent)
    return Pupil(drawn["amplitude"], drawn["segment"], drawn["centers"], xi)


def lyot_stop(npix: int, *, transmission: float, shear: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Lyot stop shaped like the pupil with every edge but the segment gaps moved inward.

    The outline shrinks and the secondary and its supports grow by the same margin; the margin is the one that leaves
    `transmission` of the clear pupil open, the published open fraction of the stop (62 % for the four-quadrant masks,
    72 % for the Lyot spot). The true drawings are not public, this is their likeness.

    Parameters
    ----------
    npix : int
        Samples across `GRID_DIAMETER`.
    transmission : float
        Open fraction of the clear pupil area, before the shear.
    shear : (x, y)
        Shift of the stop in the mask frame, as a fraction of the pupil diameter.

    Returns
    -------
    (npix, npix) float64 ndarray
        Transmission, 0 to 1.
    """
    if not 0.0 < transmission < 1.0:
        raise ConfigError(f"Lyot stop: the open fraction must lie between 0 and 1, got {transmission}.")

    def draw() -> Arrays:
        stop = _eroded(npix, float(transmission))
        shift = [s * CIRCUMSCRIBED_DIAMETER / (GRID_DIAMETER / npix / _FINE) for s in (shear[1], shear[0])]
        if any(shift):
            stop = np.clip(ndimage.shift(stop, shift, order=1), 0.0, 1.0)
        return {"stop": _bin(stop, _FINE)}

    content = {"npix": npix, "transmission": float(transmission), "shear": [float(s) for s in shear]}
    return remembered("lyot_stop", content, draw, room=Path(__file__).parent)["stop"]


@lru_cache(maxsize=8)
def _eroded(npix: int, transmission: float) -> FloatArray:
    clear, solid, _ = _fine_geometry(npix)
    depth = ndimage.distance_transform_edt(solid)  # in fine samples
    wanted = round(transmission * float(clear.sum()))
    margin = np.sort(depth, axis=None)[::-1][wanted]
    return np.asarray(np.where(depth > margin, 1.0, 0.0))
