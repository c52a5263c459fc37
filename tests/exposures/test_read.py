"""Finding exposures and reading their headers; every bad input gets one sentence that names the file."""

import json

import numpy as np
import pytest
from astropy.io import fits

from lyot.errors import InputError, MissingInputError
from lyot.exposures.read import expand_paths, exposure_root, find_exposures, one_per_exposure, read_exposure
from tests.run.exposures import write_exposure, write_sequence


@pytest.mark.parametrize("stage", ["uncal", "rateints", "calints"])
def test_stage_is_told_from_the_array_not_from_the_name(tmp_path, stage):
    exposure = read_exposure(write_exposure(tmp_path / "renamed.fits", stage))
    assert exposure.stage == stage
    assert (exposure.target, exposure.filter, exposure.roll) == ("HIP-65426", "F1550C", 108.171)
    assert exposure.root == "renamed"


def test_root_is_the_same_for_all_products_of_an_exposure(tmp_path):
    names = ["jw1_mirimage_uncal.fits", "jw1_mirimage_rateints.fits", "jw1_mirimage_calints.fits"]
    assert {exposure_root(tmp_path / n) for n in names} == {"jw1_mirimage"}


def _bad_files(tmp_path):
    good = write_exposure(tmp_path / "good_uncal.fits")
    text = tmp_path / "text_uncal.fits"
    text.write_text("this is not an image\n")
    short = tmp_path / "short_uncal.fits"
    short.write_bytes(good.read_bytes()[:-2880])
    stub = tmp_path / "stub_uncal.fits"
    stub.write_bytes(good.read_bytes()[:1000])
    cut_header = tmp_path / "cut_uncal.fits"
    cut_header.write_bytes(good.read_bytes()[:2880] + b" " * 100)
    empty = tmp_path / "empty_uncal.fits"
    empty.touch()
    no_sci = tmp_path / "nosci_uncal.fits"
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(no_sci)
    no_filter = write_exposure(tmp_path / "nofilter_uncal.fits", FILTER=None, TARGPROP=None)
    flat = tmp_path / "flat_cal.fits"
    with fits.open(good) as hdus:
        fits.HDUList([hdus[0], fits.ImageHDU(np.zeros((4, 4)), name="SCI")]).writeto(flat)
    product = write_exposure(tmp_path / "product_calints.fits", "calints", S_KLIP="COMPLETE")
    return {
        text: "not a FITS file", short: "truncated", stub: "truncated", cut_header: None, empty: "not a FITS file",
        no_sci: "no SCI extension", no_filter: "FILTER, TARGPROP missing", flat: "2 axes", product: "stage 3",
    }  # fmt: skip


def test_bad_files_are_refused_in_one_sentence(tmp_path):
    for path, words in _bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_exposure(path)
        message = str(caught.value)
        assert str(path) in message
        assert words is None or words in message
        assert "\n" not in message
        assert message.endswith(".")


def test_what_is_not_there(tmp_path):
    for missing in (tmp_path / "none.fits", tmp_path):
        with pytest.raises(MissingInputError, match=str(missing)):
            expand_paths([missing])
    with pytest.raises(MissingInputError, match="no such file"):
        read_exposure(tmp_path / "none.fits")


def test_folder_association_and_file_give_the_same(tmp_path):
    write_sequence(tmp_path / "data")
    (tmp_path / "data" / ".partial").mkdir()
    write_exposure(tmp_path / "data" / ".partial" / "hidden_uncal.fits")
    files = sorted((tmp_path / "data").glob("*.fits"))
    association = tmp_path / "data" / "asn.json"
    members = [{"expname": f.name, "exptype": "science"} for f in files]
    association.write_text(json.dumps({"products": [{"name": "x", "members": members}]}))
    assert expand_paths([tmp_path / "data"]) == files
    assert expand_paths([association]) == files
    assert expand_paths([*files, tmp_path / "data"]) == files


@pytest.mark.parametrize("text", ["not json", "[]", '{"products": [{"members": [{}]}]}'])
def test_broken_association(tmp_path, text):
    path = tmp_path / "asn.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not an association"):
        expand_paths([path])


def test_association_whose_member_is_gone(tmp_path):
    path = tmp_path / "asn.json"
    path.write_text(json.dumps({"products": [{"members": [{"expname": "gone.fits"}]}]}))
    with pytest.raises(MissingInputError, match=r"gone\.fits"):
        expand_paths([path])


def test_one_product_of_each_exposure_is_taken(tmp_path):
    for stage in ("uncal", "rateints", "calints"):
        write_exposure(tmp_path / f"jw1_mirimage_{stage}.fits", stage)
    exposures = find_exposures([tmp_path])
    assert [e.stage for e in exposures] == ["uncal"]
    everything = [read_exposure(p) for p in expand_paths([tmp_path])]
    chosen = one_per_exposure(everything, preference=("calints", "rateints", "uncal"))
    assert [e.stage for e in chosen] == ["calints"]


@pytest.mark.data
def test_real_observations(hd106906):
    exposures = find_exposures([hd106906])
    assert len(exposures) == 13
    assert {e.stage for e in exposures} == {"calints"}
    assert sum(e.is_psf for e in exposures) == 9
    assert sum(e.is_background for e in exposures) == 3


def test_a_compressed_file_that_ends_early(tmp_path):
    import gzip

    whole = gzip.compress(write_exposure(tmp_path / "a_uncal.fits").read_bytes())
    path = tmp_path / "short_uncal.fits.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"short_uncal\.fits\.gz: "):
        read_exposure(path)


def test_the_same_exposure_twice_is_told(tmp_path, caplog):
    for folder in ("first", "second"):
        write_exposure(tmp_path / folder / "a_uncal.fits")
    with caplog.at_level("WARNING"):
        (found,) = find_exposures([tmp_path])
    assert found.path.parent.name == "first"
    assert f"{tmp_path / 'second' / 'a_uncal.fits'}: has the name of the same exposure as {found.path}" in caplog.text
