"""Picture of a fit of the optics: the stop, and data, model and residual of each exposure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure

from lyot.analysis.optics_fit import FittedExposures
from lyot.optics.pupil import GRID_DIAMETER, jwst_pupil
from lyot.optics.stops import geometric_stop

_SAMPLES = 192


def draw_fit(found: FittedExposures, path: Path) -> None:
    """Draw and write the picture, PNG.

    Parameters
    ----------
    found : FittedExposures
    path : Path
    """
    n = len(found.names)
    figure = Figure(figsize=(1.6 * max(n, 5) + 1.2, 8.2), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(1, 1.75), squeeze=False)
    stops, images = parts[0, 0], parts[1, 0]
    axes = stops.subplots(1, 3)
    half = GRID_DIAMETER / 2
    extent = (-half, half, -half, half)
    pupil = jwst_pupil(_SAMPLES).amplitude
    maps = (("geometric stop", geometric_stop(_SAMPLES)), ("fitted stop", found.fit.optics.stop(_SAMPLES)))
    for ax, (title, stop) in zip(axes, maps, strict=False):
        shown = ax.imshow(stop, origin="lower", extent=extent, cmap="cividis", vmin=0, vmax=1)
        ax.contour(pupil, levels=[0.5], extent=extent, colors="#d0493c", linewidths=0.6)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("m")
    figure.colorbar(shown, ax=axes[:2], label="transmission", shrink=0.85)
    opd = np.where(jwst_pupil(len(found.fit.optics.opd)).amplitude > 0.5, found.fit.optics.opd * 1e9, np.nan)
    limit = float(np.nanpercentile(np.abs(opd), 99.0)) or 1.0
    shown = axes[2].imshow(opd, origin="lower", extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[2].set_title("wavefront", fontsize=10)
    axes[2].set_xlabel("m")
    figure.colorbar(shown, ax=axes[2], label="nm", shrink=0.85)
    rows = images.subplots(3, n, squeeze=False)
    data = found.frames - found.fit.background[:, None, None]
    top = float(np.nanpercentile(data, 99.9))
    norm = AsinhNorm(linear_width=0.05 * top, vmin=-0.1 * top, vmax=top)
    model = found.fit.models - found.fit.background[:, None, None]
    for row, (label, cube) in zip(
        rows, (("data", data), ("model", model), ("residual", found.fit.residuals)), strict=True
    ):
        for k, ax in enumerate(row):
            shown = ax.imshow(cube[k], origin="lower", norm=norm, cmap="inferno")
            ax.set_xticks([])
            ax.set_yticks([])
            if k == 0:
                ax.set_ylabel(label)
    for k, ax in enumerate(rows[0]):
        ax.set_title(f"{k + 1}" + (" (left out)" if k in found.left_out else ""), fontsize=9)
    images.colorbar(shown, ax=rows, label="MJy/sr", shrink=0.8)
    figure.suptitle(f"{found.coronagraph.filter}: fit of the optics", fontsize=11)
    figure.savefig(path, dpi=130)
