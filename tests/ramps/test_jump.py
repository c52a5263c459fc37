"""Jump detection: flags identical to the official algorithm, branch by branch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot import dq
from lyot.errors import InputError
from lyot.ramps import jump
from lyot.ramps._jump_median import NONE, SAMPLE, first_guess, key_of, median_of_keys, to_keys, value_of
from lyot.ramps.jump import all_do_not_use, detect_jumps, plan_jump
from lyot.ramps.jump_params import JumpParams
from tests.ramps.jump_cubes import GROUP_TIME, Cube, make_cube, official_jump


def detect(cube: Cube, params: JumpParams | None = None, *, nframes: int = 1, threads: int = 1) -> jump.JumpResult:
    return detect_jumps(
        *cube.arrays(),
        gain=cube.gain,
        read_noise=cube.read_noise,
        group_time=GROUP_TIME,
        nframes=nframes,
        params=params,
        threads=threads,
    )


def assert_official(cube: Cube, params: JumpParams, *, nframes: int = 1, threads: int = 1) -> None:
    groupdq, pixeldq, primary, extended = official_jump(cube, params, nframes=nframes)
    ours = detect(cube, params, nframes=nframes, threads=threads)
    np.testing.assert_array_equal(ours.groupdq, groupdq)
    np.testing.assert_array_equal(ours.pixeldq, pixeldq)
    assert (ours.primary, ours.extended) == (primary, extended)


SHAPES = [(1, 3), (1, 4), (1, 5), (2, 4), (1, 8), (3, 7), (2, 12), (5, 30), (12, 130), (100, 5), (105, 12), (1, 120)]
CHANGES = {
    "default": {},
    "no neighbors": {"flag_4_neighbors": False},
    "after jump": {
        "after_jump_flag_dn1": 20.0,
        "after_jump_flag_time1": 6.0,
        "after_jump_flag_dn2": 200.0,
        "after_jump_flag_time2": 140.0,
    },
    "pooled": {"only_use_ints": False},
    "pooled, few": {"only_use_ints": False, "minimum_sigclip_groups": 10},
    "low thresholds": {
        "rejection_threshold": 2.5,
        "three_group_rejection_threshold": 3.0,
        "four_group_rejection_threshold": 2.5,
        "min_jump_to_flag_neighbors": 3.0,
        "max_jump_to_flag_neighbors": 50.0,
    },
}


@pytest.mark.parametrize("flags", ["none", "all", "miri", "wild"])
@pytest.mark.parametrize("change", CHANGES)
def test_flags_are_the_official_ones(change: str, flags: str) -> None:
    for seed, (nints, ngroups) in enumerate(SHAPES):
        cube = make_cube(seed, (nints, ngroups, 7, 8), flags=flags)
        assert_official(cube, JumpParams(**CHANGES[change]), threads=1 + seed % 3, nframes=1 + seed % 2 * 3)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    nints=st.integers(1, 4),
    ngroups=st.integers(2, 14),
    shape=st.tuples(st.integers(2, 5), st.integers(6, 9)),
    flags=st.sampled_from(["none", "all", "miri", "wild"]),
    cosmic_rays=st.floats(0, 0.5),
    threshold=st.floats(1, 8),
)
def test_random_flags(
    seed: int, nints: int, ngroups: int, shape: tuple[int, int], flags: str, cosmic_rays: float, threshold: float
) -> None:
    cube = make_cube(seed, (nints, ngroups, *shape), flags=flags, cosmic_rays=cosmic_rays)
    assert_official(cube, JumpParams(rejection_threshold=threshold), threads=2)


def test_whole_numbers_with_many_ties_as_official() -> None:
    # equal differences: the iterative branch masks all values equal to the largest at once
    for seed, (nints, ngroups) in enumerate([(1, 4), (1, 6), (3, 5), (2, 20), (101, 6)]):
        cube = make_cube(seed, (nints, ngroups, 6, 7), flags="none")
        cube.data[:] = np.round(cube.data / 30)
        cube.data[:, :, 2] = np.arange(ngroups)[:, None]
        assert_official(cube, JumpParams())


def test_a_group_that_jumps_in_every_pixel_is_released_when_clipping() -> None:
    cube = make_cube(1, (100, 6, 3, 7), flags="none", cosmic_rays=0)
    cube.data[40, 3:] += 5000
    assert_official(cube, JumpParams())
    assert not np.any(detect(cube).groupdq[40, 3] & dq.JUMP_DET)


def test_neighbors_across_bands() -> None:
    # one jump on each side of the border between two threads' bands
    cube = make_cube(1, (1, 20, 8, 6), flags="none", cosmic_rays=0)
    cube.data[0, 5:, 3, 2] += 400
    cube.data[0, 9:, 4, 4] += 400
    one, two = detect(cube), detect(cube, threads=2)
    np.testing.assert_array_equal(one.groupdq, two.groupdq)
    flagged = np.argwhere(two.groupdq[0, 5] & dq.JUMP_DET)
    assert {tuple(f) for f in flagged} >= {(3, 2), (2, 2), (4, 2), (3, 1), (3, 3)}
    assert two.groupdq[0, 9, 3, 4] & dq.JUMP_DET


def test_nan_in_the_ramps_is_left_out() -> None:
    cube = make_cube(2, (2, 15, 5, 6), flags="all")
    cube.data[0, 4, 2, 3] = np.nan
    cube.data[1, :, 3, 3] = np.nan
    assert_official(cube, JumpParams())


def test_input_is_not_changed() -> None:
    cube = make_cube(3, (2, 15, 5, 6), flags="all")
    before = [a.copy() for a in (*cube.arrays(), cube.gain, cube.read_noise)]
    detect(cube, JumpParams(find_showers=True, expand_large_events=True))
    for was, now in zip(before, (*cube.arrays(), cube.gain, cube.read_noise), strict=True):
        np.testing.assert_array_equal(was, now)


def test_plan_names_the_branch() -> None:
    gain = np.ones((2, 2), np.float32)

    def method(nints: int, ngroups: int, unused: int = 0, **changes: object) -> int:
        all_dnu = np.zeros((nints, ngroups), bool)
        all_dnu[:, :unused] = True
        params = JumpParams(**changes)  # type: ignore[arg-type]
        return plan_jump(params, all_dnu=all_dnu, gain=gain, nframes=1, group_time=1.0).method

    assert method(1, 3, unused=1) == jump.SKIP
    assert method(1, 10) == jump.ITERATIVE
    assert method(1, 11) == jump.SINGLE_PASS
    assert method(1, 12, unused=2) == jump.ITERATIVE
    assert method(100, 3, unused=1) == jump.CLIP_INTEGRATIONS
    assert method(2, 50, only_use_ints=False) == jump.CLIP_ALL
    assert method(2, 50, unused=1, only_use_ints=False) == jump.SINGLE_PASS


def test_all_do_not_use_wants_every_pixel() -> None:
    flags = np.zeros((1, 3, 2, 2), np.uint8)
    flags[0, 0] = dq.DO_NOT_USE | dq.SATURATED
    flags[0, 1, 0, 0] = dq.DO_NOT_USE
    np.testing.assert_array_equal(all_do_not_use(flags), [[True, False, False]])


@pytest.mark.parametrize("broken", ["shape", "dtype", "gain"])
def test_bad_input_is_refused(broken: str) -> None:
    cube = make_cube(1, (1, 5, 3, 6), flags="none")
    if broken == "shape":
        cube.groupdq = cube.groupdq[:, 1:]
    elif broken == "dtype":
        cube.data = cube.data.astype(np.uint16)
    else:
        cube.gain = cube.gain[1:]
    with pytest.raises(InputError, match="jump"):
        detect(cube)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 3000),
    kind=st.sampled_from(["normal", "whole numbers", "constant", "two values", "wide", "infinite"]),
    missing=st.floats(0, 1),
)
def test_median_is_exact(seed: int, n: int, kind: str, missing: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 5, n).astype(np.float32)
    if kind == "whole numbers":
        values = np.round(values)
    elif kind == "constant":
        values[:] = -2.5
    elif kind == "two values":
        values = np.where(values > 3, np.float32(1), np.float32(-1))
    elif kind == "wide":
        values = np.exp(values).astype(np.float32)
    elif kind == "infinite":
        values[values > 9] = np.inf
        values[values < -5] = -np.inf
    values[rng.random(n) < missing] = np.nan
    keys = values.copy().view(np.int32)
    valid = to_keys(keys)
    assert valid == np.count_nonzero(~np.isnan(values))
    assert np.all((keys == NONE) == np.isnan(values))
    guess, density = first_guess(keys, np.empty(SAMPLE + 1, np.int32))
    kept = np.empty(n + 1, np.int32)
    with np.errstate(invalid="ignore"):
        expected = np.median(values[~np.isnan(values)].astype(float)) if valid else np.nan
    for start, width in ((guess, density * valid), (100.0, 1.0), (-1e30, 1e-20), (3.0, 100.0)):
        assert np.array_equal(median_of_keys(keys, valid, start, width, kept), expected, equal_nan=True)


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False))
def test_keys_sort_as_numbers(a: float, b: float) -> None:
    if a == b == 0:
        assert abs(int(key_of(a)) - int(key_of(b))) <= 1  # minus zero comes right before zero
    else:
        assert (key_of(a) < key_of(b)) == (a < b)
    assert value_of(key_of(a)) == a
