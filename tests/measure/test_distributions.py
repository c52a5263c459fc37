"""The probabilities are those of `scipy.stats`, to the last bit, at the ends of their ranges too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lyot.measure import distributions

X = np.array([-np.inf, -40.0, -8.3, -1.0, -1e-9, 0.0, 0.3, 1.0, 5.0, 37.0, np.inf, np.nan])
P = np.array([0.0, 1e-300, 1e-12, 0.02, 0.5, 0.97, 1.0, np.nan])
FREEDOM = np.array([1, 2, 7, 300])[:, None]


@pytest.mark.parametrize(("ours", "theirs", "values"), [
    (distributions.normal_cdf, stats.norm.cdf, X), (distributions.normal_sf, stats.norm.sf, X),
    (distributions.normal_ppf, stats.norm.ppf, P), (distributions.normal_isf, stats.norm.isf, P),
])  # fmt: skip
def test_normal(ours, theirs, values):
    np.testing.assert_array_equal(ours(values), theirs(values))
    assert float(ours(0.3)) == float(theirs(0.3))


@pytest.mark.parametrize(("ours", "theirs", "values"), [
    (distributions.t_cdf, stats.t.cdf, X), (distributions.t_sf, stats.t.sf, X), (distributions.t_isf, stats.t.isf, P),
    (distributions.chi2_sf, stats.chi2.sf, np.abs(X)),
])  # fmt: skip
def test_with_degrees_of_freedom(ours, theirs, values):
    np.testing.assert_array_equal(ours(values, FREEDOM), theirs(values, FREEDOM))
    assert float(ours(0.3, 9)) == float(theirs(0.3, 9))
