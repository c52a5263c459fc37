"""The star's flux from what a user has."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from lyot.analysis.star_flux import StarSection, load_star, read_spectrum
from lyot.errors import ConfigError, InputError, MissingInputError
from lyot.instrument import coronagraph

C = coronagraph("F1550C")


def power_law(w):
    return 0.1 * (w / 10.0) ** -2


EXPECTED = (
    0.1
    * 0.5
    * ((C.wavelength - C.bandwidth / 2) ** -2 - (C.wavelength + C.bandwidth / 2) ** -2)
    * 100
    / np.log((C.wavelength + C.bandwidth / 2) / (C.wavelength - C.bandwidth / 2))
)
"""Photon-weighted mean of the power law over the top hat, in closed form."""


def test_numbers():
    assert load_star(StarSection(), C).source == "not given"
    star = load_star(StarSection(flux=0.0341, error=0.05), C)
    assert (star.flux, star.error) == (0.0341, pytest.approx(0.0341 * 0.05))
    star = load_star(StarSection(magnitude=6.673, error=0.066), C)
    assert star.flux == pytest.approx(C.vega_zero_point * 10 ** (-0.4 * 6.673))
    assert star.error / star.flux == pytest.approx(0.066)


@pytest.mark.parametrize("kind", ["txt", "csv", "ecsv", "fits", "flambda"])
def test_spectra_in_every_form(tmp_path, kind):
    w = np.linspace(10, 20, 400)
    f = power_law(w)
    path = tmp_path / f"sed.{kind}"
    if kind == "txt":
        np.savetxt(path, np.c_[w, f], header="um Jy")
    elif kind == "csv":
        np.savetxt(path, np.c_[w, f], delimiter=",")
    elif kind == "ecsv":
        Table({"flux": f * 1e3 * u.mJy, "wavelength": w * 1e4 * u.AA}).write(path, format="ascii.ecsv")
    elif kind == "fits":
        Table({"WAVELENGTH": w * u.um, "FLUX": f * u.Jy}).write(path, format="fits")
    else:
        per_wavelength = (f * u.Jy).to(u.W / u.m**2 / u.um, equivalencies=u.spectral_density(w * u.um))
        Table({"wavelength": w * u.um, "flux": per_wavelength}).write(path, format="ascii.ecsv")
    star = load_star(StarSection(sed=str(path)), C)
    assert star.flux == pytest.approx(EXPECTED, rel=1e-4)  # linear trapezoids of 400 points
    assert path.name in star.source


def test_a_bandpass_weighs_the_spectrum(tmp_path):
    np.savetxt(tmp_path / "sed.txt", np.c_[[10.0, 20.0], power_law(np.array([10.0, 20.0]))])
    # two lines, the redder three times as strong: nearly the weighted mean of two monochromatic fluxes
    w = np.array([14.999, 15.0, 15.001, 15.999, 16.0, 16.001])
    np.savetxt(tmp_path / "band.txt", np.c_[w, [0, 1, 0, 0, 3, 0]])
    star = load_star(StarSection(sed=str(tmp_path / "sed.txt"), bandpass=str(tmp_path / "band.txt")), C)
    weight = np.array([1 / 15.0, 3 / 16.0])
    expected = np.sum(weight * power_law(np.array([15.0, 16.0]))) / weight.sum()
    assert star.flux == pytest.approx(expected, rel=1e-3)  # triangles of finite width


def test_spectra_that_cannot_be_used(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        load_star(StarSection(sed=str(tmp_path / "none")), C)
    short = tmp_path / "short.txt"
    short.write_text("10 1\n15 1\n")
    with pytest.raises(InputError, match=r"short\.txt: .*must reach from 15\.1"):
        load_star(StarSection(sed=str(short)), C)
    words = tmp_path / "words.txt"
    words.write_text("hello world\n")
    with pytest.raises(InputError, match="expected two columns"):
        read_spectrum(words)
    wrong = tmp_path / "wrong.ecsv"
    Table({"wavelength": [10.0] * u.um, "flux": [1.0] * u.s}).write(wrong, format="ascii.ecsv")
    with pytest.raises(InputError, match="expected two columns"):
        read_spectrum(wrong)
    with pytest.raises(ConfigError, match="give one of"):
        load_star(StarSection(flux=1.0, magnitude=3.0), C)


def acquisition(path, unit="MJy/sr", filter_name="FND", flux=0.05, seed=3):
    """A star of `flux` Jy with a Gaussian image, a background, noise, a hot pixel and a dead one."""
    rng, area = np.random.default_rng(seed), C.pixel_area
    y, x = np.indices((64, 64))
    star = np.exp(-((x - 30.3) ** 2 + (y - 33.6) ** 2) / (2 * 2.0**2)) / (2 * np.pi * 2.0**2)
    image = flux * 1e-6 / area * star + 12.0 + 0.5 * rng.normal(size=(64, 64))
    image[5, 50] = 1e5
    dq = np.zeros((64, 64), np.uint32)
    image[34, 32], dq[34, 32] = np.nan, 1
    primary = fits.PrimaryHDU()
    primary.header["FILTER"] = filter_name
    science = fits.ImageHDU(image.astype(np.float32), name="SCI")
    science.header["BUNIT"], science.header["PIXAR_SR"] = unit, area
    fits.HDUList([primary, science, fits.ImageHDU(dq, name="DQ")]).writeto(path)
    return path


def test_target_acquisition(tmp_path):
    path = acquisition(tmp_path / "ta.fits")
    star = load_star(StarSection(acquisition=str(path), aperture_fraction=1.0, error=0.05), C)
    # Rayleigh-Jeans from 12.9 um; the Gaussian lies wholly inside; the dead pixel is filled from its ring to 1 %
    assert star.flux == pytest.approx(0.05 * (12.9 / C.wavelength) ** 2, rel=0.01)
    assert star.error / star.flux == pytest.approx(np.hypot(0.1, 0.05), rel=0.01)
    half = load_star(StarSection(acquisition=str(path), aperture_fraction=0.5, color=1.0), C)
    # as above
    assert half.flux == pytest.approx(0.1, rel=0.01)


def test_target_acquisition_in_counts_needs_a_conversion(tmp_path):
    path = acquisition(tmp_path / "ta.fits", unit="DN/s")
    with pytest.raises(InputError, match="jy_per_unit"):
        load_star(StarSection(acquisition=str(path)), C)
    per_unit = 1e6 * C.pixel_area
    star = load_star(StarSection(acquisition=str(path), jy_per_unit=per_unit, aperture_fraction=1.0, color=1.0), C)
    assert star.flux == pytest.approx(0.05, rel=0.01)  # the dead pixel is filled to 1 %, as above


def test_acquisitions_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="give color"):
        load_star(StarSection(acquisition=str(acquisition(tmp_path / "a.fits", filter_name="F999W"))), C)
    with pytest.raises(MissingInputError):
        load_star(StarSection(acquisition=str(tmp_path / "none.fits")), C)
    text = tmp_path / "text.fits"
    text.write_text("hello")
    with pytest.raises(InputError, match="FITS"):
        load_star(StarSection(acquisition=str(text)), C)
