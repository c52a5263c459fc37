"""Keywords and extensions that several packages write or read: the star's position, the pixel scale, and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyot.geometry import scale_of_matrix

Card = tuple[str, Any, str]
"""Keyword, value, comment."""

STAR_SOURCES = {"reference": "CRPIX", "acquisition": "ACQUISITION", "model": "MODEL", "given": "GIVEN"}
"""What STARFROM says of where the star's position is from."""

STAR_OFFSETS = ("STARDX", "STARDY")
"""Keywords of the star's offset from the reference point of the mask, mas along the detector's axes."""

STAR_ERRORS = ("STARERRX", "STARERRY")
"""One-sigma errors of the star's position along the detector's axes, mas."""

PARAMETERS_TABLE = "KLIPPARS"
"""Extension of ``psfsub`` with the parameters of the subtraction: name and value (JSON)."""

DARK_BEYOND = "DARKBEYD"
"""Keyword of the number of frames of an exposure's ramps that the dark reference does not cover."""

BACKGROUND_IMAGE = "BACKGROUND"
"""Extension of an exposure with the mean background that stage 2 subtracted."""


def star_offset_cards(source: str, offset: ArrayLike, error: ArrayLike, note: str = "") -> list[Card]:
    """Where the star is behind the mask.

    Parameters
    ----------
    source : str
        One of the values of `STAR_SOURCES`.
    offset, error : (2,) array_like of float
        From the mask's reference point along detector x and y, and its error, mas.
    note : str, optional
        Why it is not what was asked for.
    """
    (dx, dy), (ex, ey) = ([float(v) for v in np.asarray(pair)] for pair in (offset, error))
    cards: list[Card] = [
        ("STARFROM", source, "origin of the star position"),
        (STAR_OFFSETS[0], round(dx, 3), "[mas] star from reference point, detector x"),
        (STAR_OFFSETS[1], round(dy, 3), "[mas] star from reference point, detector y"),
        (STAR_ERRORS[0], round(ex, 3), "[mas] error of STARDX"),
        (STAR_ERRORS[1], round(ey, 3), "[mas] error of STARDY"),
    ]
    text = " ".join(note.encode("ascii", "replace").decode().split())  # a path may hold any letter
    return cards + ([("STARNOTE", text[:68], "")] if text else [])


def star_pixel_cards(center: tuple[float, float]) -> list[Card]:
    """Where the star is in a north-up image: `center` is (x, y) in 0-based pixels."""
    return [
        ("STARX", center[0] + 1, "[pixel] position of the star, 1-based"),
        ("STARY", center[1] + 1, "[pixel] position of the star, 1-based"),
    ]


def dark_beyond_card(frames: int) -> Card:
    """Card of the number of frames of an exposure's ramps that the dark reference does not cover."""
    return DARK_BEYOND, frames, "[frame] of the ramps not covered by the dark"


def star_pixel(primary: Mapping[str, Any], science: Mapping[str, Any]) -> tuple[float, float]:
    """Position (x, y) of the star in a north-up image, 0-based pixels: STARX and STARY, else CRPIX."""
    return (
        float(primary.get("STARX", science["CRPIX1"]) - 1),
        float(primary.get("STARY", science["CRPIX2"]) - 1),
    )


def pixel_scale(header: Mapping[str, Any]) -> tuple[float, float]:
    """Pixel scale (x, y) in arcsec, from the linear WCS or the pixel area; (1, 1) where neither is there."""
    if "CD1_1" in header:
        return scale_of_matrix([[header.get(f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)])
    if "CDELT1" in header:
        pc = [[header.get(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
        return scale_of_matrix(np.array(pc) * np.array([[header["CDELT1"]], [header["CDELT2"]]]))
    side = float(np.sqrt(header.get("PIXAR_A2") or 1.0))
    return side, side
