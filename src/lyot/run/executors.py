"""Where tasks run: in this process, in worker processes, or on a Dask cluster; all look like `concurrent.futures`."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import queue
import signal
import sys
import threading
import types
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from lyot.errors import ConfigError, ReductionError
from lyot.processes import leave_signals_to_parent, provide_streams
from lyot.reference_files.environment import set_variables
from lyot.run.task import Task, TaskResult
from lyot.run.worker import THREAD_VARIABLES, prepare_worker, run_task

MEMORY_PER_JOB = 2.5e9
"""Memory reckoned for one worker process, bytes."""

_PRELOADED = "lyot.run.preloaded"
"""Module that imports what tasks import."""

_PRELOADED_STAGE1 = "lyot.run.preloaded_stage1"
"""Module that imports what tasks of stage 1 import besides; before the other, which freezes what is there."""

_OTHER_FORK_SERVER = (3, 14)
"""Version of Python from which on its fork server is started in another way."""


class Pool(Protocol):
    """Interface that the scheduler of tasks requires."""

    def submit(self, task: Task, out: str) -> concurrent.futures.Future[TaskResult]:
        """Start a task as soon as a worker is free."""

    @property
    def slots(self) -> int:
        """Tasks that run at the same time."""

    def steps(self) -> list[tuple[str, str]]:
        """``(task id, step)`` for every step that began since the last call."""

    def end_idle(self) -> None:
        """End the workers that have nothing to do, so that their memory is free; they start again when needed."""


@dataclass(frozen=True)
class Workers:
    """Number of processes, and of threads in each."""

    jobs: int
    threads: int


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def share_cores(jobs: int, threads: int, n_tasks: int) -> Workers:
    """Divide the cores so that jobs times threads does not exceed them.

    Parameters
    ----------
    jobs : int
        Processes asked for; 0: as many as cores and memory allow.
    threads : int
        Threads per process asked for; 0: share the cores.
    n_tasks : int
        Most tasks that can run at the same time.
    """
    cores = available_cores()
    if not jobs:
        import psutil

        by_memory = int(psutil.virtual_memory().available / MEMORY_PER_JOB)
        jobs = max(1, min(cores, by_memory))
    jobs = max(1, min(jobs, n_tasks))
    return Workers(jobs, threads or max(1, cores // jobs))


class _LocalPool:
    """Worker processes, each an executor of its own, so that one can be ended, or lost, without the others."""

    def __init__(self, start: Callable[[], concurrent.futures.ProcessPoolExecutor], events: Any, slots: int) -> None:
        self.slots = slots
        self._start = start
        self._events = events
        self._workers: list[concurrent.futures.ProcessPoolExecutor] = []
        self._busy: dict[int, concurrent.futures.Future[TaskResult]] = {}

    def submit(self, task: Task, out: str) -> concurrent.futures.Future[TaskResult]:
        worker = next(iter(self._idle()), None)
        if worker is None and len(self._workers) < self.slots:
            worker = self._start()
            self._workers.append(worker)
        worker = worker or self._workers[0]  # more tasks than workers: it waits its turn
        try:
            with _no_script():
                future = worker.submit(run_task, task, out)
        except BrokenProcessPool:  # it was lost with its last task, which says so
            self._workers.remove(worker)
            self._busy.pop(id(worker), None)
            return self.submit(task, out)
        self._busy[id(worker)] = future
        return future

    def _idle(self) -> list[concurrent.futures.ProcessPoolExecutor]:
        return [w for w in self._workers if id(w) not in self._busy or self._busy[id(w)].done()]

    def end_idle(self) -> None:
        for worker in self._idle():
            self._workers.remove(worker)
            self._busy.pop(id(worker), None)
            worker.shutdown(wait=False)

    def close(self) -> None:
        """End all workers when they have done what they do."""
        for worker in self._workers:
            worker.shutdown()

    def kill(self) -> None:
        """End all workers at once; those that have nothing to do end by themselves and clear up what they hold."""
        idle = {id(worker) for worker in self._idle()}
        for worker in self._workers:
            processes = [] if id(worker) in idle else list((worker._processes or {}).values())
            worker.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()

    def steps(self) -> list[tuple[str, str]]:
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._events.get_nowait())
        return found


class _InlinePool:
    """Runs each task at once in this process; for debugging and tests."""

    slots = 1

    def submit(self, task: Task, out: str) -> concurrent.futures.Future[TaskResult]:
        future: concurrent.futures.Future[TaskResult] = concurrent.futures.Future()
        try:
            future.set_result(run_task(task, out))
        except Exception as error:  # noqa: BLE001 - handed on to whoever asks for the result
            future.set_exception(error)
        return future

    def steps(self) -> list[tuple[str, str]]:
        return []

    def end_idle(self) -> None:
        """There are none."""


class _DaskPool:
    def __init__(self, client: Any, lost: type[Exception]) -> None:
        self.slots = max(1, sum(client.nthreads().values()))
        self._client = client
        self._lost = lost

    def submit(self, task: Task, out: str) -> concurrent.futures.Future[TaskResult]:
        future: concurrent.futures.Future[TaskResult] = concurrent.futures.Future()
        remote = self._client.submit(run_task, task, out, key=f"{task.id}-{uuid.uuid4()}", pure=False)

        def finished(done: Any) -> None:
            try:
                future.set_result(done.result())
            except self._lost as error:
                future.set_exception(BrokenProcessPool(str(error)))
            except Exception as error:  # noqa: BLE001 - handed on
                future.set_exception(error)

        remote.add_done_callback(finished)
        return future

    def steps(self) -> list[tuple[str, str]]:
        return []

    def end_idle(self) -> None:
        """The cluster's workers are not ours to end."""


