"""The whole: a simulated observing sequence from ramps to the report with contrast curve and companions.

    python benchmarks/whole.py --work DIR [--size small|medium|full] [--data FOLDER] [--cold]

Runs ``lyot run`` as a user does, twice: once undisturbed, for time and memory of all processes together, and once with
a thread in each process that looks what its main thread is doing (`whole_sampler.py`), for where each second went.
With ``--data`` it reduces that folder instead of simulating, e.g. the calints of HD 106906. A first run, not counted,
compiles the kernels where they are not. With ``--cold`` both begin with an input that is not in the page cache.
``full`` writes 13 GB of ramps into DIR. Appends to results/whole.json, which ``docs/figures_performance.py`` draws.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import whole_sampler
from stage23 import step_times, watch

SEED = 1
RESULTS = Path(__file__).parent / "results" / "whole.json"


def simulated(work: Path, size: str) -> Path:
    """Folder with the ramps of a sequence, and its references beside them; simulated if it is not there."""
    from lyot.simulator.sequence import simulate_sequence

    folder = work / f"ramps_{size}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        simulate_sequence(partial, filter="F1550C", size=size, seed=SEED)
        partial.rename(folder)
    return folder


def forget(data: Path) -> None:
    """Take files out of the page cache, as they are on a machine that was just started."""
    for path in data.rglob("*.fits"):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())  # what was not yet written stays
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(data: Path, work: Path, jobs: int, environment: dict[str, str], *, cold: bool = False) -> dict[str, Any]:
    """Reduce, measure and report; time and memory."""
    if cold:
        forget(data)
    out = work / "reduced"
    shutil.rmtree(out, ignore_errors=True)
    start = ["-c", "from lyot.cli import main; main()", "run", str(data), "--out", str(out), "--jobs", str(jobs)]
    found = watch([sys.executable, *start], environment | {"PYTHONWARNINGS": "ignore"}, work / "run.log")
    return found | {"seconds_by_stage": step_times(out)}


def main() -> None:
    """Simulate, run, write and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", choices=("small", "medium", "full"), default="small")
    parser.add_argument("--data", type=Path, help="reduce this folder instead")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--no-warm-up", action="store_true", help="the kernels are compiled already")
    parser.add_argument("--cold", action="store_true", help="take the input out of the page cache before each run")
    parser.add_argument("--no-sampling", action="store_true", help="time and memory only")
    parser.add_argument("--name", help="what the record is called; by default the size or the folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data = options.data or simulated(options.work, options.size)
    if not options.no_warm_up:
        run(data, options.work, options.jobs, {})
    record: dict[str, Any] = {
        "name": options.name or (data.name if options.data else options.size),
        "date": time.strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "jobs": options.jobs or "automatic",
        "input_in_memory": not options.cold,
        "load_before": [round(v, 2) for v in os.getloadavg()],
        "gigabytes": round(sum(p.stat().st_size for p in data.rglob("*.fits")) / 1e9, 3),
    }
    record |= run(data, options.work, options.jobs, {}, cold=options.cold)
    if not options.no_sampling:
        sampling = options.work / "sampling"
        shutil.rmtree(sampling, ignore_errors=True)
        sampled = run(data, options.work, options.jobs, whole_sampler.install(sampling), cold=options.cold)
        record["sampled"] = {name: sampled[name] for name in ("wall_s", "cpu_s")}
        record["sampled"]["where"] = whole_sampler.collect(sampling)
    records = json.loads(options.out.read_text()) if options.out.is_file() else []
    options.out.write_text(json.dumps([*records, record], indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
