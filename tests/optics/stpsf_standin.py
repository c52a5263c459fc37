"""A stand-in for STPSF's NIRCam that speaks its interface: Gaussian images behind a round mask."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import special

from lyot.instrument import NIRCAM_ROUND_MASKS

SIGMA = 0.075
"""Of the image of a source, arcsec: about that of F444W."""

LIGHT = 0.4
"""What a source without the mask gives on the whole detector, in the stand-in's own unit."""

DISPERSION = -0.026
"""By how much all images are moved along y, arcsec: what STPSF does in F444W."""


def transmission(mask: str, radius: Any) -> Any:
    """Light that the mask passes of a source at a distance from its center, arcsec; half at the radius of its name."""
    x = np.maximum(2.1001 * np.asarray(radius) / NIRCAM_ROUND_MASKS[mask], 1e-6)
    return (1.0 - (2.0 * special.j1(x) / x) ** 2) ** 2


class StandIn:
    """What `lyot.optics.stpsf_adaptor` uses of ``stpsf.NIRCam``."""

    def __init__(self) -> None:
        self.options: dict[str, float] = {}
        self.image_mask: str | None = None
        self.pupil_mask = ""
        self.filter, self.detector = "F200W", "NRCA1"
        self.pixelscale = 0.031
        self.calls: list[dict[str, Any]] = []

    def calc_psf(self, fov_pixels: int, detector_oversample: int = 4, **more: Any) -> dict[str, Any]:
        """The image, centered on the mask, of a source at the offset in the options."""
        self.calls.append({"mask": self.image_mask, "size": fov_pixels, **self.options, **more})
        r, theta = self.options.get("source_offset_r", 0.0), np.radians(self.options.get("source_offset_theta", 0.0))
        x, y = -r * np.sin(theta), r * np.cos(theta)  # from +y toward -x
        oversample = detector_oversample
        step, n = self.pixelscale / oversample, fov_pixels * oversample
        at = (np.arange(n) - (n - 1) / 2) * step
        image = np.exp(-0.5 * ((at[None, :] - x) ** 2 + (at[:, None] - y - DISPERSION) ** 2) / SIGMA**2)
        image *= LIGHT * step**2 / (2 * np.pi * SIGMA**2)
        if self.image_mask is not None:
            image *= transmission(self.image_mask, r)
        binned = image.reshape(fov_pixels, oversample, fov_pixels, oversample).sum(axis=(1, 3))
        return {"OVERSAMP": SimpleNamespace(data=image), "DET_SAMP": SimpleNamespace(data=binned)}


def install(monkeypatch: pytest.MonkeyPatch, data: Path, **instruments: Any) -> None:
    """Put a module with these instruments, by default a stand-in for NIRCam, where STPSF would be.

    `data` is where it looks for its data files, which are there if they have a version.
    """
    module = ModuleType("stpsf")
    module.conf = SimpleNamespace(STPSF_PATH="from_environment_variable")  # type: ignore[attr-defined]
    module.utils = SimpleNamespace(get_default_data_path=lambda: data)  # type: ignore[attr-defined]
    for name, instrument in (instruments or {"NIRCam": StandIn}).items():
        setattr(module, name, instrument)
    monkeypatch.delenv("STPSF_PATH", raising=False)
    monkeypatch.setitem(sys.modules, "stpsf", module)


def write_data(folder: Path) -> Path:
    """Data files as far as their presence is looked at."""
    folder.mkdir(exist_ok=True)
    (folder / "version.txt").write_text("2.1.0\n")
    return folder
