"""What is wrong with the input, and how much of each exposure is flagged: from what the run wrote about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from lyot.exposures.names import exposure_root, find_products, quality_files
from lyot.records.manifest import NOTES

COLUMNS = ("exposure", "role", "flagged per integration [%]", "relative stellar flux per integration", "excluded")

SHOWN = 8
"""Integrations of an exposure that are listed one by one; of more, the range is given."""


def read_quality(out: Path) -> dict[str, Any]:
    """Warnings and exposures of a run: ``{"warnings": [...], "exposures": [...]}``; empty lists without stage 3."""
    found: dict[str, Any] = {"warnings": [], "exposures": []}
    for path in quality_files(out / "stage3"):
        content = json.loads(path.read_text(encoding="utf-8"))
        for name in found:
            found[name] += content.get(name, [])
    return found


def read_notes(out: Path) -> list[str]:
    """What the last run said of its input when it was planned, one sentence each; empty if it left no such file."""
    path = out / NOTES
    return [str(line) for line in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def quality_rows(out: Path) -> list[tuple[str, ...]]:
    """Every exposure with its flagged fraction, in the columns `COLUMNS`: as used in stage 3, and as of stage 1."""
    rows: list[tuple[str, ...]] = []
    for item in read_quality(out)["exposures"]:
        left_out = [str(i) for i, used in enumerate(item["used"], start=1) if not used]
        rows.append(
            (
                exposure_root(item["exposure"]), "reference" if item["role"] == "psf" else item["role"],
                _numbers([100 * f for f in item["flagged"]], 2), _numbers(item["brightness"], 2),
                f"integration {', '.join(left_out)}" if left_out else "",
            )
        )  # fmt: skip
    for path in find_products(out / "stage1", "rateints"):
        rows.append((exposure_root(path), "slopes", _numbers(_flagged(path), 2), "", ""))
    return rows


def _flagged(path: Path) -> list[float]:
    """Percentage of DO_NOT_USE pixels in each integration."""
    with fits.open(path) as hdus:
        if "DQ" not in hdus:
            return []
        bad = (np.asarray(hdus["DQ"].data) & 1) > 0
    return [100 * float(plane.mean()) for plane in bad.reshape(-1, *bad.shape[-2:])]


def _numbers(values: Sequence[float | None], digits: int) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return ""
    if len(values) > SHOWN:
        return f"{min(known):.{digits}f} to {max(known):.{digits}f}"
    return ", ".join("unknown" if v is None else f"{v:.{digits}f}" for v in values)
