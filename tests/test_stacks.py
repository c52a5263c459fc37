"""Means and medians of stacks are those of numpy, to the bit, and warn of nothing."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lyot.stacks import nanmean, nanmedian

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


@pytest.mark.parametrize("n", [3, 4])
def test_infinities_are_values(n):
    stack = np.array([-np.inf, np.inf, 1.0, 2.0])[:n]
    assert nanmedian(stack[:, None])[0] == np.median(stack)


def test_no_image_at_all_is_nan():
    assert np.isnan(nanmedian(np.empty((0, 2, 3)))).all()


def test_mean_leaves_nan_out():
    assert np.array_equal(nanmean(np.array([[1.0, np.nan], [4.0, np.nan]])), [2.5, np.nan], equal_nan=True)
