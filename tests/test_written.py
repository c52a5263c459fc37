"""Numbers as people read them: one way for each kind, and no other way anywhere in the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lyot
from lyot.written import (
    chi2_text,
    error_text,
    flux_text,
    in_ascii,
    plural,
    position_text,
    size_text,
    snr_text,
    with_error,
)

SOURCE = Path(lyot.__file__).parent
DIGITS = r"(?:%\.\d+[efg]|\{[^{}]*:[ <>\d]*\.\d+[efg]\})"
"""A number written with fixed digits, in a format string; signed differences are not meant."""

ELSEWHERE = {
    "S/N or sigmas": rf"(S/N|SNR) {DIGITS}|{DIGITS} sigma\b",
    "a reduced chi2": rf"chi2 {DIGITS}",
    "a value and its error": rf"{DIGITS} ?(±|\+-|\+/-)|(±|\+-|\+/-) ?{DIGITS}",
    "a position": rf"{DIGITS} arcsec, {DIGITS} deg|{DIGITS}\", (PA )?{DIGITS}",
    "a flux": rf"{DIGITS} (m|u|µ)?Jy\b",
    "a probability": rf"probability {DIGITS}",
}
"""What a number with fixed digits may not be, as a function of `lyot.written` writes it."""


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_numbers_are_written_by_the_functions_for_them(kind):
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name == "written.py" or name.startswith("tutorials/"):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{name}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if re.search(ELSEWHERE[kind], line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_the_search_finds_what_it_is_for(kind):
    examples = {
        "S/N or sigmas": 'f"S/N {row[0]:.1f}"',
        "a reduced chi2": '"reduced chi2 %.2f"',
        "a value and its error": '"%.3f +- %.3f MJy/sr"',
        "a position": '"at %.3f arcsec, %.2f deg"',
        "a flux": 'f"star {1e3 * flux:.0f} mJy"',
        "a probability": '"probability %.2f"',
    }
    assert re.search(ELSEWHERE[kind], examples[kind])


@given(st.floats(-1e6, 1e6))
def test_snr_has_one_decimal_below_100_and_none_above(snr):
    text = snr_text(snr)
    assert ("." in text) == (abs(round(snr, 1)) < 100)
    # half of the last digit, none or one behind the point, and the rounding of a float
    assert float(text) == pytest.approx(snr, abs=0.5001 if abs(snr) > 99 else 0.0501)


@given(st.floats(1e-6, 1e6))
def test_an_error_alone_has_two_digits_as_beside_its_value(error):
    assert float(error_text(error)) == pytest.approx(error, rel=0.0501)  # half of the second digit of 1.0
    beside = with_error(0.0, error)
    if "e" not in beside:
        assert float(error_text(error)) == float(beside.split(" ± ")[1])


@given(st.floats(0.01, 1e5))
def test_chi2_has_three_digits(chi2):
    # half of the third digit of 1.00, or of the second one behind the point
    assert float(chi2_text(chi2)) == pytest.approx(chi2, rel=5.01e-3, abs=0.00501)


def test_what_is_not_known():
    assert {f(float("nan")) for f in (snr_text, chi2_text)} == {"unknown"}
    assert (error_text(float("nan")), error_text(3e-9)) == ("nan", "3.0e-09")


def test_the_other_kinds():
    assert with_error(99.96, 0.951) == "99.96 ± 0.95"
    assert in_ascii(flux_text(9.69e-5, 8.5e-6)) == "96.9 +- 8.5 uJy"
    assert position_text(0.8049, 148.338) == '0.805", PA 148.34 deg'
    assert plural(1, "source") == "1 source" and plural(0, "source") == "0 sources"


def test_sizes_are_written_in_the_unit_that_suits():
    sizes = [size_text(n) for n in (9000, 12_345, 3_400_000, 13_200_000_000)]
    assert sizes == ["9000 bytes", "12 kB", "3.4 MB", "13.2 GB"]
