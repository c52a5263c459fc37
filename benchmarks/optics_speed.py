"""How long images and throughput maps of the optical model take, on one thread.

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/optics_speed.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lyot.optics import CoronagraphModel, OpticsParams


def seconds(what: Callable[[], object], repeat: int) -> float:
    """CPU time of the fastest repetition."""
    times = []
    for _ in range(repeat):
        began = time.process_time()
        what()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Time and print."""
    for number in (7, 3):
        model = CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=number))
        whole = seconds(lambda model=model: model.psf((0.003, -0.002)), 5)
        stamp = seconds(lambda model=model: model.off_axis_psf((0.5, 0.65), size=41), 5)
        print(f"{number} wavelengths: image on the subarray {whole:.2f} s, stamp of 41 pixels {stamp:.2f} s")
    print(f"throughput map: {seconds(model.throughput_map, 1):.1f} s")


if __name__ == "__main__":
    main()
