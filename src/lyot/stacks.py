"""Statistics along the first axis of stacks of images."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["joint_nanmean", "nanmean", "nanmedian"]


_VALUES = 500_000
"""Values that are sorted at a time: a copy of them fits into the cache of a processor."""


def nanmean(stack: NDArray[np.floating], axis: int = 0) -> NDArray[np.float64]:
    """Mean along an axis that leaves NaN out: as `numpy.nanmean`, without its warning where all are NaN.

    Parameters
    ----------
    stack : (n, ...) float ndarray
        Images, any unit; NaN where bad.
    axis : int, optional
        Axis that the mean is taken along.

    Returns
    -------
    (...) float64 ndarray
        NaN where all are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.stacks import nanmean
    >>> nanmean(np.array([[1.0, np.nan], [4.0, np.nan]]))
    array([2.5, nan])
    """
    if axis == 0 and stack.ndim > 1 and stack[:1].size > 1 and stack.strides[0] == max(stack.strides):
        return _mean_of_frames(stack, stack.shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(stack, axis=axis, dtype=np.float64))


def joint_nanmean(stacks: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """`nanmean` of all images of several stacks together, without a copy of them.

    Parameters
    ----------
    stacks : sequence of (n, ...) float ndarray
        Images of one shape, any unit; NaN where bad.

    Returns
    -------
    (...) float64 ndarray
        NaN where all are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.stacks import joint_nanmean
    >>> joint_nanmean([np.array([[1.0, np.nan]]), np.array([[4.0, np.nan], [7.0, 2.0]])])
    array([4., 2.])
    """
    return _mean_of_frames(chain.from_iterable(stacks), stacks[0].shape[1:])


def _mean_of_frames(frames: Iterable[NDArray[np.floating]], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The same one frame after the other, as numpy adds them up too, but without a copy of the whole stack."""
    total, count = np.zeros(shape), np.zeros(shape, np.intp)
    for frame in frames:
        known = frame == frame
        total += np.where(known, frame, 0)
        count += known
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count


def nanmedian(stack: NDArray[np.floating]) -> NDArray[Any]:
    """Median along the first axis that leaves NaN out: as `numpy.nanmedian`, five times faster.

    `numpy.nanmedian` sorts masked arrays for fewer than 600 values; here plain arrays are sorted, whose NaN come last.

    Parameters
    ----------
    stack : (n, ...) float32 or float64 ndarray
        Images, any unit; NaN where bad. Not changed.

    Returns
    -------
    (...) ndarray
        Of the same type: the mean of the two middle values where their number is even; NaN, without a warning, where
        all are NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.stacks import nanmedian
    >>> nanmedian(np.array([[1.0, np.nan], [4.0, np.nan], [np.nan, np.nan]]))
    array([2.5, nan])
    """
    if len(stack) == 0:
        return np.full(stack.shape[1:], np.nan, stack.dtype)
    rows = max(1, _VALUES * stack.shape[1] // stack.size) if stack.ndim > 2 and stack.size else 0
    if not 0 < rows < stack.shape[1]:
        return _sorted_median(stack)
    median = np.empty(stack.shape[1:], stack.dtype)
    for start in range(0, stack.shape[1], rows):
        median[start : start + rows] = _sorted_median(stack[:, start : start + rows])
    return median


def _sorted_median(stack: NDArray[np.floating]) -> NDArray[Any]:
    """Median of a stack, or of a part of its pixels, in a copy of it."""
    values = np.moveaxis(stack, 0, -1).copy()  # each sorted where it lies together
    values.sort(axis=-1)
    count = np.count_nonzero(values == values, axis=-1, keepdims=True)
    upper = np.take_along_axis(values, np.minimum(count // 2, len(stack) - 1), axis=-1)
    lower = np.take_along_axis(values, np.maximum(count - 1, 0) // 2, axis=-1)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        return np.asarray((lower[..., 0] + upper[..., 0]) / 2)
