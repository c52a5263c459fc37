"""A tiny detector and tiny exposures of it, to run the official pipeline on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from astropy.io import fits

from lyot.instrument import Coronagraph, coronagraph
from lyot.simulate.detector import GROUP_TIME, DetectorModel, build_detector

SHAPE = (24, 32)


def tiny_coronagraph(name: str = "F1550C", shape: tuple[int, int] = SHAPE) -> Coronagraph:
    """A coronagraph with a subarray of a few hundred pixels around its reference point."""
    c = coronagraph(name)
    x, y = c.reference_point
    column, row = int(x) - shape[1] // 2, int(y) - shape[0] // 2
    return dataclasses.replace(
        c,
        shape=shape,
        first_column=c.first_column + column,
        first_row=c.first_row + row,
        reference_point=(x - column, y - row),
    )


def tiny_detector(name: str = "F1550C", seed: int = 3, shape: tuple[int, int] = SHAPE) -> DetectorModel:
    """The same window of the full subarray's detector."""
    full, small = coronagraph(name), tiny_coronagraph(name, shape)
    rows = slice(small.first_row - full.first_row, small.first_row - full.first_row + shape[0])
    columns = slice(small.first_column - full.first_column, small.first_column - full.first_column + shape[1])
    whole = build_detector(full, seed)
    maps = {
        field.name: np.ascontiguousarray(getattr(whole, field.name)[..., rows, columns])
        for field in dataclasses.fields(whole)
        if isinstance(getattr(whole, field.name), np.ndarray)
    }
    return dataclasses.replace(whole, coronagraph=small, **maps)


def measured(detector: DetectorModel, linear: np.ndarray) -> np.ndarray:
    """Invert the linearity polynomial by Newton's method: (ngroups, ny, nx) linear DN to measured DN."""
    c = detector.linearity
    m = np.array(linear, dtype=float)
    for _ in range(8):
        value = c[0] + m * (c[1] + m * (c[2] + m * c[3]))
        slope = c[1] + m * (2 * c[2] + 3 * m * c[3])
        m -= (value - linear) / slope
    return m


def noiseless_ramp(detector: DetectorModel, rate: np.ndarray, nints: int, ngroups: int) -> np.ndarray:
    """Ramp of a constant scene [DN/s] in the file's DN, without noise, by the simulator's convention; not rounded."""
    times = (np.arange(ngroups) + 1) * GROUP_TIME[detector.coronagraph.kind]
    linear = detector.pedestal + times[:, None, None] * (rate * detector.flat + detector.dark_rate)
    one = measured(detector, linear)
    return np.stack([one + detector.reset_anomaly(ngroups, i) for i in range(nints)])


def header_cards(c: Coronagraph, *, exposure: int, observation: int, nints: int, ngroups: int, psf: bool) -> dict:
    return {
        "TELESCOP": "JWST", "PROGRAM": "01386", "OBSERVTN": f"{observation:03d}", "VISIT": "001", "VISITGRP": "03",
        "SEQ_ID": "1", "ACT_ID": "01", "EXPOSURE": str(exposure), "DATE": "2022-07-17T00:00:00",
        "DATE-OBS": "2022-07-17", "TIME-OBS": "10:00:00.000", "DATE-BEG": "2022-07-17T10:00:00.000",
        "DATE-END": "2022-07-17T10:10:00.000", "OBS_ID": f"V01386{observation:03d}001P0000000003101",
        "TARGPROP": "HIP-65426", "TARGNAME": "HIP 65426", "TARGTYPE": "FIXED", "TARG_RA": 201.15, "TARG_DEC": -51.5,
        "PROP_RA": 201.15, "PROP_DEC": -51.5, "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": c.filter,
        "CORONMSK": c.mask, "EXP_TYPE": c.exposure_type, "READPATT": "FASTR1", "NINTS": nints, "NGROUPS": ngroups,
        "EXPSTART": 59777.4, "EXPMID": 59777.41, "EXPEND": 59777.42,
        "NFRAMES": 1, "FRMDIVSR": 1, "GROUPGAP": 0, "DRPFRMS1": 0, "DRPFRMS3": 0, "NRESETS": 1, "NSAMPLES": 1,
        "TSAMPLE": 10.0, "TFRAME": GROUP_TIME[c.kind], "TGROUP": GROUP_TIME[c.kind],
        "EFFINTTM": ngroups * GROUP_TIME[c.kind], "EFFEXPTM": nints * ngroups * GROUP_TIME[c.kind],
        "SUBARRAY": c.subarray, "SUBSTRT1": c.first_column, "SUBSTRT2": c.first_row, "SUBSIZE1": c.shape[1],
        "SUBSIZE2": c.shape[0], "FASTAXIS": 1, "SLOWAXIS": 2, "IS_PSF": psf, "SELFREF": False, "BKGDTARG": False,
        "APERNAME": c.aperture, "PPS_APER": c.aperture, "ZEROFRAM": False, "DATAMODL": "Level1bModel",
    }  # fmt: skip


def wcs_cards(c: Coronagraph, roll: float) -> dict:
    return {
        "RA_V1": 201.3, "DEC_V1": -51.4, "PA_V3": roll, "WCSAXES": 2, "CRPIX1": c.reference_point[0] + 1,
        "CRPIX2": c.reference_point[1] + 1, "CRVAL1": 201.15, "CRVAL2": -51.5, "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "CDELT1": c.pixel_scale[0] / 3600,
        "CDELT2": c.pixel_scale[1] / 3600, "V2_REF": c.v2_ref, "V3_REF": c.v3_ref, "VPARITY": -1,
        "V3I_YANG": 4.83544897, "RA_REF": 201.15, "DEC_REF": -51.5, "ROLL_REF": roll, "VA_SCALE": 1.0,
        "BUNIT": "DN",
    }  # fmt: skip


def write_uncal(folder: Path, detector: DetectorModel, rate: np.ndarray, **kw) -> Path:
    """Write a level-1b file; keywords: exposure, observation, nints, ngroups, psf, roll."""
    kw = {"exposure": 1, "observation": 8, "nints": 2, "ngroups": 12, "psf": False, "roll": 103.3} | kw
    roll = kw.pop("roll")
    c = detector.coronagraph
    data = noiseless_ramp(detector, rate, kw["nints"], kw["ngroups"])
    primary = fits.PrimaryHDU()
    name = f"jw01386{kw['observation']:03d}001_03101_{kw['exposure']:05d}_mirimage_uncal.fits"
    for key, value in {**header_cards(c, **kw), "FILENAME": name}.items():
        primary.header[key] = value
    sci = fits.ImageHDU(np.round(np.clip(data, 0, detector.full_well)).astype(np.uint16), name="SCI")
    for key, value in wcs_cards(c, roll).items():
        sci.header[key] = value
    from stdatamodels.jwst import datamodels

    with datamodels.Level1bModel(fits.HDUList([primary, sci])) as model:  # adds the metadata extension stpipe reads
        model.save(folder / name)
    return folder / name
