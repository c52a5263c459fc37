"""What holds for every set of exposures: roles do not depend on the order, names lose their suffix once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lyot.exposures import Role, level2, sort_roles
from lyot.exposures.exposure import STAGES
from lyot.exposures.names import exposure_root, is_product, plain_name
from lyot.exposures.read import one_per_exposure
from lyot.exposures.roles import choose_filter
from lyot.testing import exposures

MANY = settings(max_examples=60, deadline=None)
SETS = st.lists(exposures(), min_size=1, max_size=8, unique_by=lambda e: e.root)


@MANY
@given(SETS, st.randoms(use_true_random=False))
def test_roles_do_not_depend_on_the_order_of_the_files(given_exposures, random):
    shuffled = list(given_exposures)
    random.shuffle(shuffled)
    first = {a.exposure.root: (a.role, a.roll_number, set(a.backgrounds)) for a in sort_roles(given_exposures)}
    second = {a.exposure.root: (a.role, a.roll_number, set(a.backgrounds)) for a in sort_roles(shuffled)}
    assert first == second


@MANY
@given(SETS)
def test_every_exposure_has_one_role_and_nothing_is_lost(given_exposures):
    assigned = sort_roles(given_exposures)
    assert sorted(a.exposure.root for a in assigned) == sorted(e.root for e in given_exposures)
    known = {e.root for e in given_exposures}
    for a in assigned:
        assert set(a.backgrounds) <= known - {a.exposure.root}
        assert (a.roll_number > 0) == (a.role is Role.SCIENCE)
        if a.exposure.is_background:
            assert a.role not in (Role.SCIENCE, Role.REFERENCE)


@MANY
@given(SETS)
def test_rolls_are_numbered_from_one_without_gaps(given_exposures):
    by_filter: dict[str, set[int]] = {}
    for a in sort_roles(given_exposures):
        if a.roll_number:
            by_filter.setdefault(a.exposure.filter, set()).add(a.roll_number)
    numbers = set().union(*by_filter.values()) if by_filter else set()
    assert numbers == set(range(1, len(numbers) + 1))


@MANY
@given(SETS)
def test_a_filter_that_is_chosen_is_the_only_one(given_exposures):
    assigned = sort_roles(given_exposures)
    for name in {a.exposure.filter for a in assigned if a.role not in (Role.ACQUISITION, Role.OTHER)}:
        kept = choose_filter(assigned, name.lower())
        assert kept and {a.exposure.filter for a in kept} == {name}


@MANY
@given(exposures(), st.randoms(use_true_random=False))
def test_of_several_stages_the_first_is_taken(exposure, random):
    stages = [
        dataclasses.replace(exposure, stage=stage, path=Path(f"/data/{exposure.root}_{stage}.fits")) for stage in STAGES
    ]
    random.shuffle(stages)
    (kept,) = one_per_exposure(stages)
    assert kept.stage == STAGES[0]


@MANY
@given(exposures())
def test_a_root_has_no_suffix_and_stays(exposure):
    assert exposure_root(exposure.path) == exposure.root
    assert exposure_root(Path(f"{exposure.root}.fits.gz")) == exposure.root
    assert is_product(exposure.path, exposure.stage)


@MANY
@given(st.text(alphabet="ABCxyz019 -_", min_size=1, max_size=20), st.sampled_from(["-BACKGROUND", " bkg", "_SKY2"]))
def test_a_target_and_its_background_have_one_plain_name(name, word):
    plain = plain_name(name)
    assert plain == "".join(c for c in plain if c.isalnum()).upper()
    if plain and plain_name(name) == plain_name(plain):
        assert plain_name(name + word) == plain


@MANY
@given(SETS)
def test_an_association_has_the_science_first_and_its_backgrounds(given_exposures):
    for a in sort_roles(given_exposures):
        if a.role not in (Role.SCIENCE, Role.REFERENCE):
            continue
        backgrounds = [Path(f"/data/{root}_rateints.fits") for root in a.backgrounds]
        (product,) = level2([a], [Path(f"/data/{a.exposure.root}_rateints.fits")], backgrounds)["products"]
        kinds = [m["exptype"] for m in product["members"]]
        assert kinds == ["science"] + ["background"] * len(backgrounds)
