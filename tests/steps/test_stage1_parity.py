"""Stage 1 against the official pipeline on exposures that reach every branch: streamed, and step by step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jwst.pipeline import Detector1Pipeline as OfficialDetector1Pipeline

from lyot.steps.detector1 import Detector1Pipeline

from ..ramps.cubes import Scenario
from .stage1_synthetic import (
    assert_products_agree,
    header_differences,
    offline,
    run,
    write_exposure,
    write_references,
)

# the official steps warn of all-NaN slices and of deprecations; that is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore")

NAME = "jw01386008001_04101_00001_mirimage_uncal.fits"


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with offline(tmp_path_factory.mktemp("crds")):
        yield


SCENARIOS = {
    "many branches": Scenario(),
    "one integration of five groups": Scenario(nints=1, ngroups=5, seed=2),
    "four groups": Scenario(nints=2, ngroups=4, seed=3),
    "iterative jumps": Scenario(nints=2, ngroups=9, seed=4, rays=0.05),
    "sigma clipping over integrations": Scenario(nints=104, ngroups=7, seed=5, shape=(10, 20)),
    "later segment": Scenario(nints=3, ngroups=20, seed=6, segment=(21, 60)),
    "dark too short": Scenario(nints=2, ngroups=20, seed=7, dark_groups=12),
    "no saturation": Scenario(nints=2, ngroups=30, seed=8, saturating=0.0),
}


QUICK = ("many branches", "one integration of five groups")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SCENARIOS])
def test_products_are_the_official_ones(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scenario = SCENARIOS[name]
    steps = write_references(tmp_path, scenario)
    file = write_exposure(tmp_path / NAME, scenario)
    official = run(OfficialDetector1Pipeline, file, steps, tmp_path / "official")
    with caplog.at_level("INFO"):
        streamed = run(Detector1Pipeline, file, steps, tmp_path / "streamed")
    assert "Streaming" in caplog.text and "step by step" not in caplog.text
    for ours, theirs in zip(streamed, official, strict=True):
        assert ours.meta.filename == theirs.meta.filename
        assert_products_agree(ours, theirs)
        assert header_differences(ours, theirs) == {}
        cards = {card[0]: card[1] for card in ours.extra_fits.PRIMARY.header}
        assert "LYOT_VER" in cards
        assert cards.get("DARKBEYD") == (8 if name == "dark too short" else None)  # 20 groups, 12 in the dark
    if official[1].hasattr("int_times"):
        np.testing.assert_array_equal(streamed[1].int_times, official[1].int_times)
    by_step = run(Detector1Pipeline, file, steps, tmp_path / "by_step", fuse=False)
    for ours, other in zip(streamed, by_step, strict=True):
        assert_products_agree(ours, other, exact=True)
        assert header_differences(ours, other) == {}


def test_parameters_reach_the_steps(tmp_path: Path) -> None:
    """Parameters off their defaults, the LIKELY-free ones, give what the official pipeline gives with them."""
    scenario = Scenario(nints=2, ngroups=22, seed=12, rays=0.04)
    steps = write_references(tmp_path, scenario)
    steps["saturation"]["n_pix_grow_sat"] = 2
    steps["jump"] |= {"rejection_threshold": 3.0, "after_jump_flag_dn1": 100.0, "after_jump_flag_time1": 0.8}
    steps["jump"] |= {"min_jump_to_flag_neighbors": 4.0}
    steps["ramp_fit"] |= {"firstgroup": 5, "lastgroup": 19, "suppress_one_group": False}
    steps["dark_current"] |= {"average_dark_current": 4.0}
    steps["reset"]["skip"] = True
    file = write_exposure(tmp_path / NAME, scenario)
    official = run(OfficialDetector1Pipeline, file, steps, tmp_path / "official")
    streamed = run(Detector1Pipeline, file, steps, tmp_path / "streamed", threads=2, memory=10.0)
    for ours, theirs in zip(streamed, official, strict=True):
        assert_products_agree(ours, theirs)
        assert header_differences(ours, theirs) == {}
        assert ours.meta.cal_step.reset == "SKIPPED"


@pytest.mark.slow
def test_calibrated_ramps_are_the_official_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Asking for the ramps runs step by step, and the ramps are equal to the bit."""
    from stdatamodels.jwst import datamodels

    scenario = Scenario(nints=2, ngroups=12, seed=13)
    steps = write_references(tmp_path, scenario)
    file = write_exposure(tmp_path / NAME, scenario)
    run(OfficialDetector1Pipeline, file, steps, tmp_path / "official", save_calibrated_ramp=True)
    with caplog.at_level("INFO"):
        run(Detector1Pipeline, file, steps, tmp_path / "ours", save_calibrated_ramp=True)
    assert "step by step: save_calibrated_ramp" in caplog.text
    name = NAME.replace("uncal", "ramp")
    with datamodels.open(tmp_path / "ours" / name) as a, datamodels.open(tmp_path / "official" / name) as b:
        for array in ("data", "groupdq", "pixeldq", "average_dark_current"):
            np.testing.assert_array_equal(getattr(a, array), getattr(b, array))
        assert header_differences(a, b) == {}


@pytest.mark.slow
def test_an_exposure_without_usable_groups_has_no_product(tmp_path: Path) -> None:
    scenario = Scenario(nints=1, ngroups=8, seed=14)
    steps = write_references(tmp_path, scenario)
    data = np.full((1, 8, *scenario.shape), 65535, np.uint16)
    file = write_exposure(tmp_path / NAME, scenario, data)
    for pipeline in (OfficialDetector1Pipeline, Detector1Pipeline):
        assert run(pipeline, file, steps, tmp_path / pipeline.__module__) == (None, None)


