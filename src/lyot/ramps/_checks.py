"""Checks of arrays that every function of this room makes; the message names the argument, the array and the cure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError, ReferenceFileError


def check_ramps(data: NDArray[Any], group_dq: NDArray[np.uint8] | None = None) -> tuple[int, int, int, int]:
    """Check a ramp cube (nints, ngroups, ny, nx) of float32 and its flags of uint8; return its shape.

    Raises
    ------
    InputError
        For a wrong number of axes, an empty axis, a wrong dtype, or flags of another shape.
    """
    if data.ndim != 4:
        raise InputError(f"data: expected ramps (integration, group, y, x), got an array of shape {data.shape}.")
    if min(data.shape) == 0:
        raise InputError(f"data: ramps of shape {data.shape} (integration, group, y, x) hold no samples.")
    if data.dtype != np.float32:
        raise InputError(f"data: ramps must be float32, got {data.dtype}; convert with data.astype('float32').")
    if group_dq is not None and (group_dq.shape != data.shape or group_dq.dtype != np.uint8):
        raise InputError(
            f"group_dq: expected uint8 flags of shape {data.shape}, got {group_dq.dtype} of shape {group_dq.shape}."
        )
    nints, ngroups, ny, nx = data.shape
    return nints, ngroups, ny, nx


def check_image(name: str, image: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Check that a reference array has the shape of the exposure's image (its last two axes)."""
    if image.shape[-2:] != tuple(shape[-2:]):
        raise ReferenceFileError(
            f"{name}: the reference has pixels (y, x) = {image.shape[-2:]}, the exposure {tuple(shape[-2:])}; "
            "use the reference file of the exposure's subarray."
        )


def writable(array: NDArray[Any], out: NDArray[Any] | None) -> NDArray[Any]:
    """The array to write to: `out` (filled with `array` unless it is `array`), or a copy of `array`."""
    if out is None:
        return array.copy()
    if out is not array:
        out[...] = array
    return out


def bad_gain(gain: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Pixels whose gain (ny, nx) is not a positive number."""
    return np.asarray((gain <= 0) | np.isnan(gain))
