"""The Lyot stop of the four-quadrant masks as a drawing with named lengths.

The true drawings are not public. These lengths were fitted, together with the wavefront, to images of a star behind
the F1140C mask and to the image of HD 106906 b, far from it (``benchmarks/optics_fit.py``). What the fit says of the
shape: a circular outer edge well inside the segmented outline, a central obscuration far larger than the missing
segment, and a bar as wide as a column of segments over the upper support. It leaves 61 % of the pupil open, where
62 % is published.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lyot.instrument import Coronagraph
from lyot.kept_arrays import Arrays, remembered
from lyot.optics.fitted import fitted_optics
from lyot.optics.params import OpticsParams
from lyot.optics.pupil import CIRCUMSCRIBED_DIAMETER, STRUT_ANGLES, lyot_stop, pupil_coordinates

FloatArray = NDArray[np.float64]

_FINE = 4  # samples per pupil sample and axis in which the edges are drawn


@dataclass(frozen=True)
class StopShape:
    """Lengths of the stop, projected on the primary, m.

    Attributes
    ----------
    outer_radius : float
        Of the circular outer edge.
    center : float
        From the axis to the flat sides of the hexagon that covers the secondary and the missing segment.
    upper_bar : float
        Half width of the bar over the upper support.
    lower_bars : float
        Half width of the bars over the two lower supports.
    x, y : float
        Position of the stop in the mask frame.
    """

    outer_radius: float
    center: float
    upper_bar: float
    lower_bars: float
    x: float = 0.0
    y: float = 0.0

    @property
    def values(self) -> FloatArray:
        """The lengths in their order: (6,) float64."""
        return np.array([getattr(self, f.name) for f in fields(self)])


FITTED_SHAPE: Final = StopShape(outer_radius=2.703, center=1.115, upper_bar=0.696, lower_bars=0.070, x=-0.045, y=-0.036)
"""Lengths that fit the star HD 218261 and HD 106906 b best, see ``docs/optics.md``."""

ERODED_SHEAR: Final = (0.0106, 0.0106)
"""Shift of the eroded stop, fraction of the pupil diameter: 1.5 % in all."""


def stop_of(coronagraph: Coronagraph, params: OpticsParams, npix: int) -> FloatArray:
    """Transmission of a coronagraph's Lyot stop as `params` ask for it: (npix, npix) float64.

    The Lyot spot has a stop of its own, the eroded pupil, whatever is asked for behind the four-quadrant masks.
    """
    p = params
    fqpm = coronagraph.kind == "4QPM"
    stop = p.stop if fqpm else "eroded"
    if stop == "effective":
        return fitted_optics(p.fitted_optics).stop(npix)
    own = (0.0, 0.0) if stop == "geometric" else ERODED_SHEAR
    x, y = (value if given is None else given for given, value in zip((p.shear_x, p.shear_y), own, strict=True))
    if stop == "geometric":
        at = FITTED_SHAPE.x + x * CIRCUMSCRIBED_DIAMETER, FITTED_SHAPE.y + y * CIRCUMSCRIBED_DIAMETER
        return geometric_stop(npix, replace(FITTED_SHAPE, x=at[0], y=at[1]))
    fraction = p.fqpm_stop_transmission if fqpm else p.lyot_stop_transmission
    return lyot_stop(npix, transmission=fraction, shear=(x, y))


def geometric_stop(npix: int, shape: StopShape = FITTED_SHAPE) -> FloatArray:
    """Draw the stop on the pupil array.

    Parameters
    ----------
    npix : int
        Samples across the pupil array.
    shape : StopShape, optional

    Returns
    -------
    (npix, npix) float64 ndarray
        Transmission, 0 to 1, [y, x] in the mask frame; gray at the edges.
    """

    def draw() -> Arrays:
        n = npix * _FINE
        fine = smooth_stop(pupil_coordinates(n), shape, softness=0.0)
        return {"stop": fine.reshape(npix, _FINE, npix, _FINE).mean(axis=(1, 3))}

    content = {"npix": npix, "shape": shape.values.tolist()}
    return remembered("geometric_stop", content, draw, room=Path(__file__).parent)["stop"]


def smooth_stop(xi: FloatArray, shape: StopShape, *, softness: float) -> FloatArray:
    """The stop on samples `xi` (n,), m, of both axes, with edges as soft as a logistic of scale `softness`, m."""
    x, y = np.meshgrid(xi - shape.x, xi - shape.y)

    def beyond(distance: FloatArray) -> FloatArray:
        if softness == 0.0:
            return (distance > 0.0).astype(np.float64)
        return np.asarray(expit(distance / softness))

    out = beyond(shape.outer_radius - np.hypot(x, y))
    normals = np.radians([30.0, 90.0, 150.0])
    hexagon = np.max([np.abs(x * np.cos(a) + y * np.sin(a)) for a in normals], axis=0)
    out = out * beyond(hexagon - shape.center)
    for angle, half in zip(
        np.radians(STRUT_ANGLES), (shape.upper_bar, shape.lower_bars, shape.lower_bars), strict=True
    ):
        along, across = -x * np.sin(angle) + y * np.cos(angle), np.abs(x * np.cos(angle) + y * np.sin(angle))
        out = out * (1.0 - beyond(half - across) * beyond(along))
    return np.asarray(out)
