"""The glow sticks of the MIRI coronagraphs: position, brightness, and residuals.

Stray thermal light is scattered at the mask: along the flatter boundary of a four-quadrant phase mask, around the spot
of the Lyot coronagraph and along the lower edge of its field. In archival backgrounds at 11.4 um the bright line spans
-1.5 to +3.5 pixels across the boundary, is 5 to 12 % of the background level, and does not scale with it from visit to
visit: 0.8 MJy/sr on 17.7 in one, 1.8 on 14.7 in another.

What is measured is the excess of a strip over the field on both sides of it, so that a constant or a slope across the
strip does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.geometry import offset_grid
from lyot.instrument import Coronagraph

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_LINE = (-0.165, 0.385)
_LINE_SIDES = ((-1.32, -0.605), (0.66, 1.32))
_RING, _RING_SIDES = (0.1, 0.8), ((1.6, 2.8),)
_EDGE, _EDGE_SIDES = (0.4, 1.3), ((2.4, 4.0),)
_MARGIN = 0.6
"""arcsec: extent of strips and comparison fields across, and distance kept from the field stop."""


@dataclass(frozen=True)
class GlowStrip:
    """One strip with the field it is compared with.

    Attributes
    ----------
    name : str
        ``left`` and ``right`` arm of the boundary, ``ring`` around the spot, ``bottom`` of the field.
    strip, comparison : (ny, nx) bool ndarray
        Pixels of each where the excess is measured: not near the star.
    whole, beside : (ny, nx) bool ndarray
        Pixels of each, those near the star included: where the glow is, and what it stands on in a background.
    """

    name: str
    strip: Bool
    comparison: Bool
    whole: Bool
    beside: Bool


@dataclass(frozen=True)
class GlowExcess:
    """Brightness of a strip over its surroundings, unit of the image; NaN if it has fewer than 20 good pixels."""

    name: str
    value: float
    error: float
    n_pixels: int


def glow_strips(
    coronagraph: Coronagraph,
    shape: tuple[int, int],
    center: tuple[float, float],
    *,
    exclusion_radius: float = 4.0,
) -> tuple[GlowStrip, ...]:
    """Positions of the glow sticks of a coronagraph on a frame with any crop.

    Parameters
    ----------
    coronagraph : Coronagraph
        Geometry.
    shape : (ny, nx)
        Of the frame.
    center : (x, y)
        0-based position of the mask center in the frame.
    exclusion_radius : float
        Nearer to the center (arcsec) the excess is not measured, as the star's light is there.

    Returns
    -------
    tuple of GlowStrip
        Strips with at least 20 pixels of each kind on the frame.

    Examples
    --------
    >>> from lyot.instrument import coronagraph
    >>> mask = coronagraph("F1550C")
    >>> [strip.name for strip in glow_strips(mask, mask.shape, mask.reference_point)]
    ['left', 'right']
    """
    dx, dy = offset_grid(shape, center)
    dx, dy = dx * coronagraph.pixel_scale[0], dy * coronagraph.pixel_scale[1]
    half = 0.5 * coronagraph.field_size - _MARGIN
    radius = np.hypot(dx, dy)
    field = (np.abs(dx) < half) & (np.abs(dy) < half + _MARGIN)
    t = np.radians(coronagraph.boundary_tilt)
    u, v = dx * np.cos(t) + dy * np.sin(t), -dx * np.sin(t) + dy * np.cos(t)
    if coronagraph.kind == "4QPM":
        away = field & (radius >= exclusion_radius)
        arms = [
            (name, field & side & _between(v, _LINE), field & side & _any_between(v, _LINE_SIDES))
            for name, side in (("left", u < 0), ("right", u > 0))
        ]
        candidates = [GlowStrip(name, line & away, beside & away, line, beside) for name, line, beside in arms]
    else:
        edge, off_bar = dy + 0.5 * coronagraph.field_size, np.abs(u) > coronagraph.bar_width
        rim = radius - coronagraph.spot_radius
        parts = [("ring", rim, _RING, _RING_SIDES), ("bottom", edge, _EDGE, _EDGE_SIDES)]
        around = [
            (name, field & off_bar & _between(at, line), field & off_bar & _any_between(at, sides))
            for name, at, line, sides in parts
        ]
        candidates = [GlowStrip(name, line, beside, line, beside) for name, line, beside in around]
    return tuple(c for c in candidates if min(c.strip.sum(), c.comparison.sum()) >= 20)


def _between(values: Float, limits: tuple[float, float]) -> Bool:
    return (values >= limits[0]) & (values <= limits[1])


def _any_between(values: Float, limits: Sequence[tuple[float, float]]) -> Bool:
    return np.asarray(np.any([_between(values, pair) for pair in limits], axis=0))


def glow_excess(
    image: NDArray[np.floating], strips: Sequence[GlowStrip], *, sigma: float = 4.0
) -> tuple[GlowExcess, ...]:
    """Measure the excess of each strip over its comparison field.

    Parameters
    ----------
    image : (ny, nx) float ndarray
        Any unit; NaN where bad.
    strips : sequence of GlowStrip
        From `glow_strips`.
    sigma : float
        Pixels further from the median of their region are left out (sources, hot pixels).

    Returns
    -------
    tuple of GlowExcess
        In the order of the strips; the error is that of the difference of two means, from the scatter of the pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.instrument import coronagraph
    >>> mask = coronagraph("F1550C")
    >>> strips = glow_strips(mask, mask.shape, mask.reference_point)
    >>> image = np.full(mask.shape, 40.0)
    >>> image[strips[0].strip] += 2.0
    >>> [(excess.name, float(excess.value)) for excess in glow_excess(image, strips)]
    [('left', 2.0), ('right', 0.0)]
    """
    found = []
    for strip in strips:
        inside, outside = (_kept(image[mask], sigma) for mask in (strip.strip, strip.comparison))
        if min(len(inside), len(outside)) < 20:
            found.append(GlowExcess(strip.name, float("nan"), float("nan"), len(inside)))
            continue
        error = float(np.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)))
        found.append(GlowExcess(strip.name, float(inside.mean() - outside.mean()), error, len(inside)))
    return tuple(found)


def _kept(values: NDArray[np.floating], sigma: float) -> Float:
    good = np.asarray(values[np.isfinite(values)], dtype=np.float64)
    for _ in range(5):
        if not len(good):
            break
        middle = np.median(good)
        spread = 1.4826 * np.median(np.abs(good - middle))
        kept = good[np.abs(good - middle) <= sigma * max(spread, 1e-30)]
        if len(kept) == len(good):
            break
        good = kept
    return good


def glow_template(image: Float, strips: Sequence[GlowStrip], *, bin_width: float = 12.0) -> Float:
    """Template of the glow: background image minus the level of its comparison fields, zero outside the strips.

    Parameters
    ----------
    image : (ny, nx) float64 ndarray
        Background; NaN where bad (those pixels are zero in the result).
    strips : sequence of GlowStrip
        From `glow_strips`; the glow near the star is part of the template, as the background has no star.
    bin_width : float
        Length along x over which the comparison field is averaged, pixels.

    Returns
    -------
    (ny, nx) float64 ndarray
        Unit of the image.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.instrument import coronagraph
    >>> mask = coronagraph("F1550C")
    >>> strips = glow_strips(mask, mask.shape, mask.reference_point)
    >>> image = np.where(strips[0].whole, 42.0, 40.0)
    >>> template = glow_template(image, strips)
    >>> float(template[strips[0].whole].min()), float(template[~strips[0].whole].max())
    (2.0, 0.0)
    """
    template = np.zeros(image.shape)
    cell = (np.arange(image.shape[1]) // bin_width).astype(int)
    for strip in strips:
        for c in np.unique(cell[strip.whole.any(axis=0)]):
            columns = np.broadcast_to(cell == c, image.shape)
            around = image[strip.beside & columns]
            around = around[np.isfinite(around)]
            if len(around) < 10:
                continue
            here = strip.whole & columns & np.isfinite(image)
            template[here] = image[here] - np.median(around)
    return template
