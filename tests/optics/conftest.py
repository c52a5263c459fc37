"""Models shared by the tests of the optics: built once, small pupils where accuracy is not the point."""

from __future__ import annotations

import pytest

from lyot.optics import CoronagraphModel, OpticsParams

SMALL = OpticsParams(pupil_pixels=128, n_wavelengths=3, wavefront_rms=0.0)


@pytest.fixture(scope="session", params=["F1065C", "F1140C", "F1550C"])
def fqpm(request: pytest.FixtureRequest) -> CoronagraphModel:
    """A four-quadrant coronagraph with a perfect wavefront."""
    return CoronagraphModel.build(request.param, SMALL)


@pytest.fixture(scope="session")
def f1550c() -> CoronagraphModel:
    """F1550C with a perfect wavefront."""
    return CoronagraphModel.build("F1550C", SMALL)


@pytest.fixture(scope="session")
def f2300c() -> CoronagraphModel:
    """The Lyot spot with a perfect wavefront."""
    return CoronagraphModel.build("F2300C", SMALL)
