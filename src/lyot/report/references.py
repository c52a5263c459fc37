"""For the report: what each exposure of the reference star was worth, and the error budget of companions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.exposures.names import COMPANIONS, ERROR_BUDGET, exposure_root
from lyot.measure.systematics import STAR_TERM
from lyot.report.marks import finite, read_table
from lyot.written import error_text, with_error

REFERENCE_COLUMNS = (
    "exposure", "frames kept", "x [pixel]", "y [pixel]", "brightness", "shifted", "similarity",
    "increase if omitted [%]",
)  # fmt: skip

_BUDGET = {"flux [%]": ("flux", 100), "contrast [%]": ("contrast", 100),
           "separation [arcsec]": ("separation", 1), "position angle [deg]": ("position_angle", 1)}  # fmt: skip
"""Columns of the error budget: column of the table, and factor."""


Columns = dict[str, NDArray[Any]]


def _table(path: Path, extension: str) -> Columns | None:
    with fits.open(path) as hdus:
        if extension not in hdus:
            return None
        data = hdus[extension].data
        return {name: np.array(data[name]) for name in data.names}


def first_table(folder: Path, suffix: str, extension: str) -> Columns | None:
    """A table of the first product of a kind that has it."""
    tables = (_table(path, extension) for path in sorted(folder.glob(f"*_{suffix}.fits")))
    return next((t for t in tables if t is not None), None)


def _spread(values: NDArray[Any], errors: NDArray[Any] | None = None) -> str:
    """Mean of the frames, and their scatter where there are several, otherwise the error of the one."""
    good = values[np.isfinite(values)]
    if not good.size:
        return ""
    if good.size > 1:
        return with_error(float(good.mean()), float(good.std(ddof=1)))
    return with_error(float(good[0]), np.nan if errors is None else float(errors[np.isfinite(values)][0]))


def reference_rows(out: Path) -> list[tuple[str, ...]]:
    """One row of text per reference exposure, in the columns `REFERENCE_COLUMNS`; empty if there is none.

    Positions are those of the star relative to the science, brightness is relative to it: mean and scatter over the
    integrations (of one, the error of the fit), from the table ``REFS`` of ``psfalign``. Similarity and worth are from
    ``REFRANK`` of ``psfsub``.
    """
    planes = first_table(out / "stage3", "psfalign", "REFS")
    if planes is None:
        return []
    ranks = first_table(out / "stage3", "psfsub", "REFRANK")
    if ranks is not None and len(ranks["KEPT"]) != len(planes["EXPOSURE"]):
        ranks = None
    rows = []
    for exposure in np.unique(planes["EXPOSURE"]):
        mine = planes["EXPOSURE"] == exposure
        name = planes["FILENAME"][mine][0]
        name = name.decode() if isinstance(name, bytes) else str(name)
        kept = mine.sum() if ranks is None else ranks["KEPT"][mine].sum()
        row = [
            exposure_root(name),
            f"{kept} of {mine.sum()}",
            *(_spread(planes[key][mine], planes[f"E_{key}"][mine]) for key in ("DX", "DY", "SCALE")),
            "yes" if planes["APPLIED"][mine].any() else "no",
        ]
        if ranks is None:
            rows.append((*row, "", ""))
        else:
            worth = ranks["WORTH"][mine][0]
            rows.append((*row, _spread(ranks["SIMILAR"][mine]), f"{100 * worth:.2f}" if np.isfinite(worth) else ""))
    return rows


def budget_rows(out: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Every term of the error budget of every companion as text: names of the columns, and rows.

    Without the flux of the star, no contrast is known: its column and the term of the star's flux are left out.
    """
    table = read_table(out, ERROR_BUDGET)
    if table is None:
        return (), []

    def text(row: int, name: str, factor: float) -> str:
        value = finite(table, row, name)
        return "" if value is None else error_text(factor * value)

    companions = read_table(out, COMPANIONS)
    fitted = range(0 if companions is None else len(companions))
    known = companions is None or any(finite(companions, row, "contrast") is not None for row in fitted)
    shown = {title: how for title, how in _BUDGET.items() if known or how[0] != "contrast"}
    rows = [
        (str(table["companion"][row]), str(table["term"][row]), *(text(row, *how) for how in shown.values()))
        for row in range(len(table))
        if known or table["term"][row] != STAR_TERM
    ]
    return ("companion", "error", *shown), rows
