"""Draw the figure of docs/subtraction.md: the star in one roll, its model, the residual, and the combined image.

Usage: ``python docs/figures_subtraction.py DEMO``, where DEMO is the folder of ``lyot demo`` (``make demo``: ``demo``).
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
from figures_start import mean, save
from figures_style import east_to_the_left, frame, use_style
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm

from lyot.analysis import find_finished
from lyot.reduction import ChoiceParams
from lyot.steps.stage3_plan import reduction_plan
from lyot.subtract import ReductionParams
from lyot.subtract.zones import zone_edges

RADIUS = 6.0
"""Half width of the pictures of the detector, arcsec."""
PLANET = (0.8176, 149.36)
"""Separation [arcsec] and position angle [deg] of the simulated planet."""


def rings(ax: Axes, radii: tuple[float, ...], color: str) -> None:
    """The edges of the annuli."""
    for radius in radii:
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, color=color, lw=1.0, ls="--"))


def main() -> None:
    """Draw the figure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    logging.getLogger("stpipe").setLevel(logging.ERROR)
    use_style()
    run = find_finished(Path(sys.argv[1]) / "reduction")
    exposures = sorted((run.out / "stage3").glob("*_crfints.fits"))
    params = ReductionParams()
    planned = reduction_plan(exposures, run.psfalign, params, choice=ChoiceParams())
    sequence, result = planned.sequence, planned.reduce()
    one = sequence.exposure == 0
    star = mean(sequence.science[one])
    residual = mean(result.residuals[result.index()][result.exposure == 0])
    edges = tuple(r for r in zone_edges(sequence, params) if 0 < r < RADIUS)
    x, y = sequence.star[0]
    sx, sy = sequence.pixel_scale
    ny, nx = star.shape
    extent = ((-0.5 - x) * sx, (nx - 0.5 - x) * sx, (-0.5 - y) * sy, (ny - 0.5 - y) * sy)
    bright = {"norm": AsinhNorm(2.0, -3.0, 40.0), "cmap": "viridis"}
    faint = {"vmin": -6.0, "vmax": 6.0, "cmap": "RdBu_r"}
    figure, axes = plt.subplots(2, 2, figsize=(8.8, 7.6), layout="constrained")
    pictures = (
        ("a. Star, roll 1", star, bright, "w"),
        (f"b. Model, {result.recommended} modes", star - residual, bright, "w"),
        ("c. Residual, a − b", residual, faint, "k"),
    )
    drawn = []
    for ax, (title, image, style, color) in zip(axes.flat, pictures, strict=False):
        drawn.append(ax.imshow(image, origin="lower", extent=extent, **style))
        rings(ax, edges, color)
        frame(ax)
        ax.set(title=title, xlabel="along detector x [arcsec]", xlim=(-RADIUS, RADIUS), ylim=(-RADIUS, RADIUS))
        ax.set(xticks=(-5, 0, 5), yticks=(-5, 0, 5))
    for ax in axes[:, 0]:
        ax.set_ylabel("along detector y [arcsec]")
    ax, image, scale = axes[1, 1], result.image, result.pixel_scale
    ny, nx = image.shape
    x, y = result.center
    extent = tuple(np.array([-0.5 - x, nx - 0.5 - x, -0.5 - y, ny - 0.5 - y]) * scale)
    drawn.append(ax.imshow(image, origin="lower", extent=extent, **faint))
    ax.plot(0, 0, "+", color="0.25", ms=6)
    angle = np.radians(PLANET[1])
    place = (-PLANET[0] * np.sin(angle), PLANET[0] * np.cos(angle))
    ax.add_patch(plt.Circle(place, 0.35, fill=False, color="k", lw=1))
    ax.annotate("planet", place, xytext=(-2.2, -1.9), arrowprops={"arrowstyle": "-", "lw": 0.7, "shrinkB": 11})
    frame(ax)
    ax.set(title="d. Both rolls, north up", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    east_to_the_left(ax)
    figure.colorbar(
        drawn[0], ax=axes[0], label="MJy/sr", shrink=0.85, ticks=(-2, 0, 2, 5, 10, 20, 40), format="%g", extend="both"
    )
    figure.colorbar(drawn[2], ax=axes[1], label="MJy/sr", shrink=0.85, extend="both")
    save(figure, "subtraction_star", dpi=100)


if __name__ == "__main__":
    main()
