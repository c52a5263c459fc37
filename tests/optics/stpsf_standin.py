"""A stand-in for STPSF's NIRCam that speaks its interface: Gaussian images behind a round mask."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lyot.instrument import NIRCAM_ROUND_MASKS

SIGMA = 0.075
"""Of the image of a source, arcsec: about that of F444W."""

LIGHT = 0.4
"""What a source without the mask gives on the whole detector, in the stand-in's own unit."""


def transmission(mask: str, radius: Any) -> Any:
    """Light that the mask passes of a source at a distance from its center, arcsec."""
    return 1.0 - 0.5 ** ((radius / NIRCAM_ROUND_MASKS[mask]) ** 2)


class StandIn:
    """What `lyot.optics.stpsf_adaptor` uses of ``stpsf.NIRCam``."""

    def __init__(self) -> None:
        self.options: dict[str, float] = {}
        self.image_mask: str | None = None
        self.pupil_mask = ""
        self.filter, self.detector = "F200W", "NRCA1"
        self.pixelscale = 0.031
        self.calls: list[dict[str, Any]] = []

    def calc_psf(self, fov_pixels: int, oversample: int = 4, **more: Any) -> dict[str, Any]:
        """The image, centered on the mask, of a source at the offset in the options."""
        self.calls.append({"mask": self.image_mask, "size": fov_pixels, **self.options, **more})
        r, theta = self.options.get("source_offset_r", 0.0), np.radians(self.options.get("source_offset_theta", 0.0))
        x, y = -r * np.sin(theta), r * np.cos(theta)  # from +y toward -x
        step, n = self.pixelscale / oversample, fov_pixels * oversample
        at = (np.arange(n) - (n - 1) / 2) * step
        image = np.exp(-0.5 * ((at[None, :] - x) ** 2 + (at[:, None] - y) ** 2) / SIGMA**2)
        image *= LIGHT * step**2 / (2 * np.pi * SIGMA**2)
        if self.image_mask is not None:
            image *= transmission(self.image_mask, r)
        binned = image.reshape(fov_pixels, oversample, fov_pixels, oversample).sum(axis=(1, 3))
        return {"OVERSAMP": SimpleNamespace(data=image), "DET_SAMP": SimpleNamespace(data=binned)}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in where STPSF would be."""
    module = ModuleType("stpsf")
    module.NIRCam = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stpsf", module)
