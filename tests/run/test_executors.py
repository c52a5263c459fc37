"""Workers: their share of the machine, what they are told, and real processes at work."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import psutil
import pytest
from astropy.io import fits
from astropy.table import Table

from lyot.errors import ConfigError, InputError, MissingInputError
from lyot.instrument import resolution
from lyot.records.manifest import Checksums, Manifest, Product, Record, content_key
from lyot.reference_files import environment
from lyot.run import executors
from lyot.run import worker as tasks
from lyot.run.executors import Workers, inline_pool, local_pool, share_cores
from lyot.run.task import Task


def write_image(path: Path, *, separation=2.0, pa=120.0) -> Path:
    """A north-up combined image, 0.11 arcsec pixels, noise of 1 and one source of peak 60."""
    ny = nx = 121
    y, x = np.mgrid[:ny, :nx]
    x0 = 60 - separation / 0.11 * np.sin(np.radians(pa))  # east is left
    y0 = 60 + separation / 0.11 * np.cos(np.radians(pa))
    data = np.random.default_rng(3).normal(size=(ny, nx)) + 60 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 2 / 1.9**2)
    science = fits.ImageHDU(data.astype(np.float32), name="SCI")
    science.header.update(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 61.0, "CRPIX2": 61.0, "CRVAL1": 201.15,
         "CRVAL2": -51.5, "CDELT1": -0.11 / 3600, "CDELT2": 0.11 / 3600, "BUNIT": "MJy/sr"}
    )  # fmt: skip
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "MIRI", "FILTER": "F1550C", "TARGPROP": "TEST", "KLMODES": 9})
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, science]).writeto(path)
    _record(path, path.parents[1])
    return path


def _record(image: Path, out: Path) -> None:
    """What a run leaves beside the image, here one whose star was subtracted by the official algorithm."""
    (out / "asn").mkdir()
    (out / "calints.fits").touch()
    members = [{"expname": str(out / "calints.fits"), "exptype": "science"}]
    (out / "asn" / "test.json").write_text(json.dumps({"products": [{"members": members}]}))
    product = Product(image.relative_to(out).as_posix(), 1, 1, "0")
    Manifest(out).add(
        Record("stage3/test", "stage3", "test", "key", [], [product], {"": {"mode": "official"}}, {}, "",
               "2026-01-01T00:00:00", 1.0, 1.0, association="asn/test.json")
    )  # fmt: skip


def _task(image: Path, out: Path) -> Task:
    return Task("measure/test", "measure", "test", (str(image),), {"threshold": 5.0})


def _check(result, out: Path) -> None:
    assert [p.path for p in result.products] == ["measure/detections.ecsv", "measure/snr_map.fits"]
    table = Table.read(out / "measure" / "detections.ecsv", format="ascii.ecsv")
    assert table["separation"].unit == "arcsec"
    # a source of S/N above 50 is located to a small part of the 4.4 pixel core: 0.02 arcsec is a fifth of a pixel
    assert table["separation"][0] == pytest.approx(2.0, abs=0.02)
    assert table["position_angle"][0] == pytest.approx(120.0, abs=0.6)
    assert table["snr"][0] > 20
    assert np.all(np.diff(table["snr"]) <= 0)
    assert result.peak_memory > 10
    assert not (out / tasks.PARTIAL / "measure" / "test").exists()


def test_measurement_in_this_process(tmp_path):
    image = write_image(tmp_path / "stage3" / "test_i2d.fits")
    with inline_pool({}) as pool:
        _check(pool.submit(_task(image, tmp_path), str(tmp_path)).result(), tmp_path)
    with fits.open(tmp_path / "measure" / "snr_map.fits") as hdus:
        assert hdus["SCI"].data.shape == (121, 121)
        assert hdus["SCI"].header["CTYPE1"] == "RA---TAN"
        assert float(np.nanmax(hdus["SCI"].data)) > 20


def _told_of_a_worker() -> tuple[set[int], int, dict[str, str], bool]:
    """Threads of the libraries, of numba, environment, and whether it was imported for; in a worker."""
    import sys

    import numba
    import threadpoolctl

    threads = {int(library["num_threads"]) for library in threadpoolctl.threadpool_info()}
    return threads, numba.config.NUMBA_NUM_THREADS, dict(os.environ), "lyot.run.preloaded" in sys.modules


@pytest.mark.slow
def test_measurement_in_a_worker_process(tmp_path, monkeypatch):
    image = write_image(tmp_path / "stage3" / "test_i2d.fits")
    monkeypatch.setenv("LYOT_TEST_GONE", "set when the process that workers are forked from started")
    forked = executors.start_importing()
    monkeypatch.delenv("LYOT_TEST_GONE")
    before = dict(os.environ)
    with local_pool(Workers(1, 1), {"LYOT_TEST_VARIABLE": "x"}) as pool:
        task = pool.submit(_task(image, tmp_path), str(tmp_path))
        threads, of_numba, variables, imported = pool._workers[0].submit(_told_of_a_worker).result(timeout=400)
        assert (threads, of_numba, imported) == ({1}, 1, forked)
        assert variables["LYOT_TEST_VARIABLE"] == "x"
        assert "LYOT_TEST_GONE" not in variables
        task.result(timeout=400)
        _check(pool.submit(_task(image, tmp_path), str(tmp_path)).result(timeout=400), tmp_path)
        missing = Task("measure/gone", "measure", "gone", (str(tmp_path / "gone_i2d.fits"),), {})
        with pytest.raises(MissingInputError, match=r"gone_i2d\.fits"):
            pool.submit(missing, str(tmp_path)).result(timeout=400)
    assert dict(os.environ) == before


FORKED = """
import contextlib, os, sys
from lyot.run import executors
from lyot.run.executors import Workers, local_pool

