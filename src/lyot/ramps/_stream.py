"""The state of a streamed exposure: what is known of it, what is counted, and the columns that one thread works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lyot import dq
from lyot.ramps import _jump_kernels as jumps
from lyot.ramps import _kernels_stream as kernels
from lyot.ramps import _likely_kernels as likelihood
from lyot.ramps import _ols_kernels as ols
from lyot.ramps._jump_rows import RowRing
from lyot.ramps.depth_matching import truncate_row
from lyot.ramps.jump import CLIP_ALL, CLIP_INTEGRATIONS, JumpPlan
from lyot.ramps.options import FitLimits
from lyot.ramps.ramp_fit_likely import read_noise_single
from lyot.ramps.readers import FloatFile, RampArray, RampFile, SegmentFiles
from lyot.ramps.scratch import Scratch
from lyot.ramps.slopes import GroupTimes
from lyot.ramps.watch import Watched

MAX_ROWS = 16
"""Rows of a band at most: more make reading no faster."""
DARK_ROWS = 8
"""Rows of the dark that are read at once."""
MIN_ROWS = 4
"""Rows of a band at least; with less room the columns are taken in several passes."""


def band_layout(shape: tuple[int, int, int, int], grow: int, memory: float) -> tuple[int, int]:
    """Rows of a band, and number of passes over the columns, that fit into `memory` MB."""
    nints, ngroups, ny, nx = shape
    samples = nints * ngroups
    passes = 1
    while True:
        width = -(-nx // passes) + 2 * (grow + 1) * (passes > 1)
        room = memory * 1e6 - 3 * width * samples * 5  # the ring: float32 and flags
        rows = int(room // (width * samples * 2)) - grow
        if rows >= min(MIN_ROWS, ny) or passes >= nx // 8:
            return max(1, min(rows, MAX_ROWS, ny)), passes
        passes += 1


class Plans(NamedTuple):
    """Plans of jump detection and fit, and the groups [first, last) that the fit may use."""

    jump: JumpPlan
    fit: ols.FitPlan
    groups: tuple[int, int]


@dataclass(frozen=True)
class Exposure:
    """Everything that is known before the first row, in the order in which rows are worked on.

    Images are (ny, nx); `reset` (ny, nx, nr, ngr), `coefficients` (ny, nx, ncoef); `dark` is a file, or an array
    (nd, ng, ny, nx), or None.
    """

    source: RampArray | RampFile | SegmentFiles
    base: NDArray[np.uint8]
    threshold: NDArray[np.float32]
    grow: int
    reset: NDArray[np.float32] | None
    coefficients: NDArray[np.float32] | None
    dark: FloatFile | NDArray[np.floating[Any]] | None
    dark_nints: int
    settings: kernels.RowSettings
    gain: NDArray[np.float32]
    read_noise: NDArray[np.float32]
    group_noise: NDArray[np.float32]
    dark_current: NDArray[np.float32]
    times: GroupTimes
    pixel_dq: NDArray[np.uint32]
    first_integration: int
    limits: FitLimits
    scratch: Scratch
    own: tuple[int, int]
    """Integrations [first, last) whose slopes are wanted."""
    likely: likelihood.LikelyPlan | None
    """Plan of the LIKELY fit; None for OLS_C."""
    watched: Watched | None = None
    """Pixels whose ramps are kept."""

    def slope_arrays(
        self, nints: int, ny: int, nx: int, zeros: Any = np.zeros
    ) -> ols.FitArrays | likelihood.LikelyArrays:
        """Result arrays of the fit in use."""
        make = ols.fit_arrays if self.likely is None else likelihood.likely_arrays
        return make(nints, ny, nx, zeros)

    def dark_rows(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.floating[Any]]:
        """Dark of rows [first, last): (rows, columns, dark integrations, groups)."""
        ngroups = self.source.shape[1]
        shape = rows[1] - rows[0], columns[1] - columns[0]
        if isinstance(self.dark, FloatFile):
            return self.dark.rows((rows[0], columns[0]), (*shape, self.dark_nints, ngroups))
        if self.dark is None:
            return np.zeros((*shape, 1, 1), np.float32)
        part = self.dark[:, :ngroups, rows[0] : rows[1], columns[0] : columns[1]]
        return np.ascontiguousarray(np.moveaxis(part, (0, 1), (2, 3)))


@dataclass
class Counts:
    """What one call of `Chunk.rows` found."""

    common: NDArray[np.uint8]
    common_fit: NDArray[np.uint8]
    full: NDArray[np.bool_]
    only_jump: NDArray[np.bool_]
    primary: int = 0
    any_unsaturated: bool = False

    @classmethod
    def empty(cls, nints: int, ngroups: int) -> Counts:
        """Counts of no pixel at all."""
        shape = (nints, ngroups)
        return cls(
            np.full(shape, 255, np.uint8), np.full(shape, 255, np.uint8), np.ones(shape, bool), np.zeros(shape, bool)
        )

    def add(self, other: Counts) -> None:
        """Join the counts of other pixels."""
        self.common &= other.common
        self.common_fit &= other.common_fit
        self.full &= other.full
        self.only_jump |= other.only_jump
        self.primary += other.primary
        self.any_unsaturated |= other.any_unsaturated


@dataclass
class Tally:
    """Counts of the whole exposure, and images that the chunks write their own columns of.

    `first` (nints, ny, nx) int32: first saturated group; `pixel_dq`; `lowered` and `none` (2, ny, nx): pixels that give
    up fewer groups than the rule for RSCD, or none, in the first and in later integrations.
    """

    counts: Counts
    first: NDArray[np.int32]
    pixel_dq: NDArray[np.uint32]
    lowered: NDArray[np.bool_]
    none: NDArray[np.bool_]

    @classmethod
    def of(cls, e: Exposure) -> Tally:
        """Tally of an exposure of which nothing has been streamed."""
        nints, ngroups, ny, nx = e.source.shape
        first = e.scratch.zeros((nints, ny, nx), np.int32)
        for one in first:
            one += ngroups
            e.scratch.release()
        return cls(
            counts=Counts.empty(nints, ngroups),
            first=first,
            pixel_dq=e.pixel_dq.copy(),
            lowered=np.zeros((2, ny, nx), bool),
            none=np.zeros((2, ny, nx), bool),
        )


class Chunk:
    """Columns [x0, x1) of an exposure, taken through all rows in order, with a ring of three rows."""

    def __init__(self, e: Exposure, plans: Plans, columns: tuple[int, int]) -> None:
        nints, ngroups, _, nx = e.source.shape
        self.e, self.plans, self.columns = e, plans, columns
        self.seen = (max(columns[0] - 1, 0), min(columns[1] + 1, nx))
        width = self.seen[1] - self.seen[0]
        self.own = slice(columns[0] - self.seen[0], columns[1] - self.seen[0])
        self.ring = RowRing(width, nints, ngroups)
        self.grown = np.empty((nints, width), np.int32)
        self.kept = np.empty((nints, width), np.int64)
        self.line = np.empty(ngroups, np.float32)
        self.jump_work = jumps.work_arrays(nints, ngroups)
        self.fit_work = ols.fit_work(nints, ngroups) if e.likely is None else likelihood.likely_work(ngroups)
        self.rates = np.empty(nints, np.float64)
        self.fitted = e.slope_arrays(e.own[1] - e.own[0], 1, columns[1] - columns[0])

    def rows(
        self,
        raw: NDArray[Any],
        rows: tuple[int, int],
        a0: int,
        tally: Tally,
        out: ols.FitArrays | likelihood.LikelyArrays,
    ) -> Counts:
        """Work on rows [first, last), whose raw ramps begin at ``raw[0]`` and at column `a0`.

        All but the last one are fitted, and that too if it is the detector's last.
        """
        nints, ngroups, ny, _ = self.e.source.shape
        counts = Counts.empty(nints, ngroups)
        for y in range(*rows):
            if (y - rows[0]) % DARK_ROWS == 0:  # read together, as planes of one row are small
                dark = self.e.dark_rows((y, min(y + DARK_ROWS, rows[1])), self.seen)
            ramps = raw[y - rows[0], self.seen[0] - a0 : self.seen[1] - a0]
            self._detect(ramps, dark[(y - rows[0]) % DARK_ROWS], y, tally, counts)
            if y > 0:
                self._finish(y - 1, tally, out, counts)
        if rows[1] == ny:
            self._finish(ny - 1, tally, out, counts)
        return counts

    def _detect(self, raw: NDArray[Any], dark: NDArray[Any], y: int, tally: Tally, counts: Counts) -> None:
        """Correct row `y` and find its jumps."""
        e, row, seen = self.e, self.ring[y], slice(*self.seen)
        kernels.grow_first_row(tally.first, y, self.seen, e.grow, self.grown)
        refs = kernels.RowReferences(
            e.base[y, seen],
            np.zeros((1, 1, 1), np.float32) if e.reset is None else e.reset[y, seen],
            np.zeros((1, 2), np.float32) if e.coefficients is None else e.coefficients[y, seen],
            dark,
        )
        kernels.correct_row(raw, self.grown, refs, e.settings, row.ramps, row.flags, self.kept, self.line)
        if e.settings.rscd:
            self._record_rscd(y, tally)
        counts.any_unsaturated |= bool(np.any(self.grown[:, self.own] > self.plans.fit.first))
        kernels.survey_row(row.flags[self.own], counts.common)
        row.detect(y, e.gain[y, seen], e.read_noise[y, seen], self.plans.jump, self.jump_work)
        counts.primary += kernels.count_jumps(row.flags[self.own])
        if self.plans.jump.method in (CLIP_INTEGRATIONS, CLIP_ALL):
            kernels.survey_full_row(row.flags[self.own], counts.full, counts.only_jump)

    def _record_rscd(self, y: int, tally: Tally) -> None:
        """Note the pixels of a row that give up fewer groups than the rule."""
        kept, skip = self.kept[:, self.own], self.e.settings.skip[:, None]
        lowered = kept < skip
        at = (y, slice(*self.columns))
        n_first = 1 if self.e.first_integration == 1 else 0
        for k, part in enumerate((slice(0, n_first), slice(n_first, None))):
            tally.lowered[k][at] = lowered[part].any(axis=0)
            tally.none[k][at] = (kept[part] == 0).any(axis=0)
        tally.pixel_dq[at] |= np.where(lowered.any(axis=0), np.uint32(dq.FLUX_ESTIMATED), np.uint32(0))

    def _finish(self, y: int, tally: Tally, out: ols.FitArrays | likelihood.LikelyArrays, counts: Counts) -> None:
        """Flag the neighbors in row `y`, whose neighbors have had their jumps found, and fit it."""
        e = self.e
        row = self.ring.finish(y, e.gain[y, slice(*self.seen)], self.plans.jump)
        ramps, flags = row.ramps[self.own], row.flags[self.own]
        first, last = self.plans.groups
        if first > 0 or last < flags.shape[2]:
            flags[:, :, :first] |= dq.DO_NOT_USE
            flags[:, :, last:] |= dq.DO_NOT_USE
        if e.limits.depth is not None:
            truncate_row(ramps, flags, e.limits.depth[y, slice(*self.columns)], e.limits.min_groups, self.rates)
        if e.limits.drop_first:
            flags[:, 0] |= dq.DO_NOT_USE
        if e.watched is not None:
            e.watched.take(y, self.columns, ramps, flags)
        kernels.survey_fit_row(flags, self.plans.fit.suppress_one_group, counts.common_fit)
        at = slice(*self.columns)
        fit_row: Any = ols.fit_row
        noise: NDArray[Any] = e.group_noise[y, at]
        plan: Any = self.plans.fit
        if e.likely is not None:
            fit_row, noise, plan = likelihood.likely_row, read_noise_single(e.read_noise[y, at]), e.likely
            if e.own != (0, ramps.shape[1]):  # each integration by itself: only those that are wanted
                own = slice(*e.own)
                ramps, flags = np.ascontiguousarray(ramps[:, own]), np.ascontiguousarray(flags[:, own])
        fit_row(
            ramps,
            flags,
            tally.pixel_dq[y, at],
            e.gain[y, at],
            noise,
            e.dark_current[y, at],
            plan,
            0,
            self.fitted,
            self.fit_work,
        )
        for whole, part in zip(out, self.fitted, strict=True):
            whole[..., y, at] = part[..., 0, :]
