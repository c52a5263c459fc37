"""Disk models as files: scale, orientation and unit."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from lyot.analysis.disks import DiskOptions, read_disk
from lyot.errors import InputError, MissingInputError


def write(path, image, **keywords):
    hdu = fits.PrimaryHDU(np.asarray(image, float))
    hdu.header.update(keywords)
    hdu.writeto(path)
    return path


def test_what_the_file_says(tmp_path):
    image = np.zeros((11, 11))
    image[7, 5] = 2.0
    model = read_disk(write(tmp_path / "a.fits", image, PIXELSCL=0.05, BUNIT="mJy/pixel"))
    assert (model.pixel_scale, model.position_angle) == (0.05, 0.0)
    assert model.image.sum() == pytest.approx(2e-3)
    options = DiskOptions(pixel_scale=0.1, position_angle=20.0, center="5,6", total_flux=1.0)
    model = read_disk(tmp_path / "a.fits", options)
    assert (model.pixel_scale, model.position_angle, model.image.sum()) == (0.1, 20.0, pytest.approx(1.0))
    east, north, _ = model.light()
    assert np.degrees(np.arctan2(float(east[0]), float(north[0]))) == pytest.approx(20.0)


def test_celestial_coordinates_and_surface_brightness(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [10.0, -20.0], [6.0, 6.0]
    t = np.radians(30.0)  # +y at a position angle of 30 degrees, east to its left
    wcs.wcs.cd = 0.1 / 3600 * np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])
    image = np.full((11, 11), 100.0)
    model = read_disk(write(tmp_path / "b.fits", image, **dict(wcs.to_header()), BUNIT="MJy/sr"))
    assert model.pixel_scale == pytest.approx(0.1)
    assert model.position_angle == pytest.approx(30.0)
    assert model.image[0, 0] == pytest.approx(100e6 * (0.1 / 206264.806) ** 2, rel=1e-6)
    per_area = read_disk(write(tmp_path / "c.fits", image, PIXELSCL=0.2, BUNIT="mJy/arcsec2"))
    assert per_area.image[0, 0] == pytest.approx(0.1 * 0.04)


def test_what_cannot_be_used(tmp_path):
    with pytest.raises(MissingInputError):
        read_disk(tmp_path / "none.fits")
    with pytest.raises(InputError, match="--pixel-scale"):
        read_disk(write(tmp_path / "d.fits", np.ones((5, 5))))
    with pytest.raises(InputError, match="neither a flux"):
        read_disk(write(tmp_path / "e.fits", np.ones((5, 5)), PIXELSCL=0.1, BUNIT="K"))
    with pytest.raises(InputError, match="one image"):
        read_disk(write(tmp_path / "f.fits", np.ones((2, 5, 5)), PIXELSCL=0.1))
    (tmp_path / "text.fits").write_text("hello")
    with pytest.raises(InputError, match="FITS"):
        read_disk(tmp_path / "text.fits")
