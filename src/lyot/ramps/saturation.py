"""Saturation and A/D floor flags of raw ramps.

A ramp is saturated from the first group at or above its pixel's threshold on, and so are, in the same group, the pixels
around it (charge spills over). A raw value of zero or less is at the floor of the converter and not used. This is the
algorithm of the official pipeline for groups of one frame, which is all that MIRI's FASTR1 and SLOWR1 have; its further
test of frame-averaged groups cannot flag anything there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot import dq
from lyot.params import param
from lyot.ramps import _kernels_corrections as kernels
from lyot.ramps._checks import check_image, check_ramps, writable
from lyot.ramps.threads import over_rows

CONVERTER_LIMIT = 65535.0
"""Highest value of the 16-bit converter, DN."""


@dataclass(frozen=True)
class SaturationParams:
    """Parameters of the saturation flags; names and defaults are the official ones.

    Examples
    --------
    >>> from lyot.ramps import SaturationParams
    >>> from lyot.params import describe
    >>> {info.name: info.default for info in describe(SaturationParams)}
    {'n_pix_grow_sat': 1, 'use_readpatt': True}
    """

    n_pix_grow_sat: int = param(1, help="number of layers adjacent pixels to flag")
    use_readpatt: bool = param(True, help="Use grouped read pattern information to assist with flagging")


@dataclass(frozen=True)
class SaturationReference:
    """Thresholds (ny, nx) float32, DN, above the converter's range where unknown; flags (ny, nx) uint32 for PIXELDQ."""

    threshold: NDArray[np.float32]
    dq: NDArray[np.uint32]


@dataclass(frozen=True)
class SaturationResult:
    """Group flags, and how many pixels are ever saturated (`n_saturated`) or at the floor (`n_floor`)."""

    group_dq: NDArray[np.uint8]
    n_saturated: int
    n_floor: int


def saturation_reference(threshold: NDArray[np.floating[Any]], flags: NDArray[np.uint32]) -> SaturationReference:
    """Prepare a saturation reference.

    Parameters
    ----------
    threshold : (ny, nx) floating ndarray
        DN; NaN where it is not known.
    flags : (ny, nx) uint32 ndarray
        DQ bits; NO_SAT_CHECK marks pixels that are not to be checked.

    Returns
    -------
    SaturationReference
        Where there is no threshold it is above the converter's range, and NO_SAT_CHECK is set.
    """
    limit = threshold.astype(np.float32)
    bits = flags.astype(np.uint32)
    bits[np.isnan(limit)] |= np.uint32(dq.NO_SAT_CHECK)
    limit[(bits & np.uint32(dq.NO_SAT_CHECK)) != 0] = CONVERTER_LIMIT + 1
    return SaturationReference(limit, bits)


def grow_first_saturated(first: NDArray[np.int32], n_pixels: int) -> NDArray[np.int32]:
    """Spread saturation to the pixels around: the earliest first saturated group within `n_pixels` in y and x.

    Parameters
    ----------
    first : (nints, ny, nx) int32 ndarray
        Index of the first saturated group of each ramp; the number of groups where there is none.
    n_pixels : int
        Layers of neighbors, corners included; 0 or less for none.
    """
    if n_pixels <= 0:
        return first
    size = 2 * n_pixels + 1
    return ndimage.minimum_filter(first, size=(1, size, size), mode="nearest")


def flag_saturation(
    data: NDArray[np.float32],
    group_dq: NDArray[np.uint8],
    reference: SaturationReference,
    params: SaturationParams | None = None,
    *,
    out: NDArray[np.uint8] | None = None,
    threads: int = 0,
) -> SaturationResult:
    """Flag saturated groups and groups at the A/D floor.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Raw ramps, DN.
    group_dq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags so far. SATURATED bits that are there already spread to the neighbors in their group too.
    reference : SaturationReference
        From `saturation_reference`.
    params : SaturationParams, optional
        Growth of the flags.
    out : (nints, ngroups, ny, nx) uint8 ndarray, optional
        Group flags to write to, which may be `group_dq`.
    threads : int, optional
        0 takes every core.

    Returns
    -------
    SaturationResult
        Group flags with SATURATED, and AD_FLOOR together with DO_NOT_USE.

    Raises
    ------
    InputError, ReferenceFileError
        For arrays of the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> ramp = np.array([10000, 40000, 58000, 60000], np.float32).reshape(1, 4, 1, 1)
    >>> threshold = saturation_reference(np.full((1, 1), 57000.0), np.zeros((1, 1), np.uint32))
    >>> found = flag_saturation(ramp, np.zeros(ramp.shape, np.uint8), threshold)
    >>> found.group_dq.ravel().tolist(), found.n_saturated
    ([0, 0, 2, 2], 1)
    """
    params = params or SaturationParams()
    nints, _, ny, nx = check_ramps(data, group_dq)
    check_image("saturation", reference.threshold, data.shape)
    flags = writable(group_dq, out)
    _grow_given(flags, params.n_pix_grow_sat)
    first = np.empty((nints, ny, nx), np.int32)
    over_rows(lambda a, b: kernels.first_saturated_rows(data, reference.threshold, first, a, b), ny, threads=threads)
    first = grow_first_saturated(first, params.n_pix_grow_sat)
    over_rows(lambda a, b: kernels.flag_saturated_rows(data, flags, first, a, b), ny, threads=threads)
    return SaturationResult(flags, _count(flags, dq.SATURATED), _count(flags, dq.AD_FLOOR))


def _grow_given(flags: NDArray[np.uint8], n_pixels: int) -> None:
    """Grow SATURATED bits that were set before, plane by plane, in place."""
    if n_pixels <= 0:
        return
    box = np.ones((2 * n_pixels + 1,) * 2, bool)
    for integration in flags:
        for plane in integration:
            given = (plane & np.uint8(dq.SATURATED)) != 0
            if given.any():
                plane[ndimage.binary_dilation(given, structure=box)] |= np.uint8(dq.SATURATED)


def _count(flags: NDArray[np.uint8], bit: int) -> int:
    """Number of pixels with a bit in any group."""
    ever = np.zeros(flags.shape[-2:], bool)
    for integration in flags:
        for plane in integration:
            ever |= (plane & np.uint8(bit)) != 0
    return int(ever.sum())
