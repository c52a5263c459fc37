"""Worker process: executes one task, from input files to products, with its own log.

Products are moved into place when all of a task are there.

Nothing heavy is imported before a task starts, so that the thread limits set in `prepare_worker` hold.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lyot.errors import (
    InputError,
    LyotError,
    MissingInputError,
    ReductionError,
    ReferenceFileError,
    logged_warnings,
    output_error,
)
from lyot.processes import release_memory, serve_parent
from lyot.records.manifest import Product, file_checksum, product_of
from lyot.reference_files.environment import set_variables
from lyot.run.task import Task, TaskResult

log = logging.getLogger(__name__)

PARTIAL = ".partial"
"""Folder below the output folder where products are before they are complete."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
                    "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")  # fmt: skip
"""Environment variables that limit the threads of a process."""

_STEP_STARTS = re.compile(r"^Step (\w+) running with args")
_CUT_SHORT = re.compile(r"^\d+ requested and \d+ written$")
"""How numpy says that a file could not be written to its end; it does not say why."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


_events: Any = None
"""Queue to the parent process, set by `prepare_worker`."""


def prepare_worker(threads: int, environment: Mapping[str, str | None], events: Any = None) -> None:
    """Set up a worker process before anything heavy is imported.

    Parameters
    ----------
    threads : int
        Threads each library may use.
    environment : mapping of str to str or None
        Variables to set, or to remove where None (the calibration cache). All of them with `events`.
    events : queue, optional
        Takes ``(task id, step name)`` when a step starts; given in a process of ours.
    """
    global _events
    _events = events
    if events is not None:
        serve_parent()
    if events is not None:  # in a process of ours, which may be forked from one that is older than these variables
        set_variables(dict.fromkeys(set(os.environ).difference(environment)))
    set_variables(environment)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ.setdefault("MPLBACKEND", "Agg")
    if events is not None:
        _limit_loaded(threads)


def _limit_loaded(threads: int) -> None:
    """Limit the threads of the libraries that are loaded already, as in a worker that was forked."""
    if "numpy" not in sys.modules:
        return
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)
    if "numba" in sys.modules:
        import numba

        numba.config.reload_config()  # from the environment


class _StepEvents(logging.Handler):
    """Tells the parent process which step is running, and frees what the step before it left."""

    def __init__(self, task: str) -> None:
        super().__init__(logging.INFO)
        self._task = task

    def emit(self, record: logging.LogRecord) -> None:
        found = _STEP_STARTS.match(record.getMessage())
        if found and _events is not None:
            _events.put((self._task, found.group(1)))
            release_memory()


@contextlib.contextmanager
def logged_to(path: Path, task: str) -> Iterator[None]:
    """Send all log records and warnings to a file, and the names of the steps to the parent.

    In a worker process all that is printed goes there too: some libraries print on their own account.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    to_file = logging.FileHandler(path, mode="a", encoding="utf-8", delay=True)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handlers: list[logging.Handler] = [to_file, _StepEvents(task)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    for handler in handlers:
        root.addHandler(handler)
    try:
        with _printed_to(path) if _events is not None else contextlib.nullcontext():
            yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        logging.captureWarnings(capture=False)


@contextlib.contextmanager
def _printed_to(path: Path) -> Iterator[None]:
    """Send what this process writes to its standard output and error to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(fd) for fd in (1, 2)]
    with path.open("ab") as stream:
        for fd in (1, 2):
            os.dup2(stream.fileno(), fd)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, original in zip((1, 2), saved, strict=True):
            os.dup2(original, fd)
            os.close(original)


def _reset_peak_memory() -> None:
    """Start counting the peak memory anew, where the system allows it (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _peak_memory() -> float:
    """Peak resident memory since the last reset, MB."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024  # type: ignore[union-attr]
    except (OSError, AttributeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _read_through(paths: Sequence[str]) -> dict[str, str]:
    """Checksums of inputs, before the task reads them.

    Stage 1 reads in bands of rows: from beginning to end a disk is fastest, and afterwards the file is in memory.
    """
    found = {}
    for path in paths:
        try:
            found[path] = file_checksum(Path(path))
        except FileNotFoundError:
            raise MissingInputError(f"{path}: no such file any more; it was there when the run began.") from None
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); check the disk and the permissions."
            ) from error
    return found


def _run_stage(task: Task, folder: Path, out: Path) -> None:
    from lyot.run.pipelines import pipeline_class
    from lyot.run.warm import settle, warm_process

    pipeline = pipeline_class(task.kind)
    if _events is not None:  # in a process of ours
        warm_process()
    source = str(out / task.association) if task.association else task.inputs[0]
    arguments = {**task.arguments, "steps": {k: dict(v) for k, v in task.arguments["steps"].items()}}
    pipeline.call(  # type: ignore[attr-defined]
        source, output_dir=str(folder), save_results=True, configure_log=False, **arguments
    )
    if _events is not None:
        settle(task.kind)


def _run_measure(task: Task, folder: Path, out: Path) -> None:
    from lyot.run.measure_task import run_measurement

    folder = folder / task.folder
    folder.mkdir(parents=True, exist_ok=True)
    run_measurement(task, folder, out)


def _publish(folder: Path, out: Path, task: Task) -> tuple[Product, ...]:
    """Move the finished products into their place and describe them."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    if not files:
        raise ReductionError(f"{task.kind} of {task.name} wrote no product; see {log_path(out, task)}.")
    products = []
    for file in files:
        place = out / task.kind / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
        products.append(product_of(place, out))
    return tuple(products)


def log_path(out: Path, task: Task) -> Path:
    """Log file of a task."""
    return out / "logs" / f"{task.kind}_{task.name}.log"


def _explained(error: BaseException, task: Task, out: Path) -> LyotError:
    """Turn what a pipeline raised into one sentence that says where to look."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS and not isinstance(error, LyotError):
        return output_error(error.filename or out, error)
    if isinstance(error, LyotError):
        return error
    if isinstance(error, OSError) and _CUT_SHORT.match(str(error)):
        return output_error(out, OSError("the disk is full, or a file-size limit was reached"))
    if isinstance(error, SystemExit):
        return ReferenceFileError(
            f"{task.kind} of {task.name}: no calibration references: set CRDS_PATH and CRDS_CONTEXT to a cache "
            f"(or --crds), or CRDS_SERVER_URL to a server; see {log_path(out, task)}."
        )
    if isinstance(error, MemoryError):
        return ReductionError(f"{task.kind} of {task.name}: not enough memory; use fewer --jobs.")
    text = " ".join(str(error).split()) or type(error).__name__
    return ReductionError(
        f"{task.kind} of {task.name} failed: {type(error).__name__}: {text[:300]}; see {log_path(out, task)}."
    )


def run_task(task: Task, out: str) -> TaskResult:
    """Execute one task.

    Parameters
    ----------
    task : Task
    out : str
        Output folder of the run.

    Returns
    -------
    TaskResult

    Raises
    ------
    LyotError
        Whatever goes wrong, in one sentence; the log has the traceback. Nothing half-written is left.
    """
    root = Path(out)
    folder = root / PARTIAL / task.id
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _reset_peak_memory()
        with logged_to(log_path(root, task), task.id), logged_warnings(log):
            try:
                checksums = _read_through(task.unread)
                if task.kind == "measure":
                    _run_measure(task, folder, root)
                else:
                    _run_stage(task, folder, root)
            except (Exception, SystemExit):
                log.exception("%s failed", task.id)
                raise
        products = _publish(folder, root, task)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the pipelines may raise anything
        raise _explained(error, task, root) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if _events is not None:  # in a process of ours, which may wait long for its next task
            release_memory()
    wall = time.perf_counter() - clock
    return TaskResult(task.id, products, started.isoformat(timespec="seconds"), wall, _peak_memory(), checksums)
