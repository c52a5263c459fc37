"""Star-subtracted integrations of an exposure, whether each of them or their mean was subtracted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ReductionError
from lyot.subtract.plan import ReductionPlan
from lyot.subtract.result import ReductionResult
from lyot.subtract.sequence import FloatArray, mean_by_group


@dataclass(frozen=True)
class Integrations:
    """Star-subtracted integrations of one exposure, at the recommended truncation.

    Attributes
    ----------
    data : (nints, ny, nx) float64 ndarray
        Unit of the science; NaN where masked or bad.
    variance : (nints, ny, nx) float ndarray or None
        Of the integration's own pixels, and what the model of the star adds; None if the sequence has no variances.
    """

    data: FloatArray
    variance: NDArray[np.floating[Any]] | None


def integrations_of(plan: ReductionPlan, result: ReductionResult, exposure: int) -> Integrations:
    """Each integration of an exposure less the model of the star.

    If the mean of the exposure was subtracted, its model of the star serves all integrations. What the model adds to
    the variance, the noise of the references and of what the fit takes up, is the same in all integrations of an
    exposure and does not average out over them.

    Parameters
    ----------
    plan : ReductionPlan
    result : ReductionResult
        Of its `reduce`.
    exposure : int
        Index of the exposure in the sequence.

    Returns
    -------
    Integrations

    Raises
    ------
    ReductionError
        If the result is not of this plan: it has variances, the sequence has none.
    """
    frames = plan.sequence.science[plan.sequence.exposure == exposure]
    residuals = result.residuals[result.index()][result.exposure == exposure]
    if len(residuals) != len(frames):
        mean = mean_by_group(frames, np.zeros(len(frames), np.intp), 1)[0]
        residuals = frames - (mean - residuals[0])
    return Integrations(residuals, _variance(plan, result, exposure))


def _variance(plan: ReductionPlan, result: ReductionResult, exposure: int) -> NDArray[np.floating[Any]] | None:
    sequence = plan.sequence
    if sequence.science_variance is None:
        return None
    own = np.asarray(sequence.science_variance[sequence.exposure == exposure])
    if result.residual_variance is None:
        return own
    found = np.asarray(result.residual_variance[result.index()][result.exposure == exposure])
    if len(found) == len(own):
        return found
    of_mean = plan.frame_variance()
    if of_mean is None:
        raise ReductionError("the result is not of this plan.")
    return np.asarray(np.maximum(own + (found[0] - of_mean[exposure]), 0.0))
