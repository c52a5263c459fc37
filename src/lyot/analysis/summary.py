"""What a run found, in short: companions with their errors, and the limits at a few separations."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from lyot.analysis.combined_image import UNCOMPARED, is_candidate, read_detections
from lyot.errors import InputError
from lyot.exposures.names import COMPANIONS, CONTRAST, DETECTIONS
from lyot.geometry import sky_offset
from lyot.measure.detected import NOT_COMPARED
from lyot.records.tables import read_ecsv
from lyot.written import plural, position_text

log = logging.getLogger(__name__)

LIMITS_AT = (0.5, 1.0, 2.0, 5.0)
"""Separations at which limits are told, arcsec."""


_COLUMNS = {
    "separation": "separation", "separation_error": "separation_err", "position_angle": "position_angle",
    "position_angle_error": "position_angle_err", "flux": "flux", "flux_error": "flux_err", "contrast": "contrast",
    "contrast_error": "contrast_err", "snr": "snr",
}  # fmt: skip
"""Columns of the table of companions behind the attributes of `Fitted`."""


@dataclass(frozen=True)
class Fitted:
    """A companion as it was fitted.

    Attributes
    ----------
    separation, separation_error : float
        arcsec.
    position_angle, position_angle_error : float
        Degrees east of north.
    flux, flux_error : float
        Jy, before the mask; the error is statistical and systematic.
    contrast, contrast_error : float
        NaN where the star's flux is not known.
    snr : float
        Flux over its statistical error.
    significance : float
        Of the detection at this place, Gaussian sigmas; NaN if there is none.
    false_alarm : float
        Probability that noise makes such a peak anywhere in the image; NaN if there is no detection at this place.
    upper_limit : float
        Flux at 95 %, Jy, where nothing was detected; NaN otherwise.
    candidate : bool
        Whether the detection at this place may be noise, by its false-alarm probability.
    """

    separation: float
    separation_error: float
    position_angle: float
    position_angle_error: float
    flux: float
    flux_error: float
    contrast: float
    contrast_error: float
    snr: float
    significance: float
    false_alarm: float
    upper_limit: float
    candidate: bool = False


def _value(row: Any, name: str) -> float:
    """A number of a row; NaN where the column is missing or masked."""
    if name not in row.colnames or np.ma.is_masked(row[name]):
        return float("nan")
    return float(row[name])


def read_fitted(folder: Path) -> tuple[Fitted, ...]:
    """Companions of a folder of measurements, in the order of the table.

    Parameters
    ----------
    folder : Path
        ``measure`` in the output folder of a run, or that of a target below it.

    Returns
    -------
    tuple of Fitted
        Empty if none was fitted.
    """
    if not (folder / COMPANIONS).is_file():
        return ()
    table = read_ecsv(folder / COMPANIONS)
    sources = _detections(folder / DETECTIONS)
    unsure = is_candidate(sources)
    resolution = float(table.meta.get("fwhm_arcsec", 0.5))
    found = []
    for row in table:
        here = sky_offset(float(row["separation"]), float(row["position_angle"]))
        near = [s for s in sources if np.hypot(*np.subtract(here, _place(s))) < resolution]
        best = max(near, key=lambda s: float(s["snr"]), default=None)
        limit = _value(row, "flux_upper_limit")
        values = {name: _value(row, column) for name, column in _COLUMNS.items()}
        for name in ("significance", "false_alarm"):
            values[name] = float("nan") if best is None else _value(best, name)
        candidate = best is not None and bool(unsure[best.index])
        found.append(Fitted(**values, upper_limit=limit if limit > 0 else float("nan"), candidate=candidate))
    return tuple(found)


def unchecked_sources(folder: Path) -> list[str]:
    """A sentence about each source of a folder of measurements that was not compared between rolls, or one for all."""
    table = _detections(folder / DETECTIONS)
    if UNCOMPARED in table.meta:
        return [
            f"no source was compared between rolls, because {table.meta[UNCOMPARED]}; look at the images of the single "
            "rolls."
        ]
    if "reason" not in table.colnames:
        return []
    return [
        f"the source at {position_text(row['separation'], row['position_angle'])} was not compared "
        "between rolls, because it is behind a mask boundary or outside of the data in all rolls but one; a defect in "
        "this roll would look the same."
        for row in table
        if row["reason"] == NOT_COMPARED
    ]


def _detections(path: Path) -> Table:
    """Detections; an empty table without them, and where they are damaged: companions are known without."""
    try:
        return read_detections(path) if path.is_file() else Table()
    except InputError as error:
        log.warning("%s", error)
        return Table()


def _place(source: Any) -> tuple[Any, Any]:
    return sky_offset(float(source["separation"]), float(source["position_angle"]))


@dataclass(frozen=True)
class Limit:
    """The flux that can be seen at a separation.

    Attributes
    ----------
    separation : float
        arcsec.
    flux : float
        Jy; NaN where no limit was measured.
    contrast : float
        NaN where the star's flux is not known, too.
    """

    separation: float
    flux: float
    contrast: float


def read_limits(folder: Path, separations: tuple[float, ...] = LIMITS_AT) -> tuple[tuple[Limit, ...], float]:
    """Limits at some separations, interpolated in the logarithms of separation and flux.

    Parameters
    ----------
    folder : Path
        As for `read_fitted`.
    separations : tuple of float, optional
        arcsec.

    Returns
    -------
    tuple of Limit
        Empty if the contrast was not measured, or at no separation.
    float
        Level of the limits, Gaussian sigmas.
    """
    path = folder / CONTRAST
    if not path.is_file():
        return (), float("nan")
    table = read_ecsv(path)
    if not len(table):
        return (), float("nan")
    known = np.asarray(table["separation"], dtype=float)
    values = {
        name: _at(known, np.asarray(table[name], dtype=float), separations)
        if name in table.colnames
        else [float("nan")] * len(separations)
        for name in ("flux_5sigma", "contrast_5sigma")
    }
    limits = tuple(map(Limit, separations, values["flux_5sigma"], values["contrast_5sigma"]))
    return limits, float(table.meta.get("sigma", 5.0))


def _at(separation: Any, limit: Any, wanted: tuple[float, ...]) -> list[float]:
    """Interpolate between the two separations around each wanted one; NaN where one of them has no limit."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.exp(np.interp(np.log(wanted), np.log(separation), np.log(limit), left=np.nan, right=np.nan))
    return [float(v) for v in found]


