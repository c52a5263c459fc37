"""Bad pixels and outliers of calibrated integrations: detection in time and space, repair with error propagation.

*In time*: a pixel of one integration that lies far from the median of the same pixel in all integrations. A planet is
the same in all integrations, so this cannot touch it; a star whose image varies is protected as the threshold follows
the scatter of the pixel and of its neighbors.

*In space*: a pixel of the time-median image that stands out of its eight neighbors in a way that no point source can.
A point source at MIRI's sampling spreads over several pixels (full width at least 3): its brightest pixel is no more
than twice as high above the surroundings as its brightest neighbor. A pixel is called bad only if it is at least
`sharpness` times as high, and by `space_threshold` times the noise.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from lyot.errors import InputError
from lyot.params import param
from lyot.stacks import nanmean, nanmedian

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

MIN_INTEGRATIONS = 4
"""Fewer integrations than this are not compared in time."""


@dataclass(frozen=True)
class BadPixelParams:
    """Parameters of `find_bad_pixels` and of the treatment of the pixels found.

    Examples
    --------
    >>> from lyot.calibrate import BadPixelParams
    >>> from lyot.params import describe
    >>> {info.name: info.default for info in describe(BadPixelParams)}
    {'action': 'flag', 'time_threshold': 7.0, 'space_threshold': 10.0, 'sharpness': 4.0}
    """

    action: str = param(
        "flag",
        help="flag: set DO_NOT_USE; repair: interpolate, flag as FLUX_ESTIMATED, and increase the error",
        choices=("flag", "repair"),
    )
    time_threshold: float = param(
        7.0,
        help="threshold of the deviation from the median of the pixel over the integrations; 0: off",
        unit="sigma",
        min=0.0,
    )
    space_threshold: float = param(
        10.0,
        help="threshold of the deviation from the neighboring pixels in the median image; 0: off",
        unit="sigma",
        min=0.0,
    )
    sharpness: float = param(
        4.0,
        help="minimum ratio of the deviation of a bad pixel from its surroundings to that of its most extreme neighbor",
        min=2.0,
    )


@dataclass(frozen=True)
class BadPixels:
    """Result of `find_bad_pixels`.

    Attributes
    ----------
    in_time : (nints, ny, nx) bool ndarray
        Outliers of single integrations.
    in_space : (ny, nx) bool ndarray
        Pixels bad in all integrations.

    Examples
    --------
    >>> import numpy as np
    >>> bad = BadPixels(in_time=np.zeros((3, 2, 2), bool), in_space=np.array([[True, False], [False, False]]))
    >>> bad.mask.sum(axis=0).tolist()
    [[3, 0], [0, 0]]
    """

    in_time: Bool
    in_space: Bool

    @property
    def mask(self) -> Bool:
        """True where a pixel is bad by either: (nints, ny, nx)."""
        return self.in_time | self.in_space


@dataclass(frozen=True)
class Repaired:
    """Result of `repair`.

    Attributes
    ----------
    data, variance : (nints, ny, nx) float64 ndarray
        With the bad pixels filled; NaN where nothing could be done.
    filled : (nints, ny, nx) bool ndarray
        Pixels that were filled.
    """

    data: Float
    variance: Float
    filled: Bool


def find_bad_pixels(
    data: NDArray[np.floating], variance: NDArray[np.floating], params: BadPixelParams | None = None
) -> BadPixels:
    """Find outliers in time and isolated bad pixels in space.

    Parameters
    ----------
    data, variance : (nints, ny, nx) float ndarray
        Integrations and their variances (same unit squared); NaN where known to be bad. Not changed.
    params : BadPixelParams, optional
        Thresholds.

    Returns
    -------
    BadPixels
        Pixels that are NaN already are not reported.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    One integration is hit at x = 4, y = 3; the pixel at x = 2, y = 6 is bad in all of them:

    >>> import numpy as np
    >>> data = np.random.default_rng(0).normal(10, 1, (6, 9, 9))
    >>> data[2, 3, 4], data[:, 6, 2] = 100, -50
    >>> bad = find_bad_pixels(data, np.ones(data.shape))
    >>> np.argwhere(bad.in_time).tolist(), np.argwhere(bad.in_space).tolist()
    ([[2, 3, 4]], [[6, 2]])
    """
    p = params or BadPixelParams()
    cube, var = _checked(data, variance)
    in_time = np.zeros(cube.shape, bool)
    if p.time_threshold > 0 and len(cube) >= MIN_INTEGRATIONS:
        in_time = _outliers_in_time(cube, var, p.time_threshold)
    in_space = np.zeros(cube.shape[1:], bool)
    if p.space_threshold > 0:
        clean = np.where(in_time, np.nan, cube)
        count = np.maximum(np.isfinite(clean).sum(axis=0), 1)
        noise = np.sqrt(nanmean(var) / count)
        in_space = isolated_pixels(nanmedian(clean), noise, p)
    return BadPixels(in_time, in_space)


def _checked(data: NDArray[np.floating], variance: NDArray[np.floating]) -> tuple[Float, Float]:
    cube, var = np.asarray(data, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    if cube.ndim != 3 or var.shape != cube.shape:
        raise InputError(f"expected integrations and variances (nints, ny, nx), got {cube.shape} and {var.shape}.")
    return cube, var


def _quiet(function: object, array: Float) -> Float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN pixels give NaN, as meant
        return np.asarray(function(array, axis=0))  # type: ignore[operator]


def _outliers_in_time(cube: Float, var: Float, threshold: float) -> Bool:
    """Pixels further from their median in time than noise, own scatter and scatter of the neighbors allow."""
    deviation = cube - nanmedian(cube)
    np.abs(deviation, out=deviation)
    scatter = 1.4826 * nanmedian(deviation)
    filled = np.where(np.isfinite(scatter), scatter, 0.0)
    around = median_filter(filled, size=3, mode="nearest")
    own = np.maximum(filled, around)
    found = np.empty(cube.shape, bool)
    for k, frame in enumerate(deviation):  # each by itself, for the memory
        sigma = np.maximum(np.sqrt(np.where(np.isfinite(var[k]), var[k], 0.0)), own)
        with np.errstate(invalid="ignore"):
            found[k] = (frame > threshold * sigma) & (sigma > 0)
    return found


def _neighbors(image: Float) -> Float:
    """The eight neighbors of every pixel, NaN beyond the edge: (8, ny, nx)."""
    ny, nx = image.shape
    padded = np.pad(image, 1, constant_values=np.nan)
    steps = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2) if (dy, dx) != (1, 1)]
    return np.stack([padded[dy : dy + ny, dx : dx + nx] for dy, dx in steps])


def isolated_pixels(image: Float, noise: Float, params: BadPixelParams) -> Bool:
    """Pixels that stand out of their neighbors more sharply than a point source can.

    Parameters
    ----------
    image, noise : (ny, nx) float64 ndarray
        Image and its standard deviation; NaN where bad.
    params : BadPixelParams
        `space_threshold` and `sharpness` are used.

    Returns
    -------
    (ny, nx) bool ndarray
        False where fewer than five neighbors are good.
    """
    around = _neighbors(image)
    middle, highest, lowest = nanmedian(around), _quiet(np.nanmax, around), _quiet(np.nanmin, around)
    enough = np.isfinite(around).sum(axis=0) >= 5
    with np.errstate(invalid="ignore"):
        height = np.where(image >= middle, image - middle, middle - image)
        rival = np.where(image >= middle, highest - middle, middle - lowest)
        sharp = height > params.sharpness * rival
        return np.asarray(enough & sharp & (height > params.space_threshold * noise))


def surrounded(data: NDArray[np.floating], minimum: int = 5) -> Bool:
    """Pixels that can be repaired from their neighbors: the field stop is not filled.

    Parameters
    ----------
    data : (nints, ny, nx) float array
        NaN where bad.
    minimum : int, optional
        Number of the 3 x 3 pixels around that are good in any integration.

    Returns
    -------
    (nints, ny, nx) bool ndarray
    """
    good = np.pad(np.isfinite(data).any(axis=0), 1).astype(int)
    ny, nx = data.shape[1:]
    total = sum(good[i : i + ny, j : j + nx] for i in range(3) for j in range(3))
    return np.broadcast_to(np.asarray(total) >= minimum, data.shape)


def repair(data: NDArray[np.floating], variance: NDArray[np.floating], bad: Bool) -> Repaired:
    """Fill bad pixels from the other integrations if available, otherwise from the neighbors.

    A value from time is the mean of the good integrations m of the pixel; its variance is that of a fresh integration
    plus that of the mean, ``v (1 + 1/m)``, so that it does not count as a measurement of its own. A value from space is
    the mean of the good neighbors; its variance is their scatter (at least their mean variance) times ``1 + 1/n``.

    Parameters
    ----------
    data, variance : (nints, ny, nx) float ndarray
        Integrations and variances; not changed.
    bad : (nints, ny, nx) bool ndarray
        Pixels to fill, e.g. ``BadPixels.mask``. NaN pixels that are not in it stay NaN.

    Returns
    -------
    Repaired
        Copies with the pixels filled.

    Examples
    --------
    A value that comes from five other integrations:

    >>> import numpy as np
    >>> data, bad = np.full((6, 3, 3), 10.0), np.zeros((6, 3, 3), bool)
    >>> data[2, 1, 1], bad[2, 1, 1] = 1000.0, True
    >>> fixed = repair(data, np.ones(data.shape), bad)
    >>> float(fixed.data[2, 1, 1]), float(fixed.variance[2, 1, 1])
    (10.0, 1.2)
    """
    cube, var = (a.copy() for a in _checked(data, variance))
    usable = np.isfinite(cube) & ~bad
    count = usable.sum(axis=0)
    mean = np.where(usable, cube, 0.0).sum(axis=0) / np.maximum(count, 1)
    single = np.where(usable, np.nan_to_num(var), 0.0).sum(axis=0) / np.maximum(count, 1)
    from_time = bad & (count > 0)
    cube = np.where(from_time, mean, cube)
    var = np.where(from_time, single * (1.0 + 1.0 / np.maximum(count, 1)), var)
    from_space = bad & (count == 0)
    filled = from_time.copy()
    for k in np.flatnonzero(from_space.any(axis=(1, 2))):
        todo = from_space[k]
        around = _neighbors(np.where(bad[k], np.nan, cube[k]))[:, todo]
        noise = _neighbors(np.where(bad[k], np.nan, var[k]))[:, todo]
        n = np.isfinite(around).sum(axis=0)
        scatter = np.maximum(_quiet(np.nanvar, around), np.nan_to_num(_quiet(np.nanmean, noise)))
        good = n >= 3
        cube[k][todo] = np.where(good, _quiet(np.nanmean, around), np.nan)
        var[k][todo] = np.where(good, scatter * (1.0 + 1.0 / np.maximum(n, 1)), np.nan)
        filled[k][todo] = good
    return Repaired(cube, var, filled)
