"""Draw the maps in docs/maps_and_disks.md from a finished demo.

Usage: ``lyot detect demo/reduction --maps --completeness 1e-4``, then ``python docs/figures_maps.py demo``.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from figures_start import save
from figures_style import east_to_the_left
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm

RADIUS = 2.6
"""Half width of the pictures, arcsec."""


def main() -> None:
    """Draw the four maps."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    folder = Path(sys.argv[1]) / "reduction" / "measure"
    with fits.open(folder / "matched_filter.fits") as hdus:
        header = hdus["SCI"].header
        snr, limit, complete = (np.array(hdus[name].data, dtype=float) for name in ("SCI", "LIMIT", "COMPLETE"))
    with fits.open(folder / "stim_map.fits") as hdus:
        stim = np.array(hdus["SCI"].data, dtype=float) / hdus["SCI"].header["THRESH"]
    scale = abs(header.get("CDELT2", 0.0)) * 3600
    x, y = header["CRPIX1"] - 1, header["CRPIX2"] - 1
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 7.4), layout="constrained")
    pictures = (
        ("S/N, matched filter", snr, {"cmap": "RdBu_r", "vmin": -8, "vmax": 8}),
        ("5-sigma limit [µJy]", 1e6 * limit, {"cmap": "viridis_r", "norm": LogNorm(40, 1000)}),
        ("completeness, 100 µJy", complete, {"cmap": "viridis", "vmin": 0, "vmax": 1}),
        ("STIM / threshold", stim, {"cmap": "magma", "vmin": 0, "vmax": 1.2}),
    )
    for ax, (title, image, style) in zip(axes.flat, pictures, strict=True):
        ny, nx = image.shape
        extent = np.array([-0.5 - x, nx - 0.5 - x, -0.5 - y, ny - 0.5 - y]) * scale
        drawn = ax.imshow(image, origin="lower", extent=tuple(extent), **style)
        ax.plot(0, 0, "+", color="0.3", ms=6)
        ax.set(title=title, xlim=(-RADIUS, RADIUS), ylim=(-RADIUS, RADIUS))
        east_to_the_left(ax)
        figure.colorbar(drawn, ax=ax, shrink=0.9)
    save(figure, "measure_maps", dpi=95)


if __name__ == "__main__":
    main()
