"""References with noise: all of the star's mean image is subtracted, and the noise is measured on the frames."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
from lyot.subtract.library_noise import library_noise

SIDE, COUNT = 81, 9
OWN, COMMON = 3.0, 2.0


def star() -> np.ndarray:
    """An image as wide as a diffraction pattern, with wings."""
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    r = np.hypot(x, y)
    return 60.0 * np.exp(-0.5 * (r / 6.0) ** 2) + 30.0 * np.exp(-0.5 * ((r - 9.0) / 2.5) ** 2)


def references(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Frames with noise of their own, and that of the background which was subtracted from all."""
    shape = (SIDE, SIDE)
    return light + rng.normal(0.0, OWN, (COUNT, *shape)) + rng.normal(0.0, COMMON, shape)


def noise_of(frames: np.ndarray, variance: np.ndarray | None = None):
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    flat = None if variance is None else variance.reshape(len(variance), -1)
    return library_noise(frames.reshape(len(frames), -1), flat, np.ones((SIDE, SIDE), bool), np.hypot(x, y))


def test_own_and_common_noise_are_told_apart_from_starlight_and_outliers():
    rng = np.random.default_rng(3)
    frames = references(rng, star())
    frames[2, 5, 7] = 1e4
    found = noise_of(frames)
    # some 3000 pixels, neighbors correlated by the differences: 5 % of a variance
    np.testing.assert_allclose(np.diag(found.covariance), OWN**2 + COMMON**2, rtol=0.1)
    off = found.covariance[~np.eye(COUNT, dtype=bool)]
    np.testing.assert_allclose(off, COMMON**2, atol=0.1 * (OWN**2 + COMMON**2))


def test_photons_of_the_star_add_to_what_each_frame_has_of_its_own():
    frames = references(np.random.default_rng(4), star())
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    inner = np.hypot(x, y) < 12
    variance = np.where(inner, 2.0, 1.0) * np.full((COUNT, SIDE, SIDE), OWN**2 + COMMON**2)
    found = noise_of(frames, variance)
    pixels = np.flatnonzero(inner)
    total = found.sum_over(pixels)
    np.testing.assert_allclose(np.diag(total), 2.0 * np.diag(found.covariance) * len(pixels))  # exactly twice
    assert total[0, 1] == found.covariance[0, 1] * len(pixels)


@pytest.mark.parametrize("unknown", [0.0, np.nan])
def test_errors_that_are_not_stated_change_nothing(unknown):
    frames = references(np.random.default_rng(4), star())
    pixels = np.arange(1000)
    stated = noise_of(frames, np.full((COUNT, SIDE, SIDE), unknown)).sum_over(pixels)
    np.testing.assert_array_equal(stated, noise_of(frames).sum_over(pixels))


def test_the_noise_of_a_mean_frame():
    found = noise_of(references(np.random.default_rng(5), star()))
    # the common noise stays, the others average; errors as above
    assert found.of_mean().covariance[0, 0] == pytest.approx(OWN**2 / COUNT + COMMON**2, rel=0.1)


def test_too_few_pixels_tell_nothing():
    frames = np.ones((3, 20 * 20))
    assert library_noise(frames, None, np.ones((20, 20), bool), np.hypot(*np.indices((20, 20)))) is None
    assert library_noise(frames, None, np.zeros((20, 20), bool), np.ones((20, 20))) is None


def left(method: str, correction: bool, draws: int = 12) -> float:
    """Part of the star that stays in the image, mean over draws of the noise."""
    light, parts = star(), []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        sequence = CoronagraphicSequence(
            science=light[None] + rng.normal(0.0, 1.0, (1, SIDE, SIDE)),
            exposure=np.zeros(1, dtype=int),
            pa_y=np.zeros(1),
            star=np.array([[SIDE // 2, SIDE // 2]], dtype=float),
            pixel_scale=(0.11, 0.11),
            references=references(rng, light),
            reference_exposure=np.arange(COUNT),
        )
        params = ReductionParams(method=method, truncations=(5,), zone_edges=(), noise_correction=correction)
        residual = plan_reduction(sequence, params).reduce().residuals[0, 0]
        centered = light - light.mean()
        parts.append(float((residual * centered).sum() / (centered**2).sum()))
    return float(np.mean(parts))


@pytest.mark.parametrize("method", ["klip", "loci", "classical"])
def test_all_of_the_star_is_subtracted(method):
    # of the power of the references' mean a twentieth is noise, and as much of the star stays without the correction;
    # the projection on the star has an error of 1 / |star| = 0.001 per draw, the other modes take up as much
    uncorrected, corrected = left(method, False), left(method, True)
    assert uncorrected > 0.02
    assert abs(corrected) < 0.15 * uncorrected


def test_references_without_noise_are_used_as_they_are():
    light = star()
    rng = np.random.default_rng(1)
    drifts = np.array([np.roll(light, k, axis=1) for k in range(COUNT)])
    frames = drifts + 1e-3 * rng.standard_normal(drifts.shape)
    sequence = CoronagraphicSequence(
        science=light[None],
        exposure=np.zeros(1, dtype=int),
        pa_y=np.zeros(1),
        star=np.array([[SIDE // 2, SIDE // 2]], dtype=float),
        pixel_scale=(0.11, 0.11),
        references=frames,
        reference_exposure=np.arange(COUNT),
    )
    on, off = (
        plan_reduction(sequence, ReductionParams(truncations=(3,), zone_edges=(), noise_correction=switch))
        for switch in (True, False)
    )
    # noise of 1e-3 in images of 10: a share of 1e-8
    np.testing.assert_allclose(on.reduce().residuals, off.reduce().residuals, atol=1e-6)
