"""The star's position in stage 3: asked for, found, written, and read again by everything that follows."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from astropy.io import fits

from lyot.errors import ConfigError
from lyot.instrument import coronagraph
from lyot.reduction.star import StarPositionParams
from lyot.run.config import build_config
from lyot.run.plan import make_plan
from lyot.steps import stage3_star
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.extra_fits import add_table
from lyot.steps.sequence_io import STAR_TABLE, build_sequence, star_offsets
from lyot.steps.stage3_plan import reduction_plan
from lyot.steps.stage3_star import locate_star, star_cards, star_table
from tests.run.exposures import write_sequence
from tests.steps.stage23_synthetic import STAR, exposure, sequence, write_association

C = coronagraph("F1550C")
SCALE = np.array(C.pixel_scale)

pytestmark = pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.NoTypeWarning")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


def run(folder, *, n_references=6, **star):
    science, references = sequence(np.random.default_rng(1), n_references=n_references)
    association = write_association(folder, science, references)
    steps = {"klip": {"use_throughput": False}, "locate_star": star}
    if not references:
        steps["klip"]["strategy"] = "adi"
    Coron3Pipeline.call(str(association), output_dir=str(folder), save_results=True, steps=steps)
    return folder


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        return run(tmp_path_factory.mktemp("given"), position=f"{STAR[0] + 0.2},{STAR[1] - 0.1}")


def test_a_given_position_reaches_products_and_headers(given):
    offset = np.array([0.2, -0.1]) * SCALE * 1e3
    for name in ("target_i2d", "target_roll01_i2d", "target_klcube", "jw01001001001_a3001_psfsub"):
        header = fits.getheader(given / f"{name}.fits")
        assert header["STARFROM"] == "GIVEN"
        # three decimals of a mas are written
        np.testing.assert_allclose((header["STARDX"], header["STARDY"]), offset, atol=2e-3)
        assert header["STARERRX"] == 0.0


def test_the_measurements_repeat_the_reduction_with_the_same_star(given):
    science = [str(given / f"jw0100100{e}001_calints.fits") for e in (1, 2)]
    plan = reduction_plan(science, str(given / "jw01001001001_a3001_psfalign.fits"), use_throughput=False)
    np.testing.assert_allclose(plan.sequence.star, np.array([STAR] * 2) + np.array([0.2, -0.1]), atol=1e-6)
    np.testing.assert_allclose(plan.sequence.mask_center, STAR, atol=1e-6)
    image = fits.getdata(given / "target_i2d.fits", "SCI")
    np.testing.assert_allclose(plan.reduce().image, image, rtol=1e-5, atol=1e-4)  # float32 in the file


def test_the_default_is_the_reference_point_with_its_error(tmp_path):
    folder = run(tmp_path)
    header = fits.getheader(folder / "target_i2d.fits")
    assert (header["STARFROM"], header["STARDX"], header["STARERRX"]) == ("CRPIX", 0.0, 7.0)
    with fits.open(folder / "jw01001001001_a3001_psfalign.fits") as hdus:
        assert list(hdus[STAR_TABLE].data["FROM"]) == ["CRPIX", "CRPIX"]


def test_a_fit_that_is_not_believed_falls_back_and_says_why(tmp_path, caplog):
    science, references = sequence(np.random.default_rng(1), n_references=2)
    with caplog.at_level(logging.WARNING, logger="lyot"):
        found = locate_star(science, references[0], StarPositionParams(position="model", n_modes=6))
    assert found.source == "reference" and "model" in found.note  # these speckles are no image of the mask's
    assert "reference point" in caplog.text
    assert dict((c[0], c[1]) for c in star_cards(found))["STARNOTE"].startswith("model:")


@pytest.mark.slow
def test_the_model_finds_the_star_of_the_simulated_optics(tmp_path):
    from lyot.optics import CoronagraphModel, OpticsParams, drifted

    model = CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=3, stop="effective"))
    rng = np.random.default_rng(6)
    true = np.array([[5.0, -3.0], [-2.0, 4.0], [1.0, 1.0], [11.0, 1.0], [1.0, -9.0], [-9.0, 1.0]])
    models = []
    for k, offset in enumerate(true):
        image = 4e4 * model.psf(tuple(offset * 1e-3), wavefront=drifted(model.wavefront, 2.0, rng))
        frames = image + rng.normal(scale=0.3, size=(2, *C.shape))
        models.append(exposure(frames, name=f"jw0100100{k}001_calints.fits", star=C.reference_point))
    references = np.concatenate([m.data for m in models[2:]])
    stack = exposure(references, name="stack.fits", star=C.reference_point)
    add_table(stack, "REFS", np.array([(k, k // 2) for k in range(8)], dtype=[("PLANE", "i4"), ("EXPOSURE", "i4")]))
    found = locate_star(models[:2], stack, StarPositionParams(position="auto"))
    assert found.source == "model"
    # errors of 1.7 mas hold the unknown wavefront; three of them
    assert np.all(np.abs(found.offset - true[:2]) < 3 * found.error)
    wrong = found.offset - true[:2]
    # between exposures only their own drifts of 2 nm and noise count; three of half a mas, twice
    assert np.abs(wrong[0] - wrong[1]).max() < 2.1


def test_without_acquisition_images_auto_says_what_it_did(caplog):
    science, _ = sequence(np.random.default_rng(1), n_references=1)
    science[0].meta.instrument.filter = science[1].meta.instrument.filter = "F2300C"
    with caplog.at_level(logging.INFO, logger="lyot"):
        found = locate_star(science, None, StarPositionParams(position="auto"))
    assert found.source == "reference"
    assert "Lyot spot" in found.note and "no target-acquisition images" in found.note


def test_a_position_far_from_the_mask_is_a_mistake():
    science, _ = sequence(np.random.default_rng(1), n_references=1)
    with pytest.raises(ConfigError, match=r"arcsec from the mask's reference point"):
        locate_star(science, None, StarPositionParams(position="150.0,150.0"))


def test_a_note_goes_into_a_header_whatever_letters_a_path_has():
    science, _ = sequence(np.random.default_rng(1), n_references=1)
    found = locate_star(
        science, None, StarPositionParams(position="acquisition", acquisition=("/home/müller/a\nb_cal.fits",))
    )
    note = dict((c[0], c[1]) for c in star_cards(found))["STARNOTE"]
    assert fits.Header([("STARNOTE", note)])["STARNOTE"].startswith("acquisition: /home/m?ller/a b_cal.fits")


def test_commanded_offsets_are_told_and_not_applied(caplog):
    science, references = sequence(np.random.default_rng(1), n_references=1)
    science[0].meta.dither.x_offset, science[0].meta.dither.y_offset = 0.226, 0.156
    with caplog.at_level(logging.INFO, logger="lyot"):
        found = locate_star(science, None, StarPositionParams())
    assert "XOFFSET, YOFFSET = 0.226, 0.156" in caplog.text and "not applied" in caplog.text
    assert not found.offset.any()
    np.testing.assert_allclose(build_sequence(science, references).sequence.star, [STAR] * 2, atol=1e-9)


def test_the_table_is_found_by_file_name(caplog):
    science, references = sequence(np.random.default_rng(1), n_references=1)
    found = stage3_star.StarPosition(np.array([[1.0, 2.0], [3.0, 4.0]]), np.ones((2, 2)), "given")
    add_table(references[0], STAR_TABLE, star_table(science, found))
    np.testing.assert_allclose(star_offsets(science[::-1], references), [[3e-3, 4e-3], [1e-3, 2e-3]])
    other = sequence(np.random.default_rng(1), n_references=1)[0] + science[:1]
    for k, model in enumerate(other):
        model.meta.filename = f"other{k}.fits"
    assert not star_offsets(other, references).any()
    assert "other exposures" in caplog.text


@pytest.mark.parametrize(("position", "handed"), [("auto", True), ("reference", False)])
def test_a_run_hands_over_the_acquisitions_among_its_inputs(tmp_path, position, handed):
    data = write_sequence(tmp_path / "data", "calints")
    config = build_config({"run": {"stages": "3"}, "stage3": {"locate_star": {"position": position}}})
    plan = make_plan([data], tmp_path / "out", config)
    task = next(t for t in plan.tasks if t.kind == "stage3")
    files = task.parameters["locate_star"]["acquisition"]
    assert len(files or []) == handed
    assert all(str(data) in f and "_02101_" in f for f in files or [])


@pytest.mark.parametrize("position", ["middle", "1,2,3", "1,", "nan,1"])
def test_a_position_that_is_none(position):
    with pytest.raises(ConfigError, match=r"locate_star\.position"):
        StarPositionParams(position=position).given()


def test_without_references_the_model_falls_back_to_the_reference_point(tmp_path):
    run(tmp_path, n_references=0, position="model")
    header = fits.getheader(tmp_path / "target_i2d.fits")
    assert header["STARFROM"] == "CRPIX" and header["STARNOTE"].startswith("model:")


def test_without_references_a_given_position_is_kept(tmp_path):
    """It travels in the science exposures and their products, as there is no stack to keep it in."""
    run(tmp_path, n_references=0, position=f"{STAR[0] + 0.3},{STAR[1]}")
    header = fits.getheader(tmp_path / "target_i2d.fits")
    assert header["STARFROM"] == "GIVEN" and "STARNOTE" not in header
    assert header["STARDX"] == pytest.approx(0.3 * SCALE[0] * 1e3, abs=2e-3)  # three decimals of a mas are written
    with fits.open(tmp_path / "jw01001001001_a3001_psfsub.fits") as hdus:
        assert hdus[STAR_TABLE].data["DX"][0] == pytest.approx(0.3 * SCALE[0] * 1e3, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [({"fitted_optics": "nix.npz"}, r"locate_star: nix\.npz: expected fitted optics"),
     ({"fitted_optics": "nix.npz", "optics": "geometric"}, "requires stop = 'effective', got 'geometric'")],
)  # fmt: skip
def test_optics_that_cannot_be_used_are_refused_before_the_work(tmp_path, values, sentence):
    write_sequence(tmp_path)
    config = build_config({"stage3": {"locate_star": {"position": "model", **values}}})
    with pytest.raises(ConfigError, match=sentence):
        make_plan([tmp_path], tmp_path / "out", config)
