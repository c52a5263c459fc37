"""Compiling the kernels of a fresh installation: all stages and measurements, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from lyot.tutorials import compile_kernels as module


def test_a_sequence_goes_through_everything_and_nothing_is_left() -> None:
    with mock.patch.object(module, "simulate_sequence") as simulate, mock.patch.object(module, "run") as run:
        module.compile_kernels()
    observations = simulate.call_args.args[0]
    inputs, out, config = run.call_args.args
    assert inputs == [observations]
    assert config.run.stages == "1-3"
    assert config.run.jobs == 1  # two workers would compile the same
    assert config.contrast.measure and config.companion.measure and config.maps.measure
    assert not Path(observations).parent.exists()
    assert not out.parent.exists()
