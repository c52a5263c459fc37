"""The star's position from the fit of the model of the optics, against the truth of simulated F1550C sequences.

    python benchmarks/star_position.py --work DIR [--seeds N] [--out FILE]

DIR holds the light of the seeds of `planet_seeds.py` (made there if missing, 25 MB each): every seed has drifts,
pointing and background of its own, and the science a planet of 7e-4 at 0.82 arcsec. Star and fit have the effective
optics, as in the simulator and in ``lyot run``. The fit gets two science exposures and nine references at once, knows
neither drifts nor dithers, and is compared with the mask's reference point (science) and the commanded dither
(references).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from planet_seeds import INTEGRATIONS, draw, load

from lyot.geometry import offset_grid
from lyot.instrument import coronagraph
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.optics.small_errors import small_errors, wavefront_modes
from lyot.simulator.plan import Size, plan_sequence
from lyot.simulator.scene import Scene
from lyot.subtract.star_position import StarFitParams, fit_star

FloatArray = NDArray[np.float64]


def truth(seed: int) -> tuple[FloatArray, FloatArray]:
    """True and commanded offsets of the star, science first: (11, 2) each, mas."""
    size = Size(INTEGRATIONS["science"], INTEGRATIONS["reference"])
    plan = plan_sequence(coronagraph("F1550C"), size, Scene(companions=()), seed)
    exposures = [e for role in ("science", "reference") for e in plan if e.role == role]
    return 1e3 * np.array([e.star_offset for e in exposures]), 1e3 * np.array([e.dither for e in exposures])


def summary(error: FloatArray) -> dict[str, list[float]]:
    """Bias and rms per axis of errors (..., 2)."""
    flat = error.reshape(-1, 2)
    return {"bias": flat.mean(axis=0).round(2).tolist(), "rms": np.sqrt((flat**2).mean(axis=0)).round(2).tolist()}


def main() -> None:
    """Fit all seeds, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--modes", type=int, default=55)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "star_position.json")
    options = parser.parse_args()
    c, params = coronagraph("F1550C"), StarFitParams()
    dx, dy = offset_grid(c.shape, c.reference_point)
    dx, dy = dx * c.pixel_scale[0], dy * c.pixel_scale[1]
    near = np.hypot(dx, dy) < params.radius
    model = CoronagraphModel.build("F1550C", OpticsParams(stop="effective", n_wavelengths=3))
    fields = small_errors(model, (dx[near], dy[near]), wavefront_modes(n=options.modes))
    errors, given, relative, pointing, believed = [], [], [], [], []
    for number in range(options.seeds):
        seed = load(options.work, number, "effective")
        drawn = draw(seed, np.random.default_rng([number, 5]))
        frames = np.vstack([drawn.science + seed.planets[0].astype(float), drawn.references])[:, near]
        variance = np.vstack([drawn.science_variance, drawn.reference_variance])[:, near]
        fit = fit_star(frames, fields, variance=variance, background=drawn.background[near], params=params)
        true, commanded = truth(number)
        errors.append(fit.offset - true)
        given.append(fit.error)
        relative.append(fit.relative_error)
        pointing.append(commanded - true)
        believed.append(fit.believed)
    e, s, r, p = (np.array(v) for v in (errors, given, relative, pointing))
    about = e - e.mean(axis=1, keepdims=True)
    record = {
        "what": f"F1550C, {options.seeds} seeds, mas along detector x and y",
        "fit, science": summary(e[:, :2]),
        "fit, references": summary(e[:, 2:]),
        "reference point, science": summary(p[:, :2]),
        "commanded dither, references": summary(p[:, 2:]),
        "error that the fit gives, science": s[:, :2].mean(axis=(0, 1)).round(2).tolist(),
        "pulls, science": summary(e[:, :2] / s[:, :2]),
        "fit, first roll minus second": summary(e[:, 0] - e[:, 1]),
        "fit, references about their mean": summary(e[:, 2:] - e[:, 2:].mean(axis=1, keepdims=True)),
        "pulls of differences from the mean": summary(about / r),
        "believed": int(np.sum(believed)),
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
