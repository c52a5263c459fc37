"""Three rows of ramps with their jumps found: what flagging the neighbors of a row takes, whoever reads the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.ramps import _jump_kernels as kernels


class Row:
    """One detector row in pixel-major arrays.

    `ramps` (nx, nints, ngroups) float32, DN, and `flags` of the same shape, uint8, are filled by whoever reads the row;
    `medians` (nx,) and `seeds` by the jump detection; `index` is the row of the detector that they belong to.
    """

    def __init__(self, nx: int, nints: int, ngroups: int) -> None:
        self.ramps = np.empty((nx, nints, ngroups), np.float32)
        self.flags = np.empty((nx, nints, ngroups), np.uint8)
        self.medians = np.empty(nx, np.float64)
        self._room = np.empty(nx * nints * ngroups, np.int64)
        self.seeds = self._room[:0]
        self.index = -1

    def detect(self, y: int, gain: NDArray[Any], read_noise: NDArray[Any], plan: Any, work: kernels.Work) -> int:
        """Find the jumps of each pixel by itself in what was read, row `y` of the detector; returns their number.

        Parameters
        ----------
        y : int
        gain, read_noise : (nx,) float32 ndarray
            electrons/DN, and DN (CDS).
        plan : JumpPlan
        work : Work
            Scratch of the thread.
        """
        n, primary = kernels.detect_row(
            self.ramps, self.flags, gain, read_noise, plan, self.medians, self._room, work
        )  # fmt: skip
        self.seeds, self.index = self._room[:n], y
        return int(primary)


class RowRing:
    """The last three rows that were read: ``ring[y]`` is row `y` of the detector, or where it is to be read to."""

    def __init__(self, nx: int, nints: int, ngroups: int) -> None:
        self._rows = [Row(nx, nints, ngroups) for _ in range(3)]

    def __getitem__(self, y: int) -> Row:
        return self._rows[y % 3]

    def finish(self, y: int, gain: NDArray[Any], plan: Any) -> Row:
        """Flag in row `y` the neighbors of jumps in it and in the rows beside, and the groups after strong jumps.

        The rows beside must have been through `Row.detect`; one that is not in the ring is off the detector.
        """
        row = self[y]
        none = row.seeds[:0]
        if plan.flag_neighbors:
            below, above = (self[k].seeds if self[k].index == k else none for k in (y - 1, y + 1))
            kernels.neighbors_row(row.flags, row.seeds, below)
            kernels.neighbors_row(row.flags, none, above)
        kernels.finish_row(row.ramps, row.flags, gain, row.medians, plan)
        return row
