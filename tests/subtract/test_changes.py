"""Expected changes of the star's image: what the prior takes up, what it leaves, and what cannot be used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lyot import geometry
from lyot.errors import InputError
from lyot.subtract import ReductionParams, plan_reduction
from tests.subtract.conftest import SHAPE, STAR, planet_frames

PARAMS = ReductionParams(truncations=(3, 9), zone_edges=())


@pytest.fixture
def changes():
    """Three patterns on the scale of the PSF, one standard deviation each, that the references do not have."""
    rng = np.random.default_rng(7)
    patterns = ndimage.gaussian_filter(rng.normal(size=(3, *SHAPE)), (0, 1.9, 1.9)) * 10
    return 3.0 * patterns * np.exp(-geometry.radius_map(SHAPE, STAR) / 12)


def spread(image):
    return float(np.nanstd(image))


def test_a_change_that_the_references_lack_is_taken_out(make_sequence, changes):
    sequence = make_sequence(noise=0.05)
    drawn = np.tensordot([1.2, -0.8, 0.6], changes, axes=1)
    drifted = sequence.replace(science=sequence.science + drawn)
    still = spread(plan_reduction(sequence, PARAMS).reduce().image)
    without = spread(plan_reduction(drifted, PARAMS).reduce().image)
    modeled = spread(plan_reduction(drifted, PARAMS, changes=changes).reduce().image)
    assert without > 3 * still  # the change matters
    # the coefficients are known to 0.05 / |pattern| of about a hundredth: what is left is the noise that was there
    assert modeled < 1.05 * still


def test_the_damping_is_that_of_the_posterior_mean(make_sequence, changes):
    sequence = make_sequence(noise=2.0)
    params = replace(PARAMS, noise_correction=False)  # the coefficients of least squares
    plan = plan_reduction(sequence, params, changes=changes)
    zone, model = plan.zones[0], plan.models[0]
    frame = sequence.science[0].ravel()[zone.fit]
    plain = plan_reduction(sequence, params).models[0]
    c = plain.columns[1]
    design = np.vstack([plain.fit_modes[:c], changes.reshape(3, -1)[:, zone.fit]])
    prior = np.diag([0.0] * c + [2.0**2] * 3)  # noise variance over the prior variance of 1
    best = np.linalg.solve(design @ design.T + prior, design @ frame) @ design
    mine = frame - plan.reduce().residuals[1, 0].ravel()[zone.fit]
    np.testing.assert_allclose(mine, best, atol=1e-8 * np.abs(frame).max())
    assert model.columns[1] == c + 3


def test_no_prior_no_change(make_sequence, changes):
    sequence = make_sequence()
    plain = plan_reduction(sequence, PARAMS).reduce()
    tiny = plan_reduction(sequence, PARAMS, changes=1e-6 * changes).reduce()
    assert np.array_equal(plain.combined, tiny.combined, equal_nan=True)  # below the noise: no direction is kept


def test_still_linear_and_zero_injection_bit_for_bit(make_sequence, changes):
    sequence = make_sequence()
    plan = plan_reduction(sequence, PARAMS, changes=changes)
    extra = planet_frames(1.5, 20.0, 100.0)
    base = plan.reduce().combined
    assert np.array_equal(base, plan.reduce(sequence.science + 0.0 * extra).combined, equal_nan=True)
    # rounding of numbers of up to 1e3
    np.testing.assert_allclose(
        plan.reduce(sequence.science + extra).combined, base + plan.reduce_many(extra[None])[0], atol=1e-9
    )


def test_the_noise_is_estimated_where_there_are_no_variances(make_sequence, changes):
    known = plan_reduction(make_sequence(noise=0.5), PARAMS, changes=changes)
    guessed = plan_reduction(make_sequence(noise=0.5, science_variance=None), PARAMS, changes=changes)
    ratio = guessed.models[0].ridge[:3] / known.models[0].ridge[:3]
    # what the filter leaves of the speckles adds to the noise: a factor of two in a prior's variance does no harm
    assert np.all((ratio > 0.8) & (ratio < 2.0))


def test_variances_follow_the_damping(make_sequence, changes):
    """Monte Carlo: the variance carried through the damped fit is the scatter of its residuals."""
    sequence, rng = make_sequence(noise=1.0), np.random.default_rng(3)
    plan = plan_reduction(sequence, PARAMS, changes=changes)
    draws = rng.normal(size=(300, *sequence.science.shape))
    residuals = np.stack([plan.reduce(d, with_variance=False).residuals[1, 0] for d in draws])
    zone = plan.zones[0]
    quiet = sequence.replace(reference_variance=None)
    stated = plan_reduction(quiet, PARAMS, changes=changes).reduce().residual_variance[1, 0].ravel()[zone.subtract]
    found = residuals.reshape(300, -1)[:, zone.subtract].var(axis=0)
    # 300 draws: 8 % in each of some 3900 pixels, so 0.2 % in their mean
    assert np.mean(found / stated) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("params", "shape", "match"),
    [
        (ReductionParams(strategy="adi"), SHAPE, "strategy 'rdi'"),
        (ReductionParams(method="nmf"), SHAPE, "method 'klip' or 'loci'"),
        (PARAMS, (5, 5), "expected \\(n, 61, 65\\)"),
    ],
)
def test_what_cannot_be_used(make_sequence, params, shape, match):
    with pytest.raises(InputError, match=match):
        plan_reduction(make_sequence(), params, changes=np.zeros((2, *shape)))
