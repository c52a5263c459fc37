"""Random numbers inside numba kernels: one reproducible stream per (seed, exposure, integration, row).

A stream is a xoshiro256++ generator (Blackman & Vigna 2021, doi:10.1145/3460772) whose state comes from a SplitMix64
hash of its key, so that results do not depend on how rows are shared among threads. Normal deviates use the ziggurat of
Marsaglia and Tsang (2000, doi:10.18637/jss.v005.i08) with 256 layers. Poisson deviates come from Walker's alias method
(one table per pixel, probabilities to 1e-9) up to a mean of `POISSON_EXACT_LIMIT`, and beyond it from the normal
approximation with the first two Cornish-Fisher terms (right variance and skewness, cumulative distribution to better
than 1e-3).
"""

# numba has no types: a decorated kernel is checked through its annotated caller
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

POISSON_EXACT_LIMIT: Final = 60.0
"""Mean above which Poisson deviates are approximated."""

TABLE_SIZE: Final = 128
"""Entries of an alias table: Poisson values 0 .. 127 (a mean of 60 reaches 127 with a chance of 1e-13)."""

_LAYERS: Final = 256
_ZIGGURAT_R: Final = 3.6541528853610088
_ZIGGURAT_V: Final = 0.00492867323399


def _ziggurat_tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Layer edges x (257,) and densities f (257,) of the 256-layer normal ziggurat."""
    x = np.zeros(_LAYERS + 1)
    x[0] = _ZIGGURAT_V * math.exp(0.5 * _ZIGGURAT_R**2)
    x[1] = _ZIGGURAT_R
    for i in range(2, _LAYERS):
        x[i] = math.sqrt(-2.0 * math.log(_ZIGGURAT_V / x[i - 1] + math.exp(-0.5 * x[i - 1] ** 2)))
    return x, np.exp(-0.5 * x**2)


ZIGGURAT_X, ZIGGURAT_F = _ziggurat_tables()
_U64 = np.uint64


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _rotl(x: Any, k: Any) -> Any:  # pragma: no cover - compiled
    return (x << k) | (x >> (_U64(64) - k))


@njit(cache=True, nogil=True, error_model="numpy")
def _splitmix(x: Any) -> Any:  # pragma: no cover - compiled
    z = x + _U64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
    return z ^ (z >> _U64(31))


@njit(cache=True, nogil=True, error_model="numpy")
def seed_stream(
    state: Any, seed: Any, exposure: Any, integration: Any, row: Any
) -> None:  # pragma: no cover - compiled
    """Fill `state` (4,) uint64 for a key of four non-negative integers."""
    h = _splitmix(_U64(seed))
    h = _splitmix(h ^ _U64(exposure))
    h = _splitmix(h ^ (_U64(integration) << _U64(20)))
    h = _splitmix(h ^ (_U64(row) << _U64(40)))
    for i in range(4):
        h = _splitmix(h + _U64(i))
        state[i] = h


@njit(cache=True, nogil=True, error_model="numpy")
def fill_bits(state: Any, bits: Any) -> None:  # pragma: no cover - compiled
    """Fill `bits` (n,) uint64 with the next outputs of xoshiro256++ and advance `state` (4,)."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for i in range(bits.size):
        bits[i] = _rotl(s0 + s3, _U64(23)) + s0
        t = s1 << _U64(17)
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = _rotl(s3, _U64(45))
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3


@njit(cache=True, nogil=True, error_model="numpy")
def uniform(state: Any) -> Any:  # pragma: no cover - compiled
    """Uniform deviate in [0, 1), 53 bits."""
    one = np.empty(1, dtype=np.uint64)
    fill_bits(state, one)
    return np.int64(one[0] >> _U64(11)) * 1.1102230246251565e-16


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_slow(state: Any, layer: Any, x: Any) -> Any:  # pragma: no cover - compiled
    """Finish a ziggurat draw that fell outside the layer's core (about one in a hundred)."""
    one = np.empty(1, dtype=np.uint64)
    while True:
        if layer == 0:
            while True:
                tail = -math.log(1.0 - uniform(state)) / _ZIGGURAT_R
                y = -math.log(1.0 - uniform(state))
                if y + y > tail * tail:
                    return -(_ZIGGURAT_R + tail) if x < 0.0 else _ZIGGURAT_R + tail
        f = ZIGGURAT_F[layer] + uniform(state) * (ZIGGURAT_F[layer + 1] - ZIGGURAT_F[layer])
        if f < math.exp(-0.5 * x * x):
            return x
        fill_bits(state, one)
        layer = np.int64(one[0] & _U64(255))
        x = (np.int64(one[0]) >> 9) * 5.551115123125783e-17 * ZIGGURAT_X[layer]
        if abs(x) < ZIGGURAT_X[layer + 1]:
            return x


