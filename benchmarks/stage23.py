"""Stages 2 and 3 of the full F1550C sequence: wall time and peak memory of whole processes.

    python benchmarks/stage23.py --work DIR [--jobs N] [--out FILE]

The slopes (``rateints``: two science exposures of 60 integrations, nine references of 19, four backgrounds, all of
224 x 288 pixels) are made here from the simulator's light and headers with normal noise, without ramps; DIR takes 3 GB
and keeps them. Then ``lyot run`` takes them through stages 2 and 3. The memory is that of all processes together
(shared pages counted once: PSS), sampled ten times a second; the largest single process is given too. The record is
appended to results/stage23.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

SEED = 3
SIZES = {"full": ((60, 250), (19, 100)), "small": ((6, 25), (3, 16))}


def make_slopes(work: Path, size: str) -> tuple[Path, dict[str, str]]:
    """Write the slopes of a sequence, if they are not there; returns their folder and the CRDS environment."""
    from lyot.simulator.plan import Size
    from lyot.simulator.sequence import simulate_sequence

    tiny, folder = work / "tiny", work / f"slopes_{size}"
    if not tiny.exists():
        simulate_sequence(tiny, filter="F1550C", size=Size((1, 6), (1, 6)), seed=SEED, jobs=1)
    cache = tiny / "crds_cache"
    environment = {
        "CRDS_PATH": str(cache),
        "CRDS_CONTEXT": (cache / "config/jwst/lyot_context").read_text().strip(),
    }
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_slopes(tiny, partial, size)
        partial.rename(folder)
    return folder, environment


def _write_slopes(tiny: Path, folder: Path, size: str) -> None:
    from stdatamodels.jwst import datamodels

    from lyot.instrument import coronagraph
    from lyot.simulator.detector import build_detector
    from lyot.simulator.exposure import light_slope
    from lyot.simulator.light import LightMaker
    from lyot.simulator.plan import Size, plan_sequence
    from lyot.simulator.scene import Scene

    c, scene = coronagraph("F1550C"), Scene()
    detector = build_detector(c, SEED)
    maker = LightMaker.build(scene, c.filter, SEED)
    rng = np.random.default_rng(SEED)
    gain = float(np.median(detector.gain))
    for exposure in plan_sequence(c, Size(*SIZES[size]), scene, SEED):
        slope = light_slope(maker.light(exposure).image, detector)
        seconds = exposure.ngroups * c.frame_time
        variance = (1.2 * np.maximum(slope, 0.0) / (gain * seconds) + 1e-3).astype(np.float32)
        shape = (exposure.nints, *slope.shape)
        flags = np.broadcast_to(detector.mask_dq, shape).copy()
        with datamodels.open(tiny / exposure.filename) as ramp:
            model = datamodels.CubeModel(
                data=(slope + rng.standard_normal(shape) * np.sqrt(variance)).astype(np.float32),
                err=np.broadcast_to(np.sqrt(variance), shape).copy(),
                dq=flags,
                var_poisson=np.broadcast_to(0.7 * variance, shape).copy(),
                var_rnoise=np.broadcast_to(0.3 * variance, shape).copy(),
            )
            model.update(ramp)
        model.meta.exposure.nints, model.meta.exposure.ngroups = exposure.nints, exposure.ngroups
        model.meta.exposure.integration_end = exposure.nints
        model.meta.bunit_data = model.meta.bunit_err = "DN/s"
        model.meta.cal_step.ramp_fit = "COMPLETE"
        model.save(folder / exposure.filename.replace("uncal", "rateints"))


def watch(command: list[str], environment: dict[str, str], log: Path) -> dict[str, Any]:
    """Run a command; wall and CPU time, and memory of all its processes together and of the largest."""
    start = time.perf_counter()
    together = largest = 0
    with log.open("w") as stream:
        child = subprocess.Popen(command, env=os.environ | environment, stdout=stream, stderr=subprocess.STDOUT)
        family = psutil.Process(child.pid)
        cpu: dict[int, float] = {}
        while child.poll() is None:
            sizes = []
            try:
                members = [family, *family.children(recursive=True)]
            except psutil.NoSuchProcess:
                break
            for member in members:
                try:
                    info, times = member.memory_full_info(), member.cpu_times()
                except psutil.Error:
                    continue
                sizes.append(info.pss)
                largest = max(largest, info.rss)
                cpu[member.pid] = times.user + times.system
            together = max(together, sum(sizes))
            time.sleep(0.1)
        status = child.wait()
    if status:
        raise SystemExit(f"failed; see {log}")
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(sum(cpu.values()), 1),
        "peak_mb_all_processes": round(together / 1e6),
        "peak_mb_largest_process": round(largest / 1e6),
    }


def stages_alone(out: Path, start: float) -> float:
    """Seconds from the start of the command to the end of stage 3, from the manifest."""
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    row = next(r for r in rows[::-1] if str(r["task"]).startswith("stage3"))
    return round(datetime.fromisoformat(row["started"]).timestamp() + float(row["wall_time"]) - start, 1)


def step_times(out: Path) -> dict[str, float]:
    """Seconds of each task, from the manifest."""
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    times: dict[str, float] = {}
    for row in rows:
        seconds = row.get("wall_time")
        if seconds is not None:
            kind = re.split("[/:]", str(row.get("task", row.get("id", "?"))))[0]
            times[kind] = times.get(kind, 0.0) + float(seconds)
    return {kind: round(value, 1) for kind, value in times.items()}


def main() -> None:
    """Make the slopes, run, write and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", choices=tuple(SIZES), default="full")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--prepare", action="store_true", help="make the slopes and stop")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stage23.json")
    options = parser.parse_args()
    slopes, environment = make_slopes(options.work, options.size)
    if options.prepare:
        return
    result = options.work / "reduced"
    shutil.rmtree(result, ignore_errors=True)
    start = ["-c", "from lyot.cli import main; main()", "run", str(slopes)]
    command = [sys.executable, *start, "--out", str(result), "--stages", "2-3", "--jobs", str(options.jobs)]
    record = {
        "what": f"stages 2 and 3 of the {options.size} sequence, {SIZES[options.size]}, as one command",
        "date": time.strftime("%Y-%m-%d"),
        "load_before": os.getloadavg(),
        "jobs": options.jobs or "automatic",
        "cpus": os.cpu_count(),
    }
    begin = time.time()
    record |= watch(command, environment | {"PYTHONWARNINGS": "ignore"}, options.work / "run.log")
    record["wall_s_of_stages_2_and_3_with_start_up"] = stages_alone(result, begin)
    record["seconds_by_stage"] = step_times(result)
    records = json.loads(options.out.read_text()) if options.out.is_file() else []
    options.out.write_text(json.dumps([*records, record], indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
