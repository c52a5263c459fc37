"""`lyot.subtract_star`: images in memory, with coordinates that are given or that come with them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS

import lyot
from lyot.errors import ConfigError, InputError, ReductionError

SHAPE, STAR, SCALE = (61, 65), (31.0, 30.0), 0.11
ANGLES = (113.0, 123.0)
PLANET = (1.4, 250.0)
"""arcsec, degrees east of north."""

NOISE = 0.1


def coordinates(angle: float, scale: float = SCALE) -> WCS:
    """East to the left of north, +y at the position angle `angle`."""
    wcs, t = WCS(naxis=2), np.radians(angle)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [200.0, -40.0]
    wcs.wcs.crpix = [STAR[0] + 1, STAR[1] + 1]
    wcs.wcs.cd = scale / 3600 * np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])
    return wcs


@pytest.fixture(scope="module")
def images() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two rolls with a planet of 5 per pixel at its peak, and six references."""
    rng = np.random.default_rng(2)
    y, x = np.indices(SHAPE)
    halo = 100 * np.exp(-np.hypot(x - STAR[0], y - STAR[1]) / 6)
    science = []
    for angle in ANGLES:
        east, north = (PLANET[0] * f(np.radians(PLANET[1])) for f in (np.sin, np.cos))
        dx, dy = np.linalg.solve(coordinates(angle).wcs.cd * 3600, [east, north])
        planet = 5 * np.exp(-((x - STAR[0] - dx) ** 2 + (y - STAR[1] - dy) ** 2) / 6)
        science.append(halo + planet + rng.normal(scale=NOISE, size=SHAPE))
    return science, [halo + rng.normal(scale=NOISE, size=SHAPE) for _ in range(6)]


GIVEN = {"star": STAR, "pixel_scale": SCALE, "position_angle": ANGLES, "modes": 3}


def place(found: lyot.Subtracted) -> tuple[float, float]:
    """Separation and position angle of the maximum."""
    y, x = np.unravel_index(np.nanargmax(found.image.data), found.image.data.shape)
    scale = found.pixel_scale.to_value("arcsec")
    east, north = (found.image.meta["star"][0] - x) * scale, (y - found.image.meta["star"][1]) * scale
    return float(np.hypot(east, north)), float(np.degrees(np.arctan2(east, north)) % 360)


def test_the_planet_is_where_it_is_on_the_sky(images):
    found = lyot.subtract_star(*images, **GIVEN)
    separation, angle = place(found)
    # the maximum of whole pixels: half of one, at 1.4 arcsec 3 degrees with the noise
    assert separation == pytest.approx(PLANET[0], abs=0.08) and angle == pytest.approx(PLANET[1], abs=3.5)
    assert np.nanmax(found.image.data) == pytest.approx(5.0, rel=0.15)  # turned by interpolation, fitted by three modes
    assert found.pixel_scale == SCALE * u.arcsec and found.truncations == (3,)
    assert found.image.unit is None and found.image.uncertainty is None
    np.testing.assert_array_equal(found.image.mask, ~np.isfinite(found.image.data))
    x, y = found.image.meta["star"]
    sky = found.image.wcs.pixel_to_world(x + 10, y)  # to the right is west
    assert sky.ra.wrap_at("180d").arcsec == pytest.approx(-10 * SCALE, rel=1e-6)


def test_coordinates_of_the_images_are_those_that_are_given(images):
    science, references = images
    given = lyot.subtract_star(science, references, **GIVEN)
    wcs = [coordinates(a) for a in ANGLES]
    ways = {
        "wcs": (science, {"wcs": wcs}),
        "NDData": ([NDData(s, wcs=w) for s, w in zip(science, wcs, strict=True)], {}),
        "HDU": ([fits.ImageHDU(s, w.to_header()) for s, w in zip(science, wcs, strict=True)], {}),
        "HDUs": (
            [fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(s, w.to_header(), name="SCI")])
             for s, w in zip(science, wcs, strict=True)],
            {},
        ),
        "quantities": (science, {"star": [STAR, STAR], "pixel_scale": (110 * u.mas, SCALE),
                                 "position_angle": list(ANGLES) * u.deg}),
    }  # fmt: skip
    for name, (exposures, options) in ways.items():
        found = lyot.subtract_star(exposures, references, modes=3, **options)
        # scale and angle go through degrees and back: 1e-12, on gradients of some counts per pixel
        np.testing.assert_allclose(found.image.data, given.image.data, atol=1e-8, err_msg=name)


def test_frames_masks_and_flags_leave_bad_pixels_out(images):
    science, references = images
    spoiled = np.stack([science[0], science[0]])
    bad = np.zeros(SHAPE, dtype=bool)
    bad[20, 40] = True
    nan = spoiled.copy()
    nan[:, 20, 40] = np.nan
    spoiled[:, 20, 40] = 1e6
    flags = np.where(bad, 5, 4).astype(np.uint32)  # 1 is DO_NOT_USE, 4 alone is not
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(spoiled, name="SCI"), fits.ImageHDU(flags, name="DQ")])
    one = {**GIVEN, "position_angle": ANGLES[0]}
    expected = lyot.subtract_star(nan, references, **one).image.data
    assert np.isfinite(expected).any() and np.nanmax(expected) < 10
    for exposure in (NDData(spoiled, mask=bad), hdus):
        np.testing.assert_array_equal(lyot.subtract_star(exposure, references, **one).image.data, expected)
    assert spoiled[0, 20, 40] == 1e6  # the caller's array is not changed


