"""Ramps of sample pixels in the report."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lyot import dq
from lyot.report.ramps import pixels_to_show, ramps_picture

GROUPS = 12


def write(folder, root, *, is_psf=False, background=False, slopes=(5.0, 50.0, 4.0, 6.0), jumps=(0, 0, 2, 0)):
    n = len(slopes)
    time = 0.5 * np.arange(1, GROUPS + 1)
    ramp = np.array(slopes)[:, None] * time
    flags = np.zeros((n, GROUPS), np.uint8)
    flags[:, -1] = dq.DO_NOT_USE
    for k, count in enumerate(jumps):
        flags[k, 3 : 3 + count] = dq.JUMP_DET
        ramp[k, 3:] += 40.0 * bool(count)
    table = fits.BinTableHDU(Table({
        "X": np.arange(n) + 10, "Y": np.arange(n) + 20, "RAMP": ramp.astype("f4"), "FLAGS": flags,
        "SLOPE": np.array(slopes, "f4"), "ERR": np.full(n, 0.5, "f4"),
    }), name="SAMPLES")  # fmt: skip
    for name, unit in (("RAMP", "DN"), ("SLOPE", "DN/s"), ("ERR", "DN/s")):
        table.columns[name].unit = unit  # which the FITS standard does not know, and nobody is to be warned of
    table.header["TGROUP"], table.header["INTEGR"] = 0.5, 2
    folder.mkdir(exist_ok=True)
    table.writeto(folder / f"{root}_samples.fits")
    header = fits.Header({"IS_PSF": is_psf, "BKGDTARG": background, "TARGPROP": "A STAR"})
    fits.PrimaryHDU(header=header).writeto(folder / f"{root}_rateints.fits")


def test_the_brightest_the_one_with_jumps_and_a_typical_pixel():
    table = Table({"SLOPE": [5.0, np.nan, 50.0, 4.0, 7.0], "FLAGS": np.zeros((5, 3), np.uint8)})
    table["FLAGS"][3, 1] = dq.JUMP_DET
    assert pixels_to_show(table) == [2, 3, 0]  # 5 is the lower median of those that are left
    table["SLOPE"] = np.nan
    assert pixels_to_show(table) == []


def test_science_and_reference_are_drawn_and_backgrounds_are_not(tmp_path):
    assert ramps_picture(tmp_path) is None
    write(tmp_path / "stage1", "jw1_bkg", background=True)
    assert ramps_picture(tmp_path) is None
    write(tmp_path / "stage1", "jw1_lost", slopes=(np.nan, np.nan), jumps=(0, 0))
    assert ramps_picture(tmp_path) is None
    (tmp_path / "stage1" / "jw1_lost_samples.fits").unlink()
    write(tmp_path / "stage1", "jw2_star")
    write(tmp_path / "stage1", "jw3_psf", is_psf=True, jumps=(0, 0, 0, 0))
    picture = ramps_picture(tmp_path)
    assert [set(np.unique(picture.table["exposure"]))] == [{"jw2_star", "jw3_psf"}]
    assert all(picture.table[c].description for c in picture.table.colnames)
    titles = [ax.get_title() for ax in picture.figure.axes]
    assert titles[0] == "A STAR, pixel 11, 21\n50.00 ± 0.50 DN/s"
    assert titles[1] == "A STAR, pixel 12, 22\n4.00 ± 0.50 DN/s, 2 groups flagged as jump"
    star = picture.table[picture.table["x"] == 11]
    # the slope is the ramp's own: nothing is left of it, to the rounding of float32 of some 300 DN
    assert np.abs(star["residual"][star["exposure"] == "jw2_star"]).max() < 1e-3
    jumped = picture.table[(picture.table["x"] == 12) & (picture.table["exposure"] == "jw2_star")]
    assert jumped["residual"][-1] - jumped["residual"][0] == pytest.approx(40.0, abs=1e-3)
    picture.rendered("png", 60)
