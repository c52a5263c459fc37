"""The star's flux from its K magnitude: mean colors, their range, and stars whose spectra are known."""

from __future__ import annotations

import pytest

from lyot.errors import InputError
from lyot.instrument import coronagraph
from lyot.measure.star_colors import ERROR, color_from_k, star_from_k


@pytest.mark.parametrize(
    ("kind", "w3", "w4"), [("A0V", -0.044, 0.008), ("F5 IV/V", -0.017, 0.024), ("K5", 0.013, 0.061)]
)
def test_colors_are_those_of_the_table_at_its_wavelengths(kind, w3, w4):
    # to the three digits of the table
    assert color_from_k(kind, 11.56) == pytest.approx(w3, abs=5e-4)
    assert color_from_k(kind, 22.09) == pytest.approx(w4, abs=5e-4)
    assert min(w3, w4) < color_from_k(kind, 15.5) < max(w3, w4)


@pytest.mark.parametrize("kind", ["M3V", "O5", "L2"])
def test_types_out_of_range_are_refused(kind):
    with pytest.raises(InputError, match=kind):
        color_from_k(kind, 15.5)


def test_what_is_no_type_is_refused():
    with pytest.raises(InputError, match="expected one such as A2V"):
        color_from_k("white dwarf", 15.5)


@pytest.mark.parametrize(("filter_name", "flux"), [("F1065C", 0.0686), ("F1140C", 0.0603), ("F1550C", 0.0341)])
def test_hip_65426_as_its_fitted_spectrum_has_it(filter_name, flux):
    """K = 6.771 (2MASS), A2V; the fluxes are those of a photospheric model fitted to its photometry."""
    c = coronagraph(filter_name)
    star = star_from_k(6.771, "A2V", c.wavelength, c.vega_zero_point)
    assert star.flux == pytest.approx(flux, rel=0.12)  # its stated error is 9 %, and the spectrum's some per cent
    assert star.error == pytest.approx(star.flux * ERROR * 0.921, rel=1e-3)  # magnitudes to relative flux
    worse = star_from_k(6.771, "A2V", c.wavelength, c.vega_zero_point, error=ERROR)
    assert worse.error == pytest.approx(2**0.5 * star.error, rel=1e-6)
