"""Calints in unlike states of background subtraction: found out, made alike, or refused in one sentence."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from astropy.io import fits

from lyot.errors import InputError
from lyot.exposures.background_state import background_level, background_states, state_advice
from lyot.exposures.read import find_exposures, read_exposure
from lyot.exposures.roles import Role, sort_roles, with_role
from lyot.run.config import load_config
from lyot.run.plan import make_plan
from tests.run.exposures import write_exposure, write_sequence

BACKGROUND = 42.0  # of F1550C


def sequence(folder, science, references, *, keyword=(None, None), background=BACKGROUND):
    """Calints with the levels (MJy/sr) and S_BKDSUB of science and references; backgrounds none if None."""
    write_sequence(folder, "calints")
    for path in sorted(folder.glob("*.fits")):
        if "02101" in path.name and ("030001" in path.name or "031001" in path.name) and background is None:
            path.unlink()
            continue
        of_science = "008001" in path.name or "009001" in path.name
        level = science if of_science else references if "007001" in path.name else background
        with fits.open(path, mode="update") as hdus:
            hdus["SCI"].data = (hdus["SCI"].data + (level or 0.0)).astype(np.float32)  # noise 1, 72 pixels: 0.15
            word = keyword[0] if of_science else keyword[1]
            if word is not None and level is not background:
                hdus[0].header["S_BKDSUB"] = word
    return sort_roles(find_exposures([folder]))


def needing(assigned, **options):
    """Observations from which a background is subtracted, and of which backgrounds."""
    states = background_states(assigned, **options)
    return {(root[7:10], tuple(p.name[7:10] for p in paths)) for root, paths in states.backgrounds.items()}


SCIENCE = {("008", ("030",)), ("009", ("030",))}
REFERENCES = {("007", ("031",))}


@pytest.mark.parametrize(
    ("science", "references", "expected"),
    [
        (0.1, 2.8, set()),  # as the real HD 106906
        (0.1, BACKGROUND + 2.8, REFERENCES),
        (BACKGROUND + 0.1, 2.8, SCIENCE),
        (BACKGROUND + 0.1, BACKGROUND + 2.8, SCIENCE | REFERENCES),
    ],
)
@pytest.mark.parametrize("keyword", [False, True])
def test_every_state_with_and_without_keyword(tmp_path, science, references, expected, keyword):
    words = tuple("SKIPPED" if level > 10 else "COMPLETE" for level in (science, references))
    assigned = sequence(tmp_path, science, references, keyword=words if keyword else (None, None))
    assert needing(assigned) == expected
    lines = background_states(assigned).lines
    assert len(lines) == bool(expected & SCIENCE) + bool(expected & REFERENCES)
    assert all(line.endswith("1 background calints are subtracted.") for line in lines)


def test_an_exposure_without_any_good_pixel_is_named(tmp_path):
    assigned = sequence(tmp_path, 0.1, 2.8)
    path = next(tmp_path.glob("jw01386009*"))
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].data[:] = np.nan
    (line,) = state_advice(assigned)
    assert line == f"{path.name} has no good pixel beyond 5 arcsec (all NaN or flagged)."


@pytest.mark.parametrize("states", [(0.1, BACKGROUND), (BACKGROUND, 2.8)])
def test_without_subtraction_unlike_states_are_refused(tmp_path, states):
    with pytest.raises(InputError, match="still contains its background"):
        background_states(sequence(tmp_path, *states), subtract=False)


def test_a_level_in_between_is_decided_by_the_keyword_alone(tmp_path):
    for i, (word, expected) in enumerate((("COMPLETE", set()), ("SKIPPED", SCIENCE))):
        assert needing(sequence(tmp_path / f"{i}", 21.0, 2.8, keyword=(word, "COMPLETE"))) == expected
    assigned = sequence(tmp_path / "undecided", 21.0, 2.8)
    with pytest.raises(InputError) as caught:
        background_states(assigned)
    text = str(caught.value)
    assert text.startswith(str(tmp_path)) and "cannot be determined whether the background was subtracted" in text
    assert "set S_BKDSUB in its header to COMPLETE (subtracted) or SKIPPED (not)" in text and "\n" not in text
    assert state_advice(assigned) == [text]
    assert needing(assigned, given="subtracted") == set()
    assert needing(assigned, given="present") == SCIENCE | REFERENCES


def test_a_keyword_that_the_level_contradicts_is_refused(tmp_path):
    assigned = sequence(tmp_path, BACKGROUND + 0.1, 2.8, keyword=("COMPLETE", "COMPLETE"))
    with pytest.raises(
        InputError, match=r"S_BKDSUB is COMPLETE, but the level of the image, 4\d\.\d MJy/sr, is that of the backgr"
    ):
        background_states(assigned)


def test_unlike_states_without_background_exposures_are_refused(tmp_path):
    for i, (science, references) in enumerate(((0.1, BACKGROUND), (BACKGROUND, 2.8))):
        assigned = sequence(tmp_path / f"{i}", science, references, background=None)
        with pytest.raises(
            InputError, match=r"still contains its background \(level 4\d\.\d MJy/sr\), in contrast to jw"
        ):
            background_states(assigned)
    alike = background_states(sequence(tmp_path / "alike", BACKGROUND, BACKGROUND, background=None))
    assert not alike.backgrounds
    assert [line.partition(":")[2] for line in alike.lines] == [" the glow sticks will remain in its images."] * 2


def test_calints_with_background_next_to_slopes_without(tmp_path):
    assigned = sequence(tmp_path, BACKGROUND, BACKGROUND, background=None)
    raw = replace(next(a for a in with_role(assigned, Role.REFERENCE)).exposure, stage="rateints")
    mixed = [replace(a, exposure=raw, backgrounds=("x",)) if a.exposure.root == raw.root else a for a in assigned]
    with pytest.raises(InputError, match="in contrast to"):
        background_states(mixed)


def test_level_leaves_out_the_star_and_bad_pixels(tmp_path):
    path = write_exposure(tmp_path / "a_calints.fits", "calints")
    image = np.full((1, 150, 160), 7.0, np.float32)
    y, x = np.indices(image.shape[1:])
    image[0][np.hypot(x - 80, y - 70) < 44] = 1000.0  # 4.84 arcsec
    image[0, :20] = 1e6
    flags = np.zeros(image.shape, np.uint32)
    flags[0, :20] = 1
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].data = image
        hdus["SCI"].header["CRPIX1"], hdus["SCI"].header["CRPIX2"] = 81, 71
        hdus.append(fits.ImageHDU(flags, name="DQ"))
    assert background_level(path) == 7.0


def test_the_plan_subtracts_from_those_that_need_it(tmp_path):
    sequence(tmp_path / "data", 0.1, BACKGROUND)
    plan = make_plan([tmp_path / "data"], tmp_path / "out", load_config(settings=['run.stages="3"']))
    assert len(plan.notes) == 2 and "reference star still contain" in plan.notes[0]
    assert "not used, because the exposures of their stars are already background-subtracted" in plan.notes[1]
    tasks = {t.id: t for t in plan.tasks}
    second = [t for t in tasks.values() if t.kind == "stage2"]
    assert sorted(t.name[7:10] for t in second) == ["007", "007"]  # both dithers of the reference
    association = json.loads(plan.associations[second[0].association])
    kinds = [m["exptype"] for m in association["products"][0]["members"]]
    assert kinds == ["science", "background"]
    for step, own in product(("flat_field", "photom"), second):
        assert own.arguments["steps"][step]["skip"]
    (third,) = (t for t in tasks.values() if t.kind == "stage3")
    assert {t.id for t in second} == set(third.depends)
    assert sum("/out/stage2/" in p for p in third.inputs) == 2


@pytest.mark.parametrize("name", ["HIP-65426-BKG", "HIP-65426-SKY", "HIP-65426 BKGD 2", "SKY"])
def test_a_background_that_only_its_name_declares(tmp_path, name):
    path = write_exposure(tmp_path / "a_rateints.fits", "rateints", TARGPROP=name, BKGDTARG=False)
    assert read_exposure(path).is_background


@pytest.mark.parametrize("name", ["SKYLARK-65426", "V-KAMENSKY", "BKG-HUNTER-5A"])
def test_a_star_whose_name_only_looks_like_background(tmp_path, name):
    star = write_exposure(tmp_path / "b_rateints.fits", "rateints", TARGPROP=name)
    assert not read_exposure(star).is_background


@pytest.mark.data
def test_real_observations_are_subtracted_already(hd106906):
    assigned = sort_roles(find_exposures([hd106906]))
    states = background_states(assigned)
    assert not states.backgrounds and not states.lines
