"""The background's template is noisy, and its noise is in the science with the opposite sign: no trench, no ridge."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
from lyot.subtract.templates import SHARE, smoothed

SIDE, STAR = 101, (50.0, 50.0)
NOISE = 0.5
"""Of the mean of a science exposure, MJy/sr."""
READ = 3.0
"""Of one background integration, MJy/sr."""


def background() -> np.ndarray:
    """A level of 15 with a shadow along the boundaries, 2 pixels wide and 1.2 deep, and a glow beside them."""
    y, x = np.indices((SIDE, SIDE), dtype=float) - 50.0
    shadow = np.exp(-0.5 * (y / 2.0) ** 2) + np.exp(-0.5 * (x / 2.0) ** 2)
    return 15.0 - 1.2 * shadow + 1.5 * np.exp(-0.5 * ((y - 6) / 4.0) ** 2)


def sequence(integrations: int, left: float, seed: int) -> CoronagraphicSequence:
    """Science from which the mean of `integrations` backgrounds was subtracted; the part `left` of it remains."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIDE, SIDE), dtype=float) - 50.0
    halo = 200 * np.exp(-np.hypot(x, y) / 6.0)
    pattern = halo * np.cos(0.9 * x) * np.cos(0.8 * y)
    noise = rng.normal(scale=READ / np.sqrt(integrations), size=(SIDE, SIDE))
    template = background() + noise

    def frame(drift: float) -> np.ndarray:
        return halo + (0.3 + drift * rng.normal()) * pattern + rng.normal(scale=NOISE, size=halo.shape)

    science = np.stack([frame(0.02) + (1 + left) * background() - template for _ in range(2)])
    return CoronagraphicSequence(
        science=science, exposure=np.arange(2), pa_y=np.array([0.0, 10.0]), star=np.array([STAR] * 2),
        pixel_scale=(0.11, 0.11), references=np.stack([2 * frame(0.05) for _ in range(9)]), mask_center=STAR,
        boundary_tilt=0.0, templates=template[np.newaxis],
        template_variance=np.full((SIDE, SIDE), READ**2 / integrations),
    )  # fmt: skip


def along_boundaries(residual: np.ndarray) -> float:
    """Mean within two pixels of a boundary less that of the field between."""
    y, x = np.indices(residual.shape[-2:]) - 50
    near, r = np.minimum(np.abs(x), np.abs(y)), np.hypot(x, y)
    ring = (r > 15) & (r < 48)
    return float(residual[..., ring & (near <= 2)].mean() - residual[..., ring & (near > 12)].mean())


def measured(integrations: int, left: float, **changes) -> np.ndarray:
    """The ruler for eight draws of all noise."""
    values = []
    for seed in range(8):
        s = sequence(integrations, left, seed).replace(**changes)
        result = plan_reduction(s, ReductionParams(truncations=(5,), zone_edges=())).reduce()
        values.append(along_boundaries(result.residuals[0]))
    return np.array(values)


@pytest.mark.parametrize("integrations", [5, 12, 30, 60])
@pytest.mark.parametrize("left", [0.0, 0.03])
def test_nothing_is_left_along_the_boundaries_at_any_depth(integrations, left):
    values = measured(integrations, left)
    # the noise of the background itself stays in the image: 380 pixels along the boundaries in each of eight draws
    error = np.hypot(READ / np.sqrt(integrations), NOISE / np.sqrt(2)) / np.sqrt(380 * 8)
    assert abs(values.mean()) < 3.5 * error


def test_without_the_correction_there_is_a_trench():
    """The case above fails for the plain fit: the shadow of 1.2 is put in again with half of its depth."""
    plain = measured(5, 0.0, template_variance=None).mean()
    assert plain < -0.4 and abs(measured(5, 0.0).mean()) < 0.1 * abs(plain)


def test_without_a_template_what_is_left_stays():
    """10 % of the background: 0.12 of its shadow, less the glow beside it; the template takes it off."""
    without = np.mean(measured(60, 0.1, templates=None, template_variance=None))
    assert without < -0.02
    assert abs(np.mean(measured(60, 0.1))) < 0.5 * abs(without)


def test_a_template_of_noise_alone_is_not_fitted():
    s = sequence(1, 0.0, 1)
    hopeless = s.replace(template_variance=np.full((SIDE, SIDE), 1e3))
    params = ReductionParams(truncations=(5,), zone_edges=())
    plain = plan_reduction(s.replace(templates=None, template_variance=None), params).reduce()
    np.testing.assert_array_equal(plan_reduction(hopeless, params).reduce().residuals, plain.residuals)


def test_signals_are_reduced_as_differences_of_reductions():
    s = sequence(5, 0.0, 1)
    plan = plan_reduction(s, ReductionParams(truncations=(3, 5), zone_edges=()))
    y, x = np.indices((SIDE, SIDE))
    planet = np.exp(-((x - 62) ** 2 + (y - 55) ** 2) / 8.0)
    signal = np.stack([planet, planet])
    difference = plan.reduce(s.science + signal).combined - plan.reduce().combined
    # the same sums in another order: 1e-12 of the brightest pixel of 200
    np.testing.assert_allclose(plan.reduce_many(signal[np.newaxis])[0], difference, atol=1e-9)
    assert np.array_equal(plan.reduce(s.science + 0.0).combined, plan.reduce().combined, equal_nan=True)


def test_a_template_variance_of_another_shape_is_refused():
    with pytest.raises(InputError, match="template_variance has shape"):
        sequence(5, 0.0, 1).replace(template_variance=np.zeros((3, 3)))


def test_outliers_that_the_errors_do_not_know_of_make_no_trench():
    """One pixel in two hundred of the background is wrong by twenty errors: the noise is three times what is stated."""
    values = []
    for seed in range(8):
        s = sequence(5, 0.0, seed)
        rng = np.random.default_rng(100 + seed)
        wrong = 20 * READ / np.sqrt(5) * (rng.random((SIDE, SIDE)) < 0.005)
        s = s.replace(science=s.science - wrong, templates=s.templates + wrong)
        result = plan_reduction(s, ReductionParams(truncations=(5,), zone_edges=())).reduce()
        values.append(along_boundaries(result.residuals[0]))
    # the outliers themselves stay in the science: two of the 380 pixels along the boundaries, of 27 MJy/sr each
    error = np.hypot(np.sqrt(380 * 0.005) * 27 / 380, READ / np.sqrt(5 * 380)) / np.sqrt(8)
    assert abs(np.mean(values)) < 3.5 * error < 0.2


def test_the_smoothed_template_shares_the_stated_part_of_its_noise():
    noise = np.random.default_rng(4).normal(size=(400, 400))
    smooth = smoothed(noise)
    assert np.mean(smooth * noise) == pytest.approx(SHARE, rel=0.05)  # 160 000 pixels: known to 1 %
    holes = np.where(np.random.default_rng(5).random(noise.shape) < 0.1, np.nan, noise)
    assert np.isfinite(smoothed(holes)).all()
    # the crossing of two shadows of 1.2 each is a sixth less deep: 0.01 MJy/sr where 3 % of it is left over
    np.testing.assert_allclose(smoothed(background())[20:80, 20:80], background()[20:80, 20:80], atol=0.4)
