"""The reference files hold what the official corrections need to undo the simulated detector."""

from __future__ import annotations

import asdf
import numpy as np
import pytest
from astropy.io import fits

from lyot import dq
from lyot.geometry import pa_of_detector_y
from lyot.instrument import CORONAGRAPHS, V3_IDEAL_Y_ANGLE, coronagraph
from lyot.simulator import references
from tests.simulator.crds_support import tiny_detector


@pytest.fixture(scope="module")
def detector():
    return tiny_detector()


def written(reference, folder):
    path = folder / f"{reference.kind}.{reference.extension}"
    reference.write(path)
    return path


@pytest.mark.parametrize(
    "make", [references.mask, references.gain, references.read_noise, references.saturation, references.flat]
)
def test_maps_say_where_on_the_detector_they_are(make, detector, tmp_path):
    c = detector.coronagraph
    with fits.open(written(make(detector), tmp_path)) as hdus:
        header = hdus[0].header
        where = (header["SUBSTRT1"], header["SUBSTRT2"], header["SUBSIZE1"], header["SUBSIZE2"])
        assert where == (c.first_column, c.first_row, c.shape[1], c.shape[0])
        assert header["SUBARRAY"] == "MASK1550"
        assert header["FILTER"] == "F1550C"
        assert header["USEAFTER"] < "2022-06"
        assert hdus[1].data.shape == c.shape


def test_maps_hold_the_detector(detector, tmp_path):
    def data(reference, name):
        return fits.getdata(written(reference, tmp_path), name)

    np.testing.assert_array_equal(data(references.mask(detector), "DQ"), detector.mask_dq)
    np.testing.assert_array_equal(data(references.gain(detector), "SCI"), detector.gain)
    np.testing.assert_array_equal(data(references.read_noise(detector), "SCI"), detector.read_noise)
    np.testing.assert_array_equal(data(references.saturation(detector), "SCI"), detector.saturation)
    np.testing.assert_array_equal(data(references.linearity(detector), "COEFFS"), detector.linearity.astype(np.float32))


def test_linearity_has_two_dimensional_flags(detector, tmp_path):
    # the official step crashes on the default flags, which take the coefficients' three dimensions
    with fits.open(written(references.linearity(detector), tmp_path)) as hdus:
        assert hdus["DQ"].data.shape == detector.shape
        assert hdus["DQ"].data.dtype.kind == "u"


def test_flat_flags_pixels_without_response(tmp_path):
    detector = tiny_detector(seed=5, shape=(60, 60))
    dead = detector.flat == 0
    assert dead.any()
    with fits.open(written(references.flat(detector), tmp_path)) as hdus:
        flags = hdus["DQ"].data
    wanted = np.where(dead, np.uint32(dq.NO_FLAT_FIELD | dq.DO_NOT_USE), np.uint32(0))
    np.testing.assert_array_equal(flags, wanted)


def test_dark_grows_by_the_dark_rate(detector, tmp_path):
    with fits.open(written(references.dark(detector, ngroups=7), tmp_path)) as hdus:
        ramp = hdus["SCI"].data
        assert (hdus[0].header["NGROUPS"], hdus[0].header["NINTS"]) == ramp.shape[1::-1] == (7, 1)
        assert hdus["DQ"].data.shape == (1, 1, *detector.shape)
    step = detector.coronagraph.frame_time * detector.dark_rate
    # float32 of up to 3000 DN: 2e-4 DN per rounding
    np.testing.assert_allclose(np.diff(ramp[0], axis=0), np.broadcast_to(step, (6, *detector.shape)), atol=1e-3)
    np.testing.assert_allclose(ramp[0, 0], step, rtol=1e-6)


def test_reset_has_each_integration_and_no_more_groups_than_needed(detector, tmp_path):
    for ngroups, expected in ((5, 5), (1000, detector.reset_groups)):
        with fits.open(written(references.reset(detector, ngroups=ngroups), tmp_path)) as hdus:
            assert hdus["SCI"].data.shape == (len(detector.reset_scale), expected, *detector.shape)
            assert hdus[0].header["NGROUPS"] == expected
            assert hdus[0].header["NINTS"] == len(detector.reset_scale)
            np.testing.assert_allclose(hdus["SCI"].data[1], detector.reset_anomaly(expected, 1), rtol=1e-6)
        (tmp_path / "reset.fits").unlink()


