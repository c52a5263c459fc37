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

_COLUMNS = 5
"""Exposures next to each other; further ones go below."""

_PANEL = 2.3
"""Side of the image of an exposure, inches."""

_STOPS = 0.85
"""Height of the stops above, inches for each column."""


def draw_fit(found: FittedExposures, path: Path) -> None:
    """Draw and write the picture, PNG.

    Parameters
    ----------
    found : FittedExposures
    path : Path
    """
    n = len(found.names)
    columns, blocks = (_COLUMNS, -(-n // _COLUMNS)) if n > 3 else (3, 1)
    tall = blocks * (3 * _PANEL + 0.5) if n > 3 else n * _PANEL + 0.4
    figure = Figure(figsize=(_PANEL * columns + 1.4, _STOPS * columns + tall), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(_STOPS * columns, tall), squeeze=False)
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
    if n > 3:  # an exposure in a column, otherwise in a row
        rows = images.subplots(3 * blocks, columns, squeeze=False)
        panels = rows.reshape(blocks, 3, columns).transpose(0, 2, 1).reshape(-1, 3)
    else:
        panels = rows = images.subplots(n, 3, squeeze=False)
    data = found.frames - found.fit.background[:, None, None]
    top = float(np.nanpercentile(data, 99.9))
    norm = AsinhNorm(linear_width=0.05 * top, vmin=-0.1 * top, vmax=top)
    model = found.fit.models - found.fit.background[:, None, None]
    for ax in rows.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in panels[n:].flat:
        ax.set_axis_off()
    for k, own in enumerate(panels[:n]):
        for ax, cube in zip(own, (data, model, found.fit.residuals), strict=True):
            shown = ax.imshow(cube[k], origin="lower", norm=norm, cmap="inferno")
        name = f"exposure {k + 1}" + (" (excluded)" if k in found.left_out else "")
        if n > 3:
            own[0].set_title(name, fontsize=10)
        else:
            own[0].set_ylabel(name)
    for first in panels[: n if n > 3 else 1 : columns]:
        for ax, label in zip(first, ("data", "model", "residual"), strict=True):
            if n > 3:
                ax.set_ylabel(label)
            else:
                ax.set_title(label, fontsize=10)
    images.colorbar(shown, ax=rows, label="MJy/sr", shrink=0.8 / blocks)
    figure.suptitle(f"{found.coronagraph.filter}: fit of the optics", fontsize=12)
    figure.savefig(path, dpi=130)
