"""Tables of detections: what is no source is listed and used nowhere; all sources are printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from astropy.io import fits

from lyot.analysis import finished_run as measured
from lyot.analysis.combined_image import CAP, CombinedImage, detection_table, read_detections
from lyot.cli.results import show_detections
from lyot.errors import MissingInputError
from lyot.measure.detected import Detection
from lyot.records.manifest import Manifest, Product, Record


def detection(number: int, status: str = "source", reason: str = "") -> Detection:
    return Detection(30.0 + number, 30.0, 0.5 + 0.1 * number, 90.0, 12.0 - number, 6.0, 10.0, 1.0, 9, 1, 1e-6,
                     ring_significance=4.0, status=status, reason=reason)  # fmt: skip


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 30.0, "CRPIX2": 30.0, "CRVAL1": 200.0,
                          "CRVAL2": -50.0, "CDELT1": -3e-5, "CDELT2": 3e-5})  # fmt: skip
    image = CombinedImage(None, header, fits.Header(), (30.0, 30.0), 0.11, 4.4)  # type: ignore[arg-type]
    found = [detection(k) for k in range(5)] + [detection(5, "rejected", "in one roll only"), detection(6, "extended")]
    path = tmp_path / "detections.ecsv"
    detection_table(found, image).write(path, format="ascii.ecsv")
    return path


def test_sources_are_separate_from_what_is_none(table_file):
    assert len(read_detections(table_file)) == 5
    everything = read_detections(table_file, all_peaks=True)
    assert list(everything["status"]) == ["source"] * 5 + ["rejected", "extended"]
    assert everything["reason"][5] == "in one roll only"
    assert everything["ring_significance"][0] == 4.0 and everything["significance"][0] == 6.0


def test_a_table_of_an_earlier_version_holds_sources_alone(table_file):
    table = read_detections(table_file, all_peaks=True)
    table.remove_columns(["status", "reason"])
    table.write(table_file, format="ascii.ecsv", overwrite=True)
    assert len(read_detections(table_file)) == 7


def test_all_sources_are_printed(table_file, capsys):
    show_detections(table_file.parent)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("source at separation") for line in lines) == 5
    assert "6.0 sigma, false-alarm probability 1.0e-06" in lines[0]
    assert sum(line.startswith("not a point source:") for line in lines) == 2
    assert "in one roll only (rejected)" in lines[5]


def test_the_end_of_the_search_is_announced(table_file, capsys):
    table = read_detections(table_file, all_peaks=True)
    table.meta[CAP] = 5
    table.write(table_file, format="ascii.ecsv", overwrite=True)
    show_detections(table_file.parent)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "the search ended at 5 sources, and there may be more: increase measure.max_sources"


def test_measurements_read_the_exposures_whose_outliers_are_flagged(tmp_path):
    name = "jw01_a3001_crfints.fits"
    record = Record("stage3/a", "stage3", "a", "key", [], [Product(f"stage3/{name}", 1, 1, "0")], {}, {}, "",
                    "2026-01-01T00:00:00", 1.0, 1.0, association="asn/a.json")  # fmt: skip
    Manifest(tmp_path).add(record)
    (tmp_path / "stage3").mkdir()
    with pytest.raises(MissingInputError, match="crfints"):
        measured._subtracted(tmp_path, record, "jw01_calints.fits")
    (tmp_path / "stage3" / name).touch()
    assert measured._subtracted(tmp_path, record, "jw01_calints.fits") == tmp_path / "stage3" / name
    other = tmp_path / "jw02_calints.fits"
    other.touch()
    assert measured._subtracted(tmp_path, record, str(other)) == other
