"""The comparison of the products of two reductions: what it sees, and what it passes over."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from benchmarks.compare_products import compare_folders, main


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the same products."""
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "stage3").mkdir(parents=True)
    image = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    image[0, 0] = np.nan
    primary = fits.PrimaryHDU()
    primary.header["DATE"], primary.header["FILTER"], primary.header["SCALE"] = "2026-01-01", "F1550C", 0.11
    rows = np.array([(1, 2.5, b"a"), (2, np.nan, b"b")], dtype=[("N", "i4"), ("DX", "f8"), ("NAME", "S4")])
    hdus = [
        primary,
        fits.ImageHDU(image, name="SCI"),
        fits.ImageHDU(image, name="ERR"),
        fits.BinTableHDU(rows, name="T"),
    ]
    fits.HDUList(hdus).writeto(before / "stage3" / "a_i2d.fits")
    table = Table({"flux": [1.0, 2.0], "name": ["b", "c"]}, meta={"modes": 5, "reduction": "key", "list": [1.0, 2.0]})
    table.write(before / "table.ecsv")
    content = {
        "warnings": [{"text": "x", "figure": None}],
        "numbers": [1.0, 2.0],
        "path": "/one/x.fits",
        "generator": 1,
    }
    (before / "quality.json").write_text(json.dumps(content))
    (before / "run.log").write_text("1")
    shutil.copytree(before, after)
    return before, after


def found(folders: tuple[Path, Path]) -> dict[str, tuple[str, int, float]]:
    """Differences by place: kind, number of values, largest difference."""
    _, differences = compare_folders(*folders)
    return {f"{d.file} {d.where}": (d.what, d.count, d.largest) for d in differences}


def test_nothing_differs_and_what_differs_in_each_run_does_not_count(folders):
    with fits.open(folders[1] / "stage3" / "a_i2d.fits", mode="update") as hdus:
        hdus[0].header["DATE"] = "2027-01-01"
    text = (folders[1] / "quality.json").read_text()
    (folders[1] / "quality.json").write_text(text.replace("/one/", "/two/").replace('"generator": 1', '"generator": 2'))
    (folders[1] / "run.log").write_text("2")
    assert compare_folders(*folders) == (3, [])
    assert main([str(f) for f in folders]) == 0


def test_pixels_columns_and_keywords_are_seen(folders, capsys):
    with fits.open(folders[1] / "stage3" / "a_i2d.fits", mode="update") as hdus:
        hdus[0].header["FILTER"], hdus[0].header["SCALE"] = "F1140C", 0.12
        hdus["SCI"].data[1, 1] += 0.5
        hdus["SCI"].data[2, 2] = np.nan
        hdus["T"].data["DX"][0] = 2.0
        hdus["T"].data["NAME"][1] = "z"
    name = "stage3/a_i2d.fits "
    differences = found(folders)
    assert differences[name + "SCI"] == ("values", 2, math.inf)
    assert differences[name + "T DX"] == ("values", 1, 0.5)
    assert differences[name + "T NAME"][:2] == ("text", 1)
    assert differences[name + "PRIMARY SCALE"][2] == pytest.approx(0.01)  # of 0.11
    assert "F1550C" in differences[name + "PRIMARY FILTER"][0] and len(differences) == 5
    assert main([str(f) for f in folders]) == 1
    assert "5 differences, 5 above 0" in capsys.readouterr().out
    assert main([*(str(f) for f in folders), "--ignore", "FILTER"]) == 1
    assert "[SCI]: values, 2 of 12, largest inf" in (shown := capsys.readouterr().out) and "4 differences" in shown


def test_what_is_missing_or_of_another_shape_is_seen(folders):
    path = folders[1] / "stage3" / "a_i2d.fits"
    with fits.open(path) as hdus:
        changed = [hdus[0].copy(), fits.ImageHDU(hdus["SCI"].data[:2], name="SCI"),
                   fits.ImageHDU(hdus["ERR"].data.astype(float), name="ERR"), fits.ImageHDU(name="NEW")]  # fmt: skip
    fits.HDUList(changed).writeto(path, overwrite=True)
    (folders[1] / "table.ecsv").unlink()
    (folders[1] / "more.json").write_text("{}")
    differences = {place: what for place, (what, *_) in found(folders).items() if "NAXIS" not in place}
    assert differences == {
        "table.ecsv file": "only before", "more.json file": "only after",
        "stage3/a_i2d.fits SCI": "shape (3, 4) before, (2, 4) after",
        "stage3/a_i2d.fits ERR": "type >f4 before, >f8 after",
        "stage3/a_i2d.fits ERR BITPIX": "values",
        "stage3/a_i2d.fits T": "only before", "stage3/a_i2d.fits NEW": "only after",
    }  # fmt: skip


def test_tables_and_json_are_compared_by_entry(folders):
    table = Table.read(folders[1] / "table.ecsv")
    table["flux"][1], table["name"][0], table["flux"].unit = 2.5, "y", "Jy"
    table.meta |= {"modes": 6, "reduction": "another", "list": [1.0, 3.0]}
    table.write(folders[1] / "table.ecsv", overwrite=True)
    changed = {"warnings": [{"text": "y", "figure": 1.0}], "numbers": [1.0], "path": "/one/y.fits"}
    (folders[1] / "quality.json").write_text(json.dumps(changed))
    differences = found(folders)
    assert differences["table.ecsv flux"] == ("values", 1, 0.5)
    assert differences["table.ecsv meta modes"] == differences["table.ecsv meta list"] == ("values", 1, 1.0)
    assert {p for p, (what, *_) in differences.items() if what.startswith(("text", "shape"))} == {
        "table.ecsv name", "table.ecsv flux unit", "quality.json warnings 0 text", "quality.json warnings 0 figure",
        "quality.json numbers", "quality.json path",
    }  # fmt: skip


def test_small_differences_are_within_the_tolerance(folders, tmp_path):
    with fits.open(folders[1] / "stage3" / "a_i2d.fits", mode="update") as hdus:
        hdus["SCI"].data[1, 1] = np.nextafter(hdus["SCI"].data[1, 1], np.float32(99))  # one bit: 5e-7 of a largest 11
    arguments = [*map(str, folders), "--json", str(tmp_path / "differences.json")]
    assert main(arguments) == 1
    assert main([*arguments, "--tolerance", "1e-7"]) == 0
    (difference,) = json.loads((tmp_path / "differences.json").read_text())
    assert difference["where"] == "SCI" and 1e-8 < difference["relative"] < 1e-7


def test_folders_that_hold_nothing_in_common_are_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    for other in ("none", "empty"):
        with pytest.raises(SystemExit) as end:
            main([str(folders[0]), str(tmp_path / other)])
        assert end.value.code == 2
