"""Reading exposures as users have them: crops, missing keywords, proper motion, throughput."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.errors import InputError
from lyot.instrument import coronagraph
from lyot.steps import sequence_io, stage3_throughput
from lyot.steps.sequence_io import (
    build_sequence,
    frames_of,
    geometry_of,
    open_exposure,
    own_array,
    sky_position,
)
from lyot.steps.stage3_throughput import throughput_of
from tests.steps.stage23_synthetic import DEC, RA, STAR, exposure


def model(shape=(2, 20, 24), **keywords):
    rng = np.random.default_rng(1)
    return exposure(rng.normal(1.0, 0.1, shape), name="jw01001001001_calints.fits", **keywords)


def test_variances_of_the_uncropped_frame_are_left_out(caplog, monkeypatch):
    monkeypatch.setattr(sequence_io, "_told", set())
    m = model()
    for name in ("var_poisson", "var_rnoise", "var_flat"):
        m.instance[name] = np.ones((3, 224, 288), np.float32)
    with caplog.at_level("WARNING"):
        frames = frames_of(m)
    assert len(caplog.records) == 1  # one line for the three
    assert "VAR_POISSON and other arrays have shape (3, 224, 288)" in caplog.text
    np.testing.assert_allclose(frames.variance, 0.09, rtol=1e-5)
    assert own_array(m, "var_poisson") is None
    caplog.clear()
    monkeypatch.setattr(sequence_io, "_told", set())
    with sequence_io.known_input(), caplog.at_level("WARNING"):  # when a finished run is measured
        frames_of(m)
    assert not caplog.records


def test_bad_pixels_become_nan_in_copies():
    m = model()
    m.dq[0, 3, 4] = 1
    m.dq[0, 5, 6] = 4  # a jump is no reason to lose a slope
    m.data[1, 7, 8] = np.inf
    kept = m.data.copy()
    frames = frames_of(m)
    assert np.isnan(frames.data[0, 3, 4]) and np.isnan(frames.variance[0, 3, 4]) and np.isnan(frames.data[1, 7, 8])
    assert np.isfinite(frames.data[0, 5, 6])
    np.testing.assert_array_equal(m.data, kept)


def test_geometry_comes_from_the_header():
    found = geometry_of(model(roll=83.27))
    assert found.star == pytest.approx(STAR)
    assert found.pa_y == pytest.approx(83.27 + 4.83544897)
    assert found.pixel_scale == coronagraph("F1550C").pixel_scale
    assert found.sky == pytest.approx((RA, DEC))


@pytest.mark.parametrize(
    ("attribute", "keyword"), [("crpix1", "CRPIX1"), ("roll_ref", "ROLL_REF"), ("v3yangle", "V3I_YANG")]
)
def test_missing_keyword_is_named(attribute, keyword):
    m = model()
    setattr(m.meta.wcsinfo, attribute, None)
    with pytest.raises(InputError, match=f"jw01001001001_calints.fits: the keyword {keyword}"):
        geometry_of(m)


def test_proper_motion_is_applied_where_the_header_forgot_it():
    m = model()
    target = m.meta.target
    target.ra = target.proposer_ra = RA
    target.dec = target.proposer_dec = DEC
    target.proper_motion_ra, target.proper_motion_dec, target.proper_motion_epoch = 0.3, -0.4, "2000-01-01"
    m.meta.exposure.start_time = 51544.5 + 20 * 365.25
    m.meta.wcsinfo.ra_ref = RA + 6.0 / 3600 / np.cos(np.radians(DEC))
    m.meta.wcsinfo.dec_ref = DEC - 8.0 / 3600
    ra, dec = sky_position(m)
    # 20 years of (0.3, -0.4) arcsec: (6, -8); a milliarcsec is what cos(dec) at either end differs by
    assert (ra - RA) * 3600 * np.cos(np.radians(DEC)) == pytest.approx(6.0, abs=1e-3)
    assert (dec - DEC) * 3600 == pytest.approx(-8.0, abs=1e-6)
    target.proper_motion_ra = None
    assert sky_position(m) == pytest.approx((m.meta.wcsinfo.ra_ref, m.meta.wcsinfo.dec_ref))


@pytest.mark.parametrize("value", [np.inf, np.nan, -999999.0])
def test_coordinates_that_are_no_position_are_not_used(value):
    """An infinite one let an error of the math library through, and NaN became the star's position."""
    m = model()
    target, wcs = m.meta.target, m.meta.wcsinfo
    target.ra, target.dec = RA, value
    assert sky_position(m) == pytest.approx((wcs.ra_ref, wcs.dec_ref))
    target.ra, target.dec = RA + 1e-4, DEC
    wcs.dec_ref = value
    assert sky_position(m) == (RA + 1e-4, DEC)
    target.dec = value
    with pytest.raises(InputError, match="no sky position; expected RA_REF and DEC_REF, or TARG_RA and TARG_DEC"):
        sky_position(m)


