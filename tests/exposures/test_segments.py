"""Exposures in several files: what they hold, what is missing, and how a run takes them."""

import json

import numpy as np
import pytest
from astropy.io import fits

from lyot.errors import InputError
from lyot.exposures.names import exposure_name, segment_number
from lyot.exposures.read import find_exposures, read_exposure
from lyot.exposures.roles import Role, advice, sort_roles, with_role
from lyot.run.config import load_config
from lyot.run.plan import make_plan
from tests.run.exposures import SHAPES, UNITS, write_exposure, write_sequence

SCIENCE = "jw01386008001_04101_00001"


def split(folder, stage, *, observation="008", parts=((1, 2), (3, 5))):
    """Put two segments in place of the first exposure of an observation in a folder of `write_sequence`."""
    (whole,) = (p for p in folder.glob(f"jw01386{observation}001_*_{stage}.fits") if "04101_00001" in p.name
                or observation > "029")  # fmt: skip
    header, science = fits.getheader(whole), fits.getheader(whole, "SCI")
    whole.unlink()
    files = []
    for number, (first, last) in enumerate(parts, start=1):
        path = whole.with_name(whole.name.replace("_mirimage", f"-seg{number:03d}_mirimage"))
        keywords = {k: header[k] for k in header if k not in ("SIMPLE", "BITPIX", "NAXIS", "EXTEND")}
        keywords |= {
            "NINTS": parts[-1][1],
            "INTSTART": first,
            "INTEND": last,
            "EXSEGNUM": number,
            "EXSEGTOT": len(parts),
        }
        write_exposure(path, stage, roll=science["ROLL_REF"], **keywords)
        with fits.open(path, mode="update") as hdus:
            hdus["SCI"].data = np.zeros((last - first + 1, *SHAPES[stage][1:]), np.float32)
            hdus["SCI"].header["BUNIT"] = UNITS[stage]
        files.append(path)
    return files


def test_names():
    assert segment_number(f"{SCIENCE}-seg012_mirimage_uncal.fits") == 12
    assert segment_number(f"{SCIENCE}_mirimage_uncal.fits") == 0
    assert exposure_name(f"{SCIENCE}-seg012_mirimage_uncal.fits") == f"{SCIENCE}_mirimage_uncal.fits"


@pytest.mark.parametrize("stage", ["uncal", "rateints", "calints"])
def test_what_a_segment_says(tmp_path, stage):
    first, second = (read_exposure(p) for p in split(write_sequence(tmp_path, stage), stage))
    assert (first.segment, first.n_segments, first.integrations) == (1, 2, (1, 2))
    assert (second.segment, second.n_segments, second.integrations) == (2, 2, (3, 5))
    assert first.name == second.name == f"{SCIENCE}_mirimage"
    assert second.root == f"{SCIENCE}-seg002_mirimage"
    whole = read_exposure(next(tmp_path.glob(f"jw01386009*_{stage}.fits")))
    assert (whole.segment, whole.n_segments, whole.integrations) == (0, 1, (1, 2))


def test_a_later_segment_must_say_what_it_holds(tmp_path):
    path = write_exposure(tmp_path / f"{SCIENCE}-seg002_mirimage_rateints.fits", "rateints")
    with pytest.raises(InputError, match=r"seg002_mirimage_rateints\.fits: segment 2 without INTSTART; set INTSTART"):
        read_exposure(path)


def test_segments_are_one_roll_and_nothing_is_missing(tmp_path):
    split(write_sequence(tmp_path), "uncal")
    assigned = sort_roles(find_exposures([tmp_path]))
    science = with_role(assigned, Role.SCIENCE)
    assert [(a.roll_number, a.exposure.segment) for a in science] == [(1, 1), (1, 2), (2, 0)]
    assert advice(assigned) == []


