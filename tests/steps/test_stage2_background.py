"""The background step: official mean, errors carried, flags not spread, report written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from lyot import dq
from lyot.errors import InputError
from lyot.steps.stage2_background import BackgroundStep, pixel_offset
from lyot.steps.stage2_bad_pixels import BadPixelStep
from tests.steps.stage23_synthetic import F1550C, exposure, point

SHAPE = F1550C.shape
STAR = F1550C.reference_point
NOISE = 0.2


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")


def thermal() -> np.ndarray:
    y, x = np.indices(SHAPE, dtype=float)
    t = np.radians(F1550C.boundary_tilt)
    v = -(x - STAR[0]) * np.sin(t) + (y - STAR[1]) * np.cos(t)
    return 15 + 0.01 * x + 1.5 * np.exp(-0.5 * ((v - 0.8) / 1.5) ** 2)


def slopes(rng, name, *, n=3, source=0.0, level=1.0) -> datamodels.CubeModel:
    image = level * thermal() + source * point(SHAPE, STAR[0] + 8, STAR[1] + 5)
    model = exposure(rng.normal(image, NOISE, (n, *SHAPE)), name=name, star=STAR, noise=NOISE)
    model.meta.bunit_data = "DN/s"
    return model


@pytest.fixture
def exposures():
    rng = np.random.default_rng(1)
    science = slopes(rng, "jw01001001001_rateints.fits", source=20.0)
    return science, [slopes(rng, f"jw01001030001_0000{i}_rateints.fits", n=4) for i in (1, 2)]


def test_subtracts_keeps_flags_apart_and_carries_the_error(exposures):
    science, backgrounds = exposures
    backgrounds[0].dq[2, 50:60, 50:60] = dq.JUMP_DET
    kept = science.data.copy()
    step = BackgroundStep()
    result = step.run(science, backgrounds)
    np.testing.assert_array_equal(science.data, kept)
    assert result.meta.cal_step.bkg_subtract == "COMPLETE"
    far = np.hypot(*(np.indices(SHAPE) - np.array(STAR[::-1])[:, None, None])) > 40
    assert abs(float(result.data[:, far].mean())) < 5e-3  # noise of 150 000 pixels: 5e-4; of the background: 3e-4
    assert not result.dq.any()
    # each pixel: its own noise and that of the mean of eight background integrations
    assert float(np.median(result.err)) == pytest.approx(NOISE * np.sqrt(1 + 1 / 8), rel=0.02)
    np.testing.assert_allclose(result.var_poisson + result.var_rnoise, result.err**2, rtol=1e-4)
    assert float(result.data[:, far].std()) == pytest.approx(float(np.median(result.err)), rel=0.02)


def test_official_behaviour_on_request(exposures):
    science, backgrounds = exposures
    backgrounds[1].dq[2, 50, 60] = dq.JUMP_DET
    step = BackgroundStep(propagate_dq=True, propagate_error=False, first_integration="same", reject_sources=False)
    result = step.run(science, backgrounds)
    assert (result.dq[:, 50, 60] == dq.JUMP_DET).all()
    np.testing.assert_array_equal(result.err, science.err)
    official = pytest.importorskip("jwst.background.background_sub")
    expected = official.average_background(science, backgrounds, 3.0, None).data
    # both means of float32 near 15: rounding of a few 1e-6
    np.testing.assert_allclose(science.data - result.data, np.broadcast_to(expected, science.data.shape), atol=1e-4)


def test_report_in_header_and_beside_the_product(exposures, tmp_path):
    science, backgrounds = exposures
    BackgroundStep.call(science, backgrounds, save_results=True, output_dir=str(tmp_path), suffix="bsubints")
    facts = json.loads((tmp_path / "jw01001001001_background.json").read_text())
    assert facts["n_integrations"] == 8 and facts["method"] == "clipped_mean"
    assert [s["name"] for s in facts["glow_sticks"]] == ["left", "right"]
    for strip in facts["glow_sticks"]:
        assert strip["before"][0] > 0.5
        assert abs(strip["after"][0]) < 5 * strip["after"][1]
    with datamodels.open(tmp_path / "jw01001001001_bsubints.fits") as model:
        cards = {card[0]: card[1] for card in model.extra_fits.PRIMARY.header}
    assert cards["BKGMETH"] == "clipped_mean" and cards["GLOWN1"] == "left"
    assert cards["GLOWB1"] > 0.5 and cards["GLOWE1"] > 0


def test_combined_background_product(exposures, tmp_path):
    science, backgrounds = exposures
    BackgroundStep.call(
        science, backgrounds, save_combined_background=True, save_results=True, output_dir=str(tmp_path)
    )
    (path,) = tmp_path.glob("*combinedbackground.fits")
    with datamodels.open(path) as model:
        assert np.median(np.abs(model.data - thermal())) < NOISE
        # two exposures of four integrations; what the clipping takes from the mean changes its error by 1 to 2 %
        assert float(np.median(model.err)) == pytest.approx(NOISE / np.sqrt(8), rel=0.05)


def test_pixel_without_any_background_is_not_used(exposures):
    science, backgrounds = exposures
    for b in backgrounds:
        b.dq[:, 20, 30] = dq.DO_NOT_USE
    backgrounds[0].dq[:, 40, 50] = dq.DO_NOT_USE
    result = BackgroundStep().run(science, backgrounds)
    assert np.isnan(result.data[:, 20, 30]).all() and (result.dq[:, 20, 30] == dq.DO_NOT_USE).all()
    assert np.isfinite(result.data[:, 40, 50]).all() and not result.dq[:, 40, 50].any()


def test_no_background_skips(exposures):
    science, _ = exposures
    result = BackgroundStep().run(science, [])
    assert result.meta.cal_step.bkg_subtract == "SKIPPED"
    np.testing.assert_array_equal(result.data, science.data)


@pytest.mark.parametrize("method", ["scaled", "scaled_glow", "median", "pca", "integration_matched"])
def test_methods_run_through_the_step(exposures, method):
    science, backgrounds = exposures
    result = BackgroundStep(method=method).run(science, backgrounds)
    far = np.hypot(*(np.indices(SHAPE) - np.array(STAR[::-1])[:, None, None])) > 40
    # five times the error of the mean of 59 483 pixels, three integrations less eight of the backgrounds:
    # 0.2 sqrt(1/3 + 1/8) / sqrt(59483) = 5.6e-4
    assert abs(float(np.nanmean(result.data[:, far]))) < 0.0028


def test_other_crop_of_the_background_is_placed(exposures):
    science, backgrounds = exposures
    crop = backgrounds[0].data[:, 5:-9, 12:-3].copy()
    small = exposure(crop, name="crop.fits", star=(STAR[0] - 12, STAR[1] - 5), noise=NOISE)
    assert pixel_offset(small, science) == (12, 5)
    result = BackgroundStep().run(science, [small])
    assert np.isnan(result.data[:, :5]).all() and np.isnan(result.data[:, :, -3:]).all()
    # five times the error of the mean of 5000 pixels, three integrations less four: 0.2 sqrt(1/3 + 1/4) / sqrt(5000)
    assert abs(float(np.nanmean(result.data[:, 150:200, 150:250]))) < 0.011


def test_background_of_another_filter_is_refused(exposures):
    science, backgrounds = exposures
    backgrounds[1].meta.instrument.filter = "F1140C"
    with pytest.raises(InputError, match="F1140C"):
        BackgroundStep().run(science, backgrounds)


def test_bad_pixel_step_flags_and_repairs():
    rng = np.random.default_rng(2)
    cube = rng.normal(1.0, NOISE, (6, 40, 40))
    cube[2, 10, 10] += 10
    cube[:, 20, 25] += 30
    model = exposure(cube, name="jw01001001001_calints.fits", noise=NOISE)
    model.dq[:, 30, 30] = dq.DO_NOT_USE
    flagged = BadPixelStep().run(model)
    assert flagged.dq[2, 10, 10] == dq.DO_NOT_USE | dq.OUTLIER
    assert (flagged.dq[:, 20, 25] & dq.DO_NOT_USE).all()
    assert not (flagged.dq[:, 5, 5]).any()
    repaired = BadPixelStep(action="repair").run(model)
    for y, x in ((20, 25), (30, 30)):
        assert np.abs(repaired.data[:, y, x] - 1).max() < 5 * NOISE
        assert (repaired.dq[:, y, x] == dq.FLUX_ESTIMATED).all()
    assert repaired.dq[2, 10, 10] == dq.FLUX_ESTIMATED
    assert repaired.err[2, 10, 10] > model.err[2, 10, 10]
