"""Draw the figure of docs/simulator.md: what one simulated exposure is made of.

Usage: ``python docs/figures_simulator.py``. The scene is ``bright_planet``, F1550C, seed 1.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from figures_start import save
from figures_style import frame, use_style
from matplotlib import pyplot as plt
from matplotlib.colors import AsinhNorm, LogNorm

from lyot.instrument import coronagraph
from lyot.simulator.cosmic_rays import CosmicRays
from lyot.simulator.detector import build_detector
from lyot.simulator.exposure import RampMaker, decode, light_slope
from lyot.simulator.light import LightMaker
from lyot.simulator.plan import plan_sequence
from lyot.simulator.scene import BUNDLED_SCENES

SEED = 1
GROUPS = 25


def main() -> None:
    """Draw the figure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    use_style()
    c, scene = coronagraph("F1550C"), BUNDLED_SCENES["bright_planet"]
    science = next(e for e in plan_sequence(c, "small", scene, SEED) if e.role == "science")
    whole = LightMaker.build(scene, c.filter, SEED).light(science)
    no_planet = LightMaker.build(replace(scene, companions=()), c.filter, SEED).light(science)
    dark = replace(scene, companions=(), background=replace(scene.background, level=0.0))
    star = LightMaker.build(dark, c.filter, SEED).light(science).image
    detector = build_detector(c, SEED)
    exposure = replace(science, nints=1, ngroups=GROUPS)
    maker = RampMaker(exposure, light_slope(whole.image, detector), detector, seed=SEED, cosmic_rays=CosmicRays(5.0))
    with ThreadPoolExecutor(1) as pool:
        ramp = decode(next(iter(maker.integrations(pool))).science).astype(float)

    figure, axes = plt.subplots(2, 3, figsize=(10.4, 6.6), layout="constrained")
    x, y = c.reference_point
    sx, sy = c.pixel_scale
    ny, nx = c.shape
    extent = ((-0.5 - x) * sx, (nx - 0.5 - x) * sx, (-0.5 - y) * sy, (ny - 0.5 - y) * sy)
    light = {"norm": AsinhNorm(2.0, 0.0, 40.0), "cmap": "viridis"}
    ticks = (0, 1, 2, 5, 10, 20, 40)
    difference = ramp[-1] - ramp[0]
    pictures = (
        ("a. Star behind the mask", star, light, 3.0, "MJy/sr", ticks),
        ("b. Planet through the mask", whole.image - no_planet.image, light, 3.0, "MJy/sr", ticks),
        ("c. Background", no_planet.image - star, {"vmin": 30, "vmax": 56, "cmap": "viridis"}, 12.0,
         "MJy/sr", None),
        ("d. Dark current, hot pixels", np.maximum(detector.dark_rate, 1e-3),
         {"norm": LogNorm(0.03, 100), "cmap": "magma"}, 12.0, "DN/s", None),
        ("e. Last group, raw", ramp[-1], {"vmin": 7900, "vmax": 9000, "cmap": "viridis"}, 12.0, "DN", None),
        ("f. Last minus first group", difference, {"vmin": 60, "vmax": 150, "cmap": "viridis"}, 12.0, "DN", None),
    )  # fmt: skip
    for number, (ax, (title, image, style, radius, unit, marks)) in enumerate(zip(axes.flat, pictures, strict=True)):
        drawn = ax.imshow(image, origin="lower", extent=extent, **style)
        frame(ax)
        ax.set(title=title, xlim=(-radius, radius), ylim=(-radius, radius))
        ax.set(
            xlabel="along detector x [arcsec]" if number > 2 else "",
            ylabel="along detector y [arcsec]" if number % 3 == 0 else "",
        )
        figure.colorbar(drawn, ax=ax, label=unit, shrink=0.72, ticks=marks, format="%g", extend="both")
    save(figure, "simulator_layers", dpi=100)


if __name__ == "__main__":
    main()
