"""Companions: flux, position and their errors, on sequences whose truth is known."""

import numpy as np
import pytest
from scipy import ndimage

from lyot.errors import InputError
from lyot.geometry import sky_offset
from lyot.measure import CompanionParams, Star, SystematicParams, error_budget, fit_companions
from lyot.measure.companion import fit_companion
from lyot.measure.covariance import correlation
from lyot.measure.forward import forward_lattice
from lyot.measure.systematics import position_error, throughput_error

FAST = CompanionParams(posterior=False)
PLANET = (1.6, 215.0, 120.0)


def test_bright_planet_is_recovered(bench):
    injector = bench.injector(bench.sequence(21, (PLANET,)))
    (c,) = fit_companions(injector, bench.fwhm, [(1.68, 218.0)], FAST)
    assert c.snr > 12
    # the errors are of the order of a few percent and a tenth of a pixel: four of them
    assert abs(c.flux - PLANET[2]) < 4 * c.flux_error
    assert abs(c.separation - PLANET[0]) < 4 * c.separation_error
    assert abs(c.position_angle - PLANET[1]) < 4 * c.position_angle_error
    assert c.separation_error < 0.02


def test_noiseless_planet_is_exact(bench):
    sequence = bench.sequence(22, speckles=0.0)
    quiet = sequence.replace(
        science=np.stack([sequence.references.mean(axis=0)] * 2) + 0.001 * np.random.default_rng(0).normal(
            size=sequence.science.shape
        )
    )  # fmt: skip
    injector = bench.injector(quiet)
    east, north = (float(v) for v in sky_offset(1.73, 75.3))
    data = injector.inject([(east, north, 100.0)])
    with_planet = bench.injector(quiet.replace(science=quiet.science + 100 * injector.signal(east, north)))
    np.testing.assert_allclose(with_planet.image, data, atol=1e-9)
    (c,) = fit_companions(with_planet, bench.fwhm, [(1.70, 76.0)], FAST)
    # noise is 1e-5 of the peak; what is left is the interpolation between forward models, below 1e-3
    assert c.flux == pytest.approx(100.0, rel=1e-3)
    assert c.separation == pytest.approx(1.73, abs=2e-4)
    assert c.position_angle == pytest.approx(75.3, abs=0.01)


def test_pulls_have_unit_width(bench):
    pulls = []
    for seed in range(24):
        injector = bench.injector(bench.sequence(100 + seed, ((2.2, 15.0 * seed, 40.0),), speckles=0.2))
        c = fit_companion(injector, bench.fwhm, (2.2, 15.0 * seed), FAST)
        east, north = (float(v) for v in sky_offset(2.2, 15.0 * seed))
        errors = np.sqrt(np.diag(c.covariance))
        pulls.append([(c.flux - 40) / errors[0], (c.east - east) / errors[1], (c.north - north) / errors[2]])
    # 24 draws each: the standard deviation is known to 15 %; three of that
    assert np.all(np.abs(np.std(pulls, axis=0, ddof=1) - 1) < 0.45)
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.65)


def test_posterior_agrees_with_the_linearised_errors(bench):
    injector = bench.injector(bench.sequence(23, (PLANET,)))
    (c,) = fit_companions(injector, bench.fwhm, [PLANET[:2]], CompanionParams(steps=400))
    assert c.samples is not None
    linear = np.sqrt(np.diag(c.covariance))
    # the few-element inflation (up to 10 %) is not in the samples, and 300 x 32 correlated samples know it to 5 %
    np.testing.assert_allclose(c.samples.std(axis=0), linear, rtol=0.25)
    assert np.abs(c.samples.mean(axis=0) - [c.flux, c.east, c.north])[1:].max() < 0.5 * linear[1:].max()


def test_same_seed_same_posterior(bench):
    injector = bench.injector(bench.sequence(23, (PLANET,)))
    a, b = (
        fit_companions(injector, bench.fwhm, [PLANET[:2]], CompanionParams(steps=60, seed=7))[0].samples
        for _ in range(2)
    )
    np.testing.assert_array_equal(a, b)


