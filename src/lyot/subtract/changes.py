"""Expected changes of the star's image between the references and the science, fitted with a prior on their size.

The telescope drifts between the two stars, and the noise of the references hides the modes that would describe what
that does to the image. A model of the optics knows how such changes look, and experience how large they are. Fitted
beside the free modes of KLIP with that prior they take up what the references do not hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from lyot.errors import InputError
from lyot.subtract.klip import LinearModel
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.sequence import CoronagraphicSequence, FloatArray
from lyot.subtract.variance import frame_variance
from lyot.subtract.zones import Zone

SMALLEST_CHANGE = 0.02
"""Directions whose expected power is smaller than this times the noise are left out: they would be damped to 2 %."""


@dataclass(frozen=True)
class ExpectedChanges:
    """Changes of the star's image as the frames of one sequence have them, flat.

    Attributes
    ----------
    images : (n, ny * nx) float64 ndarray
        The change is expected to be their sum, with independent normal coefficients of standard deviation 1.
    noise : (ny * nx,) float64 ndarray
        Variance of the frames that are subtracted, in the square of the same unit; NaN where unknown.
    """

    images: FloatArray
    noise: FloatArray


def expected_changes(
    sequence: CoronagraphicSequence, params: ReductionParams, images: FloatArray, frames: FloatArray
) -> ExpectedChanges:
    """Check images of changes against a sequence.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    params : ReductionParams
    images : (n, ny, nx) float ndarray
        See `lyot.subtract.plan.plan_reduction`.
    frames : (nframes, ny, nx) float64 ndarray
        Frames that are subtracted. Where the sequence has no variances the noise is estimated from them
        (`rough_variance`).

    Raises
    ------
    InputError
        If the images have not the shape of the frames or hold NaN, or the strategy or method cannot use them.
    """
    if params.strategy != "rdi" or params.method not in ("klip", "loci"):
        raise InputError(
            "expected changes of the stellar image require strategy 'rdi' and method 'klip' or 'loci', got "
            f"'{params.strategy}' and '{params.method}'."
        )
    if np.ndim(images) != 3 or np.shape(images)[1:] != sequence.shape or not np.isfinite(images).all():
        raise InputError(
            f"changes has shape {np.shape(images)}; expected (n, {sequence.shape[0]}, {sequence.shape[1]}), no NaN."
        )
    flat = np.asarray(images, dtype=np.float64).reshape(len(images), -1)
    variance = frame_variance(sequence, means=params.science_frames == "exposure")
    if variance is None:
        return ExpectedChanges(flat, np.full(flat.shape[1], rough_variance(frames)))
    good = np.isfinite(variance)
    with np.errstate(invalid="ignore"):
        mean = np.where(good, variance, 0.0).sum(axis=0) / good.sum(axis=0)
    return ExpectedChanges(flat, mean.ravel())


def rough_variance(frames: FloatArray) -> float:
    """Variance of white noise in frames (n, ny, nx; NaN where bad) with a smooth image beneath.

    From what a filter leaves that takes out all that is linear along rows or columns (Immerkaer 1996, CVIU 64, 300);
    median, so that neither the star nor sources matter much.
    """
    twice = np.diff(np.diff(frames, n=2, axis=1), n=2, axis=2)
    return float((np.nanmedian(np.abs(twice)) / 0.6745 / 6.0) ** 2)


def with_changes(model: LinearModel, zone: Zone, changes: ExpectedChanges) -> LinearModel:
    """Add the expected changes to a zone's model, each direction damped by the noise over its expected power.

    For white noise this is the posterior mean of the sum of modes (free) and changes (with their prior). The directions
    are the principal ones of what all modes of the model leave of the changes.

    Parameters
    ----------
    model : LinearModel
        Its modes stay as they are.
    zone : Zone
    changes : ExpectedChanges

    Returns
    -------
    LinearModel
        With the changes in front of the modes, at every truncation. The model itself where the noise is not known or
        no change is above it.
    """
    noise = changes.noise[zone.fit]
    known = noise[np.isfinite(noise) & (noise > 0)]
    if len(known) == 0:
        return model
    variance = float(np.median(known))
    fit, rest = changes.images[:, zone.fit], changes.images[:, zone.subtract]
    for _ in range(2):  # twice, so that what is left is orthogonal to rounding
        share = fit @ model.fit_modes.T
        fit, rest = fit - share @ model.fit_modes, rest - share @ model.subtract_modes
    power, vectors = linalg.eigh(fit @ fit.T)
    power, vectors = power[::-1], vectors[:, ::-1]
    count = int(np.sum(power > SMALLEST_CHANGE * variance))
    if count == 0:
        return model
    turn = (vectors[:, :count] / np.sqrt(power[:count])).T
    return replace(
        model,
        fit_modes=np.vstack([turn @ fit, model.fit_modes]),
        subtract_modes=np.vstack([turn @ rest, model.subtract_modes]),
        columns=tuple(c + count for c in model.columns),
        mixing=np.vstack([np.zeros((count, model.mixing.shape[1])), model.mixing]),
        ridge=np.concatenate([variance / power[:count], model.ridge]),
        template=None if model.template is None else model.template.behind(count),
    )
