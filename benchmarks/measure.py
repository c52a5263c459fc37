"""How long the measurements take, on a full-size F1550C sequence (two rolls, nine references, 224 x 288).

The contrast curve is made as `lyot contrast` does it, and the naive way: every injection through the whole reduction,
planned anew. The naive way is run on a few injections and its time is multiplied; the output says so.

    python benchmarks/measure.py [--separations 20] [--angles 8] [--naive 3]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.measure import CompanionParams, ContrastParams, contrast_curve, fit_companions, snr_map
from lyot.measure.injection import Injector
from lyot.steps.measuring_io import injector_of, off_axis_source
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


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time, s, and the result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    """Measure and print a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--separations", type=int, default=20)
    parser.add_argument("--angles", type=int, default=8)
    parser.add_argument("--naive", type=int, default=3, help="injections of the naive way that are run")
    args = parser.parse_args()
    sequence = make_sequence()
    fwhm = coronagraph("F1550C").lambda_over_d / 0.1105
    warm = prepared(sequence)
    warm.forward(1.0, 1.0)
    snr_map(warm.image, warm.center, fwhm)
    injector = prepared(sequence)
    injector.psf(0, 1.0, 1.0)  # the mask's matrices, made once for a filter
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
    second.psf(0, 1.0, 1.0)
    guess = (float(np.hypot(east, north)), float(np.degrees(np.arctan2(east, north))))
    fit_seconds, _ = timed(lambda: fit_companions(second, fwhm, [guess], CompanionParams()))
    image = np.random.default_rng(0).normal(size=(200, 200))
    map_seconds, _ = timed(lambda: snr_map(image, (100, 100), fwhm))
    record = {
        "machine": platform.machine(), "processors": platform.processor(), "python": platform.python_version(),
        "contrast_curve_s": round(seconds, 2), "injections": n,
        "naive_s": round(naive_seconds / args.naive * n, 1), "naive_extrapolated_from": args.naive,
        "companion_with_posterior_s": round(fit_seconds, 2), "snr_map_200x200_s": round(map_seconds, 3),
    }  # fmt: skip
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
