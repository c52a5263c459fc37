"""Files that no reduction takes: passed over or left out in one sentence, and what was overlooked before is found."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits

from lyot.errors import InputError, MissingInputError, NotCoronagraphicError
from lyot.exposures.inputs import look_at, read_inputs
from lyot.exposures.read import expand_paths, read_exposure
from lyot.run.config import build_config
from lyot.run.plan import make_plan
from lyot.steps.rebuild import with_metadata
from tests.exposures.malformed import good_file
from tests.run.exposures import write_exposure, write_sequence

GUIDE_STAR = {"INSTRUME": "FGS", "EXP_TYPE": "FGS_TRACK", "TARGPROP": None, "FILTER": None}


def test_a_guide_star_does_not_stop_the_rest(tmp_path):
    write_sequence(tmp_path, "calints")
    path = write_exposure(tmp_path / "jw01386008001_gs-track_2022_uncal.fits", **GUIDE_STAR)
    found = read_inputs([tmp_path])
    assert len(found.exposures) == 7
    sentence = f"{path}: guide-star file (FGS_TRACK), which cannot be reduced."
    assert found.left_out == (f"ignored: {sentence}",)
    with pytest.raises(NotCoronagraphicError, match="guide-star file"):
        read_inputs([tmp_path, path])  # it was named


def test_an_exposure_of_another_mode_is_called_that(tmp_path):
    path = write_exposure(tmp_path / "a_uncal.fits", EXP_TYPE="MIR_MRS", FILTER=None)
    with pytest.raises(NotCoronagraphicError, match=r"not a coronagraphic exposure \(EXP_TYPE MIR_MRS\)"):
        read_exposure(path)


def test_a_broken_file_of_a_folder_is_left_out_and_one_that_was_named_is_not(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    broken = data / "jw01386010001_04101_00001_mirimage_calints.fits"
    broken.write_text("hello")
    plan = make_plan([data], tmp_path / "out", build_config({"run": {"stages": "3"}}))
    assert [line for line in plan.notes if line.startswith("not used: ")] == [
        f"not used: {broken}: not a FITS file (it does not begin with SIMPLE =)."
    ]
    with pytest.raises(InputError, match="not a FITS file"):
        make_plan([data, broken], tmp_path / "out", build_config({"run": {"stages": "3"}}))
    assert look_at([data]).left_out == (f"not used: {broken}: not a FITS file (it does not begin with SIMPLE =).",)
    assert list(look_at([data, broken]).failures) == [broken]
    for path in data.glob("*.fits"):
        path.write_text("hello")
    with pytest.raises(InputError, match="not a FITS file"):
        read_inputs([data])


def test_a_second_file_of_an_exposure_is_left_out_in_a_sentence(tmp_path):
    """As sequences of two stars are that were simulated with the same observation numbers: one of them is not used."""
    for star in ("HD-1", "HD-2"):
        write_exposure(tmp_path / star / "a_calints.fits", "calints", TARGPROP=star)
        write_exposure(tmp_path / star / "a_rateints.fits", "rateints", TARGPROP=star)
    found = read_inputs([tmp_path], preference=("calints", "rateints", "uncal"))
    assert [e.path for e in found.exposures] == [tmp_path / "HD-1" / "a_calints.fits"]
    first, second = tmp_path / "HD-1", tmp_path / "HD-2"
    assert found.left_out == tuple(
        f"not used: {second / name}: has the name of the same exposure as {first / name}, which is used; rename it "
        "if it is a different exposure."
        for name in ("a_calints.fits", "a_rateints.fits")
    )


def test_what_was_left_out_is_said_before_what_follows_from_it_is_refused(tmp_path, caplog):
    """Else nobody would know why no science exposure, which stage 3 requires."""
    data = write_sequence(tmp_path / "data", "calints")
    for path in data.glob("jw0138600[89]*_04101_*.fits"):
        path.write_text("hello")
    with pytest.raises(InputError, match="no science exposure, which stage 3 requires"):
        make_plan([data], tmp_path / "out", build_config({"run": {"stages": "3"}}))
    assert caplog.text.count("not used: ") == 2


def test_averaged_files_are_named(tmp_path):
    path = write_exposure(tmp_path / "jw1_mirimage_cal.fits", "calints")
    with pytest.raises(MissingInputError, match=r"jw1_mirimage_cal\.fits: is the mean of all integrations"):
        expand_paths([tmp_path])
    write_exposure(tmp_path / "jw2_mirimage_calints.fits", "calints", seed=1)
    (line,) = read_inputs([tmp_path]).left_out
    assert line.startswith(f"ignored: {path}: is the mean")
    shutil.copy(path, tmp_path / "jw1_mirimage_calints.fits")  # with the integrations there it is no loss
    assert read_inputs([tmp_path]).left_out == ()


def test_linked_folders_and_compressed_files_are_found(tmp_path):
    write_sequence(tmp_path / "elsewhere", "calints")
    data = tmp_path / "data"
    data.mkdir()
    (data / "linked").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to("../data")  # a loop
    packed = data / "jw01386010001_04101_00001_mirimage_calints.fits.gz"
    plain = write_exposure(tmp_path / "jw01386010001_04101_00001_mirimage_calints.fits", "calints", OBSERVTN="010")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    files = expand_paths([data])
    assert len(files) == 8 and packed in files
    assert {e.observation for e in read_inputs([data]).exposures} == {"007", "008", "009", "010", "030", "031"}


@pytest.mark.parametrize("keyword", ["TARG_RA", "TARG_DEC", "NINTS", "ROLL_REF", "CRPIX1"])
def test_a_card_that_is_no_fits_is_named(tmp_path, keyword):
    data = good_file()
    at = data.index(keyword.ljust(8).encode() + b"=")
    path = tmp_path / "a_calints.fits"
    path.write_bytes(data[:at] + f"{keyword:8}= 12h34m56s".ljust(80).encode() + data[at + 80 :])
    with pytest.raises(InputError, match=rf"a_calints\.fits: keyword {keyword} in the header cannot be read.*\.$"):
        read_exposure(path)


@pytest.mark.parametrize("name", ["DQ", "ERR"])
def test_an_extension_that_the_metadata_name_and_is_not_there(tmp_path, name):
    """The library said: KeyError: ERROR loading embedded ASDF."""
    path = tmp_path / "a_calints.fits"
    path.write_bytes(good_file())
    with fits.open(path, mode="update") as hdus:
        del hdus[name]
    with pytest.raises(InputError, match=f"extension {name} missing, but listed in the metadata of the file"):
        read_exposure(path)


def test_metadata_are_rebuilt_where_there_is_no_asdf_extension(tmp_path):
    from stdatamodels.jwst import datamodels
    from stdatamodels.jwst.datamodels.util import read_metadata

    path = tmp_path / "a_calints.fits"
    path.write_bytes(good_file())
    association = tmp_path / "a_asn.json"
    association.write_text('{"products": [{"name": "x", "members": [{"expname": "a_calints.fits"}]}]}')
    copies = tmp_path / "copies"
    copies.mkdir()
    assert with_metadata(association, copies) == association
    with datamodels.open(str(path)) as model:
        meta, data = model.to_flat_dict(include_arrays=False), model.data.copy()
    with fits.open(path, mode="update") as hdus:
        del hdus["ASDF"]
    copy = with_metadata(association, copies)
    assert copy.name == association.name and copy != association
    complete = tmp_path / "copies" / path.name
    assert str(complete) in copy.read_text()
    assert read_metadata(complete)["meta.target.proposer_name"] == "STAR"
    with datamodels.open(str(complete)) as model:
        rebuilt = model.to_flat_dict(include_arrays=False)
        assert (model.data == data).all()
    ignored = ("meta.date", "meta.filename", "meta.calibration_software_version")
    for key, value in meta.items():
        if key.startswith("meta.") and not key.startswith(ignored):
            assert rebuilt[key] == value, key


@pytest.mark.parametrize("packed", [False, True])
def test_a_download_that_was_broken_off_is_left_out(tmp_path, packed):
    """Short, or of its full length with zeros for what did not come: the extensions that are missing are not missed."""
    data = write_sequence(tmp_path / "data", "calints")
    path = next(data.glob("jw01386009*"))
    for name in ("ERR", "DQ"):
        fits.append(path, np.ones((2, 80, 90), np.float32), fits.Header({"EXTNAME": name}))
    whole = path.read_bytes()
    if packed:
        path.unlink()
        path = path.with_name(f"{path.name}.gz")
        path.write_bytes(gzip.compress(whole))
        assert len(read_inputs([data]).exposures) == 7
        path.write_bytes(gzip.compress(whole, 0)[: len(whole) // 2])
        expected = "the file is truncated"
    else:
        assert len(read_inputs([data]).exposures) == 7
        path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
        expected = "no extension can be read after ERR"
    (line,) = read_inputs([data]).left_out
    assert line.startswith(f"not used: {path}: ") and expected in line


def test_means_of_slopes_are_named_too(tmp_path):
    path = write_exposure(tmp_path / "jw1_mirimage_rate.fits", "rateints")
    write_exposure(tmp_path / "jw2_mirimage_calints.fits", "calints")
    (line,) = read_inputs([tmp_path]).left_out
    assert line.startswith(f"ignored: {path}: is the mean") and "*_rateints.fits" in line


def test_capitals_at_the_end_of_a_name(tmp_path):
    """The data models do not open such files: that is said, in place of not seeing them."""
    write_exposure(tmp_path / "jw2_mirimage_calints.fits", "calints")
    path = write_exposure(tmp_path / "JW1_MIRIMAGE_CALINTS.FITS", "calints", seed=1)
    (line,) = read_inputs([tmp_path]).left_out
    assert line == f"not used: {path}: the name of an exposure file must end in .fits or .fits.gz; rename the file."


def test_letters_that_a_header_cannot_hold(tmp_path):
    data = write_sequence(tmp_path / "Größe", "calints")  # in the name of a folder they do no harm
    path = write_exposure(data / "β Pic_calints.fits", "calints", seed=5)
    (line,) = read_inputs([data]).left_out
    assert line.startswith(f"not used: {path}: the file name contains 'β'")


def test_an_exposure_under_two_names_counts_once(tmp_path):
    data = write_sequence(tmp_path, "calints")
    path = next(data.glob("jw01386007*_00001_*"))
    shutil.copy(path, data / "copy_of_it_calints.fits")
    found = read_inputs([data])
    assert len(found.exposures) == 7
    assert found.left_out == (f"not used: {data / 'copy_of_it_calints.fits'}: is a copy of {path}, which is used.",)


def test_a_copy_that_was_calibrated_again_counts_once(tmp_path):
    data = write_sequence(tmp_path, "calints")
    for number, path in enumerate(sorted(data.glob("*.fits"))):
        fits.setval(path, "EXPSTART", value=59778.0 + 0.01 * number)
    path = next(data.glob("jw01386007*_00001_*"))
    again = data / "my_own_calints.fits"
    shutil.copy(path, again)
    fits.setval(again, "CAL_VER", value="9.9.9")
    with fits.open(again, mode="update") as hdus:
        hdus["SCI"].data += 1
    found = read_inputs([data])
    assert len(found.exposures) == 7 and again not in {e.path for e in found.exposures}
    (line,) = found.left_out
    assert line.startswith(f"not used: {again}: is the same exposure as {path}, which is used (the same EXPSTART")
    fits.setval(again, "EXPSTART", value=59778.5)  # another exposure, or a time that is not known
    assert len(read_inputs([data]).exposures) == 8
    fits.delval(again, "EXPSTART")
    assert len(read_inputs([data]).exposures) == 8
    for path in data.glob("*.fits"):  # simulated, all at the same time
        fits.setval(path, "EXPSTART", value=59778.0)
    assert len(read_inputs([data]).exposures) == 8


@pytest.mark.parametrize("keyword", ["ROLL_REF", "V3I_YANG", "CRPIX1"])
def test_a_keyword_of_the_pointing_that_is_missing_is_said_at_once(tmp_path, keyword):
    data = write_sequence(tmp_path, "calints")
    path = next(data.glob("jw01386009*"))
    fits.delval(path, keyword, ext=1)
    found = read_inputs([data])
    assert len(found.exposures) == 6
    (line,) = found.left_out
    assert line.startswith(f"not used: {path}: header keyword {keyword} missing in the extension SCI, and no ASDF")


def test_two_spellings_of_a_target_are_one(tmp_path):
    data = write_sequence(tmp_path, "calints")
    path = next(data.glob("jw01386009*"))
    fits.setval(path, "TARGPROP", value="Hip 65426")
    found = read_inputs([data])
    assert found.left_out == ("Hip 65426 is taken for HIP-65426, as their names and positions agree.",)
    plan = make_plan([data], tmp_path / "out", build_config({"run": {"stages": "3"}}))
    assert {a.roll_number for a in plan.exposures if a.exposure.target == "HIP-65426"} == {0, 1, 2}
    fits.setval(path, "TARG_DEC", value=-41.5)  # ten degrees away it is another star
    assert {"HIP-65426", "Hip 65426"} <= {e.target for e in read_inputs([data]).exposures}


def test_exposures_of_several_epochs_are_said_to_be(tmp_path):
    data = write_sequence(tmp_path, "calints")
    for number, path in enumerate(sorted(data.glob("*.fits"))):
        fits.setval(path, "EXPSTART", value=60508.0 if "jw01386009" in path.name else 59778.0 + 0.01 * number)
    lines = make_plan([data], tmp_path / "out", build_config({"run": {"stages": "3"}})).notes
    assert any(line.startswith("the science exposures of HIP-65426 were taken over 730 days") for line in lines)
