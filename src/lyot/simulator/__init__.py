"""Scene, optics and detector combined into an observing sequence with its calibration references and its truth."""

from pathlib import Path

from lyot import kernel_cache

kernel_cache.refresh(Path(__file__).parent)
