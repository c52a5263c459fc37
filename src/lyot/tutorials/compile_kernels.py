"""Compile the kernels of a fresh installation by simulating and reducing the smallest sequence; part of `make setup`.

numba compiles a kernel when it is first used and keeps it on disk. Without this the first run does so, in each of its
workers. The pupils and throughputs that `lyot.kept_arrays` keeps are made as well.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from lyot.run.config import build_config
from lyot.run.execute import run
from lyot.simulator.plan import Size
from lyot.simulator.sequence import simulate_sequence

SIZE = Size((2, 10), (2, 10))
"""Integrations and groups of a science and of a reference exposure: the fewest that go through every step."""


def compile_kernels() -> None:
    """Simulate, reduce and measure; nothing is left but the compiled kernels and the arrays that are kept."""
    with tempfile.TemporaryDirectory(prefix="lyot-") as folder:
        observations = Path(folder) / "observations"
        simulate_sequence(observations, filter="F1550C", size=SIZE, scene="bright_planet", seed=1)
        settings = {"run": {"jobs": 1, "crds_path": str(observations / "crds_cache")}, "maps": {"measure": True}}
        run([observations], Path(folder) / "reduction", build_config(settings))


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # what is missing in this sequence is of no interest
    compile_kernels()
