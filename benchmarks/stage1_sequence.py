"""A whole observing sequence through stage 1: ours in one command, beside the official pipeline exposure by exposure.

    python benchmarks/stage1_sequence.py [--size full] [--input FOLDER] [--all] [--scratch FOLDER]

Simulates the sequence (`lyot simulate`; ``full``: 15 exposures, 4 of 60 integrations of 250 groups and 11 of 19 of
100, 15 GB) or takes a folder where that has been done, and runs `lyot run --stages 1` on it, from start to end of the
process, with compiled kernels in the cache as after any first use. The official `Detector1Pipeline` runs in a process
for each exposure, as its memory asks for; because it takes half an hour, one exposure of each size is timed and counted
for all of that size, unless ``--all`` is given. Time to import the official packages is given apart: a single process
for all exposures would spend it once. Appends to results/stage1_sequence.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

HERE = Path(__file__).resolve().parent
STOCK = """
import sys
from jwst.pipeline import Detector1Pipeline
Detector1Pipeline.call(sys.argv[1], save_results=True, output_dir=sys.argv[2])
"""
IMPORTS = "import jwst.pipeline"


def timed(command: list[str], log: Path) -> dict[str, float]:
    """Run a command; wall and CPU time, s, and peak memory of its largest process, MB."""
    code = (
        "import json, resource, subprocess, sys, time; t = time.time(); "
        "r = subprocess.run(sys.argv[2:], stdout=open(sys.argv[1], 'ab'), stderr=subprocess.STDOUT).returncode; "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([time.time() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024, r]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(log), *command], capture_output=True, text=True, check=True)
    wall, cpu, peak, status = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "peak_mb": round(peak)}


def by_size(files: list[Path]) -> dict[tuple[int, int], list[Path]]:
    """Exposures by number of integrations and groups."""
    sizes = defaultdict(list)
    for file in files:
        header = fits.getheader(file)
        sizes[header["NINTS"], header["NGROUPS"]].append(file)
    return dict(sizes)


def largest_difference(ours: Path, theirs: Path) -> dict[str, float]:
    """Flags that differ and the largest relative difference of the slopes of two products."""
    with fits.open(ours) as a, fits.open(theirs) as b:
        p, q = a["SCI"].data.astype(float), b["SCI"].data.astype(float)
        relative = np.abs(p - q) / np.maximum(np.abs(q), 1e-30)
        blank = int((np.isfinite(p) != np.isfinite(q)).sum())
        return {
            "dq_differ": int((a["DQ"].data != b["DQ"].data).sum()) + blank,
            "max_relative": float(np.nanmax(relative)),
        }


def compare(ours: Path, theirs: Path) -> dict[str, dict[str, float]]:
    """`largest_difference` of every product that both made."""
    names = sorted(p.name for p in theirs.glob("*_rate*.fits"))
    return {name: largest_difference(ours / name, theirs / name) for name in names}


def stock_times(files: list[Path], out: Path, *, every: bool) -> dict[str, Any]:
    """Times of the official pipeline by size, and what they add up to."""
    out.mkdir()
    rows: list[dict[str, Any]] = []
    for (nints, ngroups), group in by_size(files).items():
        runs = [
            timed([sys.executable, "-c", STOCK, str(file), str(out)], out / "log.txt")
            for file in (group if every else group[:1])
        ]
        for run in runs:
            print(f"stock, {nints} x {ngroups}: {run}", flush=True)
        share = len(group) / len(runs)
        row: dict[str, Any] = {"ints": nints, "groups": ngroups, "exposures": len(group), "timed": len(runs)}
        row |= {key: round(share * sum(run[key] for run in runs), 1) for key in ("wall_s", "cpu_s")}
        rows.append(row | {"peak_mb": max(run["peak_mb"] for run in runs)})
    imports = timed([sys.executable, "-c", IMPORTS], out / "log.txt")["wall_s"]
    return {
        "sizes": rows,
        "wall_s": sum(r["wall_s"] for r in rows),
        "cpu_s": sum(r["cpu_s"] for r in rows),
        "peak_mb": max(r["peak_mb"] for r in rows),
        "import_s": imports,
        "wall_without_imports_s": sum(r["wall_s"] for r in rows) - imports * len(files),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="full", choices=("full", "medium", "small"))
    parser.add_argument("--input", type=Path, help="folder of a simulated sequence")
    parser.add_argument("--all", action="store_true", help="the official pipeline on every exposure")
    parser.add_argument("--scratch", type=Path, help="folder for the files (a temporary one in it is removed)")
    args = parser.parse_args()
    lyot = shutil.which("lyot", path=str(Path(sys.executable).parent)) or "lyot"
    record: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "size": args.size, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        root = Path(scratch)
        data = args.input or root / "data"
        if args.input is None:
            record["simulate"] = timed(
                [lyot, "simulate", "--filter", "F1550C", "--size", args.size, str(data)], root / "simulate.txt"
            )
            print(f"simulated: {record['simulate']}", flush=True)
        files = sorted(data.glob("*_uncal.fits"))
        record |= {"exposures": len(files), "gigabytes": round(sum(f.stat().st_size for f in files) / 1e9, 2)}
        os.environ.update(CRDS_PATH=str(data / "crds_cache"), CRDS_CONTEXT=context_of(data))
        os.environ.pop("CRDS_SERVER_URL", None)
        record["load_before"] = os.getloadavg()[0]
        record["lyot"] = timed(
            [lyot, "run", str(data), "--out", str(root / "lyot"), "--stages", "1"], root / "lyot.txt"
        )
        print(f"lyot: {record['lyot']}", flush=True)
        record["stock"] = stock_times(files, root / "stock", every=args.all)
        for key in ("wall_s", "cpu_s", "peak_mb"):
            record[f"ratio_{key.split('_')[0]}"] = round(record["stock"][key] / record["lyot"][key], 2)
        record["ratio_wall_without_imports"] = round(
            record["stock"]["wall_without_imports_s"] / record["lyot"]["wall_s"], 2
        )
        record["parity"] = compare(root / "lyot" / "stage1", root / "stock")
    record["peak_of_this_script_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    log = HERE / "results" / "stage1_sequence.json"
    log.parent.mkdir(exist_ok=True)
    records = json.loads(log.read_text()) if log.is_file() else []
    log.write_text(json.dumps([*records, record], indent=1) + "\n")
    print(json.dumps(record, indent=1))


def context_of(data: Path) -> str:
    """The calibration context of a simulated sequence."""
    return next((data / "crds_cache").rglob("*.pmap")).name


if __name__ == "__main__":
    main()
