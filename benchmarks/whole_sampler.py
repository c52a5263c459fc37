"""Where the seconds of a Python process go, by what its main thread is doing; used by `whole.py`.

`install` makes every Python process that is started with a folder in its PYTHONPATH sample itself, forked ones too. A
thread looks at the stack of the main thread 100 times a second and adds the time since the last look, wall and CPU of
the process, to one of `KINDS`; each process writes what it has to a file of its own every half second.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType

KINDS = (
    "start-up", "checksums", "reading", "arithmetic", "writing", "validation", "figures", "compiling", "waiting",
    "other",
)  # fmt: skip
FOLDER = "LYOT_SAMPLES"
_STEP = 0.01

# of the innermost call that is known, from the inside out: part of the file's name, name of the function or "" for any
_RULES = (
    ("importlib", "", "start-up"),
    ("lyot/run/preloaded", "", "start-up"),
    ("numba/core/caching", "", "start-up"),
    ("numba/core/compiler", "", "compiling"),
    ("stdatamodels/validate", "", "validation"),
    ("asdf/schema", "", "validation"),
    ("stdatamodels/schema", "", "validation"),
    ("asdf/_jsonschema", "", "validation"),
    ("stdatamodels/fits_support", "to_fits", "writing"),
    ("stdatamodels/model_base", "save", "writing"),
    ("astropy/io/fits", "writeto", "writing"),
    ("lyot/analysis/tables", "write_table", "writing"),
    ("lyot/records/manifest", "of", "checksums"),
    ("lyot/records/manifest", "file_checksum", "checksums"),
    ("lyot/records/manifest", "", "writing"),
    ("stdatamodels/fits_support", "from_fits", "reading"),
    ("stdatamodels/model_base", "__init__", "reading"),
    ("stdatamodels/jwst/datamodels/util", "open", "reading"),
    ("astropy/io/fits", "fitsopen", "reading"),
    ("lyot/exposures/read", "", "reading"),
    ("lyot/ramps", "", "arithmetic"),
    ("lyot/optics", "", "arithmetic"),
    ("lyot/calibrate", "", "arithmetic"),
    ("lyot/subtract", "", "arithmetic"),
    ("lyot/measure", "", "arithmetic"),
    ("lyot/reduction", "", "arithmetic"),
    ("matplotlib", "", "figures"),
    ("lyot/report", "", "figures"),
    ("lyot/run/worker", "run_task", "other"),
    ("multiprocessing", "", "waiting"),
    ("lyot/run/execute", "do", "waiting"),
    ("selectors", "", "waiting"),
)


def kind_of(frame: FrameType | None) -> tuple[str, str]:
    """What a stack is doing, and the task that it is part of; empty for none."""
    found, task = "", ""
    while frame is not None:
        name, function = frame.f_code.co_filename, frame.f_code.co_name
        if not found:
            found = next((k for part, f, k in _RULES if part in name and f in ("", function)), "")
        if function == "run_task" and "lyot/run/worker" in name:
            task = frame.f_locals["task"].kind
        if function == "write_report":
            task = "report"
        frame = frame.f_back
    if found == "waiting" and task:  # on a thread of its own
        found = "other"
    return found or "other", task


class _Sampler:
    """Adds up time until the process ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}.json"
        self._spent: dict[str, list[float]] = {}

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        main = threading.main_thread().ident
        wall, cpu, written = time.perf_counter(), time.process_time(), 0.0
        while True:
            time.sleep(_STEP)
            kind, task = kind_of(sys._current_frames().get(main or 0))
            before, wall = wall, time.perf_counter()
            before_cpu, cpu = cpu, time.process_time()
            entry = self._spent.setdefault(f"{task}/{kind}", [0.0, 0.0])
            entry[0] += wall - before
            entry[1] += cpu - before_cpu
            if wall - written > 0.5:
                written = wall
                self._write()

    def _write(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._spent))
        partial.replace(self._path)


def start() -> None:
    """Sample this process, and those that are forked from it."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    _Sampler(Path(folder)).start()
    os.register_at_fork(after_in_child=lambda: _Sampler(Path(folder)).start())


def install(folder: Path) -> dict[str, str]:
    """Write what lets processes sample themselves; returns the variables to start them with."""
    samples = folder / "samples"
    samples.mkdir(parents=True)
    here = Path(__file__).parent
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(here)!r})\nimport whole_sampler\nwhole_sampler.start()\n"
    )
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{before}" if before else str(folder), FOLDER: str(samples)}


def collect(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds by task (``command`` for what is in none) and kind, wall and CPU, of all processes that were sampled."""
    total: dict[str, dict[str, dict[str, float]]] = {}
    for path in (folder / "samples").glob("*.json"):
        for name, (wall, cpu) in json.loads(path.read_text()).items():
            task, _, kind = name.partition("/")
            entry = total.setdefault(task or "command", {}).setdefault(kind, {"wall_s": 0.0, "cpu_s": 0.0})
            entry["wall_s"] += wall
            entry["cpu_s"] += cpu
    return {
        task: {k: {n: round(v, 2) for n, v in kinds[k].items()} for k in KINDS if k in kinds}
        for task, kinds in sorted(total.items())
    }
