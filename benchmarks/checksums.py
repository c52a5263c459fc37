"""Checksums of the inputs of a run, which decide whether products are up to date, beside only reading the files.

    python benchmarks/checksums.py FOLDER [--threads N]

Reads the FITS files of FOLDER that fit into memory four times each way, after a reading that is not counted, so that
they are in the page cache; writes the medians to results/checksums.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import xxhash

from lyot.records.manifest import file_checksum

RESULTS = Path(__file__).parent / "results" / "checksums.json"
REPEATS = 4
CHUNK = 1 << 20


def read_with(update: Callable[[memoryview], object], path: Path) -> None:
    """Hand the bytes of a file to `update`, a MiB at a time."""
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            update(buffer[:count])


WAYS: dict[str, Callable[[Path], object]] = {
    "reading only": lambda path: read_with(len, path),
    "XXH3, 128 bits": lambda path: read_with(xxhash.xxh3_128().update, path),
    "as lyot does it": file_checksum,
    "SHA-256": lambda path: read_with(hashlib.sha256().update, path),
    "BLAKE2b": lambda path: read_with(hashlib.blake2b().update, path),
}


def seconds(way: Callable[[Path], object], files: list[Path], threads: int) -> float:
    """Wall time of all files, s."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(way, files))
    return time.perf_counter() - begin


def main() -> None:
    """Read, measure, write and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    files = sorted(options.folder.rglob("*.fits"))
    seconds(WAYS["reading only"], files, options.threads)
    # one after the other in every round, so that a machine that slows down does so for all
    rounds = [{name: seconds(way, files, options.threads) for name, way in WAYS.items()} for _ in range(REPEATS)]
    size = sum(path.stat().st_size for path in files) / 1e9
    record = {"date": time.strftime("%Y-%m-%d"), "gigabytes": round(size, 3), "threads": options.threads}
    record["gigabytes_per_second"] = {name: round(size / median(r[name] for r in rounds), 2) for name in WAYS}
    record["time_of_reading"] = {
        name: round(median(r[name] / r["reading only"] for r in rounds), 2) for name in WAYS
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
