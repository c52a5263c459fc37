"""Draw the figure of docs/stage2.md: an exposure, its background, and what two methods leave.

Usage: ``python docs/figures_stage2.py``. The background exposures have another level and other glow sticks than the
science exposure, as those of another visit; the subtraction is that of `lyot.calibrate`.
"""

from __future__ import annotations

import logging

import numpy as np
from figures_start import save
from figures_style import frame, use_style
from matplotlib import pyplot as plt

from lyot.calibrate.background import BackgroundExposure, BackgroundParams, subtract_background
from lyot.calibrate.glow_sticks import glow_excess, glow_strips
from lyot.geometry import radius_map
from lyot.instrument import coronagraph
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.simulator.background import field_stop, thermal_background

log = logging.getLogger("figures_stage2")
LEVEL, NOISE, INTEGRATIONS = 42.0, 1.0, 10
"""MJy/sr, and MJy/sr per pixel and integration."""
OTHER_LEVEL, OTHER_GLOW = 1.02, 0.75
"""Level and glow sticks of the other visit, relative to those of the science exposure."""
FLUX = 0.0341
"""Jy, of the star."""


def main() -> None:
    """Draw the figure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    use_style()
    rng = np.random.default_rng(2)
    c = coronagraph("F1550C")
    model = CoronagraphModel.build(c, OpticsParams(stop="effective", n_wavelengths=3))
    star = FLUX * 1e-6 / c.pixel_area * model.psf((0.004, -0.003)) * field_stop(c)
    science = rng.normal(thermal_background(c, LEVEL) + star, NOISE, (INTEGRATIONS, *c.shape))
    other = thermal_background(c, OTHER_LEVEL * LEVEL, glow=OTHER_GLOW)
    exposures = [BackgroundExposure(rng.normal(other, NOISE, (INTEGRATIONS, *c.shape))) for _ in range(2)]
    strips = glow_strips(c, c.shape, c.reference_point, exclusion_radius=4.0)
    away = radius_map(c.shape, c.reference_point) * float(np.mean(c.pixel_scale)) >= 4.0
    left = {}
    for method in ("clipped_mean", "scaled_glow"):
        params = BackgroundParams(method=method)
        found = subtract_background(science, exposures, params, fit_region=away, strips=strips)
        left[method] = found.data.mean(axis=0)
        excess = ", ".join(f"{e.name} {e.value:+.3f} ± {e.error:.3f}" for e in glow_excess(left[method], strips))
        log.info("%s: scale %.3f, glow %.3f, excess [MJy/sr] %s", method, found.scale[0], found.glow[0], excess)
    log.info("before: %s", ", ".join(f"{e.name} {e.value:+.3f}" for e in glow_excess(science.mean(axis=0), strips)))

    figure, axes = plt.subplots(2, 2, figsize=(8.8, 7.4), layout="constrained")
    x, y = c.reference_point
    sx, sy = c.pixel_scale
    extent = ((-0.5 - x) * sx, (c.shape[1] - 0.5 - x) * sx, (-0.5 - y) * sy, (c.shape[0] - 0.5 - y) * sy)
    raw = {"vmin": 0.8 * LEVEL, "vmax": 1.35 * LEVEL, "cmap": "viridis"}
    difference = {"vmin": -4.0, "vmax": 4.0, "cmap": "RdBu_r"}
    pictures = (
        ("a. Science exposure", science.mean(axis=0), raw),
        ("b. Background of another visit", found.image, raw),
        ("c. a − b: clipped_mean", left["clipped_mean"], difference),
        ("d. scaled_glow", left["scaled_glow"], difference),
    )
    for number, (ax, (title, image, style)) in enumerate(zip(axes.flat, pictures, strict=True)):
        drawn = ax.imshow(image, origin="lower", extent=extent, **style)
        frame(ax)
        ax.set(
            title=title,
            xlabel="along detector x [arcsec]" if number > 1 else "",
            xlim=(-12.5, 12.5),
            ylim=(-12.5, 12.5),
        )
        ax.set(xticks=(-10, -5, 0, 5, 10), yticks=(-10, -5, 0, 5, 10))
        if number in (0, 2):
            ax.set_ylabel("along detector y [arcsec]")
        if number in (1, 3):
            figure.colorbar(drawn, ax=axes[number // 2], label="MJy/sr", shrink=0.85, extend="both")
    save(figure, "stage2_background", dpi=100)


if __name__ == "__main__":
    main()
