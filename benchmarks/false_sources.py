"""What the search lists in simulated sequences, from the ramps on: the planet that is there, and false sources.

    python benchmarks/false_sources.py --work DIR                       # everything, 1.5 minutes each on one core
    python benchmarks/false_sources.py --work DIR --only free --first 401 --sequences 20
    python benchmarks/false_sources.py --work DIR --only free --without-tests
    python benchmarks/false_sources.py --count RUN [RUN ...]            # finished runs

Each sequence (size small) is simulated and reduced from its ramps as `lyot run` does it with its defaults, second
pass included. ``planet``: the scene of the demo (`bright_planet`) with seeds 1 to 5, its planet also fitted, and once
more with each of the other settings of the simulator. ``free``: no companion, the settings in turn. With
``--without-tests`` they are reduced once more from stage 2 with the search for outliers, the tests of shape and rolls
and the treatment of extended light turned off. Sequences that are in the results file are not made again. Products are
removed when they are counted unless ``--keep`` is given. Each sequence has a process of its own, as its calibration
references have the same names as those of the others.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from lyot.analysis.combined_image import read_detections
from lyot.exposures.names import COMPANIONS, DETECTIONS
from lyot.measure.detected import CANDIDATE, POINT_SOURCES, SOURCE
from lyot.optics import OpticsParams
from lyot.run.config import load_config
from lyot.run.execute import run
from lyot.simulator.scene import BUNDLED_SCENES, Scene, with_changes
from lyot.simulator.sequence import simulate_sequence
from lyot.simulator.truth import read_truth

RESULTS = Path(__file__).parent / "results" / "false_sources.json"

DEFAULT = "default"

SETTINGS: dict[str, dict[str, dict[str, float]]] = {
    DEFAULT: {},
    "cosmic rays x 6": {"detector": {"cosmic_ray_rate": 30.0}},
    "other static wavefront": {},
    "wavefront drifts x 2": {"optics": {"drift_reference": 8.0, "drift_roll": 3.0, "drift_exposure": 3.0}},
    "brighter-fatter 0.3": {"detector": {"brighter_fatter": 0.3}},
    "star 15 mas off": {"pointing": {"mask_offset_x": 0.012, "mask_offset_y": -0.009, "repeatability": 0.006}},
    "glow sticks x 3": {"background": {"glow": 3.0, "drift": 0.01}},
    "reference as bright as star": {"reference": {"brightness": 1.0}},
    "F1140C": {},
    "cosmic rays x 20": {"detector": {"cosmic_ray_rate": 100.0}},
}
"""Settings of the simulator by name: changes of the scene."""

NEAR = 0.15
"""A source within this distance of the planet is the planet, arcsec: a third of lambda/D, seven errors of position."""

WITHOUT_TESTS = ("stage3.flag_outliers.skip=true", "stage3.refine.skip=true", "measure.shape_threshold=0",
                 "measure.roll_threshold=0", "measure.extended_light=false")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One sequence: its kind (``planet`` or ``free``), setting and seed."""

    kind: str
    setting: str
    seed: int

    @property
    def name(self) -> str:
        """Key in the results."""
        return f"{self.kind}, {self.setting}, seed {self.seed}"

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return "_".join([self.kind, "".join(c if c.isalnum() else "-" for c in self.setting), str(self.seed)])


def cases(first: int, sequences: int, only: str | None, settings: list[str]) -> Iterator[Case]:
    """The demo's planet, planet-free sequences with the settings in turn, the planet with the other settings."""
    if only != "free":
        yield from (Case("planet", DEFAULT, seed) for seed in range(1, 6))
    if only != "planet":
        yield from (Case("free", settings[k % len(settings)], first + k) for k in range(sequences))
    if only != "free":
        yield from (Case("planet", name, 11 + k) for k, name in enumerate(s for s in settings if s != DEFAULT))


def simulated(case: Case, folder: Path) -> Path:
    """Simulate a sequence, unless it is there."""
    if not (folder / "truth.json").is_file():
        scene = BUNDLED_SCENES["bright_planet"] if case.kind == "planet" else replace(Scene(), companions=())
        scene = with_changes(scene, **SETTINGS[case.setting])
        own = OpticsParams().wavefront_seed + case.seed
        optics = OpticsParams(wavefront_seed=own) if case.setting == "other static wavefront" else None
        name = "F1140C" if case.setting == "F1140C" else "F1550C"
        simulate_sequence(folder, filter=name, size="small", seed=case.seed, scene=scene, jobs=1, optics=optics)
    return folder


def measured(case: Case, work: Path, *, without_tests: bool) -> dict[str, Any]:
    """Simulate, reduce and count one sequence."""
    logging.disable(logging.WARNING)
    observations, out = simulated(case, work / case.folder / "observations"), work / case.folder / "reduction"
    sections = {"contrast": {"measure": False}}
    config = load_config(
        sections=sections, jobs=1, crds_path=str(observations / "crds_cache"), measure=case.kind == "planet"
    )
    run([observations], out, config, inline=True)
    record = counted(out)
    if case.kind == "planet":
        record |= planet(out, record, read_truth(observations)["sky"]["companions"][0])
    if without_tests:
        plain = work / case.folder / "without_tests"
        files = sorted((out / "stage2").glob("*_calints.fits"))
        run(files, plain, load_config(settings=WITHOUT_TESTS, stages="3", measure=False), inline=True)
        record["without_tests"] = counted(plain)["sources"]
    return record


