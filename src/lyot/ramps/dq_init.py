"""Data-quality initialisation: the bad-pixel mask goes into the pixel flags, its unusable pixels into every group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot import dq
from lyot.errors import InputError
from lyot.ramps._checks import check_image, writable


@dataclass(frozen=True)
class Flags:
    """Pixel flags (ny, nx) uint32 and group flags (nints, ngroups, ny, nx) uint8 of an exposure."""

    pixel_dq: NDArray[np.uint32]
    group_dq: NDArray[np.uint8]


def mask_flags(mask_dq: NDArray[np.uint32], user_dq: NDArray[np.uint32] | None = None) -> NDArray[np.uint32]:
    """Bad-pixel mask with a user's own flags added.

    Parameters
    ----------
    mask_dq : (ny, nx) uint32 ndarray
        Flags of the mask reference, DQ bits.
    user_dq : (ny, nx) integer ndarray, optional
        Further flags.

    Raises
    ------
    InputError
        If the user's flags have another shape.
    """
    mask = mask_dq.astype(np.uint32)
    if user_dq is not None:
        if user_dq.shape != mask.shape:
            raise InputError(f"user_supplied_dq: shape {user_dq.shape}, but the exposure's pixels are {mask.shape}.")
        mask = mask | user_dq.astype(np.uint32)
    return mask


def initialize_flags(
    pixel_dq: NDArray[np.uint32],
    group_dq: NDArray[np.uint8],
    mask: NDArray[np.uint32],
    *,
    out: Flags | None = None,
) -> Flags:
    """Add a bad-pixel mask to the flags of an exposure.

    Parameters
    ----------
    pixel_dq : (ny, nx) uint32 ndarray
        Pixel flags, DQ bits.
    group_dq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags, DQ bits.
    mask : (ny, nx) uint32 ndarray
        From `mask_flags`.
    out : Flags, optional
        Arrays to write to, which may be those given.

    Returns
    -------
    Flags
        Pixel flags with the whole mask; group flags with its DO_NOT_USE bits in every group, so that no ramp is fitted.

    Examples
    --------
    The second pixel is dead:

    >>> import numpy as np
    >>> from lyot import dq
    >>> mask = np.array([[0, dq.DEAD | dq.DO_NOT_USE]], np.uint32)
    >>> flags = initialize_flags(np.zeros((1, 2), np.uint32), np.zeros((1, 3, 1, 2), np.uint8), mask)
    >>> flags.group_dq[0, :, 0].tolist()
    [[0, 1], [0, 1], [0, 1]]
    """
    check_image("mask", mask, group_dq.shape)
    pixels = writable(pixel_dq, out.pixel_dq if out else None)
    groups = writable(group_dq, out.group_dq if out else None)
    pixels |= mask
    groups |= (mask & np.uint32(dq.DO_NOT_USE)).astype(np.uint8)
    return Flags(pixels, groups)
