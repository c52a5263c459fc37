"""Figures of the tutorial notebooks: several panels each, made of the single ones in `lyot.report.figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lyot.geometry import detector_offset
from lyot.report.figures import (
    MARK,
    View,
    color_limits,
    draw_dq,
    draw_image,
    draw_ramp,
    label_offsets,
    mark_source,
    symmetric_limits,
)

__all__ = [
    "AFTER",
    "BEFORE",
    "OTHER",
    "draw_position",
    "draw_profile",
    "draw_sky_grid",
    "flag_row",
    "image_grid",
    "image_row",
    "ramp_grid",
]

BEFORE, AFTER, OTHER = "#7a8288", "#0b6e99", "#d1495b"
"""Colors of what was, of what is, and of what is compared with."""


def image_row(
    images: Mapping[str, NDArray[np.floating]],
    *,
    unit: str = "",
    limits: tuple[float, float] | None = None,
    share_limits: bool = True,
    difference: str | None = None,
    view: View | None = None,
    width: float = 3.6,
    cmap: str = "inferno",
    asinh: float | None = None,
) -> Figure:
    """Images side by side, by default with common limits; the last may be a difference in a diverging map.

    Parameters
    ----------
    images : mapping of str to (ny, nx) array of float
        Title and image, any unit; NaN is shown gray.
    unit : str
        Of the color bars.
    limits : (low, high), optional
        Common color limits; those of the first image by default.
    share_limits : bool
        False gives each its own.
    difference : str, optional
        Title of a further panel: the second image minus the first.
    view : View, optional
        How they lie on the sky.
    width : float
        Of a panel, inch.
    cmap : str
        Color map.
    asinh : float, optional
        Linear width of an inverse hyperbolic sine stretch, in the unit of the images; linear when None.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.tutorials.figures import image_row
    >>> figure = image_row({"before": np.ones((4, 4)), "after": np.zeros((4, 4))}, unit="MJy/sr")
    >>> [ax.get_title() for ax in figure.axes][:2]
    ['before', 'after']
    """
    pairs = list(images.items())
    count = len(pairs) + (difference is not None)
    fig, axes = plt.subplots(1, count, figsize=(width * count, 0.95 * width), squeeze=False, layout="constrained")
    common = limits or (color_limits(pairs[0][1]) if share_limits else None)
    for ax, (title, image) in zip(axes[0], pairs, strict=False):
        draw_image(ax, image, view=view, label=unit, limits=common, cmap=cmap, asinh=asinh)
        ax.set_title(title, fontsize=9)
    if difference is not None:
        gap = np.asarray(pairs[1][1], dtype=float) - np.asarray(pairs[0][1], dtype=float)
        ax = axes[0][-1]
        draw_image(ax, gap, view=view, label=unit, limits=symmetric_limits(gap), cmap="RdBu_r")
        ax.set_title(difference, fontsize=9)
    return fig


def flag_row(maps: Mapping[str, NDArray[np.integer]], flags: Sequence[str], *, width: float = 4.0) -> Figure:
    """Flag maps side by side with one legend each; see `lyot.report.figures.draw_dq`.

    Parameters
    ----------
    maps : mapping of str to (ny, nx) integer array
        Title and data-quality bits.
    flags : sequence of str
        Names from `lyot.dq.FLAGS`, least important first.
    width : float
        Of a panel, inch.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.tutorials.figures import flag_row
    >>> figure = flag_row({"dq": np.array([[0, 1], [4, 0]], dtype=np.uint32)}, ["DO_NOT_USE", "JUMP_DET"])
    >>> len(figure.axes) > 0
    True
    """
    fig, axes = plt.subplots(1, len(maps), figsize=(width * len(maps), width), squeeze=False, layout="constrained")
    for ax, (title, flagged) in zip(axes[0], maps.items(), strict=True):
        draw_dq(ax, flagged, flags)
        ax.set_title(title, fontsize=9)
    return fig


def ramp_grid(
    ramps: Mapping[str, NDArray[np.floating]],
    pixels: Sequence[tuple[int, int]],
    group_time: float,
    *,
    integration: int = 0,
    groupdq: NDArray[np.integer] | None = None,
    columns: int = 3,
    labels: Sequence[str] = (),
) -> Figure:
    """Ramps of single pixels, one panel each, at one or more states of the reduction.

    Parameters
    ----------
    ramps : mapping of str to (nints, ngroups, ny, nx) array
        Name and ramps, DN.
    pixels : sequence of (x, y)
        0-based.
    group_time : float
        s.
    integration : int
        Which one.
    groupdq : (nints, ngroups, ny, nx) integer array, optional
        Flags, marked on the last of `ramps`.
    columns : int
        Panels in a row.
    labels : sequence of str
        Titles of the panels; the pixels by default.

    Returns
    -------
    Figure
    """
    rows = -(-len(pixels) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.6 * columns, 2.5 * rows), squeeze=False, layout="constrained")
    colors = (BEFORE, AFTER, OTHER) if len(ramps) > 1 else (AFTER,)
    for k, ((x, y), ax) in enumerate(zip(pixels, axes.flat, strict=False)):
        for (name, data), color in zip(ramps.items(), colors, strict=False):
            last = name == list(ramps)[-1]
            flags = groupdq[integration, :, y, x] if last and groupdq is not None else None
            draw_ramp(ax, data[integration, :, y, x], group_time, groupdq=flags, label=name, color=color)
        ax.set_title(labels[k] if labels else f"pixel ({x}, {y})", fontsize=9)
    for ax in axes.flat[len(pixels) :]:
        ax.set_visible(False)
    return fig


def draw_profile(ax: Axes, curves: Mapping[str, tuple[Any, Any]], *, xlabel: str, ylabel: str) -> None:
    """Lines with dots, e.g. flagged pixels against group, with a legend.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    curves : mapping of str to (x, y)
        One line each; arrays (n,) of any unit.
    xlabel, ylabel : str
        Quantity and unit.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lyot.tutorials.figures import draw_profile
    >>> ax = Figure().subplots()
    >>> draw_profile(ax, {"noise": ([1.0, 2.0], [0.5, 0.4])}, xlabel="separation [arcsec]", ylabel="MJy/sr")
    >>> ax.get_xlabel()
    'separation [arcsec]'
    """
    for (name, (x, y)), color in zip(curves.items(), (AFTER, OTHER, BEFORE, MARK, "#edae49"), strict=False):
        ax.plot(x, y, ".-", lw=1, ms=4, color=color, label=name)
    ax.set_xlabel(xlabel, fontsize=8)
    ax.set_ylabel(ylabel, fontsize=8)
    ax.tick_params(labelsize=7)
    ax.grid(alpha=0.3, lw=0.4)
    if len(curves) > 1:
        ax.legend(fontsize=7, frameon=False)


def image_grid(
    images: Sequence[NDArray[np.floating]],
    titles: Sequence[str],
    *,
    columns: int = 4,
    width: float = 2.7,
    view: View | None = None,
    unit: str = "",
    limits: tuple[float, float] | None = None,
    symmetric: bool = False,
    cmap: str = "inferno",
    circle: tuple[float, float] | None = None,
) -> Figure:
    """Many images in rows: exposures, modes, truncations.

    Parameters
    ----------
    images : sequence of (ny, nx) array of float
        What to show, any unit.
    titles : sequence of str
        One each.
    columns : int
        Panels in a row.
    width : float
        Of a panel, inch.
    view : View, optional
        How they lie on the sky.
    unit : str
        Of the color bars.
    limits : (low, high), optional
        Common to all; each its own by default.
    symmetric : bool
        Limits symmetric about zero, in a diverging map.
    cmap : str
        Color map.
    circle : (separation [arcsec], position angle [deg]), optional
        Circled in all; needs `view`.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.tutorials.figures import image_grid
    >>> figure = image_grid([np.ones((4, 4))] * 3, ["a", "b", "c"], columns=3)
    >>> [ax.get_title() for ax in figure.axes][:3]
    ['a', 'b', 'c']
    """
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    size = (width * columns, 0.9 * width * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        shown = limits or (symmetric_limits(image) if symmetric else None)
        draw_image(ax, image, view=view, label=unit, limits=shown, cmap="RdBu_r" if symmetric else cmap)
        if circle is not None and view is not None:
            mark_source(ax, *circle, pa_y=view.pa_y)
        ax.set_title(title, fontsize=8)
    fig.supxlabel(axes[0, 0].get_xlabel(), fontsize=8)  # once, not under every panel
    fig.supylabel(axes[0, 0].get_ylabel(), fontsize=8)
    for ax in axes.flat:
        ax.set_xlabel("")
        ax.set_ylabel("")
    for ax in axes.flat[len(images) :]:
        ax.set_visible(False)
    return fig


def draw_sky_grid(ax: Any, *, color: str = "#8fd0e8") -> None:
    """Draw a grid of right ascension and declination over an image.

    Parameters
    ----------
    ax : WCSAxes
        Made with ``projection=WCS(...)``.
    color : str
        Of the lines.
    """
    ax.coords.grid(color=color, alpha=0.6, ls=":", lw=0.7)
    for axis, name in zip(ax.coords, ("right ascension", "declination"), strict=False):
        axis.set_axislabel(name, fontsize=8)
        axis.set_ticklabel(size=7, exclude_overlapping=True)


def draw_position(
    ax: Axes,
    measured: Sequence[tuple[str, float, float, float, float]],
    truth: tuple[float, float] | None = None,
    *,
    pixel: float | None = None,
) -> None:
    """Measured positions with error bars and the true one, in mas east and north of the truth (or of the first).

    Parameters
    ----------
    ax : Axes
        Where to draw.
    measured : sequence of (name, separation, position angle, error of separation, error of position angle)
        arcsec and degrees.
    truth : (separation, position angle), optional
        arcsec and degrees.
    pixel : float, optional
        Size of a pixel, arcsec, drawn as a square for comparison.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lyot.tutorials.figures import draw_position
    >>> ax = Figure().subplots()
    >>> draw_position(ax, [("fit", -0.40, -0.70, 0.02, 0.02)], truth=(-0.41, -0.71))
    >>> ax.get_legend() is not None
    True
    """
    zero = truth or measured[0][1:3]
    x0, y0 = (float(v) for v in detector_offset(*zero, 0.0))
    if truth is not None:
        ax.plot(0, 0, "*", ms=14, color=OTHER, label="truth")
    for (name, sep, pa, e_sep, e_pa), color in zip(measured, (AFTER, MARK, BEFORE), strict=False):
        x, y = (float(v) for v in detector_offset(sep, pa, 0.0))
        along, across = np.radians(pa), sep * np.radians(e_pa)
        ends = [(-np.sin(along) * e_sep, np.cos(along) * e_sep), (np.cos(along) * across, np.sin(along) * across)]
        for dx, dy in ends:
            line = np.array([-1, 1])
            ax.plot(1e3 * (x - x0 + line * dx), 1e3 * (y - y0 + line * dy), color=color, lw=1.2)
        ax.plot(1e3 * (x - x0), 1e3 * (y - y0), "o", ms=5, color=color, label=name)
    if pixel is not None:
        h = 500 * pixel
        ax.plot([-h, h, h, -h, -h], [-h, -h, h, h, -h], color=BEFORE, lw=0.8, ls=":", label="one pixel")
    ax.set_aspect("equal")
    label_offsets(ax, unit="mas")
    ax.tick_params(labelsize=7)
    ax.grid(alpha=0.3, lw=0.4)
    ax.legend(fontsize=7, frameon=False)
