"""AU Mic with NIRCam (F444W, two rolls, six references): speed against the floor, and what is left of the disk.

    python benchmarks/stage3_aumic.py DATA [--out FILE]

DATA holds the calibrated exposures (coadded, cropped to 201 x 201 or so). The floor is the bare linear algebra of one
fit over the whole frame, as in `stage3_klip`. The disk's flux is that in a box along it on both sides of the star, in
the combined image, less the median beside it; the light of the disk that a reduction keeps is told by a model disk sent
through the same projection, which does not depend on what the star leaves.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lyot import geometry
from lyot.subtract import CoronagraphicSequence, ReductionParams, klip, plan_reduction

FloatArray = NDArray[np.float64]
TRUNCATIONS = (1, 2, 3, 4, 5, 6)
DISK_ANGLE = 128.5


def read(folder: Path) -> CoronagraphicSequence:
    """The sequence: the first two exposures are AU Mic, the other six the reference star."""
    from lyot.steps.sequence_io import build_sequence, open_exposure

    models = [open_exposure(str(p)) for p in sorted(folder.glob("*calints.fits"))]
    return build_sequence(models[:2], models[2:]).sequence


def floor(science: FloatArray, references: FloatArray) -> FloatArray:
    """The bare linear algebra."""
    r = references - references.mean(axis=1, keepdims=True)
    s = science - science.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(r @ r.T)
    z = (vectors[:, ::-1] / np.sqrt(values[::-1])).T @ r
    c = s @ z.T
    out = np.empty((len(TRUNCATIONS), *s.shape))
    for t, k in enumerate(TRUNCATIONS):
        out[t] = s - c[:, :k] @ z[:k]
    return out


def seconds(call: Callable[[], Any], repeat: int = 40) -> float:
    """Shortest wall time of many runs."""
    call()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def along_disk(
    shape: tuple[int, int], center: tuple[float, float], scale: float, angle: float
) -> tuple[FloatArray, FloatArray]:
    """Distance along and across the disk's major axis, arcsec, for a position angle on an image with north up."""
    dx, dy = geometry.offset_grid(shape, center)
    t = np.radians(angle)
    east, north = -dx * scale, dy * scale
    return east * np.sin(t) + north * np.cos(t), east * np.cos(t) - north * np.sin(t)


def disk_model(sequence: CoronagraphicSequence) -> FloatArray:
    """An edge-on disk of falling brightness in each exposure, on the detector: (nexposures, ny, nx)."""
    frames = []
    for star, pa in zip(sequence.star, sequence.pa_y, strict=True):
        scale = float(np.mean(sequence.pixel_scale))
        u, v = along_disk(sequence.shape, (float(star[0]), float(star[1])), scale, DISK_ANGLE - float(pa))
        frames.append(np.exp(-0.5 * (v / 0.1) ** 2) * np.maximum(np.abs(u), 0.5) ** -1.5 * (np.abs(u) < 4.5))
    return np.array(frames)


def flux(image: FloatArray, center: tuple[float, float], scale: float) -> float:
    """Flux of the disk from 1.2 to 4 arcsec on both sides, less the median beside it."""
    u, v = along_disk((image.shape[0], image.shape[1]), center, scale, DISK_ANGLE)
    part = (np.abs(u) > 1.2) & (np.abs(u) < 4.0) & np.isfinite(image)
    disk, beside = part & (np.abs(v) < 0.3), part & (np.abs(v) > 0.8) & (np.abs(v) < 1.4)
    return float((image[disk] - np.median(image[beside])).sum())


def reductions() -> dict[str, ReductionParams]:
    """Plain RDI, and Lyot's defaults and variants."""
    defaults = ReductionParams(truncations=TRUNCATIONS)
    return {
        "RDI: one fit over the frame, 6 modes": replace(defaults, zone_edges=()),
        "RDI: one fit over the frame, 1 mode": replace(defaults, zone_edges=(), recommended=1),
        "Lyot's defaults": defaults,
        "ADI and RDI together": replace(defaults, strategy="adi+rdi", truncations=(7,)),
        "ten annuli, four sectors": replace(
            defaults, zone_edges=tuple(0.6 * k for k in range(1, 10)), sectors=4
        ),
    }  # fmt: skip


def disk_row(sequence: CoronagraphicSequence, params: ReductionParams) -> dict[str, float]:
    """Measured flux of the disk, what is kept of a model disk, and the position angle of the brightest direction."""
    plan = plan_reduction(sequence, params)
    result = plan.reduce(with_variance=False)
    image, center, scale = result.image, result.center, result.pixel_scale
    model = disk_model(sequence)[sequence.exposure]
    size = 0.01 * float(np.nanmax(np.abs(image))) * model
    more = plan.reduce(sequence.science + size, with_variance=False).image - image
    whole = plan.combine(np.where(np.isfinite(plan.frames()), plan.frames(size), np.nan)[np.newaxis])[1][0]
    dx, dy = geometry.offset_grid((image.shape[0], image.shape[1]), center)
    r = np.hypot(dx, dy) * scale
    angle = np.degrees(np.arctan2(-dx, dy)) % 180
    ring = (r > 1.3) & (r < 2.4) & np.isfinite(image)
    bins = np.arange(0, 180, 2)
    profile = [np.median(image[ring & (angle >= b) & (angle < b + 2)]) for b in bins]
    return {
        "flux": round(flux(image, center, scale), 3),
        "kept_of_a_model_disk": round(flux(more, center, scale) / flux(whole, center, scale), 3),
        "position_angle": float(bins[int(np.argmax(profile))] + 1),
    }


def main() -> None:
    """Measure, write and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stage3_aumic.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    sequence = read(options.data)
    good = np.isfinite(sequence.science).all(axis=0) & np.isfinite(sequence.references).all(axis=0)
    science, references = (np.asarray(x[:, good], np.float64) for x in (sequence.science, sequence.references))
    with threadpool_limits(1, user_api="blas"):
        times = {
            "floor": seconds(lambda: floor(science, references)),
            "lyot": seconds(lambda: klip.subtract(klip.klip_model(references, None, TRUNCATIONS), science)),
        }
        expected = floor(science, references)
        found = klip.subtract(klip.klip_model(references, None, TRUNCATIONS), science)
    record = {
        "what": f"{len(science)} science, {len(references)} references, {science.shape[1]} pixels, "
        f"{len(TRUNCATIONS)} truncations",
        "milliseconds": {k: round(1e3 * v, 2) for k, v in times.items()},
        "times_the_floor": round(times["lyot"] / times["floor"], 2),
        "largest_difference": float(np.abs(found - expected).max() / np.abs(science).max()),
        "load_average": os.getloadavg(),
        "disk": {name: disk_row(sequence, params) for name, params in reductions().items()},
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
