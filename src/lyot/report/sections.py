"""The image sections of the report: what each stage did, as pictures with captions.

Each function takes the folder of a run and returns a `Section`, or None when that stage left nothing to show.
"""

from __future__ import annotations

import base64
import glob
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MplFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from lyot.exposures.names import SNR_MAP, exposure_name, segment_number
from lyot.report import figures
from lyot.report.products import Product, products, read_cube, read_product, view_of

DPI = 110
PANEL = 3.1
"""Side of one panel, inches."""

SIGMA_LIMITS = (-6.0, 6.0)


@dataclass(frozen=True)
class Picture:
    """One figure as PNG, with its caption and a text for those who cannot see it."""

    png: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """One part of the report."""

    title: str
    anchor: str
    text: str
    pictures: tuple[Picture, ...] = field(default=())


def render(figure: MplFigure, caption: str, alt: str) -> Picture:
    """Render a figure as base64 PNG."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": "lyot"})
    return Picture(base64.b64encode(buffer.getvalue()).decode("ascii"), caption, alt)


def grid(n: int, columns: int = 3) -> tuple[MplFigure, list[Axes]]:
    """Make a figure of n panels in rows of `columns`."""
    columns = min(columns, max(n, 1))
    rows = -(-n // columns)
    # the layout does not see the labels of the colour bars
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = MplFigure(figsize=(PANEL * 1.25 * columns, PANEL * 1.12 * rows), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes[n:]:
        ax.set_axis_off()
    return figure, axes[:n]


def _gallery(
    items: Sequence[Product], caption: str, *, draw: Callable[[Axes, Product], None] | None = None, columns: int = 4
) -> Picture:
    figure, axes = grid(len(items), columns)
    for ax, item in zip(axes, items, strict=True):
        (draw or _draw_plain)(ax, item)
        ax.set_title(short_name(item), fontsize=7)
    return render(figure, caption, f"{len(items)} images: {', '.join(short_name(i) for i in items)}")


def _draw_plain(ax: Axes, item: Product) -> None:
    figures.draw_image(ax, item.image, label=item.unit)


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
    picture = _gallery(items, "Slopes of every exposure (mean over integrations). Grey: no usable data.")
    return Section("Stage 1: ramps to slopes", "stage1", _stage1_text(items), (picture,))


def _stage1_text(items: Sequence[Product]) -> str:
    groups = sorted({int(i.header["NGROUPS"]) for i in items if i.header.get("NGROUPS")})
    return f"{len(items)} exposures, {' and '.join(map(str, groups))} groups per integration."


def stage2(out: Path) -> Section | None:
    """Calibrated images, and the backgrounds that were subtracted."""
    items = list(products(out, "stage2", "calints"))
    if not items:
        return None
    pictures = [
        _gallery(items, "Calibrated exposures (mean over integrations), background subtracted where there is one.")
    ]
    backgrounds = list(products(out, "stage2", "combinedbackground"))
    if backgrounds:
        pictures.append(
            _gallery(
                backgrounds[:4],
                "Combined backgrounds: the glow sticks lie along the boundaries of the phase mask.",
            )
        )
    return Section(
        "Stage 2: calibration and background", "stage2", f"{len(items)} calibrated exposures.", tuple(pictures)
    )


def _sky_axes(ax: Axes) -> None:
    ax.set_xlabel("offset west [arcsec]", fontsize=8)
    ax.set_ylabel("offset north [arcsec]", fontsize=8)


def stage3_subtraction(out: Path, sources: QTable | None) -> Section | None:
    """Before and after the subtraction, for each roll."""
    items = list(products(out, "stage3", "psfsub"))
    if not items:
        return None
    radius = _radius(items[0], sources)
    figure, axes = grid(2 * len(items), 2)
    for row, item in enumerate(items):
        before = _calibrated(out, item) or item
        view = figures.View(item.view.center, item.view.pixel_scale, item.view.pa_y, radius)
        before_view = figures.View(before.view.center, before.view.pixel_scale, before.view.pa_y, radius)
        figures.draw_image(axes[2 * row], before.image, view=before_view, label=before.unit)
        axes[2 * row].set_title(f"{short_name(item)}: calibrated", fontsize=8)
        shown = _within(item.image, item.view, radius)
        figures.draw_image(
            axes[2 * row + 1],
            item.image,
            view=view,
            label=item.unit,
            cmap="RdBu_r",
            limits=figures.symmetric_limits(shown),
        )
        axes[2 * row + 1].set_title("star subtracted", fontsize=8)
        figures.mark_star(axes[2 * row])
        figures.mark_star(axes[2 * row + 1], color=figures.DARK_INK)
    caption = "Each roll before and after the subtraction of the star, detector orientation; star at the origin."
    picture = render(figure, caption, "Calibrated and star-subtracted image of each roll")
    count = f"{len(items)} science exposure{'' if len(items) == 1 else 's'}."
    return Section("Stage 3: the star subtracted", "stage3", count, (picture,))


def _calibrated(out: Path, item: Product) -> Product | None:
    root = item.path.name.rsplit("_psfsub", 1)[0]
    # level-3 file names carry the association's candidate before the suffix
    for stem in (root, root.rsplit("_", 1)[0]):
        path = out / "stage2" / f"{stem}_calints.fits"
        if path.is_file():
            return read_product(path)
        files = sorted((out / "stage2").glob("*-seg*_calints.fits"))
        segments = [p for p in files if exposure_name(p.name) == path.name]
        if segments:
            return read_product(segments[0])
    return None


def _radius(item: Product, sources: QTable | None) -> float:
    """Half width to show, arcsec: the inner field, or wide enough for all sources."""
    ny, nx = item.image.shape
    half = float(0.5 * min(ny * item.view.pixel_scale[1], nx * item.view.pixel_scale[0]))
    wanted = 3.0
    if sources is not None and len(sources):
        wanted = max(wanted, 1.25 * float(sources["separation"].to_value("arcsec").max()))
    return min(wanted, half)


def _within(image: NDArray[np.float64], view: figures.View, radius: float) -> NDArray[np.float64]:
    y, x = np.indices(image.shape)
    r = np.hypot((x - view.center[0]) * view.pixel_scale[0], (y - view.center[1]) * view.pixel_scale[1])
    return np.asarray(image[(r <= radius) & np.isfinite(image)])


def truncations_of(path: Path, count: int) -> list[int]:
    """KL truncations of a cube product, from its table (extension KLMODES); 1..n when there is none."""
    with fits.open(path) as hdus:
        for hdu in hdus:
            if not isinstance(hdu, fits.BinTableHDU):
                continue
            column = next((n for n in hdu.columns.names if n.lower() in ("modes", "truncation")), None)
            if column is not None:
                return [int(v) for v in hdu.data[column]]
    return list(range(1, count + 1))


def stage3_truncations(out: Path, sources: QTable | None) -> Section | None:
    """The combined image at several truncations."""
    paths = sorted((out / "stage3").glob("*_klcube.fits"))
    if not paths:
        return None
    cube, header = read_cube(paths[0])
    numbers = truncations_of(paths[0], len(cube))
    view = view_of(header, cube.shape, north_up=True)
    item = Product(paths[0], cube[0], str(header.get("BUNIT", "")), view, header)
    radius = _radius(item, sources)
    view = figures.View(view.center, view.pixel_scale, 0.0, radius)
    chosen = sorted({int(k) for k in np.linspace(0, len(cube) - 1, min(6, len(cube))).round()})
    limits = figures.symmetric_limits(np.concatenate([_within(cube[k], view, radius) for k in chosen]), 99.7)
    figure, axes = grid(len(chosen), 3)
    for ax, k in zip(axes, chosen, strict=True):
        figures.draw_image(ax, cube[k], view=view, label=item.unit, cmap="RdBu_r", limits=limits)
        _sky_axes(ax)
        figures.mark_star(ax, color=figures.DARK_INK)
        _mark_sources(ax, sources, max(0.09 * radius, 0.15))
        ax.set_title(f"{numbers[k]} KL mode{'s' if numbers[k] != 1 else ''}", fontsize=8)
    caption = "Rolls turned north up (east is left) and combined, at several truncations, on one colour scale."
    picture = render(figure, caption, f"Combined images at {', '.join(str(numbers[k]) for k in chosen)} KL modes")
    return Section("The subtraction at several truncations", "truncations", "", (picture,))


def _mark_sources(ax: Axes, sources: QTable | None, radius: float) -> None:
    """Circle and number all sources."""
    if sources is None:
        return
    for n, row in enumerate(sources):
        figures.mark_source(
            ax,
            float(row["separation"].to_value("arcsec")),
            float(row["position_angle"].to_value("deg")),
            label=f"{n + 1}",
            radius=radius,
        )


def detection_map(out: Path, sources: QTable | None) -> Section | None:
    """The combined image and the S/N map with the detections."""
    combined = sorted((out / "stage3").glob("*_i2d.fits"))
    snr = out / "measure" / SNR_MAP
    if not combined or not snr.is_file():
        return None
    refined = sorted((out / "stage3").glob(glob.escape(combined[0].name.removesuffix("_i2d.fits")) + "_refined.fits"))
    shown = [(read_product(combined[0]), "combined image"), (_read_snr(snr), "signal to noise")]
    if refined:
        shown.insert(1, (read_product(refined[0]), "second pass"))
    radius = _radius(shown[0][0], sources)
    figure, axes = grid(len(shown), len(shown))
    for ax, (item, title) in zip(axes, shown, strict=True):
        view = figures.View(item.view.center, item.view.pixel_scale, 0.0, radius)
        limits = figures.symmetric_limits(_within(item.image, view, radius), 99.7)
        limits = SIGMA_LIMITS if item.unit == "S/N" else limits
        figures.draw_image(ax, item.image, view=view, label=item.unit, cmap="RdBu_r", limits=limits)
        _sky_axes(ax)
        figures.mark_star(ax, color=figures.DARK_INK)
        _mark_sources(ax, sources, max(0.09 * radius, 0.15))
        ax.set_title(title, fontsize=9)
    caption = "North up, east left, star at the origin; detections are circled in order of S/N."
    if refined:
        caption += " Second pass: detections masked in the fit of the star, wavefront drifts fitted."
    picture = render(figure, caption, "Combined star-subtracted image and S/N map with the detections circled")
    text = _detections_text(sources) + ("" if not refined else " " + _refined_text(refined[0]))
    return Section("Images of the detections", "detections", text, (picture,))


def _refined_text(path: Path) -> str:
    """What the second pass says of the sources it left out."""
    with fits.open(path) as hdus:
        table = hdus["PROTECTED"].data if "PROTECTED" in hdus else ()
        parts = [
            f'{row["SNR"]:.1f} sigma at {row["SEPARATION"]:.2f}", relative to {row["PLACES"]} control positions'
            for row in table
            if np.isfinite(row["SNR"])
        ]
    return "" if not parts else f"Second pass: {'; '.join(parts)} masked identically."


def _read_snr(path: Path) -> Product:
    with fits.open(path) as hdus:
        hdu = next(h for h in hdus if h.data is not None and h.data.ndim >= 2)
        header = {**dict(hdus[0].header), **dict(hdu.header)}
        data = np.asarray(hdu.data, dtype=float)
    image = data if data.ndim == 2 else data[-1]
    return Product(path, image, "S/N", view_of(header, image.shape, north_up=True), header)


def _detections_text(sources: QTable | None) -> str:
    if sources is None or not len(sources):
        return "Nothing above the threshold was found."
    return f"{len(sources)} source{'s' if len(sources) > 1 else ''} above the threshold."


def all_sections(out: Path, sources: QTable | None) -> Iterable[Section]:
    """Every image section that this run has material for, the answer first."""
    made = (
        detection_map(out, sources),
        stage3_truncations(out, sources),
        stage3_subtraction(out, sources),
        stage2(out),
        stage1(out),
    )
    return [s for s in made if s is not None]