def told():
    files = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    imported = "lyot.run.preloaded" in sys.modules
    return os.getppid(), os.environ.get("TOLD"), os.environ["OMP_NUM_THREADS"], imported, files

if __name__ == "__main__":
    kept = open(sys.argv[1])
    assert executors.start_importing(contextlib.nullcontext()) and executors.start_importing()
    with local_pool(Workers(1, 1), {"TOLD": "x"}) as pool:
        pool._workers.append(pool._start())
        server, variable, threads, imported, files = pool._workers[0].submit(told).result(timeout=100)
    parent = open(f"/proc/{server}/stat").read().rpartition(")")[2].split()[1]
    print(server, int(parent) == os.getpid(), variable, threads, imported, os.path.realpath(sys.argv[1]) in files)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers import afresh")
def test_workers_are_forked_from_the_process_that_imported(tmp_path):
    script, other = tmp_path / "forked.py", tmp_path / "other.txt"
    script.write_text(FORKED)
    other.touch()
    done = subprocess.run([sys.executable, script, other], capture_output=True, text=True, check=True, timeout=200)
    server, *told = done.stdout.split()
    assert told == ["True", "x", "1", "True", "False"]  # and files that were open are not kept open
    assert not done.stderr
    deadline = time.monotonic() + 20  # it ends with the process that started it
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()


SCRIPT = """
import sys
from lyot.run.executors import Workers, local_pool
from lyot.run.task import Task

with local_pool(Workers(1, 1), {}) as pool:
    task = Task("measure/x", "measure", "x", (sys.argv[1] + "/gone_i2d.fits",), {})
    print(type(pool.submit(task, sys.argv[1]).exception(100)).__name__)
"""


