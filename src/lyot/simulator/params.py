"""Parameters of a simulated observing sequence."""

from __future__ import annotations

from dataclasses import dataclass

from lyot.params import param


@dataclass(frozen=True)
class SequenceParams:
    """Parameters of a simulated observing sequence; what is in the sky is in its scene."""

    filter: str = param("F1550C", help="filter: F1065C, F1140C, F1550C or F2300C")
    size: str = param(
        "small",
        help="integrations and groups: small (170 MB), medium (1 GB) or full (as observed, 13 GB)",
        choices=("small", "medium", "full"),
    )
    seed: int = param(1, help="random seed", min=0)
    scene: str | None = param(None, help="scene file (TOML), or the name of a bundled scene; default: HIP 65426")
    jobs: int | None = param(None, help="number of threads; default: all cores", min=1)
