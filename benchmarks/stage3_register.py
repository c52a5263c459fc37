"""Registration of references: Lyot beside the official `align_refs` on the same frames, in one run, one thread.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/stage3_register.py [--data DIR] [--out FILE]

Two sets: nine dithered F1550C references from the model of the coronagraph, with noise, on 210 x 215 pixels; and, with
``--data``, the archival F1140C references of HD 106906 (210 x 215, nine exposures; their first integrations). The
official function is `jwst.coron.imageregistration.align_array`, which `align_refs` calls; it gets no NaN (it spreads
them) and no mask. The time is that of the processor, for a frame, the least of several runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

REAL = ("jw01277019001_04101_00001", "jw01194015001_04101_0000")


def modeled(*, n: int = 9, noise: float = 0.3, seed: int = 5) -> tuple[FloatArray, FloatArray]:
    """A science image and dithered, three times brighter references of the model, with noise, MJy/sr."""
    from lyot.optics import CoronagraphModel, OpticsParams, drifted

    rng = np.random.default_rng(seed)
    model = CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=3))
    c = model.coronagraph
    star = 0.034e-6 / c.pixel_area
    place = {"shape": (210, 215), "center": (c.reference_point[0] - 13, c.reference_point[1] - 7)}
    science = star * model.psf((0.003, -0.002), **place)
    references = [
        3.2 * star * model.psf(tuple(rng.uniform(-0.02, 0.02, 2)), wavefront=drifted(model.wavefront, 5, rng), **place)
        for _ in range(n)
    ]
    frames = np.array([science, *references])
    frames += noise * rng.standard_normal(frames.shape)
    return frames[0], frames[1:]


def archival(folder: Path) -> tuple[FloatArray, FloatArray]:
    """Science mean and first integrations of the references of HD 106906, bad pixels filled."""
    from astropy.io import fits

    from lyot.subtract.combine import fill_bad

    def read(path: Path) -> FloatArray:
        with fits.open(path) as hdus:
            cube = np.array(hdus["SCI"].data, dtype=float)
            cube[(hdus["DQ"].data & 1) > 0] = np.nan
        return cube

    where = folder / "miri_hd106906_f1140c" if (folder / "miri_hd106906_f1140c").is_dir() else folder
    science = fill_bad(read(next(where.glob(f"{REAL[0]}*")))[0])
    return science, np.array([fill_bad(read(p)[0]) for p in sorted(where.glob(f"{REAL[1]}*"))])


def least_time(function: Callable[[], object], repeats: int) -> float:
    """Least processor time of several calls, s."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def compare(science: FloatArray, references: FloatArray) -> dict[str, object]:
    """Times per frame and differences of the shifts."""
    from jwst.coron.imageregistration import align_array

    from lyot.subtract.register import RegistrationParams, register

    mask, n = np.ones(science.shape), len(references)
    official = align_array(science, references, mask=mask, return_aligned=False)
    periodic = register(references, science, params=RegistrationParams(pad=0))
    found = register(references, science)
    theirs = least_time(lambda: align_array(science, references, mask=mask, return_aligned=False), 2) / n
    ours = least_time(lambda: register(references, science), 7) / n
    holes = references.copy()
    holes[np.random.default_rng(1).random(holes.shape) < 1e-3] = np.nan
    with_nan = least_time(lambda: register(holes, science), 7) / n
    return {
        "frames": n,
        "shape": list(science.shape),
        "official_ms": round(1e3 * theirs, 1),
        "lyot_ms": round(1e3 * ours, 2),
        "lyot_own_bad_pixels_ms": round(1e3 * with_nan, 2),
        "times_faster": round(theirs / ours, 1),
        "times_faster_own_bad_pixels": round(theirs / with_nan, 1),
        "largest_difference_px_periodic": float(np.abs(periodic.shift - official[:, :2]).max().round(7)),
        "largest_difference_px_padded": float(np.abs(found.shift - official[:, :2]).max().round(5)),
        "converged": bool(found.converged.all()),
    }


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the archival HD 106906 exposures")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stage3_register.json")
    options = parser.parse_args()
    record = {"what": "processor time per frame, one thread", "model F1550C": compare(*modeled())}
    if options.data is not None:
        record["HD 106906 F1140C"] = compare(*archival(options.data))
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
