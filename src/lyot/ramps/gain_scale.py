"""Scaling of slopes taken with a non-standard gain setting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError


@dataclass(frozen=True)
class ScaledSlopes:
    """Slopes and errors times the gain factor, variances times its square."""

    slope: NDArray[np.float32]
    error: NDArray[np.float32]
    variance_poisson: NDArray[np.float32]
    variance_read: NDArray[np.float32]


def scale_slopes(
    slope: NDArray[np.float32],
    error: NDArray[np.float32],
    variance_poisson: NDArray[np.float32],
    variance_read: NDArray[np.float32],
    factor: float,
) -> ScaledSlopes:
    """Scale slopes to the standard gain.

    Parameters
    ----------
    slope, error : (..., ny, nx) float32 ndarray
        DN/s; NaN stays NaN.
    variance_poisson, variance_read : (..., ny, nx) float32 ndarray
        (DN/s)^2.
    factor : float
        Gain factor (keyword GAINFACT of the gain reference), positive.

    Returns
    -------
    ScaledSlopes

    Raises
    ------
    InputError
        For a factor that is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1), np.float32)
    >>> scaled = scale_slopes(10 * one, one, one, one, factor=2.0)
    >>> scaled.slope.tolist(), scaled.variance_read.tolist()
    ([[20.0]], [[4.0]])
    """
    if not (np.isfinite(factor) and factor > 0):
        raise InputError(f"gain_factor: expected a positive number (keyword GAINFACT), got {factor}.")
    f1, f2 = np.float32(factor), np.float32(factor**2)
    return ScaledSlopes(slope * f1, error * f1, variance_poisson * f2, variance_read * f2)
