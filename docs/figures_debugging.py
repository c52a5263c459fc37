"""Draw the gallery of bad reductions in docs/howto/debugging.md: one fault at a time, put into a finished demo.

Usage: ``python docs/figures_debugging.py DEMO``, where DEMO is the folder of ``lyot demo`` (``make demo``: ``demo``).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from figures_start import save
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from scipy.ndimage import shift

from lyot.analysis import find_finished
from lyot.reduction import ChoiceParams
from lyot.steps.stage3_plan import reduction_plan
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction

log = logging.getLogger("figures_debugging")
PLANET = (0.8176, 149.36)
Sequence = CoronagraphicSequence
Image = NDArray[np.float64]


def left_over(sequence: Sequence, part: float) -> Sequence:
    """A part of the background in the science frames, which the fit does not know."""
    assert sequence.templates is not None
    return replace(sequence, science=sequence.science + part * np.nan_to_num(sequence.templates[0]))


def hot_pixels(sequence: Sequence) -> Sequence:
    """Four pixels of 300 MJy/sr, in one integration each."""
    science = np.array(sequence.science)
    x, y = (round(v) for v in sequence.star[0])
    for number, (dx, dy) in enumerate(((9, 6), (-12, 5), (6, -14), (-8, -11))):
        science[number % len(science), y + dy, x + dx] += 300.0
    return replace(sequence, science=science)


def shifted_references(sequence: Sequence) -> Sequence:
    """References two pixels off."""
    moved = [shift(np.nan_to_num(frame), (1.4, 1.4), order=3) for frame in sequence.references]
    return replace(sequence, references=np.array(moved))


def star_elsewhere(sequence: Sequence) -> Sequence:
    """The star taken to be four pixels from where it is."""
    return replace(sequence, star=sequence.star + np.array([4.0, 0.0]))


def companion_of_reference(sequence: Sequence) -> Sequence:
    """A source next to the reference star, in all of its exposures."""
    y, x = np.indices(sequence.shape)
    cx, cy = sequence.star[0] + (11.0, 9.0)
    source = 100.0 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.9**2))
    return replace(sequence, references=sequence.references + source)


CASES: tuple[tuple[str, float, dict[str, object], Callable[[Sequence], Sequence] | None], ...] = (
    ("a. as it should be", 3.0, {}, None),
    ("b. one fit over the whole frame", 3.0, {"zone_edges": ()}, None),
    ("c. other roll in the basis", 3.0, {"strategy": "adi"}, None),
    ("d. background not subtracted", 9.0, {"use_templates": False}, lambda s: left_over(s, 1.0)),
    ("e. 20 % of the background left", 9.0, {"use_templates": False}, lambda s: left_over(s, 0.2)),
    ("f. hot pixels not flagged", 3.0, {}, hot_pixels),
    ("g. references shifted by 2 px", 3.0, {}, shifted_references),
    ("h. source next to the reference star", 3.0, {}, companion_of_reference),
    ("i. star position wrong by 4 px", 3.0, {}, star_elsewhere),
)


def draw(ax: plt.Axes, image: Image, center: tuple[float, float], scale: float, radius: float, limit: float) -> None:
    """A north-up image with the star and the true position of the planet."""
    ny, nx = image.shape
    extent = np.array([-0.5 - center[0], nx - 0.5 - center[0], -0.5 - center[1], ny - 0.5 - center[1]]) * scale
    ax.imshow(image, origin="lower", extent=tuple(extent), cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.plot(0, 0, "+", color="0.25", ms=6)
    x, y = -PLANET[0] * np.sin(np.radians(PLANET[1])), PLANET[0] * np.cos(np.radians(PLANET[1]))
    ax.add_patch(plt.Circle((x, y), 0.35, fill=False, color="k", lw=1))
    ax.set(xlim=(-radius, radius), ylim=(-radius, radius), xticks=[], yticks=[])
    bar = 1.0 if radius < 5 else 3.0
    ax.plot([-0.92 * radius, -0.92 * radius + bar], [-0.9 * radius] * 2, color="k", lw=2)
    ax.text(-0.92 * radius, -0.86 * radius, f"{bar:g}″", fontsize=8, va="bottom")


def main() -> None:
    """Draw the gallery."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    logging.getLogger("stpipe").setLevel(logging.ERROR)
    run = find_finished(Path(sys.argv[1]) / "reduction")
    calints = sorted((run.out / "stage3").glob("*_crfints.fits"))
    base = ReductionParams(science_frames="integration")
    sequence = reduction_plan(calints, run.psfalign, base, choice=ChoiceParams()).sequence
    figure, axes = plt.subplots(3, 3, figsize=(9.6, 10.2), layout="constrained")
    for ax, (title, radius, changes, fault) in zip(axes.flat, CASES, strict=True):
        params = replace(base, **changes)
        reduced = plan_reduction(sequence if fault is None else fault(sequence), params).reduce()
        limit = 6.0 if radius < 5 else 10.0
        draw(ax, reduced.image, reduced.center, reduced.pixel_scale, radius, limit)
        ax.set_title(title, fontsize=11, loc="left")
        log.info("%s: done", title)
    save(figure, "debugging", dpi=100)


if __name__ == "__main__":
    main()
