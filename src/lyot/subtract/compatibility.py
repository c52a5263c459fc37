"""The official pipeline's registration and KLIP, reproduced on arrays.

The same mathematics as the `align_refs` and `klip` steps of the JWST calibration pipeline, so that their products can
be made (and compared with) from here: shifts relative to integration 0 only, periodic, no mask but the PSF mask; one
basis over the whole frame; one truncation. The basis does not depend on the integration and is made once, not once per
integration.

Not reproduced: the official ERR of `psfsub`. It is the standard deviation, over the references, of what the modes leave
of the references themselves. This is not the uncertainty of the science pixels: it is the same for all integrations,
knows nothing of photon noise, and falls to rounding error (1e-14) once the truncation reaches the number of references.
Lyot carries the pixel variances through the projection instead (`lyot.subtract.klip.residual_variance`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.subtract.klip import klip_model, subtract
from lyot.subtract.register import Registration, RegistrationParams, align, register
from lyot.subtract.sequence import FloatArray


def official_align(
    references: NDArray[np.floating[Any]],
    science: NDArray[np.floating[Any]],
    psf_mask: NDArray[Any],
) -> tuple[FloatArray, Registration]:
    """Align references as the official `align_refs` step does.

    Parameters
    ----------
    references : (n, ny, nx) float ndarray
        Reference frames, bad pixels already replaced (no NaN).
    science : (nints, ny, nx) float ndarray
        Science integrations, no NaN; only the first is used, as in the official step.
    psf_mask : (ny, nx) array
        Weights of the residuals (reference file PSFMASK).

    Returns
    -------
    aligned : (n, ny, nx) float64 ndarray
        References shifted onto integration 0.
    registration : Registration
        The shifts, which the official step does not keep.

    Raises
    ------
    InputError
        If there are NaN pixels: the official fit then returns no shift without saying so.
    """
    if not (np.isfinite(references).all() and np.isfinite(science[0]).all()):
        raise InputError("official_align: references and science integration 0 must have no NaN; replace bad pixels.")
    params = RegistrationParams(pad=0, max_shift=4.0, tolerance=1e-10, max_iterations=100)
    found = register(references, science[0], weight=psf_mask, params=params)
    return align(references, found, pad=0), found


def official_klip(
    science: NDArray[np.floating[Any]], references: NDArray[np.floating[Any]], *, truncate: int
) -> tuple[FloatArray, FloatArray]:
    """Subtract the star as the official `klip` step does.

    Parameters
    ----------
    science : (nints, ny, nx) float ndarray
        Science integrations, no NaN.
    references : (n, ny, nx) float ndarray
        Aligned references, no NaN.
    truncate : int
        Number of modes kept.

    Returns
    -------
    residuals, psf : (nints, ny, nx) float64 ndarray
        Science minus its mean minus the model, and the model (of zero mean).

    Raises
    ------
    InputError
        If there are NaN pixels, which the official step spreads over the whole frame.
    """
    if not (np.isfinite(science).all() and np.isfinite(references).all()):
        raise InputError("official_klip: science and references must have no NaN; replace bad pixels first.")
    flat = np.asarray(science, dtype=np.float64).reshape(len(science), -1)
    if truncate == 0:
        residuals = flat - flat.mean(axis=1, keepdims=True)
        return residuals.reshape(science.shape), np.zeros(science.shape)
    model = klip_model(
        np.asarray(references, dtype=np.float64).reshape(len(references), -1), None, (truncate,), subtract_mean=True
    )
    residuals = subtract(model, flat)[0]
    psf = flat - flat.mean(axis=1, keepdims=True) - residuals
    return residuals.reshape(science.shape), psf.reshape(science.shape)
