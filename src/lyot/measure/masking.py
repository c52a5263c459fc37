"""Masks of known sources, for the noise and the search: from their images instead of circles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.measure.noise import FloatArray, aperture_sums


def model_mask(
    model: FloatArray, noise: FloatArray, fwhm: float, *, level: float = 1.0, uncertainty: float = 1.0
) -> NDArray[np.bool_]:
    """Pixels in whose aperture a source contributes more than `level` times the noise.

    Parameters
    ----------
    model : (ny, nx) float64 ndarray
        Image of the known sources, unit of the image.
    noise : (ny, nx) float64 ndarray
        Noise of an aperture at each pixel (`SignalToNoise.noise`); where it is NaN the median is taken.
    fwhm : float
        Aperture diameter, pixels.
    level : float, optional
        In units of the noise.
    uncertainty : float, optional
        Part of the model that counts: 1 where the source is still in the image; where it was subtracted, the relative
        error of the model, e.g. 0.1.

    Returns
    -------
    (ny, nx) bool ndarray

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import model_mask
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> mask = model_mask(5 * np.exp(-(x**2 + y**2) / 4), np.full(x.shape, 2.0), fwhm=4.0)
    >>> bool(mask[20, 20]), bool(mask[20, 24]), bool(mask[20, 30])
    (True, True, False)
    """
    if model.shape != noise.shape:
        raise InputError(f"model has shape {model.shape}, noise {noise.shape}; expected the same.")
    sums = np.abs(np.nan_to_num(aperture_sums(np.nan_to_num(model), fwhm)))
    known = np.isfinite(noise)
    typical = float(np.median(noise[known])) if known.any() else 0.0
    return np.asarray(uncertainty * sums > level * np.where(known, noise, typical))