def test_errors_and_units_come_through(images):
    science, references = images
    error = np.full(SHAPE, NOISE)

    def reduced(make):
        found = lyot.subtract_star([make(s) for s in science], [make(r) for r in references], **GIVEN)
        return found.image

    std = reduced(lambda image: NDData(image, uncertainty=StdDevUncertainty(error), unit="MJy/sr"))
    variance = reduced(lambda image: NDData(image, uncertainty=VarianceUncertainty(error**2), unit="MJy/sr"))
    header = fits.Header({"BUNIT": "MJy/sr"})
    hdus = reduced(lambda image: fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, header, name="SCI"),
                                               fits.ImageHDU(error, name="ERR")]))  # fmt: skip
    assert std.unit == variance.unit == hdus.unit == std.uncertainty.unit == u.MJy / u.sr
    np.testing.assert_allclose(variance.uncertainty.array, std.uncertainty.array)
    np.testing.assert_allclose(hdus.uncertainty.array, std.uncertainty.array)
    # two rolls: NOISE / sqrt(2), made larger by what three modes of six references bring, smaller by interpolation
    assert np.nanmedian(std.uncertainty.array) == pytest.approx(NOISE / np.sqrt(2), rel=0.3)
    quantity = lyot.subtract_star([s * u.mJy for s in science], references, **GIVEN)
    assert quantity.image.unit == u.mJy
    with pytest.raises(InputError, match="standard deviations or variances, got InverseVariance"):
        reduced(lambda image: NDData(image, uncertainty=InverseVariance(error)))


def test_without_references_the_rolls_serve_each_other(images):
    science, _ = images
    found = lyot.subtract_star(science, **{**GIVEN, "modes": 1})
    assert found.result.combined.shape[0] == 1
    with pytest.raises(ReductionError):
        lyot.subtract_star(science[:1], **{**GIVEN, "position_angle": ANGLES[0], "modes": 1})


def test_modes_are_kept_and_the_first_is_shown(images):
    found = lyot.subtract_star(*images, **{**GIVEN, "modes": (4, 1, 2)})
    assert found.truncations == (1, 2, 4) and found.image.meta["modes"] == 4
    np.testing.assert_array_equal(found.image.data, found.cube[2])


@pytest.mark.parametrize(("change", "words"), [
    ({"star": None}, "star: neither given"),
    ({"pixel_scale": None}, "pixel_scale: neither given"),
    ({"position_angle": None}, "position_angle: neither given"),
    ({"star": (1, 2, 3)}, r"star: expected one position \(x, y\), or one for each of 2 exposures"),
    ({"position_angle": (1.0, 2.0, 3.0)}, "one for each of 2 exposures, got 3"),
    ({"position_angle": (1 * u.arcsec / u.s, 2.0)}, "position_angle: expected one number in deg"),
    ({"wcs": [WCS(naxis=2)]}, "wcs: expected one celestial WCS"),
    ({"wcs": [coordinates(a) for a in (1.0, 2.0, 3.0)]}, "wcs: expected one celestial WCS"),
])  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_named(images, change, words):
    with pytest.raises(InputError, match=words):
        lyot.subtract_star(*images, **{**GIVEN, **change})


def test_images_that_do_not_fit_are_named(images):
    science, references = images
    with pytest.raises(InputError, match=r"images of one shape, got \[\(60, 65\), \(61, 65\)\]"):
        lyot.subtract_star(science, [r[1:] for r in references], **GIVEN)
    with pytest.raises(InputError, match=r"got shape \(65,\)"):
        lyot.subtract_star(science[0][0], references, **GIVEN)
    with pytest.raises(InputError, match="at least one exposure"):
        lyot.subtract_star([], references, **GIVEN)
    with pytest.raises(InputError, match="expected an image extension"):
        lyot.subtract_star(fits.HDUList([fits.PrimaryHDU()]), references, **GIVEN)
    flipped = coordinates(20.0)
    flipped.wcs.cd = flipped.wcs.cd @ np.diag([-1.0, 1.0])
    with pytest.raises(InputError, match="flip the images first"):
        lyot.subtract_star(science, references, wcs=flipped, modes=3)
    with pytest.raises(ConfigError, match="subtract_star"):
        lyot.subtract_star(*images, **GIVEN, outer_radios=3.0)


def test_infinite_pixels_are_bad_pixels(images):
    science, references = images
    found = []
    for bad in (np.nan, np.inf):
        spoilt = [s.copy() for s in science]
        spoilt[0][20, 40] = bad
        found.append(lyot.subtract_star(spoilt, references, **GIVEN).image.data)
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).any()
