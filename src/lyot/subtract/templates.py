"""The template of the background without its noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.subtract.combine import fill_bad
from lyot.subtract.sequence import FloatArray

WIDTH = 1.0
"""Sigma of the Gaussian that follows the median, pixels: narrower than the shadow along the mask's boundaries."""

OUTLIER = 4.0
"""Distance from the median of the surroundings beyond which a pixel is left out, standard deviations; it must also be
farther from it than the medians of 5 x 5 pixels are from each other, as edges and lines are no outliers."""

_WEIGHTS = ndimage.gaussian_filter1d(np.array([0.0] * 4 + [1.0] + [0.0] * 4), WIDTH)
SHARE = float(_WEIGHTS[3:6].sum() ** 2 / 9)
"""Covariance of a smoothed pixel with the same pixel before, over its variance: 0.09.

That of a median with each of its nine pixels is 1/9, as for the mean (Basu's theorem, normal noise), and the Gaussian
takes the medians of the nine that hold the pixel.
"""


def smoothed(template: NDArray[np.floating]) -> FloatArray:
    """A template with little noise left: without outliers, a median of 3 x 3 pixels, and a Gaussian.

    Real backgrounds have no structure that is finer than the image of a source; what is finer is noise, cosmic rays,
    and pixels whose dark current is high, which does not change with the background.

    Parameters
    ----------
    template : (ny, nx) float ndarray
        MJy/sr; NaN where unknown.

    Returns
    -------
    (ny, nx) float64 ndarray
        Without NaN.
    """
    known = np.isfinite(template)
    if not known.any():
        return fill_bad(template)
    median = _median(fill_bad(template))
    above = np.abs(template - median)
    structure = ndimage.maximum_filter(median, 5) - ndimage.minimum_filter(median, 5)
    # an outlier moves the median, too, and what is left of it is in the science with the opposite sign
    outlying = (above > OUTLIER * 1.4826 * np.median(above[known])) & (above > structure)
    clean = np.where(outlying, np.nan, template)
    smooth = ndimage.gaussian_filter(_median(fill_bad(clean)), WIDTH, mode="nearest")
    return fill_bad(np.where(known, smooth, np.nan))


def _median(image: FloatArray) -> FloatArray:
    return np.asarray(ndimage.median_filter(image, size=3, mode="nearest"))
