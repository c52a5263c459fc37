"""Execution of a run: check, plan, execute tasks that are not up to date, and record them.

`run` is the whole; the command line only renders it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import tomli_w

from lyot.errors import InputError, LyotError
from lyot.exposures.inputs import read_inputs
from lyot.records.manifest import CONFIGURATION, NOTES, Manifest, Record, versions, write_text
from lyot.reference_files.calibration import choose_calibration
from lyot.run.checks import check_output, check_space, only_writer, prepare_output
from lyot.run.config import (
    ROLES,
    Config,
    build_config,
    measuring_table,
    parse_stages,
    report_changes,
    run_arguments,
    with_kept_report,
    with_kept_star,
)
from lyot.run.executors import Pool, dask_pool, inline_pool, local_pool, share_cores, worker_lost
from lyot.run.measure_task import COMPANIONS_TASK, CONTRAST_TASK
from lyot.run.plan import Plan, make_plan, preference, products_size
from lyot.run.task import Task, TaskResult

log = logging.getLogger(__name__)

_POLL = 0.2
"""How often the progress is looked at, s."""

_MANY = ("stage1", "stage2")
"""Kinds of which there is a task for each exposure: workers are kept for them."""


@dataclass(frozen=True)
class Event:
    """Something that happened in a run, for a progress display.

    Attributes
    ----------
    kind : str
        ``planned`` (detail: number of tasks), ``current`` (up to date, not done again), ``started``, ``step``
        (detail: name of the step), ``finished`` (detail: wall time, s), ``failed`` (detail: the sentence).
    task : Task or None
    detail : str
    plan : Plan or None
        With ``planned``.
    """

    kind: Literal["planned", "current", "started", "step", "finished", "failed"]
    task: Task | None = None
    detail: str = ""
    plan: Plan | None = None


@dataclass(frozen=True)
class RunResult:
    """Result of a run: plan, records and failures.

    Attributes
    ----------
    out : Path
        Output folder.
    plan : Plan
    records : tuple of Record
        One for each task of the plan, done now or before.
    done, current : int
        Tasks done now, and tasks that were up to date.
    failed : tuple of LyotError
        Measurements that could not be made; the products are complete without them.
    new_notes : bool
        What is said of the input, or shown besides in the report, is not what it was in the run before.
    """

    out: Path
    plan: Plan
    records: tuple[Record, ...]
    done: int
    current: int
    failed: tuple[LyotError, ...] = ()
    new_notes: bool = False

    @property
    def is_news(self) -> bool:
        """Whether the report must be rewritten."""
        return bool(self.done or self.failed) or self.new_notes

    def products(self, kind: str, suffix: str = "") -> tuple[Path, ...]:
        """Products of one kind of task.

        Parameters
        ----------
        kind : str
            stage1, stage2, stage3 or measure.
        suffix : str, optional
            End of the file names, e.g. ``_i2d.fits``; all by default.

        Returns
        -------
        tuple of Path
            In the order of the tasks.
        """
        return tuple(
            self.out / p.path for r in self.records if r.kind == kind for p in r.products if p.path.endswith(suffix)
        )


Listener = Callable[[Event], None]


def run(
    inputs: Iterable[str | Path],
    out: str | Path,
    config: Config | None = None,
    *,
    overwrite: bool = False,
    inline: bool = False,
    on_event: Listener | None = None,
) -> RunResult:
    """Reduce exposures, from whatever stage they are at, and measure the result.

    Parameters
    ----------
    inputs : iterable of str or Path
        Exposure files, folders, associations.
    out : str or Path
        Output folder. If it holds an earlier run, only what is not up to date is done.
    config : Config, optional
        From `lyot.run.config.load_config` or `build_config`; defaults if None.
    overwrite : bool, optional
        Do everything again, whatever is there; the flux of the star is kept where `config` gives none.
    inline : bool, optional
        Work in this process, for debugging.
    on_event : callable, optional
        Called with an `Event` whenever something happens.

    Returns
    -------
    RunResult

    Raises
    ------
    LyotError
        With one sentence; nothing half-written is left, and what was finished is kept and recorded. A measurement
        that fails after the image is made does not raise: see `RunResult.failed`.
    """
    config = config or build_config({})
    out = Path(out).absolute()
    notify: Listener = on_event or (lambda _event: None)
    stages = parse_stages(config.run.stages)
    found = read_inputs(inputs, preference=preference(stages), roles=config.roles)
    exposures = found.exposures
    check_output(out, overwrite=overwrite)
    taken = [e.path for e in exposures if e.is_coronagraphic]
    needed = stages != (3,) and any(e.is_coronagraphic and e.stage != "calints" for e in exposures)
    calibration = choose_calibration(taken, cache=config.run.crds_path, context=config.run.crds_context, needed=needed)
    # the star is not a product: it stays known when all products are made again
    config, kept = with_kept_star(config if overwrite else with_kept_report(config, out), out)
    plan = make_plan(inputs, out, config, calibration=calibration, found=found)
    if kept and any(t.name.startswith((COMPANIONS_TASK, CONTRAST_TASK)) for t in plan.tasks):
        plan = replace(plan, notes=(*plan.notes, kept))
    prepare_output(out)
    with only_writer(out):
        plan = replace(plan, calibration=calibration.prepared(out))
        plan.checksums.save()
        manifest = Manifest(out)
        manifest.begin()
        for name, text in plan.associations.items():
            write_text(out / name, text)
        shown = report_changes(plan.config, out)
        write_text(out / CONFIGURATION, used_configuration(plan))
        new_notes = _write_notes(out / NOTES, plan.notes) or shown
        notify(Event("planned", detail=str(len(plan.tasks)), plan=plan))
        done, failed = _execute(plan, manifest, overwrite=overwrite, inline=inline, notify=notify)
    records = tuple(r for t in plan.tasks if (r := manifest.record(t.id)) is not None)
    return RunResult(out, plan, records, done - len(failed), len(plan.tasks) - done, failed, new_notes)


def _write_notes(path: Path, notes: Sequence[str]) -> bool:
    """Write what is said of the input; whether it is not what is there already."""
    text = json.dumps(list(notes), indent=1) + "\n"
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True


def used_configuration(plan: Plan) -> str:
    """The configuration as it was used, every parameter of every step, as TOML that can be given to ``--config``."""
    kinds = {t.kind: t.parameters for t in plan.tasks}
    table: dict[str, Any] = {"run": _set_only(run_arguments(plan.config))}
    for stage in ("stage1", "stage2", "stage3"):
        given = plan.config.stages[stage]
        values = kinds.get(stage) or {"": {k: v for k, v in given.items() if k != "steps"}, **given["steps"]}
        table[stage] = _set_only(values.get("", {}))
        table[stage] |= {step: _set_only(v) for step, v in values.items() if step and _set_only(v)}
    table["measure"] = _set_only(vars(plan.config.measure))
    table |= measuring_table(plan.config)
    table |= {ROLES: dict(plan.config.roles)} if plan.config.roles else {}
    lines = ["# Configuration of this run, with all parameters that have a value. Versions:"]
    lines += [f"#   {name} {version}" for name, version in versions().items()]
    context = plan.calibration.context or "not set"
    unused = "no CRDS context was used: the input is calibrated"
    lines.append(f"#   {unused}" if context == "none" else f"#   CRDS context {context}")
    return "\n".join(lines) + "\n\n" + tomli_w.dumps(table)


def _set_only(values: Any) -> dict[str, Any]:
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in dict(values).items()}
    return {k: v for k, v in plain.items() if v is not None}


def _choose_pool(plan: Plan, n_tasks: int, *, inline: bool) -> contextlib.AbstractContextManager[Pool]:
    params = plan.config.run
    if inline:
        return inline_pool(plan.calibration.environment)
    if params.scheduler:
        workers = share_cores(1, params.threads or 1, n_tasks)
        return dask_pool(params.scheduler, workers, plan.calibration.environment)
    workers = share_cores(params.jobs, params.threads, n_tasks)
    return local_pool(workers, plan.calibration.environment)


def _execute(
    plan: Plan, manifest: Manifest, *, overwrite: bool, inline: bool, notify: Listener
) -> tuple[int, tuple[LyotError, ...]]:
    """Do the tasks that are not up to date; returns how many, and the failures of those that may fail."""
    todo: dict[str, Task] = {}
    for task in plan.tasks:
        stale = overwrite or any(d in todo for d in task.depends) or manifest.record(task.id) is None
        if stale or not manifest.is_current(task.id, plan.keys.of(task.id)):  # the key may have to read the files
            todo[task.id] = task
        else:
            log.info("%s is up to date", task.id)
            notify(Event("current", task))
    if not todo:
        return 0, ()
    check_space(plan.out, products_size(todo.values()))
    widest = max(sum(t.kind == kind for t in todo.values()) for kind in {t.kind for t in todo.values()})
    with _choose_pool(plan, widest, inline=inline) as pool:
        scheduler = _Scheduler(plan, manifest, pool, notify)
        scheduler.do(todo)
    return len(todo), tuple(scheduler.failed)


class _Scheduler:
    """Hands out tasks whose inputs are ready, largest first, and records what comes back."""

    def __init__(self, plan: Plan, manifest: Manifest, pool: Pool, notify: Listener) -> None:
        self._plan = plan
        self._manifest = manifest
        self._pool = pool
        self._notify = notify
        self._by_id = {t.id: t for t in plan.tasks}
        self._running: dict[concurrent.futures.Future[TaskResult], Task] = {}
        self._asked: set[str] = set()
        self._failure: Exception | None = None
        self.failed: list[LyotError] = []

    def do(self, todo: dict[str, Task]) -> None:
        """Do all of `todo`; after a failure, what is running is finished and the failure raised.

        A measurement that fails is put into `failed` instead, and what is left is done.
        """
        waiting = dict(todo)
        unfinished = set(todo)
        while unfinished and not (self._failure and not self._running):
            if self._failure is None:
                ready = [t for t in waiting.values() if not unfinished.intersection(t.depends)]
                free = self._pool.slots - len(self._running)
                for task in sorted(ready, key=lambda t: (-t.weight, t.id))[: max(0, free)]:
                    self._submit(waiting.pop(task.id))
                if not any(t.kind in _MANY for t in waiting.values()):
                    self._pool.end_idle()  # stage 3 is one task, and the largest
            done, _ = concurrent.futures.wait(
                self._running, timeout=_POLL, return_when=concurrent.futures.FIRST_COMPLETED
            )
            self._report_steps()
            for future in done:
                task = self._running.pop(future)
                if self._collect(task, future):
                    unfinished.discard(task.id)
        if self._failure is not None:
            raise self._failure

    def _submit(self, task: Task) -> None:
        self._notify(Event("started", task))
        try:
            future = self._pool.submit(replace(task, unread=self._unread(task)), str(self._plan.out))
        except BrokenProcessPool as error:  # a worker was killed since the last look
            future = concurrent.futures.Future()
            future.set_exception(error)
        self._running[future] = task

    def _unread(self, task: Task) -> tuple[str, ...]:
        """Inputs whose checksums the task is to give; of segments that each task reads, each gives its own."""
        found = tuple(path for path in self._plan.unread(task) if path not in self._asked)
        if task.kind == "stage1":
            found = found[:1]
        self._asked.update(found)
        return found

    def _report_steps(self) -> None:
        for task_id, step in self._pool.steps():
            self._notify(Event("step", self._by_id.get(task_id), step))

    def _collect(self, task: Task, future: concurrent.futures.Future[TaskResult]) -> bool:
        """Take the result of a task; returns whether those that depend on it can be done."""
        try:
            result = future.result()
            for path in task.inputs:
                if self._plan.checksums.is_changed(Path(path)):
                    raise InputError(f"{path}: changed while the run was reading it; run the same command again.")
            if result.checksums:
                self._plan.checksums.add(result.checksums)
                self._plan.checksums.save()
            self._manifest.add(self._record(task, result))
        except BrokenProcessPool:
            failure: LyotError = worker_lost(task)
        except LyotError as error:
            failure = error
        else:
            self._notify(Event("finished", task, f"{result.wall_time:.1f}"))
            return True
        self._notify(Event("failed", task, str(failure)))
        if task.kind != "measure":
            self._failure = self._failure or failure
            return False
        self.failed.append(failure)
        nothing = TaskResult(task.id, (), datetime.now(UTC).isoformat(timespec="seconds"), 0.0, 0.0)
        self._manifest.add(self._record(task, nothing, failure=str(failure)))
        return True

    def _record(self, task: Task, result: TaskResult, *, failure: str = "") -> Record:
        return Record(
            task=task.id, kind=task.kind, name=task.name, key=self._plan.keys.of(task.id),
            inputs=[{"path": path, "checksum": self._plan.source_key(path)} for path in task.inputs],
            products=list(result.products), parameters=dict(task.parameters), versions=versions(),
            crds_context=self._plan.calibration.context, started=result.started,
            wall_time=round(result.wall_time, 3), peak_memory=round(result.peak_memory, 1),
            association=task.association, failure=failure,
        )  # fmt: skip
