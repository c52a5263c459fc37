"""Small exposure files and whole sequences of them, with the archive's keywords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

SHAPES = {"uncal": (2, 3, 8, 9), "rateints": (2, 8, 9), "calints": (2, 8, 9)}
UNITS = {"uncal": "DN", "rateints": "DN/s", "calints": "MJy/sr"}


def write_exposure(path: Path, stage: str = "uncal", *, roll: float = 108.171, seed: int = 0, **keywords: Any) -> Path:
    """Write an exposure file of a few pixels; keywords with the value None are left out."""
    header = {
        "TELESCOP": "JWST", "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "EXP_TYPE": "MIR_4QPM", "FILTER": "F1550C",
        "CORONMSK": "4QPM_1550", "SUBARRAY": "MASK1550", "TARGPROP": "HIP-65426", "TARG_RA": 201.15,
        "TARG_DEC": -51.5, "PROGRAM": "01386", "OBSERVTN": "008", "VISITGRP": "04", "IS_PSF": False,
        "BKGDTARG": False, "NINTS": 2, "NGROUPS": 3, "EFFINTTM": 0.72, "PATT_NUM": 1, "NUMDTHPT": 1,
    }  # fmt: skip
    header |= keywords
    primary = fits.PrimaryHDU()
    for key, value in header.items():
        if value is not None:
            primary.header[key] = value
    data = np.random.default_rng(seed).normal(size=SHAPES[stage]).astype(np.float32)
    science = fits.ImageHDU(data, name="SCI")
    science.header["BUNIT"] = UNITS[stage]
    science.header.update({"ROLL_REF": roll, "V3I_YANG": 4.835, "CRPIX1": 5.0, "CRPIX2": 5.0})
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, science]).writeto(path)
    return path


def write_sequence(folder: Path, stage: str = "uncal", *, filter: str = "F1550C", offset: int = 0) -> Path:
    """Write two rolls, two reference dithers, a background each, and a target acquisition."""
    mask = {"CORONMSK": f"4QPM_{filter[1:5]}", "SUBARRAY": f"MASK{filter[1:5]}", "FILTER": filter}

    def name(observation: int, visit_group: str, number: int) -> Path:
        return folder / f"jw01386{observation + offset:03d}001_{visit_group}_{number:05d}_mirimage_{stage}.fits"

    def add(observation: int, number: int = 1, **keywords: Any) -> None:
        visit_group = "02101" if "BACKGROUND" in keywords.get("TARGPROP", "") else "04101"
        write_exposure(
            name(observation, visit_group, number), stage, seed=100 * observation + number,
            OBSERVTN=f"{observation + offset:03d}", PATT_NUM=number, **{**mask, **keywords},
        )  # fmt: skip

    reference = {"TARGPROP": "HIP-68245", "IS_PSF": True, "TARG_RA": 209.5, "TARG_DEC": -42.1, "roll": 95.0}
    add(8)
    add(9, roll=117.550)
    for dither in (1, 2):
        add(7, dither, **reference, NGROUPS=2, NUMDTHPT=2)
    add(30, TARGPROP="HIP-65426-BACKGROUND", BKGDTARG=True)
    add(31, TARGPROP="HIP-68245-BACKGROUND", BKGDTARG=True, TARG_RA=209.5, TARG_DEC=-42.1, NGROUPS=2)
    write_exposure(name(8, "02101", 1), stage, **{**mask, "EXP_TYPE": "MIR_TACQ", "FILTER": "FND"})
    return folder
