"""Raw ramps that reach every branch of stage 1, and references with every defect, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot import dq

SHAPE = (20, 36)
GROUP_TIME = 0.23968


@dataclass(frozen=True)
class Scenario:
    """What an exposure is like; `saturating` is the share of pixels that saturate somewhere in the ramp."""

    nints: int = 3
    ngroups: int = 24
    shape: tuple[int, int] = SHAPE
    seed: int = 1
    saturating: float = 0.15
    rays: float = 0.01
    segment: tuple[int, int] | None = None
    dark_groups: int | None = None
    dark_nints: int = 2


def ramps(scenario: Scenario) -> NDArray[np.uint16]:
    """Raw ramps (nints, ngroups, ny, nx): faint to saturating in any group, cosmic rays, dropouts, rows of zeros."""
    rng = np.random.default_rng(scenario.seed)
    nints, ngroups, (ny, nx) = scenario.nints, scenario.ngroups, scenario.shape
    rate = np.exp(rng.normal(4.0, 1.0, (ny, nx)))
    bright = rng.random((ny, nx)) < scenario.saturating
    rate[bright] = 54000 / rng.uniform(0.6, ngroups + 2, bright.sum())
    steps = rng.poisson(rate * 5.5, (nints, ngroups, ny, nx)) / 5.5
    hits = rng.random(steps.shape) < scenario.rays / ngroups * 8
    steps[hits] += np.exp(rng.normal(6.0, 2.0, hits.sum()))
    pairs = np.argwhere(hits)[::3]  # neighbors hit in the same and in the next group
    for i, g, y, x in pairs:
        steps[i, g, y, min(x + 1, nx - 1)] += 900
        steps[i, min(g + 1, ngroups - 1), y, x] += 700
    signal = 9000 + np.cumsum(steps, axis=1) + rng.normal(0, 4.2, steps.shape)
    signal -= 1e-6 * np.clip(signal - 9000, 0, None) ** 2
    out = np.clip(np.rint(signal), 0, 65535).astype(np.uint16)
    drop = rng.random(out.shape) < 0.0005
    out[drop] = 0
    return out


@dataclass(frozen=True)
class References:
    """Arrays of the reference files, with every defect that matters."""

    mask: NDArray[np.uint32]
    saturation: NDArray[np.float32]
    saturation_dq: NDArray[np.uint32]
    reset: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    linearity_dq: NDArray[np.uint32]
    dark: NDArray[np.float32]
    dark_dq: NDArray[np.uint32]
    gain: NDArray[np.float32]
    read_noise: NDArray[np.float32]


def references(scenario: Scenario) -> References:
    """References for the pixels of a scenario: bad pixels of each kind, NaN, flags, another dark per integration."""
    rng = np.random.default_rng(scenario.seed + 1000)
    shape = scenario.shape
    pick = rng.random(shape)
    zero = np.zeros(shape, np.uint32)

    def where(low: float, high: float) -> NDArray[np.bool_]:
        return (pick > low) & (pick < high)

    mask = np.where(where(0, 0.02), np.uint32(dq.DO_NOT_USE | dq.DEAD), zero)
    mask[where(0.02, 0.03)] = dq.HOT
    limit = rng.uniform(50000, 56000, shape).astype(np.float32)
    limit[where(0.10, 0.11)] = np.nan
    reset = rng.normal(0, 20, (2, 8, *shape)).astype(np.float32) / np.arange(1, 9, dtype=np.float32)[:, None, None]
    reset[0, 0, 2, 3] = np.nan
    coefficients = np.zeros((4, *shape), np.float32)
    coefficients[1] = rng.normal(1.0, 0.01, shape)
    coefficients[2] = rng.normal(1.2e-6, 1e-7, shape)
    coefficients[3] = rng.normal(3e-12, 1e-13, shape)
    coefficients[2][where(0.13, 0.14)] = np.nan
    coefficients[1][where(0.14, 0.145)] = 0
    n = scenario.dark_groups or scenario.ngroups + 2
    rate = rng.gamma(2, 0.1, shape).astype(np.float32)
    rate[where(0.02, 0.03)] = 300
    ramp = rate * np.arange(1, n + 1, dtype=np.float32)[:, None, None]
    dark = np.stack([ramp * (1 + 0.2 * k) for k in range(scenario.dark_nints)]).astype(np.float32)
    dark[-1, 3, 5, 5] = np.nan
    dark_dq = np.zeros((scenario.dark_nints, 1, *shape), np.uint32)
    dark_dq[-1, 0, 6, 6] = dq.UNRELIABLE_DARK
    gain = rng.normal(5.5, 0.05, shape).astype(np.float32)
    gain[where(0.17, 0.175)] = np.nan
    gain[where(0.175, 0.18)] = -1
    noise = rng.normal(6.0, 0.3, shape).astype(np.float32)
    noise[where(0.18, 0.19)] = 0
    return References(
        mask=mask,
        saturation=limit,
        saturation_dq=np.where(where(0.11, 0.12), np.uint32(dq.NO_SAT_CHECK), zero),
        reset=reset,
        coefficients=coefficients,
        linearity_dq=np.where(where(0.15, 0.16), np.uint32(dq.NO_LIN_CORR), zero),
        dark=dark,
        dark_dq=dark_dq,
        gain=gain,
        read_noise=noise,
    )
