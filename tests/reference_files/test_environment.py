"""The choice of the calibration references is the environment's, and is checked before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lyot.errors import ConfigError, ReferenceFileError
from lyot.reference_files import environment as crds_environment
from lyot.reference_files.calibration import Calibration
from lyot.reference_files.environment import check_cache, resolve_crds, stop_system_exit
from lyot.simulator import crds_cache
from lyot.simulator.crds_cache import write_empty_cache

URL = "https://jwst-crds.stsci.edu"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [n for n in os.environ if n.startswith("CRDS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def simulated(tmp_path):
    cache = write_empty_cache(tmp_path / "sim" / "crds_cache")
    (tmp_path / "sim" / "jw1_uncal.fits").touch()
    return cache


def as_real(cache):
    """The same cache without the mark of the simulator."""
    (cache.path / crds_environment.SIMULATED_MARKER).unlink()
    return cache


def test_beside_the_input_file(simulated):
    for place in (simulated.path.parent / "jw1_uncal.fits", simulated.path.parent):
        found = resolve_crds(search=[place])
        assert found.source == "beside"
        assert found.context == simulated.context
        assert found.variables == {**simulated.environment(), "CRDS_SERVER_URL": None}


def test_one_folder_up(simulated):
    below = simulated.path.parent / "stage0"
    below.mkdir()
    assert resolve_crds(search=[below / "a.fits"]).path == simulated.path.resolve()


def test_the_environment_goes_before_what_lies_beside(simulated, tmp_path, monkeypatch):
    mine = as_real(write_empty_cache(tmp_path / "mine"))
    monkeypatch.setenv("CRDS_PATH", str(mine.path))
    monkeypatch.setenv("CRDS_SERVER_URL", URL)
    found = resolve_crds(search=[simulated.path.parent])
    assert (found.source, found.path, found.server) == ("environment", mine.path, URL)


def test_a_simulation_calibrated_with_other_references_is_told(simulated, tmp_path, monkeypatch, caplog):
    mine = as_real(write_empty_cache(tmp_path / "mine"))
    monkeypatch.setenv("CRDS_PATH", str(mine.path))
    found = resolve_crds(search=[simulated.path.parent])
    assert found.ignored == (simulated.path.resolve(),)
    assert "unset CRDS_PATH" in caplog.text
    caplog.clear()
    monkeypatch.setenv("CRDS_PATH", str(simulated.path))
    assert resolve_crds(search=[simulated.path.parent]).ignored == ()
    assert caplog.text == ""


def test_an_option_goes_before_the_environment(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_1464.pmap")
    found = resolve_crds(simulated.path)
    assert (found.source, found.context) == ("given", simulated.context)


def test_a_simulated_cache_beside_ignores_server_and_foreign_context(simulated, monkeypatch):
    monkeypatch.setenv("CRDS_SERVER_URL", URL)
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_1464.pmap")
    found = resolve_crds(search=[simulated.path.parent])
    assert (found.server, found.context) == (None, simulated.context)


def test_a_real_cache_beside_keeps_the_server(simulated, monkeypatch):
    as_real(simulated)
    monkeypatch.setenv("CRDS_SERVER_URL", URL)
    found = resolve_crds(search=[simulated.path.parent])
    assert (found.source, found.server, found.context) == ("beside", URL, None)


def test_server_alone_keeps_what_it_fetches_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CRDS_SERVER_URL", URL)
    found = resolve_crds(search=[tmp_path])
    assert found.source == "server"
    assert found.variables == {
        "CRDS_PATH": str(tmp_path.resolve() / "crds_cache"),
        "CRDS_CONTEXT": None,
        "CRDS_SERVER_URL": URL,
    }


def test_nothing_at_all_says_what_to_set(tmp_path):
    with pytest.raises(ReferenceFileError, match=r"set CRDS_PATH .* CRDS_SERVER_URL=https"):
        resolve_crds(search=[tmp_path])


def test_inputs_of_two_simulations_are_not_mixed(simulated, tmp_path):
    other = write_empty_cache(tmp_path / "other" / "crds_cache")
    with pytest.raises(ConfigError, match="different calibration caches"):
        resolve_crds(search=[simulated.path.parent, other.path.parent])


def test_caches_that_cannot_serve(tmp_path, simulated):
    with pytest.raises(ReferenceFileError, match="does not exist"):
        check_cache(tmp_path / "none")
    with pytest.raises(ReferenceFileError, match="server_config is missing"):
        check_cache(tmp_path)
    with pytest.raises(ReferenceFileError, match=r"no readable context jwst_9999\.pmap \(it has: jwst_lyot"):
        check_cache(simulated.path, "jwst_9999.pmap")
    config = simulated.path / "config" / "jwst" / "server_config"
    text = config.read_text()
    for bad, message in (("{'observatory': ", "cannot be read"), ("{'observatory': 'hst'}", "not belong to a JWST"),
                         (text.replace(simulated.context, ""), "names no context")):  # fmt: skip
        config.write_text(bad)
        with pytest.raises(ReferenceFileError, match=message):
            check_cache(simulated.path)


@pytest.mark.parametrize("context", [None, "jwst-operational", "latest"])
def test_symbolic_contexts_are_the_latest(simulated, context):
    assert check_cache(simulated.path, context) == simulated.context


def test_applied_puts_back_what_was_there(simulated, monkeypatch):
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_1464.pmap")
    with resolve_crds(search=[simulated.path.parent]).applied():
        assert os.environ["CRDS_PATH"] == str(simulated.path.resolve())
        assert os.environ["CRDS_CONTEXT"] == simulated.context
    assert "CRDS_PATH" not in os.environ
    assert os.environ["CRDS_CONTEXT"] == "jwst_1464.pmap"


def test_system_exit_becomes_an_error():
    with pytest.raises(ReferenceFileError, match=r"stage 1 of x: .* set CRDS_PATH"), stop_system_exit("stage 1 of x"):
        sys.exit(-1)
    with pytest.raises(ValueError, match="other"), stop_system_exit("x"):
        raise ValueError("other")


def test_the_mark_is_the_simulators():
    assert crds_environment.SIMULATED_MARKER == crds_cache.MARKER


def test_import_is_light():
    code = (
        "import sys, lyot.reference_files.environment; sys.exit(bool({'jwst', 'crds', 'astropy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_where_no_references_are_used_no_parameters_are_asked_for(tmp_path):
    empty = Calibration(context="none").prepared(tmp_path)
    assert empty.environment["STPIPE_DISABLE_CRDS_STEPPARS"] == "true"
    assert Path(empty.environment["CRDS_PATH"]).is_relative_to(tmp_path)
    used = Calibration(context="jwst_0001.pmap")
    assert used.prepared(tmp_path) is used
