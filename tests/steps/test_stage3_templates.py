"""The mean background goes from stage 2 to stage 3 in the science files, and mends what stage 2 left over."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from lyot.exposures.headers import BACKGROUND_IMAGE
from lyot.simulator.crds_cache import write_empty_cache
from lyot.steps.image2 import Image2Pipeline
from lyot.steps.sequence_io import build_sequence
from lyot.steps.stage2_background import BackgroundStep
from lyot.steps.stage3_klip import KlipStep
from lyot.steps.stage3_plan import reduction_plan
from lyot.steps.stage3_refs import StackRefsStep
from lyot.steps.stage3_templates import NOISE_EXTENSION, attach_background, background_of, background_template
from lyot.steps.stage3_throughput import uniform_background_of
from tests.steps.stage23_synthetic import F1550C, SHAPE, STAR, exposure, sequence

pytestmark = pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.NoTypeWarning")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")


def stick(shape: tuple[int, int] = SHAPE, star: tuple[float, float] = STAR) -> np.ndarray:
    """A background of 40 with a bright line through the star."""
    y, x = np.indices(shape, dtype=float)
    return 40.0 + 8.0 * np.exp(-0.5 * ((y - star[1] + 0.1 * (x - star[0])) / 1.5) ** 2)


def test_round_trip_through_a_file(tmp_path):
    model = exposure(np.zeros((2, *SHAPE)), name="a_calints.fits")
    assert background_of(model) is None
    image = stick()
    image[:5] = np.nan
    attach_background(model, image)
    model.save(tmp_path / "a_calints.fits")
    with datamodels.open(tmp_path / "a_calints.fits") as back:
        np.testing.assert_array_equal(background_of(back), image.astype(np.float32))


def test_a_cropped_file_does_not_lend_its_old_background(caplog):
    model = exposure(np.zeros((2, 20, 30)), name="a_calints.fits")
    attach_background(model, stick())
    assert background_of(model) is None and BACKGROUND_IMAGE in caplog.text


def test_the_template_is_the_mean_of_the_exposures_that_have_one():
    models = [exposure(np.zeros((1, *SHAPE)), name=f"{i}_calints.fits") for i in range(3)]
    attach_background(models[0], stick())
    attach_background(models[2], 3 * stick())
    cut = (slice(2, 50), slice(3, 60))
    # float32 in the file
    np.testing.assert_allclose(background_template(models, [cut] * 3)[0], 2 * stick()[cut], rtol=1e-6)
    assert background_template(models[1:2], [cut]) is None


def test_stage_2_keeps_what_it_subtracted():
    rng = np.random.default_rng(2)
    science = exposure(rng.normal(stick(), 0.1, (2, *SHAPE)), name="jw01001001001_rateints.fits")
    back = exposure(rng.normal(stick(), 0.1, (4, *SHAPE)), name="jw01001030001_rateints.fits")
    before = np.array(science.data)
    result = BackgroundStep().run(science, [back])
    # rounding to float32 of numbers of a few DN/s
    np.testing.assert_allclose(before - result.data, np.broadcast_to(background_of(result), before.shape), atol=2e-6)
    assert background_of(BackgroundStep(keep_background=False).run(science, [back])) is None


@pytest.mark.filterwarnings("ignore:Input association file contains path information")
def test_stage_2_puts_it_through_the_flat_field(tmp_path, monkeypatch):
    for name, value in write_empty_cache(tmp_path / "cache").environment().items():
        monkeypatch.setenv(name, value)
    rng = np.random.default_rng(3)
    shape, star = F1550C.shape, F1550C.reference_point
    flat = 1.0 + 0.1 * np.indices(shape)[1] / shape[1]
    for name, n in (("jw01001001001_rateints.fits", 2), ("jw01001030001_rateints.fits", 3)):
        model = exposure(rng.normal(stick(shape, star), 0.1, (n, *shape)), name=name, star=star)
        model.var_flat = np.zeros(model.data.shape, np.float32)
        model.meta.bunit_data = model.meta.bunit_err = "DN/s"
        model.save(tmp_path / name)
    reference = datamodels.FlatModel(data=flat.astype(np.float32))
    reference.meta.instrument.name = "MIRI"
    reference.meta.subarray.xstart, reference.meta.subarray.ystart = 1, 463
    reference.meta.subarray.xsize, reference.meta.subarray.ysize = shape[1], shape[0]
    reference.save(tmp_path / "flat.fits")
    members = [("jw01001001001_rateints.fits", "science"), ("jw01001030001_rateints.fits", "background")]
    table = {"asn_type": "image2", "asn_rule": "DMSLevel2bBase", "asn_pool": "none", "asn_id": "a3001", "program": "1",
             "target": "t", "products": [{"name": "jw01001001001",
             "members": [{"expname": str(tmp_path / e), "exptype": t} for e, t in members]}]}  # fmt: skip
    (tmp_path / "asn.json").write_text(json.dumps(table))
    skip = {"skip": True}
    steps = {"assign_wcs": skip, "photom": skip, "resample": skip, "bad_pixels": skip,
             "flat_field": {"user_supplied_flat": str(tmp_path / "flat.fits")},
             "bkg_subtract": {"save_results": True}}  # fmt: skip
    Image2Pipeline.call(str(tmp_path / "asn.json"), save_results=True, output_dir=str(tmp_path), steps=steps)
    found = fits.getdata(tmp_path / "jw01001001001_calints.fits", BACKGROUND_IMAGE)
    # noise of three integrations of 0.1, so 0.06 per pixel: five sigma of the mean over 64 000 pixels
    assert np.nanmean(found * flat - stick(shape, star)) == pytest.approx(0.0, abs=1.2e-3)
    assert np.nanstd(found * flat - stick(shape, star)) == pytest.approx(0.1 / np.sqrt(3), rel=0.05)
    # the same from the product of the step alone, which has in it what the calibration of its background needs
    del steps["bkg_subtract"]
    table["products"][0] = {"name": "again", "members": [
        {"expname": str(tmp_path / "jw01001001001_bsubints.fits"), "exptype": "science"}]}  # fmt: skip
    (tmp_path / "asn.json").write_text(json.dumps(table))
    Image2Pipeline.call(str(tmp_path / "asn.json"), save_results=True, output_dir=str(tmp_path), steps=steps)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "again_calints.fits", BACKGROUND_IMAGE), found)
    with fits.open(tmp_path / "jw01001001001_bsubints.fits") as step, fits.open(tmp_path / "again_calints.fits") as end:
        assert NOISE_EXTENSION in step and NOISE_EXTENSION not in end


def leftover(part: float, *, attach: bool = True):
    """A sequence with a part of the background left in the science frames."""
    science, references = sequence(np.random.default_rng(4), nints=2)
    for model in science:
        model.data += (part * stick()).astype(np.float32)
        if attach:
            attach_background(model, stick())
    return science, StackRefsStep.call(references)


def spread(result) -> float:
    """Scatter within 2 arcsec of the star, away from the planet (149.4 deg at 1.6 arcsec)."""
    image, (x, y) = result.image, result.center
    yy, xx = np.indices(image.shape)
    near = np.hypot(xx - x, yy - y) < 18
    away = np.hypot(xx - x + 7.4, yy - y + 12.5) > 7
    return float(np.nanstd(image[near & away]))


@pytest.fixture(scope="module")
def reduced():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        out = {}
        for name, part, switch in (("none", 0.0, True), ("left", 0.05, True), ("off", 0.05, False)):
            science, stack = leftover(part)
            step = KlipStep(use_throughput=False, use_templates=switch)
            out[name] = (step.run(science, stack), step)
        return out


def test_a_leftover_background_is_taken_out_by_default(reduced):
    clean, left, off = (spread(reduced[name][1].result) for name in ("none", "left", "off"))
    # the stick leaves 0.4 at its crest, on a few rows: without the template the scatter of the inner 2 arcsec is larger
    # by a tenth (0.186 for 0.168); with it, it is that of the sequence without the leftover
    assert left == pytest.approx(clean, rel=0.02)
    assert off > 1.07 * clean


def test_the_header_says_so(reduced):
    def card(product):
        header = product.instance["extra_fits"]["PRIMARY"]["header"]
        return {row[0]: row[1] for row in header}["BKGTMPL"]

    assert card(reduced["left"][0][0]) is True and card(reduced["off"][0][0]) is False
    science, stack = leftover(0.0, attach=False)
    assert card(KlipStep(use_throughput=False).run(science, stack)[0]) is False


def test_without_a_mean_background_that_of_a_uniform_one_is_fitted(caplog):
    """Archive files: background in the references only, whose dark boundaries would leave a ridge."""
    science, references = sequence(np.random.default_rng(4), nints=2)
    pattern = uniform_background_of(references[0])
    for model in references:
        model.data += (3.0 * pattern).astype(np.float32)
    stack = StackRefsStep.call(references)
    x, y = STAR
    dy, dx = np.indices(SHAPE) - np.array([y, x])[:, None, None]
    far = np.hypot(dx, dy) > 12
    dark = far & (pattern < 0.6)
    open_field = far & (pattern > 0.98)

    def ridge(use_templates: bool) -> float:
        step = KlipStep(use_templates=use_templates)
        with caplog.at_level("INFO"):
            image = np.mean([model.data.mean(axis=0) for model in step.run(science, stack)], axis=0)
        return float(np.median(image[dark]) - np.median(image[open_field]))

    assert ridge(True) == pytest.approx(0.0, abs=0.1 * ridge(False))
    assert "pattern that a uniform background has" in caplog.text


def test_zero_injection_gives_the_same_bits_with_the_template():
    science, stack = leftover(0.05)
    plan = reduction_plan(science, stack, use_throughput=False)
    assert plan.sequence.templates is not None
    injected = plan.reduce(plan.sequence.science + 0.0)
    assert np.array_equal(injected.combined, plan.reduce().combined, equal_nan=True)


def test_the_error_of_the_background_comes_along():
    rng = np.random.default_rng(6)
    back = exposure(rng.normal(stick(), 0.1, (4, *SHAPE)), name="jw01001030001_rateints.fits", noise=0.1)
    models = []
    for e in range(2):
        science = exposure(rng.normal(stick(), 0.1, (2, *SHAPE)), name=f"jw0100100{e}001_rateints.fits")
        models.append(BackgroundStep().run(science, [back]))
    found = build_sequence(models, []).sequence
    # four integrations of 0.1; the clipping leaves out a value here and there
    assert np.median(found.background_variance) == pytest.approx(0.01 / 4, rel=0.01)
    models[1] = BackgroundStep(propagate_error=False).run(models[1], [back])
    assert (build_sequence(models, []).sequence.background_variance[1] == 0).all()


def test_templates_follow_the_crop():
    science, _ = leftover(0.0)
    _, references = sequence(np.random.default_rng(5), nints=1)
    small = [exposure(m.data[:, 6:, 9:], name="r.fits", star=(STAR[0] - 9, STAR[1] - 6)) for m in references]
    found = build_sequence(science, small).sequence
    np.testing.assert_allclose(found.templates[0], stick()[6:, 9:], rtol=1e-6)
