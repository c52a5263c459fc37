"""Draw the figures of docs/why_stage3_misses_the_planet.md from the images of benchmarks/stage3_planet.py.

Usage: ``python docs/figures_ablation.py DIR``, where DIR is the working folder of the benchmark.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image

log = logging.getLogger("figures_ablation")
HERE = Path(__file__).parent / "_static"
PIXEL = 0.1105
LEFT_OUT = (" arcsec", "7 modes", "5 modes", "reference integration", "weighted equally", "smooth background, and")
"""Reductions that look like the defaults are not drawn."""
PLANETS = {"simulated": (0.82, 149.36), "HD 106906 0.82": (0.82, 30.0), "HD 106906 2.0": (2.0, 30.0)}
RADIUS = 2.8


def show(ax: Axes, image: np.ndarray, title: str, planet: tuple[float, float], *, north_up: bool, limit: float) -> None:
    """One image: north up where it is so, the place of the planet circled."""
    half = (image.shape[0] - 1) / 2
    extent = np.array([-half - 0.5, half + 0.5]) * PIXEL
    ax.imshow(image, origin="lower", extent=(*extent, *extent), vmin=-limit, vmax=limit, cmap="RdBu_r")
    ax.set(xlim=(-RADIUS, RADIUS), ylim=(-RADIUS, RADIUS), xticks=[], yticks=[])
    ax.set_title(title, fontsize=7)
    ax.plot(0, 0, "+", color="0.3", ms=5)
    if north_up:
        separation, angle = planet[0], np.radians(planet[1])
        x, y = -separation * np.sin(angle), separation * np.cos(angle)
        ax.add_patch(plt.Circle((x, y), 0.35, fill=False, color="k", lw=0.8))


def figure(
    images: dict[str, np.ndarray],
    groups: list[str],
    name: str,
    planet: tuple[float, float],
    *,
    skip: tuple[str, ...] = (),
) -> None:
    """All images of some groups on one scale."""
    chosen = [
        (key, image) for key, image in images.items() if key.split("|")[0] in groups and not any(w in key for w in skip)
    ]
    if not chosen:
        log.warning("%s: no images", name)
        return
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(1.75 * columns, 1.95 * rows), squeeze=False, layout="constrained")
    limit = 1.2 * float(np.median([np.nanpercentile(np.abs(image[13:-13, 13:-13]), 98) for _, image in chosen]))
    for ax in axes.ravel():
        ax.set_axis_off()
    for ax, (key, image) in zip(axes.ravel(), chosen, strict=False):
        ax.set_axis_on()
        title = key.split("|")[1]
        show(ax, image, title.replace(", ", ",\n", 1), planet, north_up=title != "official i2d", limit=limit)
    fig.suptitle(f"MJy/sr, from {-limit:.1f} (blue) to {limit:.1f} (red); 5.6 arcsec wide", fontsize=8)
    path = HERE / f"ablation_{name}.png"
    fig.savefig(path, dpi=80)
    plt.close(fig)
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    """Draw all."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    images: dict[str, np.ndarray] = {}
    for path in sorted(Path(sys.argv[1]).glob("images_*.npz")):
        with np.load(path) as saved:
            images |= {key: saved[key] for key in saved.files}
    figure(images, ["simulated path"], "path", PLANETS["simulated"])
    figure(images, ["simulated"], "ours", PLANETS["simulated"], skip=LEFT_OUT)
    figure(images, ["simulated official"], "official", PLANETS["simulated"])
    figure(images, ["simulated background left"], "background", PLANETS["simulated"])
    for key in ("HD 106906 0.82", "HD 106906 2.0"):
        figure(images, [key], key.replace(" ", "_").lower().replace("hd_106906_", "hd106906_"), PLANETS[key])


if __name__ == "__main__":
    main()
