"""Many F1550C sequences without their ramps: other wavefronts, pointings, backgrounds and noise for each seed.

The ramps of one sequence take 9 GB and twelve minutes, too much to repeat. What stage 3 gets from them is, for each
exposure, the mean of its integrations less the mean background, with noise that is close to normal. Here the light is
that of the simulator itself (`lyot.simulator.light`: drifts of the wavefront, pointing errors, level of the background
from exposure to exposure) and the noise that of slopes fitted to ramps of photons and reads. Cosmic rays, flat
field and linearity are left out. Seed 0 has the static wavefront of the simulator's default, the others each their own.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from planet_sequences import CONTRAST, POSITION_ANGLE, SEPARATION, Case, cropped
from planet_variants import OURS, SECOND, SKETCH, Outcome, Variant, measure, no_field, no_template, smooth_background

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.subtract import CoronagraphicSequence

FloatArray = NDArray[np.float64]

ANGLES = tuple(float((POSITION_ANGLE + 20.0 * k) % 360.0) for k in range(18))
"""Position angles of the planets whose images are kept; the first is the planet itself."""

INTEGRATIONS = {"science": (30, 250), "reference": (19, 100)}
BACKGROUNDS = 2


@dataclass(frozen=True)
class Seed:
    """The light of one sequence, MJy/sr, without noise, on the whole subarray.

    Attributes
    ----------
    science, references : (n, ny, nx) float64 ndarray
        Star and background in each exposure.
    science_background, reference_background : (2, ny, nx) float64 ndarray
    planets : (nangles, 2, ny, nx) float32 ndarray
        A planet of the standard contrast and separation at each of `ANGLES` in each roll.
    """

    science: FloatArray
    references: FloatArray
    science_background: FloatArray
    reference_background: FloatArray
    planets: NDArray[np.float32]


def load(folder: Path, seed: int, stop: str = "geometric") -> Seed:
    """The light of a seed, from the folder or made (15 s) and kept there."""
    path = folder / f"{stop}_{seed}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **vars(make(seed, stop)))
    with np.load(path) as saved:
        return Seed(**{name: saved[name] for name in saved.files})


def make(seed: int, stop: str = "geometric") -> Seed:
    """Let the simulator make the light of a sequence; effective optics have one static wavefront for all seeds."""
    from lyot.optics import OpticsParams
    from lyot.simulator.light import LightMaker
    from lyot.simulator.plan import Size, plan_sequence
    from lyot.simulator.scene import Companion, Scene

    c, scene = coronagraph("F1550C"), Scene(companions=())
    own = OpticsParams().wavefront_seed + seed
    maker = LightMaker.build(scene, "F1550C", seed, params=OpticsParams(stop=stop, wavefront_seed=own))
    size = Size(INTEGRATIONS["science"], INTEGRATIONS["reference"])
    images: dict[str, list[FloatArray]] = {}
    planets: list[list[FloatArray]] = [[] for _ in ANGLES]
    for exposure in plan_sequence(c, size, scene, seed):
        light = maker.light(exposure)
        images.setdefault(exposure.role, []).append(light.image)
        if exposure.role != "science":
            continue
        wavefront = maker.wavefront(exposure)
        for k, angle in enumerate(ANGLES):
            dx, dy = geometry.detector_offset(SEPARATION, angle, light.pa_y)
            offset = (float(dx) + exposure.star_offset[0], float(dy) + exposure.star_offset[1])
            flux = scene.companion_flux(Companion(contrast=CONTRAST), "F1550C")
            planets[k].append(flux * 1e-6 / c.pixel_area * maker.off_axis.psf(offset, wavefront=wavefront))
    roles = ("science", "reference", "science_background", "reference_background")
    return Seed(*(np.array(images[role]) for role in roles), np.array(planets, dtype=np.float32))


def slope_variance(image: FloatArray, kind: str) -> FloatArray:
    """Variance of the mean slope of an exposure, (MJy/sr)^2: photons and reads of an unweighted fit to the ramps."""
    from lyot.simulator.detector import PHOTMJSR, build_detector

    detector = build_detector(coronagraph("F1550C"), 7)
    n_int, n = INTEGRATIONS[kind]
    n -= 9  # groups that stage 1 gives up at both ends
    photm, time = PHOTMJSR["F1550C"], coronagraph("F1550C").frame_time
    gain, read = float(np.median(detector.gain)), float(np.median(detector.read_noise)) / np.sqrt(2)
    rate = np.maximum(image, 0.0) / photm + float(np.median(detector.dark_rate))
    photon = 1.2 * rate / (gain * time * n) * (n * n + 1) / (n * n - 1)
    reads = 12 * read**2 / (time**2 * n * (n * n - 1))
    return np.asarray((photon + reads) / n_int * photm**2)


@dataclass(frozen=True)
class Drawn:
    """One realization: exposure means, the mean background subtracted, with noise and without planet.

    Attributes
    ----------
    science, references : (n, ny, nx) float64 ndarray
    science_variance, reference_variance : (n, ny, nx) float64 ndarray
        Of the means before the background is subtracted.
    background, reference_background : (ny, nx) float64 ndarray
        Mean backgrounds that were subtracted.
    """

    science: FloatArray
    references: FloatArray
    science_variance: FloatArray
    reference_variance: FloatArray
    background: FloatArray
    reference_background: FloatArray


def draw(seed: Seed, rng: np.random.Generator, *, left: float = 0.0, noisy: tuple[str, ...] | None = None) -> Drawn:
    """Add noise and subtract the backgrounds.

    Parameters
    ----------
    seed : Seed
    rng : numpy.random.Generator
    left : float, optional
        Part of the background that is left in the science frames.
    noisy : tuple of str, optional
        Which of the data have noise: science, background, references, reference background; default all.
    """

    def add(images: FloatArray, kind: str, name: str) -> tuple[FloatArray, FloatArray]:
        variance = slope_variance(images, kind)
        on = noisy is None or name in noisy
        return images + (rng.standard_normal(images.shape) * np.sqrt(variance) if on else 0.0), variance

    science, science_variance = add(seed.science, "science", "science")
    references, reference_variance = add(seed.references, "reference", "references")
    background = add(seed.science_background, "science", "background")[0].mean(axis=0)
    other = add(seed.reference_background, "reference", "reference background")[0].mean(axis=0)
    return Drawn(
        science - (1.0 - left) * background, references - other, science_variance, reference_variance, background, other
    )


def case_of(seed: Seed, drawn: Drawn, throughput: FloatArray | None, *, angle: int = 0, whole: bool = False) -> Case:
    """A realization as a case of the benchmark, with the planet at one of `ANGLES`; cut to 5 arcsec unless `whole`."""
    c = coronagraph("F1550C")
    planet = seed.planets[angle].astype(float)
    rolls = (108.171, 117.550)
    sequence = CoronagraphicSequence(
        science=drawn.science + planet,
        exposure=np.arange(2),
        pa_y=np.array([geometry.pa_of_detector_y(r, 4.83544897) for r in rolls]),
        star=np.array([c.reference_point] * 2),
        pixel_scale=c.pixel_scale,
        references=drawn.references,
        science_variance=drawn.science_variance,
        reference_variance=drawn.reference_variance,
        mask_center=c.reference_point,
        throughput=throughput,
        boundary_tilt=c.boundary_tilt,
    )
    east, north = geometry.sky_offset(SEPARATION, ANGLES[angle])
    backgrounds = np.array([drawn.background, drawn.reference_background])
    case = Case(sequence, planet, (float(east), float(north)), c.lambda_over_d, (), (), backgrounds)
    return case if whole else cropped(case)


def variants() -> list[Variant]:
    """The reductions that are compared over the seeds."""
    o = OURS
    return [
        o,
        SKETCH,
        SECOND,
        o.but("without the template", no_template),
        o.again("second pass, no drifts", wavefront_drift=0.0),
        *[o.again(f"second pass, drifts of {nm:g} nm", wavefront_drift=nm) for nm in (2.0, 8.0)],
        *[o.but(f"{k} modes", truncations=(k,)) for k in (2, 3, 5)],
        *[o.but(f"first annulus to {r} arcsec", zone_edges=(r, 5.0)) for r in (1.6, 3.5)],
        o.but("core of 0.3 arcsec left out", inner_radius=0.3),
        o.but("damped least squares (loci)", method="loci", truncations=(9,)),
        o.but("rolls weighted equally", roll_weights="equal"),
        o.but("quadrants apart", quadrants=True),
        o.but("other roll in the basis too", strategy="adi+rdi", truncations=(10,), recommended=10),
        o.but("boundaries left out of the fit", boundary_buffer=0.3),
        o.but("smooth background in stage 2", smooth_background),
    ]


def whole_frame() -> Variant:
    """What the official settings come to with dither means: one fit over the whole subarray."""
    return OURS.but("one fit over the whole frame (official)", no_field, no_template, zone_edges=())


def over_seeds(folder: Path, seeds: range, draws: int, *, left: float = 0.0) -> dict[str, dict[str, object]]:
    """Measure every variant on every seed and noise realization, with the ruler, at the planet."""
    from lyot.steps.stage3_throughput import throughput_map

    throughput = np.array(throughput_map("F1550C"))
    rows: dict[str, list[list[Outcome]]] = {}
    for number in seeds:
        seed = load(folder, number)
        found: dict[str, list[Outcome]] = {}
        for k in range(draws):
            drawn = draw(seed, np.random.default_rng([number, k, 99]), left=left)
            near = case_of(seed, drawn, throughput)
            for variant in variants() if left == 0.0 else variants()[:4]:
                found.setdefault(variant.name, []).append(measure(near, variant))
            if k == 0:
                whole = whole_frame()
                found[whole.name] = [measure(case_of(seed, drawn, throughput, whole=True), whole)]
        for name, outcomes in found.items():
            rows.setdefault(name, []).append(outcomes)
    return {name: summary(by_seed) for name, by_seed in rows.items()}


def summary(by_seed: list[list[Outcome]]) -> dict[str, object]:
    """Mean S/N and its scatter from seed to seed, the S/N of the pooled noise, of that at the planet's very place over
    seeds and draws, and throughput."""
    snr = [float(np.mean([o.snr for o in outcomes])) for outcomes in by_seed]
    every = [o for outcomes in by_seed for o in outcomes]
    noise = float(np.sqrt(np.mean([o.noise**2 for o in every])))
    signal = float(np.mean([o.clean_snr * o.noise for o in every]))
    at_place = float(np.sqrt(np.mean([o.residual**2 for o in every])))
    return {
        "snr": round(float(np.mean(snr)), 2),
        "scatter": round(float(np.std(snr, ddof=1)), 2) if len(snr) > 1 else None,
        "pooled_snr": round(signal / noise, 2),
        "pooled_noise": round(noise, 3),
        "snr_at_the_place": round(signal / at_place, 2),
        "noise_at_the_place": round(at_place, 3),
        "throughput": round(float(np.mean([o.throughput for o in every])), 3),
        "by_seed": [round(s, 1) for s in snr],
    }


def parts(folder: Path, seeds: range, *, draws: int = 3) -> dict[str, dict[str, float]]:
    """Noise at the planet's separation when one part of the data alone has noise: pooled over seeds and draws.

    The part of a source of noise is what it adds to the variance of the noiseless images, in which only the speckles
    are left that the noiseless references do not hold.
    """
    from lyot.steps.stage3_throughput import throughput_map

    throughput = np.array(throughput_map("F1550C"))
    out: dict[str, dict[str, float]] = {}
    for variant in variants()[:3]:
        row = {}
        for name, on in NOISY.items():
            values = []
            for number in seeds:
                seed = load(folder, number)
                for k in range(draws if on else 1):
                    drawn = draw(seed, np.random.default_rng([number, k, 77]), noisy=on)
                    values.append(measure(case_of(seed, drawn, throughput), variant).noise ** 2)
            row[name] = float(np.mean(values))
        clean = row["nothing"]
        out[variant.name] = {
            "speckles, noiseless references": round(clean**0.5, 3),
            **{n: round(max(v - clean, 0.0) ** 0.5, 3) for n, v in row.items() if n not in ("nothing", "all")},
            "all": round(row["all"] ** 0.5, 3),
        }
    return out


NOISY = {
    "nothing": (),
    "science": ("science",),
    "background": ("background",),
    "references": ("references",),
    "reference background": ("reference background",),
    "all": ("science", "background", "references", "reference background"),
}


def main() -> None:
    """Run the comparison over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the images of the seeds, 25 MB each")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "planet_seeds.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    seeds = range(options.seeds)
    record = {
        "what": f"F1550C, 2 x 30 x 250, 9 x 19 x 100, planet {CONTRAST:g} at {SEPARATION} arcsec, "
        f"{options.seeds} seeds of wavefront and pointing, {options.draws} draws of the noise each",
        "background subtracted": over_seeds(options.work, seeds, options.draws),
        "3% of the background left": over_seeds(options.work, seeds, options.draws, left=0.03),
        "noise by part": parts(options.work, seeds),
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