_ABOUT = re.compile(r"(?:\S*/)?([\w.+-]+\.fits|jw[\w-]+): (.+)", re.DOTALL)
"""A sentence about a file or an exposure."""

_FIGURE = re.compile(r"(?<!integration )(?<!segment )(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")
"""A number that may differ between sentences that say the same; that of an integration or a segment may not."""

NAMED = 2
"""Files that are named of those for which a sentence holds."""


def merged(texts: Iterable[str]) -> list[str]:
    """Sentences that differ only in the file and in figures as one: number of files, the first names, range of figures.

    Parameters
    ----------
    texts : iterable of str
        Such as ``a.fits: integration 2 has 12 % of its pixels flagged``; others are kept as they are.

    Returns
    -------
    list of str
        In the order of the first of each kind, each once.
    """
    kinds: dict[tuple[bool, str], list[tuple[str, str]]] = {}
    for text in dict.fromkeys(texts):
        found = _ABOUT.fullmatch(text)
        kind = (bool(found), _FIGURE.sub("#", found[2]) if found else text)
        kinds.setdefault(kind, []).append((found[1], found[2]) if found else ("", text))
    return [line for items in kinds.values() for line in _merged(items)]


def _merged(items: list[tuple[str, str]]) -> list[str]:
    names = list(dict.fromkeys(name for name, _ in items))
    if len(names) == 1:
        return [f"{name}: {text}" if name else text for name, text in items]
    noun = "file" if all(name.endswith(".fits") for name in names) else "exposure"
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    figures = zip(*(_FIGURE.findall(text) for _, text in items), strict=True)
    ranges = iter([_range(values) for values in figures])
    text = _FIGURE.sub(lambda _: next(ranges), items[0][1])
    return [f"{plural(len(names), noun)} ({', '.join(names[:NAMED])}{rest}): {text}"]


def _range(values: Iterable[str]) -> str:
    low, *_, high = sorted([*values] * 2, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"
