"""Means and medians of stacks are those of numpy, to the bit, and warn of nothing."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lyot import stacks
from lyot.stacks import joint_nanmean, nanmean, nanmedian

VALUES = st.floats(width=32, allow_subnormal=False, min_value=-(2.0**99), max_value=2.0**99) | st.just(float("nan"))


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda kind: arrays.arrays(kind, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=VALUES)
    )
)
def test_median_is_that_of_numpy(stack):
    before = stack.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, where all are NaN
        expected = np.nanmedian(stack, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nanmedian(stack)
    assert found.dtype == stack.dtype
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.array_equal(stack, before, equal_nan=True)


@pytest.mark.parametrize("kind", ["f4", ">f4", "f8", "f2"])
@pytest.mark.parametrize("shape", [(7,), (7, 1), (500, 3), (9, 1, 2), (20, 30, 40), (1, 4, 4)])
def test_mean_adds_the_frames_up_as_numpy_does(kind, shape):
    rng = np.random.default_rng(1)
    stack = (rng.normal(size=shape) * 10 ** rng.uniform(-3, 3, shape)).astype(kind)
    stack[rng.random(shape) < 0.2] = np.nan
    stack.flat[0] = np.inf
    for view in (stack, stack[::2], stack[..., ::-1], np.moveaxis(stack, 0, -1).copy().transpose()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = np.nanmean(view, axis=0, dtype=np.float64)
        np.testing.assert_array_equal(nanmean(view), expected)


@pytest.mark.parametrize("n", [3, 4])
def test_infinities_are_values(n):
    stack = np.array([-np.inf, np.inf, 1.0, 2.0])[:n]
    assert nanmedian(stack[:, None])[0] == np.median(stack)


def test_no_image_at_all_is_nan():
    assert np.isnan(nanmedian(np.empty((0, 2, 3)))).all()


def test_mean_leaves_nan_out():
    assert np.array_equal(nanmean(np.array([[1.0, np.nan], [4.0, np.nan]])), [2.5, np.nan], equal_nan=True)


def test_median_of_some_rows_at_a_time_is_that_of_all(monkeypatch):
    stack = np.random.default_rng(0).normal(size=(6, 11, 5))
    stack[stack > 1] = np.nan
    whole = nanmedian(stack)
    monkeypatch.setattr(stacks, "_VALUES", 70)  # two rows
    assert np.array_equal(nanmedian(stack), whole, equal_nan=True)


def test_joint_mean_is_that_of_all_images():
    rng = np.random.default_rng(1)
    several = [rng.normal(size=(n, 4, 5)).astype(kind) for n, kind in ((3, np.float32), (2, np.float32))]
    several[0][:, 0, 0] = several[1][:, 0, 0] = several[0][1, 2, 3] = np.nan
    assert np.array_equal(joint_nanmean(several), nanmean(np.concatenate(several)), equal_nan=True)
