"""Data-driven choices: the references to use and, optionally, zones and number of modes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot import geometry
from lyot.errors import ConfigError, ReductionError, warn
from lyot.instrument import Coronagraph
from lyot.params import param
from lyot.reduction.injector import off_axis_source
from lyot.reduction.second_pass import can_refine
from lyot.subtract import CoronagraphicSequence, ReductionParams
from lyot.subtract.auto import Choice, Psf, candidates, choose
from lyot.subtract.references import (
    ReferenceRanking,
    rank_references,
    select_references,
    similarity_weights,
    weight_references,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChoiceParams:
    """Parameters of data-driven choices and of wavefront drifts, in addition to `lyot.subtract.ReductionParams`.

    Examples
    --------
    >>> ChoiceParams(choose="auto").choose_separation > 0
    True
    """

    reject_references: bool = param(
        True,
        help="reject reference frames whose similarity to the science images is much lower than that of the others",
    )
    reference_weights: str = param(
        "equal",
        help="weights of the references in the PSF model: equal, similarity (to the science images), or given",
        choices=("equal", "similarity", "given"),
    )
    weights_given: tuple[float, ...] = param(
        (), help="weight of each reference exposure, in the order of the association; 0: not used", min=0.0
    )
    choose: str = param(
        "fixed",
        help="choice of zones and modes of the main product: fixed (as given), or auto (from the S/N of planets "
        "injected at other position angles; MIRI)",
        choices=("fixed", "auto"),
    )
    choose_separation: float = param(
        1.0, help="separation of the planets injected for the choice", unit="arcsec", min=0.1
    )
    choose_avoid: float | None = param(
        None, help="position angle of a suspected planet, which is excluded from the choice", unit="deg"
    )
    wavefront_drift: float = param(
        0.0,
        help="expected rms wavefront drift between reference and science, whose effect is fitted together with the "
        "modes (MIRI; rdi with klip or loci); 0: not fitted",
        unit="nm",
        min=0.0,
        max=100.0,
    )


def check_drift(choice: ChoiceParams, params: ReductionParams) -> None:
    """Refuse `ChoiceParams.wavefront_drift` for a subtraction that cannot fit drifts with its modes.

    Raises
    ------
    ConfigError
        For another strategy or method than rdi with klip or loci.
    """
    if choice.wavefront_drift and not can_refine(params):
        raise ConfigError(
            f'klip.wavefront_drift: expected 0 with strategy "{params.strategy}" and method "{params.method}", got '
            f'{choice.wavefront_drift:g}; drifts can only be fitted with strategy "rdi" and method "klip" or "loci".'
        )


def reject(
    sequence: CoronagraphicSequence, params: ChoiceParams
) -> tuple[CoronagraphicSequence, ReferenceRanking | None]:
    """Rank the references, reject those with low similarity to the science images, and weight the others.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    params : ChoiceParams
        What is rejected, and whether the references are weighted.

    Returns
    -------
    sequence : CoronagraphicSequence
        With the references that are kept, scaled by their weights.
    ranking : ReferenceRanking or None
        Of all references; None if there are none or the ranking has no good pixel to go by.

    Examples
    --------
    The star of the last reference frame is off by two pixels:

    >>> import numpy as np
    >>> from lyot.reduction import ChoiceParams, reject
    >>> from lyot.subtract import CoronagraphicSequence
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> noise = np.random.default_rng(1).normal(size=(6, 41, 41))
    >>> references = [100 * np.exp(-np.hypot(x - shift, y) / 4) for shift in (0, 0, 0, 0, 0, 2)] + noise
    >>> science = 100 * np.exp(-np.hypot(x, y) / 4)
    >>> sequence = CoronagraphicSequence(science, [0], [0.0], [[20, 20]], (0.11, 0.11), references)
    >>> kept, ranking = reject(sequence, ChoiceParams())
    >>> kept.n_references, ranking.keep.tolist()
    (5, [True, True, True, True, True, False])
    """
    if sequence.n_references == 0:
        return sequence, None
    given = _given_weights(sequence, params)
    try:
        ranking = rank_references(sequence)
    except ReductionError as error:
        warn(f"references are not ranked: {error}")
        return (sequence if given is None else weight_references(sequence, given)), None
    weight = similarity_weights(ranking) if params.reference_weights == "similarity" else given
    if params.reject_references and not ranking.keep.all() and ranking.keep.any():
        sequence = select_references(sequence, ranking.keep)
        weight = None if weight is None else weight[ranking.keep]
    if weight is not None:
        sequence = weight_references(sequence, weight)
        log.info("references weighted (%s): %.2f to 1", params.reference_weights, float(weight.min() / weight.max()))
    return sequence, ranking


def _given_weights(sequence: CoronagraphicSequence, params: ChoiceParams) -> NDArray[np.float64] | None:
    """The user's weights, one for each frame; None if there are none."""
    if params.reference_weights != "given":
        if params.weights_given:
            raise ConfigError('klip.weights_given requires klip.reference_weights = "given".')
        return None
    assert sequence.reference_exposure is not None
    exposures, group = np.unique(sequence.reference_exposure, return_inverse=True)
    if len(params.weights_given) != len(exposures):
        raise ConfigError(
            f"klip.weights_given has {len(params.weights_given)} numbers; expected {len(exposures)}, one for each "
            "reference exposure."
        )
    return np.asarray(params.weights_given, dtype=np.float64)[group]


def choose_parameters(
    sequence: CoronagraphicSequence, base: ReductionParams, params: ChoiceParams, coronagraph: Coronagraph | None
) -> Choice | None:
    """Choose zones and truncation with injected planets, if selected; None if they are fixed.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    base : ReductionParams
        What is varied about.
    params : ChoiceParams
    coronagraph : Coronagraph or None
        None where there is no model of it.

    Returns
    -------
    Choice or None
        None where the parameters are fixed.

    Raises
    ------
    ConfigError
        If there is no model of the coronagraph to inject planets with.
    """
    if params.choose == "fixed":
        return None
    if coronagraph is None:
        raise ConfigError(
            "klip.choose = auto requires a model of the coronagraph, which exists for MIRI only; use fixed."
        )
    noise = float(np.nanstd(sequence.science))
    return choose(
        sequence,
        unit_psf(sequence, coronagraph),
        separation=params.choose_separation,
        flux=100.0 * max(noise, 1e-30),
        fwhm=coronagraph.lambda_over_d,
        avoid=params.choose_avoid,
        trials=candidates(base),
    )


def unit_psf(sequence: CoronagraphicSequence, coronagraph: Coronagraph) -> Psf:
    """Image of an off-axis source at a separation and position angle, normalized to unit flux far from the mask."""
    psf = off_axis_source(sequence, coronagraph.filter, pixel_area=1e-6)

    def unit(exposure: int, separation: float, position_angle: float) -> NDArray[np.float64]:
        east, north = geometry.sky_offset(separation, position_angle)
        return psf(exposure, float(east), float(north))

    return unit
