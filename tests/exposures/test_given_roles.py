"""Roles by hand and from associations, backgrounds that only their names mark, and backgrounds of other subarrays."""

import json
import tomllib
from dataclasses import replace

import pytest

from lyot.errors import ConfigError, InputError, UnknownNameError
from lyot.exposures.background_state import state_advice
from lyot.exposures.given_roles import parse_role
from lyot.exposures.inputs import read_inputs
from lyot.exposures.roles import Role, advice, sort_roles, with_role
from lyot.run.config import build_config, load_config
from lyot.run.execute import used_configuration
from lyot.run.plan import make_plan
from tests.run.exposures import write_exposure, write_sequence


def _by_observation(assigned):
    return {a.exposure.observation: a.role for a in assigned if not a.exposure.is_acquisition}


def _assigned(folder, **roles):
    return sort_roles(read_inputs([folder], **({"roles": roles["roles"]} if roles else {})).exposures)


@pytest.mark.parametrize(
    ("pattern", "role", "expected"),
    [
        ("jw01386007*", "science", Role.SCIENCE),
        ("hip-68245", "ignore", Role.IGNORED),
        ("jw01386007001_04101_0000?_mirimage_calints.fits", "background", Role.SCIENCE_BACKGROUND),
        ("*007001_04101*", "acquisition", Role.ACQUISITION),
    ],
)
def test_a_role_by_hand_overrides_the_header(tmp_path, pattern, role, expected):
    write_sequence(tmp_path, "calints")
    assigned = _assigned(tmp_path, roles={pattern: role})
    assert _by_observation(assigned)["007"] == expected
    assert _by_observation(assigned)["008"] == Role.SCIENCE


def test_the_last_pattern_wins_and_ignored_exposures_are_in_no_task(tmp_path):
    write_sequence(tmp_path / "data", "calints")
    config = build_config({"run": {"stages": "3"}, "roles": {"jw*": "ignore", "HIP-65426": "science", "*7001*": "psf"}})
    plan = make_plan([tmp_path / "data"], tmp_path / "out", config)
    files = {path for task in plan.tasks if task.kind == "stage3" for path in task.inputs}
    assert len(files) == 4  # two rolls and two references, no background
    assert tomllib.loads(used_configuration(plan))["roles"] == dict(config.roles)
    without = build_config({"run": {"stages": "3"}, "roles": {"jw01386009*": "ignore"}})
    plan = make_plan([tmp_path / "data"], tmp_path / "out", without)
    (stage3,) = (task for task in plan.tasks if task.kind == "stage3")
    assert not any("jw01386009" in path for path in stage3.inputs)


def test_options_and_sections(tmp_path):
    assert parse_role("a=b_*.fits=Background") == ("a=b_*.fits", "background")
    assert load_config(sections={"roles": {"x*": "psf"}}).roles == {"x*": "reference"}
    with pytest.raises(ConfigError, match="expected FILE=ROLE"):
        parse_role("background")
    with pytest.raises(UnknownNameError, match="did you mean 'reference'"):
        parse_role("x=refrence")
    with pytest.raises(UnknownNameError, match=r"\[roles\] x: unknown role '5'"):
        build_config({"roles": {"x": 5}})
    write_sequence(tmp_path, "calints")
    with pytest.raises(InputError, match="role of 'HD-9': no exposure matches"):
        read_inputs([tmp_path], roles={"HD-9": "science"})


def _association(folder, members, **values):
    path = folder / "asn.json"
    listed = [{"expname": name, "exptype": kind} for name, kind in members]
    path.write_text(json.dumps({**values, "products": [{"name": "x", "members": listed}]}))
    return path


def test_the_exptypes_of_an_association_are_obeyed(tmp_path):
    """References without IS_PSF used to be second science targets."""
    kinds = {"008": "science", "009": "science", "007": "psf", "030": "background", "031": "background"}
    members = []
    for observation, kind in kinds.items():
        path = tmp_path / f"jw01386{observation}001_04101_00001_mirimage_calints.fits"
        write_exposure(path, "calints", OBSERVTN=observation, TARGPROP=f"STAR-{kind[:4]}")
        members.append((path.name, kind))
    found = read_inputs([_association(tmp_path, members)])
    assert _by_observation(sort_roles(found.exposures)) == {
        "008": Role.SCIENCE, "009": Role.SCIENCE, "007": Role.REFERENCE,
        "030": Role.SCIENCE_BACKGROUND, "031": Role.SCIENCE_BACKGROUND,
    }  # fmt: skip
    by_hand = read_inputs([tmp_path / "asn.json"], roles={"jw01386009*": "reference"})
    assert _by_observation(sort_roles(by_hand.exposures))["009"] == Role.REFERENCE
    assert list(by_hand.roles)[-1] == "jw01386009*"


