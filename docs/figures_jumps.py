"""Draw the figure of docs/jump_and_slopes.md: a ramp with two cosmic rays, its differences, and the fitted segments.

Usage: ``python docs/figures_jumps.py``. The ramp is drawn with a fixed seed; jumps and slope are those of `lyot.ramps`.
"""

from __future__ import annotations

import itertools
import logging

import numpy as np
from figures_start import save
from figures_style import BLUE, GREY, ORANGE, RED, use_style
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from lyot import dq
from lyot.ramps import GroupTimes, JumpParams, detect_jumps, fit_ramps

log = logging.getLogger("figures_jumps")
GAIN, READ_NOISE, GROUP_TIME = 3.1, 6.0, 0.23968
"""electrons/DN; DN, of the difference of two reads; s."""
RATE, GROUPS = 40.0, 60
"""DN/s."""
HITS = {18: 900.0, 41: 320.0}
"""Group that a cosmic ray falls in, and its charge in electrons."""


def simulated() -> NDArray[np.float32]:
    """One ramp, DN: (1, ngroups, 1, 1)."""
    rng = np.random.default_rng(7)
    electrons = np.cumsum(rng.poisson(RATE * GAIN * GROUP_TIME, GROUPS)).astype(float)
    for group, charge in HITS.items():
        electrons[group:] += charge
    read = rng.normal(0.0, READ_NOISE / np.sqrt(2), GROUPS)
    return np.round(electrons / GAIN + read).astype(np.float32)[None, :, None, None]


def main() -> None:
    """Draw the figure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    use_style()
    ramp, params = simulated(), JumpParams(flag_4_neighbors=False)
    image = np.ones((1, 1), np.float32)
    noise, gain, no_flags = READ_NOISE * image, GAIN * image, np.zeros(ramp.shape, np.uint8)
    pixels = np.zeros((1, 1), np.uint32)
    jumps = detect_jumps(ramp, no_flags, pixels, gain=gain, read_noise=noise, group_time=GROUP_TIME, params=params)
    times = GroupTimes(group_time=GROUP_TIME, frame_time=GROUP_TIME)
    slopes = fit_ramps(ramp, jumps.groupdq, pixels, gain=gain, read_noise=noise, times=times)
    without = fit_ramps(ramp, no_flags, pixels, gain=gain, read_noise=noise, times=times)
    assert slopes is not None and without is not None
    flagged = np.flatnonzero(jumps.groupdq[0, :, 0, 0] & dq.JUMP_DET)
    slope, error = float(slopes.rate.slope[0, 0]), float(slopes.rate.err[0, 0])
    log.info("jumps in groups %s; %.2f +- %.2f DN/s (true: %g)", flagged.tolist(), slope, error, RATE)
    log.info("jumps not flagged: %.2f +- %.2f DN/s", float(without.rate.slope[0, 0]), float(without.rate.err[0, 0]))

    y = ramp[0, :, 0, 0].astype(float)
    time = (np.arange(GROUPS) + 1) * GROUP_TIME
    difference = np.diff(y)
    median = float(np.median(difference))
    sigma = np.sqrt(abs(median) * GAIN + (READ_NOISE * GAIN) ** 2) / GAIN
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.0), layout="constrained")
    hit = np.isin(np.arange(1, GROUPS), flagged)
    left.plot(time[1:][~hit], difference[~hit], ".", color=BLUE, label="difference of two groups")
    left.plot(time[1:][hit], difference[hit], "D", color=RED, ms=5, label="flagged JUMP_DET")
    left.axhline(median, color=GREY, lw=1, label="median")
    for sign in (-1, 1):
        threshold = median + sign * params.rejection_threshold * sigma
        left.axhline(threshold, color=ORANGE, lw=1.2, ls="--", label="median ± 4 σ" if sign > 0 else None)
    left.set(title="a. Differences and threshold", xlabel="time since reset [s]", ylabel="difference [DN]")
    left.set_ylim(-45, 345)
    left.legend(loc="upper right")
    right.plot(time, y, ".", color=BLUE, label="groups")
    edges = [0, *flagged.tolist(), GROUPS]
    for number, (first, last) in enumerate(itertools.pairwise(edges)):
        t, part = time[first:last], y[first:last]
        line = part.mean() + slope * (t - t.mean())
        label = f"three segments, {slope:.1f} ± {error:.1f} DN/s" if number == 0 else None
        right.plot(t, line, color=ORANGE, lw=2.2, label=label)
    for first in flagged:
        right.axvline(time[first] - 0.5 * GROUP_TIME, color=RED, lw=0.9, ls=":")
    right.set(title="b. Ramp and fitted slope", xlabel="time since reset [s]", ylabel="signal [DN]")
    right.legend(loc="upper left")
    save(figure, "jumps_and_segments", dpi=100)


if __name__ == "__main__":
    main()
