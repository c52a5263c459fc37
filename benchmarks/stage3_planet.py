"""Why the official stage 3 misses the planet: one change at a time, on a simulated and on a real sequence.

    python benchmarks/stage3_planet.py --work DIR [--simulate] [--data FOLDER] [--out FILE]

With ``--simulate`` the F1550C sequence is simulated in DIR (8 GB) and taken through stages 1 and 2 first. FOLDER holds
the calibrated HD 106906 exposures (F1140C). The official Coron3Pipeline runs on the same ``calints``, in a process of
its own. All images are measured by the same ruler (`planet_ruler`); figures go
into FILE, images into DIR/images.npz for ``docs/figures_ablation.py``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from planet_noise import automatic, budget, read_variances
from planet_official import read_official, run_official
from planet_ruler import read
from planet_sequences import Case, cropped, flat_factor, hd106906_case, simulate, simulated_case, with_planet
from planet_variants import (
    OURS,
    SKETCH,
    Outcome,
    Variant,
    crop,
    from_official,
    from_ours,
    measure,
    outcome,
    path,
    place_in,
    planet_alone,
    with_background_left,
)

from lyot.subtract import plan_reduction
from lyot.subtract.compatibility import official_klip

log = logging.getLogger("stage3_planet")
FloatArray = NDArray[np.float64]
Rows = dict[str, dict[str, Any]]

BACKGROUND_LEFT = 0.03
ANGLES = (30.0, 120.0, 210.0, 300.0)


class Collector:
    """Rows for the JSON file and images for the figures."""

    def __init__(self) -> None:
        self.images: dict[str, FloatArray] = {}

    def run(self, group: str, case: Case, variants: Iterable[Variant]) -> Rows:
        """Measure some variants."""
        rows: Rows = {}
        for variant in variants:
            rows[variant.name] = self.keep(group, variant.name, measure(case, variant))
        return rows

    def keep(self, group: str, name: str, result: Outcome) -> dict[str, Any]:
        """Note one result."""
        self.images[f"{group}|{name}"] = result.image
        log.info("%-10s %-48s %s", group, name, result.row())
        return result.row()


def official_rows(case: Case, folder: Path, collector: Collector, group: str) -> Rows:
    """Measure the official i2d, and the official psfsub turned and combined by Lyot.

    What the official subtraction leaves of the planet comes from its own aligned references: for given references it is
    linear. It is taken out of the combined psfsub for the noise without planet; the i2d is measured as it is.
    """
    plan = plan_reduction(case.sequence, replace(OURS.params, roll_weights="equal"))
    alone = planet_alone(plan, case)
    good = np.isfinite(plan.frames())
    images = [
        plan.combine(np.where(good, frames, np.nan)[np.newaxis])[1][0]
        for frames in (subtracted_means(folder), response(case, folder))
    ]
    ours = outcome(images[0], images[0] - images[1], place_in(plan, case), alone)
    image, place = read_official(folder / "official_i2d.fits", case.files[0], case.offset, case.fwhm)
    i2d = replace(ours, snr=read(image, place).snr, clean_snr=np.nan, noise=np.nan, image=crop(image, place.star))
    return {
        "official i2d": collector.keep(group, "official i2d", i2d),
        "official psfsub, combined by Lyot": collector.keep(group, "official psfsub, combined by Lyot", ours),
    }


def subtracted_means(folder: Path) -> FloatArray:
    """Mean of the integrations of each official psfsub: (nexposures, ny, nx)."""
    means = []
    for name in sorted(folder.glob("*psfsub.fits")):
        with fits.open(name) as hdus:
            means.append(hdus["SCI"].data.astype(float).mean(axis=0))
    return np.array(means)


def response(case: Case, folder: Path) -> FloatArray:
    """What the official subtraction leaves of the planet in each exposure."""
    out = []
    for exposure, name in enumerate(sorted(folder.glob("*psfalign.fits"))):
        with fits.open(name) as hdus:
            aligned = hdus["SCI"].data.astype(float)
        truncate = min(50, len(aligned))
        out.append(official_klip(case.planet[exposure][np.newaxis], aligned, truncate=truncate)[0][0])
    return np.array(out)


def injected(case: Case, folder: Path) -> list[Path]:
    """Copies of the science files with the planet put in."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for exposure, source in enumerate(case.files):
        target = folder / source.name
        if not target.exists():
            with fits.open(source) as hdus:
                hdus["SCI"].data = (hdus["SCI"].data + case.planet[exposure]).astype(np.float32)
                hdus.writeto(target)
        out.append(target)
    return out


def aligned_stack(folder: Path) -> FloatArray:
    """The references as the official step aligned them to the first roll."""
    with fits.open(sorted(folder.glob("*psfalign.fits"))[0]) as hdus:
        return np.asarray(hdus["SCI"].data, dtype=np.float64)