def test_one_roll_in_segments_is_not_two_rolls(tmp_path):
    split(write_sequence(tmp_path), "uncal")
    only = [e for e in find_exposures([tmp_path]) if e.observation == "008"]
    assert "no reference star and only one roll: neither reference nor roll subtraction is possible." in advice(
        sort_roles(only)
    )


def test_a_missing_segment_is_named(tmp_path):
    files = split(write_sequence(tmp_path), "uncal", parts=((1, 2), (3, 5), (6, 6)))
    files[1].unlink()
    sentence = f"{SCIENCE}_mirimage: segment 2 of 3 is missing; the integrations in it are not used."
    assert make_plan([tmp_path], tmp_path / "out", load_config()).notes == (sentence,)
    assert advice(sort_roles(find_exposures([tmp_path]))) == [sentence]
    files[2].unlink()
    sentence = f"{SCIENCE}_mirimage: segments 2, 3 of 3 are missing; the integrations in them are not used."
    assert advice(sort_roles(find_exposures([tmp_path]))) == [sentence]


def test_an_integration_in_two_segments_is_refused(tmp_path):
    split(write_sequence(tmp_path), "uncal", parts=((1, 2), (2, 3)))
    with pytest.raises(
        InputError, match=r"begins with integration 2, but .*-seg001.* contains integrations 1 to 2; give"
    ):
        find_exposures([tmp_path])


@pytest.mark.parametrize(("whole", "kept"), [("uncal", [0]), ("calints", [1, 2])])
def test_a_whole_exposure_and_its_segments_are_not_mixed(tmp_path, caplog, whole, kept):
    split(write_sequence(tmp_path), "uncal")
    write_exposure(tmp_path / "more" / f"{SCIENCE}_mirimage_{whole}.fits", whole)
    with caplog.at_level("WARNING"):
        found = [e.segment for e in find_exposures([tmp_path]) if e.name == f"{SCIENCE}_mirimage"]
    assert found == kept
    assert f"{SCIENCE}_mirimage exists as a whole and in segments" in caplog.text


def test_plan_of_a_segmented_exposure(tmp_path):
    data = write_sequence(tmp_path / "data")
    split(data, "uncal")
    split(data, "uncal", observation="030")
    plan = make_plan([data], tmp_path / "out", load_config())
    tasks = {t.id: t for t in plan.tasks}
    segments = [f"{SCIENCE}-seg00{k}_mirimage" for k in (1, 2)]
    first, second = (tasks[f"stage1/{s}"] for s in segments)  # each segment its own, as in the archive
    assert second.arguments["segments"] == [first.inputs[0]]  # but with the medians of all
    assert second.inputs == (second.arguments["segments"][0].replace("seg001", "seg002"), first.inputs[0])
    assert all("segments" not in t.arguments for t in tasks.values() if t.kind == "stage1" and "-seg" not in t.name)
    key = plan.keys.of(second.id)
    with fits.open(first.inputs[0], mode="update") as hdus:
        hdus["SCI"].data[0, 0, 0, 0] += 1
    changed = make_plan([data], tmp_path / "out", load_config())
    assert changed.keys.of(second.id) != key  # as its result depends on the other segment
    task = tasks[f"stage2/{SCIENCE}_mirimage"]  # together, as outliers are looked for in all integrations
    assert len([t for t in tasks.values() if t.kind == "stage2"]) == 4
    association = json.loads(plan.associations[task.association])
    assert [p["name"] for p in association["products"]] == segments
    for product, segment in zip(association["products"], segments, strict=True):
        kinds = [(m["exptype"], m["expname"].rpartition("/")[2]) for m in product["members"]]
        assert kinds[0] == ("science", f"{segment}_rateints.fits")
        assert [k for k, _ in kinds[1:]] == ["background", "background"]  # both segments of the background
    (stage3,) = (t for t in tasks.values() if t.kind == "stage3")
    assert task.id in stage3.depends
    assert sum("-seg00" in path for path in stage3.inputs) == 2
