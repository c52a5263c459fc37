"""Faults of the input through stage 3: found, named with their figure, and left out where that is safe."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits

from lyot.errors import InputError
from lyot.exposures.headers import dark_beyond_card
from lyot.report.quality import quality_rows, read_quality
from lyot.stacks import nanmean
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.extra_fits import add_cards
from lyot.steps.quality import assess, usable_frames
from lyot.steps.stage3_refs import StackRefsStep
from lyot.subtract.quality import UNEVEN
from tests.steps.stage23_synthetic import NOISE, SHAPE, planet_pixel, point, sequence, write_association

pytestmark = pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.NoTypeWarning")
PLANET = (1.6, 149.4, 12.0)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


def reduce(folder, science, references):
    folder.mkdir()
    association = write_association(folder, science, references)
    out = folder / "stage3"
    out.mkdir()
    settings = {"klip": {"use_throughput": False}, "refine": {"skip": True}}
    Coron3Pipeline.call(str(association), output_dir=str(out), save_results=True, steps=settings)
    quality = json.loads((out / "target_quality.json").read_text())
    assert fits.getval(out / "target_i2d.fits", "NWARN") == len(quality["warnings"])
    return out, quality


def amplitude(science, subtracted):
    """Flux of the planet in a star-subtracted exposure, in units of what was put in."""
    image = nanmean(subtracted)  # a pixel may be flagged in all integrations
    image = np.nan_to_num(image - np.nanmedian(image))
    template = PLANET[2] * point(SHAPE, *planet_pixel(*PLANET[:2], float(science.meta.wcsinfo.roll_ref)))
    return float(np.sum(image * template) / np.sum(template**2))


def test_faults_are_found_named_and_left_out(tmp_path):
    """An integration without star and planet, one of 70 % NaN, a reference 12 px away, one of ramps of one group."""
    science, references = sequence(np.random.default_rng(51), nints=5, planet=PLANET, n_references=7)
    clean, nothing = reduce(tmp_path / "clean", science, references)
    assert nothing["warnings"] == []
    assert [e["role"] for e in nothing["exposures"]] == ["science"] * 2 + ["psf"] * 7
    rng = np.random.default_rng(52)
    science[0].data[1] = rng.normal(0, NOISE, SHAPE)
    science[1].data[3][rng.random(SHAPE) < 0.7] = np.nan
    references[2].data = np.roll(references[2].data, 12, axis=2)
    references[5].meta.exposure.ngroups = 1
    references[5].data += 33000.0
    out, quality = reduce(tmp_path / "faulty", science, references)
    found = {(w["code"], w["file"]): w for w in quality["warnings"]}
    assert set(found) == {
        ("starless", "jw01001001001_calints.fits"), ("masked", "jw01001002001_calints.fits"),
        ("one group", "jw01002001001_00006_calints.fits"), ("far reference", "jw01002001001_00003_calints.fits"),
    }  # fmt: skip
    lost = found["starless", "jw01001001001_calints.fits"]
    assert abs(lost["figure"]) < 0.05 and "integration 2 has" in lost["text"] and "it is rejected" in lost["text"]
    assert found["masked", "jw01001002001_calints.fits"]["figure"] == pytest.approx(0.7, abs=0.02)  # 9000 pixels
    assert found["far reference", "jw01002001001_00003_calints.fits"]["figure"] == pytest.approx(12, abs=0.5)
    assert found["one group", "jw01002001001_00006_calints.fits"]["figure"] > 3e4
    rows = {e["exposure"]: e for e in quality["exposures"]}
    assert rows["jw01001001001_calints"]["used"] == [True, False, True, True, True]
    # the planet keeps its flux: without the mending it loses a fifth in the first exposure
    for k in (0, 1):
        name = f"jw0100100{k + 1}001_a3001_psfsub.fits"
        before, after = (amplitude(science[k], fits.getdata(f / name, "SCI")) for f in (clean, out))
        assert after == pytest.approx(before, rel=0.05)  # other noise: 0.3 / sqrt(4 x 15) of 12 is a fraction of 1 %
    psfsub = fits.getdata(out / "jw01001001001_a3001_psfsub.fits", "SCI")
    assert psfsub.shape == (5, *SHAPE) and np.isnan(psfsub[1]).all() and np.isfinite(psfsub[0]).mean() > 0.9
    table = fits.getdata(out / "jw01001001001_a3001_psfalign.fits", "REFS")
    assert len(table) == 10 and not {b"jw01002001001_00003_calints.fits"} & set(table["FILENAME"])
    # what the report shows
    assert len(read_quality(out.parent)["warnings"]) == 5  # two frames of the far reference
    shown = {row[0]: row for row in quality_rows(out.parent)}
    assert shown["jw01001001001"][4] == "integration 2"
    assert float(shown["jw01001002001"][2].split(", ")[3]) == pytest.approx(70, abs=2)  # percent, 9000 pixels: 0.5


def test_science_of_one_group_is_refused(tmp_path):
    science, references = sequence(np.random.default_rng(60))
    science[1].meta.exposure.ngroups = 1
    science[1].data += 33000.0
    with pytest.raises(
        InputError, match=r"jw01001002001.* \(NGROUPS = 1\) have no slope; .* Exclude this science expo"
    ):
        reduce(tmp_path / "one", science, references)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_an_exposure_without_data(tmp_path, value):
    """A reference is left out; of a science exposure it is said which, and how to do without it."""
    science, references = sequence(np.random.default_rng(61), n_references=4)
    references[2].data[:] = value
    out, quality = reduce(tmp_path / "reference", science, references)
    assert [(w["code"], w["file"]) for w in quality["warnings"]] == [("empty", "jw01002001001_00003_calints.fits")]
    assert np.isfinite(fits.getdata(out / "target_i2d.fits", "SCI")).any()
    science[1].data[:] = value
    with pytest.raises(InputError, match=r"jw01001002001_calints\.fits: all pixels .*=ignore'"):
        reduce(tmp_path / "science", science, references)


def test_an_exposure_without_errors(tmp_path):
    science, references = sequence(np.random.default_rng(53), nints=4)
    plain, _ = reduce(tmp_path / "plain", science, references)
    for model in (*science, *references):
        model.err[:] = 0
        model.var_poisson, model.var_rnoise = np.zeros_like(model.err), np.zeros_like(model.err)
    out, quality = reduce(tmp_path / "zero", science, references)
    assert [w["code"] for w in quality["warnings"]] == ["no errors"] * 8
    assert "ERR is 0 or NaN everywhere; errors are estimated from the scatter of its" in quality["warnings"][0]["text"]
    errors = [np.nanmedian(fits.getdata(f / "target_i2d.fits", "ERR")) for f in (plain, out)]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)  # of 81 pixels in 4 integrations: 4 %; edges
    np.testing.assert_allclose(
        fits.getdata(out / "target_i2d.fits", "SCI"), fits.getdata(plain / "target_i2d.fits", "SCI"), atol=0.1 * NOISE
    )


def test_one_reference_far_away_is_all_there_is(tmp_path):
    science, references = sequence(np.random.default_rng(54), n_references=1)
    references[0].data = np.roll(references[0].data, 12, axis=2)
    out, quality = reduce(tmp_path / "far", science, references)
    assert [w["code"] for w in quality["warnings"]] == ["far reference"] * 2
    assert "it is still used" in quality["warnings"][0]["text"]
    assert len(fits.getdata(out / "jw01001001001_a3001_psfalign.fits", "REFS")) == 2


def test_a_reference_integration_without_star_is_not_stacked():
    _, references = sequence(np.random.default_rng(55), n_references=2, nints=3)
    first = references[0]
    first.data[1] = np.random.default_rng(56).normal(0, NOISE, SHAPE)
    stack = StackRefsStep().run(references)
    assert stack.data.shape[0] == 3
    used = usable_frames(first)
    assert used.quality.starless.tolist() == [False, True]
    assert [f.code for f in used.findings] == ["starless"]


def test_uneven_flags_are_reported_and_the_rest_is_used():
    science, _ = sequence(np.random.default_rng(57), nints=4)
    science[0].dq[2][np.random.default_rng(58).random(SHAPE) < UNEVEN + 0.1] = 1
    used = usable_frames(science[0])
    assert used.quality.use.all()
    (finding,) = used.findings
    assert finding.code == "uneven" and finding.text.endswith("more than the others; the remaining pixels are used.")


def test_the_terminal_shows_the_warnings(tmp_path, capsys):
    from types import SimpleNamespace

    from lyot.cli.results import show_warnings
    from lyot.errors import ReductionError

    path = tmp_path / "x_quality.json"
    texts = ["a.fits: integration 2 is left out.", "a.fits: ERR is 0 (median 0.31).", "b.fits: ERR is 0 (median 0.3)."]
    path.write_text(json.dumps({"warnings": [{"text": text} for text in texts], "exposures": []}))
    plan = SimpleNamespace(notes=("jw1: segment 2 of 3 is missing.",))
    failed = (ReductionError("no detection limit could be measured."),)
    show_warnings(SimpleNamespace(products=lambda kind, suffix: [path], plan=plan, failed=failed))
    assert capsys.readouterr().err == (
        "Note: jw1: segment 2 of 3 is missing.\nWarning: a.fits: integration 2 is left out.\n"
        "Warning: 2 files (a.fits, b.fits): ERR is 0 (median 0.3 to 0.31).\n"
        "Warning: not measured: no detection limit could be measured.\n"
    )


def test_flagged_fraction_of_single_integrations():
    science, _ = sequence(np.random.default_rng(59), nints=1)
    science[1].dq[:, 30:39] = 1  # 9 of 90 rows
    rows, findings = assess(science, "science")
    assert [r["flagged"] for r in rows] == [[0.0], [0.1]]
    assert findings == []


def test_a_dark_that_was_too_short_is_named_with_its_figure():
    science, _ = sequence(np.random.default_rng(53))
    model = science[0]
    model.meta.exposure.ngroups = 20
    assert usable_frames(model).findings == ()
    add_cards(model, [dark_beyond_card(8)])
    (finding,) = usable_frames(model).findings
    assert finding.code == "short dark" and finding.figure == 8
    assert "the dark reference covers 12 of the 20 frames of the ramps" in finding.text
