"""The reduction as a whole: the planet comes back, zero injection changes no bit, RDI is linear, odd inputs."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from lyot import geometry
from lyot.errors import InputError, LyotWarning, ReductionError
from lyot.subtract import ReductionParams, plan_reduction
from lyot.subtract.plan import plan_prepared
from lyot.subtract.prepared import prepare_reduction
from tests.subtract.conftest import planet_frames


def centroid(image, center, guess, box=4):
    x0, y0 = round(guess[0]), round(guess[1])
    cut = image[y0 - box : y0 + box + 1, x0 - box : x0 + box + 1]
    y, x = np.indices(cut.shape)
    w = np.clip(cut, 0, None)
    return x0 - box + (w * x).sum() / w.sum(), y0 - box + (w * y).sum() / w.sum()


def test_planet_is_found_where_it_is(make_sequence):
    plan = plan_reduction(make_sequence(flux=500.0))
    result = plan.reduce()
    dx, dy = geometry.detector_offset(0.8176 / result.pixel_scale, 149.36, 0.0)
    x, y = result.center[0] + float(dx), result.center[1] + float(dy)
    peak = np.unravel_index(np.nanargmax(result.image), result.image.shape)
    # noise of 0.3 per pixel against a peak of 20: a pixel is generous for the peak
    assert np.hypot(peak[1] - x, peak[0] - y) < 1.0


def test_zero_injection_gives_the_same_bits(make_sequence):
    sequence = make_sequence(flux=500.0)
    plan = plan_reduction(sequence)
    first, second = plan.reduce(), plan.reduce(sequence.science + 0.0 * planet_frames(1.5, 20.0))
    assert np.array_equal(first.combined, second.combined, equal_nan=True)


def test_rdi_is_linear(make_sequence):
    sequence = make_sequence()
    plan = plan_reduction(sequence)
    extra = planet_frames(1.5, 20.0, 100.0)
    both = plan.reduce(sequence.science + extra).combined
    alone = plan.reduce(extra).combined
    # rounding of numbers of up to 1e3
    np.testing.assert_allclose(both, plan.reduce().combined + alone, atol=1e-9)


@pytest.mark.parametrize("strategy", ["rdi", "adi", "adi+rdi", "roll"])
@pytest.mark.parametrize("method", ["klip", "classical"])
def test_every_strategy_sees_the_planet(make_sequence, strategy, method):
    params = ReductionParams(strategy=strategy, method=method)
    result = plan_reduction(make_sequence(flux=3000.0, noise=0.1), params).reduce()
    dx, dy = geometry.detector_offset(0.8176 / result.pixel_scale, 149.36, 0.0)
    x, y = round(result.center[0] + float(dx)), round(result.center[1] + float(dy))
    assert result.image[y, x] > 3 * np.nanstd(result.image)


def test_more_modes_than_references_is_said(make_sequence, caplog):
    with pytest.warns(LyotWarning, match="4 reference frames allow no more than 4 modes; larger"):
        plan = plan_reduction(make_sequence(n_refs=4), ReductionParams(truncations=(1, 20)))
    assert plan.truncations == (1, 4)
    with caplog.at_level(logging.INFO):  # nobody asked for those that the default names: no warning
        plan_reduction(make_sequence(n_refs=4))
    assert "4 reference frames" in caplog.text


def test_a_single_roll(make_sequence):
    two = make_sequence()
    one = two.replace(
        science=two.science[:1], exposure=[0], pa_y=two.pa_y[:1], star=two.star[:1], science_variance=None
    )
    assert np.isfinite(plan_reduction(one).reduce().image).any()
    with pytest.raises(ReductionError, match="two or more rolls"):
        plan_reduction(one, ReductionParams(strategy="adi"))


@pytest.mark.parametrize("strategy", ["adi", "roll"])
def test_repeats_at_one_angle_are_not_references_of_each_other(make_sequence, strategy):
    """A planet is at the same place in all exposures of a roll, which would subtract it from each other."""
    two = make_sequence(references=None, flux=3000.0, noise=0.1)
    pairs = two.replace(
        science=np.repeat(two.science, 2, axis=0), exposure=[0, 1, 2, 3],
        pa_y=np.repeat(two.pa_y, 2) + np.array([0, 0.02, 0, 0]),
        star=np.repeat(two.star, 2, axis=0), science_variance=None,
    )  # fmt: skip
    params = ReductionParams(strategy=strategy, method="classical")
    whole, repeated = (plan_reduction(s.replace(science_variance=None), params).reduce() for s in (two, pairs))
    np.testing.assert_allclose(repeated.residuals[0][::2], whole.residuals[0], atol=1e-9)
    same = pairs.replace(science=pairs.science[:2], exposure=[0, 1], pa_y=pairs.pa_y[:2], star=pairs.star[:2])
    with pytest.raises(ReductionError, match="there are 2 exposures of the same roll"):
        plan_reduction(same, params)


def test_no_references(make_sequence):
    sequence = make_sequence(references=None)
    with pytest.raises(ReductionError, match="there are none"):
        plan_reduction(sequence)
    assert np.isfinite(plan_reduction(sequence, ReductionParams(strategy="roll")).reduce().image).any()


def test_mismatched_and_masked_input_is_refused(make_sequence):
    with pytest.raises(InputError, match="same subarray"):
        make_sequence(references=np.ones((3, 20, 20)))
    with pytest.raises(InputError, match="masked"):
        make_sequence(science=np.full((2, 61, 65), np.nan))
    with pytest.raises(InputError, match="the plan is for"):
        plan_reduction(make_sequence()).reduce(np.ones((1, 61, 65)))


def test_input_is_not_changed(make_sequence):
    sequence = make_sequence()
    science, references = sequence.science.copy(), sequence.references.copy()
    plan_reduction(sequence).reduce()
    assert np.array_equal(science, sequence.science)
    assert np.array_equal(references, sequence.references)


def test_a_masked_reference_is_left_out_and_said(make_sequence):
    sequence = make_sequence(n_refs=5)
    references = sequence.references.copy()
    references[2] = np.nan
    with pytest.warns(LyotWarning, match="1 of 5 reference frames are mostly masked"):
        plan = plan_reduction(sequence.replace(references=references))
    assert len(plan.library) == 4


def test_a_masked_exposure_leaves_the_other_roll(make_sequence):
    sequence = make_sequence(flux=500.0)
    science, variance = sequence.science.copy(), sequence.science_variance.copy()
    science[1] = np.nan
    variance[1] = np.nan
    result = plan_reduction(sequence.replace(science=science, science_variance=variance)).reduce()
    good = np.isfinite(result.image)
    assert good.any() and np.array_equal(result.image[good], result.rolls[result.index(), 0][good])


def test_nothing_in_common(make_sequence):
    sequence = make_sequence()
    science, references = sequence.science.copy(), sequence.references.copy()
    science[:, :, :30] = np.nan
    references[:, :, 30:] = np.nan
    with pytest.raises(ReductionError, match="no pixels left"):
        plan_reduction(sequence.replace(science=science, references=references))


def test_integrations_and_exposures_agree(make_sequence):
    """For RDI the mean of the residuals is the residual of the mean: where there are no bad pixels."""
    two = make_sequence(noise=0.0)
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(6, 61, 65))
    many = two.replace(
        science=np.repeat(two.science, 3, axis=0) + noise, exposure=np.repeat([0, 1], 3), science_variance=None
    )
    means = plan_reduction(many, ReductionParams(science_frames="exposure")).reduce()
    each = plan_reduction(many, ReductionParams(science_frames="integration")).reduce()
    assert each.residuals.shape[1] == 6 and means.residuals.shape[1] == 2
    # rounding of pixels of 1e3
    np.testing.assert_allclose(each.combined, means.combined, atol=1e-9)


def test_zones_do_not_overlap_and_cover_the_field(make_sequence):
    params = ReductionParams(zone_edges=(0.8, 1.6), sectors=3, quadrants=True, fit_margin=0.3, boundary_buffer=0.1)
    plan = plan_reduction(make_sequence(), params)
    subtracted = np.concatenate([z.subtract for z in plan.zones])
    assert len(np.unique(subtracted)) == len(subtracted) == 61 * 65
    assert np.isfinite(plan.reduce().image).any()


def test_the_field_stop_is_outside(make_sequence):
    throughput = np.where(geometry.radius_map((61, 65), (31, 30)) < 20, 1.0, np.nan)
    result = plan_reduction(make_sequence(throughput=throughput)).reduce()
    assert np.isnan(result.residuals[0, 0][np.isnan(throughput)]).all()
    assert np.isfinite(result.residuals[0, 0][np.isfinite(throughput)]).all()


def test_quadrants_need_a_mask(make_sequence):
    with pytest.raises(ReductionError, match="boundary_tilt"):
        plan_reduction(make_sequence(boundary_tilt=None), ReductionParams(quadrants=True))


@pytest.mark.parametrize("method", ["loci", "nmf"])
def test_other_methods_see_the_planet_too(make_sequence, method):
    params = ReductionParams(method=method, truncations=(3, 9))
    result = plan_reduction(make_sequence(flux=3000.0, noise=0.1), params).reduce()
    dx, dy = geometry.detector_offset(0.8176 / result.pixel_scale, 149.36, 0.0)
    x, y = round(result.center[0] + float(dx)), round(result.center[1] + float(dy))
    assert result.image[y, x] > 3 * np.nanstd(result.image)


def test_reference_noise_is_carried_for_every_linear_method(make_sequence):
    sequence = make_sequence(reference_variance=np.full((9, 61, 65), 0.09))
    for method in ("klip", "classical", "loci"):
        with_noise = plan_reduction(sequence, ReductionParams(method=method)).reduce().combined_variance
        without = plan_reduction(sequence.replace(reference_variance=None), ReductionParams(method=method)).reduce()
        assert np.nanmedian(with_noise / without.combined_variance) > 1.01


def test_annuli_are_for_the_masks_of_miri(make_sequence):
    """Without a known mask (NIRCam) there is one fit unless radii are given."""
    assert len(plan_reduction(make_sequence()).zones) == 2  # the frame ends within 5 arcsec
    elsewhere = make_sequence(boundary_tilt=None)
    assert len(plan_reduction(elsewhere).zones) == 1
    assert len(plan_reduction(elsewhere, ReductionParams(zone_edges=(1.0, 2.0))).zones) == 3
    assert len(plan_reduction(make_sequence(), ReductionParams(zone_edges=())).zones) == 1


def test_templates_take_out_what_is_left_of_a_background(make_sequence):
    y = np.indices((61, 65), dtype=float)[0]
    stick = 40 + 10 * np.exp(-0.5 * ((y - 29.6) / 1.5) ** 2)
    base = make_sequence(flux=500.0, templates=stick[np.newaxis])
    left = base.replace(science=base.science + 0.05 * stick)
    clean, mended = plan_reduction(base).reduce().image, plan_reduction(left).reduce().image
    # the template is fitted exactly: rounding of numbers of up to 1e3
    np.testing.assert_allclose(mended, clean, atol=1e-9)
    off = plan_reduction(left, ReductionParams(use_templates=False)).reduce().image
    without = plan_reduction(base, ReductionParams(use_templates=False)).reduce().image
    assert np.nanmax(np.abs(off - without)) > 0.2  # the stick is 0.5 at its crest, and the modes take up a part
    plan = plan_reduction(left)
    assert np.array_equal(plan.reduce(left.science + 0.0).combined, plan.reduce().combined, equal_nan=True)


def test_a_single_integration_and_a_single_reference(make_sequence):
    sequence = make_sequence(n_refs=1)
    one = sequence.replace(
        science=sequence.science[:1],
        exposure=[0],
        pa_y=sequence.pa_y[:1],
        star=sequence.star[:1],
        science_variance=sequence.science_variance[:1],
    )
    plan = plan_reduction(one)
    assert plan.truncations == (1,) and np.isfinite(plan.reduce().image).any()


def test_all_masked_references_are_refused(make_sequence):
    with pytest.raises(InputError, match="references: all pixels"):
        make_sequence(references=np.full((3, 61, 65), np.nan))


def repeated(sequence, times=2):
    """The same exposures, each several times: repeats at one roll angle."""
    return sequence.replace(
        science=np.repeat(sequence.science, times, axis=0), exposure=np.arange(times * len(sequence.science)),
        pa_y=np.repeat(sequence.pa_y, times), star=np.repeat(sequence.star, times, axis=0), science_variance=None,
    )  # fmt: skip


def test_repeats_at_one_angle_are_one_roll(make_sequence):
    two = make_sequence(flux=500.0).replace(science_variance=None)
    four = repeated(two)
    params = ReductionParams(truncations=(1, 5), recommended=5)
    once, twice = plan_reduction(two, params), plan_reduction(four, params)
    single, result = once.reduce(), twice.reduce()
    rolls, variance = result.by_roll(four.roll)
    assert rolls.shape == single.rolls.shape and variance is None
    np.testing.assert_allclose(rolls, single.rolls, atol=1e-9 * np.nanmax(two.science))  # rounding
    assert np.array_equal(single.by_roll(two.roll)[0], single.rolls, equal_nan=True)


def test_the_variance_of_a_roll_is_that_of_its_weighted_mean(make_sequence):
    result = plan_reduction(make_sequence(), ReductionParams(truncations=(5,), recommended=5)).reduce()
    images, variance = result.by_roll([0, 0])  # both exposures: the combined image
    np.testing.assert_allclose(images[:, 0], result.combined, rtol=1e-12)
    np.testing.assert_allclose(variance[:, 0], result.combined_variance, rtol=1e-12)
    assert np.array_equal(result.by_roll([0, 1])[1], result.roll_variance, equal_nan=True)


def test_plans_of_one_preparation_are_those_made_alone(make_sequence):
    """Excluded pixels, truncations, expected changes, and other frames of the same exposures."""
    sequence = make_sequence(flux=500.0, throughput=np.full((61, 65), 0.8))
    params = ReductionParams(truncations=(1, 5), recommended=5)
    y, x = np.indices(sequence.shape)
    exclude, changes = np.hypot(x - 40, y - 30) < 4, np.exp(-np.hypot(x - 30, y - 30) / 5)[None]
    prepared = prepare_reduction(sequence, params)

    def alike(plan, alone):
        found, expected = plan.reduce(), alone.reduce()
        for name in ("combined", "combined_variance", "weights", "throughput"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))

    alike(plan_prepared(prepared), plan_reduction(sequence, params))
    alike(plan_prepared(prepared, exclude=exclude), plan_reduction(sequence, params, exclude=exclude))
    few = ReductionParams(truncations=(3,), recommended=3)
    alike(plan_prepared(prepared.with_truncations((3,), 3)), plan_reduction(sequence, few))
    alike(plan_prepared(prepared.with_changes(changes)), plan_reduction(sequence, params, changes=changes))
    other = sequence.replace(
        science=sequence.science[::-1], references=sequence.references[2:], reference_exposure=None
    )
    alike(plan_prepared(prepare_reduction(other, params, like=prepared)), plan_reduction(other, params))
