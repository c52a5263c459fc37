"""Frames of different crops, cut to the pixels that they have in common."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.subtract.sequence import common_windows, mean_by_group


def test_windows_of_different_crops_show_the_same_pixels():
    y, x = np.indices((60, 70))
    sky = 1000.0 * y + x
    crops = [(0, 0, 60, 70), (4, 9, 55, 70), (0, 3, 60, 61)]
    stars = [(35.2 - x0, 30.4 - y0) for y0, x0, _, _ in crops]
    frames = [sky[y0:y1, x0:x1] for y0, x0, y1, x1 in crops]
    cut = [f[w] for f, w in zip(frames, common_windows([f.shape for f in frames], stars), strict=True)]
    assert cut[0].shape == (51, 52)
    for other in cut[1:]:
        np.testing.assert_array_equal(cut[0], other)


def test_frames_without_common_pixels():
    with pytest.raises(InputError, match="no common pixels"):
        common_windows([(20, 20), (20, 20)], [(0.0, 10.0), (19.0, 10.0)])


@pytest.mark.parametrize("kind", ["f4", ">f4", "f8", ">f8", "f2", "i4"])
@pytest.mark.parametrize("variance", [False, True])
def test_means_are_those_of_the_good_frames_in_their_order(kind, variance):
    rng = np.random.default_rng(1)
    data = rng.normal(scale=100, size=(9, 12, 13)).astype(kind)
    if data.dtype.kind == "f":
        data[rng.random(data.shape) < 0.2] = np.nan
        data[:, 0, 0], data[1, 2, 3] = np.nan, np.inf
    group = np.arange(9) % 2
    for view in (data, data[:, 2:, ::2]):
        for g, found in enumerate(mean_by_group(view, group, 2, variance=variance)):
            total, count = np.zeros(view.shape[1:]), np.zeros(view.shape[1:])
            for frame in view[group == g].astype(float):
                good = np.isfinite(frame)
                total[good] += frame[good]
                count += good
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(found, total / (count**2 if variance else count))
