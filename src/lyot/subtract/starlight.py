"""Starlight that noisy references leave behind, where there is starlight.

Away from the star most pixels of a zone hold noise alone, and a first mode with much of it takes off too little of the
star (see `lyot.subtract.klip`). Dividing its coefficient by what is left, as around the star, would take off the rest
of the starlight and bring in as much noise everywhere. The bright parts of the diffraction pattern are known, however:
they stand out of the noise of the references. Only these are subtracted in full: by a stronger first mode, or, where
that mode is mostly noise, by a template of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from lyot.subtract.klip import LARGEST_SHARE, LinearModel
from lyot.subtract.sequence import FloatArray, IntArray
from lyot.subtract.zones import Zone

SMOOTHING = 1.5
"""Of the power whose excess over the noise tells starlight, pixels (sigma): a third of lambda/D."""

NOISE_LEVEL = 1.6
"""Power of noise relative to its mean that a place rarely exceeds: it scatters by 0.27, as 28 pixels count."""

BLUR = 0.8
"""Of the bright parts as a template, pixels (sigma): it takes off 8 % of a peak in F1550C and 88 % of the noise."""

LEAST_PATTERN = 10.0
"""Power of the bright parts relative to that of their noise from which on they are a template."""


def share_of_noise(model: LinearModel, noise: FloatArray) -> float:
    """Part of the power of a zone's first mode that is noise; 0 without a mode.

    Parameters
    ----------
    model : LinearModel
    noise : (nlibrary, nlibrary) float64 ndarray
        Expected Gram matrix of the noise of the library on the pixels of the fit.
    """
    row = _first_mode(model)
    return float(model.mixing[row] @ noise @ model.mixing[row]) if row < len(model.mixing) else 0.0


def with_starlight_subtracted(model: LinearModel, zone: Zone, shape: tuple[int, int], share: float) -> LinearModel:
    """Add to the first mode what it leaves of the star where the mode stands out of its noise.

    With z the mode, f the part of its power that is noise and s^2 its mean square around a pixel, the subtracted
    pattern is z + w b f / (1 - f), with w = max(1 - 1.6 f / (n s^2), 0), which is 1 in bright starlight and 0 in
    noise, and b the mode blurred by `BLUR`, which has little of its noise.

    Parameters
    ----------
    model : LinearModel
        Of a zone.
    zone : Zone
    shape : (ny, nx)
        Of the frames.
    share : float
        f, see `share_of_noise`.

    Returns
    -------
    LinearModel
        The same if there is no noise, or the noise is most of the mode.
    """
    row = _first_mode(model)
    if not 0.0 < share < LARGEST_SHARE:
        return model
    pattern = np.array(model.subtract_modes)
    known = _known(pattern[row], zone.subtract, shape, share / len(zone.fit))
    pattern[row] += known * _blurred(pattern[row], zone.subtract, shape) * share / (1.0 - share)
    return replace(model, subtract_modes=pattern)


def bright_pattern(mean: FloatArray, zone: Zone, shape: tuple[int, int], variance: float) -> FloatArray | None:
    """Bright parts of the mean reference in a zone, as a template for it.

    Parameters
    ----------
    mean : (ny * nx,) float64 ndarray
        Mean of the library, without NaN.
    zone : Zone
    shape : (ny, nx)
    variance : float
        Noise of a pixel of the mean.

    Returns
    -------
    (ny * nx,) float64 ndarray or None
        0 outside the bright parts; None where they are hardly more than noise.
    """
    pixels = np.union1d(zone.fit, zone.subtract)
    light = mean[pixels] - np.median(mean[pixels])
    known = _known(light, pixels, shape, variance)
    bright = known * _blurred(light, pixels, shape)
    left = variance / (4.0 * np.pi * BLUR**2)  # noise of a blurred pixel
    if float(bright @ bright) < LEAST_PATTERN * left * float(known @ known):
        return None
    out = np.zeros(len(mean))
    out[pixels] = bright
    return out


def _first_mode(model: LinearModel) -> int:
    """Row of the first mode of the library; before it are the constant and the templates."""
    return len(model.mixing) - int(np.count_nonzero(model.mixing.any(axis=1)))


def _blurred(light: FloatArray, pixels: IntArray, shape: tuple[int, int]) -> FloatArray:
    """Light of some pixels, blurred by `BLUR`; there is none elsewhere."""
    image = np.zeros(shape[0] * shape[1])
    image[pixels] = light
    return np.asarray(ndimage.gaussian_filter(image.reshape(shape), BLUR).ravel()[pixels])


def _known(light: FloatArray, pixels: IntArray, shape: tuple[int, int], variance: float) -> FloatArray:
    """How far light stands out of its noise around each of some pixels: 0 to 1."""
    power, mask = np.zeros(shape[0] * shape[1]), np.zeros(shape[0] * shape[1])
    power[pixels], mask[pixels] = light**2, 1.0
    around, area = (
        ndimage.gaussian_filter(values.reshape(shape), SMOOTHING).ravel()[pixels] for values in (power, mask)
    )
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(1.0 - NOISE_LEVEL * variance * area / around, 0.0))
