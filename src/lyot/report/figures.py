"""Figures, each drawn into an Axes that the caller gives; used by the report, the notebooks and anybody's own scripts.

Images are shown with the first row at the bottom. Offsets are in arcsec from the star. Every image function returns
what it drew, so that color limits and labels can be changed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, BoundaryNorm, ListedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lyot import dq as dq_flags
from lyot.geometry import detector_offset

__all__ = [
    "View",
    "color_limits",
    "draw_contrast",
    "draw_dq",
    "draw_image",
    "draw_ramp",
    "mark_source",
    "mark_star",
    "symmetric_limits",
]

INK = "#f4f1e8"
"""Color of marks on dark images."""

DARK_INK = "#1d2327"
"""Color of marks on the light middle of a diverging color map."""

MARK = "#0a8f3c"
"""Color that circles a source."""

PUBLISHED = ("#5b666d", "#7b4ea3", "#9a6a00", "#3d8361")
"""Colors of curves that were measured by others."""

DIVERGING = ("RdBu_r", "RdBu", "coolwarm", "seismic", "bwr", "PuOr", "BrBG")


@dataclass(frozen=True)
class View:
    """How an image lies on the sky.

    Attributes
    ----------
    center : (x, y)
        0-based pixel position of the star.
    pixel_scale : (x, y)
        arcsec per pixel.
    pa_y : float
        Position angle of +y, degrees east of north.
    radius : float or None
        Half width of what is shown, arcsec; None for all.

    Examples
    --------
    >>> View(center=(155.0, 155.0), pixel_scale=(0.11, 0.11), pa_y=0.0, radius=2.0).is_north_up
    True
    """

    center: tuple[float, float]
    pixel_scale: tuple[float, float]
    pa_y: float
    radius: float | None = None

    @property
    def is_north_up(self) -> bool:
        """Whether north is up and east to the left."""
        return self.pa_y == 0.0


def color_limits(image: NDArray[np.floating], low: float = 1.0, high: float = 99.7) -> tuple[float, float]:
    """Color limits from percentiles of the finite pixels.

    Parameters
    ----------
    image : (ny, nx) float ndarray
        Any unit.
    low, high : float
        Percentiles, %.

    Returns
    -------
    (float, float)
        (0, 1) if no pixel is finite; half a unit to both sides if all are equal.

    Examples
    --------
    >>> import numpy as np
    >>> color_limits(np.array([[0.0, 1.0], [2.0, np.nan]]), 0, 100)
    (0.0, 2.0)
    """
    values = np.asarray(image)[np.isfinite(image)]
    if values.size == 0:
        return 0.0, 1.0
    a, b = np.percentile(values, [low, high])
    return (float(a), float(b)) if b > a else (float(a) - 0.5, float(a) + 0.5)


def symmetric_limits(image: NDArray[np.floating], percentile: float = 99.5) -> tuple[float, float]:
    """Color limits symmetric about zero.

    Parameters
    ----------
    image : (ny, nx) float ndarray
        Any unit.
    percentile : float
        Fraction of the finite pixels that is within the limits, %.

    Returns
    -------
    (float, float)

    Examples
    --------
    >>> import numpy as np
    >>> symmetric_limits(np.array([[-3.0, 1.0], [2.0, np.nan]]), 100)
    (-3.0, 3.0)
    """
    values = np.abs(np.asarray(image)[np.isfinite(image)])
    top = float(np.percentile(values, percentile)) if values.size else 1.0
    return (-top, top) if top > 0 else (-1.0, 1.0)


def within(image: NDArray[np.floating], view: View, radius: float) -> NDArray[np.float64]:
    """Finite pixels within a radius [arcsec] of the star: (n,) float64."""
    y, x = np.indices(image.shape)
    r = np.hypot((x - view.center[0]) * view.pixel_scale[0], (y - view.center[1]) * view.pixel_scale[1])
    return np.asarray(image[(r <= radius) & np.isfinite(image)], dtype=float)


def draw_image(
    ax: Axes,
    image: NDArray[np.floating],
    *,
    view: View | None = None,
    label: str = "",
    limits: tuple[float, float] | None = None,
    cmap: str = "inferno",
    asinh: float | None = None,
    colorbar: bool = True,
) -> AxesImage:
    """Draw an image in pixels, or in arcsec from the star when a `View` is given.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    image : (ny, nx) array of float
        Any unit; NaN is shown gray.
    view : View, optional
        Star position, scale and orientation; then axes are in arcsec, with scale bar and compass. Data coordinates grow
        with the pixels; with north up, ticks show offsets to the east, which are their negatives.
    label : str
        Of the color bar: quantity and unit.
    limits : (low, high), optional
        Color limits; percentiles by default.
    cmap : str
        Color map.
    asinh : float, optional
        Linear width of an inverse hyperbolic sine stretch, in the unit of the image; linear when None.
    colorbar : bool
        Whether to add one.

    Returns
    -------
    AxesImage

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> ax = Figure().subplots()
    >>> view = View(center=(40.0, 40.0), pixel_scale=(0.11, 0.11), pa_y=0.0, radius=2.0)
    >>> image = draw_image(ax, np.zeros((81, 81)), view=view, label="MJy/sr", limits=(-1, 1), cmap="RdBu_r")
    >>> mark_star(ax)
    >>> mark_source(ax, 0.82, 149.4, label="b")
    >>> ax.get_xlabel()
    'offset east [arcsec]'
    """
    data = np.asarray(image, dtype=float)
    low, high = limits or color_limits(data)
    norm: Normalize = Normalize(low, high) if asinh is None else AsinhNorm(asinh, vmin=low, vmax=high)
    drawn = ax.imshow(
        data, origin="lower", norm=norm, cmap=cmap, interpolation="nearest", extent=_extent(data.shape, view)
    )
    ax.set_facecolor("#6b6b6b")
    if colorbar and ax.figure is not None:
        bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)))  # as high as the image
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        if isinstance(norm, AsinhNorm):
            values = asinh_ticks(norm)
            bar.set_ticks(values, labels=[f"{v:g}".replace("-", "\N{MINUS SIGN}") for v in values])
            bar.minorticks_off()
    ax.tick_params(labelsize=7)
    if view is None:
        ax.set_xlabel("x [pixel]", fontsize=8)
        ax.set_ylabel("y [pixel]", fontsize=8)
        return drawn
    label_offsets(ax, view)
    if view.radius is not None:
        ax.set_xlim(-view.radius, view.radius)
        ax.set_ylim(-view.radius, view.radius)
    ink = DARK_INK if cmap in DIVERGING else INK
    draw_compass(ax, view.pa_y, color=ink)
    draw_scale_bar(ax, color=ink)
    return drawn


def label_offsets(ax: Axes, view: View | None = None, unit: str = "arcsec") -> None:
    """Label axes that are offsets: on the sky for an image with north up (and without a view), else on the detector."""
    if view is not None and not view.is_north_up:
        ax.set_xlabel(f"offset along detector x [{unit}]", fontsize=8)
        ax.set_ylabel(f"offset along detector y [{unit}]", fontsize=8)
        return
    ax.set_xlabel(f"offset east [{unit}]", fontsize=8)
    ax.set_ylabel(f"offset north [{unit}]", fontsize=8)
    # +x of the image is west, and offsets in right ascension grow to the east
    ax.xaxis.set_major_formatter(lambda value, _: f"{-value + 0.0:g}".replace("-", "\N{MINUS SIGN}"))


def asinh_ticks(norm: AsinhNorm, apart: float = 0.07) -> list[float]:
    """Zero, powers of ten and three times these, of both signs, at least `apart` (part of the bar) from each other.

    Large values go before small ones, so that what is left out lies in the linear part about zero.

    Parameters
    ----------
    norm : AsinhNorm
        With limits set.
    apart : float
        Least distance of two ticks as a part of the length of the color bar.
    """
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    top = max(abs(low), abs(high))
    if not (low < high and np.isfinite(top)):
        return []
    last = int(np.floor(np.log10(top)))
    first = min(int(np.floor(np.log10(norm.linear_width))), last - 1)
    powers = [10.0**n for n in range(last, first - 1, -1)]
    ticks: list[float] = []

    def add(values: Iterable[float]) -> None:
        for value in values:
            if low <= value <= high and all(abs(norm(value) - norm(t)) >= apart for t in ticks):
                ticks.append(value)

    add((0.0, *(sign * m * p for m in (1.0, 3.0) for p in powers for sign in (1.0, -1.0))))
    if len(ticks) < 3:  # limits close to each other and far from zero
        add(float(v) for v in MaxNLocator(6).tick_values(low, high))
    return sorted(ticks)


def _extent(shape: tuple[int, ...], view: View | None) -> tuple[float, float, float, float]:
    ny, nx = shape
    if view is None:
        return (-0.5, nx - 0.5, -0.5, ny - 0.5)
    (x0, y0), (sx, sy) = view.center, view.pixel_scale
    return ((-0.5 - x0) * sx, (nx - 0.5 - x0) * sx, (-0.5 - y0) * sy, (ny - 0.5 - y0) * sy)


def draw_compass(ax: Axes, pa_y: float, *, color: str = INK) -> None:
    """Draw north and east arrows in the lower left corner of an Axes whose axes are in arcsec."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    width = min(abs(x1 - x0), abs(y1 - y0))
    size, margin = 0.1 * width, 0.06 * width
    arrows = {name: [float(v) for v in detector_offset(size, pa, pa_y)] for name, pa in (("N", 0.0), ("E", 90.0))}
    # as far from the corner as the letters need that stand at the ends of the arrows
    origin = [low + margin - min(0.0, *(1.5 * arrow[axis] for arrow in arrows.values()))
              for axis, low in enumerate((min(x0, x1), min(y0, y1)))]  # fmt: skip
    for name, (dx, dy) in arrows.items():
        ax.annotate(
            "",
            xy=(origin[0] + dx, origin[1] + dy),
            xytext=(origin[0], origin[1]),
            arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.1, "mutation_scale": 8},
        )
        ax.text(origin[0] + 1.5 * dx, origin[1] + 1.5 * dy, name, color=color, fontsize=8, ha="center", va="center")


