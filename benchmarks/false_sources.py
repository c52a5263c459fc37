"""False sources: what the search lists in simulated sequences that have no planet, from the ramps on.

    python benchmarks/false_sources.py --out DIR --first 201 --sequences 3 --cosmic-rays 30
    python benchmarks/false_sources.py --out DIR --first 301 --sequences 3 --disk 0.05
    python benchmarks/false_sources.py --out DIR --count RUN [RUN ...]

Each sequence (size small, F1550C) is simulated, calibrated by stages 1 and 2, and reduced twice from these: as the
product is, and with the search for outliers, the tests of shape and rolls and the treatment of extended light turned
off. Sequences that are there are not made again. With ``--count`` finished runs are counted.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from lyot.analysis.combined_image import read_detections
from lyot.exposures.names import DETECTIONS
from lyot.run.config import load_config
from lyot.run.execute import run
from lyot.simulator.scene import Scene, with_changes
from lyot.simulator.sequence import simulate_sequence

OFF = ("stage3.flag_outliers.skip=true", "stage3.refine.skip=true", "measure.shape_threshold=0",
       "measure.roll_threshold=0", "measure.extended_light=false")  # fmt: skip
ON = ("stage3.refine.skip=true",)


def calibrated(folder: Path, seed: int, cosmic_rays: float, disk: float) -> Path:
    """Simulate and calibrate one sequence; the folder of its run up to stage 2."""
    observations, done = folder / "observations", folder / "calibrated"
    if not (observations / "truth.json").is_file():
        scene = with_changes(
            replace(Scene(), companions=()), detector={"cosmic_ray_rate": cosmic_rays}, disk={"contrast": disk}
        )
        simulate_sequence(observations, filter="F1550C", size="small", seed=seed, scene=scene, jobs=1)
    if not list((done / "stage2").glob("*_calints.fits")):
        crds = str(observations / "crds_cache")
        run([observations], done, load_config(stages="1-2", jobs=1, crds_path=crds), inline=True)
    return done


def reduced(done: Path, out: Path, settings: tuple[str, ...]) -> Path:
    """Stage 3 and the search, from the calibrated exposures."""
    run(sorted((done / "stage2").glob("*_calints.fits")), out, load_config(settings=settings, stages="3"), inline=True)
    return out


def counted(out: Path) -> dict[str, Any]:
    """What the search of a finished run lists."""
    table = read_detections(out / "measure" / DETECTIONS, all_peaks=True)
    rows = []
    for row in table:
        known = "status" in table.colnames
        rows.append({
            "separation": round(float(row["separation"]), 3), "position_angle": round(float(row["position_angle"]), 1),
            "snr": round(float(row["snr"]), 1), "significance": round(float(row["significance"]), 1),
            "false_alarm": float(row["false_alarm"]), "status": str(row["status"]) if known else "source",
            "reason": str(row["reason"]) if known else "",
        })  # fmt: skip
    sources = sum(r["status"] == "source" for r in rows)
    return {"sources": sources, "others": len(rows) - sources, "peaks": rows}


def main() -> None:
    """Make the sequences and count, or count finished runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--first", type=int, default=201, help="first seed")
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--cosmic-rays", type=float, default=5.0, help="hits per second and cm2")
    parser.add_argument("--disk", type=float, default=0.0, help="flux of a disk over that of the star")
    parser.add_argument("--count", type=Path, nargs="+", default=[], help="finished runs")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    results = {str(path): counted(path) for path in options.count}
    for seed in range(options.first, options.first + options.sequences) if not options.count else ():
        folder = options.out / f"{seed}_{options.cosmic_rays:g}_{options.disk:g}"
        done = calibrated(folder, seed, options.cosmic_rays, options.disk)
        for name, settings in (("off", OFF), ("on", ON)):
            results[f"{folder.name} {name}"] = counted(reduced(done, folder / name, settings))
    print(json.dumps(results, indent=1))
    for name in ("off", "on"):
        mine = [r["sources"] for key, r in results.items() if key.endswith(f" {name}")]
        if mine:
            print(f"tests {name}: {sum(mine)} sources in {len(mine)} sequences")


if __name__ == "__main__":
    main()
