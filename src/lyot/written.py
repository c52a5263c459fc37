"""How numbers are written for people: in the report, on the terminal, in logs, with one rule for each kind of number.

A value and its error have two significant digits of the error; a value without one has three. On the terminal and in
logs, where there may be only ASCII, the result passes through `in_ascii`.
"""

from __future__ import annotations

import numpy as np


def plural(count: int, noun: str) -> str:
    """A number with its noun: ``1 exposure``, ``2 exposures``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def with_error(value: float, error: float) -> str:
    """A value with its error, both to two significant digits of the error; without one, to three of the value.

    Parameters
    ----------
    value, error : float
        An error that is not finite, or 0, is left out.

    Examples
    --------
    >>> with_error(0.80164, 0.0198)
    '0.802 ± 0.020'
    >>> with_error(295.1, 22.6)
    '295 ± 23'
    >>> with_error(6.1e-4, 4.0e-5)
    '(6.10 ± 0.40)e-04'
    >>> with_error(58.0, float("nan")), with_error(3.0e-5, 0.0)
    ('58.0', '3.00e-05')
    """
    if not (np.isfinite(error) and error > 0):
        return _significant(value, 3)
    digits = 1 - int(np.floor(np.log10(float(f"{error:.1e}"))))
    if digits < -3 or max(abs(value), error) < 0.01:  # with a power of ten behind both
        power = int(np.floor(np.log10(max(abs(value), error))))
        digits = max(digits + power, 0)
        return f"({value / 10.0**power:.{digits}f} ± {error / 10.0**power:.{digits}f})e{power:+03d}"
    if digits < 0:
        return f"{round(value, digits):.0f} ± {round(error, digits):.0f}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _significant(value: float, digits: int) -> str:
    """A number with this many significant digits, zeros included; 0 as it is."""
    return "0" if value == 0 else f"{value:#.{digits}g}".removesuffix(".")


def flux_text(flux: float, error: float = float("nan")) -> str:
    """A flux in the unit that suits it, such as ``21.7 µJy`` or ``1.07 mJy``; digits as those of `with_error`.

    Parameters
    ----------
    flux : float
        Jy.
    error : float, optional
        Jy; an error that is not finite, or 0, is left out.

    Examples
    --------
    >>> flux_text(2.17e-5), flux_text(0.0107)
    ('21.7 µJy', '10.7 mJy')
    >>> flux_text(9.69e-5, 8.5e-6)
    '96.9 ± 8.5 µJy'
    """
    scale, unit = next(((s, u) for s, u in ((1.0, "Jy"), (1e3, "mJy")) if flux * s >= 0.9995), (1e6, "µJy"))
    return f"{with_error(flux * scale, error * scale)} {unit}"


def error_text(error: float) -> str:
    """An error alone, to two significant digits, such as a term of an error budget.

    Examples
    --------
    >>> error_text(10.92), error_text(0.00341), error_text(0.0)
    ('11', '0.0034', '0')
    """
    if not np.isfinite(error) or error == 0:
        return f"{error:g}"
    digits = 1 - int(np.floor(np.log10(float(f"{abs(error):.1e}"))))
    return f"{error:.1e}" if digits > 6 else f"{round(error, digits):.{max(digits, 0)}f}"


def snr_text(snr: float) -> str:
    """A signal-to-noise ratio, or another number of sigmas: one decimal below 100, none above.

    Examples
    --------
    >>> snr_text(8.04), snr_text(99.94), snr_text(99.96), snr_text(1234.5)
    ('8.0', '99.9', '100', '1234')
    """
    if not np.isfinite(snr):
        return "unknown"
    return f"{snr:.1f}" if abs(round(snr, 1)) < 100 else f"{snr:.0f}"


def chi2_text(chi2: float) -> str:
    """A chi2, reduced or not, to three significant digits, and whole above 100.

    Examples
    --------
    >>> chi2_text(1.0449), chi2_text(12.34), chi2_text(1234.5)
    ('1.04', '12.3', '1234')
    """
    if not np.isfinite(chi2):
        return "unknown"
    digits = next((d for d, limit in ((2, 10.0), (1, 100.0)) if abs(round(chi2, d)) < limit), 0)
    return f"{chi2:.{digits}f}"


def contrast_text(contrast: float) -> str:
    """A contrast limit to two digits.

    Examples
    --------
    >>> contrast_text(0.02489)
    '2.5e-02'
    """
    return f"{contrast:.1e}"


def position_text(separation: float, position_angle: float) -> str:
    """A position without errors, arcsec from the star and degrees east of north.

    Examples
    --------
    >>> print(position_text(0.8049, 148.338))
    0.805", PA 148.34 deg
    """
    return f'{separation:.3f}", PA {position_angle:.2f} deg'


def probability_text(probability: float) -> str:
    """A false-alarm probability to two digits.

    Examples
    --------
    >>> probability_text(3.53e-11), probability_text(0.0431)
    ('3.5e-11', '0.043')
    """
    return _significant(probability, 2)


def size_text(size: float) -> str:
    """A number of bytes, exact below 10 kB.

    Examples
    --------
    >>> size_text(2880), size_text(63_400), size_text(3.41e6), size_text(13.2e9)
    ('2880 bytes', '63 kB', '3.4 MB', '13.2 GB')
    """
    if size < 10_000:
        return f"{size:.0f} bytes"
    return f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def in_ascii(text: str) -> str:
    """A text for the terminal and for logs, which may have no other characters.

    Examples
    --------
    >>> in_ascii("96.9 ± 8.5 µJy")
    '96.9 +- 8.5 uJy'
    """
    return text.replace("µ", "u").replace("±", "+-")
