"""`lyot demo`: what it simulates, what it keeps, and how it compares what was found with what was put in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

from lyot.cli import build_app, demo
from lyot.cli import run as run_command
from lyot.cli import simulate as simulate_command
from lyot.simulator import sequence as sequence_module
from lyot.simulator import truth as truth_module
from lyot.simulator.params import SequenceParams
from lyot.simulator.plan import size_of
from lyot.version import __version__

PLANET = {"name": "b", "separation_arcsec": 0.8, "position_angle_deg": 359.5, "flux_jy": 1e-4}


def fitted(folder: Path, separation: list[float], angle: list[float], limit: list[float] | None = None) -> None:
    n = len(separation)
    table = Table({
        "separation": separation, "separation_err": [0.01] * n, "position_angle": angle,
        "position_angle_err": [0.5] * n, "flux": [1.2e-4] * n, "flux_err": [1e-5] * n, "snr": [12.0] * n,
        "flux_upper_limit": limit or [np.nan] * n,
    })  # fmt: skip
    table.write(folder / "companions.ecsv")


def test_differences_are_in_the_stated_errors_and_angles_go_around(tmp_path):
    fitted(tmp_path, [2.5, 0.78], [100.0, 0.5])  # the second is the planet's
    text = demo._planet_line(tmp_path, PLANET)
    assert 'planet b: injected at separation 0.800", PA 359.50 deg, flux 100 uJy' in text
    assert 'measured: separation 0.780 +- 0.010"' in text
    assert "differences: separation -2.0, PA +2.0, flux +2.0 sigma" in text


@pytest.mark.parametrize(("separation", "limit"), [(1.4, np.nan), (0.8, 3e-5)])
def test_a_planet_is_not_found_where_nothing_is_or_only_a_limit(tmp_path, separation, limit):
    fitted(tmp_path, [separation], [359.5], [limit])
    assert demo._planet_line(tmp_path, PLANET).endswith("; not detected")
    assert demo._planet_line(tmp_path / "nothing", PLANET).endswith("; not detected")


@pytest.fixture
def simulations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is simulated, without doing it."""
    asked: list[dict[str, Any]] = []

    def make(out: Path, params: SequenceParams, **options: Any) -> None:
        asked.append({"out": out, **vars(params), **options})

    monkeypatch.setattr(simulate_command, "make_sequence", make)
    return asked


def told(**changes: object) -> dict[str, Any]:
    numbers = {"science": list(size_of("small").science), "reference": list(size_of("small").reference)}
    truth = {
        "size": numbers, "instrument": {"filter": "F1550C"}, "seed": 1, "generator": {"lyot": __version__},
        "sky": {"star": {"flux_jy": 0.25}, "companions": [PLANET]},
    }  # fmt: skip
    return truth | changes


@pytest.mark.parametrize(("changes", "again"), [
    ({}, False),
    ({"seed": 2}, True),
    ({"generator": {"lyot": "0.0.1"}}, True),
    ({"instrument": {"filter": "F1140C"}}, True),
    ({"size": {"science": [1, 2], "reference": [1, 2]}}, True),
])  # fmt: skip
def test_the_same_sequence_is_not_simulated_again(tmp_path, monkeypatch, capsys, simulations, changes, again):
    (tmp_path / "truth.json").touch()
    (tmp_path / "crds_cache").mkdir()
    monkeypatch.setattr(truth_module, "read_truth", lambda folder: told(**changes))
    demo._observations(tmp_path, SequenceParams(filter="f1550c", scene=demo.SCENE))
    assert len(simulations) == again
    assert ("from an earlier simulation" in capsys.readouterr().out) == (not again)


def test_a_broken_off_simulation_is_made_again(tmp_path, monkeypatch, simulations):
    monkeypatch.setattr(truth_module, "read_truth", lambda folder: pytest.fail("there is no truth yet"))
    demo._observations(tmp_path, SequenceParams(filter="F1140C", size="medium", scene=demo.SCENE))
    (asked,) = simulations
    assert asked == {
        "out": tmp_path, "filter": "F1140C", "size": "medium", "seed": 1, "scene": "bright_planet",
        "overwrite": True, "jobs": None,
    }  # fmt: skip


def test_the_sequence_is_reduced_with_the_flux_of_its_star_and_its_calibration(tmp_path, monkeypatch, simulations):
    reduced = []

    def reduce(inputs: list[Path], out: Path, config: Any, *, overwrite: bool) -> SimpleNamespace:
        reduced.append((inputs, config, overwrite))
        (out / "measure").mkdir(parents=True)
        fitted(out / "measure", [0.81], [0.0])
        return SimpleNamespace(out=out)

    monkeypatch.setattr(run_command, "reduce_and_report", reduce)
    monkeypatch.setattr(truth_module, "read_truth", lambda folder: told())
    command = ["demo", "--out", str(tmp_path), "--jobs", "3", "--overwrite", "--filter", "F1140C", "--size", "full"]
    result = CliRunner().invoke(build_app(only="demo"), command, catch_exceptions=False)
    assert result.exit_code == 0
    ((inputs, config, overwrite),) = reduced
    assert inputs == [tmp_path / "observations"] == [s["out"] for s in simulations] and overwrite
    assert config.star.flux == 0.25 and config.run.jobs == 3
    assert [(s["filter"], s["size"], s["seed"], s["scene"]) for s in simulations] == [("F1140C", "full", 1, demo.SCENE)]
    assert Path(config.run.crds_path) == tmp_path / "observations" / "crds_cache"
    assert "differences: separation +1.0, PA +1.0, flux +2.0 sigma" in result.output


def test_simulate_says_where_the_files_and_their_calibration_are(tmp_path, monkeypatch):
    asked = {}

    def make(out: Path, **options: Any) -> SimpleNamespace:
        asked.update(options)
        crds = SimpleNamespace(path=out / "crds_cache", context="jwst_0001.pmap")
        return SimpleNamespace(uncal=["a", "b"], path=out, truth=out / "truth.json", crds=crds)

    monkeypatch.setattr(sequence_module, "simulate_sequence", make)
    command = ["simulate", str(tmp_path), "--filter", "F1065C", "--seed", "7", "--scene", "bright_planet", "-j", "2",
               "--size", "medium", "--overwrite"]  # fmt: skip
    result = CliRunner().invoke(build_app(only="simulate"), command, catch_exceptions=False)
    assert asked.pop("progress") is None  # no terminal
    assert asked == {
        "filter": "F1065C", "size": "medium", "seed": 7, "scene": "bright_planet", "overwrite": True, "jobs": 2,
    }  # fmt: skip
    assert f"2 raw exposures in {tmp_path}; true values: {tmp_path / 'truth.json'}" in result.output
    assert f"export CRDS_PATH={tmp_path / 'crds_cache'}\nexport CRDS_CONTEXT=jwst_0001.pmap" in result.output
