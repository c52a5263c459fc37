"""Colors and text sizes that the figures of the explanation share. Imported by ``docs/figures_*.py``."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#767676"
"""Colors that are told apart with any kind of color vision (Okabe & Ito)."""


def use_style() -> None:
    """Set text sizes and thin frames."""
    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "lines.linewidth": 1.4,
        }
    )


def frame(ax: Axes) -> None:
    """Give a picture all four sides of its frame."""
    ax.spines[["top", "right"]].set_visible(True)


def east_to_the_left(ax: Axes) -> None:
    """Label the axes of a north-up image whose x grows to the west, as the report does: offsets grow to the east."""
    ax.set_xlabel("offset east [arcsec]")
    ax.set_ylabel("offset north [arcsec]")
    ax.xaxis.set_major_formatter(lambda value, _: f"{-value + 0.0:g}".replace("-", "\N{MINUS SIGN}"))
