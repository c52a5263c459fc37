"""Draw the figure of docs/stage1.md: two simulated ramps and what each correction changes.

Usage: ``python docs/figures_stage1.py``. The ramps are drawn from the detector of the simulator and corrected with the
functions of `lyot.ramps`.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from figures_start import save
from figures_style import BLUE, GREEN, GREY, ORANGE, RED, use_style
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyot import dq
from lyot.instrument import coronagraph
from lyot.ramps import flag_last_group, flag_rscd, flag_saturation, linearize, subtract_dark, subtract_reset
from lyot.ramps.dark import DarkReference, GroupTiming
from lyot.ramps.linearity import linearity_reference
from lyot.ramps.reset import reset_reference
from lyot.ramps.rscd import integration_skips, rscd_skips
from lyot.ramps.saturation import saturation_reference
from lyot.simulator.cosmic_rays import CosmicRays
from lyot.simulator.detector import DetectorModel, build_detector
from lyot.simulator.exposure import RampMaker, decode
from lyot.simulator.plan import Exposure, plan_sequence
from lyot.simulator.scene import Scene

GROUPS = 60
BRIGHT, FAINT = (100, 100), (120, 150)
"""Pixels (y, x)."""
RATES = {BRIGHT: 4000.0, FAINT: 25.0}
"""DN/s."""
DARK = 6.0
"""Dark current of the faint pixel, a warm one, DN/s."""


@dataclass(frozen=True)
class Ramps:
    """The second integration after each correction, (ngroups, ny, nx), and its flags."""

    raw: NDArray[np.float32]
    reset: NDArray[np.float32]
    linear: NDArray[np.float32]
    dark: NDArray[np.float32]
    flags: NDArray[np.uint8]
    unsaturated: NDArray[np.uint8]


def simulated(detector: DetectorModel, exposure: Exposure) -> NDArray[np.float32]:
    """Raw ramps, DN: (nints, ngroups, ny, nx)."""
    slope = np.full(detector.shape, 25.0)
    for pixel, rate in RATES.items():
        slope[pixel] = rate
    maker = RampMaker(exposure, slope, detector, seed=3, cosmic_rays=CosmicRays(0.0))
    with ThreadPoolExecutor(1) as pool:
        return np.array([decode(part.science) for part in maker.integrations(pool)], dtype=np.float32)


def corrected(raw: NDArray[np.float32], detector: DetectorModel) -> Ramps:
    """Take ramps through the corrections of stage 1, in their order."""
    nints, ngroups = raw.shape[:2]
    pixels = np.zeros(detector.shape, np.uint32)
    timing = GroupTiming(1, 0)
    reference = saturation_reference(detector.saturation, pixels)
    saturated = flag_saturation(raw, np.zeros(raw.shape, np.uint8), reference).group_dq
    anomaly = np.stack([detector.reset_anomaly(detector.reset_groups, i) for i in range(len(detector.reset_scale))])
    reset = subtract_reset(raw, reset_reference(anomaly, pixels))
    linear = linearize(reset, saturated, linearity_reference(detector.linearity.astype(np.float32), pixels))
    skips = integration_skips(rscd_skips(*detector.rscd_skip, ngroups, nints), nints)
    flags = flag_rscd(pixels, flag_last_group(saturated), skips).flags.group_dq
    current = detector.dark_ramp(ngroups, detector.coronagraph.frame_time)[None]
    dark = subtract_dark(linear, DarkReference(current, pixels, timing))
    return Ramps(raw[1], reset[1], linear[1], dark[1], flags[1], saturated[1])


def shade(ax: Axes, time: NDArray[np.float64], unused: NDArray[np.bool_]) -> None:
    """Mark the groups that are not used."""
    edges = np.flatnonzero(np.diff(np.r_[0, unused, 0]))
    half = 0.5 * (time[1] - time[0])
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        ax.axvspan(time[first] - half, time[last - 1] + half, color="0.9", zorder=0)


def main() -> None:
    """Draw the figure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    use_style()
    c = coronagraph("F1550C")
    detector = build_detector(c, seed=1)
    rate = detector.dark_rate.copy()
    rate[FAINT] = DARK
    detector = replace(detector, dark_rate=rate)
    science = next(e for e in plan_sequence(c, "small", Scene(), 1) if e.role == "science")
    ramps = corrected(simulated(detector, replace(science, nints=2, ngroups=GROUPS)), detector)
    time = (np.arange(GROUPS) + 1) * c.frame_time

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.0, 3.8), layout="constrained")
    y, x = BRIGHT
    saturated = (ramps.flags[:, y, x] & dq.SATURATED) != 0
    good = ~saturated
    truth = detector.pedestal[y, x] + RATES[BRIGHT] * time
    left.plot(time, truth / 1e3, color=GREY, lw=1, label="4000 DN/s")
    left.plot(time, ramps.raw[:, y, x] / 1e3, ".", color=BLUE, label="raw")
    left.plot(time[good], ramps.linear[good, y, x] / 1e3, ".", color=ORANGE, label="linearized")
    left.plot(time[saturated], ramps.raw[saturated, y, x] / 1e3, "x", color=RED, ms=5, label="flagged SATURATED")
    left.axhline(detector.saturation[y, x] / 1e3, color=RED, lw=0.9, ls="--")
    left.text(0.15, detector.saturation[y, x] / 1e3 + 0.7, "threshold", color=RED, fontsize=9)
    left.set(title="a. Bright pixel", xlabel="time since reset [s]", ylabel="signal [1000 DN]", ylim=(0, 72))
    left.legend(loc="lower right")

    line = truth[good]
    middle.plot(time[good], ramps.raw[good, y, x] - line, ".", color=BLUE, label="raw")
    middle.plot(time[good], ramps.linear[good, y, x] - line, ".", color=ORANGE, label="linearized")
    middle.axhline(0, color=GREY, lw=0.8)
    shade(middle, time, (ramps.flags[:, y, x] & dq.DO_NOT_USE) != 0)
    middle.set_xlim(left.get_xlim())
    middle.set(title="b. Bright pixel, minus 4000 DN/s", xlabel="time since reset [s]", ylabel="signal [DN]")
    middle.legend(loc="lower left")

    y, x = FAINT
    curves = (("raw", ramps.raw, BLUE), ("reset anomaly subtracted", ramps.reset, GREEN),
              ("linearized, dark subtracted", ramps.dark, ORANGE))  # fmt: skip
    late = slice(20, GROUPS - 1)  # the level right after a reset is random: that of these groups is compared
    level = np.mean((ramps.reset[:, y, x] - (RATES[FAINT] + DARK) * time)[late])
    for label, cube, color in curves:
        ramp = cube[:, y, x] - RATES[FAINT] * time
        zero = np.mean(ramp[late]) if cube is ramps.dark else level
        right.plot(time, ramp - zero, ".-", lw=0.7, ms=8 if cube is ramps.raw else 5, color=color, label=label)
    shade(right, time, (ramps.flags[:, y, x] & dq.DO_NOT_USE) != 0)
    right.text(time[4] + 0.1, -26, "gray: not used\n(RSCD, last group)", fontsize=9, color=GREY, va="bottom")
    right.set(title="c. Faint warm pixel, minus 25 DN/s", xlabel="time since reset [s]", ylabel="signal [DN]")
    right.set_ylim(-28, 128)
    right.legend(loc="upper left", bbox_to_anchor=(0.12, 1.0))
    save(figure, "stage1_ramps", dpi=100)


if __name__ == "__main__":
    main()
