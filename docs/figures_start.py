"""Draw the pictures of the landing page and of the getting-started page from a finished demo.

Usage: ``python docs/figures_start.py DEMO``, where DEMO is the folder of ``lyot demo`` (``make demo``: ``demo``). With
``chromium`` on the path the report is photographed, too.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from matplotlib.colors import AsinhNorm
from PIL import Image

import lyot

log = logging.getLogger("figures_start")
STATIC = Path(__file__).parent / "_static"
ROOT = "jw01386008001_04101_00001_mirimage"


def save(figure: plt.Figure, name: str, *, dpi: int = 110) -> None:
    """Write a figure as WebP."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        figure.savefig(path, dpi=dpi, facecolor="white")
        Image.open(path).convert("RGB").save(STATIC / f"{name}.webp", quality=88, method=6)
    plt.close(figure)
    log.info("%s.webp: %d kB", name, (STATIC / f"{name}.webp").stat().st_size // 1000)


def result(run: lyot.Run) -> None:
    """The image and the contrast curve of the demo."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    run.plot_image(left, radius=2.6)
    left.set_title("HIP 65426 (simulated), F1550C")
    run.plot_contrast(right)
    right.set_title("5-sigma limits")
    planet = run.companions[0]
    r, c = planet["separation"].to_value("arcsec"), float(planet["contrast"])
    right.plot(r, c, "o", color="tab:orange", label="the planet")
    right.legend()
    save(figure, "demo_image")


def mean(cube: np.ndarray) -> np.ndarray:
    """Mean of the integrations; NaN where there are no data."""
    bad = np.isnan(cube).all(axis=0)
    return np.where(bad, np.nan, np.nanmean(np.where(bad, 0.0, cube), axis=0))


def steps(demo: Path) -> None:
    """One roll from the raw ramp to the subtracted image."""
    folder = demo / "reduction"
    with fits.open(demo / "observations" / f"{ROOT}_uncal.fits") as hdus:
        raw = hdus["SCI"].data[0, -1].astype(float)
    slope = fits.getdata(next(folder.glob(f"stage1/{ROOT}_rateints.fits")), "SCI")[0]
    calibrated = fits.getdata(next(folder.glob(f"stage2/{ROOT}_calints.fits")), "SCI")
    subtracted = fits.getdata(next(folder.glob(f"stage3/{ROOT}_*_psfsub.fits")), "SCI")
    pictures = (
        ("raw ramp: last group [DN]", raw, False),
        ("stage 1: slope [DN/s]", slope, False),
        ("stage 2: calibrated [MJy/sr]", mean(calibrated), True),
        ("stage 3: star subtracted [MJy/sr]", mean(subtracted), True),
    )
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.2), layout="constrained")
    for ax, (title, image, centered) in zip(axes, pictures, strict=True):
        if centered:
            limit = np.nanpercentile(np.abs(image), 99.7)
            drawn = ax.imshow(image, origin="lower", cmap="RdBu_r", norm=AsinhNorm(limit / 10, -limit, limit))
            ticks = (-limit, 0, limit)
        else:
            low, high = np.nanpercentile(image, [2, 99.3])
            drawn = ax.imshow(image, origin="lower", cmap="viridis", vmin=low, vmax=high)
            ticks = (low, high)
        ax.set(title=title, xticks=[], yticks=[])
        figure.colorbar(drawn, ax=ax, shrink=0.75, ticks=ticks, format="%.3g")
    save(figure, "demo_steps")


def report(demo: Path) -> None:
    """The first screen of the report."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        log.warning("no chromium: the picture of the report is left as it was")
        return
    page = (demo / "reduction" / "report" / "index.html").resolve().as_uri()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.png"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1240,1300", f"--screenshot={path}"]
        options.append("--virtual-time-budget=10000")  # until the interactive image is drawn
        subprocess.run([browser, *options, page], check=True, capture_output=True, cwd=folder)
        picture = Image.open(path).convert("RGB")
        picture.save(STATIC / "demo_report.webp", quality=85, method=6)


def main() -> None:
    """Draw all."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    demo = Path(sys.argv[1])
    result(lyot.open(demo / "reduction"))
    steps(demo)
    report(demo)


if __name__ == "__main__":
    main()
