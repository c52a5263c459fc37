"""Stellar flux from K magnitude and spectral type.

Beyond 5 um the spectrum of a normal star falls as in the Rayleigh-Jeans law, and so does that of Vega: on the Vega
system a star of types B5 to K7 has nearly the same magnitude at 10 to 23 um as in K. What is left is taken from the
mean colors of dwarfs, K - W3 (11.6 um) and K - W4 (22.1 um), of Pecaut & Mamajek (2013, ApJS 208, 9; table of
2018.08.02), linear in the logarithm of the wavelength between the two.

What limits it: magnitudes of 2MASS and WISE and the zero points of the coronagraphic filters are tied to Vega within
some per cent each, and a star with warm dust is brighter. Held against spectra fitted to all photometry (HIP 65426:
10 % fainter in F1550C, 7 % in F1140C), an error of `ERROR` is assumed.
"""

from __future__ import annotations

import re

import numpy as np

from lyot.errors import InputError
from lyot.measure.photometry import MAGNITUDE, Star

ERROR = 0.1
"""Error of a magnitude that is carried over from K, mag; that of K itself comes on top."""

_WAVELENGTHS = (11.56, 22.09)  # of W3 and W4, um
_CLASSES = "OBAFGKM"
_COLORS = {
    "B5": (-0.081, -0.034), "B8": (-0.082, -0.033), "B9": (-0.072, -0.022), "A0": (-0.044, 0.008),
    "A2": (-0.038, 0.000), "A5": (-0.029, 0.008), "F0": (-0.022, 0.031), "F5": (-0.017, 0.024), "G0": (-0.016, 0.017),
    "G5": (-0.013, 0.014), "K0": (-0.007, 0.015), "K3": (0.002, 0.025), "K5": (0.013, 0.061), "K7": (0.028, 0.076),
}  # fmt: skip
"""K - W3 and K - W4 of dwarfs, mag; those of K7 by the K - W1 of K7 and the W1 - W3 and W1 - W4 of K5."""


def _number(spectral_type: str) -> float:
    """Spectral type as a number: class times ten and subclass; a type without subclass counts as 5."""
    found = re.match(r"\s*(?:k|s|sd|d)?([OBAFGKM])\s*(\d(?:\.\d+)?)?", spectral_type)
    if found is None:
        raise InputError(f"spectral type {spectral_type!r}: expected one such as A2V, F5V or K1IV.")
    return 10.0 * _CLASSES.index(found.group(1)) + float(found.group(2) or 5.0)


def color_from_k(spectral_type: str, wavelength: float) -> float:
    """Color K - [wavelength] of a dwarf on the Vega system.

    Parameters
    ----------
    spectral_type : str
        From B5 to K7, such as ``"F5V"``; what follows the subclass does not count.
    wavelength : float
        um, 8 to 28.

    Returns
    -------
    float
        mag; positive where the star is brighter at the wavelength than in K.

    Raises
    ------
    InputError
        If the type cannot be read, or lies outside of the range.

    Examples
    --------
    >>> round(color_from_k("F5V", 11.3), 3)
    -0.018
    """
    numbers = [_number(name) for name in _COLORS]
    number = _number(spectral_type)
    if not numbers[0] <= number <= numbers[-1]:
        raise InputError(
            f"spectral type {spectral_type}: mean colors are known from B5 to K7; give the star's magnitude in the "
            "filter, its flux or its spectrum."
        )
    w3, w4 = (float(np.interp(number, numbers, [pair[i] for pair in _COLORS.values()])) for i in (0, 1))
    place = np.log(wavelength / _WAVELENGTHS[0]) / np.log(_WAVELENGTHS[1] / _WAVELENGTHS[0])
    return w3 + float(np.clip(place, -0.2, 1.2)) * (w4 - w3)


def star_from_k(
    magnitude: float, spectral_type: str, wavelength: float, zero_point: float, *, error: float = 0.0
) -> Star:
    """Flux of a star from its K magnitude and spectral type.

    Parameters
    ----------
    magnitude : float
        2MASS Ks, Vega.
    spectral_type : str
        See `color_from_k`.
    wavelength : float
        Of the filter, um.
    zero_point : float
        Flux of magnitude 0 in the filter, Jy.
    error : float, optional
        Of the K magnitude, mag.

    Returns
    -------
    Star
        Its error holds `error` and `ERROR`.

    Raises
    ------
    InputError
        As `color_from_k`.
    """
    flux = zero_point * 10 ** (-0.4 * (magnitude - color_from_k(spectral_type, wavelength)))
    relative = float(np.hypot(error, ERROR)) / MAGNITUDE
    return Star(float(flux), float(flux * relative), f"K = {magnitude:g}, {spectral_type.strip()}")