def simulated(work: Path, collector: Collector) -> dict[str, Any]:
    """Everything on the simulated sequence."""
    uncal, run = work / "uncal", work / "run"
    case = simulated_case(uncal, run)
    cache = uncal / "crds_cache"
    crds = {"CRDS_PATH": str(cache), "CRDS_CONTEXT": (cache / "config/jwst/lyot_context").read_text().strip()}
    folder, group = work / "official", "simulated"
    near = cropped(case)
    rows = collector.run(group, near, [v for v in from_ours() if v.name not in WHOLE])
    rows |= collector.run(group, case, [v for v in from_ours() if v.name in WHOLE])
    chosen, facts = automatic(near)
    rows |= collector.run(group, near, [chosen])
    run_official(folder, case.files, case.reference_files, crds)
    aligned = aligned_stack(folder)
    results: dict[str, Any] = {
        "official": official_rows(case, folder, collector, group),
        "one change to Lyot's defaults": rows,
        "automatic choice": facts,
    }
    left = f"{BACKGROUND_LEFT:.0%} of the background left in the science"
    results |= {
        left: collector.run(group + " background left", case, with_background_left(BACKGROUND_LEFT, aligned)),
        "path from the official settings to Lyot's": collector.run(group + " path", case, path(aligned)),
        "one change to the official settings": collector.run(group + " official", case, from_official(aligned)),
    }
    return results


def budgets(work: Path) -> dict[str, Any]:
    """Noise budgets of some reductions of the simulated sequence."""
    uncal, run = work / "uncal", work / "run"
    case = simulated_case(uncal, run)
    variances = read_variances(uncal, run, flat_factor(uncal))
    results = {}
    for variant in from_ours():
        if variant.name in BUDGET_VARIANTS:
            results[variant.name] = budget(case, variant, variances)
            log.info("%s: %s", variant.name, json.dumps(results[variant.name]))
    return results


WHOLE = ("one fit over the whole frame", "one fit over the field of view")

BUDGET_VARIANTS = (
    OURS.name, SKETCH.name, "3 modes", "5 modes", "7 modes", "without the template", "smooth background in stage 2",
    "damped least squares (loci)",
)  # fmt: skip


def _median(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(float(np.median(known)), 3) if known else None


def real(folder: Path, work: Path, collector: Collector) -> dict[str, Any]:
    """Planets injected into HD 106906: medians over position angles; the official pipeline and whole frames at one."""
    base = hd106906_case(folder)
    near = cropped(base)
    variants = [OURS, SKETCH, *[v for v in from_ours() if v.name in REAL_VARIANTS]]
    whole = [v for v in from_ours() if v.name in WHOLE]
    results: dict[str, Any] = {}
    for separation in (0.82, 1.5, 2.0):
        rows: dict[str, list[dict[str, Any]]] = {}
        for angle in ANGLES:
            group = f"HD 106906 {separation}" if angle == ANGLES[0] else "skip"
            found = collector.run(group, with_planet(near, separation=separation, angle=angle), variants)
            if angle == ANGLES[0]:
                case = with_planet(base, separation=separation, angle=angle)
                found |= collector.run(group, case, whole) | real_official(case, base, work, collector, group)
            for name, row in found.items():
                rows.setdefault(name, []).append(row)
        results[f"{separation} arcsec"] = {
            name: {key: _median([r[key] for r in found]) for key in found[0]} | {"angles": len(found)}
            for name, found in rows.items()
        }
    return results


REAL_VARIANTS = (
    "1 modes",
    "3 modes",
    "without the template",
    "Lyot's second pass",
    "references registered",
    "core of 0.3 arcsec left out",
)


def real_official(case: Case, base: Case, work: Path, collector: Collector, group: str) -> Rows:
    """The official pipeline on HD 106906, with the planet and without."""
    from lyot.simulator.crds_cache import write_empty_cache

    tag = group.replace(" ", "_")
    cache = write_empty_cache(work / "empty_cache")
    steps = {"align_refs": {"override_psfmask": str(_psf_mask(case, work))}}
    files = injected(replace(case, files=base.files), work / (tag + "_in"))
    run_official(work / tag, files, base.reference_files, cache.environment(), steps)
    return official_rows(case, work / tag, collector, group)


def _psf_mask(case: Case, work: Path) -> Path:
    """A PSF mask of the cropped frame: the field of view."""
    from stdatamodels.jwst.datamodels import PsfMaskModel

    name = work / "psfmask.fits"
    assert case.sequence.throughput is not None
    PsfMaskModel(data=np.isfinite(case.sequence.throughput).astype(np.float32)).save(str(name))
    return name


def prepare(work: Path) -> None:
    """Simulate, and run stages 1 and 2."""
    if not (work / "uncal").exists():
        simulate(work / "uncal")
    command = [sys.executable, "-m", "lyot", "run", str(work / "uncal"), "--out", str(work / "run")]
    subprocess.run([*command, "--stages", "1-2"], check=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--data", type=Path, help="calibrated HD 106906 exposures")
    parser.add_argument("--part", choices=("all", "simulated", "budget", "real"), default="all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stage3_planet.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    if options.simulate:
        prepare(options.work)
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "cpu_threads": os.environ.get("OMP_NUM_THREADS", "default"),
    }
    collector = Collector()
    if options.part in ("all", "simulated"):
        results["simulated"] = simulated(options.work, collector)
    if options.part in ("all", "budget"):
        results["noise budget"] = budgets(options.work)
    if options.data and options.part in ("all", "real"):
        results["HD 106906"] = real(options.data, options.work, collector)
    if options.out.exists():  # parts may run side by side
        results = json.loads(options.out.read_text()) | results
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    kept = {k: v for k, v in collector.images.items() if not k.startswith("skip")}
    np.savez_compressed(options.work / f"images_{options.part}.npz", **kept)


if __name__ == "__main__":
    main()
