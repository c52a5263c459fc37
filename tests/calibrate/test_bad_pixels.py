"""Bad pixels: found where they are, and a planet is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.calibrate.bad_pixels import BadPixelParams, find_bad_pixels, repair, surrounded
from lyot.errors import InputError

FWHM = 3.2  # pixels: lambda/D of F1140C, the sharpest point source these images hold


def planet(shape: tuple[int, int], x: float, y: float) -> np.ndarray:
    yy, xx = np.indices(shape)
    return np.exp(-((xx - x) ** 2 + (yy - y) ** 2) * 4 * np.log(2) / FWHM**2)


def noise_cube(rng: np.random.Generator, n: int = 8, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(5.0, 1.0, (n, size, size)), np.ones((n, size, size))


def test_outlier_of_one_integration_is_found_in_time():
    cube, var = noise_cube(np.random.default_rng(1))
    cube[3, 10, 20] += 30
    found = find_bad_pixels(cube, var)
    assert found.in_time[3, 10, 20]
    # 8 x 48^2 normal deviates: beyond 7 sigma about the median (a little wider than the mean) nothing is expected
    assert found.in_time.sum() == 1
    assert not found.in_space.any()


def test_hot_and_dead_pixels_are_found_in_space():
    cube, var = noise_cube(np.random.default_rng(2))
    cube[:, 5, 6] += 60
    cube[:, 30, 31] -= 60
    found = find_bad_pixels(cube, var)
    assert found.in_space[5, 6] and found.in_space[30, 31]
    assert found.in_space.sum() == 2


@pytest.mark.parametrize("snr", [5.0, 10.0, 20.0, 50.0])
def test_repair_does_not_eat_a_planet(snr):
    """Flux within an aperture, repaired minus not repaired, over planets at random subpixel positions: loss < 1 %."""
    rng = np.random.default_rng(3)
    losses = []
    radius = FWHM / 2
    area = np.pi * radius**2
    for _ in range(40):
        cube, var = noise_cube(rng, n=6, size=24)
        x, y = 11.5 + rng.uniform(-0.5, 0.5, 2)
        shape = planet((24, 24), x, y)
        yy, xx = np.indices((24, 24))
        aperture = np.hypot(xx - x, yy - y) <= radius
        # S/N in the aperture of the mean image: amplitude * sum(shape) / (sigma sqrt(area / n))
        amplitude = snr * np.sqrt(area / len(cube)) / shape[aperture].sum()
        cube += amplitude * shape
        fixed = repair(cube, var, find_bad_pixels(cube, var, BadPixelParams(action="repair")).mask).data
        before = (cube.mean(axis=0) - 5.0)[aperture].sum()
        after = (fixed.mean(axis=0) - 5.0)[aperture].sum()
        losses.append((before - after) / (amplitude * shape[aperture].sum()))
    assert abs(np.mean(losses)) < 0.01
    assert np.max(np.abs(losses)) < 0.05  # none of the single planets either


def test_bright_noiseless_point_source_is_never_called_bad():
    for x in np.linspace(11.0, 12.0, 5):
        for y in np.linspace(11.0, 12.0, 5):
            cube = np.repeat(1e4 * planet((24, 24), x, y)[None], 5, axis=0)
            assert not find_bad_pixels(cube, np.full(cube.shape, 1e-2)).mask.any()


def test_varying_star_is_not_flagged_in_time():
    """A pixel whose brightness varies by far more than its noise, as speckles do, is no outlier."""
    rng = np.random.default_rng(4)
    cube, var = noise_cube(rng, n=20)
    cube += 100 * rng.normal(1, 0.2, 20)[:, None, None] * planet((48, 48), 24, 24)
    assert not find_bad_pixels(cube, var).in_time.any()


def test_repair_from_time_and_from_space_carries_uncertainty():
    rng = np.random.default_rng(5)
    cube, var = noise_cube(rng, n=6)
    cube[2, 4, 4] = 1e3
    cube[:, 20, 20] = 1e3
    bad = np.zeros(cube.shape, bool)
    bad[2, 4, 4] = True
    bad[:, 20, 20] = True
    kept = cube.copy()
    fixed = repair(cube, var, bad)
    np.testing.assert_array_equal(cube, kept)
    others = np.delete(cube[:, 4, 4], 2)
    assert fixed.data[2, 4, 4] == pytest.approx(others.mean())
    assert fixed.variance[2, 4, 4] == pytest.approx(1.2)  # 1 + 1/5
    assert np.all(np.abs(fixed.data[:, 20, 20] - 5) < 3)  # mean of eight unit normals, six times: 3 is eight sigma
    assert np.all(fixed.variance[:, 20, 20] >= 1.0)
    assert fixed.filled.sum() == 7
    np.testing.assert_array_equal(fixed.data[~bad], cube[~bad])


def test_repaired_values_scatter_as_their_variance_says():
    rng = np.random.default_rng(6)
    cube, var = noise_cube(rng, n=6, size=60)
    bad = np.zeros(cube.shape, bool)
    bad[:, 5:55:3, 5:55:3] = True  # bad in all integrations, good neighbors
    fixed = repair(cube, var, bad)
    pull = (fixed.data - rng.normal(5.0, 1.0, cube.shape))[bad] / np.sqrt(fixed.variance[bad])
    # what a fresh measurement would differ by; the scatter estimate of 8 neighbors biases this by some percent
    assert 0.85 < pull.std() < 1.1


def test_few_integrations_all_nan_and_wrong_shapes():
    cube, var = noise_cube(np.random.default_rng(7), n=2)
    cube[0, 3, 3] += 100
    assert not find_bad_pixels(cube, var).in_time.any()
    empty = np.full((5, 8, 8), np.nan)
    assert not find_bad_pixels(empty, empty).mask.any()
    assert np.isnan(repair(empty, empty, np.ones(empty.shape, bool)).data).all()
    with pytest.raises(InputError, match="nints, ny, nx"):
        find_bad_pixels(cube[0], var[0])


def test_pixels_at_the_edge_of_the_field_are_not_surrounded():
    cube = np.full((2, 7, 9), np.nan)
    cube[1, 1:6, 2:7] = 1.0  # good in one integration is good
    inside = surrounded(cube)
    assert inside.shape == cube.shape and (inside[0] == inside[1]).all()
    found = np.zeros((7, 9), bool)
    found[1:6, 2:7] = True
    found[[1, 1, 5, 5], [2, 6, 2, 6]] = False  # corners have four, the pixels next to an edge outside three
    np.testing.assert_array_equal(inside[0], found)
