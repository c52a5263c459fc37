"""Companion or background star: the track against astropy, and the test against positions of known origin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, get_body_barycentric, solar_system_ephemeris
from astropy.time import Time

from lyot.errors import InputError
from lyot.geometry import separation_and_pa
from lyot.measure.proper_motion import Positions, StarMotion, background_track, compare_motion, parallax_factors

STAR = StarMotion(ra=184.47, dec=-55.97, pm_ra=-39.0, pm_dec=-12.9, parallax=9.68)
YEARS = np.array([2004.9, 2016.1, 2023.4])


def earth(years) -> np.ndarray:
    with solar_system_ephemeris.set("builtin"):
        time = Time(years, format="jyear", scale="tdb")
        return get_body_barycentric("earth", time).xyz.to_value(u.au).T


def positions(offsets, error=0.01) -> Positions:
    separation, angle = separation_and_pa(offsets[:, 0], offsets[:, 1])
    n = len(offsets)
    across = np.degrees(error / separation)
    return Positions(YEARS[:n], separation, np.full(n, error), angle, across, earth(YEARS[:n]))


@pytest.mark.parametrize(("ra", "dec"), [(184.47, -55.97), (10.0, 5.0), (269.4, 4.7)])
def test_parallax_is_the_displacement_of_a_star_at_one_parsec(ra, dec):
    """From vectors: the direction from the observer to a star at 1 pc against the direction from the barycenter."""
    observer = earth(np.linspace(2020, 2021, 7))
    star = SkyCoord(ra * u.deg, dec * u.deg, distance=1 * u.pc)
    seen = star.cartesian.xyz.to_value(u.au) - observer
    found = SkyCoord(*seen.T, representation_type="cartesian")
    found.representation_type = "unitspherical"
    expected = np.stack(
        [v.to_value(u.arcsec) for v in star.spherical_offsets_to(SkyCoord(found.ra, found.dec))], axis=1
    )
    # to the square of a parallax of 1 arcsec
    np.testing.assert_allclose(parallax_factors(ra, dec, observer), expected, atol=3e-5)


def test_a_background_star_goes_the_other_way():
    track = background_track(YEARS, np.zeros((3, 3)), STAR)
    np.testing.assert_allclose(track[1], 1e-3 * 11.2 * np.array([39.0, 12.9]), rtol=1e-12)
    first, last = (background_track(YEARS, earth(YEARS), STAR, first=k) for k in (0, 2))
    assert (last[2] == 0).all()
    np.testing.assert_allclose(last, first - first[2], atol=1e-12)


@pytest.mark.parametrize("background", [True, False])
def test_what_the_object_is_comes_out(background):
    rng = np.random.default_rng(5)
    chi2, others, right = [], [], 0
    for _ in range(100):
        offsets = np.tile([-5.65, 4.31], (3, 1)) + rng.normal(scale=0.01, size=(3, 2))
        if background:
            offsets = offsets + background_track(YEARS, earth(YEARS), STAR)
        test = compare_motion(positions(offsets), STAR)
        right += test.verdict == ("background" if background else "common proper motion")
        pair = (test.chi2_background, test.chi2_common)
        chi2.append(pair[0 if background else 1])
        others.append(pair[1 if background else 0])
    assert test.freedom == 4 and right >= 98  # one in 370 is refused by chance
    # the mean of 100 chi2 of 4 degrees of freedom is 4 to 0.28
    assert np.mean(chi2) == pytest.approx(4.0, abs=1.1)
    assert np.min(others) > 1000  # 0.7 arcsec in 18 years, with errors of 0.01


def test_the_offsets_that_fit_are_those_that_were_put_in():
    start = np.array([-5.65, 4.31])
    track = background_track(YEARS, earth(YEARS), STAR)
    test = compare_motion(positions(start + track), STAR)
    np.testing.assert_allclose(test.background, start + track, atol=1e-9)
    assert test.chi2_background < 1e-12
    still = compare_motion(positions(np.tile(start, (3, 1))), STAR)
    np.testing.assert_allclose(still.common, np.tile(start, (3, 1)), atol=1e-9)


def test_the_error_of_the_star_s_motion_counts_against_the_background_alone():
    offsets = np.tile([-5.65, 4.31], (2, 1)) + np.array([[0.0, 0.0], [0.04, 0.0]])
    sure = compare_motion(positions(offsets), STAR)
    unsure = compare_motion(positions(offsets), replace(STAR, pm_error=20.0, parallax_error=1.0))
    assert unsure.chi2_common == sure.chi2_common
    # 11.2 years of 20 mas/yr are 0.22 arcsec beside 0.4 by which the background would have moved
    assert sure.chi2_background > 500 and unsure.chi2_background < 10
    assert unsure.verdict in ("undecided", "common proper motion")


def test_errors_are_along_and_across_the_separation():
    one = Positions(YEARS[:2], np.array([2.0, 2.0]), np.array([0.1, 0.1]), np.array([90.0, 0.0]), np.array([1.0, 1.0]),
                    np.zeros((2, 3)))  # fmt: skip
    across = (2.0 * np.radians(1.0)) ** 2
    np.testing.assert_allclose(one.covariances()[0], np.diag([0.01, across]), atol=1e-12)  # due east
    np.testing.assert_allclose(one.covariances()[1], np.diag([across, 0.01]), atol=1e-12)  # due north


@pytest.mark.parametrize(("change", "words"), [
    ({"years": YEARS[:1] * np.ones(2)}, "not all the same"),
    ({"separation": np.array([1.0, -1.0])}, "positive"),
    ({"separation_error": np.array([0.0, 0.1])}, "positive"),
    ({"position_angle": np.array([np.nan, 0.0])}, "finite"),
    ({"observer": np.zeros((3, 3))}, "observer"),
])  # fmt: skip
def test_positions_that_cannot_be_used(change, words):
    good = {
        "years": YEARS[:2], "separation": np.ones(2), "separation_error": np.ones(2), "position_angle": np.ones(2),
        "position_angle_error": np.ones(2), "observer": np.zeros((2, 3)),
    }  # fmt: skip
    with pytest.raises(InputError, match=words):
        Positions(**{**good, **change})
    with pytest.raises(InputError, match="not negative"):
        replace(STAR, parallax=-1.0)
