"""Ramps of a few pixels of the exposures, with their jumps, next to the slopes that were fitted to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyot import dq
from lyot.exposures.names import SAMPLES, exposure_root, find_products, product_beside
from lyot.report.content import Picture, data_table, grid
from lyot.written import plural, with_error

SHOWN = 3
"""Pixels of each exposure."""

_JUMP, _SATURATED, _USED, _UNUSED = "#d1495b", "#e0a030", "#0b6e99", "#b8bec4"


def ramps_picture(out: Path) -> Picture | None:
    """Ramps of sample pixels of the first science and the first reference exposure; None where none were kept."""
    chosen: dict[bool, tuple[Path, fits.Header]] = {}
    for path in find_products(out / "stage1", SAMPLES):
        slopes = product_beside(path, "rateints")
        if not slopes.is_file():
            continue
        header = fits.getheader(slopes)
        if not header.get("BKGDTARG"):
            chosen.setdefault(bool(header.get("IS_PSF")), (path, header))
    exposures = [
        (path, header, Table.read(path, hdu="SAMPLES", unit_parse_strict="silent"))
        for _, (path, header) in sorted(chosen.items())
    ]
    picked = [(path, header, table, k) for path, header, table in exposures for k in pixels_to_show(table)]
    if not picked:
        return None
    figure, axes = grid(len(picked), SHOWN, tall=0.78)
    for ax, (_, header, table, k) in zip(axes, picked, strict=True):
        _draw(ax, table, k)
        ax.set_title(f"{header.get('TARGPROP', '')}, pixel {table['X'][k]}, {table['Y'][k]}\n{_slope_text(table, k)}",
                     fontsize=7.5)  # fmt: skip
    for ax in axes[::SHOWN]:
        ax.set_ylabel("ramp - slope x time [DN]", fontsize=8)
    for ax in axes[-SHOWN:]:
        ax.set_xlabel("time [s]", fontsize=8)
    axes[0].legend(*_legend(axes), fontsize=6.5, frameon=False, loc="best")
    numbers = ", ".join(dict.fromkeys(str(t.meta["INTEGR"]) for _, _, t in exposures))
    caption = (
        f"Corrected ramps of sample pixels in integration {numbers} with the fitted slope subtracted: the brightest "
        "pixel, the one with the most jumps, and a typical one. An unmarked step is a missed jump; curvature is due "
        "to residual nonlinearity or a reset effect."
    )
    alt = f"Ramps of {len(picked)} pixels with the fitted slope subtracted, jumps marked"
    return Picture("sample_ramps", figure, caption, alt, table=_as_table(picked))


def pixels_to_show(table: Table) -> list[int]:
    """Rows of a table of samples: the brightest pixel, the one with most jumps, and a typical one.

    Parameters
    ----------
    table : Table
        As ``<exposure>_samples.fits``: SLOPE (NaN where none could be fitted) and FLAGS.

    Returns
    -------
    list of int
        At most `SHOWN` rows, each once; fewer where fewer have a slope.
    """
    slope = np.asarray(table["SLOPE"], dtype=float)
    good = np.flatnonzero(np.isfinite(slope))
    jumps = ((np.asarray(table["FLAGS"]) & dq.JUMP_DET) > 0).sum(axis=1)
    typical = np.abs(slope - np.median(slope[good])) if len(good) else slope
    found: list[int] = []
    for rank in (slope, jumps + 1e-9 * np.nan_to_num(slope), -typical):
        left = [int(k) for k in good if int(k) not in found]
        if left:
            found.append(max(left, key=lambda k: float(rank[k])))
    return found


def _residual(table: Table, k: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Time of each group, ramp less slope x time (0 in the mean of the groups that were used), and flags."""
    ramp, flags = np.asarray(table["RAMP"][k], dtype=float), np.asarray(table["FLAGS"][k])
    time = table.meta["TGROUP"] * np.arange(1, len(ramp) + 1)
    used = (flags & dq.DO_NOT_USE) == 0
    residual = ramp - float(table["SLOPE"][k]) * time
    return time, residual - (residual[used].mean() if used.any() else residual.mean()), flags


def _draw(ax: Axes, table: Table, k: int) -> None:
    time, residual, flags = _residual(table, k)
    unused, jump = (flags & dq.DO_NOT_USE) > 0, (flags & dq.JUMP_DET) > 0
    saturated = (flags & dq.SATURATED) > 0
    ax.axhline(0.0, color="0.8", lw=0.8)
    for which, color, label in (
        (~unused & ~jump, _USED, "used"), (unused & ~saturated & ~jump, _UNUSED, "not used"),
        (saturated, _SATURATED, "saturated"),
    ):  # fmt: skip
        ax.plot(time[which], residual[which], ".", ms=3.5, color=color, label=label if which.any() else None)
    for t in time[jump]:
        ax.axvline(t, color=_JUMP, lw=0.7, alpha=0.6)
    ax.plot(time[jump], residual[jump], "x", ms=5, color=_JUMP, label="jump" if jump.any() else None)
    shown = residual[~unused] if (~unused).any() else residual
    low, high = np.min(shown), np.max(shown)
    margin = 0.15 * max(high - low, 1.0)
    ax.set_ylim(low - margin, high + margin)
    ax.tick_params(labelsize=7)


def _slope_text(table: Table, k: int) -> str:
    jumps = int(((np.asarray(table["FLAGS"][k]) & dq.JUMP_DET) > 0).sum())
    flagged = f", {plural(jumps, 'group')} flagged as jump" if jumps else ""
    return f"{with_error(float(table['SLOPE'][k]), float(table['ERR'][k]))} DN/s{flagged}"


def _legend(axes: list[Axes]) -> tuple[list[Any], list[str]]:
    """Every kind of group once."""
    entries = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    return list(entries.values()), list(entries)


def _as_table(picked: list[tuple[Path, fits.Header, Table, int]]) -> Table:
    parts = []
    for path, _, table, k in picked:
        time, residual, flags = _residual(table, k)
        n = len(time)
        parts.append(data_table({
            "exposure": ([exposure_root(path)] * n, "", "name of the exposure"),
            "x": ([int(table["X"][k])] * n, "pix", "column of the pixel, 0-based"),
            "y": ([int(table["Y"][k])] * n, "pix", "row of the pixel, 0-based"),
            "time": (time, "s", "end of the group, from the start of the integration"),
            "ramp": (table["RAMP"][k], "DN", "corrected ramp"),
            "residual": (residual, "DN", "ramp minus slope x time, 0 in the mean of the used groups"),
            "flags": (flags, "", "data-quality flags of the group, the sum of JWST bits"),
        }))  # fmt: skip
    return vstack(parts)
