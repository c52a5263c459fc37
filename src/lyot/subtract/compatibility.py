"""The official pipeline's KLIP, reproduced on arrays.

The same mathematics as the `klip` step of the JWST calibration pipeline, so that its products can be made (and compared
with) from here: one basis over the whole frame, one truncation. The basis does not depend on the integration and is
made once, not once per integration.

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
from lyot.subtract.sequence import FloatArray


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
