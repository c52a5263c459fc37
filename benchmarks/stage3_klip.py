"""KLIP against its peers, on the same arrays in the same run, with BLAS on one thread.

The floor is what the linear algebra itself costs: one float64 Gram matrix, its eigenvectors, and matrix products for
all frames and truncations. Peers are measured if they can be imported (``pip install pyklip vip_hci`` in an
environment of its own, or on PYTHONPATH), and so is the official ``jwst`` step. Slow peers are run on some of the
frames and their time is multiplied; the JSON says so.

    python benchmarks/stage3_klip.py [--frames 120] [--references 171] [--size 215] [--repeat 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from lyot.subtract import klip

TRUNCATIONS = (1, 2, 5, 10, 50, 100)


def make_data(frames: int, references: int, size: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Science and reference frames, (n, size^2) float64: a halo with thirty changing patterns, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((size, size)) - (size - 1) / 2
    halo = (100 * np.exp(-np.hypot(x, y) / (size / 8))).ravel()
    patterns = rng.normal(size=(30, size * size)) * np.logspace(0, -2, 30)[:, None]
    weights = rng.normal(size=(frames + references, 30))
    cube = halo * (1 + 0.1 * weights @ patterns) + rng.normal(scale=0.1, size=(frames + references, size * size))
    return cube[:frames], cube[frames:]


def floor(science: np.ndarray, references: np.ndarray) -> np.ndarray:
    """The same sums with nothing around them."""
    r = references - references.mean(axis=1, keepdims=True)
    s = science - science.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(r @ r.T)
    k = max(TRUNCATIONS)
    z = (vectors[:, ::-1][:, :k] / np.sqrt(values[::-1][:k])).T @ r
    c = s @ z.T
    out = np.empty((len(TRUNCATIONS), *s.shape))
    done, last = 0, s
    for t, k in enumerate(TRUNCATIONS):
        np.matmul(c[:, done:k], z[done:k], out=out[t])
        np.subtract(last, out[t], out=out[t])
        done, last = k, out[t]
    return out


def ours(science: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Lyot's."""
    return klip.subtract(klip.klip_model(references, None, TRUNCATIONS), science)


def official(science: np.ndarray, references: np.ndarray, size: int, truncate: int) -> np.ndarray:
    """The jwst step's function, one truncation."""
    from jwst.coron.klip import klip as jwst_klip
    from stdatamodels.jwst.datamodels import CubeModel

    target = CubeModel(science.reshape(-1, size, size).astype(np.float32))
    refs = CubeModel(references.reshape(-1, size, size).astype(np.float32))
    return np.array(jwst_klip(target, refs, truncate, return_psf=False).data).reshape(len(science), -1)


def pyklip(science: np.ndarray, references: np.ndarray) -> np.ndarray:
    """pyKLIP's ``klip_math``, frame by frame as it is used."""
    from pyklip.klip import klip_math

    k = np.array(TRUNCATIONS)
    return np.stack([klip_math(s, references, k) for s in science]).transpose(2, 0, 1)


def vip(science: np.ndarray, references: np.ndarray, truncate: int) -> np.ndarray:
    """VIP's principal components and projection, one truncation."""
    from vip_hci.psfsub.svd import svd_wrapper

    r = references - references.mean(axis=1, keepdims=True)
    s = science - science.mean(axis=1, keepdims=True)
    v = svd_wrapper(r, "lapack", truncate, verbose=False)
    return s - (s @ v.T) @ v


def vip_pca(science: np.ndarray, references: np.ndarray, size: int, truncate: int) -> np.ndarray:
    """VIP's ``pca`` as it is used, one truncation: components, projection, derotation of every frame, median.

    Only the residuals before the derotation can be compared. The frames go in without their means.
    """
    from vip_hci.psfsub import pca

    cube, library = (
        (x - x.mean(axis=1, keepdims=True)).reshape(-1, size, size).astype(np.float64) for x in (science, references)
    )
    angles = np.linspace(0.0, 9.4, len(cube))
    products = pca(
        cube, angles, cube_ref=library, ncomp=truncate, svd_mode="lapack", nproc=1, full_output=True, verbose=False
    )
    return np.asarray(products[3], dtype=np.float64).reshape(len(science), -1)


def best_time(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Shortest wall time of some runs, s, and the last result."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run everything; returns the record."""
    science, references = make_data(args.frames, args.references, args.size)
    with threadpool_limits(1, user_api="blas"):
        expected = floor(science, references)
        ours(science, references)
        pairs = [
            (best_time(lambda: floor(science, references), 1)[0], best_time(lambda: ours(science, references), 1)[0])
            for _ in range(args.repeat)
        ]
        seconds = {"floor": min(p[0] for p in pairs), "lyot": min(p[1] for p in pairs)}
        scale = np.abs(science).max()
        agreement = {"lyot": float(np.abs(ours(science, references) - expected).max() / scale)}
        notes: dict[str, str] = {}
        few = science[: args.few]
        factor = len(science) / len(few)
        tops = {k: expected[TRUNCATIONS.index(k)][: args.few] for k in TRUNCATIONS}
        peers: dict[str, tuple[Callable[[], np.ndarray], np.ndarray, float, str]] = {
            "jwst klip, truncate=50 only": (
                lambda: official(few, references, args.size, 50), tops[50], factor,
                f"{len(few)} of {len(science)} frames, time per frame multiplied",
            ),
            "pyKLIP klip_math": (
                lambda: pyklip(few, references), expected[:, : args.few], factor,
                f"{len(few)} of {len(science)} frames, time per frame multiplied",
            ),
            "VIP pca, k=100 only (with derotation and median)": (
                lambda: vip_pca(science, references, args.size, 100), expected[TRUNCATIONS.index(100)], 1.0,
                "all frames",
            ),
            "VIP svd_wrapper and projection, k=100 only": (
                lambda: vip(science, references, 100), expected[TRUNCATIONS.index(100)], 1.0, "all frames",
            ),
        }  # fmt: skip
        for name, (call, wanted, times, note) in peers.items():
            try:
                call_seconds, result = best_time(call, 1)
            except ImportError as missing:
                notes[name] = f"not measured: {missing}"
                continue
            seconds[name] = call_seconds * times
            agreement[name] = float(np.abs(result - wanted).max() / scale)
            notes[name] = note
        blas = [f"{i.get('internal_api')} {i.get('version')}" for i in threadpool_info() if i["user_api"] == "blas"]
    return {
        "what": f"{args.frames} science x {args.references} references of {args.size}^2, truncations {TRUNCATIONS}",
        "seconds": seconds,
        "ratio_to_floor": {k: v / seconds["floor"] for k, v in seconds.items()},
        "times_slower_than_lyot": {k: v / seconds["lyot"] for k, v in seconds.items()},
        "largest_difference_from_floor_relative_to_brightest_pixel": agreement,
        "notes": notes,
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine(), "blas": blas},
        "load_average": os.getloadavg(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Parse the command line, measure, write and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--references", type=int, default=171)
    parser.add_argument("--size", type=int, default=215)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--peers",
        type=Path,
        action="append",
        default=[],
        help="folder with pyklip and vip_hci, if they are not installed",
    )
    parser.add_argument("--few", type=int, default=6, help="frames given to the slow peers")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stage3_klip.json")
    args = parser.parse_args()
    sys.path.extend(str(folder) for folder in args.peers)
    record = measure(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
