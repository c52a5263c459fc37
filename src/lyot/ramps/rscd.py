"""Reset switch charge decay: the first groups of an integration are given up, fewer where a pixel saturates early.

As in the official pipeline since 3.0: the reference file says how many groups the first and the later integrations
lose; at least three groups stay, of which the last is lost to the last-frame flag; a pixel that would be left with less
than two unsaturated groups wins groups back, and is marked FLUX_ESTIMATED.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot import dq
from lyot.ramps import _kernels_corrections as kernels
from lyot.ramps._checks import writable
from lyot.ramps.dq_init import Flags
from lyot.ramps.threads import over_rows

MIN_GROUPS = 3
"""Fewest groups in a ramp for which any is given up."""
SHORT_RAMP = 5
"""Ramps up to this many groups lose one."""


@dataclass(frozen=True)
class RscdTally:
    """What was done to one kind of integration.

    `skip` groups flagged as a rule, `n_lowered` pixels with fewer, `n_none` pixels with none.
    """

    skip: int
    n_lowered: int
    n_none: int


@dataclass(frozen=True)
class RscdResult:
    """Flags, and tallies of the first integration and of the later ones (None where the file holds none of them)."""

    flags: Flags
    first: RscdTally | None
    later: RscdTally | None


def rscd_skips(skip_first: int, skip_later: int, n_groups: int, n_integrations: int) -> tuple[int, int]:
    """Groups to give up in the first and in later integrations, limited so that three groups stay.

    Parameters
    ----------
    skip_first, skip_later : int
        From the reference file; a negative first value (an old file) stands for 1.
    n_groups, n_integrations : int
        Of the exposure.
    """
    first = 1 if skip_first < 0 else skip_first
    later = skip_later
    if n_groups <= SHORT_RAMP:
        first = later = 1
    most = max(0, n_groups - 3)
    if n_groups < first + 3:
        first = most
    if n_integrations > 1 and n_groups < later + 3:
        later = most
    return first, later


def integration_skips(
    skips: tuple[int, int], n_integrations: int, *, first_integration: int = 1, exposure_integrations: int | None = None
) -> NDArray[np.int64]:
    """Groups to give up in each integration of a file, (n_integrations,).

    Parameters
    ----------
    skips : (int, int)
        From `rscd_skips`.
    n_integrations : int
        In the file.
    first_integration : int, optional
        Number of the file's first integration in the exposure, from 1 (segmented exposures).
    exposure_integrations : int, optional
        In the whole exposure; with 1, later integrations are left alone. Default: as in the file.
    """
    later = skips[1] if (exposure_integrations or n_integrations) > 1 else 0
    skip = np.full(n_integrations, later, np.int64)
    if first_integration == 1:
        skip[0] = skips[0]
    return skip


def flag_rscd(
    pixel_dq: NDArray[np.uint32],
    group_dq: NDArray[np.uint8],
    skip: NDArray[np.int64],
    *,
    first_integration: int = 1,
    out: Flags | None = None,
    threads: int = 0,
) -> RscdResult:
    """Set DO_NOT_USE in the first groups of each integration.

    Parameters
    ----------
    pixel_dq : (ny, nx) uint32 ndarray
        Pixel flags.
    group_dq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags with saturation, at least three groups.
    skip : (nints,) int ndarray
        From `integration_skips`.
    first_integration : int, optional
        See `integration_skips`.
    out : Flags, optional
        Arrays to write to, which may be those given.
    threads : int, optional
        0 takes every core.

    Returns
    -------
    RscdResult
        Flags, and tallies of the first and the later integrations.

    Examples
    --------
    >>> import numpy as np
    >>> skip = integration_skips(rscd_skips(3, 4, n_groups=8, n_integrations=2), 2)
    >>> found = flag_rscd(np.zeros((1, 1), np.uint32), np.zeros((2, 8, 1, 1), np.uint8), skip)
    >>> found.flags.group_dq[:, :, 0, 0].tolist()
    [[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]]
    """
    pixels = writable(pixel_dq, out.pixel_dq if out else None)
    groups = writable(group_dq, out.group_dq if out else None)
    nints, _, ny, nx = groups.shape
    kept = np.empty((nints, ny, nx), np.int16)
    over_rows(lambda a, b: kernels.flag_rscd_rows(groups, skip, kept, a, b), ny, threads=threads)
    lowered = kept < skip[:, None, None]
    pixels[lowered.any(axis=0)] |= np.uint32(dq.FLUX_ESTIMATED)
    n_first = 1 if first_integration == 1 else 0
    tallies = [
        rscd_tally(np.any(lowered[part], axis=0), np.any(kept[part] == 0, axis=0), skip[part])
        for part in (slice(0, n_first), slice(n_first, nints))
    ]
    return RscdResult(Flags(pixels, groups), tallies[0], tallies[1])


def rscd_tally(lowered: NDArray[np.bool_], none: NDArray[np.bool_], skip: NDArray[np.int64]) -> RscdTally | None:
    """Count pixels, from images of where in any integration fewer groups than the rule, or none, were given up."""
    if skip.size == 0:
        return None
    n_lowered = int(lowered.sum())
    return RscdTally(int(skip[0]), n_lowered, int(none.sum()) if n_lowered else 0)