def counted(out: Path) -> dict[str, Any]:
    """What the search of a finished run lists."""
    rows = [
        {
            "separation": round(float(row["separation"]), 3), "position_angle": round(float(row["position_angle"]), 2),
            "snr": round(float(row["snr"]), 1), "significance": round(float(row["significance"]), 1),
            "false_alarm": float(f"{row['false_alarm']:.1e}"), "status": str(row["status"]),
            "reason": str(row["reason"] or ""),
        }
        for row in read_detections(out / "measure" / DETECTIONS, all_peaks=True)
    ]  # fmt: skip
    number = {status: sum(r["status"] == status for r in rows) for status in ("source", "candidate")}
    others = len(rows) - sum(number.values())
    return {"sources": number["source"], "candidates": number["candidate"], "others": others, "peaks": rows}


def distance(row: dict[str, Any], truth: dict[str, Any]) -> float:
    """From a peak to the true place of a companion, arcsec."""
    places = [
        separation * np.exp(1j * np.radians(angle))
        for separation, angle in (
            (row["separation"], row["position_angle"]),
            (truth["separation_arcsec"], truth["position_angle_deg"]),
        )
    ]
    return float(abs(places[0] - places[1]))


def planet(out: Path, record: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    """The planet among the peaks of a run, and its fit; the number of false sources."""
    near = [row for row in record["peaks"] if row["status"] in POINT_SOURCES and distance(row, truth) < NEAR]
    false = {status: sum(row["status"] == status for row in record["peaks"]) for status in POINT_SOURCES}
    for row in near:
        false[row["status"]] -= 1
    result: dict[str, Any] = {
        "found": bool(near), "false": false[SOURCE], "false_candidates": false[CANDIDATE],
    }  # fmt: skip
    if not near:
        return result
    row = min(near, key=lambda r: distance(r, truth))
    result["planet"] = {k: v for k, v in row.items() if k != "reason"}
    result["planet"]["distance"] = round(distance(row, truth), 3)
    fits = Table.read(out / "measure" / COMPANIONS, format="ascii.ecsv")
    fitted = min(({name: fit[name] for name in fits.colnames} for fit in fits), key=lambda f: distance(f, truth))
    true = {"flux": truth["flux_jy"], "separation": truth["separation_arcsec"],
            "position_angle": truth["position_angle_deg"]}  # fmt: skip
    result["fit"] = {
        name: {
            "true": round(true[name] * scale, 4), "measured": round(float(fitted[name]) * scale, digits),
            "error": round(float(fitted[f"{name}_err"]) * scale, digits),
            "statistical": round(float(fitted[f"{name}_err_stat"]) * scale, digits),
            "pull": round(float((fitted[name] - true[name]) / fitted[f"{name}_err"]), 2),
        }
        for name, scale, digits in (("flux", 1e6, 1), ("separation", 1.0, 4), ("position_angle", 1.0, 2))
    }  # fmt: skip
    return result


def totals(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Numbers over all sequences."""
    free = [r for name, r in records.items() if name.startswith("free")]
    planets = [r for name, r in records.items() if name.startswith("planet")]
    return {
        "planet-free sequences": len(free),
        "false sources in them": sum(r["sources"] for r in free),
        "false candidates in them": sum(r["candidates"] for r in free),
        "peaks in them that were rejected": sum(r["others"] for r in free),
        "highest significance in them": max(
            (p["significance"] for r in free for p in r["peaks"] if p["status"] in POINT_SOURCES), default=None
        ),
        "sequences with a planet": len(planets),
        "planets found": sum(r["found"] for r in planets),
        "of them candidates": sum(r["found"] and r["planet"]["status"] == CANDIDATE for r in planets),
        "false sources next to them": sum(r["false"] for r in planets),
        "false candidates next to them": sum(r["false_candidates"] for r in planets),
    }


def main() -> None:
    """Make the sequences and count, or count finished runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for the sequences, 0.5 GB each while they are reduced")
    parser.add_argument("--only", choices=("planet", "free"))
    parser.add_argument("--first", type=int, default=401, help="first seed of the planet-free sequences")
    parser.add_argument("--sequences", type=int, default=20, help="number of planet-free sequences")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--without-tests", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the products")
    parser.add_argument("--count", type=Path, nargs="+", default=[], help="finished runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.count:
        print(json.dumps({str(path): counted(path) for path in options.count}, indent=1))
        return
    if options.work is None:
        parser.error("give --work or --count")
    done = json.loads(options.out.read_text())["sequences"] if options.out.is_file() else {}
    wanted = cases(options.first, options.sequences, options.only, options.settings)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for case in (case for case in wanted if case.name not in done):
            done[case.name] = pool.submit(measured, case, options.work, without_tests=options.without_tests).result()
            record = {"totals": totals(done), "sequences": done}
            options.out.write_text(json.dumps(record, indent=1) + "\n")
            print(case.name, json.dumps(done[case.name]), flush=True)
            if not options.keep:
                shutil.rmtree(options.work / case.folder)
    print(json.dumps(totals(done), indent=1))


if __name__ == "__main__":
    main()