def draw_scale_bar(ax: Axes, length: float | None = None, *, color: str = INK) -> None:
    """Draw a bar of `length` arcsec (a round number by default) in the lower right corner."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    width = abs(x1 - x0)
    if length is None:
        length = max((v for v in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if v <= 0.3 * width), default=0.1)
    right, y = x1 - 0.06 * (x1 - x0), y0 + 0.07 * (y1 - y0)
    left = right - length * np.sign(x1 - x0)
    ax.plot([left, right], [y, y], color=color, lw=2, solid_capstyle="butt")
    ax.text((left + right) / 2, y + 0.02 * (y1 - y0), f'{length:g}"', color=color, fontsize=8, ha="center", va="bottom")


def mark_star(ax: Axes, *, color: str = INK) -> None:
    """Mark the star at the origin of an Axes in arcsec.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    color : str
        Of the outline.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lyot.report.figures import mark_star
    >>> ax = Figure().subplots()
    >>> mark_star(ax)
    >>> len(ax.lines)
    1
    """
    ax.plot(0, 0, marker="*", ms=7, mfc="none", mec=color, mew=1.0)


def mark_label(name: str, *, unsure: bool) -> str:
    """What is written next to the circle of a source: its name, that of a candidate with a question mark."""
    return f"{name}?" if unsure else name


def mark_source(
    ax: Axes,
    separation: float,
    position_angle: float,
    *,
    pa_y: float = 0.0,
    label: str = "",
    radius: float = 0.35,
    unsure: bool = False,
) -> None:
    """Circle a source.

    Parameters
    ----------
    ax : Axes
        Whose axes are in arcsec from the star.
    separation, position_angle : float
        arcsec, and degrees east of north.
    pa_y : float
        Position angle of the image's +y, degrees.
    label : str
        Written next to the circle.
    radius : float
        Of the circle, arcsec.
    unsure : bool
        A candidate, which may be noise: the circle is dashed, and a question mark follows the label.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from lyot.report.figures import mark_source
    >>> ax = Figure().subplots()
    >>> mark_source(ax, separation=0.82, position_angle=149.0, label="b")
    >>> ax.texts[0].get_text()
    'b'
    """
    dx, dy = (float(v) for v in detector_offset(separation, position_angle, pa_y))
    t = np.linspace(0, 2 * np.pi, 60)
    ax.plot(dx + radius * np.cos(t), dy + radius * np.sin(t), color=MARK, lw=1.4, ls="--" if unsure else "-")
    if label:
        label = mark_label(label, unsure=unsure)
        side = -1 if dx < 0 else 1  # away from the star
        at, ha = (dx + side * 1.2 * radius, dy), "right" if dx < 0 else "left"
        ax.annotate(label, at, color=MARK, fontsize=9, fontweight="bold", ha=ha, va="center")


def draw_dq(ax: Axes, dq: NDArray[np.integer], flags: Sequence[str]) -> AxesImage:
    """Draw which of the named flags each pixel holds, with a legend; a pixel with several shows the last named.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    dq : (ny, nx) integer array
        Data-quality bits.
    flags : sequence of str
        Names from `lyot.dq.FLAGS`, least important first.

    Returns
    -------
    AxesImage

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from lyot.report.figures import draw_dq
    >>> ax = Figure().subplots()
    >>> image = draw_dq(ax, np.array([[0, 1], [4, 0]], dtype=np.uint32), ["DO_NOT_USE", "JUMP_DET"])
    >>> image.get_array().shape
    (2, 2)
    """
    shown = np.zeros(np.shape(dq), int)
    for k, name in enumerate(flags, start=1):
        shown[(np.asarray(dq) & dq_flags.FLAGS[name]) > 0] = k
    palette = ["#f3f3f0", "#0b6e99", "#d1495b", "#edae49", "#3d8361", "#7b4ea3", "#444444", "#b5838d"]
    colors = [palette[k % len(palette)] for k in range(len(flags) + 1)]
    cmap = ListedColormap(colors)
    drawn = ax.imshow(
        shown,
        origin="lower",
        cmap=cmap,
        norm=BoundaryNorm(np.arange(-0.5, len(flags) + 1), cmap.N),
        interpolation="nearest",
    )
    handles = [
        ax.plot([], [], "s", color=colors[k], ms=6, label=f"{n} ({int((shown == k).sum())})")[0]
        for k, n in enumerate(flags, 1)
    ]
    ax.legend(handles=handles, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, frameon=False)
    ax.set_xlabel("x [pixel]", fontsize=8)
    ax.set_ylabel("y [pixel]", fontsize=8)
    ax.tick_params(labelsize=7)
    return drawn


def draw_ramp(
    ax: Axes,
    ramp: NDArray[np.floating],
    group_time: float,
    *,
    groupdq: NDArray[np.integer] | None = None,
    label: str = "",
    color: str = "#0b6e99",
) -> None:
    """Draw one pixel's ramp, with jumps, saturation and unused groups marked.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    ramp : (ngroups,) array of float
        DN.
    group_time : float
        s.
    groupdq : (ngroups,) integer array, optional
        Group flags.
    label, color : str
        Of the line.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> ax = Figure().subplots()
    >>> draw_ramp(ax, np.array([0.0, 10.0, 60.0, 70.0]), 0.24, groupdq=np.array([0, 0, 4, 0]))  # a jump in group 2
    >>> len(ax.lines)
    2
    """
    t = (np.arange(len(ramp)) + 1) * group_time
    ax.plot(t, ramp, ".-", ms=3, lw=0.8, color=color, label=label or None)
    if groupdq is not None:
        marks = {"JUMP_DET": ("v", "#d1495b"), "SATURATED": ("s", "#edae49"), "DO_NOT_USE": ("x", "#777777")}
        for name, (marker, edge) in marks.items():
            hit = (np.asarray(groupdq) & dq_flags.FLAGS[name]) > 0
            if hit.any():
                ax.plot(t[hit], np.asarray(ramp)[hit], marker, ms=5, mfc="none", mec=edge, ls="none", label=name)
    ax.set_xlabel("time since reset [s]", fontsize=8)
    ax.set_ylabel("signal [DN]", fontsize=8)
    ax.tick_params(labelsize=7)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7, frameon=False)


def draw_contrast(
    ax: Axes,
    curves: Mapping[str, tuple[Any, Any]],
    *,
    companions: Sequence[tuple[float, float, str]] = (),
    published: Mapping[str, tuple[Any, Any]] | None = None,
    lambda_over_d: float | None = None,
    distance: float | None = None,
) -> None:
    """Draw 5-sigma contrast against separation.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    curves : mapping of str to (separation [arcsec], contrast)
        One line each.
    companions : sequence of (separation, contrast, name)
        Drawn as stars.
    published : mapping of str to (separation [arcsec], contrast), optional
        Curves to compare with.
    lambda_over_d : float, optional
        arcsec; adds an axis in this unit.
    distance : float, optional
        pc; adds an axis in au.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = Figure().subplots()
    >>> draw_contrast(ax, {"5 sigma": ([0.5, 1.0, 2.0], [1e-2, 3e-3, 1e-3])}, companions=[(0.82, 8e-3, "b")])
    >>> ax.get_yscale()
    'log'
    """
    for (name, (separation, contrast)), style in zip(curves.items(), ("-", "--", ":", "-.") * 3, strict=False):
        ax.plot(separation, contrast, style, label=name, lw=1.5)
    for number, (name, (separation, contrast)) in enumerate((published or {}).items()):
        color = PUBLISHED[number % len(PUBLISHED)]
        ax.plot(separation, contrast, ls=(0, (1, 1.2)), marker=".", ms=3, lw=1.2, color=color, label=name)
    for separation, contrast, name in companions:
        ax.plot(separation, contrast, "*", ms=11, color="#d1495b")
        ax.annotate(name, (separation, contrast), xytext=(7, 4), textcoords="offset points", fontsize=8)
    ax.set_yscale("log")
    ax.set_xlabel("separation [arcsec]", fontsize=9)
    ax.set_ylabel("contrast", fontsize=9)
    ax.grid(alpha=0.3, which="both", lw=0.4)
    ax.legend(fontsize=8, frameon=False)
    scales = [("separation [\N{GREEK SMALL LETTER LAMDA}/D]", None if lambda_over_d is None else 1 / lambda_over_d),
              ("projected separation [au]", distance)]  # fmt: skip
    known = [(label, factor) for label, factor in scales if factor]
    for (label, factor), place in zip(known, (1.0, 1.15), strict=False):
        axis = ax.secondary_xaxis(place, functions=(_times(factor), _times(1 / factor)))
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=7)


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda values: values * factor
