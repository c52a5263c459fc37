"""Thermal background as the detector sees it: field stop, mask boundaries and glow sticks.

An analytic model whose profile and amplitudes were read off archival background exposures of MASK1140: light falls by
a fifth along the steeper boundary, a bright line (the glow stick) runs along the flatter one, with two brighter lumps
on either side of the center and a faint vertical band through each of them, and the edges of the field are darker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lyot.geometry import offset_grid
from lyot.instrument import Coronagraph

FloatArray = NDArray[np.float64]

STRAY_FRACTION = 0.03
"""Background behind the field stop, relative to that inside."""

_PIXEL = 0.11  # arcsec, in which the profiles below were measured


def _gauss(x: FloatArray, center: float, sigma: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * ((x - center) / sigma) ** 2))


def _mask_frame(coronagraph: Coronagraph) -> tuple[FloatArray, FloatArray]:
    """Coordinates along the flatter and the steeper boundary, in units of 0.11 arcsec."""
    dx, dy = offset_grid(coronagraph.shape, coronagraph.reference_point)
    dx, dy = dx * coronagraph.pixel_scale[0] / _PIXEL, dy * coronagraph.pixel_scale[1] / _PIXEL
    t = np.radians(coronagraph.boundary_tilt)
    return dx * np.cos(t) + dy * np.sin(t), -dx * np.sin(t) + dy * np.cos(t)


def field_stop(coronagraph: Coronagraph) -> FloatArray:
    """Transmission of the field stop on the detector, soft over about a pixel: (ny, nx) float64 in [0, 1]."""
    dx, dy = offset_grid(coronagraph.shape, coronagraph.reference_point)
    edge = [
        1.0 / (1.0 + np.exp((np.abs(d) - 0.5 * coronagraph.field_size / scale) / 0.5))
        for d, scale in ((dx, coronagraph.pixel_scale[0]), (dy, coronagraph.pixel_scale[1]))
    ]
    return np.asarray(edge[0] * edge[1])


def _vignetting(coronagraph: Coronagraph) -> FloatArray:
    dx, dy = offset_grid(coronagraph.shape, coronagraph.reference_point)
    half = 0.5 * coronagraph.field_size
    to_side = np.maximum(half / coronagraph.pixel_scale[0] - np.abs(dx), 0.0)
    to_bottom = np.maximum(half / coronagraph.pixel_scale[1] + dy, 0.0)
    return np.asarray((1.0 - 0.28 * np.exp(-to_side / 4.0)) * (1.0 - 0.12 * np.exp(-to_bottom / 12.0)))


def _four_quadrant(coronagraph: Coronagraph, glow: float) -> FloatArray:
    u, v = _mask_frame(coronagraph)
    dark = -0.23 * _gauss(u, 0.5, 1.6) - 0.03 * _gauss(v, -3.5, 1.8)
    line = 0.10 * _gauss(v, 0.8, 1.5) * (1.0 - 0.5 * _gauss(u, 0.0, 6.0))
    lumps = 0.11 * _gauss(u, -20.0, 6.0) * _gauss(v, 1.2, 2.2) + 0.05 * _gauss(u, 20.0, 6.0) * _gauss(v, -0.5, 2.2)
    bands = 0.045 * (_gauss(u, -21.0, 11.0) + _gauss(u, 21.0, 11.0))
    return np.asarray(1.0 + dark + glow * (line + lumps + bands))


def _lyot_spot(coronagraph: Coronagraph, glow: float) -> FloatArray:
    u, v = _mask_frame(coronagraph)
    r = np.hypot(u, v)
    spot, bar = coronagraph.spot_radius / _PIXEL, 0.5 * coronagraph.bar_width / _PIXEL
    open_spot = 1.0 / (1.0 + np.exp(-(r - spot) / 1.5))
    open_bar = 1.0 - 0.6 / (1.0 + np.exp((np.abs(u) - bar) / 1.0))
    ring = 0.12 * _gauss(r, spot + 2.0, 3.0)
    bottom = 0.08 * np.exp(-np.maximum(v + 0.5 * coronagraph.field_size / _PIXEL, 0.0) / 10.0)
    return np.asarray((0.12 + 0.88 * open_spot) * open_bar + glow * (ring + bottom))


def thermal_background(coronagraph: Coronagraph, level: float, *, glow: float = 1.0) -> FloatArray:
    """Surface brightness of the background over the subarray.

    Parameters
    ----------
    coronagraph : Coronagraph
        Geometry and kind of mask.
    level : float
        In the open field, MJy/sr.
    glow : float
        Strength of the glow sticks; 1 as observed.

    Returns
    -------
    (ny, nx) float64 ndarray
        MJy/sr, no NaN; `STRAY_FRACTION` of the level behind the field stop.
    """
    shape = _four_quadrant if coronagraph.kind == "4QPM" else _lyot_spot
    inside = shape(coronagraph, glow) * _vignetting(coronagraph)
    stop = field_stop(coronagraph)
    return np.asarray(level * (inside * stop + STRAY_FRACTION * (1.0 - stop)))
