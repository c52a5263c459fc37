"""Roles told from metadata alone, backgrounds linked to their stars, and what is said to be missing."""

from dataclasses import replace

import pytest

from lyot.errors import InputError, UnknownNameError
from lyot.exposures.read import find_exposures
from lyot.exposures.roles import Role, advice, choose_filter, sort_roles, with_role
from tests.run.exposures import write_sequence


@pytest.fixture
def exposures(tmp_path):
    return find_exposures([write_sequence(tmp_path)])


def _backgrounds(assigned, role):
    return {b[7:10] for a in with_role(assigned, role) for b in a.backgrounds}


def test_roles_of_a_whole_sequence(exposures):
    assigned = sort_roles(exposures)
    found = {a.exposure.observation + a.exposure.exposure_type[-4:]: (a.role, a.roll_number) for a in assigned}
    assert found == {
        "0084QPM": (Role.SCIENCE, 1), "0094QPM": (Role.SCIENCE, 2), "0074QPM": (Role.REFERENCE, 0),
        "0304QPM": (Role.SCIENCE_BACKGROUND, 0), "0314QPM": (Role.REFERENCE_BACKGROUND, 0),
        "008TACQ": (Role.ACQUISITION, 0),
    }  # fmt: skip
    assert _backgrounds(assigned, Role.SCIENCE) == {"030"}
    assert _backgrounds(assigned, Role.REFERENCE) == {"031"}
    assert advice(assigned) == []


def test_a_background_without_a_telling_name_is_linked_by_its_position(exposures):
    renamed = [replace(e, target="SKY-A" if e.observation == "030" else "SKY-B") if e.is_background else e
               for e in exposures]  # fmt: skip
    assigned = sort_roles(renamed)
    assert _backgrounds(assigned, Role.SCIENCE) == {"030"}
    assert _backgrounds(assigned, Role.REFERENCE) == {"031"}


def at(exposures, background, star, away):
    """The background of one observation moved to `away` degrees north of the star of another, without a name."""
    (there, *_) = (e.sky for e in exposures if e.observation == star)
    return [replace(e, target="SKY", sky=(there[0], there[1] + away)) if e.observation == background else e
            for e in exposures]  # fmt: skip


@pytest.mark.parametrize(("nearer", "farther"), [("008", "009"), ("009", "008")])
def test_of_two_science_targets_that_are_far_the_nearer_has_the_background(exposures, nearer, farther):
    stars = [e for e in exposures if e.observation in ("008", "009", "030") and not e.is_acquisition]
    (there, *_) = (e.sky for e in stars if e.observation == nearer)
    two = [replace(e, target="ELSEWHERE", sky=(there[0], there[1] + 10.0)) if e.observation == farther else e
           for e in stars]  # fmt: skip
    science = with_role(sort_roles(at(two, "030", nearer, 3.0)), Role.SCIENCE)
    assert {a.exposure.observation: a.borrowed for a in science} == {nearer: False, farther: True}


def test_the_name_of_a_background_outweighs_its_position(exposures):
    name = next(e.target for e in exposures if e.observation == "030")
    moved = [replace(e, target=name) if e.observation == "030" else e for e in at(exposures, "030", "007", 0.0)]
    assigned = sort_roles(moved)
    assert _backgrounds(assigned, Role.SCIENCE) == {"030"} and _backgrounds(assigned, Role.REFERENCE) == {"031"}


def test_a_background_without_name_and_position_is_linked_by_its_ramps(exposures):
    blind = [replace(e, target="SKY", sky=None) if e.is_background else e for e in exposures]
    assigned = sort_roles(blind)
    assert _backgrounds(assigned, Role.SCIENCE) == {"030"}
    assert _backgrounds(assigned, Role.REFERENCE) == {"031"}


def test_a_background_that_carries_a_star_s_name_is_not_lent_to_another(exposures):
    assigned = sort_roles([e for e in exposures if e.observation != "031"])
    assert not any(a.borrowed or a.backgrounds for a in with_role(assigned, Role.REFERENCE))
    assert _backgrounds(assigned, Role.SCIENCE) == {"030"}
    name = next(e.target for e in exposures if e.observation == "030")
    assert advice(assigned) == [
        "no background for the reference star: the glow sticks will remain in its images. "
        f"{name}, which carries the name of another star, is used for it only with --role '{name}=background'."
    ]


