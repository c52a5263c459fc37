"""Star-subtracted integrations: their own if each was subtracted, the mean's model of the star if the mean was."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.subtract import ReductionParams, plan_reduction
from lyot.subtract.integrations import integrations_of


@pytest.fixture
def sequence(make_sequence):
    """Three integrations of each of the two exposures."""
    science = np.repeat(make_sequence(flux=500.0).science, 3, axis=0)
    science += np.random.default_rng(5).normal(scale=0.3, size=science.shape)
    return make_sequence(
        science=science, exposure=np.repeat([0, 1], 3), science_variance=np.full(science.shape, 0.09),
        reference_variance=np.full((9, *science.shape[1:]), 0.09),
    )  # fmt: skip


@pytest.mark.parametrize("exposure", [0, 1])
def test_integrations_that_were_subtracted_are_as_they_are(sequence, exposure):
    plan = plan_reduction(sequence, ReductionParams(science_frames="integration"))
    result = plan.reduce()
    found = integrations_of(plan, result, exposure)
    mine = result.exposure == exposure
    np.testing.assert_array_equal(found.data, result.residuals[result.index()][mine])
    np.testing.assert_array_equal(found.variance, result.residual_variance[result.index()][mine])


@pytest.mark.parametrize("exposure", [0, 1])
def test_the_mean_of_integrations_is_the_subtracted_mean(sequence, exposure):
    plan = plan_reduction(sequence, ReductionParams(science_frames="exposure"))
    result = plan.reduce()
    found = integrations_of(plan, result, exposure)
    assert len(found.data) == (sequence.exposure == exposure).sum() > 1
    # rounding of sums of frames whose star is a few thousand
    np.testing.assert_allclose(found.data.mean(axis=0), result.residuals[result.index()][exposure], atol=1e-8)
    # what is one integration's own averages out, what the model adds does not
    added = found.variance[0] - 0.09
    of_mean = 0.09 / len(found.data)
    expected = result.residual_variance[result.index()][exposure] - of_mean
    good = np.isfinite(expected)
    assert good.any() and (added[good] > 0).all()
    # rounding
    np.testing.assert_allclose(added[good], expected[good], rtol=1e-9, atol=1e-12)


def test_without_variances_there_are_none(make_sequence):
    plan = plan_reduction(make_sequence(science_variance=None))
    assert integrations_of(plan, plan.reduce(), 0).variance is None
