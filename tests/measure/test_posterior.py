"""The posterior on a mesh: its mean is not too bright, its width is right, and it sees every maximum."""

import numpy as np
import pytest

from lyot.geometry import offset_grid
from lyot.measure import CompanionParams, Injector
from lyot.measure.companion import fit_companion
from lyot.measure.forward import ForwardLattice, WhiteModels
from lyot.measure.posterior import Sampling, best_fit, curvature, find_modes, sample_posterior

SIDE = 25
SIGMA = 1.9
RADIUS = 4.0


def gaussian(x, y):
    gx, gy = offset_grid((SIDE, SIDE), ((SIDE - 1) / 2 + x, (SIDE - 1) / 2 + y))
    return np.exp(-(gx**2 + gy**2) / (2 * SIGMA**2)) / (SIGMA * np.sqrt(np.pi))  # unit norm


def split(x, y):
    """As on a boundary: the light is shared between two images, the same for sources at +-x."""
    apart = 1.0 + 0.3 * x**2
    return 0.5 * (gaussian(apart, y) + gaussian(-apart, y))


def white(image, data=None):
    spacing = 1.1
    steps = np.arange(-6, 7) * spacing
    models = np.array([[image(x, y) for x in steps] for y in steps])
    lattice = ForwardLattice((0.0, 0.0), spacing, RADIUS, (slice(0, SIDE), slice(0, SIDE)), models)
    return WhiteModels(lattice, models.reshape(13, 13, -1), np.zeros(SIDE**2) if data is None else data.ravel())


def test_gaussian_maximum_has_the_width_of_its_curvature():
    truth = np.array([40.0, 0.7, -1.2])
    w = white(gaussian, truth[0] * gaussian(*truth[1:]))
    (mode,) = find_modes(w, 1.0)
    # without noise the best is the truth, to the spline between models
    np.testing.assert_allclose(mode.best, truth, atol=0.02)
    np.testing.assert_allclose(mode.covariance, curvature(w, mode.best, 1.0), atol=0.03)
    assert mode.covariance[0, 0] == pytest.approx(1.0, rel=0.03)
    # each coordinate is known to SIGMA sqrt(2) / (S/N)
    assert np.sqrt(mode.covariance[1, 1]) == pytest.approx(SIGMA * np.sqrt(2) / 40, rel=0.05)


def test_scale_widens_all_errors():
    w = white(gaussian, 40 * gaussian(0.7, -1.2))
    one, two = find_modes(w, 1.0)[0], find_modes(w, 2.0)[0]
    # the mesh follows the width of the posterior, which has wings at twice the noise
    np.testing.assert_allclose(two.covariance, 4 * one.covariance, rtol=0.05, atol=0.01)


def test_mean_is_not_too_bright_where_the_best_is():
    rng = np.random.default_rng(4)
    flux, best, mean, pulls = 6.0, [], [], []
    for _ in range(150):
        x, y = rng.uniform(-0.5, 0.5, 2)
        w = white(gaussian, flux * gaussian(x, y) + rng.normal(size=(SIDE, SIDE)))
        mode = find_modes(w, 1.0)[0]
        best.append(mode.best[0] - flux)
        mean.append(mode.mean[0] - flux)
        pulls.append((mode.mean - [flux, x, y]) / np.sqrt(np.diag(mode.covariance)))
    # the best of two free coordinates is too bright by 1 / (S/N) = 0.17 sigma; the mean of 150 is known to 0.08
    assert np.mean(best) > 0.08
    assert abs(np.mean(mean)) < 0.2
    assert np.mean(mean) < np.mean(best) - 0.08
    # widths of 150 draws are known to 6 %; positions at this S/N are not Gaussian, their posterior has wings
    assert np.all(np.abs(np.std(pulls, axis=0) - 1) < 0.2)


def test_both_sides_of_a_boundary_are_found():
    w = white(split, 30 * split(1.5, 0.4))
    modes = find_modes(w, 1.0)
    assert sorted(round(float(m.best[1]), 1) for m in modes) == [-1.5, 1.5]
    for m in modes:
        # the mesh of positions is not symmetric about the boundary
        assert m.probability == pytest.approx(0.5, abs=0.05)
    chain = sample_posterior(w, modes, 1.0, Sampling(32, 200, 3))
    assert 0.2 < np.mean(chain[:, 1] > 0) < 0.8  # each walker stays on its side: 32 of them, +-9 %, four of that
    assert (chain[:, 0] >= 0).all()


def test_fit_from_the_wrong_side_finds_the_way():
    rng = np.random.default_rng(1)
    w = white(gaussian, 30 * gaussian(2.5, 1.0) + rng.normal(size=(SIDE, SIDE)))
    best = best_fit(w, np.array([5.0, 0.5, 0.0]))
    np.testing.assert_allclose(best[1:], [2.5, 1.0], atol=0.5)  # five sigmas


def mirrored(shape, seed, flux):
    """Noise with a source whose image is the same on both sides of a line at 1.5 arcsec east."""
    rng = np.random.default_rng(seed)
    center = (40.0, 40.0)

    def psf(exposure, east, north):
        out = np.zeros(shape)
        apart = 0.1 + 6 * (east - 1.5) ** 2
        for e in (1.5 + apart, 1.5 - apart):
            gx, gy = offset_grid(shape, (center[0] - e / 0.11, center[1] + north / 0.11))
            out += 0.5 * np.exp(-(gx**2 + gy**2) / (2 * SIGMA**2))
        return out

    science = rng.normal(size=(1, *shape)) + flux * psf(0, 1.7, 0.3)
    return Injector(science, np.zeros(1, np.intp), psf, lambda s: s, center, 0.11, reduce_many=lambda s: s)


def test_two_solutions_are_told_and_covered():
    injector = mirrored((81, 81), 5, 60.0)
    guess = (float(np.hypot(1.5, 0.3)), float(np.degrees(np.arctan2(1.5, 0.3))))
    c = fit_companion(injector, 4.4, guess, CompanionParams(posterior=False))
    assert c.ambiguous
    # noise of one draw shifts the likelihood between the two
    assert sum(a.probability for a in c.alternatives) == pytest.approx(0.5, abs=0.2)
    other = c.alternatives[0]
    assert abs((c.east + other.east) / 2 - 1.5) < 0.05  # on either side of the line
    assert np.sqrt(c.covariance[1, 1]) > 0.5 * abs(c.east - other.east)
    assert abs(c.north - 0.3) < 4 * np.sqrt(c.covariance[2, 2])


def test_one_solution_is_not_ambiguous(bench):
    injector = bench.injector(bench.sequence(21, ((1.6, 215.0, 120.0),)))
    c = fit_companion(injector, bench.fwhm, (1.6, 215.0), CompanionParams(posterior=False))
    assert not c.ambiguous
