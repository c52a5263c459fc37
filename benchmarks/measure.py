"""How long the measurements take, on a full-size F1550C sequence (two rolls, nine references, 224 x 288).

The contrast curve is made as `lyot contrast` does it, and the naive way: every injection through the whole reduction,
planned anew. The naive way is run on a few injections and its time is multiplied; the output says so. With `--vip` and
the Python of an environment that has `vip_hci`, its `contrast_curve` runs on the same cube as well, RDI with as many
modes; it sets its separations itself (one for each FWHM) and injects several planets at once.

Wall and CPU time are told apart: on a machine that does other work only the latter can be compared.

    python benchmarks/measure.py [--separations 20] [--angles 8] [--naive 3] [--vip PYTHON] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.measure import CompanionParams, ContrastParams, contrast_curve, fit_companions, snr_map
from lyot.measure.injection import Injector
from lyot.optics import CoronagraphModel
from lyot.reduction.injector import injector_of, off_axis_source
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction

PARAMS = ReductionParams(truncations=(5,), recommended=5)


def make_sequence(seed: int = 1) -> CoronagraphicSequence:
    """A halo with a few changing patterns, and noise; what is in it does not matter for the time."""
    c, rng = coronagraph("F1550C"), np.random.default_rng(seed)
    ny, nx = c.shape
    halo = 100 * np.exp(-geometry.radius_map((ny, nx), c.reference_point) / 15)
    patterns = ndimage.gaussian_filter(rng.normal(size=(6, ny, nx)), (0, 1.9, 1.9))
    frames = halo * (1 + 0.3 * np.einsum("nm,myx->nyx", rng.normal(size=(11, 6)), patterns))
    frames += rng.normal(scale=0.3, size=frames.shape)
    return CoronagraphicSequence(
        science=frames[:2], exposure=np.arange(2), pa_y=np.array([113.0, 122.4]),
        star=np.array([c.reference_point] * 2), pixel_scale=c.pixel_scale, references=frames[2:],
        boundary_tilt=c.boundary_tilt,
    )  # fmt: skip


def prepared(sequence: CoronagraphicSequence) -> Injector:
    """The reduction, planned, with sources of the coronagraph's model; nothing is cached yet."""
    c = coronagraph("F1550C")
    return injector_of(plan_reduction(sequence, PARAMS), off_axis_source(sequence, c.filter, c.pixel_area))


@dataclass(frozen=True)
class Seconds:
    """Time that something took, s."""

    wall: float
    cpu: float

    def times(self, factor: float) -> dict[str, float]:
        """As a record, multiplied."""
        return {"wall_s": round(self.wall * factor, 2), "cpu_s": round(self.cpu * factor, 2)}


def timed(call: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Times and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), result


VIP = """
import json, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
import vip_hci
from vip_hci.metrics import contrast_curve
from vip_hci.psfsub import pca
data = np.load(sys.argv[1])
scale, fwhm, branches = float(data["scale"]), float(data["fwhm"]), int(data["branches"])
wall, cpu = time.perf_counter(), time.process_time()
table = contrast_curve(
    data["cube"], data["angles"], data["psf"], fwhm, scale, 1.0, pca, nbranch=branches, plot=False, verbose=False,
    cube_ref=data["references"], ncomp=5, imlib="vip-fft", nproc=1,
)
print(json.dumps({"version": vip_hci.__version__, "wall_s": round(time.perf_counter() - wall, 2),
                  "cpu_s": round(time.process_time() - cpu, 2), "separations": len(table), "angles": branches}))
"""
"""Run by another interpreter on a file with the cube."""


def vip(python: str, sequence: CoronagraphicSequence, psf: NDArray[np.float64], angles: int) -> dict[str, Any]:
    """The contrast curve of `vip_hci` on the same frames, cut to odd squares about the star."""
    c = coronagraph("F1550C")
    x, y = (round(v) for v in sequence.star[0])
    half = min(x, y, c.shape[1] - 1 - x, c.shape[0] - 1 - y)
    box = (slice(None), slice(y - half, y + half + 1), slice(x - half, x + half + 1))
    assert sequence.references is not None
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/cube.npz"
        np.savez(
            path, cube=sequence.science[box], references=sequence.references[box], angles=-sequence.pa_y, psf=psf,
            scale=c.pixel_scale[0], fwhm=c.lambda_over_d / c.pixel_scale[0], branches=angles,
        )  # fmt: skip
        done = subprocess.run([python, "-c", VIP, path], capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Measure and print a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--separations", type=int, default=20)
    parser.add_argument("--angles", type=int, default=8)
    parser.add_argument("--naive", type=int, default=3, help="injections of the naive way that are run")
    parser.add_argument("--vip", help="Python of an environment with vip_hci")
    parser.add_argument("--out", type=Path, help="write the record there as well")
    args = parser.parse_args()
    sequence = make_sequence()
    fwhm = coronagraph("F1550C").lambda_over_d / 0.1105
    first, warm = timed(lambda: prepared(sequence))
    warm.forward(1.0, 1.0)
    warm.forward_window(1.0, 1.0, (slice(100, 130), slice(100, 130)))
    snr_map(warm.image, warm.center, fwhm)  # kernels are compiled, or read from their cache
    prepare, injector = timed(lambda: prepared(sequence))
    contrast = ContrastParams(separations=args.separations, angles=args.angles)
    seconds, _ = timed(lambda: contrast_curve(injector, fwhm, contrast))
    n = args.separations * args.angles

    def naive() -> None:
        for i in range(args.naive):
            frames = sequence.science + 1e-4 * injector.signal(1.0 + 0.1 * i, 0.5)
            plan_reduction(sequence.replace(science=frames), PARAMS).reduce(with_variance=False)

    naive_seconds, _ = timed(naive)
    east, north = 1.0, 0.8
    planet = sequence.replace(science=sequence.science + 5e-4 * injector.signal(east, north))
    second = prepared(planet)
    guess = (float(np.hypot(east, north)), float(np.degrees(np.arctan2(east, north))))
    fit_seconds, _ = timed(lambda: fit_companions(second, fwhm, [guess], CompanionParams()))
    image = np.random.default_rng(0).normal(size=(200, 200))
    map_seconds, _ = timed(lambda: snr_map(image, (100, 100), fwhm))
    record: dict[str, Any] = {
        "machine": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1), "injections": n,
        "plan_and_optics_first": first.times(1), "plan_and_optics_again": prepare.times(1),
        "contrast_curve": seconds.times(1),
        "naive": {**naive_seconds.times(n / args.naive), "extrapolated_from": args.naive},
        "companion_with_posterior": fit_seconds.times(1), "snr_map_200x200": map_seconds.times(1),
    }  # fmt: skip
    if args.vip:
        psf = CoronagraphModel.build("F1550C").off_axis_psf((8.0, 7.0), size=41)
        record["vip_contrast_curve"] = vip(args.vip, sequence, psf / psf.sum(), args.angles)
    text = json.dumps(record, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
