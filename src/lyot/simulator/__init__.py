"""Scene, optics and detector combined into an observing sequence with its calibration references and its truth."""

from pathlib import Path

import lazy_loader

from lyot import kernel_cache

kernel_cache.refresh(Path(__file__).parent)

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scene": ["Companion", "Disk", "Scene", "load_scene"],
        "sequence": ["SimulatedSequence", "simulate_sequence"],
        "truth": ["read_truth"],
        "detector": ["DetectorModel"],
        "crds_cache": ["write_empty_cache"],
    },
)
