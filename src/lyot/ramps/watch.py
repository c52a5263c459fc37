"""Corrected ramps of a few pixels that are kept while an exposure is streamed, to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

RADII = (3.0, 6.0)
"""Around the place of the star, where the residual light is brightest, pixels."""
AROUND = 8
"""Pixels at each of these radii."""
GRID = (16, 32)
"""Rows and columns of the pixels spread over the field: so many that some have jumps in a minute of exposure."""
BORDER = 8
"""Pixels nearer to the edge are not among them: reference pixels, or behind the field stop."""


@dataclass(frozen=True)
class Watched:
    """Ramps of some pixels in one integration, as the slope fit saw them.

    Attributes
    ----------
    pixels : sequence of (y, x)
        0-based, each inside the exposure and once.
    integration : int
        0-based, in the ramps that are streamed.
    ramps : (npixels, ngroups) float32 ndarray
        Corrected ramps, DN; 0 until the pixel was streamed.
    flags : (npixels, ngroups) uint8 ndarray
        Group flags (DO_NOT_USE 1, SATURATED 2, JUMP_DET 4).
    """

    pixels: Sequence[tuple[int, int]]
    integration: int
    ramps: NDArray[np.float32]
    flags: NDArray[np.uint8]

    @classmethod
    def of(cls, pixels: Sequence[tuple[int, int]], integration: int, ngroups: int) -> Watched:
        """Nothing yet of these pixels."""
        shape = (len(pixels), ngroups)
        return cls(tuple(pixels), integration, np.zeros(shape, np.float32), np.zeros(shape, np.uint8))

    @cached_property
    def _in_row(self) -> dict[int, list[tuple[int, int]]]:
        rows = defaultdict(list)
        for index, (y, x) in enumerate(self.pixels):
            rows[y].append((x, index))
        return rows

    def take(self, y: int, columns: tuple[int, int], ramps: NDArray[np.float32], flags: NDArray[np.uint8]) -> None:
        """Keep what is wanted of columns [x0, x1) of a row: `ramps` and `flags` (ncolumns, nints, ngroups)."""
        for x, index in self._in_row.get(y, ()):
            if columns[0] <= x < columns[1]:
                self.ramps[index] = ramps[x - columns[0], self.integration]
                self.flags[index] = flags[x - columns[0], self.integration]


def spread_pixels(shape: tuple[int, int], star: tuple[float, float]) -> list[tuple[int, int]]:
    """Pixels to look at: around the position of the star, and over the whole field.

    Parameters
    ----------
    shape : (ny, nx)
        Of a frame.
    star : (x, y)
        0-based pixel position.

    Returns
    -------
    list of (y, x)
        Each inside the frame and once.
    """
    ny, nx = shape
    angles = 2 * np.pi * (np.arange(AROUND) + 0.5) / AROUND  # off the axes, along which the mask's boundaries lie
    near = [(round(star[1] + r * np.sin(a)), round(star[0] + r * np.cos(a))) for r in RADII for a in angles]
    rows, columns = (
        np.linspace(BORDER, n - 1 - BORDER, count).round().astype(int).tolist()
        for n, count in zip((ny, nx), GRID, strict=True)
    )
    inside = [(y, x) for y, x in (*near, *((y, x) for y in rows for x in columns)) if 0 <= y < ny and 0 <= x < nx]
    return list(dict.fromkeys(inside))