def test_rscd_and_photom_rows(detector, tmp_path):
    row = fits.getdata(written(references.rscd([detector]), tmp_path), "RSCD_GROUP_SKIP")[0]
    assert tuple(row) == ("MASK1550", "FASTR1", *detector.rscd_skip)
    path = written(references.photom(detector), tmp_path)
    row = fits.getdata(path, "PHOTOM")[0]
    assert (row["filter"], row["subarray"]) == ("F1550C", "MASK1550")
    assert row["photmjsr"] == pytest.approx(detector.photmjsr, rel=1e-6)  # float32
    assert fits.getheader(path)["PIXAR_SR"] == pytest.approx(detector.coronagraph.pixel_area)


def test_area_covers_the_detector_up_to_the_end_of_the_subarray(detector, tmp_path):
    c = detector.coronagraph
    data = fits.getdata(written(references.area(detector), tmp_path), "SCI")
    cut = data[c.first_row - 1 : c.first_row - 1 + c.shape[0], c.first_column - 1 : c.first_column - 1 + c.shape[1]]
    assert cut.shape == c.shape
    assert np.all(cut == 1)


@pytest.mark.parametrize("name", sorted(CORONAGRAPHS))
def test_distortion_agrees_with_the_headers(name, tmp_path):
    c = coronagraph(name)
    with asdf.open(written(references.distortion(c), tmp_path)) as file:
        model = file["model"]
        x, y = c.reference_point[0], c.reference_point[1] + c.first_row - 1  # full-frame pixels, from 0
        v2, v3 = model(x, y)
        assert (v2, v3) == pytest.approx((c.v2_ref, c.v3_ref), abs=1e-9)
        assert model.inverse(v2, v3) == pytest.approx((x, y), abs=1e-9)
        up = np.subtract(model(x, y + 1), (v2, v3))
        right = np.subtract(model(x + 1, y), (v2, v3))
    # position angle of detector y from V3 toward V2 (east where V3 is north), and the scales
    assert np.degrees(np.arctan2(up[0], up[1])) == pytest.approx(V3_IDEAL_Y_ANGLE, abs=1e-6)
    assert pa_of_detector_y(0.0, V3_IDEAL_Y_ANGLE) == pytest.approx(V3_IDEAL_Y_ANGLE)
    assert (np.hypot(*right), np.hypot(*up)) == pytest.approx(c.pixel_scale, rel=1e-9)
    assert right @ up == pytest.approx(0, abs=1e-12)
    assert right[0] < 0  # x grows away from V2


@pytest.mark.parametrize("name", sorted(CORONAGRAPHS))
def test_subtraction_mask_leaves_out_boundaries_and_stop(name):
    c = coronagraph(name)
    mask = references.subtraction_mask(c)
    x, y = (round(v) for v in c.reference_point)
    assert mask.shape == c.shape
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert mask[y, x] == 0
    assert mask[:, :5].max() == 0  # outside the field stop
    # the official masks use 69 to 73 % of the subarray; ours must be of that kind, not of that value
    assert 0.6 < mask.mean() < 0.8


def test_same_detector_same_bytes(detector, tmp_path):
    for reference in references.references_of({"F1550C": detector}, ngroups=4):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "b").mkdir(exist_ok=True)
        one, two = written(reference, tmp_path / "a"), written(reference, tmp_path / "b")
        assert one.read_bytes() == two.read_bytes(), reference.kind
        one.unlink()
        two.unlink()


def test_detector_is_not_changed(detector, tmp_path):
    before = {n: np.array(getattr(detector, n)) for n in ("flat", "mask_dq", "linearity", "dark_rate", "gain")}
    for i, reference in enumerate(references.references_of({"F1550C": detector}, ngroups=4)):
        reference.write(tmp_path / f"{i}.{reference.extension}")
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(detector, name), value)
