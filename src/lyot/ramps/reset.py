"""Subtraction of the reset anomaly: the settling after a reset, by integration and group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.ramps import _kernels_corrections as kernels
from lyot.ramps._checks import check_image, check_ramps, writable
from lyot.ramps.threads import over_rows


@dataclass(frozen=True)
class ResetReference:
    """Reset anomaly (nints, ngroups, ny, nx) float32, DN, without NaN; flags (ny, nx) uint32 for PIXELDQ."""

    data: NDArray[np.float32]
    dq: NDArray[np.uint32]


def reset_reference(data: NDArray[np.float32], flags: NDArray[np.uint32]) -> ResetReference:
    """Prepare a reset reference: NaN becomes zero.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Anomaly of the first integrations and groups, DN; NaN where unknown.
    flags : (ny, nx) uint32 ndarray
        DQ bits.
    """
    return ResetReference(np.where(np.isnan(data), np.float32(0), data), flags.astype(np.uint32))


def reset_planes(n_integrations: int, n_reference: int, first_integration: int = 1) -> NDArray[np.int64]:
    """Integration of the reference for each integration of a file; the last one serves all later ones.

    Parameters
    ----------
    n_integrations : int
        In the file.
    n_reference : int
        In the reference.
    first_integration : int, optional
        Number of the file's first integration in the exposure, from 1 (segmented exposures).
    """
    return np.minimum(np.arange(n_integrations) + first_integration - 1, n_reference - 1)


def subtract_reset(
    data: NDArray[np.float32],
    reference: ResetReference,
    *,
    first_integration: int = 1,
    out: NDArray[np.float32] | None = None,
    threads: int = 0,
) -> NDArray[np.float32]:
    """Subtract the reset anomaly from the groups that the reference covers.

    Parameters
    ----------
    data : (nints, ngroups, ny, nx) float32 ndarray
        Ramps, DN.
    reference : ResetReference
        From `reset_reference`.
    first_integration : int, optional
        See `reset_planes`.
    out : (nints, ngroups, ny, nx) float32 ndarray, optional
        Array to write to, which may be `data`.
    threads : int, optional
        0 takes every core.

    Returns
    -------
    (nints, ngroups, ny, nx) float32 ndarray
        Ramps without the reset anomaly, DN; `out`, or a copy.

    Raises
    ------
    ReferenceFileError
        If the reference is of another subarray.

    Examples
    --------
    A reference of one integration and two groups serves all integrations, and leaves the later groups:

    >>> import numpy as np
    >>> anomaly = np.array([8.0, 2.0], np.float32).reshape(1, 2, 1, 1)
    >>> reference = reset_reference(anomaly, np.zeros((1, 1), np.uint32))
    >>> subtract_reset(np.full((2, 3, 1, 1), 100.0, np.float32), reference)[:, :, 0, 0].tolist()
    [[92.0, 98.0, 100.0], [92.0, 98.0, 100.0]]
    """
    nints, ngroups, ny, _ = check_ramps(data)
    check_image("reset", reference.data, data.shape)
    ramps = writable(data, out)
    planes = reset_planes(nints, reference.data.shape[0], first_integration)
    n = min(ngroups, reference.data.shape[1])
    over_rows(lambda a, b: kernels.subtract_rows(ramps, reference.data, planes, n, a, b), ny, threads=threads)
    return ramps