@pytest.mark.parametrize("from_file", [True, False])
def test_a_script_needs_no_guard_and_no_file(from_file, tmp_path):
    """Workers ran it again, up to its reduction, and ended there: "its worker process was killed"."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script if from_file else "-", tmp_path], input=None if from_file else SCRIPT,
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert done.stdout == "MissingInputError\n"


def test_a_cluster_without_dask_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ConfigError, match=r"Dask is not installed; pip install .lyot\[cluster\]."),
        executors.dask_pool("tcp://head:8786", Workers(1, 1), {}),
    ):
        pass


@pytest.mark.slow
# it asks for the way to an outer address only to learn its own, and takes the loopback when refused
@pytest.mark.filterwarnings("ignore:Couldn't detect a suitable IP address")
def test_measurement_on_a_dask_cluster(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    image = write_image(tmp_path / "stage3" / "test_i2d.fits")
    for name in (*tasks.THREAD_VARIABLES, "MPLBACKEND"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # the worker is in this process: put back afterwards
    local = {"host": "127.0.0.1", "protocol": "tcp://", "processes": False, "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, **local) as cluster,
        executors.dask_pool(cluster.scheduler_address, Workers(1, 1), {}) as pool,
    ):
        _check(pool.submit(_task(image, tmp_path), str(tmp_path)).result(timeout=60), tmp_path)


def test_jobs_times_threads_does_not_exceed_the_cores(monkeypatch):
    monkeypatch.setattr(executors, "available_cores", lambda: 8)
    for jobs in range(1, 12):
        for n_tasks in (1, 3, 20):
            workers = share_cores(jobs, 0, n_tasks)
            assert workers.jobs == min(jobs, n_tasks)
            assert workers.jobs * workers.threads <= max(8, workers.jobs)
    assert share_cores(1, 0, 5) == Workers(1, 8)
    assert share_cores(2, 3, 5) == Workers(2, 3)
    assert 1 <= share_cores(0, 0, 100).jobs <= 8


def test_a_lost_worker_is_explained():
    future: concurrent.futures.Future[object] = concurrent.futures.Future()
    future.set_exception(BrokenProcessPool("gone"))
    message = str(executors.worker_lost(Task("stage1/x", "stage1", "x", (), {})))
    assert "memory" in message
    assert "--jobs" in message


def test_a_worker_is_told_its_threads_and_its_calibration(monkeypatch):
    for name in (*tasks.THREAD_VARIABLES, "MPLBACKEND", "CRDS_PATH", "CRDS_SERVER_URL"):
        monkeypatch.setenv(name, "before")
    tasks.prepare_worker(3, {"CRDS_PATH": "/cache", "CRDS_SERVER_URL": None})
    assert {os.environ[name] for name in tasks.THREAD_VARIABLES} == {"3"}
    assert os.environ["CRDS_PATH"] == "/cache"
    assert "CRDS_SERVER_URL" not in os.environ


def test_keys_depend_on_the_content_only():
    assert content_key({"a": 5, "b": [1.5, None]}) == content_key({"b": (1.5, None), "a": 5.0})
    assert content_key({"a": 1}) != content_key({"a": True})


def test_checksums_are_remembered(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("one")
    checksums = Checksums(tmp_path / "store")
    first = checksums.of([path])
    checksums.save()
    monkeypatch.setattr("lyot.records.manifest.file_checksum", lambda p: pytest.fail("read again"))
    assert Checksums(tmp_path / "store").of([path]) == first


def test_resolution_of_known_filters():
    assert resolution("MIRI", "F1550C") == pytest.approx(0.487, abs=0.005)  # 15.522 um / 6.57 m
    assert resolution("NIRCAM", "F444W") == pytest.approx(0.176, abs=0.002)  # 4.44 um / 5.2 m
    with pytest.raises(InputError, match="wavelength"):
        resolution("MIRI", "FND")


def test_a_lost_dask_worker_is_explained_too():
    class KilledError(Exception):
        pass

    class Client:
        def nthreads(self):
            return {"a": 2}

        def submit(self, *args, **kwargs):
            return self

        def add_done_callback(self, done):
            done(self)

        def result(self):
            raise KilledError("stage1/x was on a worker that died")

    pool = executors._DaskPool(Client(), KilledError)
    assert pool.slots == 2
    with pytest.raises(BrokenProcessPool, match="worker that died"):
        pool.submit(Task("stage1/x", "stage1", "x", (), {}), "out").result()


def test_idle_workers_end_and_start_again(monkeypatch):
    started, ended, gate = [], [], threading.Event()

    class Worker(concurrent.futures.ThreadPoolExecutor):
        def __init__(self):
            super().__init__(1)
            started.append(self)

        def shutdown(self, wait=True, **kwargs):
            ended.append(self)
            super().shutdown(wait, **kwargs)

    monkeypatch.setattr(executors, "run_task", lambda task, out: gate.wait(10) if task.name == "long" else task.name)
    pool = executors._LocalPool(Worker, None, 2)
    tasks_ = {name: Task(f"stage2/{name}", "stage2", name, (), {}) for name in ("long", "short", "third")}
    long = pool.submit(tasks_["long"], "out")
    assert pool.submit(tasks_["short"], "out").result(10) == "short"
    pool.end_idle()
    assert len(started) == 2
    assert ended == [started[1]]  # the one at work is left alone
    assert pool.submit(tasks_["third"], "out").result(10) == "third"
    assert len(started) == 3
    gate.set()
    assert long.result(10)
    pool.close()
    assert set(ended) == set(started)


def test_a_worker_that_was_lost_is_not_given_the_next_task(monkeypatch):
    """The executor of a worker that was killed takes nothing more, and measurements that followed failed with it."""
    started = []

    class Worker(concurrent.futures.ThreadPoolExecutor):
        def __init__(self):
            super().__init__(1)
            started.append(self)

        def submit(self, *work):
            if self is not started[-1]:
                raise BrokenProcessPool("a process was terminated abruptly")
            return super().submit(*work)

    monkeypatch.setattr(executors, "run_task", lambda task, out: task.name)
    pool = executors._LocalPool(Worker, None, 1)
    task = Task("measure/x", "measure", "x", (), {})
    assert pool.submit(task, "out").result(10) == "x"
    started.append(None)  # from now on the first is lost
    assert pool.submit(task, "out").result(10) == "x"
    assert pool._workers == [started[-1]]
    pool.close()


INTERRUPTED = """
import contextlib, os, signal, sys, time
from lyot.run.executors import Workers, local_pool, start_importing