def test_science_of_a_level_2_association_may_be_a_reference(tmp_path):
    """There, every exposure that is calibrated is called science."""
    path = write_exposure(tmp_path / "a_rateints.fits", "rateints", IS_PSF=True)
    asn = _association(tmp_path, [(path.name, "science")], asn_type="image2", asn_rule="Asn_Lv2Image")
    (item,) = sort_roles(read_inputs([asn]).exposures)
    assert item.role == Role.REFERENCE


@pytest.mark.parametrize("word", ["BKG", "BCKG", "BCKGRND", "SKY", "OFFSET", "BACK"])
def test_backgrounds_by_name_are_proposed_in_one_sentence(tmp_path, word):
    write_sequence(tmp_path, "calints")
    write_exposure(tmp_path / "jw01386040001_calints.fits", "calints", TARGPROP=f"HIP-65426-{word}", OBSERVTN="040")
    assigned = _assigned(tmp_path)
    assert _by_observation(assigned)["040"] == Role.SCIENCE_BACKGROUND
    (line,) = advice(assigned)
    assert line.startswith(f"HIP-65426-{word} is used as the background of HIP-65426, because ")
    assert line.endswith(f"if this is wrong, use --role 'HIP-65426-{word}=science'.")
    (line,) = advice(_assigned(tmp_path, roles={f"HIP-65426-{word}": "science"}))
    assert line.startswith("science targets HIP-65426 and")


def test_an_ambiguous_name_far_from_every_star_is_a_star(tmp_path):
    """OFFSET and BACK are words for a background only next to a star; 10 degrees away it is another target."""
    write_sequence(tmp_path, "calints")
    write_exposure(tmp_path / "jw01386040001_calints.fits", "calints", TARGPROP="RING-OFFSET", OBSERVTN="040",
                   TARG_DEC=-41.5)  # fmt: skip
    assert _by_observation(_assigned(tmp_path))["040"] == Role.SCIENCE
    write_exposure(tmp_path / "jw01386041001_calints.fits", "calints", TARGPROP="FIELD-OFFSET", OBSERVTN="041",
                   TARG_DEC=-51.4)  # fmt: skip
    assigned = _assigned(tmp_path)
    assert _by_observation(assigned)["041"] == Role.SCIENCE_BACKGROUND
    assert "6.0 arcmin from HIP-65426" in "".join(advice(assigned))


def test_a_background_of_another_subarray_is_named_and_not_used(tmp_path):
    """FULL science with MASK1550 backgrounds: they belong to nobody, neither are they lent to another star."""
    for observation, roll in (("008", 108.0), ("009", 117.0)):
        write_exposure(tmp_path / f"jw01386{observation}001_calints.fits", "calints", OBSERVTN=observation,
                       SUBARRAY="FULL", roll=roll)  # fmt: skip
    write_exposure(tmp_path / "jw01386030001_calints.fits", "calints", OBSERVTN="030", BKGDTARG=True,
                   TARGPROP="HIP-65426-BACKGROUND")  # fmt: skip
    write_exposure(tmp_path / "jw01386007001_calints.fits", "calints", OBSERVTN="007", TARGPROP="HIP-68245",
                   TARG_RA=209.5, IS_PSF=True)  # fmt: skip
    assigned = _assigned(tmp_path)
    assert _by_observation(assigned)["030"] == Role.BACKGROUND
    assert not any(a.backgrounds for a in assigned)
    assert (
        "HIP-65426-BACKGROUND is not used: it was taken with subarray MASK1550, but HIP-65426 with subarray FULL; a "
        "background must have the filter, mask and subarray of the star."
    ) in advice(assigned)


def test_a_background_that_was_given_as_one_is_lent_whatever_its_name(tmp_path):
    write_sequence(tmp_path, "calints")
    alone = _assigned(tmp_path, roles={"HIP-68245-BACKGROUND": "ignore"})
    assert not any(a.backgrounds for a in with_role(alone, Role.REFERENCE))
    assigned = _assigned(tmp_path, roles={"HIP-68245-BACKGROUND": "ignore", "HIP-65426-BACKGROUND": "background"})
    references = with_role(assigned, Role.REFERENCE)
    assert references and all(a.borrowed for a in references)
    assert all(not a.borrowed and a.backgrounds for a in with_role(assigned, Role.SCIENCE))
    calibrated = [replace(a, exposure=replace(a.exposure, background_keyword="SKIPPED")) for a in assigned]
    lines = state_advice(calibrated)
    assert any(line.endswith("1 background calints of the other star are subtracted.") for line in lines), lines
