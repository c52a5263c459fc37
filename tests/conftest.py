"""What all tests share: no network, no display, the real data if they are there."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")

import asdf.schema
import matplotlib
import pytest
from hypothesis import settings

matplotlib.use("Agg")

# `HYPOTHESIS_PROFILE=random` draws other examples each time; the same ones otherwise, so that a failure can be repeated
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def _parsed_once(make_loader: Callable[[], Callable[[str], Any]]) -> Callable[[], Callable[[str], Any]]:
    """Keep what the schema loader of asdf has parsed.

    It parses the YAML of a schema again for each keyword of a data model that is set and for each product that is
    written, a quarter of the time of a small pipeline. The schemas are those of the installed packages and do not
    change while the tests run; validating does not change them.
    """
    return functools.cache(lambda: functools.cache(make_loader()))


if hasattr(asdf.schema, "_make_schema_loader"):  # in asdf 5; it saves time and nothing else
    asdf.schema._make_schema_loader = _parsed_once(asdf.schema._make_schema_loader)

_LOCAL = ("127.0.0.1", "::1", "localhost", "")


def _is_local(address: object) -> bool:
    """Whether a socket address stays on this machine (unix sockets, loopback)."""
    return not isinstance(address, tuple) or str(address[0]) in _LOCAL


def pytest_configure(config: pytest.Config) -> None:
    """Keep pupils and throughputs beside what pytest keeps, for all processes of the tests, and not in the home.

    Each of several processes takes one thread for linear algebra: those of OpenBLAS wait for each other in loops, and
    a fit takes twice the CPU time where they are more than the cores.
    """
    if getattr(config.option, "numprocesses", None):  # set before the processes are started, which inherit it
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(variable, "1")
    cache = getattr(config, "cache", None)  # the plug-in can be turned off
    if cache is not None:
        os.environ.setdefault("LYOT_CACHE", str(cache.mkdir("kept_arrays")))


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Whether a test uses a fixture that is made once for its file."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    return any(definition.scope == "module" for definitions in fixtures for definition in definitions)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep tests that share a fixture in one process, so that it is made once.

    A hook that gets all items comes too late: xdist reads the groups in its own, and it is registered after this file.
    """
    if item.get_closest_marker("xdist_group") is None and _shares_a_fixture(item):
        item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the notebooks, which take longest and go to one process: no process waits for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("notebook") is None)


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of garbage collections.

    A step collects garbage each time that it is run; looking at all objects of jwst, numba and astropy takes 0.5 s.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine, and every look-up of a name."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def refuse(address: object) -> None:
        raise OSError(f"a test tried to reach the network: {address!r}")

    def guarded_connect(self: socket.socket, address: object) -> None:
        if not _is_local(address):
            refuse(address)
        return connect(self, address)  # type: ignore[arg-type]

    def guarded_connect_ex(self: socket.socket, address: object) -> int:
        if not _is_local(address):
            refuse(address)
        return connect_ex(self, address)  # type: ignore[arg-type]

    def guarded_look_up(host: object, *args: object, **kwargs: object) -> object:
        if isinstance(host, bytes):
            host = host.decode()
        if host is not None and str(host) not in (*_LOCAL, socket.gethostname()):
            refuse(host)
        return look_up(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real observations; skips where the environment variable LYOT_TEST_DATA does not name one."""
    folder = os.environ.get("LYOT_TEST_DATA")
    if not folder:
        pytest.skip("LYOT_TEST_DATA is not set: no real observations to test with")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"LYOT_TEST_DATA names {path}, which is not there")
    return path


@pytest.fixture(scope="session", autouse=True)
def _workers_are_not_forks_of_the_tests() -> Iterator[None]:
    """A command that a test runs in this process must not fork the workers of all later tests from it.

    They would have what the test has replaced, and warnings as errors. Forks of a command are tested in processes of
    their own.
    """
    from lyot.run import executors

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "_OTHER_FORK_SERVER", (3, 0))
        yield


@pytest.fixture(scope="session")
def hd106906(test_data: Path) -> Path:
    """Real MIRI observations of HD 106906 (F1140C, calints)."""
    return _folder(test_data / "miri_hd106906_f1140c")


@pytest.fixture(scope="session")
def aumic(test_data: Path) -> Path:
    """Real NIRCam observations of AU Mic (F444W, calints)."""
    return _folder(test_data / "nircam_aumic_f444w")


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"{path} is not there")
    return path


def _session_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Temporary folder that all processes of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep the other processes of the tests out of a folder while one makes what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def hd106906_run(hd106906: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Output folder of `lyot run` on HD 106906, made once per session; not to be changed. What it said is beside it."""
    folder = _session_folder(tmp_path_factory, worker_id) / "hd106906"
    with _locked(folder):
        if not (folder / "stdout").is_file():
            command = [sys.executable, "-m", "lyot", "run", hd106906, "--out", folder / "out"]
            environment = {**os.environ, "COLUMNS": "100"}
            done = subprocess.run(command, capture_output=True, text=True, timeout=800, env=environment, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "stdout").write_text(done.stdout)
    return folder / "out"


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Output folder of a small synthetic run (`tests.finished`), made once per session; not to be changed."""
    from tests.finished import finished_run

    base = _session_folder(tmp_path_factory, worker_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        return finished_run(base / "finished")


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """A copy of the small synthetic run, to be measured and changed."""
    return Path(shutil.copytree(finished_once, tmp_path / "finished"))


@pytest.fixture
def quick_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the pictures of the reduction, which take 6 s to draw; for tests of what is measured on it.

    `tests.report` and some tests of the commands draw them.
    """
    from lyot.report import page

    without_pictures(monkeypatch)
    monkeypatch.setattr(page, "make_viewer", lambda *_: None)


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    """Leave out the static pictures of reports."""
    from lyot.report import checks, sections

    for name in ("detection_map", "stage3_truncations", "stage3_subtraction", "stage2", "stage1"):
        patch.setattr(sections, name, lambda *_: None)
    for name in dir(checks):
        if name.endswith("_picture"):
            patch.setattr(checks, name, lambda *_: None)
