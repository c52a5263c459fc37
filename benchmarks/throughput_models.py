"""How far models of the mask's throughput differ, where it takes light and where it does not.

    LYOT_TEST_DATA=DIR python benchmarks/throughput_models.py [--out FILE]

In units of the open field, by the light that the geometric stop (the one that measures) lets through: rms of
the effective optics' and of the eroded stop's difference from it at random places within 3 arcsec; and rms of the
difference from the maps of others (``DIR/miri_reference/transmission_*.fits``), which are smoothed: ours is smoothed
alike. Beside them the error that measurements carry, `lyot.measure.systematics.throughput_error`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

from lyot.geometry import radius_map
from lyot.measure.systematics import SystematicParams, throughput_error
from lyot.optics import CoronagraphModel, OpticsParams

EDGES = (0.0, 0.25, 0.4, 0.6, 0.8, 0.95, 1.1)
SEPARATIONS = (0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
ANGLES = 24
SMOOTHING = {"F1065C": (1.7, 3.2), "F1140C": (1.7, 3.4), "F1550C": (2.2, 5.3)}
"""Gaussian (sigma along y and x, pixels) that brings our map closest to the other; see docs/optics.md."""


def at_random(name: str) -> dict[str, NDArray[np.float64]]:
    """Throughput at random places over that far from the boundaries, for each stop."""
    rng = np.random.default_rng(1)
    angles = rng.uniform(0.0, 2 * np.pi, (len(SEPARATIONS), ANGLES))
    places = np.array(SEPARATIONS)[:, None] * np.exp(1j * angles)
    out = {}
    for stop in ("geometric", "effective", "eroded"):
        model = CoronagraphModel.build(name, OpticsParams(stop=stop, n_wavelengths=3))
        far = 5.0 * np.exp(1j * (np.radians(model.coronagraph.boundary_tilt) + np.pi / 4))
        light = [model.energy((float(p.real), float(p.imag))) for p in places.ravel()]
        out[stop] = np.array(light) / model.energy((float(far.real), float(far.imag)))
    return out


def against_others(name: str, root: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Our throughput, and ours smoothed and scaled less that of others, of the pixels within 9 arcsec."""
    model = CoronagraphModel.build(name)
    ours = np.nan_to_num(model.throughput_map())
    theirs = np.asarray(fits.getdata(root / "miri_reference" / f"transmission_{name}.fits", 1), dtype=float)
    smooth = ndimage.gaussian_filter(ours, SMOOTHING[name])
    inner = np.isfinite(theirs) & (radius_map(ours.shape, model.coronagraph.reference_point) < 82)
    scale = (smooth * theirs)[inner].sum() / (smooth**2)[inner].sum()
    return ours[inner], (scale * smooth - theirs)[inner]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "throughput_models.json")
    options = parser.parse_args()
    root, params, record = Path(os.environ["LYOT_TEST_DATA"]), SystematicParams(), {}
    for name in SMOOTHING:
        light, (map_light, map_difference) = at_random(name), against_others(name, root)
        rows = []
        for low, high in itertools.pairwise(EDGES):
            ours = light["geometric"]
            here, pixels = (ours >= low) & (ours < high), (map_light >= low) & (map_light < high)
            kept = float(map_light[pixels].mean())
            rows.append({
                "throughput": [low, high], "places": int(here.sum()),
                **{stop: round(float(np.sqrt(np.mean((light[stop] - ours)[here] ** 2))), 3)
                   for stop in ("effective", "eroded")},
                "maps of others": round(float(np.sqrt(np.mean(map_difference[pixels] ** 2))), 3),
                "error that is stated": round(throughput_error(kept, params) * kept, 3),
            })  # fmt: skip
            print(name, rows[-1], flush=True)
        record[name] = rows
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
