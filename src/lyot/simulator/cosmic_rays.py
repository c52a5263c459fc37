"""Cosmic rays: when and where they hit, and the charge they leave in each pixel.

Hits arrive at random at `CosmicRays.rate` per cm2 and second (JWST at L2 sees about 5). Each crosses the 35 um of
active layer at an isotropic angle, leaving 100 electrons per um with a long tail toward more (a log-normal stand-in for
the Landau distribution), along the pixels it crosses; a tenth of the charge spreads to the neighbors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lyot.simulator.detector import PIXEL_PITCH

HIT_DTYPE: Final = np.dtype(
    [("hit", "i4"), ("integration", "i2"), ("group", "i2"), ("y", "i2"), ("x", "i2"), ("electrons", "f4")]
)
"""One row per pixel that a cosmic ray charged: number of the hit, 0-based integration, group, y, x, and its charge."""

_THICKNESS = 35e-4 / PIXEL_PITCH  # pixels
_ELECTRONS_PER_PIXEL = 100.0 * PIXEL_PITCH * 1e4  # per pixel pitch of path
_SPREAD = 0.025  # of a pixel's charge to each of the four neighbors
_STEP = 0.05  # pixels along the track
_MAX_TRACK = 60.0  # pixels
_MINIMUM = 20.0  # e; less is lost in the noise and not kept


@dataclass(frozen=True)
class CosmicRays:
    """Rate of cosmic rays, hits per second and cm2."""

    rate: float = 5.0

    def hits_per_second(self, shape: tuple[int, int]) -> float:
        """Hits per second on a subarray of `shape` (ny, nx)."""
        return self.rate * shape[0] * shape[1] * PIXEL_PITCH**2


def _tracks(
    rng: np.random.Generator, count: int, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Charge of `count` tracks by pixel: number of the hit, flat index of the pixel, electrons."""
    ny, nx = shape
    y0, x0 = rng.random(count) * ny, rng.random(count) * nx
    cos_zenith = np.maximum(np.sqrt(rng.random(count)), 0.02)  # flux through a surface goes as cos(zenith)
    length = np.minimum(_THICKNESS * np.sqrt(1.0 - cos_zenith**2) / cos_zenith, _MAX_TRACK)
    charge = _ELECTRONS_PER_PIXEL * np.hypot(length, _THICKNESS) * rng.lognormal(0.15, 0.5, count)
    angle = rng.uniform(0.0, 2 * np.pi, count)
    n = np.maximum((length / _STEP).astype(np.int64), 1)
    hit = np.repeat(np.arange(count), n)
    step = np.arange(hit.size) - np.repeat(np.cumsum(n) - n, n)
    s = (step + 0.5) / n[hit] * length[hit]
    y = np.floor(y0[hit] + s * np.sin(angle[hit])).astype(np.int64)
    x = np.floor(x0[hit] + s * np.cos(angle[hit])).astype(np.int64)
    e = (charge / n)[hit]
    ys, xs = np.concatenate([y, y - 1, y + 1, y, y]), np.concatenate([x, x, x, x - 1, x + 1])
    es = np.concatenate([e * (1 - 4 * _SPREAD)] + [e * _SPREAD] * 4)
    inside = (ys >= 0) & (ys < ny) & (xs >= 0) & (xs < nx)
    index = (np.tile(hit, 5) * (ny * nx) + ys * nx + xs)[inside]
    index, where = np.unique(index, return_inverse=True)
    total = np.bincount(where, weights=es[inside], minlength=index.size)
    keep = total >= _MINIMUM
    return index[keep] // (ny * nx), index[keep] % (ny * nx), np.asarray(total[keep], dtype=float)


def draw_hits(
    rng: np.random.Generator, cosmic_rays: CosmicRays, shape: tuple[int, int, int], group_time: float, integration: int
) -> NDArray[np.void]:
    """Draw the cosmic rays of one integration.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of random numbers.
    cosmic_rays : CosmicRays
        Rate.
    shape : (ngroups, ny, nx)
        Of the integration.
    group_time : float
        Time between groups, s.
    integration : int
        0-based, copied into the result.

    Returns
    -------
    (n,) structured ndarray of `HIT_DTYPE`
        Charged pixels, sorted by row (y), then group.
    """
    ngroups, ny, nx = shape
    count = rng.poisson(cosmic_rays.hits_per_second((ny, nx)) * ngroups * group_time)
    groups = rng.integers(0, ngroups, count)
    hit, pixel, charge = _tracks(rng, int(count), (ny, nx))
    hits = np.zeros(hit.size, dtype=HIT_DTYPE)
    hits["hit"], hits["integration"], hits["group"] = hit, integration, groups[hit]
    hits["y"], hits["x"], hits["electrons"] = pixel // nx, pixel % nx, charge
    return hits[np.lexsort((hits["hit"], hits["x"], hits["group"], hits["y"]))]
