"""Do images of wavefront drifts, fitted with the KLIP modes in the first pass, help on real data?

Planets of S/N 10 (by the plain reduction) are injected into the science exposures of a finished run at evenly spaced
position angles, one at a time, and fitted as companions. For each prior on the drift: the scatter of the recovered
flux over the injected, the stated error, and the five-sigma limits.

    python benchmarks/first_pass_drifts.py OUT [--drifts 0 2 4] [--separations 0.7 0.9 1.3 1.8] [--angles 18]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lyot import geometry
from lyot.analysis.finished_run import open_run
from lyot.instrument import Coronagraph
from lyot.measure import CompanionParams, ContrastParams, Injector
from lyot.measure.companion import fit_companion
from lyot.measure.contrast import aperture_response, contrast_curve
from lyot.measure.noise import snr_map
from lyot.reduction.injector import injector_of, narrowed, off_axis_source
from lyot.reduction.second_pass import star_changes
from lyot.steps.stage3_plan import choice_params, reduction_params, reduction_plan
from lyot.subtract import ReductionPlan, plan_reduction


def plan_of(out: Path) -> tuple[ReductionPlan, Coronagraph]:
    """The reduction of a finished run, for the truncation of its main product."""
    run = open_run(out)
    finished, parameters = run.finished, run.finished.klip_parameters
    plan = reduction_plan(
        [str(p) for p in finished.calints], str(finished.psfalign), reduction_params(parameters),
        choice=choice_params(parameters),
    )  # fmt: skip
    return narrowed(plan, None), run.sequence.coronagraph


def recovered(injector: Injector, fwhm: float, place: tuple[float, float], flux: float) -> dict[str, float]:
    """Fit of a planet that was put into the science exposures."""
    east, north = (float(v) for v in geometry.sky_offset(*place))
    light = np.stack([injector.psf(int(e), east, north) for e in range(int(injector.exposure.max()) + 1)])
    with_planet = replace(injector, science=injector.science + flux * light[injector.exposure])
    fit = fit_companion(with_planet, fwhm, place, CompanionParams(posterior=False))
    off = float(np.hypot(fit.east - east, fit.north - north))
    return {"flux": fit.flux / flux, "error": fit.flux_error / flux, "significance": fit.significance, "offset": off}


def main() -> None:
    """Print a line for each prior and separation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="output folder of lyot run")
    parser.add_argument("--drifts", type=float, nargs="+", default=[0.0, 2.0, 4.0], help="nm rms")
    parser.add_argument("--separations", type=float, nargs="+", default=[0.7, 0.9, 1.3, 1.8], help="arcsec")
    parser.add_argument("--angles", type=int, default=18)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    plan, known = plan_of(args.out)
    psf = off_axis_source(plan.sequence, known.filter, known.pixel_area)
    fluxes: dict[tuple[float, int], float] = {}
    numbers: list[dict[str, Any]] = []
    for drift in args.drifts:
        injector = injector_of(
            plan_reduction(plan.sequence, plan.params, changes=star_changes(plan.sequence, known, drift)), psf
        )
        fwhm = known.lambda_over_d / injector.pixel_scale
        curve = contrast_curve(injector, fwhm, ContrastParams(separations=14, angles=8, outer_radius=4.5))
        limits = {f"{s:.2f}": round(1e6 * float(f), 1) for s, f in zip(curve.separation, curve.flux_limit, strict=True)}
        print(f"drift {drift:g} nm: five-sigma limits in uJy {limits}", flush=True)
        numbers.append({"drift": drift, "limits_uJy": limits, "injected": []})
        maps = snr_map(injector.image, injector.center, fwhm)
        for separation in args.separations:
            rows = []
            for k in range(args.angles):
                place = (separation, (360.0 * k / args.angles + 70.0 * separation) % 360.0)
                if (separation, k) not in fluxes:  # by the first of the drifts: the same planets for all
                    east, north = (float(v) for v in geometry.sky_offset(*place))
                    x, y = injector.pixel(east, north)
                    response = aperture_response(injector, east, north, fwhm)
                    fluxes[separation, k] = 10.0 * float(maps.noise[round(y), round(x)]) / response
                rows.append(recovered(injector, fwhm, place, fluxes[separation, k]))
            flux, error = (np.array([r[name] for r in rows]) for name in ("flux", "error"))
            line = {
                "separation": separation, "planets": len(rows), "median": float(np.median(flux)),
                "scatter": float(flux.std(ddof=1)), "stated": float(np.median(error)),
                "pull": float(((flux - 1) / error).std(ddof=1)),
                "significance": float(np.median([r["significance"] for r in rows])),
            }  # fmt: skip
            numbers[-1]["injected"].append(line)
            print("  " + ", ".join(f"{k} {v:.3g}" for k, v in line.items()), flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