def test_two_companions_side_by_side(bench):
    planets = ((1.6, 215.0, 120.0), (2.1, 232.0, 90.0))
    injector = bench.injector(bench.sequence(24, planets))
    found = fit_companions(injector, bench.fwhm, [p[:2] for p in planets], FAST)
    for c, p in zip(found, planets, strict=True):
        assert abs(c.flux - p[2]) < 4 * c.flux_error
        assert abs(c.separation - p[0]) < 4 * c.separation_error


def test_nothing_there_gives_an_upper_limit(bench):
    injector = bench.injector(bench.sequence(25))
    (c,) = fit_companions(injector, bench.fwhm, [(2.0, 100.0)], CompanionParams(posterior=False, search_radius=0.0))
    assert c.snr < 5
    assert 0 < c.upper_limit < 6 * c.flux_error


def test_bright_companion_has_no_upper_limit(bench):
    injector = bench.injector(bench.sequence(21, (PLANET,)))
    assert np.isnan(fit_companion(injector, bench.fwhm, PLANET[:2], FAST).upper_limit)


def test_fit_through_a_reduction_that_is_not_linear(bench):
    injector = bench.injector(bench.sequence(26, ((2.4, 60.0, 200.0),)), strategy="adi")
    (c,) = fit_companions(injector, bench.fwhm, [(2.4, 60.0)], FAST)
    # the forward model of ADI is taken at a rough flux: a tenth beside the error
    assert abs(c.flux - 200) < 4 * c.flux_error + 20


def test_models_between_the_nodes(bench):
    injector = bench.injector(bench.sequence(27))
    middle = injector.pixel(0.8, 1.2)
    lattice = forward_lattice(injector, middle, radius=bench.fwhm, reach=6.0, fwhm=bench.fwhm)
    dx, dy = 2.37, -3.11
    along_y, along_x = lattice.weights(np.array([dy]))[0], lattice.weights(np.array([dx]))[0]
    between = np.einsum("i,j,ijrc->rc", along_y, along_x, lattice.models)
    exact = injector.forward(*injector.sky(middle[0] + dx, middle[1] + dy))[lattice.window]
    # a quintic spline over a quarter of the FWHM; a Gaussian has no cut-off, its tail beyond it is 1e-3
    assert np.abs(between - np.nan_to_num(exact)).max() < 1e-3 * np.nanmax(np.abs(exact))


def test_lattice_weights_reproduce_the_nodes(bench):
    injector = bench.injector(bench.sequence(27))
    lattice = forward_lattice(injector, (30.0, 30.0), radius=2.0, reach=3.0, fwhm=bench.fwhm)
    n = len(lattice.models)
    nodes = (np.arange(n) - (n - 1) / 2) * lattice.spacing
    np.testing.assert_allclose(lattice.weights(nodes), np.eye(n), atol=1e-12)
    h = 1e-4
    slope = (lattice.weights(nodes[3:4] + h) - lattice.weights(nodes[3:4] - h)) / (2 * h)
    # the difference quotient leaves h^2 / 6 = 2e-9 of the third derivative, which is of the order of ten per pixel^3
    np.testing.assert_allclose(lattice.weights(nodes[3:4], derivative=1), slope, atol=1e-5)


def test_correlation_of_white_and_smooth_noise():
    from scipy import ndimage

    rng = np.random.default_rng(3)
    use = np.ones((150, 150), bool)
    rho = correlation(rng.normal(size=use.shape), use, 10.0)
    assert rho[0] == 1
    assert np.abs(rho[1:]).max() < 0.05  # 22500 pixels: 0.7 % each, more for rings of few pairs
    smooth = ndimage.gaussian_filter(rng.normal(size=use.shape), 2.0)
    rho = correlation(smooth / smooth.std(), use, 10.0)
    # exp(-d^2 / 4 sigma^2) = 0.78 at 2 px, times the taper 0.90; the ring of half-width 0.5 px blurs it a little
    assert rho[2] == pytest.approx(0.78 * 0.90, abs=0.06)


