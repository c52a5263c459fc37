"""The streaming engine gives the same bits as the functions of the room one after the other, whatever the layout."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lyot import dq
from lyot.errors import InputError, ReferenceFileError
from lyot.ramps import _stream, engine, scratch
from lyot.ramps.dark import DarkReference, GroupTiming, dark_reference, match_dark, subtract_dark
from lyot.ramps.depth_matching import truncate_to_depth
from lyot.ramps.dq_init import initialize_flags, mask_flags
from lyot.ramps.firstlast import flag_last_group
from lyot.ramps.jump import all_do_not_use, detect_jumps
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.linearity import linearity_reference, linearize
from lyot.ramps.options import FitLimits
from lyot.ramps.ramp_fit import RampFitParams, fit_ramps
from lyot.ramps.readers import FloatFile, RampFile
from lyot.ramps.reset import reset_reference, subtract_reset
from lyot.ramps.rscd import flag_rscd, integration_skips, rscd_skips
from lyot.ramps.saturation import SaturationParams, flag_saturation, saturation_reference
from lyot.ramps.slopes import GroupTimes

from .cubes import GROUP_TIME, Scenario, ramps, references

TIMES = GroupTimes(group_time=GROUP_TIME, frame_time=GROUP_TIME)


def prepared(scenario: Scenario) -> tuple[engine.Corrections, engine.Detector]:
    """References of a scenario as the engine takes them."""
    r = references(scenario)
    dark = match_dark(dark_reference(r.dark, r.dark_dq, GroupTiming(1, 0)), scenario.ngroups, GroupTiming(1, 0))
    skips = rscd_skips(3, 4, scenario.ngroups, scenario.nints)
    corrections = engine.Corrections(
        mask=mask_flags(r.mask),
        saturation=saturation_reference(r.saturation, r.saturation_dq),
        last_frame=True,
        reset=reset_reference(r.reset, np.zeros(scenario.shape, np.uint32)),
        linearity=linearity_reference(r.coefficients, r.linearity_dq),
        rscd=integration_skips(skips, scenario.nints) if scenario.ngroups >= 3 else None,
        dark=dark,
    )
    return corrections, engine.Detector(r.gain, r.read_noise, np.full(scenario.shape, 0.3, np.float32))


def step_by_step(
    raw: np.ndarray[Any, Any],
    c: engine.Corrections,
    d: engine.Detector,
    jump: JumpParams | None,
    fit: RampFitParams,
    first_integration: int = 1,
    limits: FitLimits | None = None,
) -> tuple[Any, Any, Any]:
    """The same exposure through the functions of the room, on whole arrays."""
    assert c.mask is not None and c.saturation and c.reset and c.linearity and isinstance(c.dark, DarkReference)
    data = raw.astype(np.float32)
    flags = initialize_flags(np.zeros(raw.shape[2:], np.uint32), np.zeros(raw.shape, np.uint8), c.mask)
    pixels, groups = flags.pixel_dq, flags.group_dq
    groups = flag_saturation(data, groups, c.saturation, SaturationParams(n_pix_grow_sat=c.n_pix_grow_sat)).group_dq
    groups = flag_last_group(groups)
    data = subtract_reset(data, c.reset, first_integration=first_integration)
    data = linearize(data, groups, c.linearity)
    pixels = pixels | c.saturation.dq | c.reset.dq | c.linearity.dq | c.dark.dq
    rscd: Any = (None, None)
    if c.rscd is not None:
        result = flag_rscd(pixels, groups, c.rscd, first_integration=first_integration)
        pixels, groups, rscd = result.flags.pixel_dq, result.flags.group_dq, (result.first, result.later)
    data = subtract_dark(data, c.dark, first_integration=first_integration)
    primary = 0
    if jump is not None and raw.shape[1] > 2:
        found = detect_jumps(
            data, groups, pixels, gain=d.gain, read_noise=d.read_noise, group_time=GROUP_TIME, params=jump
        )
        pixels, groups, primary = found.pixeldq, found.groupdq, found.primary
    if limits is not None and limits.depth is not None:
        groups = truncate_to_depth(data, groups, limits.depth, min_groups=limits.min_groups)
    if limits is not None and limits.drop_first:
        groups = groups.copy()
        groups[0] |= dq.DO_NOT_USE
    slopes = fit_ramps(
        data,
        groups,
        pixels,
        gain=d.gain,
        read_noise=d.read_noise,
        times=TIMES,
        dark=d.dark_current,
        params=fit,
        dropped=int(limits is not None and limits.drop_first),
    )
    return slopes, primary, (rscd, all_do_not_use(groups))


def assert_same(result: engine.StreamResult, slopes: Any, primary: int) -> None:
    """Equal to the last bit."""
    for kind in ("rate", "rateints"):
        for name in ("slope", "dq", "var_poisson", "var_rnoise", "err"):
            ours, theirs = getattr(getattr(result.slopes, kind), name), getattr(getattr(slopes, kind), name)
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{kind} {name}")
    assert result.primary == max(primary, 0)


SCENARIOS = {
    "plain": Scenario(),
    "one integration": Scenario(nints=1, ngroups=40, seed=2),
    "few groups, iterative jumps": Scenario(nints=2, ngroups=9, seed=3),
    "five groups": Scenario(nints=4, ngroups=5, seed=4),
    "three groups": Scenario(nints=2, ngroups=3, seed=5),
    "no saturation, all leading groups dropped": Scenario(nints=2, ngroups=30, seed=6, saturating=0.0, rays=0.03),
    "sigma clipping over integrations": Scenario(nints=110, ngroups=8, seed=7, shape=(9, 34)),
    "more reset than groups": Scenario(nints=3, ngroups=6, seed=8),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_same_bits_as_step_by_step(name: str) -> None:
    scenario = SCENARIOS[name]
    raw = ramps(scenario)
    c, d = prepared(scenario)
    slopes, primary, (rscd, unused) = step_by_step(raw, c, d, JumpParams(), RampFitParams())
    try:
        result = engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
    except engine.NotStreamableError:
        assert slopes is None
        return
    assert_same(result, slopes, primary)
    assert result.rscd == rscd
    np.testing.assert_array_equal(result.all_unused, unused)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("memory", [0.02, 0.3, 320])
def test_layout_does_not_matter(threads: int, memory: float) -> None:
    scenario = Scenario(nints=2, ngroups=20, shape=(19, 70), rays=0.05, saturating=0.3, seed=11)
    raw = ramps(scenario)
    c, d = prepared(scenario)
    c = replace(c, n_pix_grow_sat=2)
    jump = JumpParams(after_jump_flag_dn1=50.0, after_jump_flag_time1=1.0)
    slopes, primary, _ = step_by_step(raw, c, d, jump, RampFitParams())
    layout = engine.StreamParams(threads=threads, memory=memory)
    result = engine.process_exposure(raw, c, d, TIMES, jump=jump, fit=RampFitParams(), params=layout)
    assert_same(result, slopes, primary)


@pytest.mark.parametrize(
    "jump, fit",
    [
        (None, RampFitParams()),
        (JumpParams(flag_4_neighbors=False), RampFitParams(suppress_one_group=False)),
        (JumpParams(rejection_threshold=3.0), RampFitParams(firstgroup=4, lastgroup=17)),
        (JumpParams(only_use_ints=False, minimum_sigclip_groups=30), RampFitParams()),
    ],
)
def test_same_bits_for_other_parameters(jump: JumpParams | None, fit: RampFitParams) -> None:
    scenario = Scenario(seed=21)
    raw = ramps(scenario)
    c, d = prepared(scenario)
    slopes, primary, _ = step_by_step(raw, c, d, jump, fit)
    assert_same(engine.process_exposure(raw, c, d, TIMES, jump=jump, fit=fit), slopes, primary)


def test_a_dropped_group_is_noticed_and_streamed_again(caplog: pytest.LogCaptureFixture) -> None:
    """Groups of zeros in all pixels change the method of the jump detection, which only the whole exposure tells."""
    scenario = Scenario(nints=2, ngroups=16, seed=22)
    raw = ramps(scenario)
    raw[0, 5:11] = 0
    c, d = prepared(scenario)
    slopes, primary, _ = step_by_step(raw, c, d, JumpParams(), RampFitParams())
    with caplog.at_level("INFO", "lyot.ramps.engine"):
        result = engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
    assert_same(result, slopes, primary)
    assert "streaming is repeated" in caplog.text


def test_a_later_segment_gets_the_last_references() -> None:
    scenario = Scenario(nints=3, seed=23)
    raw = ramps(scenario)
    c, d = prepared(scenario)
    c = replace(c, rscd=integration_skips((3, 4), 3, first_integration=41, exposure_integrations=60))
    slopes, primary, (rscd, _) = step_by_step(raw, c, d, JumpParams(), RampFitParams(), first_integration=41)
    params = engine.StreamParams(first_integration=41)
    result = engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams(), params=params)
    assert_same(result, slopes, primary)
    assert result.rscd == rscd and rscd[0] is None


def write_file(path: Path, raw: np.ndarray[Any, Any], before: int = 2880) -> RampFile:
    """Write ramps as a FITS data unit holds them, after some other bytes."""
    path.write_bytes(b"\x01" * before + (raw ^ np.uint16(0x8000)).astype(">u2").tobytes())
    return RampFile(path, before, raw.shape)


def test_a_file_gives_the_same_as_an_array(tmp_path: Path) -> None:
    scenario = Scenario(nints=2, ngroups=70, seed=24)
    raw = ramps(scenario)
    raw[0, 0, 0, :3] = (0, 32768, 65535)
    c, d = prepared(scenario)
    assert isinstance(c.dark, DarkReference)
    dark = tmp_path / "dark"
    n, ng = references(scenario).dark.shape[:2]
    stored = references(scenario).dark.astype(">f4")
    stored[0, 3, 1, 2] = np.nan  # counts as no dark, as officially
    dark.write_bytes(stored.tobytes())
    c = replace(c, dark=replace(c.dark, data=np.nan_to_num(stored.astype(np.float32))))
    streamed = replace(c, dark=engine.DarkFile(FloatFile(dark, 0, (n, ng, *scenario.shape)), c.dark.dq, n))
    for layout in (engine.StreamParams(), engine.StreamParams(threads=2, memory=0.5)):
        array = engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
        file = write_file(tmp_path / "ramps", raw)
        result = engine.process_exposure(
            file, streamed, d, TIMES, jump=JumpParams(), fit=RampFitParams(), params=layout
        )
        assert_same(result, array.slopes, array.primary)


def test_values_of_a_float_file_are_turned_over(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(3, 300, 5, 7)).astype(">f4")  # more groups than are read at once
    values[1, 299, 4, 6], values[0, 0, 2, 3] = np.nan, -np.inf
    path = tmp_path / "dark"
    path.write_bytes(b"\x01" * 100 + values.tobytes())
    with FloatFile(path, 100, values.shape) as file:
        found = file.rows((2, 3), (3, 4, 2, 300))
    assert np.array_equal(
        found, np.moveaxis(np.nan_to_num(values[:2, :, 2:5, 3:], posinf=np.inf, neginf=-np.inf), (0, 1), (2, 3))
    )


def test_truncated_file(tmp_path: Path) -> None:
    scenario = Scenario()
    raw = ramps(scenario)
    c, d = prepared(scenario)
    file = write_file(tmp_path / "ramps", raw)
    file.path.write_bytes(file.path.read_bytes()[:-100])
    with pytest.raises(InputError, match="ends before the end of its data"):
        engine.process_exposure(file, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())


def test_bad_arrays_are_refused() -> None:
    scenario = Scenario()
    raw = ramps(scenario)
    c, d = prepared(scenario)
    wrong = replace(d, gain=d.gain[:, 1:])
    with pytest.raises(ReferenceFileError, match="gain"):
        engine.process_exposure(raw, c, wrong, TIMES, jump=JumpParams(), fit=RampFitParams())
    with pytest.raises(InputError, match="uint16 or float32"):
        engine.process_exposure(raw.astype(np.int32), c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
    with pytest.raises(engine.NotStreamableError, match="whole images"):
        engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(find_showers=True), fit=RampFitParams())
    with pytest.raises(engine.NotStreamableError, match="optional results"):
        engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams(save_opt=True))


def test_caller_arrays_are_not_changed() -> None:
    scenario = Scenario()
    raw = ramps(scenario)
    c, d = prepared(scenario)
    assert c.mask is not None
    before = [a.copy() for a in (raw, c.mask, d.gain, d.read_noise)]
    engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
    for was, now in zip(before, (raw, c.mask, d.gain, d.read_noise), strict=True):
        np.testing.assert_array_equal(was, now)


def test_band_layout_keeps_to_its_memory() -> None:
    for nints in (1, 10, 60, 240, 1000):
        shape = (nints, 250, 224, 288)
        rows, passes = engine.band_layout(shape, 1, 320)
        width = -(-288 // passes) + 4 * (passes > 1)
        used = nints * 250 * width * (3 * 5 + (rows + 1) * 2) / 1e6
        fits = nints * 250 * 12 * (3 * 5 + 2 * 2) / 1e6 <= 320  # the narrowest band, one row at a time, fits at all
        assert used <= 320 if fits else passes >= 288 // 8
        assert 1 <= rows <= _stream.MAX_ROWS


def test_saturated_everywhere_is_left_to_the_steps() -> None:
    scenario = Scenario(nints=1, ngroups=10)
    c, d = prepared(scenario)
    raw = np.full((1, 10, *scenario.shape), 65535, np.uint16)
    with pytest.raises(engine.NotStreamableError):
        engine.process_exposure(raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
    assert dq.SATURATED == 2


def test_slopes_kept_on_disk_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scenario = Scenario(nints=4, ngroups=15, seed=8)
    raw = ramps(scenario)
    c, d = prepared(scenario)
    run = functools.partial(engine.process_exposure, raw, c, d, TIMES, jump=JumpParams(), fit=RampFitParams())
    memory = run(params=engine.StreamParams(scratch=tmp_path, memory=0.3))
    assert memory.scratch._folder is None
    monkeypatch.setattr(scratch, "IN_MEMORY", 0.0)
    disk = run(params=engine.StreamParams(scratch=tmp_path, memory=0.3))
    assert disk.scratch._folder == tmp_path
    with disk.scratch.kept_small():  # values stay when memory is given back
        assert_same(disk, memory.slopes, memory.primary)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("nints", "ngroups"), [(1, 4), (3, 22), (2, 3)])
def test_likely_is_the_same_streamed(nints: int, ngroups: int) -> None:
    scenario = Scenario(nints=nints, ngroups=ngroups, seed=12)
    raw = ramps(scenario)
    c, d = prepared(scenario)
    fit = RampFitParams(algorithm="LIKELY")  # with 3 groups it falls back to OLS_C
    streamed = engine.process_exposure(
        raw, c, d, TIMES, jump=JumpParams(), fit=fit, params=engine.StreamParams(memory=0.3)
    )
    slopes, primary, _ = step_by_step(raw, c, d, JumpParams(), fit)
    assert_same(streamed, slopes, primary)