@contextlib.contextmanager
def _no_script() -> Iterator[None]:
    """Hide the script that this process runs from a worker that starts, which needs nothing of it.

    It would run it again, up to the reduction, and end there; or not find it, where it came from the standard input.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextlib.contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    set_variables(values)
    try:
        yield
    finally:
        set_variables(before)


def start_importing(here: contextlib.AbstractContextManager[object] | None = None, *, stage1: bool = True) -> bool:
    """Start the process that workers are forked from, once it has imported what tasks import.

    It stays until this process ends, for the next run.

    Parameters
    ----------
    here : context manager, optional
        Import in this process, which needs most of it too, inside this context, and fork it after that. Only done where
        no other thread is running, as threads do not survive a fork; otherwise the imports go on in a new process.
    stage1 : bool, optional
        Whether a task of stage 1 is to be expected; if not, the first that comes nevertheless imports what it needs.

    Returns
    -------
    bool
        Whether there is one: only on Linux, as libraries of macOS cannot be used after a fork.
    """
    provide_streams()  # of which those that are started here are copies
    if sys.platform != "linux":
        return False
    _start_tracker()
    modules = [_PRELOADED_STAGE1, _PRELOADED] if stage1 else [_PRELOADED]
    if here is not None and threading.active_count() == 1 and sys.version_info < _OTHER_FORK_SERVER:
        with here:
            for module in modules:
                importlib.import_module(module)
        _fork_server()
        return True
    single: dict[str, str | None] = dict.fromkeys(THREAD_VARIABLES, "1")  # no thread of a library at the fork
    with _environment({**single, "NUMBA_NUM_THREADS": None, "MPLBACKEND": os.environ.get("MPLBACKEND", "Agg")}):
        multiprocessing.forkserver.set_forkserver_preload(modules)
        multiprocessing.forkserver.ensure_running()
    return True


def _start_tracker() -> None:
    """Start the standard library's process that clears up semaphores, before anything is forked.

    The end of a terminal must not end it before this process: another would be started, and complain of each semaphore.
    """
    if threading.current_thread() is not threading.main_thread():
        multiprocessing.resource_tracker.ensure_running()
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        multiprocessing.resource_tracker.ensure_running()
    finally:
        signal.signal(signal.SIGHUP, before)


def _fork_server() -> None:
    """Let the fork server of the standard library be a fork of this process, not a new one that imports again."""

    def fork(_path: str, _arguments: Sequence[str], passed: Sequence[int]) -> int:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the threads of OpenBLAS are prepared for forks
            pid = os.fork()
        if pid == 0:
            try:
                leave_signals_to_parent()
                _close_all_but(passed)  # as in a new process; it ends when the other end of a pipe is closed
                listener, alive = passed
                multiprocessing.forkserver.main(listener, alive, [])
            finally:
                os._exit(0)
        return pid

    util = cast(Any, multiprocessing.util)
    new_process, util.spawnv_passfds = util.spawnv_passfds, fork
    try:
        multiprocessing.forkserver.set_forkserver_preload([])
        multiprocessing.forkserver.ensure_running()
    finally:
        util.spawnv_passfds = new_process


def _close_all_but(passed: Sequence[int]) -> None:
    """Close the files of this process except the standard streams and those that are passed on."""
    kept = {0, 1, 2, *passed}
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(descriptor)


@contextlib.contextmanager
def local_pool(workers: Workers, environment: Mapping[str, str | None]) -> Iterator[Pool]:
    """Worker processes on this machine with their share of the threads.

    They are forked from one that has imported what they need, see `start_importing`; elsewhere each imports afresh.
    """
    context = multiprocessing.get_context("forkserver" if start_importing() else "spawn")
    events = context.Queue()
    limits: dict[str, str | None] = dict.fromkeys(THREAD_VARIABLES, str(workers.threads))

    def start() -> concurrent.futures.ProcessPoolExecutor:
        told = {**os.environ, **environment}  # the one that they are forked from has an older environment
        return concurrent.futures.ProcessPoolExecutor(
            1, mp_context=context, initializer=prepare_worker, initargs=(workers.threads, told, events)
        )

    pool = _LocalPool(start, events, workers.jobs)
    try:
        with _environment({**limits, **environment}):  # the workers start with it, before they import anything
            yield pool
    except BaseException:
        pool.kill()
        raise
    else:
        pool.close()
    finally:
        events.close()
        events.cancel_join_thread()


@contextlib.contextmanager
def inline_pool(environment: Mapping[str, str | None]) -> Iterator[Pool]:
    """No workers: tasks run in this process, one after the other."""
    with _environment(environment):
        yield _InlinePool()


@contextlib.contextmanager
def dask_pool(address: str, workers: Workers, environment: Mapping[str, str | None]) -> Iterator[Pool]:
    """Workers of a Dask cluster, which must see the input and output folders under the same paths.

    Raises
    ------
    ConfigError
        If there is no scheduler at that address, or Dask is not installed.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise ConfigError(
            f'--scheduler {address}: Dask is not installed; pip install "lyot[cluster]", or omit --scheduler '
            "to use the cores of this machine."
        ) from None

    try:
        client: Any = Client(address, timeout="15s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--scheduler {address}: no Dask scheduler at this address ({error}); start it, or correct the address."
        ) from error
    with client:
        client.run(prepare_worker, workers.threads, dict(environment))
        yield _DaskPool(client, KilledWorker)


def worker_lost(task: Task) -> ReductionError:
    """The error for a worker process that was killed from outside."""
    return ReductionError(
        f"{task.kind} of {task.name}: the worker process was killed, probably because memory ran out; use fewer --jobs."
    )
