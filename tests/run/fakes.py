"""Pipelines that only copy bytes, with a small specification, to test what goes on around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from astropy.io import fits
from configobj import ConfigObj

_COMMON = """
save_results = boolean(default=False) # Save
skip = boolean(default=False) # Skip
"""
_SPECS = {
    "stage1": "[[jump]]\nrejection_threshold = float(default=4.0,min=0) # Threshold\n"
    "maximum_cores = string(default='1') # Cores\n",
    "stage2": "[[flat_field]]\nskip = boolean(default=False) # Skip\n",
    "stage3": "[[klip]]\ntruncate = integer(default=50,min=0) # Modes\n"
    "method = option('klip', 'classical', default='klip') # How\n",
}
SUFFIXES = {"stage1": ("rate", "rateints"), "stage2": ("calints",), "stage3": ("psfstack", "i2d")}


class FakePipeline:
    """Stands in for a pipeline; `calls` remembers what it was asked, `failure` is raised half-way."""

    stage: str
    calls: list[tuple[str, str, dict[str, Any]]]
    failure: BaseException | None = None

    @classmethod
    def load_spec_file(cls) -> ConfigObj:
        text = f"{_COMMON}[steps]\n{_SPECS[cls.stage]}"
        return ConfigObj(text.splitlines(), list_values=False, raise_errors=True)

    @classmethod
    def call(cls, source: str, *, output_dir: str, **arguments: Any) -> None:
        path = Path(source)
        names = [path.name.rpartition("_")[0]]
        if path.suffix == ".json":
            names = [product["name"] for product in json.loads(path.read_text())["products"]]
        cls.calls.append((cls.stage, names[0], arguments))
        for file in (Path(output_dir) / f"{name}_{suffix}.fits" for name in names for suffix in SUFFIXES[cls.stage]):
            file.write_bytes(b"half")
            if cls.failure is not None:
                raise cls.failure
            hdu = fits.ImageHDU(name="SCI")
            fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file, overwrite=True)


def fake_pipelines() -> dict[str, type[FakePipeline]]:
    """Fresh fake classes for the three stages, sharing one list of calls."""
    calls: list[Any] = []
    return {stage: type(f"Fake{stage}", (FakePipeline,), {"stage": stage, "calls": calls}) for stage in _SPECS}
