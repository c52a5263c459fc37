"""Corrected ramps of a few pixels that are kept while an exposure is streamed, to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


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
