"""The image sections of the report: what each stage did, as pictures with captions.

Each function takes the folder of a run and returns a `Section`, or None when that stage left nothing to show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lyot.analysis.combined_image import is_candidate
from lyot.exposures.names import SNR_MAP, find_products, product_beside, segment_number
from lyot.report import figures
from lyot.report.content import Layer, Picture, Section, grid
from lyot.report.marks import on_which_roll
from lyot.report.products import (
    Product,
    before_subtraction,
    products,
    read_cube,
    read_product,
    read_snr,
    truncations_of,
    view_of,
)
from lyot.report.sky import mask_boundaries
from lyot.written import plural, snr_text

SIGMA_LIMITS = (-6.0, 6.0)


def gallery(
    items: Sequence[Product],
    name: str,
    caption: str,
    *,
    draw: Callable[[Axes, Product], None] | None = None,
    columns: int = 4,
) -> Picture:
    """Draw images of one kind next to each other."""
    ny, nx = items[0].image.shape
    figure, axes = grid(len(items), columns, tall=ny / nx + 0.12)
    for ax, item in zip(axes, items, strict=True):
        (draw or _draw_plain)(ax, item)
        ax.set_title(short_name(item), fontsize=9)
    alt = f"{plural(len(items), 'image')}: {', '.join(short_name(i) for i in items)}"
    return Picture(name, figure, caption, alt, [layer_of(item, short_name(item)) for item in items])


def layer_of(item: Product, title: str) -> Layer:
    """An image product as it goes into the files of a figure."""
    return Layer(title, item.image, item.unit, item.header, item.view.is_north_up)


def _draw_plain(ax: Axes, item: Product) -> None:
    figures.draw_image(ax, item.image, label=item.unit)
    without_ticks(ax)


def without_ticks(ax: Axes) -> None:
    """Take ticks and labels from an image in pixels: there are many in a row, and the shape says where is what."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("")
    ax.set_ylabel("")


def short_name(item: Product) -> str:
    """What an exposure is, in a few words: observation, dither, target."""
    h = item.header
    words = [f"obs {h['OBSERVTN']}" if h.get("OBSERVTN") else item.name]
    if (h.get("NUMDTHPT") or 1) > 1 and h.get("PATT_NUM"):
        words.append(f"dither {h['PATT_NUM']}")
    if segment_number(item.name):
        words.append(f"segment {segment_number(item.name)}")
    words.append(str(h.get("TARGPROP", "")))
    return ", ".join(w for w in words if w)


def stage1(out: Path) -> Section | None:
    """Mean slope image of every exposure."""
    items = list(products(out, "stage1", "rate")) or list(products(out, "stage1", "rateints"))
    if not items:
        return None
    caption = "Slopes of all exposures (mean over integrations). Gray: no usable data."
    picture = gallery(items, "stage1_slopes", caption)
    return Section("Stage 1: ramps to slopes", "stage1", _stage1_text(items), (picture,), short="Slopes")


def _stage1_text(items: Sequence[Product]) -> str:
    groups = sorted({int(i.header["NGROUPS"]) for i in items if i.header.get("NGROUPS")})
    counted = f", {' and '.join(map(str, groups))} groups per integration" if groups else ""
    return f"{plural(len(items), 'exposure')}{counted}."


def stage2(out: Path) -> Section | None:
    """Calibrated images, and the backgrounds that were subtracted."""
    items = list(products(out, "stage2", "calints"))
    if not items:
        return None
    pictures = [
        gallery(
            items, "stage2_calibrated",
            "Calibrated exposures (mean over integrations), background-subtracted where a background is available.",
        )
    ]  # fmt: skip
    backgrounds = list(products(out, "stage2", "combinedbackground"))
    if backgrounds:
        pictures.append(
            gallery(
                backgrounds[:4], "stage2_backgrounds",
                "Combined backgrounds, with the glow sticks along the boundaries of the phase mask.",
            )
        )  # fmt: skip
    text = f"{plural(len(items), 'calibrated exposure')}."
    return Section("Stage 2: calibration and background", "stage2", text, tuple(pictures), short="Calibration")


