"""The stage 1 steps by themselves: registered, official in parameters, equal in result, clear in their errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwst.step
import numpy as np
import pytest
from astropy.io import fits
from jwst.pipeline import Detector1Pipeline as OfficialDetector1Pipeline
from stdatamodels.jwst import datamodels
from stpipe.utilities import import_class, resolve_step_class_alias

from lyot import dq
from lyot.errors import InputError, MissingInputError, ReferenceFileError
from lyot.steps import stage1_reference_files
from lyot.steps.detector1 import Detector1Pipeline
from lyot.steps.integration import get_steps
from lyot.steps.mixin import LyotMixin
from lyot.steps.stage1_corrections import DarkCurrentStep, DQInitStep, GainScaleStep
from lyot.steps.stage1_level1b import inspect_level1b
from lyot.steps.stage1_slopes import JumpStep, RampFitStep

from ..ramps.cubes import Scenario, ramps
from .stage1_synthetic import offline, run, write_exposure, write_references

# the official steps warn of all-NaN slices and of deprecations; that is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore")

STAGE1 = [entry for entry in get_steps() if "stage1" in entry[0] or "detector1" in entry[0]]


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with offline(tmp_path_factory.mktemp("crds")):
        yield


@pytest.mark.parametrize("path, alias, is_pipeline", STAGE1)
def test_registered_step_replaces_an_official_one(path: str, alias: str, is_pipeline: bool) -> None:
    assert resolve_step_class_alias(alias) == path
    step = import_class(path)
    official = step.official_class()
    assert issubclass(step, LyotMixin) and official.__module__.startswith("jwst.")
    assert step.__name__ == official.__name__ and step.class_alias == official.class_alias
    assert step.get_config_reftype() == official.get_config_reftype()
    assert "lyot" in step.get_stpipe_loggers()
    assert is_pipeline == hasattr(step, "step_defs")


def test_official_names_stay_official() -> None:
    assert resolve_step_class_alias("jump") == "jwst.step.JumpStep"
    assert OfficialDetector1Pipeline.step_defs["jump"] is jwst.step.JumpStep
    assert list(Detector1Pipeline.step_defs) == list(OfficialDetector1Pipeline.step_defs)


@pytest.mark.parametrize("name", Detector1Pipeline.step_defs)
def test_parameters_are_a_superset_with_the_same_defaults(name: str) -> None:
    ours = Detector1Pipeline.step_defs[name](name).get_pars()
    theirs = OfficialDetector1Pipeline.step_defs[name](name).get_pars()
    assert {key: ours[key] for key in theirs} == theirs


def ramp_model(scenario: Scenario, **instrument: Any) -> Any:
    """A ramp model in memory, by default of MIRI."""
    model = datamodels.RampModel(data=ramps(scenario).astype(np.float32))
    model.groupdq = np.zeros(model.data.shape, np.uint8)
    model.pixeldq = np.zeros(scenario.shape, np.uint32)
    values = {"name": "MIRI", "detector": "MIRIMAGE", "filter": "F1550C"} | instrument
    for key, value in values.items():
        setattr(model.meta.instrument, key, value)
    sub = model.meta.subarray
    sub.name, sub.xstart, sub.ystart = "MASK1550", 1, 463
    sub.ysize, sub.xsize = scenario.shape
    e = model.meta.exposure
    e.nints, e.ngroups = scenario.nints, scenario.ngroups
    e.nframes, e.groupgap, e.frame_time, e.group_time = 1, 0, 0.24, 0.24
    e.type, e.readpatt = "MIR_4QPM", "FASTR1"
    model.meta.observation.date, model.meta.observation.time = "2023-07-01", "00:00:00.000"
    return model


@pytest.mark.parametrize(
    "name",
    ["dq_init", "saturation", "firstframe", "lastframe", "reset", "linearity", "rscd", "dark_current", "jump"],
)
def test_each_step_alone_is_the_official_one(name: str, tmp_path: Path) -> None:
    scenario = Scenario(nints=2, ngroups=11, seed=31, rays=0.05)
    parameters = write_references(tmp_path, scenario).get(name, {})
    model = ramp_model(scenario)
    found = np.random.default_rng(5).random(model.data.shape) < 0.01
    found[:, :2] = False
    model.groupdq[np.maximum.accumulate(found, axis=1)] = dq.SATURATED  # saturation lasts, as the official step sets it
    before = model.copy()
    ours = Detector1Pipeline.step_defs[name].call(model, **parameters)
    theirs = OfficialDetector1Pipeline.step_defs[name].call(model, **parameters)
    for array in ("data", "groupdq", "pixeldq"):
        np.testing.assert_array_equal(getattr(ours, array), getattr(theirs, array), err_msg=array)
        np.testing.assert_array_equal(getattr(model, array), getattr(before, array), err_msg="the input was changed")
    assert str(ours.meta.cal_step.instance) == str(theirs.meta.cal_step.instance)
    assert str(ours.meta.rscd.instance) == str(theirs.meta.rscd.instance)


def near_infrared(scenario: Scenario, folder: Path) -> tuple[Any, dict[str, str]]:
    """A NIRCam exposure of averaged frames, and its gain and read noise."""
    model = ramp_model(scenario, name="NIRCAM", detector="NRCALONG", filter="F444W")
    model.meta.exposure.nframes, model.meta.exposure.type, model.meta.exposure.frame_time = 4, "NRC_CORON", 0.06
    files = {}
    for kind, make, value in (("gain", datamodels.GainModel, 1.8), ("readnoise", datamodels.ReadnoiseModel, 12.0)):
        reference = make(data=np.full(scenario.shape, value, np.float32))
        for key in ("xstart", "ystart", "xsize", "ysize"):
            setattr(reference.meta.subarray, key, getattr(model.meta.subarray, key))
        reference.meta.instrument.name = "NIRCAM"
        files[f"override_{kind}"] = str(folder / f"{kind}.fits")
        reference.save(files[f"override_{kind}"])
    return model, files


def test_near_infrared_exposures(tmp_path: Path) -> None:
    scenario = Scenario(nints=2, ngroups=12, seed=32, rays=0.05)
    model, files = near_infrared(scenario, tmp_path)
    ours, theirs = JumpStep.call(model, **files), jwst.step.JumpStep.call(model, **files)
    np.testing.assert_array_equal(ours.groupdq, theirs.groupdq)
    slopes, official = RampFitStep.call(ours, **files), jwst.step.RampFitStep.call(theirs, **files)
    for a, b in zip(slopes, official, strict=True):
        np.testing.assert_array_equal(a.dq, b.dq)
        # a few roundings of float32; constant ramps have slopes of 1e-10 DN/s officially, zero here
        np.testing.assert_allclose(a.data, b.data, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(a.err, b.err, rtol=1e-6)


@pytest.mark.slow
def test_likely_slopes_are_the_official_ones(tmp_path: Path) -> None:
    scenario = Scenario(nints=2, ngroups=14, seed=33, rays=0.03, shape=(12, 20))
    parameters = write_references(tmp_path, scenario)["ramp_fit"] | {"algorithm": "LIKELY"}
    model = ramp_model(scenario)
    model.groupdq[:, -1] = dq.DO_NOT_USE
    slopes, official = RampFitStep.call(model, **parameters), jwst.step.RampFitStep.call(model, **parameters)
    for a, b in zip(slopes, official, strict=True):
        np.testing.assert_array_equal(a.dq, b.dq)
        for name in ("data", "err", "var_poisson", "var_rnoise"):
            # float32 products of float64 sums in another order
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5, atol=1e-9, err_msg=name)


def test_gain_scale_multiplies_slopes_and_variances() -> None:
    model = datamodels.ImageModel(data=np.full((4, 5), 2.0, np.float32))
    model.err, model.var_poisson, model.var_rnoise = (np.full((4, 5), v, np.float32) for v in (1, 3, 4))
    model.meta.exposure.gain_factor = 2.0
    scaled = GainScaleStep.call(model)
    assert [float(a[0, 0]) for a in (scaled.data, scaled.err, scaled.var_poisson, scaled.var_rnoise)] == [4, 2, 12, 16]
    assert scaled.meta.cal_step.gain_scale == "COMPLETE" and model.data[0, 0] == 2


def test_dark_is_saved_when_asked(tmp_path: Path) -> None:
    scenario = Scenario(nints=1, ngroups=8)
    parameters = write_references(tmp_path, scenario)["dark_current"]
    DarkCurrentStep.call(ramp_model(scenario), dark_output="used_dark.fits", output_dir=str(tmp_path), **parameters)
    with datamodels.open(tmp_path / "used_dark.fits") as saved:
        assert saved.data.shape[2:] == scenario.shape and not np.isnan(saved.data).any()


def test_output_name_and_version(tmp_path: Path) -> None:
    scenario = Scenario(nints=1, ngroups=6)
    parameters = write_references(tmp_path, scenario)["dq_init"]
    file = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_uncal.fits", scenario)
    DQInitStep.call(str(file), save_results=True, output_dir=str(tmp_path), **parameters)
    with datamodels.open(tmp_path / "jw01386008001_04101_00001_mirimage_dqinitstep.fits") as saved:
        assert saved.meta.cal_step.dq_init == "COMPLETE"
        assert any(card[0] == "LYOT_VER" for card in saved.extra_fits.PRIMARY.header)


@pytest.mark.parametrize("kind", ["gain", "readnoise"])
def test_a_context_without_a_necessary_reference_is_said(kind):
    """What CRDS answers where its rules have no file is no name of one."""
    sentence = f"the calibration context has no {kind} reference file"
    with pytest.raises(ReferenceFileError, match=sentence), stage1_reference_files.opened(kind, "N/A", object):
        pass


def test_wrong_references_are_refused_in_one_sentence(tmp_path: Path) -> None:
    scenario = Scenario(nints=1, ngroups=8)
    steps = write_references(tmp_path, scenario)
    other = tmp_path / "other"
    other.mkdir()
    wrong = write_references(other, Scenario(nints=1, ngroups=8, shape=(10, 12)))
    file = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_uncal.fits", scenario)
    for step, values in (("dark_current", wrong["dark_current"]), ("reset", wrong["reset"])):
        with pytest.raises(ReferenceFileError, match="reference file of that subarray"):
            Detector1Pipeline.call(str(file), steps=steps | {step: values}, output_dir=str(tmp_path / "out"))
    missing = {"override_mask": str(tmp_path / "nowhere.fits")}
    with pytest.raises(ReferenceFileError, match=r"nowhere\.fits: no such reference file"):
        Detector1Pipeline.call(str(file), steps=steps | {"dq_init": missing}, output_dir=str(tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.fits"))


def _rewrite(file: Path, change: Any) -> None:
    from astropy.io import fits

    with fits.open(file) as hdus:
        change(hdus)
        hdus.writeto(file, overwrite=True)


def _set(name: str, data: Any) -> Any:
    def change(hdus: Any) -> None:
        from astropy.io import fits

        hdus[name] = fits.ImageHDU(data, name=name)

    return change


BAD_FILES = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:20000]), "truncated"),
    "a text file": (lambda p: p.write_text("no fits at all"), "not a readable FITS file"),
    "no ramps": (lambda p: _rewrite(p, lambda hdus: hdus.pop("SCI")), "no SCI extension"),
    "slopes": (lambda p: _rewrite(p, _set("SCI", np.zeros((3, 4, 5), np.float32))), "ramps have 4"),
    "double precision": (lambda p: _rewrite(p, _set("SCI", np.zeros((1, 8, 20, 36)))), "BITPIX = -64"),
    "not a number": (
        lambda p: _rewrite(p, _set("SCI", np.full((1, 8, 20, 36), np.nan, np.float32))),
        "not finite",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    spoil, message = BAD_FILES[name]
    file = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_uncal.fits", Scenario(nints=1, ngroups=8))
    assert inspect_level1b(file).shape == (1, 8, 20, 36)
    spoil(file)
    with pytest.raises(InputError, match=message) as caught:
        inspect_level1b(file)
    assert str(file) in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        inspect_level1b("nowhere_uncal.fits")


def test_registration_imports_nothing() -> None:
    source = inspect.getsource(inspect.getmodule(get_steps))  # type: ignore[arg-type]
    imports = [line for line in source.splitlines() if line.startswith(("import", "from"))]
    assert imports == ["from __future__ import annotations"]


@pytest.mark.parametrize(("name", "keyword"), [
    ("dq_init", "dq_init"), ("saturation", "saturation"), ("reset", "reset"), ("linearity", "linearity"),
    ("rscd", "rscd"), ("dark_current", "dark_sub"),
])  # fmt: skip
def test_without_a_reference_file_a_step_is_skipped_as_the_official_one(
    name: str, keyword: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours, official = (
        pipeline.step_defs[name]().run(ramp_model(Scenario(nints=2, ngroups=6, seed=21)))
        for pipeline in (Detector1Pipeline, OfficialDetector1Pipeline)
    )
    assert getattr(ours.meta.cal_step, keyword) == getattr(official.meta.cal_step, keyword) == "SKIPPED"
    for array in ("data", "groupdq", "pixeldq"):
        np.testing.assert_array_equal(getattr(ours, array), getattr(official, array))
    np.testing.assert_array_equal(ours.data, ramps(Scenario(nints=2, ngroups=6, seed=21)).astype(np.float32))
    assert "step will be skipped" in caplog.text


@pytest.mark.parametrize("name", ["firstframe", "lastframe"])
def test_frames_of_other_instruments_are_left_alone(name: str) -> None:
    scenario = Scenario(nints=2, ngroups=6, seed=22)
    model = Detector1Pipeline.step_defs[name]().run(ramp_model(scenario, name="NIRCAM", detector="NRCALONG"))
    assert getattr(model.meta.cal_step, name) == "SKIPPED" and not model.groupdq.any()


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("dark_groups", "beyond"), [(12, 8), (20, None)])
def test_slopes_say_that_the_dark_was_too_short(
    tmp_path: Path, streamed: bool, dark_groups: int, beyond: int | None
) -> None:
    """So that stage 3, which names the faults of its input, knows it."""
    scenario = Scenario(nints=2, ngroups=20, seed=7, dark_groups=dark_groups)
    with offline(tmp_path / "crds"):
        steps = write_references(tmp_path, scenario)
        file = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_uncal.fits", scenario, ramps(scenario))
        run(Detector1Pipeline, file, steps, tmp_path / "out", fuse=streamed)
    (rateints,) = (tmp_path / "out").glob("*_rateints.fits")
    assert fits.getheader(rateints).get("DARKBEYD") == beyond
