"""References that are rejected, and the weights that the user gives them."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import ConfigError
from lyot.reduction.choice import ChoiceParams, reject
from lyot.subtract import CoronagraphicSequence

NOISE = 1.0


def sequence_with(shifts):
    """One science frame; of each shift (pixels) an exposure of two reference frames."""
    y, x = np.indices((41, 41)) - 20.0
    rng = np.random.default_rng(1)
    halos = [100 * np.exp(-np.hypot(x - shift, y) / 4) for shift in np.repeat([0.0, *shifts], [1, *[2] * len(shifts)])]
    frames = np.array(halos) + rng.normal(scale=NOISE, size=(len(halos), 41, 41))
    exposure = np.repeat(np.arange(len(shifts)), 2)
    return CoronagraphicSequence(
        frames[:1], [0], [0.0], [[20, 20]], (0.11, 0.11), frames[1:], reference_exposure=exposure
    )


def test_given_weights_belong_to_the_exposures_in_their_order():
    sequence = sequence_with([0.0, 0.0, 0.0])
    params = ChoiceParams(reference_weights="given", weights_given=(1.0, 2.0, 4.0), reject_references=False)
    weighted, _ = reject(sequence, params)
    share = np.array([0.25, 0.25, 0.5, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(weighted.references, sequence.references * share[:, None, None])


def test_weights_of_rejected_references_go_with_them():
    sequence = sequence_with([0.0, 4.0, 0.0, 0.0, 0.0])
    params = ChoiceParams(reference_weights="given", weights_given=(1.0, 9.0, 2.0, 2.0, 2.0))
    weighted, ranking = reject(sequence, params)
    assert ranking.keep.tolist() == [True, True, False, False, True, True, True, True, True, True]
    share = np.array([0.5, 0.5, 1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(weighted.references, sequence.references[ranking.keep] * share[:, None, None])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (ChoiceParams(reference_weights="given", weights_given=(1.0,)), "has 1 numbers; expected 2"),
        (ChoiceParams(weights_given=(1.0, 2.0)), "requires klip.reference_weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(params, words):
    with pytest.raises(ConfigError, match=words):
        reject(sequence_with([0.0, 0.0]), params)
