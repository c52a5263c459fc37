"""Rings: their geometry and light against what can be said without the code, and their fit against known truth."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from lyot.errors import ConfigError, InputError, ReductionError
from lyot.measure.disks import Detector, DiskParams, correlated_products, fit_disk
from lyot.measure.ring import RingParams, brightness, henyey_greenstein, ring_image
from lyot.measure.ring_fit import RingFitParams, fit_ring
from tests.measure.conftest import PA_Y, SCALE, SHAPE, STAR, unit_source

DETECTOR = Detector(np.array([STAR, STAR]), np.array(PA_Y), (SCALE, SCALE))
THIN = RingParams(radius=1.5, profile="gaussian", width=0.08, aspect=0.0, inclination=60.0, major_axis=30.0)


def at(ring: RingParams, east: float, north: float) -> float:
    """Brightness at one place."""
    return float(brightness(ring, np.array([east]), np.array([north]), reach=4.0)[0])


def along(angle: float, r: float) -> tuple[float, float]:
    return r * np.sin(np.radians(angle)), r * np.cos(np.radians(angle))


# Geometry


def test_an_inclined_ring_lies_on_its_ellipse():
    r = np.linspace(0.3, 2.0, 3401)
    for angle, expected in ((30.0, 1.5), (210.0, 1.5), (120.0, 0.75), (300.0, 0.75)):  # cos(60 deg) = 1/2
        east, north = along(angle, 1.0)
        profile = brightness(THIN, r * east, r * north, reach=4.0)
        # the surface density is the midplane density times r, which moves the maximum out by width^2/radius = 0.004
        assert r[np.argmax(profile)] == pytest.approx(expected, abs=0.005)


def test_the_middle_of_the_image_is_the_star_and_east_is_to_the_left():
    model = ring_image(replace(THIN, inclination=80.0, major_axis=90.0), 2.2, 0.05)
    assert model.image.sum() == pytest.approx(1.0) and model.image.shape[0] % 2 == 1
    east, north, flux = model.light()
    assert float((flux * east).sum()) == pytest.approx(0.0, abs=1e-9)
    assert np.average(east**2, weights=flux) > 10 * np.average(north**2, weights=flux)  # it lies east and west
    turned = ring_image(replace(THIN, inclination=80.0, offset_major=0.3, major_axis=90.0), 2.2, 0.05)
    x = np.indices(turned.image.shape)[1]
    assert (turned.image * x).sum() < (turned.image.shape[1] - 1) / 2  # an offset to the east is to the left


def test_the_offset_moves_the_ring_on_the_sky():
    moved = replace(THIN, offset_major=0.2, offset_minor=0.4)
    east, north, flux = ring_image(moved, 2.6, 0.04).light()
    plain = ring_image(THIN, 2.6, 0.04).light()
    center = [float((flux * v).sum() - (plain[2] * w).sum()) for v, w in ((east, plain[0]), (north, plain[1]))]
    major, minor = along(30.0, 0.2), along(120.0, 0.4 * 0.5)  # foreshortened by cos(60 deg)
    assert center[0] == pytest.approx(major[0] + minor[0], abs=2e-3)  # a twentieth of a pixel
    assert center[1] == pytest.approx(major[1] + minor[1], abs=2e-3)


def test_a_thin_ring_is_the_limit_of_a_thick_one():
    for inclination in (0.0, 40.0, 70.0):
        flat = ring_image(replace(THIN, inclination=inclination), 2.2, 0.05)
        thick = ring_image(replace(THIN, inclination=inclination, aspect=0.002), 2.2, 0.05)
        # a scale height of 0.003 arcsec beside pixels of 0.05 sampled twice
        assert np.abs(flat.image - thick.image).max() < 0.01 * flat.image.max()


def test_edge_on_the_thickness_is_the_scale_height():
    ring = replace(THIN, inclination=90.0, major_axis=0.0, aspect=0.06, width=0.05)
    offset = np.linspace(-0.5, 0.5, 2001)
    profile = brightness(ring, offset, np.full(2001, 1.5), reach=3.0)
    sigma = np.sqrt((profile * offset**2).sum() / profile.sum())
    # at the tip of the ring all light is near the radius: height 0.06 * 1.5; some is a little outside of it
    assert sigma == pytest.approx(0.09, rel=0.03)
    with pytest.raises(InputError, match="give it a thickness"):
        ring_image(replace(ring, aspect=0.0), 2.0, 0.05)


@pytest.mark.parametrize(("alpha_in", "alpha_out"), [(4.0, -3.0), (10.0, -2.0)])
def test_power_laws_far_from_the_radius(alpha_in, alpha_out):
    ring = RingParams(radius=1.0, alpha_in=alpha_in, alpha_out=alpha_out, aspect=0.0, inclination=0.0)
    for near, far, slope in ((0.2, 0.3, alpha_in), (3.0, 4.0, alpha_out)):
        ratio = at(ring, 0.0, far) / at(ring, 0.0, near)
        # the other law still counts by 3^-10 or so there; the density times r is what is seen
        assert ratio == pytest.approx((far / near) ** (slope + 1), rel=2e-3)
    assert at(ring, 0.0, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("profile", ["gaussian", "power"])
@pytest.mark.parametrize(("inclination", "aspect"), [(0.0, 0.03), (62.0, 0.1), (80.0, 0.03), (86.0, 0.1), (90.0, 0.03)])
def test_the_line_of_sight_is_followed_finely_enough(profile, inclination, aspect):
    """Against many equal steps, from far in front of the disk to far behind it."""
    ring = RingParams(radius=1.6, profile=profile, width=0.25, aspect=aspect, inclination=inclination, major_axis=35.0)
    x = np.linspace(-3, 3, 31)
    east, north = np.meshgrid(x, x)
    axis, tilt = np.radians([35.0, inclination])
    u, v = east * np.sin(axis) + north * np.cos(axis), east * np.cos(axis) - north * np.sin(axis)
    total = np.zeros(u.shape)
    for along in np.arange(-5.0, 5.0, 0.02):
        y, z = v * np.cos(tilt) + along * np.sin(tilt), along * np.cos(tilt) - v * np.sin(tilt)
        r = np.maximum(np.hypot(u, y), 1e-3)
        density = np.exp(-((r - 1.6) ** 2) / 0.125) if profile == "gaussian" else 1 / np.sqrt(
            0.5 * ((r / 1.6) ** -10 + (r / 1.6) ** 10))  # fmt: skip
        total += 0.02 * density * np.exp(-0.5 * (z / (aspect * r)) ** 2)
    found = brightness(ring, east, north, reach=5.0)
    # light beyond 3.5 scale heights is left out (5e-4)
    np.testing.assert_allclose(found, total, atol=2e-3 * total.max())


# Light


def test_the_phase_function_is_normalized_and_g_is_the_mean_cosine():
    cosine, weight = np.polynomial.legendre.leggauss(200)
    for g in (-0.6, 0.0, 0.3, 0.8):
        phase = henyey_greenstein(cosine, g)
        assert 2 * np.pi * (weight * phase).sum() == pytest.approx(1.0, rel=1e-9)
        assert 2 * np.pi * (weight * phase * cosine).sum() == pytest.approx(g, abs=1e-9)


def test_the_near_side_is_brighter_in_forward_scattering():
    ring = replace(THIN, light="scattered", g=0.5)
    near, far = at(ring, *along(120.0, 0.75)), at(ring, *along(300.0, 0.75))
    cosine = np.sin(np.radians(60.0))
    expected = henyey_greenstein(np.array(cosine), 0.5) / henyey_greenstein(np.array(-cosine), 0.5)
    assert near / far == pytest.approx(float(expected), rel=1e-6)
    both = replace(ring, g2=-0.5, g2_weight=0.5)  # as much backward as forward
    assert at(both, *along(120.0, 0.75)) == pytest.approx(at(both, *along(300.0, 0.75)), rel=1e-9)


def test_scattered_light_falls_with_the_square_of_the_distance_from_the_star():
    ring = RingParams(radius=1.0, aspect=0.0, inclination=0.0, light="scattered", alpha_in=3, alpha_out=-3)
    thermal = replace(ring, light="thermal")
    for r in (0.6, 1.7):
        scattered = at(ring, 0.0, r) / at(ring, 0.0, 1.0)
        assert scattered == pytest.approx(at(thermal, 0.0, r) / at(thermal, 0.0, 1.0) / r**2, rel=1e-9)


def test_thermal_light_follows_the_planck_function():
    cold = RingParams(radius=1.0, aspect=0.0, inclination=0.0, temperature=100.0)
    plain = replace(cold, temperature=None)
    ratio = at(cold, 0.0, 1.44) / at(plain, 0.0, 1.44)
    x = 14387.77 / (15.0 * 100.0)  # hc / (lambda k T)
    assert ratio == pytest.approx(np.expm1(x) / np.expm1(1.2 * x), rel=1e-6)  # T falls by 1.2 at 1.44 radii


# The fit


@functools.cache
def by_points(ring: RingParams, flux: float) -> np.ndarray:
    """The ring in each exposure as a sum of single sources, drawn finer than the fit draws it."""
    model = ring_image(ring, 3.2, 0.08, oversample=4)
    east, north, light = model.light()
    keep = light > 1e-4 * light.max()
    out = np.zeros((2, *SHAPE))
    for e, n, f in zip(east[keep], north[keep], light[keep], strict=True):
        for exposure in (0, 1):
            out[exposure] += flux * f * unit_source(exposure, float(e), float(n))
    return out


TRUTH = RingParams(radius=1.6, profile="gaussian", width=0.25, aspect=0.05, inclination=62.0, major_axis=35.0)
FLUX = 900.0
START = RingFitParams(radius=1.4, profile="gaussian", width=0.25, aspect=0.05, inclination=50.0, major_axis=80.0)
REGION = DiskParams(outer_radius=2.8)


@pytest.fixture(scope="module")
def fits(bench):
    signal = by_points(TRUTH, FLUX)
    found = []
    for seed in range(4):
        sequence = bench.sequence(seed)
        injector = bench.injector(sequence.replace(science=sequence.science + signal))
        start = START if seed == 0 else replace(START, search=False, inclination=57.0, major_axis=30.0)
        found.append(fit_ring(injector, DETECTOR, bench.fwhm, start, REGION))
    return found


def test_the_parameters_of_a_ring_are_recovered(fits):
    truth = np.array([FLUX, TRUTH.radius, TRUTH.inclination, TRUTH.major_axis])
    pulls = []
    for fit in fits:
        assert fit.names == ("flux", "radius", "inclination", "major_axis") and not fit.at_limit
        assert (fit.errors[1:] < [0.06, 3.0, 3.0]).all()  # half a pixel, and as many degrees; usually half of that
        pulls.append((fit.values - truth) / fit.errors)
    pulls = np.array(pulls)
    # 16 pulls of four correlated parameters, of which 72 in 18 other seeds have a width of 1.1
    assert 0.4 < np.sqrt((pulls**2).mean()) < 1.7
    assert np.abs(pulls).max() < 4.0


def test_what_the_fit_says_of_itself(fits):
    fit = fits[0]
    # the flux alone has less error than with the geometry free, by their correlation
    assert fit.fit.scale == fit.values[0] and fit.fit.error == pytest.approx(fit.errors[0], rel=0.2)
    assert fit.model.image.sum() == pytest.approx(fit.values[0])
    assert 0.8 < fit.fit.reduced_chi2 < 1.2  # the noise is that of these residuals
    assert fit.fit.correlation > 3  # a resolution element has 15 pixels
    inside = fit.fit.region
    assert np.std(fit.fit.residual[inside]) < 0.7 * np.std((fit.fit.residual + fit.fit.model)[inside])
    eigenvalues = np.linalg.eigvalsh(fit.covariance)
    assert (eigenvalues > 0).all()


def test_the_fitted_ring_is_the_model_of_the_other_fit(bench, fits):
    """The scale of the fitted ring, as an image, is 1: both ways of making its images agree."""
    sequence = bench.sequence(0)
    injector = bench.injector(sequence.replace(science=sequence.science + by_points(TRUTH, FLUX)))
    again = fit_disk(injector, fits[0].model, DETECTOR, bench.fwhm, REGION)
    # other pixels and weights: within the error, which is most of a per cent
    assert again.scale == pytest.approx(1.0, abs=3 * again.error) and again.error < 0.1


def test_the_asymmetry_and_the_near_side_are_recovered(bench):
    truth = replace(TRUTH, light="scattered", g=0.4, major_axis=215.0)
    sequence = bench.sequence(3)
    injector = bench.injector(sequence.replace(science=sequence.science + by_points(truth, 1500.0)))
    start = RingFitParams(
        radius=1.6, profile="gaussian", width=0.25, inclination=62.0, light="scattered", g=0.1, major_axis=30.0,
        fit=("major_axis", "g"),
    )  # fmt: skip
    fit = fit_ring(injector, DETECTOR, bench.fwhm, start, REGION)
    values, errors = (dict(zip(fit.names, v, strict=True)) for v in (fit.values, fit.errors))
    assert values["major_axis"] == pytest.approx(215.0, abs=5.0)  # and not 35: the near side is told by g
    assert abs(values["g"] - 0.4) < 4 * errors["g"] and errors["g"] < 0.2


def test_a_parameter_at_its_limit_has_no_error(bench):
    """A flat ring, fitted with one that is too wide: a thickness cannot help, and ends at its limit of 0."""
    sequence = bench.sequence(1)
    injector = bench.injector(sequence.replace(science=sequence.science + by_points(replace(TRUTH, aspect=0.0), FLUX)))
    start = replace(START, inclination=62.0, major_axis=35.0, aspect=0.01, width=0.6, fit=("aspect",), search=False)
    fit = fit_ring(injector, DETECTOR, bench.fwhm, start, REGION)
    errors = dict(zip(fit.names, fit.errors, strict=True))
    assert ("aspect" in fit.at_limit) == bool(np.isnan(errors["aspect"])) and np.isfinite(errors["flux"])


def test_what_cannot_be_fitted(bench):
    plain = bench.injector(bench.sequence(2))
    for names, words in ((("radius", "color"), "cannot be fitted"), (("g",), "no effect"), (("radius",) * 2, "once")):
        with pytest.raises(ConfigError, match=words):
            fit_ring(plain, DETECTOR, bench.fwhm, RingFitParams(fit=names))
    rolls = bench.injector(bench.sequence(2), strategy="adi+rdi")
    with pytest.raises(ReductionError, match="fit it without rolls"):
        fit_ring(rolls, DETECTOR, bench.fwhm, START, REGION)
    with pytest.raises(ReductionError, match="set the radii"):
        fit_ring(plain, DETECTOR, bench.fwhm, START, DiskParams(inner_radius=3.0, outer_radius=2.0))
    with pytest.raises(InputError, match="no light inside"):
        ring_image(RingParams(radius=5.0, profile="gaussian", width=0.01, aspect=0.0), 1.0, 0.1)


def test_products_of_correlated_noise():
    """Against the sum over all pairs of pixels, with the correlation that made the noise."""
    from scipy import ndimage

    rng = np.random.default_rng(6)
    kernel = 1.2
    shape = (60, 60)
    y, x = np.indices(shape) - 30.0
    templates = np.stack([np.exp(-(x**2 + y**2) / 200), x / 20 * np.exp(-(x**2 + y**2) / 200)])
    expected = np.zeros((2, 2))
    found = []
    for _ in range(300):
        noise = ndimage.gaussian_filter(rng.normal(size=shape), kernel, mode="wrap")
        noise /= noise.std()
        sums = templates.reshape(2, -1) @ noise.ravel()
        expected += np.outer(sums, sums) / 300
        if len(found) < 40:
            found.append(correlated_products(templates, noise, np.ones(shape, bool), 4.0))
    # variances of 300 draws are known to 8 %; the off-diagonal is 0 by symmetry
    np.testing.assert_allclose(np.diag(np.mean(found, axis=0)), np.diag(expected), rtol=0.25)
    assert abs(np.mean(found, axis=0)[0, 1]) < 0.1 * expected[0, 0]
