"""Stage 3 as a pipeline: products, their coordinates, and the planet where it was put."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from stdatamodels.jwst import datamodels

from lyot.errors import ConfigError, InputError, ReductionError
from lyot.geometry import separation_and_pa
from lyot.steps import stage3_refs
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.sequence_io import geometry_of
from lyot.steps.stage3_klip import KlipStep
from lyot.steps.stage3_plan import parse_truncate, reduction_plan
from lyot.steps.stage3_refs import StackRefsStep
from tests.steps.stage23_synthetic import DEC, NOISE, RA, SHAPE, STAR, exposure, sequence, speckles, write_association

SEPARATION, PA = 1.6, 149.4

pytestmark = pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.NoTypeWarning")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


def run(folder, association, **keywords):
    steps = keywords.pop("steps", {})
    steps.setdefault("klip", {}).setdefault("use_throughput", False)
    Coron3Pipeline.call(str(association), output_dir=str(folder), save_results=True, steps=steps, **keywords)


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage3")
    science, references = sequence(np.random.default_rng(1), planet=(SEPARATION, PA, 12.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        run(folder, write_association(folder, science, references))
    return folder


def test_official_products_are_there(products):
    names = {p.name for p in products.glob("*.fits")}
    for name in ("target_i2d", "target_psfstack", "target_klcube", "target_roll01_i2d", "target_roll02_i2d"):
        assert f"{name}.fits" in names
    for roll in (1, 2):
        for suffix in ("psfalign", "psfsub"):
            assert f"jw0100100{roll}001_a3001_{suffix}.fits" in names


def test_psfsub_keeps_integrations_and_standard_extensions(products):
    with datamodels.open(products / "jw01001001001_a3001_psfsub.fits") as model:
        assert isinstance(model, datamodels.CubeModel)
        assert model.data.shape == (3, *SHAPE) and model.err.shape == model.data.shape
        assert model.meta.cal_step.klip == "COMPLETE"
        residual = model.data[:, np.hypot(*(np.indices(SHAPE) - np.array(STAR[::-1])[:, None, None])) > 25]
        # far from the star only the noise of an integration is left; the references add some percent
        assert np.nanstd(residual) == pytest.approx(NOISE, rel=0.1)


def test_psfstack_tells_the_exposure_of_each_plane(products):
    with fits.open(products / "target_psfstack.fits") as hdus:
        assert hdus["SCI"].data.shape == (12, *SHAPE)
        np.testing.assert_array_equal(hdus["REFS"].data["EXPOSURE"], np.repeat(np.arange(6), 2))
    with fits.open(products / "jw01001001001_a3001_psfalign.fits") as hdus:
        assert hdus["SCI"].data.ndim == 3
        assert np.isfinite(hdus["REFS"].data["DX"]).all() and not hdus["REFS"].data["APPLIED"].any()
        # the references were made 2.2 times as bright as the star
        np.testing.assert_allclose(hdus["REFS"].data["SCALE"], 2.2, atol=0.1)


def planet_offset(image, header):
    """Position of the planet on the sky from the brightest pixel near it, refined by a centroid."""
    wcs = WCS(header)
    x, y = wcs.world_to_pixel_values(
        RA + SEPARATION * np.sin(np.radians(PA)) / 3600 / np.cos(np.radians(DEC)),
        DEC + SEPARATION * np.cos(np.radians(PA)) / 3600,
    )
    yy, xx = np.indices(image.shape)
    near = np.hypot(xx - x, yy - y) < 3.5  # 0.8 lambda/D: the core, where the planet outweighs what is left of the star
    weight = np.where(near, np.clip(np.nan_to_num(image), 0, None), 0)
    x, y = (weight * xx).sum() / weight.sum(), (weight * yy).sum() / weight.sum()
    ra, dec = wcs.pixel_to_world_values(x, y)
    return separation_and_pa((ra - RA) * 3600 * np.cos(np.radians(DEC)), (dec - DEC) * 3600)


@pytest.mark.parametrize("name", ["target_i2d", "target_roll01_i2d", "target_roll02_i2d"])
def test_planet_is_where_it_was_put_north_up(products, name):
    with fits.open(products / f"{name}.fits") as hdus:
        separation, pa = planet_offset(hdus["SCI"].data, hdus["SCI"].header)
    # a fifth of a pixel: the centroid of a source of S/N about 40 on subtracted speckles
    assert float(separation) == pytest.approx(SEPARATION, abs=0.025)
    assert float(pa) == pytest.approx(PA, abs=1.0)


def test_header_and_gwcs_are_the_same_projection(products):
    with datamodels.open(products / "target_i2d.fits") as model:
        gwcs = model.meta.wcs
        ny, nx = model.data.shape
        x, y = np.meshgrid(np.linspace(0, nx - 1, 9), np.linspace(0, ny - 1, 9))
        ra, dec = gwcs(x, y)
        wcs = WCS(fits.getheader(products / "target_i2d.fits", "SCI"))
        fx, fy = wcs.world_to_pixel_values(ra, dec)
        # rounding of coordinates of 200 deg is 1e-9 pixels
        assert max(np.abs(fx - x).max(), np.abs(fy - y).max()) < 1e-6
        star = wcs.world_to_pixel_values(RA, DEC)
        header = fits.getheader(products / "target_i2d.fits", 0)
        assert np.hypot(star[0] + 1 - header["STARX"], star[1] + 1 - header["STARY"]) < 1e-6  # rounding
        north = wcs.world_to_pixel_values(RA, DEC + 1 / 3600)
        east = wcs.world_to_pixel_values(RA + 1 / 3600 / np.cos(np.radians(DEC)), DEC)
    # 1 arcsec is 9 px; north straight up, east to the left; a parallel bends by (1 arcsec)^2 tan(dec) / 2 = 2.8e-5 px
    assert abs(north[0] - star[0]) < 1e-6 and north[1] - star[1] > 8.5
    assert abs(east[1] - star[1]) < 5e-5 and east[0] - star[0] < -8.5


def test_errors_match_the_scatter_away_from_the_star(products):
    with fits.open(products / "target_i2d.fits") as hdus:
        data, err, weight = hdus["SCI"].data, hdus["ERR"].data, hdus["WHT"].data
        ny, nx = data.shape
    yy, xx = np.indices(data.shape)
    r = np.hypot(xx - (nx - 1) / 2, yy - (ny - 1) / 2)
    ring = (r > 28) & (r < 38) & np.isfinite(data)
    # the interpolation correlates neighbors, so that single pixels scatter a little less than their errors
    assert 0.6 < np.std(data[ring]) / np.median(err[ring]) < 1.15
    np.testing.assert_allclose(weight[ring], 1 / err[ring] ** 2, rtol=1e-4)
    assert np.isnan(err[~np.isfinite(data)]).all()


def test_truncation_cube(products):
    with fits.open(products / "target_klcube.fits") as hdus:
        table, cube = hdus["KLMODES"].data, hdus["SCI"].data
        assert list(table["MODES"]) == [1, 2, 3, 5, 6] and table["MAIN"].sum() == 1
        main = cube[table["MAIN"]][0]
        assert hdus["ERR"].data.shape == cube.shape
        assert hdus["SCI"].header["CTYPE1"] == "RA---TAN"
    np.testing.assert_array_equal(main, fits.getdata(products / "target_i2d.fits", "SCI"))


def test_metadata_are_blended(products):
    with fits.open(products / "target_i2d.fits") as hdus:
        assert len(hdus["HDRTAB"].data) == 2
        header = hdus[0].header
        assert header["S_KLIP"] == header["S_RESAMP"] == "COMPLETE"
        assert hdus["SCI"].header["XPOSURE"] == pytest.approx(200.0)
        scale = np.abs(hdus["SCI"].header["CDELT1"]) * 3600
        assert hdus["SCI"].header["PIXAR_A2"] == pytest.approx(scale**2)
        assert header["LYOT_VER"]
        assert "A_ORDER" not in hdus["SCI"].header
    with datamodels.open(products / "target_i2d.fits") as model:
        assert model.meta.resample.pointings == 2


def test_parameters_reach_the_reduction(tmp_path):
    science, references = sequence(np.random.default_rng(2), nints=1)
    run(tmp_path, write_association(tmp_path, science, references), steps={"klip": {"truncate": [1, 4]}})
    assert list(fits.getdata(tmp_path / "target_klcube.fits", "KLMODES")["MODES"]) == [1, 4]


def test_rolls_without_references(tmp_path):
    science, _ = sequence(np.random.default_rng(3))
    run(tmp_path, write_association(tmp_path, science, []), steps={"klip": {"strategy": "adi"}})
    assert (tmp_path / "target_i2d.fits").exists()
    with pytest.raises(ReductionError, match="reference"):
        run(tmp_path, write_association(tmp_path, science, []))


def test_exposures_of_one_roll_are_one_image(tmp_path):
    """Two exposures at each of two angles: the images are numbered by roll."""
    science, references = sequence(np.random.default_rng(3), rolls=(108.171, 108.19, 117.55, 117.55))
    run(tmp_path, write_association(tmp_path, science, references))
    assert sorted(p.name[7:13] for p in tmp_path.glob("target_roll*_i2d.fits")) == ["roll01", "roll02"]
    combined, *rolls = (fits.getdata(tmp_path / f"target_{name}i2d.fits", "SCI") for name in ("", "roll01_", "roll02_"))
    middle = np.isfinite(combined) & np.isfinite(rolls[0]) & np.isfinite(rolls[1])
    mean = np.mean(rolls, axis=0)  # equal exposures: half of the weight each, but for their noise
    assert np.std((combined - mean)[middle]) < 0.2 * np.std(combined[middle])


def test_a_frame_that_a_companion_led_astray_is_placed_by_the_other_references(tmp_path, monkeypatch, caplog):
    """A companion brighter than what the mask leaves of the star attracts the fit of some frames, by many pixels."""
    true = stage3_refs.register

    def misled(references, image, **keywords):
        found = true(references, image, **keywords)
        if len(found.shift) == 12:  # of all frames to the science; the other is among the references
            found.shift[4:6] = (8.0, -3.0)
        return found

    science, references = sequence(np.random.default_rng(4))
    association = write_association(tmp_path, science, references)
    run(tmp_path, association)
    right = fits.getdata(tmp_path / "jw01001001001_a3001_psfalign.fits", "REFS")
    monkeypatch.setattr(stage3_refs, "register", misled)
    with caplog.at_level(logging.INFO):
        run(tmp_path, association)
    assert "2 reference frames were found up to 8.5 px from the science" in caplog.text
    planes = fits.getdata(tmp_path / "jw01001001001_a3001_psfalign.fits", "REFS")
    assert len(planes) == len(right) == 12
    # speckles of references at other places differ by more than their noise: 0.02 pixels between the two ways
    assert np.abs(planes["DX"] - right["DX"]).max() < 0.1 and np.abs(planes["DY"] - right["DY"]).max() < 0.1
    # a frame that is elsewhere among the references as well is rejected
    shifted = references[2]
    shifted.data = np.roll(shifted.data, 9, axis=2)
    shifted.save(tmp_path / str(shifted.meta.filename))
    monkeypatch.setattr(stage3_refs, "register", true)
    run(tmp_path, association)
    assert len(fits.getdata(tmp_path / "jw01001001001_a3001_psfalign.fits", "REFS")) == 10


def test_one_roll_one_reference_one_integration(tmp_path):
    science, references = sequence(np.random.default_rng(4), rolls=(108.171,), n_references=1, nints=1)
    run(tmp_path, write_association(tmp_path, science, references))
    assert (tmp_path / "target_i2d.fits").exists()
    assert not (tmp_path / "target_roll01_i2d.fits").exists()


def test_no_science_member(tmp_path):
    _, references = sequence(np.random.default_rng(5), n_references=2)
    with pytest.raises(InputError, match="no science member"):
        run(tmp_path, write_association(tmp_path, [], references))


@pytest.mark.parametrize(("text", "match"), [("not json", "not a level-3"), ("{}", "not a level-3"), (None, "no such")])
def test_what_is_no_association(tmp_path, text, match):
    path = tmp_path / "asn.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=match):
        Coron3Pipeline.call(str(path))


def test_member_that_is_not_there(tmp_path):
    science, references = sequence(np.random.default_rng(5), n_references=1, nints=1)
    path = write_association(tmp_path, science, references)
    (tmp_path / str(references[0].meta.filename)).unlink()
    with pytest.raises(InputError, match="does not exist"):
        Coron3Pipeline.call(str(path))


def test_plan_from_saved_products_repeats_the_pipeline(products):
    names = [products / f"jw0100100{roll}001_calints.fits" for roll in (1, 2)]
    aligned = products / "jw01001001001_a3001_psfalign.fits"
    plan = reduction_plan([str(n) for n in names], str(aligned), use_throughput=False)
    found = plan.reduce().image
    # the saved references are float32
    np.testing.assert_allclose(found, fits.getdata(products / "target_i2d.fits", "SCI"), atol=2e-3)
    np.testing.assert_array_equal(plan.reduce(plan.sequence.science).image, found)


def test_references_are_ranked_and_a_strange_one_left_out(tmp_path):
    science, references = sequence(np.random.default_rng(10), nints=1)
    references[3].data = references[3].data[:, ::-1, ::-1].copy()
    run(tmp_path, write_association(tmp_path, science, references))
    table = fits.getdata(tmp_path / "jw01001001001_a3001_psfsub.fits", "REFRANK")
    np.testing.assert_array_equal(np.unique(table["EXPOSURE"][~table["KEPT"]]), [3])
    assert list(fits.getdata(tmp_path / "target_klcube.fits", "KLMODES")["MODES"])[-1] == 5


@pytest.mark.slow
def test_automatic_choice_of_zones_and_modes(tmp_path):
    science, references = sequence(np.random.default_rng(11), nints=1)
    run(
        tmp_path,
        write_association(tmp_path, science, references),
        steps={"klip": {"choose": "auto", "choose_separation": 1.6, "choose_avoid": PA}},
    )
    with fits.open(tmp_path / "target_i2d.fits") as hdus:
        separation, _ = planet_offset(hdus["SCI"].data, hdus["SCI"].header)
    assert float(separation) == pytest.approx(SEPARATION, abs=0.04)  # a third of a pixel


def test_automatic_choice_needs_a_model_of_the_coronagraph(tmp_path):
    science, references = sequence(np.random.default_rng(12), nints=1, n_references=2)
    for model in (*science, *references):
        model.meta.instrument.filter, model.meta.instrument.coronagraph = "F444W", None
        model.meta.photometry.pixelarea_arcsecsq = 0.012
    with pytest.raises(ConfigError, match="MIRI only"):
        run(tmp_path, write_association(tmp_path, science, references), steps={"klip": {"choose": "auto"}})


def test_other_filter_among_the_references(tmp_path):
    science, references = sequence(np.random.default_rng(6), n_references=2)
    references[1].meta.instrument.filter = "F1140C"
    with pytest.raises(InputError, match="F1140C"):
        run(tmp_path, write_association(tmp_path, science, references))


def test_references_of_another_crop_are_cut_to_the_science(tmp_path):
    science, references = sequence(np.random.default_rng(7), nints=1)
    for i, model in enumerate(references):
        crop = model.data[:, 6:, 9:-4].copy()
        references[i] = exposure(crop, name=str(model.meta.filename), star=(STAR[0] - 9, STAR[1] - 6))
    run(tmp_path, write_association(tmp_path, science, references))
    with fits.open(tmp_path / "target_i2d.fits") as hdus:
        separation, _ = planet_offset(hdus["SCI"].data, hdus["SCI"].header)
    assert float(separation) == pytest.approx(1.6, abs=0.03)  # a quarter of a pixel; a crop off by one shows
    assert fits.getdata(tmp_path / "jw01001001001_a3001_psfsub.fits").shape[1:] == (SHAPE[0] - 6, SHAPE[1] - 13)


def test_nan_filled_and_fully_masked_frames(tmp_path):
    science, references = sequence(np.random.default_rng(8), nints=2)
    science[0].data[:, 10:14, 10:14] = np.nan
    science[0].dq[1, 60, 60] = 1
    references[2].dq[:] = 1
    run(tmp_path, write_association(tmp_path, science, references))
    assert np.isfinite(fits.getdata(tmp_path / "target_i2d.fits", "SCI")).any()


def test_official_klip_is_reproduced_by_the_compatibility_mode():
    from jwst.coron.klip import klip

    rng = np.random.default_rng(9)
    science = exposure(rng.normal(speckles(SHAPE, STAR, 0.0), NOISE, (2, *SHAPE)), name="sci_calints.fits")
    _, references = sequence(rng, n_references=4)
    stack = StackRefsStep.call(references)
    expected = klip(science.copy(), stack.copy(), 5, return_psf=False)
    step = KlipStep(mode="official", truncate=[5])
    found = step.run(science.copy(), stack)
    # the figure asked for is 1e-5 of the data; both are float32 in the end
    assert np.abs(found.data - expected.data).max() < 1e-5 * np.abs(science.data).max()


def test_official_klip_with_nan_pixels(caplog):
    rng = np.random.default_rng(13)
    science = exposure(rng.normal(speckles(SHAPE, STAR, 0.0), NOISE, (2, *SHAPE)), name="sci_calints.fits")
    _, references = sequence(rng, n_references=4)
    stack = StackRefsStep.call(references)
    whole = KlipStep(mode="official", truncate=[5]).run(science.copy(), stack.copy()).data
    science.data[0, 20:22, 30] = np.nan
    stack.data[1, 50, 60] = np.nan
    found = KlipStep(mode="official", truncate=[5]).run(science, stack).data
    assert np.isnan(found[0, 20:22, 30]).all() and np.isnan(found).sum() == 2
    assert "interpolated from their neighbors" in caplog.text
    # three pixels filled with smooth neighbors change the fit by much less than the noise
    assert np.nanstd(found - whole) < 0.05 * NOISE


def test_psfsub_errors_hold_what_the_references_add(products):
    with datamodels.open(products / "jw01001001001_a3001_psfsub.fits") as model:
        far = np.hypot(*(np.indices(SHAPE) - np.array(STAR[::-1])[:, None, None])) > 25
        err, data = model.err[:, far], model.data[:, far]
    # six references of two integrations, 2.2 times as bright, six modes: some per cent on top of 0.3
    assert NOISE * 0.99 < np.nanmedian(err) < 1.2 * NOISE
    assert np.nanstd(data) / np.nanmedian(err) == pytest.approx(1.0, abs=0.1)


def test_commanded_offsets_do_not_move_the_star():
    """Data of 2022 have offsets commanded in XOFFSET and YOFFSET that are not on the mask."""
    plain = exposure(np.zeros((1, *SHAPE)), name="a_calints.fits")
    moved = exposure(np.zeros((1, *SHAPE)), name="b_calints.fits")
    moved.meta.dither.x_offset, moved.meta.dither.y_offset = 0.226, 0.156
    assert geometry_of(plain) == geometry_of(moved)


def test_truncate_takes_what_users_write():
    assert parse_truncate(None) == ()
    assert parse_truncate(50) == (50,)
    assert parse_truncate(["1", "5"]) == (1, 5)
    with pytest.raises(ValueError, match="whole numbers"):
        parse_truncate(["five"])


def test_the_image_of_each_roll_has_errors_and_weights(products):
    """The rolls' variances combine to that of the combined image, with the weights that they had."""

    def read(name, *extensions):
        return [fits.getdata(products / f"target_{name}.fits", e).astype(float) for e in extensions]

    image, error = read("i2d", "SCI", "ERR")
    rolls = [read(f"roll0{k}_i2d", "SCI", "ERR", "WHT") for k in (1, 2)]
    both = np.all([np.isfinite(r[0]) for r in rolls], axis=0) & np.isfinite(error)
    variance = np.array([r[1][both] ** 2 for r in rolls])
    assert np.isfinite(variance).all() and both.sum() > 5000
    for (data, _, weight), v in zip(rolls, variance, strict=True):
        np.testing.assert_allclose(weight[both], 1 / v, rtol=1e-5)  # float32
        assert (weight[~np.isfinite(data)] == 0).all()
        # three integrations of NOISE, and what the model of the star adds near it: some percent
        assert np.median(np.sqrt(v)) == pytest.approx(NOISE / np.sqrt(3), rel=0.1)
    # two rolls of the same depth weigh half each
    np.testing.assert_allclose(error[both] ** 2, variance.sum(axis=0) / 4, rtol=2e-2)
    np.testing.assert_allclose(image[both], sum(r[0][both] for r in rolls) / 2, atol=2e-2 * NOISE)
