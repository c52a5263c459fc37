"""The ground: flags, angles, the table of coronagraphs, parameters."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyot import dq, geometry
from lyot.errors import ConfigError, LyotError, UnknownNameError
from lyot.instrument import CORONAGRAPHS, V3_IDEAL_Y_ANGLE, coronagraph
from lyot.params import describe, from_mapping, param, spec_from


def test_dq_flags_are_the_official_ones():
    from stdatamodels.jwst.datamodels.dqflags import group, pixel

    for name, value in {**pixel, **group}.items():
        assert dq.FLAGS.get(name, value) == value, name
    ours = set(dq.FLAGS) - set(pixel)
    assert not ours, f"flags unknown to the archive: {ours}"


def test_dq_names():
    assert dq.names(0) == ("GOOD",)
    assert dq.names(dq.DO_NOT_USE | dq.JUMP_DET) == ("DO_NOT_USE", "JUMP_DET")


def test_coronagraphs_agree_with_the_aperture_file():
    import pysiaf

    siaf = pysiaf.Siaf("MIRI")
    for c in CORONAGRAPHS.values():
        a = siaf[c.aperture]
        assert c.shape == (a.YSciSize, a.XSciSize)
        assert np.allclose(c.reference_point, (a.XSciRef - 1, a.YSciRef - 1), atol=1e-9)
        assert np.allclose(c.pixel_scale, (a.XSciScale, a.YSciScale), atol=1e-8)
        assert np.allclose((c.v2_ref, c.v3_ref), (a.V2Ref, a.V3Ref), atol=1e-6)
        assert c.first_row == round(a.YDetRef - a.YSciRef) + 1
        assert a.V3IdlYAngle == V3_IDEAL_Y_ANGLE
        assert a.VIdlParity == -1


def test_coronagraph_typo_names_the_nearest():
    with pytest.raises(UnknownNameError, match="F1550C"):
        coronagraph("F1555C")


finite = st.floats(-300, 300, allow_nan=False)


@given(sep=st.floats(0.01, 30), pa=st.floats(0, 359.99), pa_y=st.floats(-360, 720))
def test_detector_offset_inverts_position_angle(sep, pa, pa_y):
    dx, dy = geometry.detector_offset(sep, pa, pa_y)
    assert np.isclose(np.hypot(dx, dy), sep)
    # 1e-6 deg: trigonometric rounding at angles of up to three turns
    assert abs((geometry.position_angle(dx, dy, pa_y) - pa + 180) % 360 - 180) < 1e-6


def test_real_companion_position_angle():
    # HD 106906 b, first look at the public data: (161, 71) with the star at (106.75, 105.24) gives PA 307.3 deg
    pa_y = geometry.pa_of_detector_y(64.81087393, V3_IDEAL_Y_ANGLE)
    assert geometry.position_angle(161 - 106.75, 71 - 105.24, pa_y) == pytest.approx(307.3, abs=0.1)


@given(sep=st.floats(0.01, 30), pa=st.floats(0, 359.99))
def test_sky_offset_round_trip(sep, pa):
    s, p = geometry.separation_and_pa(*geometry.sky_offset(sep, pa))
    assert np.isclose(s, sep)
    assert abs((p - pa + 180) % 360 - 180) < 1e-6


def test_quadrants_follow_the_tilt():
    c = coronagraph("F1550C")
    quadrant, distance = geometry.quadrant_map(c.shape, c.reference_point, c.boundary_tilt)
    # the horizontal boundary of the in-flight mask goes down to the right: at x = 20 it lies near y = 121.5
    column = distance[60:170, 20]
    assert abs(60 + int(np.argmin(column)) - 121.5) <= 1
    assert set(np.unique(quadrant)) == {1, 2, 3, 4}
    assert quadrant[150, 200] == 1 and quadrant[150, 60] == 2 and quadrant[60, 60] == 3 and quadrant[60, 200] == 4


@dataclass(frozen=True)
class _Example:
    threshold: float = param(4.0, help="Rejection threshold", unit="sigma", min=0.0)
    method: str = param("OLS", help="Algorithm", choices=("OLS", "LIKELY"))
    modes: tuple[int, ...] = param((1, 5), help="KL modes", min=1)
    limit: float | None = param(None, help="Limit")
    on: bool = param(True, help="Switch")


def test_params_build_a_valid_stpipe_spec():
    from astropy.extern.configobj.configobj import ConfigObj
    from astropy.extern.configobj.validate import Validator

    spec = ConfigObj(spec_from(_Example).splitlines(), interpolation=False, list_values=False, _inspec=True)
    config = ConfigObj(configspec=spec)
    assert config.validate(Validator()) is True
    assert config == {"threshold": 4.0, "method": "OLS", "modes": [1, 5], "limit": None, "on": True}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshhold": 3}, "threshold"),
        ({"threshold": -1.0}, "must be at least 0 sigma, got -1.0"),
        ({"threshold": "4"}, "a number"),
        ({"threshold": True}, "a number"),
        ({"method": "ols"}, "OLS, LIKELY"),
        ({"modes": 3}, "a list"),
        ({"modes": [0]}, "must be at least 1, got 0"),
        ({"on": 1}, "true or false"),
        ({"on": None}, "a value is required"),
    ],
)
def test_params_refuse_bad_values(values, message):
    with pytest.raises(ConfigError, match=message) as info:
        from_mapping(_Example, values, where="lyot.toml: ")
    assert isinstance(info.value, LyotError)
    assert "lyot.toml" in str(info.value)


def test_params_coerce():
    p = from_mapping(_Example, {"threshold": 5, "modes": [2, 3], "limit": 1})
    assert p == _Example(threshold=5.0, modes=(2, 3), limit=1.0)
    assert [i.name for i in describe(_Example)] == ["threshold", "method", "modes", "limit", "on"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "3", True, 2.5])
def test_no_whole_number(value):
    with pytest.raises(ConfigError, match="expected a whole number"):
        from_mapping(Numbers, {"count": value})


def test_numbers_of_numpy_are_numbers():
    made = from_mapping(Numbers, {"count": np.int64(3), "size": np.float32(1.5)})
    assert made == Numbers(3, 1.5) and type(made.count) is int and type(made.size) is float
    assert from_mapping(Numbers, {"size": float("inf")}).size == float("inf")  # a limit that never acts
    with pytest.raises(ConfigError, match="expected a number"):
        from_mapping(Numbers, {"size": float("nan")})


@dataclass(frozen=True)
class Numbers:
    count: int = param(1, help="how many")
    size: float = param(1.0, help="how large")


def test_angular_distance():
    assert geometry.angular_distance((359.9999, 10.0), (0.0001, 10.0)) == pytest.approx(
        0.0002 * np.cos(np.radians(10.0)), rel=1e-6
    )
    assert geometry.angular_distance((10.0, 90.0), (200.0, 90.0)) == pytest.approx(0.0, abs=1e-9)
    assert geometry.angular_distance((0.0, -30.0), (180.0, -30.0)) == pytest.approx(120.0)
