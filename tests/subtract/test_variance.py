"""Noise of the background exposures, common to integrations, in the variance of the combined image."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.subtract import ReductionParams, plan_reduction
from lyot.subtract.variance import mean_variance
from tests.subtract.conftest import SHAPE

OWN, COMMON, N = 0.5, 0.4, 5


def draws(make_sequence, count: int, *, told: bool):
    """Plan, and combined images of noise: own of each integration, and common to them and to the rolls."""
    rng = np.random.default_rng(3)
    base = make_sequence(noise=0.0, reference_variance=None)
    science = np.repeat(base.science, N, axis=0)
    sequence = base.replace(
        science=science,
        exposure=np.repeat([0, 1], N),
        science_variance=np.full(science.shape, OWN**2 + COMMON**2),
        background_variance=np.full((2, *SHAPE), COMMON**2) if told else None,
    )
    plan = plan_reduction(sequence, ReductionParams(truncations=(2,)))
    images = []
    for _ in range(count):
        noise = OWN * rng.normal(size=science.shape)
        back = COMMON * rng.normal(size=(1, *SHAPE))
        noise += np.repeat(np.broadcast_to(back, (2, *SHAPE)), N, axis=0)
        images.append(plan.reduce(science + noise, with_variance=False).combined[0])
    return plan, np.array(images)


def test_combined_variance_has_the_common_noise(make_sequence):
    plan, images = draws(make_sequence, 40, told=True)
    predicted = np.sqrt(plan.reduce().combined_variance[0])
    inside = np.hypot(*(np.indices(predicted.shape) - (predicted.shape[0] - 1) / 2)) < 22
    ratio = np.median(images.std(axis=0, ddof=1)[inside] / predicted[inside])
    # single pixels scatter by about a tenth less because the interpolation correlates neighbors
    assert 0.85 < ratio < 1.05


def test_without_it_the_errors_are_far_too_small(make_sequence):
    plan, images = draws(make_sequence, 40, told=False)
    predicted = np.sqrt(plan.reduce().combined_variance[0])
    inside = np.hypot(*(np.indices(predicted.shape) - (predicted.shape[0] - 1) / 2)) < 22
    assert np.median(images.std(axis=0, ddof=1)[inside] / predicted[inside]) > 1.1


def test_mean_of_integrations():
    variance, common = np.full((4, 2, 2), 0.3), np.full((1, 2, 2), 0.1)
    group = np.zeros(4, np.intp)
    np.testing.assert_allclose(mean_variance(variance, group, 1, common), 0.2 / 4 + 0.1)
    np.testing.assert_allclose(mean_variance(variance, group, 1, None), 0.3 / 4)
    variance[2] = np.nan
    np.testing.assert_allclose(mean_variance(variance, group, 1, common), 0.2 / 3 + 0.1)


def test_shape_is_checked(make_sequence):
    with pytest.raises(InputError, match="background_variance"):
        make_sequence(background_variance=np.ones((3, *SHAPE)))
