"""The ramp maker against the detector it draws from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lyot.instrument import coronagraph
from lyot.simulator.cosmic_rays import CosmicRays, draw_hits
from lyot.simulator.detector import build_detector
from lyot.simulator.exposure import brighter_fatter_change
from lyot.simulator.kernels import measured_from_linear
from tests.simulator.simulate_support import linearized, ramps

DETECTOR = build_detector(coronagraph("F1550C"), 1)
FRAME = DETECTOR.coronagraph.frame_time
GOOD = DETECTOR.mask_dq == 0
STEADY = slice(8, -1)  # groups after the transient of the first, before the pulled-down last


def test_mean_rate_is_light_plus_dark() -> None:
    data = linearized(ramps(30.0), DETECTOR)[0, STEADY]
    rate = (data[-1] - data[0]) / (len(data) - 1) / FRAME
    expected = 30.0 + DETECTOR.dark_rate
    # 62 000 pixels, each with a rate error of about 3.7 DN/s: 0.015 on the mean; inversion of linearity 0.02 DN
    assert (rate - expected)[GOOD].mean() == pytest.approx(0.0, abs=0.06)


def test_noise_is_poisson_and_read_noise() -> None:
    steps = np.diff(linearized(ramps(20.0, ngroups=40), DETECTOR)[0, STEADY], axis=0)
    variance = np.mean((steps - (20.0 + DETECTOR.dark_rate) * FRAME)[:, GOOD] ** 2)  # about the truth
    electrons = ((20.0 + DETECTOR.dark_rate) * FRAME / DETECTOR.gain)[GOOD].mean()  # variance in DN^2
    read = (DETECTOR.read_noise[GOOD].astype(float) ** 2).mean()  # of a difference of two reads
    m = float(np.median(DETECTOR.pedestal)) + 100.0
    stretch = (1.0 + 2 * 2.0e-7 * m + 3 * 6.0e-12 * m**2) ** 2  # of read noise by the linearity correction
    # + 1/6: rounding to whole DN of both reads; sampling error of the mean square over 2e6 differences is 1e-3
    assert variance == pytest.approx(electrons + (read + 1 / 6) * stretch, rel=5e-3)


def test_reference_columns_see_no_light_and_no_dark() -> None:
    data = ramps(100.0)[0]
    drift = data[-2, :, :4] - data[8, :, :4]
    assert drift.mean() == pytest.approx(0.0, abs=1.0)  # 896 pixels of 6 DN, and the rest of the reset anomaly


def test_reset_anomaly_of_the_first_integration_is_smaller() -> None:
    data = ramps(0.0, nints=3)
    jump = (data[:, 0] - data[:, -2])[:, GOOD].mean(axis=1)
    amplitude = DETECTOR.reset_amplitude[GOOD].mean()
    profile = [DETECTOR.reset_profile(20, i) for i in range(3)]
    expected = [amplitude * (p[0] - p[-2]) for p in profile]
    assert jump == pytest.approx(expected, abs=2.0)  # dark signal over 4 s and the decay of an almost empty well
    assert jump[0] < 0.7 * jump[1]


def test_bright_integrations_leave_the_next_ones_low_at_first() -> None:
    bright = ramps(1500.0, nints=2)
    first = bright[:, 0][:, GOOD].mean(axis=1)
    level = 1500.0 * 20 * FRAME
    drop = DETECTOR.rscd_amplitude * level * np.exp(-1 / DETECTOR.rscd_tau)
    amplitude = DETECTOR.reset_amplitude[GOOD].mean() * (DETECTOR.reset_scale[1] - DETECTOR.reset_scale[0])
    # decay of the rest of the anomaly between the two first groups
    assert first[1] - first[0] == pytest.approx(amplitude - drop, rel=0.05)


def test_last_frame_is_pulled_down_differently_by_row() -> None:
    data = linearized(ramps(500.0), DETECTOR)[0]
    step = data[-1] - data[-2]
    usual = data[-2] - data[-3]
    pulled = np.where(GOOD, usual - step, np.nan)
    even, odd = np.nanmedian(pulled[::2]), np.nanmedian(pulled[1::2])
    level = 500.0 * 20 * FRAME
    # photon noise of a median of half the pixels
    assert even == pytest.approx(DETECTOR.last_frame[0] * level, rel=0.1)
    assert odd == pytest.approx(DETECTOR.last_frame[1] * level, rel=0.1)


def test_bright_pixels_saturate_at_the_full_well() -> None:
    data = ramps(30_000.0)[0]
    assert data.max() <= DETECTOR.full_well + 0.5
    assert np.median(data[-2]) > DETECTOR.saturation.max()


def test_linearity_is_inverted_to_a_fiftieth_of_a_count() -> None:
    c2, c3 = (float(c.mean()) for c in DETECTOR.linearity[2:])
    for m in np.linspace(0.0, 65000.0, 27):
        linear = m + c2 * m**2 + c3 * m**3
        # the documented accuracy, in DN
        assert measured_from_linear(linear, c2, c3) == pytest.approx(m, abs=0.02)


def test_same_bytes_for_any_number_of_threads() -> None:
    one = ramps(12.0, nints=2, ngroups=6, rays=50.0, threads=1)
    many = ramps(12.0, nints=2, ngroups=6, rays=50.0, threads=7)
    np.testing.assert_array_equal(one, many)
    assert not np.array_equal(one[0], one[1])


def test_cosmic_rays_come_at_their_rate() -> None:
    rng = np.random.default_rng(3)
    rays, shape, frame = CosmicRays(5.0), (50, 224, 288), 0.24
    hits = [draw_hits(rng, rays, shape, frame, i) for i in range(40)]
    tracks = sum(h["hit"].max() + 1 for h in hits)
    expected = 5.0 * 224 * 288 * 25e-4**2 * 50 * 0.24 * 40
    # four sigmas of the Poisson number
    assert tracks == pytest.approx(expected, abs=4 * np.sqrt(expected))
    every = np.concatenate(hits)
    assert 4 < len(every) / tracks < 15  # pixels with charge per track, neighbors included
    assert every["electrons"].min() >= 20.0
    order = np.lexsort((every["group"], every["y"], every["integration"]))
    keys = [(h["integration"], h["y"], h["group"]) for h in every]
    assert keys == [(h["integration"], h["y"], h["group"]) for h in every[order]]


def test_cosmic_rays_land_in_the_ramp_where_the_truth_says() -> None:
    quiet, hit = ramps(5.0), ramps(5.0, rays=20.0)
    exposure_hits = draw_hits(np.random.default_rng([11, 0xC05, 9, 0]), CosmicRays(20.0), (20, 224, 288), FRAME, 0)
    expected = np.zeros((20, 224, 288))
    for h in exposure_hits:
        expected[h["group"] :, h["y"], h["x"]] += h["electrons"] / DETECTOR.gain[h["y"], h["x"]]
    strong = (expected[18] > 50.0) & (expected[18] < 5000.0)
    assert strong.sum() > 30
    change = (hit - quiet)[0, 18]
    # the streams are the same, so that only the charge differs; linearity takes up to 2 % there, rounding 1 DN
    np.testing.assert_allclose(change[strong], expected[18][strong], rtol=0.02, atol=1.1)
    assert np.all(change[expected[18] == 0.0] == 0.0)


def test_brighter_fatter_moves_charge_from_bright_pixels_and_keeps_it() -> None:
    detector = dataclasses.replace(DETECTOR, brighter_fatter=0.3)
    electrons = np.full(detector.shape, 10.0)
    electrons[100, 100] = 500.0
    change = brighter_fatter_change(electrons, detector)
    assert change[100, 100] < 0 < change[100, 101]
    assert change.sum() == pytest.approx(0.0, abs=1e-12)
    assert not brighter_fatter_change(electrons, DETECTOR).any()


def test_brighter_fatter_bends_the_ramp_of_a_bright_pixel() -> None:
    slope = np.full(DETECTOR.shape, 5.0)
    slope[60:160:10, 60:260:10] = 2500.0
    bent, straight = (
        ramps(slope, ngroups=30, detector=dataclasses.replace(DETECTOR, brighter_fatter=strength))[0]
        for strength in (0.3, 0.0)
    )
    peak, neighbor = np.s_[60:160:10, 60:260:10], np.s_[60:160:10, 61:261:10]
    lost = (straight[-2][peak] - bent[-2][peak]).mean()
    won = (bent[-2][neighbor] - straight[-2][neighbor]).mean()
    # a quarter of what a peak loses goes to each neighbor; 200 pixels, each with a noise of 70 DN at the peak
    assert lost > 200.0
    assert won == pytest.approx(lost / 4, rel=0.15)
