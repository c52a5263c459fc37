"""Unit and meaning of every column of the binary tables in the products; the reference documentation shows the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.exposures.headers import PARAMETERS_TABLE, Card

_PLANE = ("", "plane of the stack, 0-based")
_EXPOSURE = ("", "number of the exposure in the association, 0-based")
_APERTURE = "MJy pix / sr"

COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    "REFS": {
        "PLANE": _PLANE,
        "EXPOSURE": _EXPOSURE,
        "FILENAME": ("", "file of the exposure"),
        "DX": ("pixel", "measured shift along detector x"),
        "DY": ("pixel", "measured shift along detector y"),
        "SCALE": ("", "brightness relative to the science image"),
        "E_DX": ("pixel", "error of DX"),
        "E_DY": ("pixel", "error of DY"),
        "E_SCALE": ("", "error of SCALE"),
        "APPLIED": ("", "whether the plane was shifted by DX, DY"),
    },
    "STARPOS": {
        "FILENAME": ("", "science exposure"),
        "DX": ("mas", "star minus reference point of the mask, detector x"),
        "DY": ("mas", "star minus reference point of the mask, detector y"),
        "DXERR": ("mas", "error of DX"),
        "DYERR": ("mas", "error of DY"),
        "FROM": ("", "origin of the position, as STARFROM"),
        "NOTE": ("", "why it is not the requested one"),
    },
    "REFRANK": {
        "PLANE": _PLANE,
        "EXPOSURE": _EXPOSURE,
        "SIMILAR": ("", "correlation with the science image"),
        "SCALE": ("", "brightness relative to the science image"),
        "KEPT": ("", "whether the plane is used"),
        "WORTH": ("", "relative increase of the residual rms without it"),
    },
    PARAMETERS_TABLE: {
        "NAME": ("", "parameter of the subtraction"),
        "VALUE": ("", "its value as JSON"),
    },
    "KLMODES": {
        "PLANE": ("", "plane of the cube, 0-based"),
        "MODES": ("", "number of KL modes"),
        "MAIN": ("", "whether it is the truncation of i2d"),
    },
    "PROTECTED": {
        "SEPARATION": ("arcsec", "distance of the source from the star"),
        "PA": ("deg", "position angle, east of north"),
        "SIGNAL": (_APERTURE, "aperture sum minus the mean of the ring"),
        "NOISE": (_APERTURE, "its noise, from the control positions"),
        "SNR": ("", "SIGNAL divided by NOISE"),
        "PLACES": ("", "number of control positions, masked identically"),
    },
    "SAMPLES": {
        "X": ("pixel", "column of the pixel, 0-based"),
        "Y": ("pixel", "row of the pixel, 0-based"),
        "RAMP": ("DN", "corrected ramp, one value per group"),
        "FLAGS": ("", "group data-quality flags"),
        "SLOPE": ("DN/s", "fitted slope"),
        "ERR": ("DN/s", "error of SLOPE"),
    },
}
"""Unit and description of the columns of each extension, in their order; some columns are in some products only."""

OFFICIAL: dict[str, dict[str, tuple[str, str]]] = {
    "INT_TIMES": {
        "integration_number": ("", "number of the integration in the exposure, from 1"),
        "int_start_MJD_UTC": ("d", "start of the integration, modified Julian date, UTC at the telescope"),
        "int_mid_MJD_UTC": ("d", "middle of the integration, modified Julian date, UTC at the telescope"),
        "int_end_MJD_UTC": ("d", "end of the integration, modified Julian date, UTC at the telescope"),
        "int_start_BJD_TDB": ("d", "start, barycentric Julian date minus 2400000.5, TDB"),
        "int_mid_BJD_TDB": ("d", "middle, barycentric Julian date minus 2400000.5, TDB"),
        "int_end_BJD_TDB": ("d", "end, barycentric Julian date minus 2400000.5, TDB"),
    },
}
"""The same for tables of the data models that the products contain as the ``jwst`` pipeline writes them."""


def with_units(extension: str, table: NDArray[Any]) -> tuple[fits.FITS_rec, list[Card]]:
    """A table as FITS stores it, with the units of `COLUMNS`, and the cards with the meaning of its columns.

    Parameters
    ----------
    extension : str
        Name of the extension.
    table : structured ndarray
        Its rows.

    Returns
    -------
    FITS_rec
        The same rows.
    list of Card
        ``TCOMMn`` of each column.

    Raises
    ------
    InputError
        If a column is not in `COLUMNS`.
    """
    names = np.asarray(table).dtype.names or ()
    known = COLUMNS.get(extension, {})
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(f"{extension}: no unit and description of {', '.join(unknown) or 'its columns'}.")
    columns = fits.BinTableHDU(np.array(table)).columns
    for name in names:
        if known[name][0]:
            columns[name].unit = known[name][0]
    rows = fits.BinTableHDU.from_columns(columns).data
    return rows, [(f"TCOMM{n}", known[name][1], "") for n, name in enumerate(names, 1)]


def plain(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows of a FITS table as a structured array in which truth values are bool; FITS stores them as letters."""
    table = np.asarray(rows)
    if not isinstance(rows, fits.FITS_rec):
        return table
    types = [(c.name, "?" if c.format == "L" else table.dtype[c.name]) for c in rows.columns]
    made = np.empty(table.shape, dtype=types)
    for name, kind in types:
        made[name] = rows[name] if kind == "?" else table[name]
    return made
