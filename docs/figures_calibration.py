"""Draw the figure of docs/offline_calibration.md: where the reference files are looked for, in which order.

Usage: ``python docs/figures_calibration.py``. The order is that of `lyot.reference_files.environment.resolve_crds`.
"""

from __future__ import annotations

import logging

from figures_start import save
from figures_style import BLUE, GREEN, GREY, RED, use_style
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

QUESTIONS = (
    ("--crds CACHE given?", "that cache; with --context,\nthat context"),
    ("CRDS_PATH set?", "that cache, with CRDS_CONTEXT\nand CRDS_SERVER_URL as set"),
    ("folder crds_cache next to the\ninput or one folder up?", "that cache; a simulated one\nwithout any server"),
    ("CRDS_SERVER_URL set?", "that server; files are kept\nin ~/crds_cache"),
)
"""Each question, and what is used if the answer is yes."""
WIDTH, HEIGHT = 3.3, 0.86
RIGHT = 4.6


def box(ax: Axes, x: float, y: float, text: str, color: str, *, face: str = "white") -> None:
    """A text in a frame, centered."""
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    style = {"boxstyle": "round,pad=0,rounding_size=0.12", "edgecolor": color, "facecolor": face, "lw": 1.3}
    ax.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, **style))
    ax.text(x, y, text, ha="center", va="center", fontsize=10)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    """An arrow with the answer beside it."""
    ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 1.2})
    vertical = start[0] == end[0]
    x, y = 0.5 * (start[0] + end[0]), 0.5 * (start[1] + end[1])
    ax.text(x + (0.1 if vertical else 0), y + (0 if vertical else 0.06), text, fontsize=9, color=GREY,
            ha="left" if vertical else "center", va="center" if vertical else "bottom")  # fmt: skip


def main() -> None:
    """Draw the figure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    use_style()
    figure, ax = plt.subplots(figsize=(8.4, 5.4), layout="constrained")
    ax.set(xlim=(-1.8, RIGHT + 1.8), ylim=(-0.55, 6.6))
    ax.axis("off")
    rows = [6.0, 4.5, 3.0, 1.5]
    for (question, answer), y in zip(QUESTIONS, rows, strict=True):
        box(ax, 0, y, question, BLUE)
        box(ax, RIGHT, y, answer, GREEN, face="#eef5fa")
        arrow(ax, (WIDTH / 2, y), (RIGHT - WIDTH / 2, y), "yes")
        arrow(ax, (0, y - HEIGHT / 2), (0, y - 1.5 + HEIGHT / 2), "no")
    box(ax, 0, 0.0, "error in one sentence,\nbefore anything is processed", RED)
    ax.text(RIGHT, 0.0, "A cache without a server is checked before\nthe run starts: all files must be there.",
            ha="center", va="center", fontsize=9.5, color=GREY)  # fmt: skip
    save(figure, "calibration_lookup", dpi=90)


if __name__ == "__main__":
    main()
