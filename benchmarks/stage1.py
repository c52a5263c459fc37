"""Stage 1 beside the official pipeline: wall time and peak memory of whole processes, and agreement of the products.

    python benchmarks/stage1.py [--ints 10 --groups 250] [--full] [--repeat 1] [--only lyot]
    python benchmarks/stage1.py --memory

Makes one exposure of the MASK1550 subarray with its references, runs the official `Detector1Pipeline` and ours on it,
each in a process of its own from import to written products, and appends the figures to results/stage1.json. ``--full``
is one science exposure of the real sequence, 60 integrations of 250 groups: the official pipeline needs 20 GB for it.
The first run of ours compiles; a warm-up on a small exposure comes before what is measured, as it would in a sequence.
The streaming engine is also timed inside a process, on 1 and 2 threads, beside the floor of merely reading the file
(from the page cache, as the engine does). ``--memory`` gives the peak memory of ours for 10, 60 and 240 integrations.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SHAPE = (224, 288)
GROUP_TIME = 0.23968
NAME = "jw01386008001_04101_00001_mirimage"

RUN = """
import json, sys
steps, out, file, kind, options = json.loads(sys.argv[1])
if kind == "lyot":
    from lyot.steps.detector1 import Detector1Pipeline
else:
    from jwst.pipeline import Detector1Pipeline
