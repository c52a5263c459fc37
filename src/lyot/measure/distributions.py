"""Normal, Student and chi-square probabilities, by the special functions behind `scipy.stats`.

The values are the same. Importing `scipy.stats` takes half a second, which every command would spend, and its methods
spend ten times as long on their arguments as on the function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special


def normal_cdf(x: ArrayLike) -> Any:
    """Probability of at most `x` Gaussian sigmas."""
    return special.ndtr(x)


def normal_sf(x: Any) -> Any:
    """Probability of more than `x` Gaussian sigmas."""
    return special.ndtr(-x)


def normal_ppf(probability: ArrayLike) -> Any:
    """Gaussian sigmas x with this probability of at most x."""
    return special.ndtri(probability)


def normal_isf(probability: ArrayLike) -> Any:
    """Gaussian sigmas x with this probability of more than x."""
    return -special.ndtri(probability)


def t_cdf(t: ArrayLike, freedom: ArrayLike) -> Any:
    """Probability of at most `t` for Student's t of so many degrees of freedom."""
    return special.stdtr(freedom, t)


def t_sf(t: Any, freedom: ArrayLike) -> Any:
    """Probability of more than `t` for Student's t of so many degrees of freedom."""
    return special.stdtr(freedom, -t)


def t_isf(probability: ArrayLike, freedom: ArrayLike) -> Any:
    """Student's t of so many degrees of freedom with this probability of more."""
    # the function behind gives -inf at both ends
    return np.where(np.equal(probability, 0.0), np.inf, -special.stdtrit(freedom, probability))


def chi2_sf(chi2: ArrayLike, freedom: ArrayLike) -> Any:
    """Probability of more than `chi2` for so many degrees of freedom."""
    return special.chdtrc(freedom, chi2)
