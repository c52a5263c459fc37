"""What holds for every ramp: linearity, order of the integrations, flags that stay, arrays of the caller unchanged."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot import dq
from lyot.ramps import GroupTimes, detect_jumps, fit_ramps, initialize_flags, linearize, scale_slopes, subtract_dark
from lyot.ramps.dark import DarkReference, GroupTiming
from lyot.ramps.dq_init import Flags
from lyot.ramps.linearity import linearity_reference
from lyot.testing import dq_masks, ramps

TIMES = GroupTimes(0.24, 0.24, drop_leading=False)
QUICK = settings(max_examples=25, deadline=None)


def detector(shape, noise=6.0):
    return {"gain": np.full(shape, 5.5, np.float32), "read_noise": np.full(shape, noise, np.float32)}


def fit(data, flags=None, **keywords):
    flags = np.zeros(data.shape, np.uint8) if flags is None else flags
    shape = data.shape[2:]
    return fit_ramps(data, flags, np.zeros(shape, np.uint32), times=TIMES, **detector(shape), **keywords)


def jumps(data, flags):
    shape = data.shape[2:]
    return detect_jumps(data, flags, np.zeros(shape, np.uint32), group_time=0.24, **detector(shape))


@QUICK
@given(ramps(groups=(5, 12)))
def test_slopes_are_those_of_the_ramps(drawn):
    data, slopes = drawn
    found = fit(data).rateints
    # six sigma of the fit's own error for some thousand slopes, and the rounding of counts near 2e4
    error = np.sqrt(found.var_rnoise)
    assert (np.abs(found.slope - slopes / 0.24) < 6 * error + 0.05).all()


@QUICK
@given(ramps(), st.randoms(use_true_random=False))
def test_the_order_of_the_integrations_does_not_matter(drawn, random):
    data, _ = drawn
    order = list(range(len(data)))
    random.shuffle(order)
    first, second = fit(data), fit(np.ascontiguousarray(data[order]))
    # the photon noise is that of the mean rate, a sum in another order: roundings of float32
    np.testing.assert_allclose(second.rateints.slope, first.rateints.slope[order], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(second.rate.slope, first.rate.slope, rtol=1e-5, atol=1e-3)


@QUICK
@given(ramps(), st.floats(-5e3, 5e3))
def test_a_constant_added_to_a_ramp_changes_no_slope(drawn, level):
    data, _ = drawn
    moved = (data + np.float32(level)).astype(np.float32)
    # counts near 2e4 are rounded to 2e-3 DN in float32, over half a second or more
    np.testing.assert_allclose(fit(moved).rateints.slope, fit(data).rateints.slope, atol=0.02)


@QUICK
@given(st.data())
def test_the_callers_arrays_are_not_changed(data):
    counts, _ = data.draw(ramps())
    flags = data.draw(dq_masks(counts.shape, share=0.05))
    before = counts.copy(), flags.copy()
    fit(counts, flags)
    jumps(counts, flags)
    linearize(counts, flags, identity(counts.shape[2:]))
    np.testing.assert_array_equal(counts, before[0])
    np.testing.assert_array_equal(flags, before[1])


def identity(shape, quadratic=0.0):
    coefficients = np.zeros((3, *shape), np.float32)
    coefficients[1], coefficients[2] = 1, quadratic
    return linearity_reference(coefficients, np.zeros(shape, np.uint32))


@QUICK
@given(st.data())
def test_jump_detection_only_adds_flags(data):
    counts, _ = data.draw(ramps(groups=(5, 12)))
    flags = data.draw(dq_masks(counts.shape, flags=(dq.DO_NOT_USE, dq.SATURATED), share=0.05))
    found = jumps(counts, flags).groupdq
    assert ((found & flags) == flags).all()
    assert (found & ~np.uint8(dq.JUMP_DET) == flags).all()


@QUICK
@given(ramps(groups=(8, 12), read_noise=4.0), st.integers(2, 6), st.floats(2000, 2e4))
def test_a_jump_is_found_where_it_is(drawn, group, height):
    """More than thirty sigma of read and photon noise."""
    data, _ = drawn
    hit = data.copy()
    hit[:, group:, 0, 0] += np.float32(height)
    found = jumps(hit, np.zeros(hit.shape, np.uint8)).groupdq
    assert (found[:, group, 0, 0] & dq.JUMP_DET).all()


@QUICK
@given(ramps(), st.floats(0, 3e-6))
def test_linearity_keeps_the_order_of_groups_and_what_is_saturated(drawn, quadratic):
    data, _ = drawn
    flags = np.zeros(data.shape, np.uint8)
    flags[:, -1] = dq.SATURATED
    found = linearize(data, flags, identity(data.shape[2:], quadratic))
    np.testing.assert_array_equal(found[:, -1], data[:, -1])
    expected = data.astype(float) + quadratic * data.astype(float) ** 2
    np.testing.assert_allclose(found[:, :-1], expected[:, :-1], rtol=5e-7)  # a few roundings of float32


@QUICK
@given(ramps(), st.integers(1, 3))
def test_a_dark_subtracted_and_added_is_the_ramp(drawn, planes):
    data, _ = drawn
    dark = np.random.default_rng(planes).integers(0, 50, (planes, *data.shape[1:])).astype(np.float32)
    whole = np.rint(data)  # whole numbers, which float32 adds without rounding
    reference = DarkReference(dark, np.zeros(data.shape[2:], np.uint32), GroupTiming(1, 0))
    taken = subtract_dark(whole, reference)
    index = np.minimum(np.arange(len(data)), planes - 1)  # later integrations take the last plane
    np.testing.assert_array_equal(taken + dark[index], whole)


@QUICK
@given(st.data())
def test_a_mask_twice_is_the_mask_once(data):
    shape = (2, 3, 5, 6)
    groups = data.draw(dq_masks(shape))
    mask = data.draw(dq_masks(shape[2:], flags=(dq.DO_NOT_USE, dq.HOT, dq.DEAD), share=0.3)).astype(np.uint32)
    once = initialize_flags(np.zeros(shape[2:], np.uint32), groups, mask)
    twice = initialize_flags(once.pixel_dq, once.group_dq, mask)
    assert isinstance(twice, Flags)
    np.testing.assert_array_equal(twice.pixel_dq, once.pixel_dq)
    np.testing.assert_array_equal(twice.group_dq, once.group_dq)
    np.testing.assert_array_equal(once.pixel_dq, mask)


@QUICK
@given(ramps(), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_the_gain_scales_slopes_and_their_significance_stays(drawn, factor):
    image = fit(drawn[0]).rateints
    scaled = scale_slopes(image.slope, image.err, image.var_poisson, image.var_rnoise, factor)
    np.testing.assert_array_equal(scaled.slope / scaled.error, image.slope / image.err)  # powers of two are exact
    np.testing.assert_array_equal(scaled.variance_read, image.var_rnoise * factor**2)
