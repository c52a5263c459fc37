"""Residual glow sticks: what the methods of stage 2 leave, and what a residual does to the subtraction of the star.

    LYOT_TEST_DATA=DIR python benchmarks/glow_sticks.py [--out DIR] [--seeds N]

The first part subtracts archival backgrounds of the HD 106906 sequence (F1140C, DIR/miri_hd106906_f1140c) from one
another and measures the excess of the strips; without the data it is left out. The second adds what may be left of the
background to simulated images (F1550C, two rolls, nine references, planet of 7e-4 at 0.82 arcsec) and measures the S/N
of the planet, mean over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.calibrate.background import BackgroundExposure, BackgroundParams, subtract_background
from lyot.calibrate.glow_sticks import glow_excess, glow_strips
from lyot.geometry import pa_of_detector_y, radius_map, sky_offset
from lyot.instrument import V3_IDEAL_Y_ANGLE, coronagraph
from lyot.measure.noise import snr_map
from lyot.simulator.background import field_stop, thermal_background
from lyot.simulator.light import LightMaker
from lyot.simulator.plan import plan_sequence
from lyot.simulator.scene import Companion, Scene
from lyot.stacks import nanmean
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction

FloatArray = NDArray[np.float64]

PLANET = (0.82, 149.36, 7e-4)
NOISE = 0.25
"""MJy/sr per pixel, of the mean image of an exposure."""
STICK, IN_REFERENCES = 3.0, 0.7
"""Highest pixel of the residual glow stick in the science, MJy/sr, and the part of it in the references."""
LEVEL, PART = 42.0, 0.1
"""Background in MJy/sr, and the part of it that is left in the science."""


def excess_text(image: FloatArray, strips: Any) -> dict[str, list[float]]:
    """Excess of each strip and its error, MJy/sr."""
    return {e.name: [round(e.value, 3), round(e.error, 3)] for e in glow_excess(image, strips)}


def archival(folder: Path) -> dict[str, Any]:
    """Backgrounds subtracted from one another."""
    c = coronagraph("F1140C")
    paths = {
        "HD 106906, dither 1": next(folder.glob("jw01277022001_02101_00001_*")),
        "HD 106906, dither 2": next(folder.glob("jw01277022001_02101_00002_*")),
        "reference": next(folder.glob("jw01194019001_*")),
    }
    images, errors, strips, away = {}, [], (), np.ones((1, 1), bool)
    for name, path in paths.items():
        with fits.open(path) as hdus:
            image = np.where(hdus["DQ"].data[0] & 1, np.nan, hdus["SCI"].data[0].astype(float))
            header = hdus["SCI"].header
            errors.append(hdus["ERR"].data[0].astype(float))
        center = (header["CRPIX1"] - 1.0, header["CRPIX2"] - 1.0)
        shape = (image.shape[0], image.shape[1])
        strips = glow_strips(c, shape, center)
        away = radius_map(shape, center) * float(np.mean(c.pixel_scale)) >= BackgroundParams().exclusion_radius
        images[name] = image
    first, second, other = images.values()
    own = nanmean(np.stack([first, second]))
    found: dict[str, Any] = {"background itself": excess_text(own, strips)}
    for name, science, back, methods in (
        ("reference's minus HD 106906's", other, [first, second], ("clipped_mean", "scaled", "scaled_glow")),
        ("two dithers", first, [second], ("clipped_mean", "scaled_glow")),
    ):
        exposures = [BackgroundExposure(b[None]) for b in back]
        for method in methods:
            params = BackgroundParams(method=method, first_integration="same")
            result = subtract_background(science[None], exposures, params, fit_region=away, strips=strips)
            found[f"{name}, {method}"] = excess_text(result.data[0], strips)
    found["scale of one dither in the other"] = {
        "noise of the background subtracted": _scale(first, second, errors[1], away),
        "ordinary least squares": _scale(first, second, np.zeros_like(errors[1]), away),
    }
    return found


def _scale(science: FloatArray, background: FloatArray, error: FloatArray, away: NDArray[np.bool_]) -> float:
    """Fitted scale of a single coadded background with a stated error."""
    exposure = BackgroundExposure(background[None], error[None] ** 2)
    params = BackgroundParams(method="scaled", first_integration="same")
    return round(float(subtract_background(science[None], [exposure], params, fit_region=away).scale[0]), 3)


def simulated(seed: int) -> tuple[CoronagraphicSequence, FloatArray]:
    """A sequence of images without background, and the pattern of the glow stick with a maximum of one."""
    c = coronagraph("F1550C")
    scene = Scene(companions=(Companion("b", *PLANET),))
    maker = LightMaker.build(scene, "F1550C", seed)
    rng = np.random.default_rng([seed, 0x610])
    science, references, pa_y, star = [], [], [], []
    for exposure in plan_sequence(c, "small", scene, seed):
        if exposure.is_background:
            continue
        light = maker.light(exposure)
        image = light.image - thermal_background(c, light.background_level, glow=scene.background.glow)
        image = np.where(field_stop(c) > 0.5, image, np.nan) + rng.normal(0.0, NOISE, c.shape)
        if exposure.is_reference:
            references.append(image)
            continue
        science.append(image)
        pa_y.append(pa_of_detector_y(exposure.roll, V3_IDEAL_Y_ANGLE))
        star.append(c.reference_point)
    stick = thermal_background(c, 1.0) - thermal_background(c, 1.0, glow=0.0)
    sequence = CoronagraphicSequence(
        science=np.array(science), exposure=np.arange(2), pa_y=np.array(pa_y), star=np.array(star),
        pixel_scale=c.pixel_scale, references=np.array(references), boundary_tilt=c.boundary_tilt,
    )  # fmt: skip
    return sequence, stick / np.nanmax(stick)


def planet_snr(sequence: CoronagraphicSequence, **changes: Any) -> float:
    """S/N of the planet with nine modes."""
    params = replace(ReductionParams(truncations=(9,), zone_edges=(2.4, 5.0)), **changes)
    result = plan_reduction(sequence, params).reduce()
    fwhm = coronagraph("F1550C").lambda_over_d / result.pixel_scale
    maps = snr_map(result.image, result.center, fwhm)
    east, north = sky_offset(*PLANET[:2])
    x = round(result.center[0] - float(east) / result.pixel_scale)
    y = round(result.center[1] + float(north) / result.pixel_scale)
    return float(np.nanmax(maps.snr[y - 1 : y + 2, x - 1 : x + 2]))


def subtraction(seed: int) -> dict[str, float]:
    """S/N of the planet for one sequence in each setting."""
    clean, stick = simulated(seed)
    assert clean.references is not None
    background = thermal_background(coronagraph("F1550C"), LEVEL)

    def left(pattern: FloatArray) -> CoronagraphicSequence:
        assert clean.references is not None
        return clean.replace(science=clean.science + pattern, references=clean.references + IN_REFERENCES * pattern)

    alone, part = left(STICK * stick), left(PART * background)
    brighter = clean.replace(science=clean.science + 2.0)
    return {
        "nothing left, whole frame": planet_snr(clean, zone_edges=()),
        "nothing left": planet_snr(clean),
        "10 % of the background left": planet_snr(part),
        "10 % of the background left, background as template": planet_snr(part.replace(templates=background[None])),
        "glow stick left": planet_snr(alone),
        "glow stick left, background as template": planet_snr(alone.replace(templates=background[None])),
        "glow stick left, glow stick as template": planet_snr(alone.replace(templates=stick[None])),
        "science 2 MJy/sr above the references": planet_snr(brighter),
        "science 2 MJy/sr above the references, without the constant": planet_snr(brighter, subtract_mean=False),
    }


def main() -> None:
    """Measure both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    record: dict[str, Any] = {}
    folder = Path(os.environ.get("LYOT_TEST_DATA", "")) / "miri_hd106906_f1140c"
    if folder.is_dir():
        record["archival"] = archival(folder)
        print(json.dumps(record["archival"], indent=1), flush=True)
    rows = [subtraction(seed) for seed in range(1, options.seeds + 1)]
    record["subtraction"] = {
        name: {"mean": round(float(np.mean([r[name] for r in rows])), 1), "each": [round(r[name], 1) for r in rows]}
        for name in rows[0]
    }
    print(json.dumps(record["subtraction"], indent=1), flush=True)
    (options.out / "glow_sticks.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