@pytest.mark.parametrize("value", [np.inf, np.nan, 0.0])
def test_a_scale_that_is_none_is_not_used(value):
    m = model()
    wcs = m.meta.wcsinfo
    wcs.cd1_1, wcs.cd1_2, wcs.cd2_1, wcs.cd2_2 = value, 0.0, 0.0, 3e-5
    assert geometry_of(m).pixel_scale == coronagraph("F1550C").pixel_scale
    m.meta.instrument.filter = "F444W"  # of another instrument: there is no table
    wcs.cdelt1, wcs.cdelt2 = 1.75e-5, value
    m.meta.photometry.pixelarea_arcsecsq = 0.063**2
    assert geometry_of(m).pixel_scale == pytest.approx((0.063, 0.063))
    m.meta.photometry.pixelarea_arcsecsq = value
    with pytest.raises(InputError, match="no pixel scale"):
        geometry_of(m)


def test_sequence_holds_what_the_files_say():
    inputs = build_sequence([model(roll=108.0), model(roll=118.0)], [model(), model((3, 20, 24))])
    s = inputs.sequence
    assert s.science.shape == (4, 20, 24) and s.references.shape == (5, 20, 24)
    np.testing.assert_array_equal(s.exposure, [0, 0, 1, 1])
    np.testing.assert_array_equal(s.reference_exposure, [0, 0, 1, 1, 1])
    np.testing.assert_allclose(s.pa_y, [112.83544897, 122.83544897])
    assert s.boundary_tilt == coronagraph("F1550C").boundary_tilt
    np.testing.assert_allclose(s.science_variance, 0.09, rtol=1e-5)  # float32 of the file, squared


def test_exposure_without_errors_still_reduces():
    m = model()
    m.err = np.zeros_like(m.data)
    assert build_sequence([m], [model()]).sequence.science_variance is None


def test_what_is_no_exposure(tmp_path):
    path = tmp_path / "text.fits"
    path.write_text("this is no FITS file")
    with pytest.raises(InputError, match=r"text\.fits: not a readable"):
        open_exposure(str(path))
    with pytest.raises(InputError, match=r"missing\.fits"):
        open_exposure(str(tmp_path / "missing.fits"))


def test_throughput_follows_the_crop_and_is_kept(monkeypatch, tmp_path):
    known = coronagraph("F1550C")
    calls = []

    class Fake:
        @classmethod
        def build(cls, name):
            calls.append(name)
            return cls()

        def throughput_map(self, *, field_stop=True):
            y, x = np.indices(known.shape, dtype=float)
            return 1000 * y + x

    monkeypatch.setattr("lyot.optics.CoronagraphModel", Fake)
    stage3_throughput.throughput_map.cache_clear()
    x, y = known.reference_point
    m = model((1, 210, 215), star=(x - 13, y - 7))
    found = throughput_of(m)
    assert found[0, 0] == 7013 and found[-1, -1] == 216227
    np.testing.assert_array_equal(throughput_of(m), found)
    assert calls == ["F1550C"]  # made once for a process
    stage3_throughput.throughput_map.cache_clear()
    m.meta.instrument.name = "NIRCAM"
    assert throughput_of(m) is None


def test_a_star_near_zero_hours_of_right_ascension():
    m = model()
    m.meta.target.ra, m.meta.target.dec = 359.9999, 5.0
    m.meta.wcsinfo.ra_ref, m.meta.wcsinfo.dec_ref = 0.0001, 5.0  # 0.7 arcsec away, beyond 0 h
    assert sky_position(m) == (359.9999, 5.0)
