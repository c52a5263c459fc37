"""The interactive image of the report: Bokeh draws, controls in plain HTML choose what; all of it inside the page.

The images are kept as half-precision floats in units of their noise, which is three digits and half of the size.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from lyot.exposures.names import CONTRAST_MAP, INJECTED, SNR_MAP, exposure_root, product_beside, roll_images
from lyot.records.freshness import is_current
from lyot.report import figures
from lyot.report.marks import marked_sources, on_which_roll
from lyot.report.products import (
    Product,
    before_subtraction,
    combined_image,
    products,
    read_cube,
    read_product,
    read_snr,
    truncations_of,
)
from lyot.report.sky import Line, Marked, mask_boundaries, mean_image, north_up, regions_text
from lyot.written import flux_text, plural

COLOR_MAPS = {
    "RdBu": "RdBu_r", "PuOr": "PuOr", "cividis": "cividis", "viridis": "viridis", "inferno": "inferno", "gray": "gray",
}  # fmt: skip
"""Color maps on offer, all of them fit for color-blind eyes, and their names in matplotlib."""

BUDGET = 8_000_000
"""Bytes of images in the page; of the truncations, as many are shown as go in."""

SCRIPT = "viewer.js"

INJECTED_GROUP = "Injected planet"


@dataclass(frozen=True)
class Plane:
    """One image that the viewer can show.

    Attributes
    ----------
    group, title : str
        Where it is in the list.
    image : (ny, nx) float64 ndarray
        On the grid of the combined image, NaN where there are no data.
    unit : str
    limits : (low, high)
        Of the colors, to begin with.
    """

    group: str
    title: str
    image: NDArray[np.float64]
    unit: str
    limits: tuple[float, float]


@dataclass(frozen=True)
class Viewer:
    """The viewer as parts of the page.

    Attributes
    ----------
    resources : str
        Scripts of Bokeh.
    body : str
        Plot and data.
    planes : tuple of Plane
    regions : str
        Address (``data:``) of the region file.
    regions_name : str
        Its name.
    rolls : tuple of str
        Names of the rolls whose mask boundaries are drawn.
    counts : dict of str to int
        How many sources of each kind are marked.
    unsure : int
        How many of them are candidates, drawn dashed.
    injected : str
        What was injected in the image with a planet; empty if there is none.
    color_maps : tuple of str
    """

    resources: str
    body: str
    planes: tuple[Plane, ...]
    regions: str
    regions_name: str
    rolls: tuple[str, ...]
    counts: dict[str, int]
    unsure: int = 0
    injected: str = ""
    color_maps: tuple[str, ...] = tuple(COLOR_MAPS)

    @property
    def groups(self) -> dict[str, list[tuple[int, str]]]:
        """Number and title of the images by group."""
        found: dict[str, list[tuple[int, str]]] = {}
        for number, plane in enumerate(self.planes):
            found.setdefault(plane.group, []).append((number, plane.title))
        return found


def make_viewer(out: Path, sources: QTable | None, radius: float) -> Viewer | None:
    """The viewer of a run; None if there is no combined image.

    Parameters
    ----------
    out : Path
    sources : QTable or None
        Detections.
    radius : float
        Half width that is shown first, arcsec.
    """
    path = combined_image(out)
    if path is None:
        return None
    main = read_product(path)
    planes = tuple(_planes(out, path, main, radius))
    marked = marked_sources(out, sources)
    science = list(products(out, "stage3", "psfsub"))
    boundaries = {on_which_roll(science, k): lines for k, item in enumerate(science)
                  if (lines := mask_boundaries(item.header))}  # fmt: skip
    star = (float(main.header.get("CRVAL1", 0.0)), float(main.header.get("CRVAL2", 0.0)))
    regions = regions_text(star, marked, max(0.15, 1.5 * main.view.pixel_scale[0]))
    script, plot = _plot(main, marked, boundaries, radius)
    data = json.dumps(_data(main, planes, star, radius)).replace("</", "<\\/")
    own = (Path(__file__).parent / SCRIPT).read_text(encoding="utf-8")
    return Viewer(
        resources=_resources(),
        body=f'{plot}\n<script type="application/json" id="viewer-data">{data}</script>\n{script}\n'
        f"<script>{own}</script>",
        planes=planes,
        regions="data:text/plain;charset=utf-8," + urllib.parse.quote(regions),
        regions_name=f"{exposure_root(path)}.reg",
        rolls=tuple(boundaries),
        counts={kind: sum(m.kind == kind for m in marked) for kind in ("detection", "companion", "rejected")},
        unsure=sum(m.unsure for m in marked),
        injected=_injected_text(out) if any(p.group == INJECTED_GROUP for p in planes) else "",
    )


def _planes(out: Path, path: Path, main: Product, radius: float) -> list[Plane]:
    """The images, those that are there, the combined one first."""
    shape = main.image.shape

    def plane(group: str, title: str, image: NDArray[np.float64], unit: str, **more: Any) -> Plane:
        inside = figures.within(image, main.view, radius)
        return Plane(group, title, image, unit, more.get("limits") or figures.symmetric_limits(inside, 99.7))

    modes = main.header.get("KLMODES")
    title = "combined" if modes is None else f"combined, {plural(modes, 'KL mode')}"
    found = [plane("Star subtracted", title, main.image, main.unit)]
    refined = product_beside(path, "refined")
    if refined.is_file():
        found.append(plane("Star subtracted", "second pass", read_product(refined).image, main.unit))
    for number, roll in enumerate(roll_images(path), start=1):
        found.append(plane("Single rolls", f"roll {number}", read_product(roll).image, main.unit))
    before = [b for item in products(out, "stage3", "psfsub") if (b := before_subtraction(out, item)) is not None]
    if before:
        image = mean_image([north_up(item, main.view, shape) for item in before])
        limits = figures.color_limits(figures.within(image, main.view, radius), 1.0, 99.7)
        title = "calibrated, rolls averaged" if len(before) > 1 else "calibrated"
        found.append(plane("Before the subtraction", title, image, main.unit, limits=limits))
    if (out / "measure" / SNR_MAP).is_file():
        snr = read_snr(out / "measure" / SNR_MAP)
        found.append(plane("Signal to noise", "S/N map", snr.image, "S/N", limits=(-6.0, 6.0)))
    planet = _injected(out)
    if planet is not None:
        found.append(plane(INJECTED_GROUP, "planet at the limit", planet[0], main.unit))
    cube_path = product_beside(path, "klcube")
    if cube_path.is_file():
        cube, _ = read_cube(cube_path)
        room = int(BUDGET / (2.7 * main.image.size)) - len(found)
        chosen = sorted({int(k) for k in np.linspace(0, len(cube) - 1, max(2, min(len(cube), room))).round()})
        numbers = truncations_of(cube_path, len(cube))
        found += [plane("KL modes", plural(numbers[k], "KL mode"), cube[k], main.unit)
                  for k in chosen]  # fmt: skip
    return [p for p in found if p.image.shape == shape and np.isfinite(p.image).any()]


def _injected(out: Path) -> tuple[NDArray[np.float64], fits.Header] | None:
    """The image with a planet at the limit and its keywords; None if the limits have none, or are not current."""
    path = out / "measure" / CONTRAST_MAP
    if not path.is_file() or not is_current(path, out):
        return None
    with fits.open(path) as hdus:
        if INJECTED not in hdus:
            return None
        return np.asarray(hdus[INJECTED].data, dtype=float), hdus[INJECTED].header.copy()


def _injected_text(out: Path) -> str:
    """What was injected, in a sentence."""
    found = _injected(out)
    if found is None:
        return ""
    flux, sigma, separation, angle = (float(found[1][key]) for key in ("INJFLUX", "INJSIGMA", "INJSEP", "INJPA"))
    return (
        f"The image with an injected planet has a source of {flux_text(flux)}, the {sigma:g}-sigma limit, at "
        f"separation {separation:.2f}\u2033, PA {angle:.0f}\u00b0, added to the calibrated exposures before the "
        "subtraction."
    )


def _packed(plane: Plane) -> dict[str, Any]:
    """An image for the page: half precision, in units of its noise, row by row from below."""
    values = plane.image[np.isfinite(plane.image)]
    noise = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    factor = noise if noise > 0 else max(float(np.abs(values).max()), 1.0)
    factor = max(factor, float(np.abs(values).max()) / 6e4)  # the largest half-precision number is 65504
    data = base64.b64encode((plane.image / factor).astype("<f2").tobytes()).decode("ascii")
    low, high = plane.limits
    return {"title": f"{plane.group}: {plane.title}", "unit": plane.unit, "factor": factor, "noise": noise or factor,
            "low": low, "high": high, "data": data}  # fmt: skip


def _data(main: Product, planes: Sequence[Plane], star: tuple[float, float], radius: float) -> dict[str, Any]:
    ny, nx = main.image.shape
    names = {name: [to_hex(color) for color in colormaps[mpl](np.linspace(0, 1, 256))]
             for name, mpl in COLOR_MAPS.items()}  # fmt: skip
    return {
        "nx": nx, "ny": ny, "center": main.view.center, "scale": main.view.pixel_scale, "star": star,
        "radius": radius, "palettes": names, "planes": [_packed(p) for p in planes],
    }  # fmt: skip


def _resources() -> str:
    from bokeh.resources import Resources

    return str(Resources(mode="inline", components=["bokeh"]).render_js())


def _plot(main: Product, marked: Sequence[Marked], rolls: dict[str, list[Line]], radius: float) -> tuple[str, str]:
    """Script and element of the plot. Its x is the offset to the west, as that of the image is."""
    from bokeh.embed import components
    from bokeh.models import (
        BasicTicker,
        BoxZoomTool,
        ColorBar,
        CustomJS,
        CustomJSTickFormatter,
        FixedTicker,
        LinearColorMapper,
        Range1d,
    )
    from bokeh.plotting import figure

    plot = figure(
        name="viewer-plot", frame_width=560, frame_height=560, x_range=Range1d(-radius, radius),
        y_range=Range1d(-radius, radius), tools="pan,wheel_zoom,reset,save", toolbar_location="above",
        x_axis_label="offset east [arcsec]", y_axis_label="offset north [arcsec]",
        background_fill_color="#6b6b6b", output_backend="canvas",
    )  # fmt: skip
    plot.add_tools(BoxZoomTool(match_aspect=True))
    plot.grid.visible = False
    plot.xaxis.ticker = BasicTicker(desired_num_ticks=7)
    plot.xaxis.formatter = CustomJSTickFormatter(
        code="return String(Number((0 - tick).toPrecision(6))).replace('-', '\u2212')"
    )
    mapper = LinearColorMapper(palette=["#000000", "#ffffff"], low=0.0, high=1.0, nan_color="rgba(0,0,0,0)")
    (x0, y0), (sx, sy) = main.view.center, main.view.pixel_scale
    ny, nx = main.image.shape
    blank = np.full((1, 1), np.nan, np.float32)
    plot.image(image=[blank], x=(-0.5 - x0) * sx, y=(-0.5 - y0) * sy, dw=nx * sx, dh=ny * sy, color_mapper=mapper,
               name="viewer-image")  # fmt: skip
    bar = ColorBar(
        name="viewer-bar", color_mapper=mapper, ticker=FixedTicker(ticks=[0.0, 1.0]), width=14, title="",
        formatter=CustomJSTickFormatter(code="return window.lyotViewer ? window.lyotViewer.label(tick) : ''"),
    )  # fmt: skip
    plot.add_layout(bar, "right")
    for part in (*plot.axis, bar):  # Bokeh's own is Helvetica, for which Firefox on Linux takes one with serifs
        part.major_label_text_font = "sans-serif"
    plot.axis.axis_label_text_font = "sans-serif"
    for number, lines in enumerate(rolls.values()):
        _draw_lines(plot, lines, f"viewer-roll-{number}", ("#e8a33d", "#35b5e5", "#d9d5cb", "#d07fb0")[number % 4])
    _mark(plot, marked, radius)
    plot.scatter([0.0], [0.0], marker="star", size=13, fill_color=None, line_color="#111111", name="viewer-star",
                 line_width=1.4)  # fmt: skip
    plot.scatter([0.0], [0.0], marker="cross", size=18, line_color="#000000", line_width=1.5, name="viewer-cursor",
                 visible=False)  # fmt: skip
    _orient(plot)
    plot.js_on_event("mousemove", CustomJS(code="window.lyotViewer && window.lyotViewer.point(cb_obj.x, cb_obj.y)"))
    script, element = components(plot)
    return str(script), str(element)


def _orient(plot: Any) -> None:
    """Compass and scale bar, in the corners of the frame at every zoom; the image has north up."""
    from bokeh.models import Arrow, Label, OpenHead, ScaleBar
    from bokeh.models.annotations.dimensional import Angular

    x, y, length = 60, 18, 34  # pixels from the lower left corner of the frame
    for ends, letter, at, align in (((x, y + length), "N", (x, y + length + 2), ("center", "bottom")),
                                    ((x - length, y), "E", (x - length - 3, y), ("right", "middle"))):  # fmt: skip
        # light below dark, so that they are seen on any color
        for width, color in ((4.5, "#ffffff"), (1.8, "#111111")):
            plot.add_layout(Arrow(
                x_start=x, y_start=y, x_end=ends[0], y_end=ends[1], start_units="screen", end_units="screen",
                line_color=color, line_width=width, name="viewer-compass",
                end=OpenHead(size=9, line_color=color, line_width=width),
            ))  # fmt: skip
        plot.add_layout(Label(
            x=at[0], y=at[1], x_units="screen", y_units="screen", text=letter, text_align=align[0],
            text_baseline=align[1], text_font="sans-serif", text_font_size="12px", text_font_style="bold",
            text_color="#111111", background_fill_color="#ffffff", background_fill_alpha=0.75, name="viewer-compass",
        ))  # fmt: skip
    angular = Angular(include=["''"], ticks=[0.1, 0.2, 0.5, 1, 2, 5, 10])
    plot.add_layout(ScaleBar(
        range=plot.x_range, unit="''", dimensional=angular, location="bottom_right", length_sizing="adaptive",
        label="@{value}@{unit}", label_text_font="sans-serif", label_text_font_size="12px", bar_length=0.18,
        bar_line_width=2, background_fill_alpha=0.75, border_line_color=None, margin=8, padding=6,
        name="viewer-compass",
    ))  # fmt: skip


def _draw_lines(plot: Any, lines: Sequence[Line], name: str, color: str) -> None:
    plot.multi_line([list(-east) for east, _ in lines], [list(north) for _, north in lines], line_color=color,
                    line_dash="dashed", line_width=1.5, name=name)  # fmt: skip


def _mark(plot: Any, marked: Sequence[Marked], radius: float) -> None:
    """Draw the sources of each kind, all of a kind under one name."""
    from bokeh.core.properties import value

    looks = {"detection": (figures.MARK, "solid", 1.0), "companion": ("#c2188b", "solid", 0.62),
             "rejected": ("#5b666d", "dotted", 1.0)}  # fmt: skip
    for kind, unsure in itertools.product(looks, (False, True)):
        color, dash, size = looks[kind]
        mine = [m for m in marked if m.kind == kind and m.unsure == unsure]
        if not mine:
            continue
        dash = "dashed" if unsure else dash
        x, y = [-m.east for m in mine], [m.north for m in mine]
        ring = max(0.07 * radius, 0.15) * size
        plot.circle(x, y, radius=ring, fill_color=None, line_color=color, line_width=2, line_dash=dash,
                    name=f"viewer-{kind}")  # fmt: skip
        side = -1 if kind == "companion" else 1
        plot.text([v + side * 0.8 * ring for v in x], [v + 0.8 * ring for v in y], [m.label for m in mine],
                  text_color=color, text_font=value("sans-serif"), text_font_size="12px", text_font_style="bold",
                  text_align="right" if side < 0 else "left", name=f"viewer-{kind}")  # fmt: skip


def viewer_alt(viewer: Viewer) -> str:
    """What the viewer shows, for those who cannot see it."""
    counts = [plural(n, kind) for kind, n in viewer.counts.items() if n]
    return html.escape(
        f"Combined image with north up and the star at the origin; marked: {', '.join(counts) or 'no source'}. Arrow "
        "keys move a cursor whose value and position are displayed; plus and minus zoom, 0 resets the view, space "
        "swaps the two images, b blinks them."
    )
