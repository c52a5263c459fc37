"""What was measured, for the report: companions with error bars, and the contrast curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table as AstroTable

from lyot.report import figures
from lyot.report.sections import Section, grid, render

CONTRAST = Path("measure") / "contrast.ecsv"
COMPANIONS = Path("measure") / "companions.ecsv"


def read_table(path: Path) -> AstroTable | None:
    """Read an ECSV table; None if it is not there or empty."""
    if not path.is_file():
        return None
    table = AstroTable.read(path, format="ascii.ecsv")
    return table if len(table) else None


def finite(table: AstroTable, row: int, name: str) -> float | None:
    """One value of a table; None where the column is missing, masked or not finite."""
    if name not in table.colnames or np.ma.is_masked(table[name][row]):
        return None
    value = float(table[name][row])
    return value if np.isfinite(value) else None


def with_error(table: AstroTable, row: int, name: str, digits: int) -> str:
    """Value and error of one quantity, e.g. ``0.812 ± 0.011``; empty when it is not known."""
    value, error = finite(table, row, name), finite(table, row, f"{name}_err")
    if value is None:
        return ""
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def scientific(table: AstroTable, row: int, name: str) -> str:
    """Value and error with the power of ten taken out, e.g. ``(6.1 ± 0.4)e-04``."""
    value, error = finite(table, row, name), finite(table, row, f"{name}_err")
    if value is None:
        return ""
    power = int(np.floor(np.log10(abs(value)))) if value else 0
    scaled = f"{value / 10.0**power:.2f}"
    return f"{scaled}e{power:+03d}" if error is None else f"({scaled} ± {error / 10.0**power:.2f})e{power:+03d}"


def companion_rows(table: AstroTable) -> list[tuple[str, ...]]:
    """Companions as text: separation, position angle, contrast, flux and S/N."""
    return [
        (
            str(row + 1),
            with_error(table, row, "separation", 4),
            with_error(table, row, "position_angle", 2),
            scientific(table, row, "contrast"),
            scientific(table, row, "flux"),
            with_error(table, row, "magnitude", 2),
            with_error(table, row, "snr", 1),
        )
        for row in range(len(table))
    ]


def contrast_section(out: Path) -> Section | None:
    """The contrast curve with the companions in it."""
    table = read_table(out / CONTRAST)
    if table is None:
        return None
    separation = np.asarray(table["separation"], dtype=float)
    curves = {
        label: (separation, np.asarray(table[name], dtype=float))
        for name, label in (("contrast_5sigma", "5 sigma, calibrated by injection"), ("contrast_raw", "5 sigma, raw"))
        if name in table.colnames and np.isfinite(np.asarray(table[name], dtype=float)).any()
    }
    figure, (ax,) = grid(1)
    figure.set_size_inches(7, 4.4)
    companions = []
    found = read_table(out / COMPANIONS)
    for row in range(len(found) if found is not None else 0):
        where, how_bright = finite(found, row, "separation"), finite(found, row, "contrast")
        if where is not None and how_bright is not None:
            companions.append((where, how_bright, f"companion {row + 1}"))
    if not curves:
        name, label = "flux_5sigma", "5 sigma flux [Jy]"
        if name not in table.colnames:
            return None
        curves = {label: (separation, np.asarray(table[name], dtype=float))}
        companions = []
    figures.draw_contrast(ax, curves, companions=companions)
    low, high = "contrast_5sigma_low", "contrast_5sigma_high"
    if low in table.colnames and high in table.colnames:
        bounds = (np.asarray(table[low], dtype=float), np.asarray(table[high], dtype=float))
        ax.fill_between(separation, *bounds, alpha=0.2, lw=0)
    caption = "Faintest companion seen at 5 sigma, with few-sample statistics; the band is the spread over angles."
    return Section("Contrast", "contrast", "", (render(figure, caption, "Contrast against separation"),))
