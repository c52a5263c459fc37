"""Masses from evolution models: interpolation, ages, and errors."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.measure.mass import AgedModels, EvolutionModels, MassGrid, half_difference


def cooling(ages, masses, **more) -> EvolutionModels:
    """Objects that fade as 2.5 log10(age) and are brighter by 5 log10(mass)."""
    a, m = (v.ravel() for v in np.meshgrid(ages, masses))
    return EvolutionModels(a, m, magnitude(a, m), **more)


def magnitude(age, mass):
    return 15 + 2.5 * np.log10(age / 10) - 5 * np.log10(mass)


def test_a_cooling_law_is_interpolated_to_the_letter():
    models = cooling([5.0, 20.0, 80.0], [1.0, 2.0, 8.0])
    for age, mass in ((5.0, 2.0), (13.0, 1.0), (40.0, 5.5)):
        # linear in the logarithms of age and mass, as the law is
        assert models.at(age).mass(magnitude(age, mass)) == pytest.approx(mass, rel=1e-9)
    assert np.isnan(models.at(10.0).mass(magnitude(10.0, 9.0))) and np.isnan(models.at(10.0).mass(magnitude(10.0, 0.9)))
    with pytest.raises(InputError, match=r"outside the models, 5 to 80 Myr"):
        models.at(100.0)


def test_isochrones_of_different_masses_are_interpolated_between():
    """Where no mass is tabulated at two ages there are no tracks."""
    ages = np.repeat([10.0, 100.0], 4)
    masses = np.array([1.0, 2.0, 4.0, 8.0, 1.1, 2.3, 4.5, 7.0])
    models = EvolutionModels(ages, masses, magnitude(ages, masses))
    assert models.at(30.0).mass(magnitude(30.0, 3.3)) == pytest.approx(3.3, rel=1e-9)
    grid = models.at(30.0)
    assert (grid.masses[0], grid.masses[-1]) == (pytest.approx(1.1), pytest.approx(7.0))  # what both ages have


def test_heavier_objects_that_are_fainter_are_passed_over():
    models = EvolutionModels(np.full(4, 10.0), np.array([5.0, 12.0, 13.0, 20.0]), np.array([12.0, 9.0, 9.5, 8.0]))
    grid = models.at(10.0)
    np.testing.assert_array_equal(grid.masses, [5.0, 12.0, 20.0])
    assert models.at(10.0).mass(9.0) == pytest.approx(12.0)  # the lightest that is so bright


def test_errors_of_flux_and_age():
    models = cooling([5.0, 10.0, 20.0, 40.0], [0.5, 1.0, 2.0, 8.0, 30.0])
    m = np.array([magnitude(20.0, 4.0)])
    found = AgedModels(models, 20.0, 2.0).with_error(m, [0.1])
    assert found.mass[0] == pytest.approx(4.0)
    # mass ~ 10^(-magnitude/5) and age^(1/2): 4.6 % and 5 %
    assert found.from_flux[0] == pytest.approx(4 * np.log(10) / 5 * 0.1, rel=1e-3)
    assert found.from_age[0] == pytest.approx(4 * 0.5 * 2.0 / 20.0, rel=5e-3)
    assert found.error[0] == pytest.approx(np.hypot(found.from_flux[0], found.from_age[0]))
    low, high = AgedModels(models, 20.0, 2.0).range(m)
    assert low[0] == pytest.approx(4 * np.sqrt(0.9)) and high[0] == pytest.approx(4 * np.sqrt(1.1))
    assert AgedModels(models, 20.0).with_error(m, [0.1]).from_age[0] == 0.0


def test_at_the_edge_of_the_models_one_side_is_enough():
    np.testing.assert_allclose(
        half_difference(*np.array([[1.0, np.nan, np.nan], [2.0, 2.0, 2.0], [4.0, 5.0, np.nan]])), [1.5, 3.0, np.nan]
    )
    models = cooling([10.0, 20.0], [1.0, 2.0])
    found = AgedModels(models, 15.0, 500.0).with_error([magnitude(15.0, 2.0)], [0.1])  # 2 is the heaviest
    assert np.isfinite(found.from_flux[0]) and np.isfinite(found.from_age[0])
    assert models.age_range(15.0, 500.0) == (10.0, 20.0)


@pytest.mark.parametrize(("changes", "words"), [
    ({"ages": np.array([10.0])}, "two or more"),
    ({"magnitudes": np.array([1.0, np.nan])}, "finite"),
    ({"masses": np.array([0.0, 1.0])}, "positive"),
])  # fmt: skip
def test_models_that_cannot_be_used(changes, words):
    values = {"ages": np.array([1.0, 2.0]), "masses": np.array([1.0, 2.0]), "magnitudes": np.array([3.0, 2.0])}
    with pytest.raises(InputError, match=words):
        EvolutionModels(**{**values, **changes})


def test_one_mass_is_not_enough():
    with pytest.raises(InputError, match="fewer than two masses"):
        EvolutionModels(np.array([1.0, 10.0]), np.array([5.0, 5.0]), np.array([10.0, 12.0])).at(3.0)
    with pytest.raises(InputError, match="does not grow with mass"):
        EvolutionModels(np.array([1.0, 1.0]), np.array([5.0, 6.0]), np.array([10.0, 12.0])).at(1.0)
    with pytest.raises(InputError, match="decrease"):
        MassGrid(np.array([1.0, 2.0]), np.array([10.0, 11.0]))
