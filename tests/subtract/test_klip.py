"""The linear algebra: against a singular value decomposition, with missing pixels, other regions, variances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot.errors import InputError, ReductionError
from lyot.subtract import ReductionParams, klip, nmf, plan_reduction
from tests.subtract.conftest import planet_frames


def brute_force(references, science, k):
    """KLIP as the textbook has it: right singular vectors of the mean-subtracted references."""
    r = references - references.mean(axis=1, keepdims=True)
    s = science - science.mean(axis=1, keepdims=True)
    z = np.linalg.svd(r, full_matrices=False)[2][:k]
    return s - (s @ z.T) @ z


@pytest.fixture(scope="module")
def library():
    rng = np.random.default_rng(11)
    modes = rng.normal(size=(12, 700)) * np.logspace(2, -1, 12)[:, None]
    return rng.normal(size=(40, 12)) @ modes + rng.normal(scale=0.1, size=(40, 700)) + 5.0


@pytest.fixture(scope="module")
def frames(library):
    return library[:5] * 1.1 + np.random.default_rng(12).normal(size=(5, 700))


TRUNCATIONS = (1, 2, 5, 10, 20, 39)


def test_all_truncations_agree_with_a_singular_value_decomposition(library, frames):
    ours = klip.subtract(klip.klip_model(library, None, TRUNCATIONS), frames)
    for t, k in enumerate(TRUNCATIONS):
        # figure asked for: 1e-9; the Gram matrix squares the condition number (1e3 here), hence not 1e-15
        np.testing.assert_allclose(ours[t], brute_force(library, frames, k), atol=1e-9 * np.abs(frames).max())


def test_float32_data_do_not_spoil_the_decomposition(library, frames):
    single = klip.subtract(klip.klip_model(library.astype(np.float32), None, (20,)), frames.astype(np.float32))[0]
    # float32 rounding of the data themselves (6e-8 of 300) amplified by the weak modes; an all-float32 Gram fails this
    np.testing.assert_allclose(single, brute_force(library, frames, 20), atol=2e-3)


@pytest.mark.parametrize("mean", [True, False])
def test_missing_pixels_give_the_least_squares_fit_over_the_others(library, frames, mean):
    broken = frames.copy()
    broken[1, 30:90] = np.nan
    model = klip.klip_model(library, None, (7, 3), subtract_mean=mean)
    ours = klip.subtract(model, broken)
    good = np.isfinite(broken[1])
    for t, c in enumerate(model.columns):
        a = model.fit_modes[:c]
        coef = np.linalg.lstsq(a[:, good].T, frames[1, good], rcond=None)[0]
        np.testing.assert_allclose(ours[t, 1][good], (frames[1] - coef @ a)[good], atol=1e-9)
        assert np.isnan(ours[t, 1][~good]).all()
        np.testing.assert_allclose(ours[t, 0], klip.subtract(model, frames)[t, 0], atol=1e-10)


def test_too_few_pixels_give_nan_not_nonsense(library, frames):
    broken = frames.copy()
    broken[2, 4:] = np.nan
    assert np.isnan(klip.subtract(klip.klip_model(library, None, (7,)), broken)[0, 2]).all()


def test_another_region_takes_the_coefficients_of_the_fit(library, frames):
    model = klip.klip_model(library[:, :400], library[:, 300:], (6,))
    ours = klip.subtract(model, frames[:, :400], frames[:, 300:])[0]
    inside = klip.subtract(klip.klip_model(library[:, :400], None, (6,)), frames[:, :400])[0]
    np.testing.assert_allclose(ours[:, :100], inside[:, 300:], atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12), scale=st.floats(1e-6, 1e6))
def test_residuals_are_orthogonal_scale_and_do_not_grow(seed, k, scale):
    rng = np.random.default_rng(seed)
    library, frame = rng.normal(size=(12, 80)), rng.normal(size=(1, 80))
    model = klip.klip_model(library, None, (k,))
    residual = klip.subtract(model, frame)[0, 0]
    assert np.abs(model.fit_modes[: k + 1] @ residual).max() < 1e-10
    assert residual @ residual <= (frame @ frame.T)[0, 0] * (1 + 1e-12)
    scaled = klip.subtract(klip.klip_model(scale * library, None, (k,)), scale * frame)[0, 0]
    np.testing.assert_allclose(scaled, scale * residual, atol=1e-9 * scale)


def test_the_order_of_references_does_not_matter(library, frames):
    first = klip.subtract(klip.klip_model(library, None, TRUNCATIONS), frames)
    second = klip.subtract(klip.klip_model(library[::-1].copy(), None, TRUNCATIONS), frames)
    np.testing.assert_allclose(first, second, atol=1e-9 * np.abs(frames).max())


def test_damped_least_squares(library, frames):
    r = library - library.mean(axis=1, keepdims=True)
    s = frames - frames.mean(axis=1, keepdims=True)
    gram = r @ r.T
    power = np.trace(gram) / len(r)
    coef = np.linalg.solve(gram + 0.01 * power * np.eye(len(r)), r @ s.T)
    ours = klip.subtract(klip.klip_model(library, None, (len(r),), damping=0.01), frames)[0]
    np.testing.assert_allclose(ours, s - coef.T @ r, atol=1e-8 * np.abs(frames).max())


def test_a_dark_library_is_refused():
    with pytest.raises(ReductionError, match="have no flux"):
        klip.klip_model(np.zeros((3, 10)), None, (1,), subtract_mean=False)


def test_fill_library_scales_the_median():
    base = np.linspace(1, 2, 50)
    frames = np.array([1.0, 2.0, 3.0])[:, None] * base
    frames[2, 7] = np.nan
    frames[:, 9] = np.nan
    filled, usable = klip.fill_library(frames, min_good=0.5)
    assert not usable[9] and usable.sum() == 49
    # median of the two others is 1.5 base, scaled to frame 3
    assert filled[2, 7] == pytest.approx(3 * base[7], rel=0.02)


@pytest.mark.parametrize("damping", [0.0, 0.05])
@pytest.mark.parametrize("region", ["same", "other"])
def test_variance_of_the_residuals_is_their_scatter(damping, region):
    rng = np.random.default_rng(20)
    npix, nfit = 120, 90
    library = rng.normal(size=(6, npix)) * 5
    fit = np.arange(nfit)
    sub = fit if region == "same" else np.arange(40, npix)
    model = klip.klip_model(library[:, fit], None if region == "same" else library[:, sub], (2, 6), damping=damping)
    variance = rng.uniform(0.5, 4.0, npix)
    noise = rng.normal(size=(6000, npix)) * np.sqrt(variance)
    scatter = klip.subtract(model, noise[:, fit], None if region == "same" else noise[:, sub]).var(axis=1)
    same = None if region == "same" else np.where(sub < nfit, sub, -1)
    predicted = klip.residual_variance(
        model, np.zeros((2, len(model.fit_modes))), variance[fit], variance[sub], same, None
    )
    # 6000 draws: 1.8 % per pixel; the largest of 180 stays within 4.5 of these
    np.testing.assert_allclose(predicted, scatter, rtol=0.085)


def test_variance_of_the_library_is_carried_to_first_order():
    rng = np.random.default_rng(21)
    library, frame = rng.normal(size=(3, 400)) * 30, np.zeros((1, 400))
    frame[0] = library.sum(axis=0) * 0.5
    residuals = np.array(
        [
            klip.subtract(klip.klip_model(library + rng.normal(size=library.shape), None, (3,)), frame)[0, 0]
            for _ in range(400)
        ]
    )
    model = klip.klip_model(library, None, (3,))
    coef = klip.coefficients(model, frame)[:, 0]
    predicted = klip.residual_variance(model, coef, np.zeros(400), np.zeros(400), None, np.ones((3, 400)))[0]
    # three modes of 400 pixels: the fit takes up 1 % of the variance; 400 draws and 400 pixels give the mean to 0.4 %
    assert residuals.var(axis=0).mean() == pytest.approx(predicted.mean(), rel=0.03)


def test_nmf_recovers_positive_starlight_and_leaves_a_planet(make_sequence):
    rng = np.random.default_rng(30)
    modes = rng.uniform(size=(3, 300)) * 10
    library = rng.uniform(0.5, 1.5, size=(10, 3)) @ modes
    frame = np.array([[0.4, 1.0, 0.6]]) @ modes
    frame[0, 17] += 50.0
    model = nmf.nmf_model(library, None, (3,))
    assert all((m >= 0).all() for m in model.fit_modes)
    left = nmf.subtract(model, frame)[0, 0]
    # the planet pulls at three coefficients of positive modes over 300 pixels
    assert left[17] == pytest.approx(50, rel=0.1) and np.abs(np.delete(left, 17)).max() < 4


def test_many_signals_at_once_are_the_linear_part(make_sequence):
    sequence = make_sequence()
    broken = sequence.science.copy()
    broken[0, 20:22, 30] = np.nan
    plan = plan_reduction(sequence.replace(science=broken), ReductionParams(truncations=(2, 5)))
    signals = np.array([planet_frames(1.0, pa, 50.0) for pa in (20.0, 80.0, 200.0)])
    many = plan.reduce_many(signals)
    base = plan.reduce().combined
    for signal, image in zip(signals, many, strict=True):
        # rounding of science pixels of 1e3
        np.testing.assert_allclose(plan.reduce(broken + signal).combined - base, image, atol=1e-9)
    window = (slice(30, 50), slice(25, 60))
    # the spline of a part, as documented
    np.testing.assert_allclose(plan.reduce_many(signals, window=window), many[:, :, *window], atol=1e-8)
    with pytest.raises(ReductionError, match="rdi"):
        plan_reduction(sequence, ReductionParams(strategy="adi")).reduce_many(signals)


def test_a_template_is_taken_out_at_every_truncation(make_sequence):
    y, _ = np.indices((61, 65), dtype=float)
    stick = 20 * np.exp(-(((y - 29) / 2.0) ** 2))
    clean = make_sequence(noise=0.0)
    dirty = clean.replace(science=clean.science + np.array([1.0, 0.7])[:, None, None] * stick, templates=stick[None])
    params = ReductionParams(truncations=(1, 5))
    result = plan_reduction(dirty, params).reduce()
    expected = plan_reduction(clean.replace(templates=stick[None]), params).reduce()
    # exact but for rounding of pixels of 1e3
    np.testing.assert_allclose(result.combined, expected.combined, atol=1e-8)
    without = plan_reduction(dirty.replace(templates=None), params).reduce()
    assert np.nanstd(without.image - expected.image) > 1.0


def test_templates_with_another_region(library, frames):
    rng = np.random.default_rng(40)
    patterns = rng.normal(size=(2, 700))
    one = klip.klip_model(library[:, :500], library[:, 100:], (4,), templates=(patterns[:, :500], patterns[:, 100:]))
    extra = frames + np.array([[3.0], [0], [1], [2], [5]]) * patterns[1]
    first = klip.subtract(one, frames[:, :500], frames[:, 100:])
    np.testing.assert_allclose(klip.subtract(one, extra[:, :500], extra[:, 100:]), first, atol=1e-9)


@pytest.mark.parametrize("mode", ["exposure", "integration"])
def test_one_signal_image_per_exposure_is_enough(make_sequence, mode):
    two = make_sequence()
    science = np.repeat(two.science, 3, axis=0)
    science[1, 30:33, 20] = np.nan
    many = two.replace(science=science, exposure=np.repeat([0, 1], 3), science_variance=None)
    plan = plan_reduction(many, ReductionParams(science_frames=mode, truncations=(4,)))
    signal = planet_frames(1.0, 60.0, 40.0)
    whole = plan.reduce_many(np.repeat(signal, 3, axis=0)[np.newaxis])
    # rounding
    np.testing.assert_allclose(plan.reduce_many(signal[np.newaxis]), whole, atol=1e-10)
    with pytest.raises(InputError, match="signals have shape"):
        plan.reduce_many(signal)
