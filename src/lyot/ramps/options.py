"""Options for MIRI coronagraphy in addition to the official stage 1; all off by default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot import dq
from lyot.params import param
from lyot.ramps.slopes import RampFitResult, SlopeImage
from lyot.stacks import nanmedian


@dataclass(frozen=True)
class RscdOptions:
    """Options of the groups discarded at the start of a ramp."""

    extra_groups: int = param(
        0, help="number of groups flagged at the start in addition to those of the RSCD reference", min=0
    )


@dataclass(frozen=True)
class DarkOptions:
    """Options of the dark subtraction."""

    extrapolation: str = param(
        "last",
        choices=("last", "fit"),
        help="extrapolation of a dark with too few groups: from its last difference (as in the official step), or "
        "with a line fitted to its last quarter, which averages the noise of single groups",
    )


@dataclass(frozen=True)
class FitOptions:
    """Options of the slope fit."""

    drop_first_integration: bool = param(False, help="Set the first integration of the exposure to DO_NOT_USE")
    depth_map: str | None = param(
        None,
        help="rate or rateints file to whose number of groups the ramps of this exposure are truncated, pixel by pixel",
    )
    depth_min_groups: int = param(10, help="minimum number of groups kept", min=2)
    outlier_threshold: float | None = param(
        None, help="deviation from the median of the pixel above which an integration is flagged", unit="sigma", min=1
    )


@dataclass(frozen=True)
class RoleOptions:
    """Jump thresholds by role of the exposure; they override ``jump.rejection_threshold``."""

    jump_threshold_science: float | None = param(None, help="for the science target", unit="sigma", min=0)
    jump_threshold_reference: float | None = param(None, help="for reference stars (IS_PSF)", unit="sigma", min=0)
    jump_threshold_background: float | None = param(None, help="for backgrounds (BKGDTARG)", unit="sigma", min=0)

    def threshold(self, *, is_reference: bool, is_background: bool) -> float | None:
        """The threshold for an exposure, None to leave it as it is."""
        if is_background:
            return self.jump_threshold_background
        return self.jump_threshold_reference if is_reference else self.jump_threshold_science


@dataclass(frozen=True)
class FitLimits:
    """What `FitOptions` mean for the ramps of one exposure.

    Attributes
    ----------
    drop_first : bool
        Give up the first integration.
    depth : (ny, nx) float32 ndarray, optional
        See `lyot.ramps.depth_matching.truncate_to_depth`.
    min_groups : int
        Likewise.
    """

    drop_first: bool = False
    depth: NDArray[np.float32] | None = None
    min_groups: int = 10


def reject_integrations(slopes: RampFitResult, threshold: float) -> RampFitResult:
    """Flag integrations that stand out from the others of the same pixel, and average the rest anew.

    What a cosmic ray leaves behind for many groups (a glow, a shower) or a jump right at the start of a ramp bends the
    slope of one integration. Its distance from the pixel's median is measured in units of its error, or of the scatter
    of the integrations (1.48 times the median deviation) where that is larger. Needs four integrations.

    Parameters
    ----------
    slopes : RampFitResult
        Of the slope fit.
    threshold : float
        sigma.

    Returns
    -------
    RampFitResult
        Rejected integrations are NaN, with OUTLIER and DO_NOT_USE; the mean of such pixels is, as in the fit, the one
        weighted by the inverse read-noise variance.
    """
    ints, rate = slopes.rateints, slopes.rate
    if ints.slope.shape[0] < 4:
        return slopes
    good = np.isfinite(ints.slope) & (ints.var_rnoise > 0)
    values = np.where(good, ints.slope, np.nan)
    reject = _outliers(values, ints.err, threshold) & good
    if not reject.any():
        return slopes
    pixels = np.asarray(reject.any(axis=0), bool)
    keep = (good & ~reject)[:, pixels]

    def inverse_sum(variance: NDArray[np.float32], weight: Any = 1.0) -> NDArray[np.float64]:
        v = variance[:, pixels].astype(np.float64)
        return np.sum(np.where(keep & (v > 0), weight / np.where(v > 0, v, 1.0), 0.0), axis=0)

    read = 1.0 / inverse_sum(ints.var_rnoise)
    weight = np.where(keep, values[:, pixels].astype(np.float64), 0.0)
    poisson_sum = inverse_sum(ints.var_poisson)
    poisson = np.where(poisson_sum > 0, 1.0 / np.where(poisson_sum > 0, poisson_sum, 1.0), 0.0)
    image = _patched(rate, pixels, inverse_sum(ints.var_rnoise, weight) * read, poisson, read)
    flagged = replace(
        ints,
        slope=np.where(reject, np.float32(np.nan), ints.slope),
        dq=ints.dq | np.where(reject, np.uint32(dq.OUTLIER | dq.DO_NOT_USE), np.uint32(0)),
    )
    return replace(slopes, rate=image, rateints=flagged)


def _outliers(values: NDArray[np.floating[Any]], error: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Where values (nints, ny, nx) stand out from the median of their pixel; never more than half of them."""
    blank = ~np.isfinite(values).any(axis=0)
    filled = np.where(blank, 0.0, values)
    distance = np.abs(filled - nanmedian(filled))
    scatter = 1.4826 * nanmedian(distance)
    return distance > threshold * np.maximum(error, scatter)


def _patched(
    rate: SlopeImage,
    pixels: NDArray[np.bool_],
    slope: NDArray[np.float64],
    poisson: NDArray[np.float64],
    read: NDArray[np.float64],
) -> SlopeImage:
    """A slope image with new values at some pixels."""
    new = {"slope": slope, "var_poisson": poisson, "var_rnoise": read, "err": np.sqrt(poisson + read)}
    arrays = {}
    for name, values in new.items():
        array = getattr(rate, name).copy()
        array[pixels] = values
        arrays[name] = array
    return replace(rate, **arrays)