def test_errors_of_bad_guesses(bench):
    injector = bench.injector(bench.sequence(28))
    with pytest.raises(InputError, match="no data"):
        fit_companions(injector, bench.fwhm, [(9.0, 0.0)], FAST)
    with pytest.raises(InputError, match="at least one guess"):
        fit_companions(injector, bench.fwhm, [], FAST)


def test_error_budget_adds_up(bench):
    injector = bench.injector(bench.sequence(21, (PLANET,)))
    (c,) = fit_companions(injector, bench.fwhm, [PLANET[:2]], FAST)
    terms = error_budget(c, Star(1000.0, 50.0, "test"), SystematicParams(flux_calibration=0.04, star_center=0.01))
    by_name = {t.name: t for t in terms}
    assert terms[-1].name == "total"
    assert by_name["star flux"].contrast == pytest.approx(0.05)
    assert by_name["star flux"].flux == 0
    assert by_name["star center"].position_angle == pytest.approx(np.degrees(0.01 / c.separation))
    for name in ("flux", "contrast", "separation", "position_angle"):
        total = np.sqrt(sum(getattr(t, name) ** 2 for t in terms[:-1]))
        assert getattr(terms[-1], name) == pytest.approx(total)


def test_the_throughput_model_is_uncertain_where_the_mask_takes_light():
    p = SystematicParams()
    assert throughput_error(1.0, p) == p.throughput
    errors = [throughput_error(kept, p) * kept for kept in (0.97, 0.8, 0.5, 0.2)]  # of the open field
    # models of the mask differ by 0.02 to 0.03 in the open field and by 0.02 to 0.07 where half of the light is left
    assert errors == sorted(errors) and 0.02 < errors[0] < 0.05 and 0.05 < errors[2] < 0.07
    assert throughput_error(0.0, p) == throughput_error(0.02, p) > 3  # nothing is known behind the very center
    none = SystematicParams(mask=0.0)
    assert throughput_error(0.2, none) == none.throughput


def test_the_position_is_uncertain_where_the_mask_takes_light(bench):
    p = SystematicParams()
    assert position_error(1.0, p) == 0.0
    # 15 to 20 thousandths of lambda/D on a boundary: 8 to 10 mas in F1550C, as in simulations with other optics
    assert 0.015 < position_error(0.3, p) < 0.02
    injector = bench.injector(bench.sequence(21, (PLANET,)))
    (c,) = fit_companions(injector, bench.fwhm, [PLANET[:2]], FAST)
    star = Star(1000.0, 50.0, "test")
    (term,) = [t for t in error_budget(c, star, kept=0.3, lambda_over_d=0.5) if t.name == "throughput model"]
    assert term.separation == pytest.approx(0.5 * position_error(0.3, p))
    assert term.position_angle == pytest.approx(np.degrees(term.separation / c.separation))
    (far,) = [t for t in error_budget(c, star, kept=1.0, lambda_over_d=0.5) if t.name == "throughput model"]
    assert far.separation == far.position_angle == 0.0


@pytest.mark.parametrize(("wider", "low", "high"), [(0.0, 0.0, 0.02), (0.7, 0.03, 0.3)])
def test_a_source_of_another_shape_has_a_larger_error(bench, wider, low, high):
    """A planet, and the same blurred: its flux is off by not more than twice the error stated for its shape."""
    sequence = bench.sequence(22, speckles=0.2)
    east, north = (float(v) for v in sky_offset(2.2, 75.0))
    signal = bench.injector(sequence).signal(east, north)
    signal = ndimage.gaussian_filter(signal, (0, wider * bench.fwhm / 2.355, wider * bench.fwhm / 2.355))
    seen = bench.injector(sequence.replace(science=sequence.science + 1000.0 * signal))
    (c,) = fit_companions(seen, bench.fwhm, [(2.2, 75.0)], FAST)
    assert low <= c.shape_error <= high
    assert abs(c.flux / 1000.0 - 1) < 2 * np.hypot(c.shape_error, c.flux_error / c.flux)
