"""Files without the extension ASDF: their metadata is rebuilt from the headers, and nothing else is touched."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from lyot.errors import InputError
from lyot.steps.rebuild import has_metadata, with_metadata
from tests.steps.stage23_synthetic import sequence, write_association


@pytest.fixture
def association(tmp_path):
    """Two science exposures and two references."""
    return write_association(tmp_path, *sequence(np.random.default_rng(4), nints=1, n_references=2))


def members(path) -> list[dict[str, str]]:
    return json.loads(path.read_text())["products"][0]["members"]


def without_metadata(path) -> bytes:
    """Write a file again as astropy does; returns its bytes."""
    with fits.open(path) as hdus:
        kept = fits.HDUList([hdu.copy() for hdu in hdus if hdu.name != "ASDF"])
    kept.writeto(path, overwrite=True)
    return path.read_bytes()


def test_what_is_complete_is_taken_as_it_is(association, tmp_path):
    (tmp_path / "copies").mkdir()
    assert with_metadata(association, tmp_path / "copies") == association
    assert not list((tmp_path / "copies").iterdir())


def test_the_metadata_of_the_headers_and_the_same_pixels(association, tmp_path, caplog):
    (tmp_path / "copies").mkdir()
    name = members(association)[0]["expname"]
    before = without_metadata(tmp_path / name)
    assert not has_metadata(tmp_path / name)
    copy = with_metadata(association, tmp_path / "copies")
    assert copy == tmp_path / "copies" / association.name
    assert f"{name}: no extension ASDF" in caplog.text
    # roles stay; the other members are where they were
    assert [m["exptype"] for m in members(copy)] == [m["exptype"] for m in members(association)]
    places = [m["expname"] for m in members(copy)]
    assert places[0] == str(tmp_path / "copies" / name)
    assert places[1:] == [str(tmp_path / m["expname"]) for m in members(association)[1:]]
    assert (tmp_path / name).read_bytes() == before
    with datamodels.open(places[0]) as model, fits.open(tmp_path / name) as hdus:
        assert has_metadata(tmp_path / "copies" / name) and model.meta.filename == name
        np.testing.assert_array_equal(model.data, hdus["SCI"].data)
        np.testing.assert_array_equal(model.err, hdus["ERR"].data)
        assert (model.meta.instrument.filter, model.meta.exposure.type) == ("F1550C", "MIR_4QPM")
        assert model.meta.wcsinfo.roll_ref == hdus["SCI"].header["ROLL_REF"] == 108.171
        assert model.meta.subarray.ystart == 463


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_what_cannot_be_read_is_named(association, tmp_path):
    name = members(association)[1]["expname"]
    content = without_metadata(tmp_path / name)
    (tmp_path / name).write_bytes(content[: len(content) // 4])  # within the pixels of SCI
    (tmp_path / "copies").mkdir()
    with pytest.raises(InputError, match=rf"{name}: not a readable JWST exposure"):
        with_metadata(association, tmp_path / "copies")


@pytest.mark.parametrize("text", ["hello", "[]", '{"products": [{"members": [{"exptype": "science"}]}]}'])
def test_what_is_no_association_is_left_to_the_pipeline(text, tmp_path):
    path = tmp_path / "asn.json"
    path.write_text(text)
    assert with_metadata(path, tmp_path) == path


def test_files_that_are_not_there_or_no_fits_are_left_to_the_pipeline(tmp_path):
    (tmp_path / "text.fits").write_text("hello")
    (tmp_path / "image.asdf").write_text("#ASDF 1.0.0")
    assert all(has_metadata(tmp_path / name) for name in ("none.fits", "text.fits", "image.asdf"))
