"""The pupil, the Lyot stops and the wavefront maps."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import ConfigError, InputError
from lyot.optics import Wavefront, drifted, realistic_wavefront
from lyot.optics.pupil import CIRCUMSCRIBED_DIAMETER, jwst_pupil, lyot_stop


def test_pupil_has_the_size_and_area_of_jwst() -> None:
    pupil = jwst_pupil(256)
    y, x = np.meshgrid(pupil.coordinates, pupil.coordinates, indexing="ij")
    reach = np.hypot(x, y)[pupil.amplitude > 0.5].max()
    assert reach == pytest.approx(CIRCUMSCRIBED_DIAMETER / 2, abs=0.04)  # a sample is 0.026 m, its diagonal 0.037
    # published unobscured area 25.4 m^2; rounded inner segment corners and strut shapes are not drawn
    assert pupil.area == pytest.approx(25.4, rel=0.03)


def test_pupil_has_eighteen_equal_segments() -> None:
    pupil = jwst_pupil(256)
    areas = np.bincount(pupil.segment.ravel(), weights=pupil.amplitude.ravel(), minlength=19)[1:]
    assert len(pupil.segment_centers) == 18
    # struts and secondary cover at most a fifth of a segment
    assert areas.min() > 0.75 * areas.max()


def test_pupil_is_symmetric_left_right_and_not_up_down() -> None:
    a = jwst_pupil(256).amplitude
    np.testing.assert_allclose(a, a[:, ::-1], atol=0.3)  # a fine sample on an edge may fall on either side
    assert np.abs(a - a[:, ::-1]).mean() < 0.002
    assert np.abs(a - a[::-1]).mean() > 0.01  # one strut up, two down
    middle = a.shape[1] // 2
    top, bottom = a[-60:-30, middle - 1 : middle + 1].mean(), a[30:60, middle - 1 : middle + 1].mean()
    assert top < 0.2 < bottom


@pytest.mark.parametrize("fraction", [0.62, 0.72])
def test_lyot_stop_has_the_asked_transmission_inside_the_pupil(fraction: float) -> None:
    pupil = jwst_pupil(256)
    stop = lyot_stop(256, transmission=fraction)
    assert stop.sum() * pupil.step**2 == pytest.approx(fraction * pupil.area, rel=0.01)  # distances come in steps
    grown = jwst_pupil(256).amplitude > 0
    assert stop[~grown].sum() == 0.0


def test_lyot_stop_shear_moves_its_centroid() -> None:
    plain, moved = lyot_stop(256, transmission=0.62), lyot_stop(256, transmission=0.62, shear=(0.02, -0.01))
    xi = jwst_pupil(256).coordinates
    x = [(s * xi[None, :]).sum() / s.sum() for s in (plain, moved)]
    y = [(s * xi[:, None]).sum() / s.sum() for s in (plain, moved)]
    # interpolation over 0.0066 m fine samples keeps the centroid far better than 1e-3 of the diameter
    assert (x[1] - x[0]) / CIRCUMSCRIBED_DIAMETER == pytest.approx(0.02, abs=1e-4)
    assert (y[1] - y[0]) / CIRCUMSCRIBED_DIAMETER == pytest.approx(-0.01, abs=1e-4)


def test_lyot_stop_refuses_a_senseless_transmission() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        lyot_stop(128, transmission=1.5)


def test_wavefront_rms_is_as_asked_and_has_no_tilt() -> None:
    wavefront = realistic_wavefront(3, 130.0, npix=128)
    assert wavefront.rms_nm == pytest.approx(130.0, rel=1e-9)  # scaled to it
    pupil = jwst_pupil(128)
    w = pupil.amplitude * wavefront.opd
    for moment in (w.sum(), (w * pupil.coordinates[None, :]).sum(), (w * pupil.coordinates[:, None]).sum()):
        assert abs(moment) < 1e-9 * np.abs(w).sum()


def test_wavefront_is_fixed_by_its_seed() -> None:
    a, b, c = (realistic_wavefront(s, 100.0, npix=128) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.opd, b.opd)
    assert not np.allclose(a.opd, c.opd)


def test_drift_has_the_asked_size_and_leaves_the_original_alone() -> None:
    before = realistic_wavefront(1, 120.0, npix=128)
    copy = before.opd.copy()
    after = drifted(before, 4.0, 9)
    assert Wavefront(after.opd - before.opd).rms_nm == pytest.approx(4.0, rel=1e-6)
    np.testing.assert_array_equal(before.opd, copy)
    np.testing.assert_array_equal(after.opd, drifted(before, 4.0, 9).opd)


def test_wavefront_refuses_bad_maps() -> None:
    with pytest.raises(InputError, match="square"):
        Wavefront(np.zeros((4, 5)))
    with pytest.raises(InputError, match="NaN"):
        Wavefront(np.full((4, 4), np.nan))
    with pytest.raises(ConfigError, match="negative"):
        realistic_wavefront(1, -1.0, npix=128)