def stage3_subtraction(out: Path, sources: QTable | None) -> Section | None:
    """Before and after the subtraction, for each roll."""
    items = list(products(out, "stage3", "psfsub"))
    if not items:
        return None
    radius = radius_of(items[0], sources)
    figure, axes = grid(2 * len(items), 2)
    layers = []
    for row, item in enumerate(items):
        before = before_subtraction(out, item)
        if before is None:
            axes[2 * row].set_axis_off()
            axes[2 * row].text(0.5, 0.5, "calibrated exposure\nnot available", ha="center", va="center", fontsize=8)
        else:
            _draw_within(axes[2 * row], before, radius, f"{short_name(item)}: calibrated")
            layers.append(layer_of(before, f"{short_name(item)} calibrated"))
        _draw_within(axes[2 * row + 1], item, radius, f"{on_which_roll(items, row)}: star subtracted", signed=True)
        layers.append(layer_of(item, f"{short_name(item)} star subtracted"))
    caption = (
        "Each roll before and after the subtraction of the star, in detector orientation, with the star at the origin."
    )
    alt = "Calibrated and star-subtracted image of each roll"
    picture = Picture("stage3_subtraction", figure, caption, alt, layers)
    text = f"{plural(len(items), 'science exposure')}."
    return Section("Stage 3: star subtraction", "stage3", text, (picture,), short="Star subtracted")


def _draw_within(ax: Axes, item: Product, radius: float, title: str, *, signed: bool = False) -> None:
    """Draw an image to a radius, with the star; `signed`: colors symmetric about zero."""
    view = figures.View(item.view.center, item.view.pixel_scale, item.view.pa_y, radius)
    inside = figures.within(item.image, item.view, radius)
    limits = figures.symmetric_limits(inside) if signed else figures.color_limits(inside)
    cmap = "RdBu_r" if signed else "inferno"
    figures.draw_image(ax, item.image, view=view, label=item.unit, cmap=cmap, limits=limits)
    figures.mark_star(ax, color=figures.DARK_INK if signed else figures.INK)
    ax.set_title(title, fontsize=8)


def radius_of(item: Product, sources: QTable | None) -> float:
    """Half width to show, arcsec: the inner field, or wide enough for all sources."""
    ny, nx = item.image.shape
    half = float(0.5 * min(ny * item.view.pixel_scale[1], nx * item.view.pixel_scale[0]))
    wanted = 3.0
    if sources is not None and len(sources):
        wanted = max(wanted, 1.25 * float(sources["separation"].to_value("arcsec").max()))
    return min(wanted, half)


def stage3_truncations(out: Path, sources: QTable | None) -> Section | None:
    """The combined image at the fewest, the chosen and the most KL modes, and how they differ."""
    paths = find_products(out / "stage3", "klcube")
    if not paths:
        return None
    cube, header = read_cube(paths[0])
    numbers = truncations_of(paths[0], len(cube))
    view = view_of(header, cube.shape, north_up=True)
    item = Product(paths[0], cube[0], str(header.get("BUNIT", "")), view, header)
    radius = radius_of(item, sources)
    view = figures.View(view.center, view.pixel_scale, 0.0, radius)
    main = int(header.get("KLMODES") or numbers[-1])
    middle = int(np.argmin(np.abs(np.array(numbers) - main)))
    chosen = sorted({0, middle, len(cube) - 1})
    limits = figures.symmetric_limits(np.concatenate([figures.within(cube[k], view, radius) for k in chosen]), 99.7)
    layers = []
    panels = [(cube[k], plural(numbers[k], "KL mode") + (", as used" if k == middle else "")) for k in chosen]
    if len(chosen) > 1:
        panels.append((cube[chosen[-1]] - cube[chosen[0]], "maximum minus minimum"))
    figure, axes = grid(len(panels), len(panels))
    for ax, (image, title) in zip(axes, panels, strict=True):
        figures.draw_image(ax, image, view=view, label=item.unit, cmap="RdBu_r", limits=limits)
        figures.mark_star(ax, color=figures.DARK_INK)
        mark_sources(ax, sources, max(0.09 * radius, 0.15))
        ax.set_title(title, fontsize=8)
        layers.append(Layer(title, image, item.unit, header, True))
    caption = (
        f"Rolls rotated to north up (east to the left) and combined{_which_truncations(middle, len(cube) - 1)}. The "
        f"cube contains {', '.join(map(str, numbers))} KL mode{'' if numbers == [1] else 's'}."
    )
    alt = f"Combined images at {', '.join(str(numbers[k]) for k in chosen)} KL modes, and their difference"
    picture = Picture("stage3_truncations", figure, caption, alt, layers)
    return Section("Subtraction with different numbers of modes", "truncations", "", (picture,), short="KL modes")


def _which_truncations(main: int, last: int) -> str:
    """What the panels of the truncations are, for the caption; `main` and `last`: planes of the cube."""
    if last == 0:
        return ""
    start = ", on a common color scale: minimum number of KL modes"
    used = "the number of the main product"
    if main == 0:
        return f"{start} ({used}), maximum number, and their difference"
    if main == last:
        return f"{start}, maximum number ({used}), and their difference"
    return f"{start}, {used}, maximum number, and the difference of maximum and minimum"