Detector1Pipeline.call(file, steps=steps, save_results=True, output_dir=out, **options)
"""

ENGINE = """
import json, os, sys, time
steps, out, file, kind, options = json.loads(sys.argv[1])
from lyot.ramps import engine
from lyot.steps.detector1 import Detector1Pipeline
process, found = engine.process_exposure, {}
def timed(*args, **kwargs):
    wall, cpu = time.perf_counter(), time.process_time()
    result = process(*args, **kwargs)
    found["engine_wall_s"], found["engine_cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu
    return result
engine.process_exposure = timed
runs = {}
for threads in (1, 2):
    for attempt in range(2):
        start = time.perf_counter()
        Detector1Pipeline.call(file, steps=steps, save_results=True, output_dir=out, threads=threads, **options)
        found["call_wall_s"] = time.perf_counter() - start
        best = runs.get(threads)
        if best is None or found["engine_wall_s"] < best["engine_wall_s"]:
            runs[threads] = dict(found)
floor = None
for attempt in range(2):
    start = time.perf_counter()
    with open(file, "rb", buffering=0) as stream:
        block = bytearray(1 << 20)
        while stream.readinto(block):
            pass
    took = time.perf_counter() - start
    floor = took if floor is None else min(floor, took)
with open(os.path.join(out, "engine.json"), "w") as stream:
    json.dump({"threads": runs, "read_file_s": floor}, stream)
"""
"""Times of the engine and of the whole call within one process, the better of two, and of reading the file."""


def _identify(model: Any, *, subarray: bool = True) -> None:
    model.meta.telescope = "JWST"
    model.meta.instrument.name, model.meta.instrument.detector = "MIRI", "MIRIMAGE"
    if subarray:
        sub = model.meta.subarray
        sub.name, sub.xstart, sub.ystart, sub.fastaxis, sub.slowaxis = "MASK1550", 1, 463, 1, 2
        sub.ysize, sub.xsize = SHAPE


def write_references(folder: Path, ngroups: int) -> dict[str, dict[str, str]]:
    """Write reference files of a plausible detector; returns pipeline ``steps`` that use them."""
    from stdatamodels.jwst import datamodels

    from lyot import dq

    rng = np.random.default_rng(5)
    pick = rng.random(SHAPE)
    dark_rate = rng.gamma(2, 0.02, SHAPE).astype(np.float32)
    dark_rate[pick < 0.003] = 30
    mask = np.where(pick > 0.997, dq.DO_NOT_USE | dq.DEAD, 0).astype(np.uint32)
    coefficients = np.zeros((5, *SHAPE), np.float32)
    coefficients[1], coefficients[2] = 1.0, rng.normal(6e-7, 1e-8, SHAPE)
    settle = 30 * np.exp(-np.arange(15) / 3.0)[None, :, None, None] * rng.normal(1, 0.2, (4, 1, *SHAPE))
    frames = np.arange(1, ngroups + 1, dtype=np.float32)[None, :, None, None]
    models = {
        "mask": datamodels.MaskModel(dq=mask),
        "saturation": datamodels.SaturationModel(data=np.full(SHAPE, 58000, np.float32)),
        "reset": datamodels.ResetModel(data=settle.astype(np.float32), dq=np.zeros(SHAPE, np.uint32)),
        "linearity": datamodels.LinearityModel(coeffs=coefficients, dq=np.zeros(SHAPE, np.uint32)),
        "dark": datamodels.DarkMIRIModel(data=np.concatenate([dark_rate * GROUP_TIME * frames] * 2)),
        "gain": datamodels.GainModel(data=np.full(SHAPE, 5.5, np.float32)),
        "readnoise": datamodels.ReadnoiseModel(data=rng.normal(6.0, 0.3, SHAPE).astype(np.float32)),
    }
    models["reset"].meta.exposure.nints, models["reset"].meta.exposure.ngroups = 4, 15
    e = models["dark"].meta.exposure
    e.nframes, e.groupgap, e.ngroups, e.nints = 1, 0, ngroups, 2
    models["dark"].dq = np.zeros((2, 1, *SHAPE), np.uint32)
    table = np.array(
        [("MASK1550", "FASTR1", 4, 4)],
        dtype=[("subarray", "S13"), ("readpatt", "S8"), ("group_skip", "i4"), ("group_skip1", "i4")],
    )
    models["rscd"] = datamodels.RSCDModel(rscd_group_skip_table=table)
    files = {}
    for kind, model in models.items():
        _identify(model, subarray=kind != "rscd")
        model.meta.reftype, model.meta.useafter = kind, "2022-01-01T00:00:00"
        model.meta.author = model.meta.pedigree = model.meta.description = "SYNTHETIC"
        files[kind] = str(folder / f"{kind}.fits")
        model.save(files[kind])
    steps = {
        step: {f"override_{kind}": files[kind]}
        for step, kind in {
            "dq_init": "mask", "saturation": "saturation", "reset": "reset", "linearity": "linearity",
            "rscd": "rscd", "dark_current": "dark", "gain_scale": "gain",
        }.items()
    }  # fmt: skip
    both = {"override_gain": files["gain"], "override_readnoise": files["readnoise"]}
    return steps | {"jump": both, "ramp_fit": both}


def write_exposure(path: Path, nints: int, ngroups: int, distinct: int | None = None) -> None:
    """Write a level-1b file, integration by integration: a bright star's glow, background, noise and cosmic rays.

    With `distinct`, that many integrations are made, and repeated in turn.
    """
    from astropy.io import fits
    from stdatamodels.jwst import datamodels

    model = datamodels.Level1bModel(data=np.zeros((1, 1, *SHAPE), np.uint16))
    _identify(model)
    model.meta.instrument.filter, model.meta.instrument.coronagraph = "F1550C", "4QPM_1550"
    e = model.meta.exposure
    e.nints, e.ngroups, e.nframes, e.groupgap, e.frame_divisor = nints, ngroups, 1, 0, 1
    e.readpatt, e.frame_time, e.group_time, e.type = "FASTR1", GROUP_TIME, GROUP_TIME, "MIR_4QPM"
    e.zero_frame = False
    model.meta.observation.date, model.meta.observation.time = "2022-07-17", "00:00:00.000"
    model.meta.filename = path.name
    model.save(path)
    with fits.open(path) as hdus:
        primary, header = hdus[0].header.copy(), hdus["SCI"].header.copy()
        end = hdus["SCI"].fileinfo()["datLoc"] + hdus["SCI"].fileinfo()["datSpan"]
    tables = path.read_bytes()[end:]
    header["NAXIS4"], header["NAXIS3"] = nints, ngroups
    y, x = np.indices(SHAPE)
    r = np.hypot(x - 119.75, y - 113.29)
    rate = (40 + 3000 * np.exp(-r / 9) + 15 * np.sin(r / 3) ** 2).astype(np.float32) * GROUP_TIME
    rng = np.random.default_rng(17)
    with path.open("wb") as stream:
        stream.write(primary.tostring().encode())
        stream.write(header.tostring().encode())
        made: list[bytes] = []
        for i in range(nints):
            if distinct is not None and i >= distinct:
                stream.write(made[i % distinct])
                continue
            charge = rng.poisson(rate * 5.5, (ngroups, *SHAPE)).astype(np.float32)
            n = rng.poisson(charge.size * 4e-5)
            charge.reshape(-1)[rng.integers(0, charge.size, n)] += rng.exponential(6000, n).astype(np.float32)
            ramp = 9000 + np.cumsum(charge, axis=0) / 5.5
            ramp += rng.normal(0, 4.2, ramp.shape).astype(np.float32)
            samples = (np.clip(ramp, 1, 65535).astype(np.uint16) ^ np.uint16(0x8000)).astype(">u2").tobytes()
            stream.write(samples)
            if distinct is not None:
                made.append(samples)
        stream.write(b"\0" * (-stream.tell() % 2880))
        stream.write(tables)


def measure(
    kind: str, file: Path, steps: dict[str, Any], out: Path, options: dict[str, Any], script: str = RUN
) -> dict[str, Any]:
    """Run a pipeline in a process of its own; wall time s, CPU time s and peak memory MB of it and its children.

    The peak is that of the largest process: the workers of the official pipeline come on top of it.
    """
    out.mkdir(parents=True, exist_ok=True)
    job = json.dumps([steps, str(out), str(file), kind, options])
    code = (
        "import resource, subprocess, sys, json, time; t = time.time(); "
        "r = subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]], capture_output=True, text=True); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([time.time() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024, r.returncode, "
        "r.stderr[-2000:]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, script, job], capture_output=True, text=True, check=True)
    wall, cpu, peak, status, errors = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{kind} failed:\n{errors}")
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "peak_mb": round(peak)}


def compare(ours: Path, theirs: Path) -> dict[str, Any]:
    """Differences of the products: flags that differ, largest relative difference, and how many are beyond 1e-5."""
    from astropy.io import fits

    result: dict[str, Any] = {}
    for kind in ("rate", "rateints"):
        with fits.open(ours / f"{NAME}_{kind}.fits") as a, fits.open(theirs / f"{NAME}_{kind}.fits") as b:
            result[kind] = {"dq_pixels": int(a["DQ"].data.size), "dq_differ": int((a["DQ"].data != b["DQ"].data).sum())}
            for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"):
                p, q = a[name].data.astype(float), b[name].data.astype(float)
                both = np.isfinite(p) & np.isfinite(q)
                relative = np.abs(p - q)[both] / np.maximum(np.abs(q[both]), 1e-30)
                result[kind][name] = {
                    "max_relative": float(relative.max(initial=0)),
                    "beyond_1e-5": int((relative > 1e-5).sum()) + int((np.isfinite(p) != np.isfinite(q)).sum()),
                }
    return result


def prepare(root: Path, nints: int, ngroups: int, distinct: int | None = None) -> tuple[Path, dict[str, Any]]:
    """References, exposure and an empty reference cache in a folder."""
    from lyot.simulator.crds_cache import write_empty_cache

    cache = write_empty_cache(root / "crds_cache")
    os.environ.update(cache.environment())
    os.environ.pop("CRDS_SERVER_URL", None)
    file = root / f"{NAME}_uncal.fits"
    start = time.time()
    write_exposure(file, nints, ngroups, distinct)
    print(f"wrote {file.stat().st_size / 1e6:.0f} MB in {time.time() - start:.0f} s", flush=True)
    return file, write_references(root, ngroups)


def engine_times(file: Path, steps: dict[str, Any], out: Path, samples: int) -> dict[str, Any]:
    """Times within one process, with the samples per second of the engine on 1 and 2 threads."""
    measure("lyot", file, steps, out, {}, ENGINE)
    found: dict[str, Any] = json.loads((out / "engine.json").read_text())
    for run in found["threads"].values():
        run["msamples_per_s"] = samples / run["engine_wall_s"] / 1e6
        run["cpu_ns_per_sample"] = run["engine_cpu_s"] / samples * 1e9
        run["times_the_read"] = run["engine_wall_s"] / found["read_file_s"]
        run.update({key: round(value, 3) for key, value in run.items()})
    found["read_file_s"] = round(found["read_file_s"], 3)
    return found


def memory(root: Path, ngroups: int) -> dict[str, Any]:
    """Peak memory of ours by the number of integrations, of which 2 are made and repeated."""
    result = {}
    for nints in (10, 60, 240):
        file, steps = prepare(root, nints, ngroups, 2)
        result[nints] = measure("lyot", file, steps, root / "lyot", {})
        print(f"{nints:4d} integrations of {ngroups} groups: {result[nints]['peak_mb']} MB at most", flush=True)
        file.unlink()
    return result


def summary(record: dict[str, Any]) -> str:
    """The figures of a record as a table."""
    lines = [f"{record['ints']} integrations of {record['groups']} groups, load {record['load_before']:.1f} before"]
    for kind in ("stock", "lyot"):
        if kind in record:
            r = record[kind]
            lines.append(f"{kind:6s} wall {r['wall_s']:8.1f} s   CPU {r['cpu_s']:8.1f} s   peak {r['peak_mb']:6.0f} MB")
    if "ratio_wall" in record:
        ratios = (record["ratio_wall"], record["ratio_cpu"], record["ratio_memory"])
        lines.append("ratio  wall {:8.1f}     CPU {:8.1f}     peak {:6.1f}".format(*ratios))
        for kind, parts in record["parity"].items():
            worst = max(v["max_relative"] for v in parts.values() if isinstance(v, dict))
            beyond = sum(v["beyond_1e-5"] for v in parts.values() if isinstance(v, dict))
            lines.append(
                f"{kind}: DQ differs in {parts['dq_differ']} of {parts['dq_pixels']}; numbers by {worst:.1e} at most, "
                f"{beyond} beyond 1e-5"
            )
    if "engine" in record:
        for threads, r in record["engine"]["threads"].items():
            lines.append(
                f"engine, {threads} thread(s): {r['engine_wall_s']:.1f} s, {r['msamples_per_s']:.0f} M samples/s, "
                f"{r['cpu_ns_per_sample']:.1f} ns of CPU per sample, {r['times_the_read']:.1f} times reading the file; "
                f"whole call {r['call_wall_s']:.1f} s"
            )
        lines.append(f"reading the file: {record['engine']['read_file_s']:.2f} s")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ints", type=int, default=10)
    parser.add_argument("--groups", type=int, default=250)
    parser.add_argument("--full", action="store_true", help="60 integrations of 250 groups")
    parser.add_argument("--only", choices=("lyot", "stock"), help="run one of the two")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cores", default="none,all", help="settings of maximum_cores to try for the official one")
    parser.add_argument("--memory", action="store_true", help="peak memory of ours by the number of integrations")
    parser.add_argument("--scratch", type=Path, help="folder for the files")
    args = parser.parse_args()
    nints, ngroups = (60, 250) if args.full else (args.ints, args.groups)
    samples = nints * ngroups * SHAPE[0] * SHAPE[1]
    record: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "ints": nints, "groups": ngroups}
    record |= {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        root = Path(scratch)
        if args.memory:
            record = {"date": record["date"], "groups": ngroups, "memory": memory(root, ngroups)}
            append(record)
            return
        file, steps = prepare(root, nints, ngroups)
        if args.only != "stock":
            small = root / "small"
            small.mkdir()
            write_exposure(small / file.name, 1, 20)
            measure("lyot", small / file.name, steps, small / "out", {})
            runs = [measure("lyot", file, steps, root / "lyot", {"threads": args.threads}) for _ in range(args.repeat)]
            record["lyot"] = min(runs, key=lambda r: r["wall_s"])
            record["lyot"]["msamples_per_s"] = round(samples / record["lyot"]["wall_s"] / 1e6, 1)
            record["engine"] = engine_times(file, steps, root / "engine", samples)
            print(summary(record), flush=True)
        if args.only != "lyot":
            tried = {}
            for cores in args.cores.split(","):
                jobs = {s: steps[s] | {"maximum_cores": cores} for s in ("jump", "ramp_fit")}
                tried[cores] = measure("stock", file, steps | jobs, root / "stock", {})
                print(f"stock, maximum_cores={cores}: {tried[cores]}", flush=True)
            best = min(tried, key=lambda c: tried[c]["wall_s"])
            record["stock"] = tried[best] | {"maximum_cores": best, "tried": tried}
        if args.only is None:
            record["ratio_wall"] = round(record["stock"]["wall_s"] / record["lyot"]["wall_s"], 2)
            record["ratio_cpu"] = round(record["stock"]["cpu_s"] / record["lyot"]["cpu_s"], 2)
            record["ratio_memory"] = round(record["stock"]["peak_mb"] / record["lyot"]["peak_mb"], 2)
            record["parity"] = compare(root / "lyot", root / "stock")
    record["peak_of_this_script_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    append(record)
    print(summary(record))


def append(record: dict[str, Any]) -> None:
    """Print a record and add it to the log of results."""
    print(json.dumps(record, indent=1))
    log = HERE / "results" / "stage1.json"
    log.parent.mkdir(exist_ok=True)
    records = json.loads(log.read_text()) if log.is_file() else []
    log.write_text(json.dumps([*records, record], indent=1) + "\n")


if __name__ == "__main__":
    main()