@pytest.mark.slow
def test_why_an_exposure_goes_step_by_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Hooks, saved steps, snowballs: told in the log, and the products are written all the same."""
    scenario = Scenario(nints=1, ngroups=10, seed=15, shape=(12, 24))
    file = write_exposure(tmp_path / NAME, scenario)
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "jump has hooks": ("jump", {"post_hooks": ["tests.steps.stage1_synthetic.leave_alone"]}),
        "linearity.save_results": ("linearity", {"save_results": True}),
        "dark_current.dark_output": ("dark_current", {"dark_output": str(tmp_path / "mydark.fits")}),
        "snowballs": ("jump", {"expand_large_events": True}),
    }
    first = None
    for number, (reason, (step, values)) in enumerate(asked.items()):
        steps = write_references(tmp_path, scenario)
        steps[step] |= values
        caplog.clear()
        with caplog.at_level("INFO"):
            rate, _ = run(Detector1Pipeline, file, steps, tmp_path / str(number))
        assert f"step by step: {reason}" in caplog.text
        first = rate if first is None else first
        if reason != "snowballs":  # which flag more
            assert_products_agree(rate, first, exact=True)
    assert (tmp_path / "1" / NAME.replace("uncal", "linearity")).is_file()


@pytest.mark.slow
def test_options_are_the_same_step_by_step(tmp_path: Path) -> None:
    """Depth matching, dropped groups and integrations: streamed and step by step to the bit."""
    scenario = Scenario(nints=3, ngroups=22, seed=16)
    steps = write_references(tmp_path, scenario)
    file = write_exposure(tmp_path / NAME, scenario)
    rate, _ = run(Detector1Pipeline, file, steps, tmp_path / "plain")
    shallow = rate.copy()
    shallow.data *= 0.5
    shallow.save(tmp_path / "science_rate.fits")
    steps["rscd"] |= {"extra_groups": 2}
    steps["ramp_fit"] |= {"drop_first_integration": True, "depth_map": str(tmp_path / "science_rate.fits")}
    steps["ramp_fit"] |= {"depth_min_groups": 5}
    streamed = run(Detector1Pipeline, file, steps, tmp_path / "streamed")
    by_step = run(Detector1Pipeline, file, steps, tmp_path / "by_step", fuse=False)
    for ours, other in zip(streamed, by_step, strict=True):
        assert_products_agree(ours, other, exact=True)
        assert header_differences(ours, other) == {}
    assert np.isnan(streamed[1].data[0]).all() and np.isfinite(streamed[1].data[1]).any()
    assert not np.array_equal(streamed[0].data, rate.data, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("fuse", [True, False])
def test_threshold_by_role_reaches_the_jump_step(fuse: bool, tmp_path: Path) -> None:
    from stdatamodels.jwst import datamodels

    scenario = Scenario(nints=1, ngroups=20, seed=17, shape=(12, 24))
    steps = write_references(tmp_path, scenario)
    file = write_exposure(tmp_path / NAME, scenario)
    with datamodels.open(file) as model:
        model.meta.exposure.psf_reference = True
        model.save(file)
    by_role = {"jump_threshold_reference": 3.0, "jump_threshold_science": 7.0}
    rate, _ = run(Detector1Pipeline, file, steps, tmp_path / "role", fuse=fuse, **by_role)
    steps["jump"]["rejection_threshold"] = 3.0
    same, _ = run(Detector1Pipeline, file, steps, tmp_path / "same", fuse=fuse)
    assert_products_agree(rate, same, exact=True)
    steps["jump"]["rejection_threshold"] = 7.0
    other, _ = run(Detector1Pipeline, file, steps, tmp_path / "other", fuse=fuse)
    assert not np.array_equal(rate.dq, other.dq)


@pytest.mark.slow
def test_sample_ramps_are_those_that_the_official_pipeline_fits(tmp_path: Path, monkeypatch: Any) -> None:
    """The ramps kept for the report equal the official ``ramp`` product, and no product changes by it."""
    from astropy.io import fits

    from lyot.ramps import watch

    monkeypatch.setattr(watch, "BORDER", 1)  # the exposure is small
    scenario = Scenario(nints=2, ngroups=14, seed=16, rays=0.05)
    steps = write_references(tmp_path, scenario)
    file = write_exposure(tmp_path / NAME, scenario)
    plain = run(Detector1Pipeline, file, steps, tmp_path / "plain")
    kept = run(Detector1Pipeline, file, steps, tmp_path / "kept", sample_ramps=True)
    for ours, other in zip(kept, plain, strict=True):
        assert_products_agree(ours, other, exact=True)
        assert header_differences(ours, other) == {}
    assert not list((tmp_path / "plain").glob("*_samples.fits"))
    run(OfficialDetector1Pipeline, file, steps, tmp_path / "official", save_calibrated_ramp=True)
    with fits.open(tmp_path / "official" / NAME.replace("uncal", "ramp")) as hdus:
        ramps, flags = hdus["SCI"].data[1], hdus["GROUPDQ"].data[1]
    with fits.open(tmp_path / "kept" / NAME.replace("uncal", "samples")) as hdus:
        table, header = hdus["SAMPLES"].data, hdus["SAMPLES"].header
    assert header["INTEGR"] == 2 and header["TGROUP"] > 0
    assert len(table) > 100 and len({(y, x) for y, x in zip(table["Y"], table["X"], strict=True)}) == len(table)
    assert (table["FLAGS"] & 4).any() and (table["FLAGS"] & 2).any()
    for row in table:
        np.testing.assert_array_equal(row["RAMP"], ramps[:, row["Y"], row["X"]])
        np.testing.assert_array_equal(row["FLAGS"], flags[:, row["Y"], row["X"]])
    np.testing.assert_array_equal(table["SLOPE"], kept[1].data[1][table["Y"], table["X"]])
