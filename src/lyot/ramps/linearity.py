"""Correction of the detector's non-linear response by a polynomial per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot import dq
from lyot.ramps import _kernels_corrections as kernels
from lyot.ramps._checks import check_image, check_ramps, writable
from lyot.ramps.threads import over_rows


@dataclass(frozen=True)
class LinearityReference:
    """Polynomials of the pixels, and their flags.

    Coefficients (ny, nx, ncoef) float32, lowest order first, true DN = sum c_k measured^k, the identity where there
    is no correction; flags (ny, nx) uint32 for PIXELDQ, NO_LIN_CORR there.
    """

    coefficients: NDArray[np.float32]
    dq: NDArray[np.uint32]


def linearity_reference(coefficients: NDArray[np.float32], flags: NDArray[np.uint32]) -> LinearityReference:
    """Prepare a linearity reference.

    Parameters
    ----------
    coefficients : (ncoef, ny, nx) float32 ndarray
        Lowest order first; NaN, or a zero linear term, means that there is no correction for the pixel.
    flags : (ny, nx) uint32 ndarray
        DQ bits; NO_LIN_CORR marks pixels without a correction.
    """
    bits = flags.astype(np.uint32)
    unusable = np.isnan(coefficients).any(axis=0) | (coefficients[1] == 0)
    flagged = (bits & np.uint32(dq.NO_LIN_CORR)) != 0
    bits[unusable & ~flagged] |= np.uint32(dq.NO_LIN_CORR)
    coef = np.ascontiguousarray(np.moveaxis(coefficients, 0, -1), dtype=np.float32)
    identity = np.zeros(coef.shape[-1], np.float32)
    identity[1] = 1
    coef[unusable | flagged] = identity
    return LinearityReference(coef, bits)


def linearize(
    data: NDArray[np.float32],
    group_dq: NDArray[np.uint8],
    reference: LinearityReference,
    *,
    out: NDArray[np.float32] | None = None,
    threads: int = 0,
) -> NDArray[np.float32]:
    """Linearize the groups that are not flagged SATURATED; the others keep their value.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Ramps, DN.
    group_dq : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags.
    reference : LinearityReference
        From `linearity_reference`.
    out : (nints, ngroups, ny, nx) float32 ndarray, optional
        Array to write to, which may be `data`.
    threads : int, optional
        0 takes every core.

    Returns
    -------
    (nints, ngroups, ny, nx) float32 ndarray
        Linear ramps, DN; `out`, or a copy.

    Raises
    ------
    InputError, ReferenceFileError
        For arrays of the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> coefficients = np.array([0.0, 1.0, 1e-6], np.float32).reshape(3, 1, 1)
    >>> reference = linearity_reference(coefficients, np.zeros((1, 1), np.uint32))
    >>> ramp = np.array([10000, 20000], np.float32).reshape(1, 2, 1, 1)
    >>> linearize(ramp, np.zeros(ramp.shape, np.uint8), reference).ravel().tolist()
    [10100.0, 20400.0]
    """
    _, _, ny, _ = check_ramps(data, group_dq)
    check_image("linearity", reference.dq, data.shape)
    ramps = writable(data, out)
    coef = reference.coefficients
    over_rows(lambda a, b: kernels.linearize_rows(ramps, group_dq, coef, a, b), ny, threads=threads)
    return ramps
