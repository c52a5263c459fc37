"""Which reference frames are worth having: similarity to the science, outliers, and what each exposure contributes.

Everything is worked out from inner products of the frames (a small matrix), in the innermost zone by default, where the
speckles are. The science frames are used as they are: a planet of a thousandth of the star does not change the ranking.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from lyot.errors import ReductionError
from lyot.subtract.klip import fill_library
from lyot.subtract.sequence import BoolArray, CoronagraphicSequence, FloatArray, IntArray, mean_by_group
from lyot.subtract.zones import radius_arcsec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferenceRanking:
    """How well each reference frame matches the science.

    Attributes
    ----------
    similarity : (n,) float64 ndarray
        Correlation with the mean science image, -1 to 1; NaN for a frame without data.
    scale : (n,) float64 ndarray
        Brightness of the frame relative to the mean science image.
    order : (n,) int ndarray
        Frames from the most to the least similar.
    keep : (n,) bool ndarray
        False for frames that are much less similar than the others.
    exposures : (m,) int ndarray
        Reference exposures, in increasing order.
    worth : (m,) float64 ndarray
        By how much the residuals of the science (rms, in the region) would grow without each exposure: 0.02 is 2 %.
        Negative: the residuals are smaller without it.
    """

    similarity: FloatArray
    scale: FloatArray
    order: IntArray
    keep: BoolArray
    exposures: IntArray
    worth: FloatArray


def rank_references(
    sequence: CoronagraphicSequence, *, radius: float = 2.4, modes: int = 9, rejection: float = 6.0
) -> ReferenceRanking:
    """Rank the references of a sequence.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    radius : float, optional
        Pixels closer to the star than this are compared, arcsec.
    modes : int, optional
        Truncation at which `worth` is measured.
    rejection : float, optional
        Frames whose similarity is this many robust standard deviations below the median are not kept.

    Raises
    ------
    ReductionError
        If there are no references, or no pixel is good.
    """
    references = sequence.references
    if references is None or sequence.reference_exposure is None or len(references) == 0:
        raise ReductionError("no references to rank.")
    science = mean_by_group(sequence.science, sequence.exposure, sequence.n_exposures)
    near = (radius_arcsec(sequence) < radius) & np.isfinite(science).all(axis=0)
    filled, usable = fill_library(references[:, near], min_good=0.5)
    if not usable.any():
        raise ReductionError(f"no pixel within {radius} arcsec of the star is good in science and references.")
    r = filled[:, usable]
    s = science[:, near][:, usable]
    r, s = r - r.mean(axis=1, keepdims=True), s - s.mean(axis=1, keepdims=True)
    mean = s.mean(axis=0)
    power = np.einsum("ij,ij->i", r, r)
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = (r @ mean) / np.sqrt(power * (mean @ mean))
        scale = (r @ mean) / (mean @ mean)
    similarity = np.where(power > 0, similarity, np.nan)
    exposures = np.unique(sequence.reference_exposure)
    groups = [sequence.reference_exposure == e for e in exposures]
    return ReferenceRanking(
        similarity=similarity,
        scale=scale,
        order=np.argsort(-np.nan_to_num(similarity, nan=-2.0), kind="stable"),
        keep=_not_outlying(similarity, rejection),
        exposures=exposures,
        worth=_worth(r @ r.T, r @ s.T, float(np.sum(s * s)), groups, modes),
    )


def select_references(sequence: CoronagraphicSequence, keep: BoolArray) -> CoronagraphicSequence:
    """Sequence with some of its reference frames only; `keep` is (nreferences,) bool."""
    keep = np.asarray(keep, dtype=bool)
    if keep.shape != (sequence.n_references,) or not keep.any():
        raise ReductionError(f"keep must name at least one of the {sequence.n_references} references.")
    assert sequence.references is not None and sequence.reference_exposure is not None
    variance = sequence.reference_variance
    return sequence.replace(
        references=sequence.references[keep],
        reference_exposure=sequence.reference_exposure[keep],
        reference_variance=None if variance is None else variance[keep],
    )


def weight_references(sequence: CoronagraphicSequence, weight: FloatArray) -> CoronagraphicSequence:
    """Sequence whose reference frames count by their weights.

    A frame of weight w enters the Gram matrix w^2 times as strongly: the frames are scaled, and their variances with
    them. A weight says how much of a mode a frame may make up, not how bright it is; coefficients adapt. With as
    many modes as frames the weights cease to matter, but in the damped least squares.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    weight : (nreferences,) or (nexposures of references,) array
        Of each frame, or of each reference exposure in increasing order of its number; 0 leaves out. Their scale is of
        no importance: they are divided by their largest.

    Raises
    ------
    ReductionError
        If there are as many of neither, if one is negative or not finite, or all are 0.
    """
    assert sequence.references is not None and sequence.reference_exposure is not None
    w = np.atleast_1d(np.asarray(weight, dtype=np.float64))
    exposures, group = np.unique(sequence.reference_exposure, return_inverse=True)
    if w.shape == (len(exposures),):
        w = w[group]
    if w.shape != (sequence.n_references,):
        raise ReductionError(
            f"weights of references: got {np.size(weight)}, expected one for each of the {len(exposures)} exposures or "
            f"{sequence.n_references} frames."
        )
    if not np.all(np.isfinite(w)) or w.min() < 0 or w.max() <= 0:
        raise ReductionError("weights of references: expected numbers of at least 0, and one above.")
    if (w == 0).any():
        sequence, w = select_references(sequence, w > 0), w[w > 0]
    w = (w / w.max())[:, None, None]
    frames, variance = sequence.references, sequence.reference_variance
    assert frames is not None
    return sequence.replace(
        references=(frames * w).astype(frames.dtype, copy=False),
        reference_variance=None if variance is None else (variance * w**2).astype(variance.dtype, copy=False),
    )


def similarity_weights(ranking: ReferenceRanking) -> FloatArray:
    """Weight of each frame from its correlation c with the science: sqrt((1 - c_best) / (1 - c)), 1 for the best.

    1 - c is the part of a frame's power that is unlike the science, so that all frames bring as much of it. Frames
    without a correlation get 0.
    """
    unlike = np.maximum(1.0 - np.nan_to_num(ranking.similarity, nan=-1.0), 1e-6)
    weight = np.sqrt(unlike.min() / unlike)
    return np.where(np.isfinite(ranking.similarity), weight, 0.0)


def _not_outlying(similarity: FloatArray, rejection: float) -> BoolArray:
    good = np.isfinite(similarity)
    if not good.any():
        return good
    median = float(np.median(similarity[good]))
    spread = 1.4826 * float(np.median(np.abs(similarity[good] - median)))
    limit = median - rejection * max(spread, 1e-3)
    keep = np.asarray(good & (np.nan_to_num(similarity, nan=-2.0) >= limit))
    if not keep.all():
        log.info(
            "the similarity of %d of %d reference frames to the science images is much lower than that of the others",
            int((~keep).sum()),
            len(keep),
        )
    return keep


def _worth(gram: FloatArray, cross: FloatArray, total: float, groups: list[BoolArray], modes: int) -> FloatArray:
    """Relative growth of the rms of the residuals without each group; all from inner products."""
    whole = _residual_power(gram, cross, total, modes)
    worth = []
    for group in groups:
        rest = np.flatnonzero(~group)
        left = _residual_power(gram[np.ix_(rest, rest)], cross[rest], total, modes) if len(rest) else total
        worth.append(np.sqrt(left / whole) - 1.0 if whole > 0 else 0.0)
    return np.array(worth)


def _residual_power(gram: FloatArray, cross: FloatArray, total: float, modes: int) -> float:
    values, vectors = linalg.eigh(gram)
    keep = np.flatnonzero(values > 1e-13 * max(values[-1], 0.0))[::-1][:modes]
    explained = (vectors[:, keep].T @ cross) ** 2 / values[keep][:, None]
    return max(total - float(explained.sum()), 0.0)