def mark_sources(ax: Axes, sources: QTable | None, radius: float) -> None:
    """Circle and number all sources; candidates are dashed, with a question mark."""
    if sources is None:
        return
    for n, (row, unsure) in enumerate(zip(sources, is_candidate(sources), strict=True)):
        figures.mark_source(
            ax,
            float(row["separation"].to_value("arcsec")),
            float(row["position_angle"].to_value("deg")),
            label=f"{n + 1}",
            radius=radius,
            unsure=bool(unsure),
        )


THUMBNAIL = 1.5
"""Side of a thumbnail, inches; drawn at 200 dpi."""


def thumbnail(out: Path, sources: QTable | None) -> Picture | None:
    """The combined image with its detections, small and without axes, for the list of targets."""
    combined = find_products(out / "stage3", "i2d")
    if not combined:
        return None
    item = read_product(combined[0])
    radius = radius_of(item, sources)
    figure = Figure(figsize=(THUMBNAIL, THUMBNAIL))
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    view = figures.View(item.view.center, item.view.pixel_scale, 0.0, radius)
    limits = figures.symmetric_limits(figures.within(item.image, view, radius), 99.7)
    figures.draw_image(ax, item.image, view=view, cmap="RdBu_r", limits=limits, colorbar=False)
    ax.set_axis_off()
    mark_sources(ax, sources, 0.12 * radius)
    number = plural(0 if sources is None else len(sources), "detection")
    alt = f"Combined image, {2 * radius:.1f} arcsec wide, north up, {number}"
    return Picture("thumbnail", figure, "", alt)


def detection_map(out: Path, sources: QTable | None) -> Section | None:
    """The combined image and the S/N map with the detections and the mask boundaries of the rolls."""
    combined = find_products(out / "stage3", "i2d")
    snr = out / "measure" / SNR_MAP
    if not combined or not snr.is_file():
        return None
    refined = product_beside(combined[0], "refined")
    shown = [(read_product(combined[0]), "combined image"), (read_snr(snr), "signal to noise")]
    if refined.is_file():
        shown.insert(1, (read_product(refined), "second pass"))
    radius = radius_of(shown[0][0], sources)
    boundaries = [lines for item in products(out, "stage3", "psfsub") if (lines := mask_boundaries(item.header))]
    figure, axes = grid(len(shown), len(shown))
    for ax, (item, title) in zip(axes, shown, strict=True):
        view = figures.View(item.view.center, item.view.pixel_scale, 0.0, radius)
        limits = figures.symmetric_limits(figures.within(item.image, view, radius), 99.7)
        limits = SIGMA_LIMITS if item.unit == "S/N" else limits
        figures.draw_image(ax, item.image, view=view, label=item.unit, cmap="RdBu_r", limits=limits)
        for lines, color in zip(
            boundaries, ("#b36b00", "#1178a8", "#777777", "#8a4ba3") * len(boundaries), strict=False
        ):
            for east, north in lines:
                ax.plot(-east, north, color=color, lw=0.7, ls="--", scalex=False, scaley=False)
        figures.mark_star(ax, color=figures.DARK_INK)
        mark_sources(ax, sources, max(0.09 * radius, 0.15))
        ax.set_title(title, fontsize=9)
    caption = (
        "North is up, east to the left, the star at the origin; detections are circled and numbered in order of S/N."
    )
    if sources is not None and is_candidate(sources).any():
        caption += " Dashed circle with question mark: candidate, which may be noise."
    if boundaries:
        caption += " Dashed lines: mask boundaries in each roll."
    if refined.is_file():
        caption += " Image of the second pass: detections masked in the fit of the star, wavefront drifts fitted."
    alt = "Combined star-subtracted image and S/N map with the detections circled"
    picture = Picture("detections", figure, caption, alt, [layer_of(item, title) for item, title in shown])
    text = _detections_text(sources) + ("" if not refined.is_file() else " " + _refined_text(refined))
    return Section("Images of the detections", "detections", text, (picture,), short="Images")


def _refined_text(path: Path) -> str:
    """What the second pass says of the sources it left out."""
    with fits.open(path) as hdus:
        table = hdus["PROTECTED"].data if "PROTECTED" in hdus else ()
        parts = [
            f'{snr_text(row["SNR"])} sigma at separation {row["SEPARATION"]:.3f}", relative to {row["PLACES"]} control '
            "positions"
            for row in table
            if np.isfinite(row["SNR"])
        ]
    return "" if not parts else f"Second pass: {'; '.join(parts)} masked in the same way."


def _detections_text(sources: QTable | None) -> str:
    if sources is None or not len(sources):
        return "No source was detected above the threshold."
    unsure = int(is_candidate(sources).sum())
    more = f", including {unsure} {'candidate' if unsure == 1 else 'candidates'} that may be noise" if unsure else ""
    return f"{plural(len(sources), 'source')} above the threshold{more}."