def test_a_star_without_background_borrows_one_without_a_name_and_says_so(exposures):
    assigned = sort_roles(
        [replace(e, target="SKY") if e.observation == "030" else e for e in exposures if e.observation != "031"]
    )
    references = with_role(assigned, Role.REFERENCE)
    assert all(a.borrowed for a in references)
    assert _backgrounds(assigned, Role.REFERENCE) == {"030"}
    assert advice(assigned) == ["no background for the reference star: the background of the other star is used."]


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [
        (("008", "009", "030"), "no reference star, but 2 rolls: roll subtraction is possible."),
        (("008", "030"), "no reference star and only one roll: neither reference nor roll subtraction is possible."),
        (("008", "007"), "no background for the science target: the glow sticks will remain in its images."),
        (("007", "031"), "no science exposure."),
    ],
)
def test_what_is_missing(exposures, kept, sentence):
    assert sentence in advice(sort_roles([e for e in exposures if e.observation in kept]))


def test_only_an_acquisition(exposures):
    assert advice(sort_roles([e for e in exposures if e.is_acquisition])) == ["no coronagraphic exposure."]


def test_several_filters_must_be_chosen_from(exposures, tmp_path):
    others = find_exposures([write_sequence(tmp_path / "more", filter="F1140C", offset=100)])
    assigned = sort_roles([*exposures, *others])
    assert advice(assigned) == ["exposures in F1140C and F1550C: choose one with --filter."]
    with pytest.raises(InputError, match=r"F1140C and F1550C; choose one with --filter"):
        choose_filter(assigned, None)
    assert {a.exposure.filter for a in choose_filter(assigned, "f1140c")} == {"F1140C"}
    with pytest.raises(UnknownNameError, match="did you mean 'F1140C'"):
        choose_filter(assigned, "F1141C")
    # backgrounds never cross from one filter to another
    for item in with_role(assigned, Role.SCIENCE):
        assert len(item.backgrounds) == 1


def test_one_roll_in_two_exposures_is_one_roll(exposures):
    twice = [replace(e, roll=108.2) if e.observation == "009" else e for e in exposures]
    assert {a.roll_number for a in with_role(sort_roles(twice), Role.SCIENCE)} == {1}


def test_rolls_across_north(exposures):
    rolled = [replace(e, roll={"008": 359.9, "009": 0.1}.get(e.observation, e.roll)) for e in exposures]
    assert {a.roll_number for a in with_role(sort_roles(rolled), Role.SCIENCE)} == {1}


@pytest.mark.data
def test_real_observations(hd106906, aumic):
    assigned = sort_roles(find_exposures([hd106906]))
    assert len(with_role(assigned, Role.SCIENCE_BACKGROUND)) == 2
    assert len(with_role(assigned, Role.REFERENCE_BACKGROUND)) == 1
    nircam = sort_roles(find_exposures([aumic]))
    assert [a.roll_number for a in with_role(nircam, Role.SCIENCE)] == [1, 2]
    assert len(with_role(nircam, Role.REFERENCE)) == 6


def test_a_star_that_is_spelled_in_two_ways_has_the_backgrounds_of_both(exposures):
    """Whatever the order of the files; found by random exposures."""
    first = next(e for e in exposures if e.is_psf)
    other = replace(first, root=first.root.replace("jw01386", "jw09999"), program="09999", target=first.target.lower())
    near = next(e for e in exposures if e.is_background and e.configuration == first.configuration)
    near = replace(near, target=f"{first.target} BACKGROUND", program=first.program, sky=None)
    far = replace(near, root="jw08888001001_02101_00001_mirimage", program="08888")
    for order in ([first, other, near, far], [far, near, other, first]):
        found = {a.exposure.root: set(a.backgrounds) for a in sort_roles(order)}
        assert found[first.root] == found[other.root] == {near.root, far.root}