if __name__ == "__main__":
    os.setsid()
    number = int(sys.argv[1])
    if number == signal.SIGHUP:
        signal.signal(number, lambda *_: sys.exit("ended"))
    start_importing(contextlib.nullcontext())
    try:
        with local_pool(Workers(2, 1), {}) as pool:
            pool._workers += [pool._start(), pool._start()]
            pool._workers[0].submit(time.sleep, 0).result()
            pool._busy[id(pool._workers[1])] = pool._workers[1].submit(time.sleep, 100)
            os.killpg(0, number)
            time.sleep(100)
    except KeyboardInterrupt:
        sys.exit("ended")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers import afresh")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_is_nothing_that_workers_complain_of(number, tmp_path):
    """Ctrl-C, and the end of a terminal: an idle worker, and the tracker of semaphores, printed tracebacks."""
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, script, str(int(number))], capture_output=True, text=True, check=False, timeout=90
    )
    assert done.stderr == "ended\n"


@pytest.mark.slow
def test_the_memory_of_ended_workers_is_free(tmp_path):
    missing = [Task(f"measure/{n}", "measure", str(n), (str(tmp_path / "gone_i2d.fits"),), {}) for n in range(2)]
    with local_pool(Workers(2, 1), {}) as pool:
        futures = [pool.submit(task, str(tmp_path)) for task in missing]
        processes = [psutil.Process(pid) for w in pool._workers for pid in w._processes or {}]
        assert len(processes) == 2
        for future in futures:
            with pytest.raises(MissingInputError, match="no manifest"):
                future.result(timeout=400)
        pool.end_idle()
        # seconds, on a machine that other tests load; a worker that stays is seen all the same
        assert not psutil.wait_procs(processes, timeout=180)[1]
        with pytest.raises(MissingInputError, match="no manifest"):
            pool.submit(missing[0], str(tmp_path)).result(timeout=400)


def test_what_crds_remembers_is_forgotten_where_tasks_have_other_references(monkeypatch):
    """Two runs in one process, with the calibration cache of each: the second had the answers of the first."""
    import crds  # noqa: F401  (it remembers once it is imported)

    forgotten = []
    monkeypatch.setattr(environment, "_forget", lambda: forgotten.append(os.environ.get("CRDS_CONTEXT")))
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)
    with inline_pool({"CRDS_CONTEXT": "jwst_1535.pmap"}):
        assert forgotten == ["jwst_1535.pmap"]
    assert forgotten == ["jwst_1535.pmap", None]
    with inline_pool({"CRDS_CONTEXT": None}):
        assert len(forgotten) == 2  # nothing has changed
