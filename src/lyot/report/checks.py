"""One picture per step of the reduction that shows at a glance whether it went well."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from astropy.io import fits
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from lyot.exposures.names import exposure_root, find_products, product_beside, roll_images
from lyot.report import figures
from lyot.report.content import Layer, Picture, data_table, grid
from lyot.report.flags import FLAGGED
from lyot.report.glow import glow_sticks
from lyot.report.products import Product, combined_image, products, read_product
from lyot.report.quality import read_quality
from lyot.report.references import first_table
from lyot.report.sections import layer_of, short_name, without_ticks

COLORS = {"science": "#0b6e99", "reference": "#b5651d"}
SHOWN_MODES = 6


def _wide(height: float) -> tuple[Figure, Axes]:
    figure, (ax,) = grid(1)
    figure.set_size_inches(8.4, height)
    return figure, ax


def _plain_name(name: str) -> str:
    return exposure_root(name).removesuffix("_mirimage")


def flagged_picture(out: Path) -> Picture | None:
    """Flagged fraction of each exposure as used in stage 3, with the limit above which it is named."""
    items = read_quality(out)["exposures"]
    if not items:
        return None
    names = [_plain_name(str(i["exposure"])) for i in items]
    roles = ["reference" if i["role"] == "psf" else str(i["role"]) for i in items]
    ranges = [(100 * min(i["flagged"]), 100 * max(i["flagged"])) for i in items]
    figure, ax = _wide(max(1.7, 0.2 * len(items) + 0.9))
    for y, (role, (low, high)) in enumerate(zip(roles, ranges, strict=True)):
        ax.barh(y, high, color=COLORS.get(role, "#777777"), height=0.65, alpha=0.45)
        ax.barh(y, low, color=COLORS.get(role, "#777777"), height=0.65)
    ax.axvline(100 * FLAGGED, color="#d1495b", lw=1.2, ls="--", label=f"limit, {100 * FLAGGED:.0f} %")
    for role in dict.fromkeys(roles):
        ax.barh(0, 0, color=COLORS.get(role, "#777777"), label=role)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.invert_yaxis()
    ax.set_xlim(0, max(100 * FLAGGED * 1.15, *(1.1 * high for _, high in ranges)))
    ax.set_xlabel("flagged pixels [%]", fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
    ax.legend(fontsize=7, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4)
    table = data_table({
        "exposure": (names, "", "name of the exposure"),
        "role": (roles, "", "science or reference"),
        "flagged_min": ([r[0] for r in ranges], "%", "flagged pixels of the best integration"),
        "flagged_max": ([r[1] for r in ranges], "%", "flagged pixels of the worst integration"),
    })  # fmt: skip
    caption = "Fraction of flagged pixels in each exposure, from the best (dark) to the worst integration (light)."
    return Picture("flagged_fraction", figure, caption, f"Bar chart of flagged pixels of {len(items)} exposures",
                   table=table)  # fmt: skip


def background_picture(out: Path) -> Picture | None:
    """Slopes before and calibrated image after the background subtraction: each roll and one reference."""
    after = {exposure_root(p.path): p for p in products(out, "stage2", "calints")}
    subtracted = {s.exposure for s in glow_sticks(out)}
    pairs = []
    for name in after:
        slopes = product_beside(out / "stage1" / name, "rateints")
        if name in subtracted and slopes.is_file():
            pairs.append((read_product(slopes), after[name]))
    references = [p for p in pairs if _is_reference(p[1])]
    shown = [p for p in pairs if not _is_reference(p[1])][:3] + references[:1]
    if not shown:
        return None
    ny, nx = shown[0][1].image.shape
    figure, axes = grid(2 * len(shown), len(shown), tall=ny / nx + 0.12)
    layers = []
    for column, (before, item) in enumerate(shown):
        title = short_name(item)
        for row, (product, when) in enumerate([(before, "before"), (item, "after")]):
            ax = axes[row * len(shown) + column]
            figures.draw_image(ax, product.image, label=product.unit, limits=_faint(product))
            without_ticks(ax)
            ax.set_title(f"{title}: {when}", fontsize=8)
            layers.append(layer_of(product, f"{title} {when}"))
    caption = (
        "Slopes before and calibrated images after the background subtraction, on a color scale from the 5th to the "
        "97th percentile. After the subtraction, no glow should remain along the mask boundaries."
    )
    alt = f"Images before and after the background subtraction of {len(shown)} exposures"
    return Picture("background", figure, caption, alt, layers)


def _is_reference(item: Product) -> bool:
    return item.header.get("IS_PSF") is True


def _faint(item: Product) -> tuple[float, float]:
    return figures.color_limits(item.image, 5.0, 97.0)


def glow_picture(out: Path) -> Picture | None:
    """Glow sticks before and after the subtraction, with errors."""
    strips = glow_sticks(out)
    if not strips:
        return None
    exposures = list(dict.fromkeys(s.exposure for s in strips))
    figure, ax = _wide(3.0)
    ax.axhline(0, color="0.6", lw=0.8)
    for number, strip in enumerate(dict.fromkeys(s.name for s in strips)):
        mine = [s for s in strips if s.name == strip]
        x = np.array([exposures.index(s.exposure) for s in mine]) + 0.14 * (number - 0.5)
        marker = ("o", "s", "^", "v")[number % 4]
        for color, label, values, errors in (
            ("#b5651d", "before", [s.before for s in mine], [s.before_error for s in mine]),
            ("#0b6e99", "after", [s.after for s in mine], [s.after_error for s in mine]),
        ):
            ax.errorbar(x, values, yerr=errors, fmt=marker, ms=3.5, lw=0.9, color=color, label=f"{strip}, {label}")
    ax.set_xticks(range(len(exposures)), [_plain_name(e) for e in exposures], rotation=35, ha="right", fontsize=6.5)
    ax.set_ylabel(f"strip above surroundings [{strips[0].unit}]", fontsize=8)
    ax.tick_params(axis="y", labelsize=7)
    ax.legend(fontsize=7, frameon=False, ncols=2)
    unit, excess = strips[0].unit, "mean brightness of the strip minus that of its surroundings"
    table = data_table({
        "exposure": ([s.exposure for s in strips], "", "name of the exposure"),
        "name": ([s.name for s in strips], "", "strip of glow"),
        "before": ([s.before for s in strips], unit, f"{excess}, before the background subtraction"),
        "before_error": ([s.before_error for s in strips], unit, "error of before"),
        "after": ([s.after for s in strips], unit, f"{excess}, after the background subtraction"),
        "after_error": ([s.after_error for s in strips], unit, "error of after"),
    })  # fmt: skip
    caption = (
        "Brightness of each glow stick before and after the background subtraction; after it, the values should be "
        "consistent with zero."
    )
    return Picture("glow_sticks", figure, caption, "Brightness of the glow sticks by exposure", table=table)


def registration_picture(out: Path) -> Picture | None:
    """Offset of each reference frame from the science, along the axes of the detector."""
    planes = first_table(out / "stage3", "psfalign", "REFS")
    if planes is None or not np.isfinite(planes["DX"]).any():
        return None
    figure, (ax,) = grid(1)
    figure.set_size_inches(4.6, 4.2)
    ax.axhline(0, color="0.8", lw=0.8)
    ax.axvline(0, color="0.8", lw=0.8)
    ax.plot(0, 0, marker="*", ms=10, mfc="none", mec="#1d2327", ls="none", label="science")
    ax.scatter(planes["DX"], planes["DY"], s=6, color=COLORS["reference"], alpha=0.5, label="frames")
    for number, exposure in enumerate(np.unique(planes["EXPOSURE"]), start=1):
        mine = planes["EXPOSURE"] == exposure
        place = (float(np.nanmean(planes["DX"][mine])), float(np.nanmean(planes["DY"][mine])))
        if np.isfinite(place).all():
            ax.plot(*place, "o", ms=5, color=COLORS["reference"], label="mean of an exposure" if number == 1 else None)
            ax.annotate(str(number), place, xytext=(4, 3), textcoords="offset points", fontsize=7)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("offset along detector x [pixel]", fontsize=8)
    ax.set_ylabel("offset along detector y [pixel]", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=7, frameon=False)
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in planes["FILENAME"]]
    table = data_table({
        "exposure": ([_plain_name(n) for n in names], "", "name of the reference exposure; one row per frame"),
        "dx": (planes["DX"], "pix", "measured offset from the science star along the x axis of the detector"),
        "dy": (planes["DY"], "pix", "measured offset from the science star along the y axis of the detector"),
        "brightness": (planes["SCALE"], "", "brightness relative to the science star"),
    })  # fmt: skip
    caption = (
        "Measured offsets of the reference star from the science star; numbers are the rows of the table. The "
        "pattern of a small-grid dither should be visible."
    )
    return Picture("registration", figure, caption, "Offsets of the reference frames from the science", table=table)


def modes_picture(out: Path) -> Picture | None:
    """First Karhunen-Loève modes of the registered references, over the whole frame."""
    path = next(iter(find_products(out / "stage3", "psfalign")), None)
    if path is None:
        return None
    with fits.open(path) as hdus:
        cube = np.asarray(hdus["SCI"].data, dtype=float)
    cube = cube.reshape(-1, *cube.shape[-2:])
    if len(cube) < 2:
        return None
    good = np.isfinite(cube).all(axis=0)
    frames = cube[:, good] - cube[:, good].mean(axis=1, keepdims=True)
    if not good.any():
        return None
    power, vectors = np.linalg.eigh(frames @ frames.T)  # there are far fewer frames than pixels
    power, vectors = power[::-1], vectors[:, ::-1]
    shown = min(SHOWN_MODES, int(np.sum(power > power[0] * np.finfo(float).eps * len(power))))
    if not shown:
        return None
    modes = (vectors[:, :shown] / np.sqrt(power[:shown])).T @ frames
    part = power / np.sum(power)
    figure, axes = grid(shown, 3, tall=good.shape[0] / good.shape[1] + 0.12)
    layers = []
    for k, ax in enumerate(axes):
        image = np.full(good.shape, np.nan)
        image[good] = modes[k]
        figures.draw_image(ax, image, cmap="RdBu_r", limits=figures.symmetric_limits(image, 99.5), label="")
        without_ticks(ax)
        ax.set_title(f"mode {k + 1}: {100 * part[k]:.2g} % of the power", fontsize=7.5)
        layers.append(Layer(f"mode {k + 1}", image))
    caption = (
        "First Karhunen-Loève modes of the registered references over the whole frame (the subtraction computes "
        "separate modes in each zone). Modes should show speckles; an isolated bad pixel or stripe points to a "
        "defect in a single frame."
    )
    return Picture("kl_modes", figure, caption, f"The first {shown} modes of the references", layers)


def noise_picture(out: Path) -> Picture | None:
    """Scatter of the star-subtracted images against separation, next to the noise that the errors predict."""
    main = combined_image(out)
    if main is None:
        return None
    rolls = roll_images(main)
    images = [("combined", main), *((f"roll {n}", p) for n, p in enumerate(rolls, 1))]
    curves = [(label, curve) for label, path in images if (curve := _noise_curve(path)) is not None]  # fmt: skip
    if not curves:
        return None
    figure, (ax,) = grid(1)
    figure.set_size_inches(7.4, 3.8)
    columns = {"separation": (curves[0][1][0], "arcsec", "middle of the ring, distance from the star")}
    for number, (label, (separation, measured, expected)) in enumerate(curves):
        color = ("#1d2327", "#b36b00", "#1178a8", "#777777", "#8a4ba3")[number % 5]
        ax.plot(separation, measured, color=color, lw=1.4, label=f"{label}: scatter")
        ax.plot(separation, expected, color=color, lw=1.0, ls="--", label=f"{label}: expected")
        if len(separation) == len(curves[0][1][0]):
            stem = label.replace(" ", "_")
            columns[f"{stem}_scatter"] = (measured, "MJy/sr", f"{label}: robust scatter of the pixels in the ring")
            columns[f"{stem}_expected"] = (
                expected,
                "MJy/sr",
                f"{label}: median of ERR in the ring",
            )
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")  # 0.2, not 2 x 10^-1
    ax.set_xlabel("separation [arcsec]", fontsize=8)
    ax.set_ylabel("noise of a pixel [MJy/sr]", fontsize=8)
    ax.tick_params(labelsize=7, which="both")
    ax.xaxis.set_major_locator(MaxNLocator(9))
    ax.grid(alpha=0.3, which="both", lw=0.4)
    ax.legend(fontsize=7, frameon=False, ncols=2)
    caption = (
        "Robust scatter of the pixels in rings after the subtraction, and the errors (ERR) predicted from detector "
        "and photon noise. Where the curves agree, the subtraction is limited by this noise; an excess is due to "
        "residual starlight, sources, or underestimated errors."
    )
    return Picture(
        "residual_noise", figure, caption, "Scatter and expected noise as a function of separation",
        table=data_table(columns),
    )  # fmt: skip


def _noise_curve(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Separation, scatter and expected noise in rings of a north-up image; None without errors."""
    item = read_product(path)
    with fits.open(path) as hdus:
        if "ERR" not in hdus:
            return None
        errors = np.asarray(hdus["ERR"].data, dtype=float)
    if errors.shape != item.image.shape or not np.isfinite(errors).any():
        return None
    y, x = np.indices(item.image.shape)
    (x0, y0), (sx, sy) = item.view.center, item.view.pixel_scale
    radius = np.hypot((x - x0) * sx, (y - y0) * sy)
    edges = np.arange(0.2, float(radius[np.isfinite(item.image)].max()), 0.25)
    rings = []
    for low, high in itertools.pairwise(edges):
        inside = (radius >= low) & (radius < high) & np.isfinite(item.image) & np.isfinite(errors)
        if inside.sum() < 20:
            continue
        values = item.image[inside]
        scatter = 1.4826 * float(np.median(np.abs(values - np.median(values))))
        rings.append((0.5 * (low + high), scatter, float(np.median(errors[inside]))))
    if not rings:
        return None
    separation, measured, expected = (np.array(column) for column in zip(*rings, strict=True))
    return separation, measured, expected
