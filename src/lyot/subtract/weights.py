"""Weights of the rolls in the combined image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.subtract.combine import Resampler
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.sequence import CoronagraphicSequence, FloatArray


def exposure_weights(sequence: CoronagraphicSequence, params: ReductionParams) -> FloatArray:
    """Weight of each exposure by its noise, sum 1: (nexposures,).

    A source of flux f gives T_e f in exposure e with variance V_e; the weighted mean of the exposures has the best S/N
    with weights T_e / V_e. V_e is one number per exposure, so that the weights do not follow the noise.
    """
    scalar = np.ones(sequence.n_exposures)
    if params.roll_weights != "equal":
        variance = sequence.science_variance
        counts = np.bincount(sequence.exposure, minlength=sequence.n_exposures)
        if variance is None:
            scalar = counts.astype(float)
        else:
            typical = [_median(variance[sequence.exposure == e]) for e in range(sequence.n_exposures)]
            positive = np.isfinite(typical) & (np.array(typical) > 0)
            scalar = counts / np.where(positive, typical, 1.0) if positive.all() else counts.astype(float)
    return np.asarray(scalar / scalar.sum())


def roll_weights(
    sequence: CoronagraphicSequence,
    params: ReductionParams,
    resamplers: tuple[Resampler, ...],
    by_exposure: FloatArray,
) -> tuple[FloatArray, FloatArray | None]:
    """Unnormalized weight of each exposure on the grid, and its throughput there; see `exposure_weights`."""
    weights = np.stack([np.full(r.x.shape, s) for r, s in zip(resamplers, by_exposure, strict=True)])
    if sequence.throughput is None:
        return weights, None
    throughput = np.stack([r.variance(sequence.throughput[np.newaxis])[0] for r in resamplers])
    if params.roll_weights == "throughput":
        weights = weights * np.maximum(np.nan_to_num(throughput), 1e-3)
    return weights, throughput


def _median(variance: NDArray[np.floating[Any]]) -> float:
    good = variance[np.isfinite(variance)]
    return float(np.median(good)) if good.size else np.nan
