"""Random deviates of the ramp kernel."""

import numpy as np
import pytest
from scipy import stats

from lyot.simulator.random import TABLE_SIZE, fill_normal, fill_poisson, poisson_one, poisson_tables, seed_stream

N = 400_000


def stream(*key: int) -> np.ndarray:
    state = np.empty(4, np.uint64)
    seed_stream(state, *key)
    return state


def poisson(mean: float) -> np.ndarray:
    means = np.array([mean])
    table = np.zeros((1, TABLE_SIZE), np.uint32)
    poisson_tables(means, table)
    out = np.empty(N)
    wide = np.full(N, mean)
    fill_poisson(stream(1, 2, 3, 4), np.empty(N, np.uint64), wide, np.sqrt(wide), np.repeat(table, N, axis=0), out)
    return out


def test_normal_deviates_are_standard_normal() -> None:
    out = np.empty(N)
    fill_normal(stream(7, 0, 0, 0), np.empty(N, np.uint64), out)
    assert stats.kstest(out, "norm").pvalue > 1e-3  # fixed seed: a wrong sampler gives 0
    assert np.mean(np.abs(out) > 3.66) == pytest.approx(2 * stats.norm.sf(3.66), rel=0.3)  # the tail beyond the layers
    assert stats.kurtosis(out) == pytest.approx(0.0, abs=5 * np.sqrt(24 / N))


@pytest.mark.parametrize("mean", [0.3, 3.7, 11.5, 40.0, 59.9])
def test_poisson_by_table_has_the_exact_distribution(mean: float) -> None:
    out = poisson(mean).astype(int)
    expected = stats.poisson.pmf(np.arange(out.max() + 1), mean) * N
    keep = expected > 10
    chi2 = np.sum((np.bincount(out)[keep] - expected[keep]) ** 2 / expected[keep])
    assert stats.chi2.sf(chi2, keep.sum() - 1) > 1e-3


@pytest.mark.parametrize("mean", [60.5, 150.0, 2000.0])
def test_large_means_keep_variance_and_skewness(mean: float) -> None:
    out = poisson(mean)
    assert out.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / N))
    assert out.var() == pytest.approx(mean, rel=5 * np.sqrt(2 / N) + 2e-3)  # 1/12 of rounding at the smallest mean
    assert stats.skew(out) == pytest.approx(mean**-0.5, abs=5 * np.sqrt(6 / N))
    values = np.arange(int(mean - 4 * mean**0.5), int(mean + 4 * mean**0.5))
    found = np.searchsorted(np.sort(out), values, side="right") / N
    # the documented accuracy of 1e-3, and the sampling error of a cumulative distribution (Kolmogorov, 1e-3 level)
    assert np.abs(found - stats.poisson.cdf(values, mean)).max() < 1e-3 + 1.95 / np.sqrt(N)


def test_single_deviates_agree_with_the_mean() -> None:
    state = stream(1, 1, 1, 1)
    for mean in (0.0, 2.0, 30.0, 100.0):
        values = np.array([poisson_one(state, mean) for _ in range(20_000)])
        # five sigmas of the mean
        assert values.mean() == pytest.approx(mean, abs=5 * np.sqrt(max(mean, 1e-9) / values.size))


def test_zero_mean_gives_zero() -> None:
    assert not poisson(0.0).any()


def test_streams_of_different_keys_differ() -> None:
    states = {tuple(stream(*key)) for key in np.ndindex(4, 4, 4, 4)}
    assert len(states) == 256
