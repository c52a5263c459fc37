"""The adaptor to STPSF: its refusal where STPSF is missing, and what it asks of STPSF, shown on a stand-in."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lyot.errors import ConfigError, UnknownNameError
from lyot.instrument import nircam_coronagraph
from lyot.optics.stpsf_adaptor import StpsfImager, stpsf_instrument, stpsf_psf, why_no_images

from .stpsf_standin import DISPERSION, StandIn, install, transmission, write_data


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
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, write_data(tmp_path), MIRI=_FakeMiri)


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


# NIRCam: images of off-axis sources for measurements

SCALE = (0.0629, 0.0629)


@pytest.fixture
def imager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StpsfImager:
    install(monkeypatch, write_data(tmp_path))
    known = nircam_coronagraph("F444W", "MASKA335R", SCALE)
    assert known is not None
    return StpsfImager(known, size=41)


def _center(image: np.ndarray) -> tuple[float, float]:
    y, x = np.indices(image.shape)
    return float((x * image).sum() / image.sum()), float((y * image).sum() / image.sum())


def test_what_stpsf_is_asked_for(imager: StpsfImager) -> None:
    made = imager._instrument
    assert (made.filter, made.image_mask, made.pupil_mask, made.pixelscale) == ("F444W", "MASK335R", "MASKRND", 0.0629)
    assert [call["mask"] for call in made.calls] == [None]  # the mask is looked at when it is needed
    imager((0.1, 0.0))
    assert [call["mask"] for call in made.calls[1:]] == ["MASK335R"] * 2  # center, and the first radius along x
    imager((0.1, 0.0), (0.2, 0.3))
    assert len(made.calls) == 3  # made once
    assert all(call["add_distortion"] is False for call in made.calls)
    for module, mask, detector in (("B", "MASKB335R", "NRCB5"), ("B", "MASKB210R", "NRCB1")):
        known = nircam_coronagraph("F210M", mask, SCALE)
        assert known is not None
        assert StpsfImager(known, size=11, module=module)._instrument.detector == detector


@pytest.mark.parametrize("offset", [(0.63, 0.0), (-0.31, 0.52), (0.9, -0.9), (0.0, 0.2), (3.0, 2.0)])
def test_light_and_place_behind_a_round_mask(imager: StpsfImager, offset: tuple[float, float]) -> None:
    phase = (0.3, -0.2)
    image = imager(offset, phase)
    assert image.shape == (41, 41)
    # guided by the profile of the mask, to which the stand-in keeps; the guide is blurred, the stand-in is not
    assert image.sum() == pytest.approx(transmission("MASK335R", np.hypot(*offset)), abs=0.004)
    # what STPSF moves all images by is taken out; the mask cuts the near side of the images that are interpolated
    assert np.allclose(_center(image), (20 + phase[0], 20 + phase[1]), atol=0.13)


def test_far_from_the_mask_the_image_is_that_without_it(imager: StpsfImager) -> None:
    image = imager((4.0, 0.0))
    assert image.sum() == pytest.approx(1.0, abs=1e-6)  # a Gaussian of 1.2 pixels in 41
    assert np.allclose(_center(image), (20.0, 20.0), atol=0.005)  # measured on the samples in a circle
    sigma = 0.075 / 0.0629
    y, x = np.indices(image.shape) - 20.0
    expected = np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2)
    # a pixel integrates over its area, which widens the image by 1/12 pixel^2: 6 % of the peak
    assert np.abs(image - expected).max() < 0.07 * expected.max()


def test_which_masks_have_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "stpsf", None)
    assert why_no_images("MIRI", "F1550C", "4QPM_1550") == ""
    assert 'pip install "lyot[stpsf]", with its data' in why_no_images("NIRCAM", "F444W", "MASKA335R")
    install(monkeypatch, tmp_path / "nowhere")
    assert f"not in {tmp_path / 'nowhere'} (no version.txt); set STPSF_PATH" in why_no_images(
        "NIRCAM", "F444W", "MASKA335R"
    )
    install(monkeypatch, write_data(tmp_path / "stpsf"))
    assert why_no_images("NIRCAM", "F444W", "MASKA335R") == ""
    monkeypatch.setenv("STPSF_PATH", str(tmp_path / "elsewhere"))
    assert str(tmp_path / "elsewhere") in why_no_images("NIRCAM", "F444W", "MASKA335R")
    assert "round masks of NIRCam only (CORONMSK is MASKALWB)" in why_no_images("NIRCAM", "F444W", "MASKALWB")
    assert "exists for MIRI" in why_no_images("NIRISS", "F480M", "")


def test_images_are_centered_whatever_they_are_moved_by(imager: StpsfImager) -> None:
    """STPSF moves all images of NIRCam's coronagraphs by the dispersion of the Lyot stop's wedge."""
    moved = StandIn()
    moved.pixelscale = SCALE[0]
    y = _center(moved.calc_psf(41)["DET_SAMP"].data)[1] - 20.0
    assert y == pytest.approx(DISPERSION / SCALE[1], abs=1e-3) and abs(y) > 0.4
    assert np.allclose(_center(imager((4.0, 0.0), (0.0, 0.0))), (20.0, 20.0), atol=0.005)  # 0.3 mas


def test_missing_data_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """STPSF would try to download them, and end in a traceback without a network."""
    known = nircam_coronagraph("F444W", "MASKA335R", SCALE)
    assert known is not None
    install(monkeypatch, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"data files of STPSF are not in .*nowhere.*set STPSF_PATH"):
        StpsfImager(known, size=11)

    def too_old() -> None:
        raise OSError("STPSF data package has version 1.0.0, but 2.1.0 is needed.")

    install(monkeypatch, write_data(tmp_path / "old"), NIRCam=too_old, MIRI=too_old)
    with pytest.raises(ConfigError, match=r"model of NIRCam could not be built: .* 2\.1\.0 is needed"):
        StpsfImager(known, size=11)
    with pytest.raises(ConfigError, match="model of MIRI could not be built"):
        stpsf_instrument("F1550C")


def test_stpsf_without_its_data_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It searches for them when it is imported, tries to download them, and fails without a network."""
    (tmp_path / "stpsf.py").write_text("raise OSError('Name or service not known')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "stpsf", raising=False)
    with pytest.raises(ConfigError, match=r"its data are missing or too old; .* set STPSF_PATH"):
        stpsf_instrument("F1550C")
    assert "with its data in STPSF_PATH" in why_no_images("NIRCAM", "F444W", "MASKA335R")
