"""What it is worth to subtract all of the star where the references are noisy: sequences of three depths, on and off.

Light of the simulator and noise of slopes, as in `planet_seeds`; the planet is as bright as gives it a similar S/N.

    python benchmarks/reference_noise.py --work FOLDER [--stop effective] [--seeds 4]
    python benchmarks/reference_noise.py --work FOLDER --flux

With ``--flux`` the fitted flux of the demo's planet relative to the true one, at its position angle and 180 deg from
it, where one part of the data alone has noise.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import planet_seeds
from planet_variants import OURS, SECOND, Outcome, Variant, measure

from lyot.instrument import coronagraph
from lyot.measure.companion import fit_companion
from lyot.reduction.injector import injector_of, off_axis_source
from lyot.simulator.scene import STAR_FLUX
from lyot.subtract import plan_reduction

DEPTHS = {
    "small": ({"science": (5, 25), "reference": (3, 16)}, 11.4),
    "medium": ({"science": (10, 60), "reference": (6, 30)}, 4.0),
    "full": ({"science": (30, 250), "reference": (19, 100)}, 1.0),
}
"""Integrations and groups, and by how much the planet is brighter than in the model case."""

DRAWS = 2

OPPOSITE = (0, 9)
"""Of `planet_seeds.ANGLES`: that of the planet, and 180 deg from it."""


def outcomes(variant: Variant, folder: Path, seeds: int, stop: str, brighter: float) -> list[Outcome]:
    """Measure one reduction on all seeds and realizations of the noise."""
    from lyot.steps.stage3_throughput import throughput_map

    throughput = np.array(throughput_map("F1550C"))
    rows = []
    for number in range(seeds):
        seed = planet_seeds.load(folder, number, stop)
        for k in range(DRAWS):
            drawn = planet_seeds.draw(seed, np.random.default_rng([number, k, 99]))
            case = planet_seeds.case_of(seed, drawn, throughput)
            more = (brighter - 1.0) * case.planet
            sequence = case.sequence.replace(science=case.sequence.science + more[case.sequence.exposure])
            rows.append(measure(replace(case, planet=brighter * case.planet, sequence=sequence), variant))
    return rows


def fitted_flux(folder: Path, seeds: int, stop: str, on: bool) -> dict[str, list[str]]:
    """Fitted flux over the true one, mean and its error over seeds and draws, by the part of the data with noise."""
    from lyot.steps.stage3_throughput import throughput_map

    c, throughput = coronagraph("F1550C"), np.array(throughput_map("F1550C"))
    integrations, brighter = DEPTHS["small"]
    planet_seeds.INTEGRATIONS.update(integrations)
    out: dict[str, list[str]] = {}
    for part, noisy in planet_seeds.NOISY.items():
        for angle in OPPOSITE:
            ratios = []
            for number in range(seeds):
                seed = planet_seeds.load(folder, number, stop)
                for k in range(2 * DRAWS):
                    drawn = planet_seeds.draw(seed, np.random.default_rng([number, k, 5]), noisy=noisy)
                    case = planet_seeds.case_of(seed, drawn, throughput, angle=angle)
                    planet = brighter * case.planet
                    sequence = case.sequence.replace(science=case.sequence.science - case.planet + planet)
                    for change in OURS.changes:
                        sequence = change(replace(case, planet=planet), sequence)
                    plan = plan_reduction(sequence, replace(OURS.params, noise_correction=on))
                    injector = injector_of(plan, off_axis_source(sequence, "F1550C", c.pixel_area))
                    place = (planet_seeds.SEPARATION, planet_seeds.ANGLES[angle])
                    found = fit_companion(injector, c.lambda_over_d / injector.pixel_scale, place)
                    true = brighter * planet_seeds.CONTRAST * STAR_FLUX["F1550C"]
                    ratios.append(found.flux / true)
            out.setdefault(part, []).append(f"{np.mean(ratios):.3f} +- {np.std(ratios) / np.sqrt(len(ratios)):.3f}")
        print("flux", "with" if on else "without", part, out[part], flush=True)
    return out


def main() -> None:
    """Compare both passes at each depth, with the correction and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the images of the seeds, 25 MB each")
    parser.add_argument("--stop", choices=("effective", "geometric"), default="effective")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--flux", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "reference_noise.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.flux:
        for on in (False, True):
            name = f"flux of the demo's planet over the true one, {'with' if on else 'without'} the correction"
            record[name] = fitted_flux(options.work, options.seeds, options.stop, on)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
        return
    table = record.setdefault(f"{options.stop} optics, {options.seeds} seeds, {DRAWS} draws", {})
    for depth, (integrations, brighter) in DEPTHS.items():
        planet_seeds.INTEGRATIONS.update(integrations)
        for variant in (OURS, SECOND):
            for on in (False, True):
                rows = outcomes(
                    variant.but(variant.name, noise_correction=on), options.work, options.seeds, options.stop, brighter
                )
                found = planet_seeds.summary([rows])
                row = {k: found[k] for k in ("pooled_snr", "pooled_noise", "snr_at_the_place", "throughput")}
                row["mean_residual"] = round(float(np.mean([o.residual for o in rows])), 3)
                table[f"{depth}, {variant.name}, {'with' if on else 'without'} the correction"] = row
                print(depth, variant.name, on, row, flush=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