@njit(cache=True, nogil=True, error_model="numpy")
def fill_normal(state: Any, bits: Any, out: Any) -> None:  # pragma: no cover - compiled
    """Fill `out` (n,) float64 with standard normal deviates; `bits` (n,) uint64 is scratch."""
    fill_bits(state, bits)
    for i in range(out.size):
        layer = np.int64(bits[i] & _U64(255))
        x = (np.int64(bits[i]) >> 9) * 5.551115123125783e-17 * ZIGGURAT_X[layer]
        if abs(x) >= ZIGGURAT_X[layer + 1]:
            x = _normal_slow(state, layer, x)
        out[i] = x


@njit(cache=True, nogil=True, error_model="numpy")
def _alias_table(mean: Any, table: Any, p: Any, small: Any, large: Any) -> None:  # pragma: no cover - compiled
    """Vose's alias table of a Poisson distribution on 0 .. 127; entry = threshold (24 bits) << 8 | alias."""
    p[0] = math.exp(-mean) * TABLE_SIZE
    for k in range(1, TABLE_SIZE):
        p[k] = p[k - 1] * mean / k
    n_small = n_large = 0
    for k in range(TABLE_SIZE):
        if p[k] < 1.0:
            small[n_small] = k
            n_small += 1
        else:
            large[n_large] = k
            n_large += 1
    for k in range(TABLE_SIZE):
        table[k] = np.uint32((0xFFFFFF << 8) | k)
    while n_small > 0 and n_large > 0:
        n_small -= 1
        k, other = small[n_small], large[n_large - 1]
        table[k] = np.uint32((np.int64(p[k] * 16777216.0) << 8) | other)
        p[other] -= 1.0 - p[k]
        if p[other] < 1.0:
            n_large -= 1
            small[n_small] = other
            n_small += 1


@njit(cache=True, nogil=True, error_model="numpy")
def poisson_tables(means: Any, tables: Any) -> None:  # pragma: no cover - compiled
    """Fill alias tables (n, 128) uint32 for Poisson means (n,); means outside (0, POISSON_EXACT_LIMIT) have none."""
    p = np.empty(TABLE_SIZE)
    small = np.empty(TABLE_SIZE, dtype=np.int64)
    large = np.empty(TABLE_SIZE, dtype=np.int64)
    for i in range(means.size):
        if 0.0 < means[i] < POISSON_EXACT_LIMIT:
            _alias_table(float(means[i]), tables[i], p, small, large)


@njit(cache=True, nogil=True, error_model="numpy")
def fill_poisson(state: Any, bits: Any, means: Any, roots: Any, tables: Any, out: Any) -> None:  # pragma: no cover
    """Fill `out` (n,) float64 with Poisson deviates; `means` (n,), `roots` their square roots, `tables` (n, 128)."""
    fill_bits(state, bits)
    for i in range(out.size):
        if means[i] < POISSON_EXACT_LIMIT:
            if means[i] <= 0.0:
                out[i] = 0.0
                continue
            b = bits[i]
            k = np.int64(b >> _U64(57))
            entry = np.int64(tables[i, k])
            out[i] = k if np.int64((b >> _U64(33)) & _U64(0xFFFFFF)) < (entry >> 8) else entry & 255
        else:
            layer = np.int64(bits[i] & _U64(255))
            z = (np.int64(bits[i]) >> 9) * 5.551115123125783e-17 * ZIGGURAT_X[layer]
            if abs(z) >= ZIGGURAT_X[layer + 1]:
                z = _normal_slow(state, layer, z)
            out[i] = _large(means[i], roots[i], z)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _large(mean: Any, root: Any, z: Any) -> Any:  # pragma: no cover - compiled
    """Poisson deviate of a large mean from a normal deviate z, with the Cornish-Fisher terms."""
    return max(math.floor(mean + root * z + (z * z - 1.0) / 6.0 + (z - z * z * z) / (72.0 * root) + 0.5), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def poisson_one(state: Any, mean: Any) -> Any:  # pragma: no cover - compiled
    """One Poisson deviate of any mean, without a table: inversion from zero, or as `fill_poisson` for large means."""
    if mean <= 0.0:
        return 0.0
    if mean >= POISSON_EXACT_LIMIT:
        bits = np.empty(1, dtype=np.uint64)
        z = np.empty(1)
        fill_normal(state, bits, z)
        return _large(mean, math.sqrt(mean), z[0])
    u = uniform(state)
    p = math.exp(-mean)
    k = 0
    while u >= p and k < 400:
        u -= p
        k += 1
        p *= mean / k
    return float(k)
