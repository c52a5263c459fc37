"""Choice of references and of parameters, and disks."""

from __future__ import annotations

import numpy as np
import pytest

from lyot import geometry
from lyot.errors import ReductionError
from lyot.subtract import ReductionParams, plan_reduction
from lyot.subtract.auto import candidates, choose
from lyot.subtract.references import rank_references, select_references, similarity_weights, weight_references
from tests.subtract.conftest import PA_Y, SCALE, SHAPE, STAR, gaussian


def psf(exposure, separation, pa):
    dx, dy = geometry.detector_offset(separation, pa, PA_Y[exposure])
    return gaussian(STAR[0] + float(dx) / SCALE[0], STAR[1] + float(dy) / SCALE[1])


def test_a_spoilt_reference_is_ranked_last_and_rejected(make_sequence):
    sequence = make_sequence()
    references = sequence.references.copy()
    references[4] = np.random.default_rng(1).normal(size=SHAPE) * 50
    ranking = rank_references(sequence.replace(references=references))
    assert ranking.order[-1] == 4 and not ranking.keep[4] and ranking.keep.sum() == 8
    fewer = select_references(sequence, ranking.keep)
    assert fewer.n_references == 8 and 4 not in fewer.reference_exposure
    with pytest.raises(ReductionError, match="at least one"):
        select_references(sequence, np.zeros(9, dtype=bool))


def test_the_scale_of_a_reference_is_its_brightness(make_sequence):
    sequence = make_sequence(n_refs=4)
    plain = rank_references(sequence).scale
    times = np.array([1.0, 3.0, 0.25, 1.0])
    brighter = rank_references(sequence.replace(references=sequence.references * times[:, None, None]))
    np.testing.assert_allclose(brighter.scale, times * plain)
    # the patterns of the frames differ by some tens of percent
    assert 0.4 < plain.min() < plain.max() < 1.6


@pytest.mark.filterwarnings("ignore:. reference frames allow")  # the library without one is smaller
def test_worth_is_that_of_leaving_the_exposure_out(make_sequence):
    sequence = make_sequence(n_refs=5)
    ranking = rank_references(sequence, radius=2.4, modes=9)
    params = ReductionParams(zone_edges=(), outer_radius=2.4, truncations=(4, 5))

    def rms(s):
        residuals = plan_reduction(s, params).reduce().residuals[-1]
        return np.sqrt(np.nanmean(residuals**2))

    without = select_references(sequence, np.array([True, True, False, True, True]))
    # the same pixels but for those on the circle itself
    assert ranking.worth[2] == pytest.approx(rms(without) / rms(sequence) - 1, rel=1e-3)
    assert (ranking.worth > -1e-9).all()


def reduced(sequence, **params):
    plan = plan_reduction(sequence, ReductionParams(zone_edges=(), truncations=(3, 9), **params))
    return plan.reduce().residuals


@pytest.mark.filterwarnings("ignore:. reference frames allow")  # the library without one is smaller
def test_equal_weights_change_nothing_and_zero_leaves_out(make_sequence):
    sequence = make_sequence(reference_variance=np.full((9, *SHAPE), 0.09))
    np.testing.assert_array_equal(reduced(weight_references(sequence, np.full(9, 3.0))), reduced(sequence))
    without = select_references(sequence, np.arange(9) != 4)
    weighted = weight_references(sequence, np.where(np.arange(9) == 4, 0.0, 1.0))
    np.testing.assert_array_equal(reduced(weighted), reduced(without))
    half = weight_references(sequence, np.where(np.arange(9) == 4, 0.5, 1.0))
    assert half.reference_variance[4, 0, 0] == pytest.approx(0.25 * 0.09)


def test_weights_of_exposures_and_full_rank(make_sequence):
    sequence = make_sequence(reference_exposure=np.repeat(np.arange(3), 3))
    weighted = weight_references(sequence, np.array([1.0, 0.5, 0.25]))
    np.testing.assert_allclose(weighted.references[4], 0.5 * sequence.references[4])
    # three modes of nine: the weights matter; all of them span the same space, but for rounding, of which plain least
    # squares is a projection
    plain = {"reference_frames": "integration", "noise_correction": False}
    a, b = reduced(weighted, **plain), reduced(sequence, **plain)
    assert np.nanmax(np.abs(a[0] - b[0])) > 0.1
    np.testing.assert_allclose(a[1], b[1], atol=1e-6)


