"""The adaptor to STPSF: its refusal where STPSF is missing, and what it asks of STPSF, shown on a stand-in."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lyot.errors import ConfigError, UnknownNameError
from lyot.optics.stpsf_adaptor import stpsf_instrument, stpsf_psf


class _FakeMiri:
    """Half of the light is lost behind any image mask."""

    def __init__(self) -> None:
        self.options: dict[str, float] = {}
        self.image_mask: str | None = None
        self.calls: list[dict[str, Any]] = []

    def calc_psf(self, fov_pixels: int, **kwargs: Any) -> dict[str, Any]:
        self.calls.append({**self.options, "mask": self.image_mask, "size": fov_pixels, **kwargs})
        data = np.zeros((fov_pixels, fov_pixels))
        data[fov_pixels // 2, fov_pixels // 2] = 0.3 if self.image_mask else 0.6
        return {"DET_SAMP": SimpleNamespace(data=data)}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("stpsf")
    module.MIRI = _FakeMiri  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stpsf", module)


def test_missing_stpsf_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stpsf", None)
    with pytest.raises(ConfigError, match="STPSF is not installed"):
        stpsf_instrument("F1550C")


@pytest.mark.usefixtures("fake")
def test_masks_and_normalization() -> None:
    miri = stpsf_instrument("F2300C")
    assert (miri.filter, miri.image_mask, miri.pupil_mask) == ("F2300C", "LYOT2300", "MASKLYOT")
    image = stpsf_psf("F1140C", (0.3, 0.4), size=11)
    assert image.shape == (11, 11)
    assert image.sum() == pytest.approx(0.5)


@pytest.mark.usefixtures("fake")
def test_offset_and_mask_are_handed_over() -> None:
    miri = stpsf_instrument("F1140C")
    stpsf_psf("F1140C", (-0.5, 0.0), size=11, instrument=miri)
    masked, unmasked = miri.calls
    assert masked["source_offset_r"] == pytest.approx(0.5)
    assert masked["source_offset_theta"] == pytest.approx(90.0)
    assert (masked["mask"], unmasked["mask"]) == ("FQPM1140", None)
    assert miri.image_mask == "FQPM1140"  # put back


@pytest.mark.usefixtures("fake")
def test_unknown_filter() -> None:
    with pytest.raises(UnknownNameError, match="F1065C"):
        stpsf_instrument("F1060C")
