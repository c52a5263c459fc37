"""The injection run is the reduction run."""

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.measure import Injector

PLACE = (0.9, 1.1)  # east, north, arcsec


def test_zero_flux_gives_the_same_bits(bench):
    injector = bench.injector(bench.sequence(1, nan=True))
    zero = injector.inject([(*PLACE, 0.0), (-1.0, 0.3, 0.0)])
    assert zero.tobytes() == injector.image.tobytes()


def test_zero_flux_gives_the_same_bits_where_the_reduction_is_not_linear(bench):
    injector = bench.injector(bench.sequence(1), strategy="adi")
    assert injector.inject([(*PLACE, 0.0)]).tobytes() == injector.image.tobytes()


def test_injection_is_linear_and_equals_the_forward_model(bench):
    injector = bench.injector(bench.sequence(2, nan=True))
    forward = injector.forward(*PLACE)
    for flux in (5.0, 500.0):
        added = injector.inject([(*PLACE, flux)]) - injector.image
        # rounding of the reduction relative to the brightest pixel of the science frames (about 50)
        np.testing.assert_allclose(added, flux * forward, atol=1e-10 * 50 + 1e-12 * flux)


def test_differences_of_reductions_give_the_same_forward_model(bench):
    sequence = bench.sequence(2)
    fast, slow = bench.injector(sequence), bench.injector(sequence, linear=False)
    np.testing.assert_allclose(fast.forward(*PLACE), slow.forward(*PLACE, flux=100.0), atol=1e-11)


@pytest.mark.parametrize("linear", [True, False])
def test_several_models_at_once_are_those_made_one_by_one(bench, linear):
    injector = bench.injector(bench.sequence(2, nan=True), linear=linear)
    places, window = [PLACE, (0.7, 1.2), (1.1, 0.8)], (slice(20, 50), slice(10, 40))
    together = injector.forward_windows(places, window, flux=100.0)
    alone = [injector.forward_window(*place, window, flux=100.0) for place in places]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12 * np.nanmax(np.abs(alone)))


def test_a_negative_source_takes_the_planet_out(bench):
    planet = (1.42, 39.3, 80.0)
    east, north = planet[0] * np.sin(np.radians(planet[1])), planet[0] * np.cos(np.radians(planet[1]))
    with_planet, without = bench.injector(bench.sequence(3, (planet,))), bench.injector(bench.sequence(3))
    np.testing.assert_allclose(with_planet.inject([(east, north, -80.0)]), without.image, atol=1e-9)


def test_science_is_not_changed(bench):
    sequence = bench.sequence(4)
    before = sequence.science.copy()
    injector = bench.injector(sequence)
    injector.inject([(*PLACE, 50.0)])
    injector.forward(*PLACE)
    np.testing.assert_array_equal(sequence.science, before)


def test_positions_and_sky_offsets_are_inverse(bench):
    injector = bench.injector(bench.sequence(1))
    assert injector.sky(*injector.pixel(0.7, -1.3)) == pytest.approx((0.7, -1.3))
    east, _ = injector.pixel(1.0, 0.0)
    assert east < injector.center[0]  # east is to the left


def test_frames_and_exposures_must_match(bench):
    with pytest.raises(InputError, match="one exposure index per frame"):
        Injector(np.zeros((2, 5, 5)), np.zeros(3, np.intp), lambda *_: np.zeros((5, 5)), lambda s: s, (2, 2), 0.1)