def test_a_poor_reference_with_little_weight_spoils_less(make_sequence):
    sequence = make_sequence()
    references = sequence.references.copy()
    references[4] += np.random.default_rng(2).normal(size=SHAPE) * 100
    spoilt = sequence.replace(references=references)
    weight = similarity_weights(rank_references(spoilt))
    assert weight.max() == 1.0 and np.argmin(weight) == 4

    def rms(s):
        return float(np.sqrt(np.nanmean(reduced(s)[0] ** 2)))

    assert rms(weight_references(spoilt, weight)) < rms(spoilt)


@pytest.mark.parametrize("weight", [np.ones(4), np.zeros(9), np.array([1.0] * 8 + [-1]), np.full(9, np.nan)])
def test_weights_that_are_none(make_sequence, weight):
    with pytest.raises(ReductionError, match="weights of references"):
        weight_references(make_sequence(), weight)


def test_no_references_to_rank(make_sequence):
    with pytest.raises(ReductionError, match="no references"):
        rank_references(make_sequence(references=None))


def test_the_choice_is_not_made_on_the_planet(make_sequence):
    trials = [ReductionParams(truncations=(1, 3, 5, 9), zone_edges=z) for z in ((), (2.4,))]
    kwargs = {"separation": 1.1, "flux": 100.0, "fwhm": 0.48, "avoid": 149.36, "trials": trials}
    without = choose(make_sequence(), psf, **kwargs)
    planet = np.stack([psf(e, 1.1, 149.36) for e in range(2)])
    sequence = make_sequence()
    brightened = choose(sequence.replace(science=sequence.science + 3.0 * planet), psf, **kwargs)
    assert without.params == brightened.params
    # a planet of 3 units leaks into the noise apertures by its wings alone
    assert brightened.trials[0].snr == pytest.approx(without.trials[0].snr, rel=0.05)


def test_the_choice_finds_enough_modes(make_sequence):
    trials = [ReductionParams(truncations=(1, 7, 9))]
    choice = choose(make_sequence(), psf, separation=1.1, flux=100.0, fwhm=0.48, trials=trials)
    # the synthetic halo has seven patterns: one mode leaves most of it
    assert choice.params.recommended in (7, 9)
    assert all(0 < t.throughput <= 1.1 for t in choice.trials)
    assert choice.trials[0].snr == max(t.snr for t in choice.trials)
    assert len(candidates(ReductionParams())) == 10


def test_no_room_for_apertures(make_sequence):
    with pytest.raises(ReductionError, match="apertures"):
        choose(make_sequence(), psf, separation=0.2, flux=1.0, fwhm=0.48)


def disk_frames():
    """An edge-on disk in both rolls."""
    frames = []
    for pa_y in PA_Y:
        dx, dy = geometry.offset_grid(SHAPE, STAR)
        pa = np.radians(geometry.position_angle(dx, dy, pa_y) - 30.0)
        r = np.hypot(dx, dy)
        frames.append(np.exp(-((r * np.sin(pa)) ** 2) / 8) * np.exp(-((r * np.cos(pa)) ** 2) / 200))
    return np.array(frames)


def test_pixels_of_a_disk_can_be_left_out_of_the_fit(make_sequence):
    disk = disk_frames()
    sequence = make_sequence(noise=0.05)
    with_disk = sequence.replace(science=sequence.science + 8 * disk)
    exclude = (disk > 0.02).any(axis=0)
    masked = plan_reduction(with_disk, exclude=exclude).reduce()
    clean = plan_reduction(sequence, exclude=exclude).reduce()
    truth = plan_reduction(sequence).combine(disk[np.newaxis])[1][0]
    # only the tail of the disk outside the mask is in the fit
    np.testing.assert_allclose(
        np.nansum((masked.image - clean.image)[truth > 0.2]), 8 * truth[truth > 0.2].sum(), rtol=0.03
    )
