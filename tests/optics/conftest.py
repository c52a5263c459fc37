"""Models shared by the tests of the optics: built once, small pupils where accuracy is not the point."""

from __future__ import annotations

from functools import cache

import pytest

from lyot.optics import CoronagraphModel, OpticsParams

SMALL = OpticsParams(pupil_pixels=128, n_wavelengths=3, wavefront_rms=0.0)


@cache
def _model(name: str) -> CoronagraphModel:
    return CoronagraphModel.build(name, SMALL)


@pytest.fixture(scope="session", params=["F1065C", "F1140C", "F1550C"])
def fqpm(request: pytest.FixtureRequest) -> CoronagraphModel:
    """A four-quadrant coronagraph with a perfect wavefront."""
    return _model(request.param)


@pytest.fixture(scope="session")
def f1550c() -> CoronagraphModel:
    """F1550C with a perfect wavefront."""
    return _model("F1550C")


@pytest.fixture(scope="session")
def f2300c() -> CoronagraphModel:
    """The Lyot spot with a perfect wavefront."""
    return _model("F2300C")
