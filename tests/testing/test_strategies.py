"""The strategies of `lyot.testing` give what they describe: shapes, ranges and parts of bad samples."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot import dq, testing
from lyot.exposures.exposure import STAGES
from lyot.optics import Wavefront

QUICK = settings(max_examples=25, deadline=None)


def test_all_are_tested():
    assert {name.removeprefix("test_") for name in globals() if name.startswith("test_")} >= set(testing.__all__)


@QUICK
@given(testing.cubes(frames=(2, 3), side=(8, 12)), testing.cubes(bad=0.2))
def test_cubes(cube, holes):
    assert 2 <= len(cube) <= 3 and all(8 <= n <= 12 for n in cube.shape[1:]) and np.isfinite(cube).all()
    # of at least 64 pixels a fifth: five standard deviations of the binomial distribution
    assert abs(np.isnan(holes).mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / holes.size)


@QUICK
@given(testing.dq_masks((50, 60), share=0.1), testing.dq_masks((4, 4), flags=(dq.DO_NOT_USE, dq.NON_SCIENCE)))
def test_dq_masks(mask, wide):
    assert mask.dtype == np.uint8 and wide.dtype == np.uint32
    assert np.bitwise_or.reduce(mask, axis=None) == dq.DO_NOT_USE | dq.SATURATED | dq.JUMP_DET
    # of 3000 samples: five standard deviations of the binomial distribution
    assert abs((mask & dq.SATURATED > 0).mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 3000)


@QUICK
@given(testing.ramps(groups=(4, 6), read_noise=0.0))
def test_ramps(drawn):
    counts, slopes = drawn
    assert counts.dtype == slopes.dtype == np.float32 and 4 <= counts.shape[1] <= 6
    assert counts.shape[::2] == (slopes.shape[0], slopes.shape[1]) and counts.shape[3] == slopes.shape[2]
    assert (slopes >= 0).all() and (slopes <= 500).all()
    # differences of float32 numbers of up to 1.3e4, whose rounding is 1e-3 / 2
    np.testing.assert_allclose(np.diff(counts, axis=1), np.broadcast_to(slopes[:, None], np.diff(counts, axis=1).shape),
                               atol=2e-3)  # fmt: skip


@QUICK
@given(testing.sequences(side=21, n_references=(3, 4)))
def test_sequences(sequence):
    assert sequence.science.shape == (2, 21, 21) and sequence.references.shape[0] in (3, 4)
    assert 5 <= np.ptp(sequence.pa_y) <= 20
    y, x = np.unravel_index(np.argmax(sequence.science.mean(axis=0)), (21, 21))
    # the halo falls by e in 5 pixels, and its texture is a quarter of it at most: 5 ln(1.25 / 0.75) = 2.6 pixels
    assert np.hypot(x - 10, y - 10) < 3


@QUICK
@given(st.lists(testing.exposures(), min_size=1, max_size=3))
def test_exposures(found):
    for exposure in found:
        assert exposure.stage in STAGES and exposure.is_coronagraphic
        assert exposure.path.name == f"{exposure.root}_{exposure.stage}.fits"
        assert exposure.root.startswith(f"jw{exposure.program}{exposure.observation}")
        assert dataclasses.replace(exposure) == exposure


@QUICK
@given(testing.source_offsets(), testing.source_offsets(radius=(1.0, 2.0), from_boundary=30.0))
def test_source_offsets(anywhere, inside):
    assert np.hypot(*anywhere) <= 8 * (1 + 1e-12)
    assert np.hypot(*inside) * (1 + 1e-12) >= 1 and np.hypot(*inside) <= 2 * (1 + 1e-12)
    # sine of 30 deg: that far from both boundaries
    assert min(np.abs(inside)) >= 0.5 * np.hypot(*inside) * (1 - 1e-12)


@QUICK
@given(testing.wavefronts(rms=(10.0, 20.0), npix=32))
def test_wavefronts(wavefront):
    assert isinstance(wavefront, Wavefront) and wavefront.npix == 32
    assert 10 * (1 - 1e-9) <= wavefront.rms_nm <= 20 * (1 + 1e-9)
