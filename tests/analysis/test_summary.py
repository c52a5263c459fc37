"""What a run found, in short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from lyot.analysis.combined_image import UNCOMPARED
from lyot.analysis.summary import merged, read_fitted, read_limits, unchecked_sources
from lyot.cli.results import companion_line, show_detections
from lyot.measure.detected import NOT_COMPARED
from lyot.report.flags import _unchecked
from lyot.report.measured import fitted_text
from lyot.written import with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.80164, 0.0198, "0.802 ± 0.020"),
        (151.06, 1.351, "151.1 ± 1.4"),
        (2.2, 1e-5, "2.200000 ± 0.000010"),  # far smaller than the value
        (1e-9, 1e-5, "(0.0 ± 1.0)e-05"),  # far larger
        (295.1, 22.6, "295 ± 23"),
        (1234.0, 96.0, "1234 ± 96"),
        (1234.0, 196.0, "1230 ± 200"),
        (8.65e-3, 6.6e-4, "(8.65 ± 0.66)e-03"),
        (6.1e-5, 4.3e-6, "(6.10 ± 0.43)e-05"),
        (0.0996, 0.0996, "0.10 ± 0.10"),
        (3.0, np.nan, "3.00"),
        (43.97, 0.0, "44.0"),
        (100.2, np.nan, "100"),
        (0.0, np.nan, "0"),
        (0.0091, 0.00102, "(9.1 ± 1.0)e-03"),
    ],
)
def test_digits_follow_the_error(value, error, text):
    assert with_error(value, error) == text


@given(st.floats(1e-9, 1e6), st.floats(1e-3, 0.5))
def test_the_error_keeps_two_digits_and_the_value_its_place(value, relative):
    text = with_error(value, relative * value)
    power = float(f"1e{text.partition(')e')[2]}") if text.startswith("(") else 1.0
    shown, error = (float(part) * power for part in text.partition(")")[0].strip("(").split(" ± "))
    assert error == pytest.approx(relative * value, rel=0.051)  # half of the second digit of 10
    assert abs(shown - value) <= 0.051 * error + 1e-12 * value


def test_a_source_that_was_not_compared_between_rolls_is_said(tmp_path, capsys):
    folder = tmp_path / "measure"
    folder.mkdir()
    assert unchecked_sources(folder) == []
    sources = Table({"separation": [0.79, 4.0], "position_angle": [150.0, 20.0], "snr": [15.0, 6.0],
                     "significance": [7.7, 5.1], "false_alarm": [1e-10, 0.1], "kl_modes": [3, 3],
                     "status": ["source", "source"], "reason": ["", NOT_COMPARED]})  # fmt: skip
    sources.write(folder / "detections.ecsv")
    (sentence,) = unchecked_sources(folder)
    assert sentence.startswith('the source at 4.000", PA 20.00 deg was not compared between rolls, because')
    show_detections(folder, "STAR: ")
    assert f"Warning: STAR: {sentence}" in capsys.readouterr().err
    (flag,) = _unchecked(tmp_path)
    assert flag.text == f"T{sentence[1:]}"
    sources.meta[UNCOMPARED] = "the reason"
    sources.write(folder / "detections.ecsv", overwrite=True)
    (sentence,) = unchecked_sources(folder)
    assert sentence.startswith("no source was compared between rolls, because the reason; look at")


def test_companions_carry_the_significance_of_their_detection(tmp_path):
    companions = Table({"separation": [0.80, 2.0], "position_angle": [151.0, 10.0], "flux": [3e-4, 1e-6],
                        "flux_err": [2e-5, 1e-6], "flux_upper_limit": [np.nan, 3e-6]})  # fmt: skip
    companions.meta["fwhm_arcsec"] = 0.49
    companions.write(tmp_path / "companions.ecsv")
    sources = Table({"separation": [0.79, 4.0], "position_angle": [150.0, 20.0], "snr": [15, 6],
                     "significance": [7.7, 5.1], "false_alarm": [1e-10, 0.1],
                     "status": ["source", "source"]})  # fmt: skip
    sources.write(tmp_path / "detections.ecsv")
    first, second = read_fitted(tmp_path)
    assert not first.candidate and not second.candidate
    assert (first.significance, first.false_alarm) == (7.7, 1e-10) and np.isnan(first.upper_limit)
    assert np.isnan(second.significance) and second.upper_limit == 3e-6 and np.isnan(second.contrast)
    assert read_fitted(tmp_path / "none") == ()
    sources["status"] = ["candidate", "source"]
    assert companion_line(replace(second, candidate=True)).endswith("(95 %), a candidate that may be noise")
    sources.write(tmp_path / "detections.ecsv", overwrite=True)
    assert [c.candidate for c in read_fitted(tmp_path)] == [True, False]
    assert companion_line(read_fitted(tmp_path)[0]).endswith("a candidate that may be noise")
    assert fitted_text(read_fitted(tmp_path)[0]).startswith("Candidate: separation")


def test_limits_between_the_separations_of_the_curve(tmp_path):
    curve = Table({"separation": [1.0, 4.0], "flux_5sigma": [1e-4, 1e-6], "contrast_5sigma": [np.nan, np.nan]})
    curve.meta["sigma"] = 3.0
    curve.write(tmp_path / "contrast.ecsv")
    limits, sigma = read_limits(tmp_path)
    flux = [limit.flux for limit in limits]
    # straight in the logarithms: 2 arcsec is half-way; nothing inside and outside of the curve
    np.testing.assert_allclose(flux, [np.nan, 1e-4, 1e-5, np.nan], rtol=1e-12)
    assert sigma == 3.0 and all(np.isnan(limit.contrast) for limit in limits)
    assert read_limits(tmp_path / "none")[0] == ()


def test_sentences_that_differ_in_the_file_and_in_figures_are_one():
    no_errors = "{}_calints.fits: ERR is 0 everywhere; errors are estimated from the scatter (median {} MJy/sr)."
    texts = [no_errors.format(f"jw{k}", value) for k, value in ((1, 0.306), (2, 0.305), (3, "3.1e-1"))]
    assert merged(["First.", *texts, "Last.", "First."]) == [
        "First.",
        "3 files (jw1_calints.fits, jw2_calints.fits and 1 more): ERR is 0 everywhere; errors are estimated from the "
        "scatter (median 0.305 to 3.1e-1 MJy/sr).",
        "Last.",
    ]
    assert merged(texts[:1]) == texts[:1]


def test_sentences_about_different_integrations_stay_apart():
    texts = [f"{name}.fits: integration {i} has {p} % of its pixels flagged." for name, i, p in
             (("a", 1, 12), ("a", 2, 14), ("b", 2, 11))]  # fmt: skip
    assert merged(texts) == [texts[0], "2 files (a.fits, b.fits): integration 2 has 11 to 14 % of its pixels flagged."]
    assert merged(["jw1: segment 2 of 3 is missing.", "jw2: segment 2 of 3 is missing."]) == [
        "2 exposures (jw1, jw2): segment 2 of 3 is missing."
    ]
    assert merged(["a.fits: the level is -2 DN.", "b.fits: the level is -2 DN."]) == [
        "2 files (a.fits, b.fits): the level is -2 DN."
    ]
