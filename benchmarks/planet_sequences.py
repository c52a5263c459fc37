"""The two sequences of the stage-3 benchmark as arrays, with the image of the planet on the detector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.stacks import nanmean
from lyot.subtract import CoronagraphicSequence
from lyot.subtract.sequence import mean_by_group

FloatArray = NDArray[np.float64]

SEED = 7
CONTRAST, SEPARATION, POSITION_ANGLE = 7e-4, 0.82, 149.36
HD106906_FLUX = 0.066
"""Flux of HD 106906 at 11.4 um, Jy: a photosphere of Ks = 6.68 mag."""


@dataclass(frozen=True)
class Case:
    """A sequence and the planet in it.

    Attributes
    ----------
    sequence : CoronagraphicSequence
        With the planet.
    planet : (nexposures, ny, nx) float64 ndarray
        Image of the planet on the detector in each exposure, MJy/sr.
    offset : (east, north)
        Of the planet from the star, arcsec.
    fwhm : float
        lambda/D, arcsec.
    files, reference_files : tuple of Path
        Calibrated exposures that the sequence was read from.
    backgrounds : (n, ny, nx) float64 ndarray
        Mean background of the star and of the reference star, MJy/sr.
    clean_science, clean_references : (n, ny, nx) float64 ndarray or None
        One noiseless image per exposure, without planet and background: what the simulator put in.
    """

    sequence: CoronagraphicSequence
    planet: FloatArray
    offset: tuple[float, float]
    fwhm: float
    files: tuple[Path, ...]
    reference_files: tuple[Path, ...]
    backgrounds: FloatArray
    clean_science: FloatArray | None = None
    clean_references: FloatArray | None = None

    def frames_without_planet(self) -> FloatArray:
        """Science frames with the planet taken out."""
        return np.asarray(self.sequence.science - self.planet[self.sequence.exposure])


def simulate(out: Path, *, jobs: int = 2) -> None:
    """Simulate the F1550C sequence of the benchmark (8 GB): two rolls of 30 x 250, nine references of 19 x 100."""
    from lyot.simulator.plan import Size
    from lyot.simulator.scene import Companion, Scene
    from lyot.simulator.sequence import simulate_sequence

    scene = Scene(companions=(Companion("b", SEPARATION, POSITION_ANGLE, CONTRAST),))
    simulate_sequence(out, filter="F1550C", size=Size((30, 250), (19, 100)), seed=SEED, scene=scene, jobs=jobs)


def simulated_case(uncal: Path, run: Path) -> Case:
    """Read the simulated sequence after stages 1 and 2 (``lyot run UNCAL --out RUN --stages 1-2``)."""
    from lyot.simulator.truth import read_truth
    from lyot.steps.sequence_io import build_sequence, open_exposure
    from lyot.steps.stage3_throughput import throughput_of

    truth = read_truth(uncal)
    by_role: dict[str, list[str]] = {}
    for exposure in truth["exposures"]:
        by_role.setdefault(exposure["role"], []).append(str(exposure["file"]))
    science, references = (
        [run / "stage2" / name.replace("uncal", "calints") for name in by_role[role]]
        for role in ("science", "reference")
    )
    models = [[open_exposure(path) for path in group] for group in (science, references)]
    sequence = build_sequence(*models, throughput=throughput_of(models[0][0])).sequence
    sequence = sequence.replace(
        templates=None, template_variance=None, background_variance=None
    )  # variants have theirs
    to_mjysr = flat_factor(uncal)
    backgrounds = [
        _mean([run / "stage1" / name.replace("uncal", "rateints") for name in by_role[role]]) * to_mjysr
        for role in ("science_background", "reference_background")
    ]
    planet, clean = _clean_images(uncal)
    c = coronagraph("F1550C")
    return Case(
        sequence, planet, _sky(SEPARATION, POSITION_ANGLE), c.lambda_over_d, tuple(science), tuple(references),
        np.array(backgrounds), clean[0], clean[1],
    )  # fmt: skip


def _sky(separation: float, angle: float) -> tuple[float, float]:
    east, north = geometry.sky_offset(separation, angle)
    return float(east), float(north)


def flat_factor(uncal: Path) -> FloatArray:
    """MJy/sr per DN/s of each pixel: photometric factor over flat, (ny, nx); NaN where the flat has no response."""
    from lyot.simulator.truth import read_truth

    path = next((uncal / "crds_cache" / "references").rglob("*flat*.fits"))
    flat = np.asarray(fits.getdata(path, "SCI"), dtype=np.float64)
    return read_truth(uncal)["instrument"]["photmjsr"] / np.where(flat > 0, flat, np.nan)


def _mean(paths: list[Path]) -> FloatArray:
    """Mean of all good integrations of some exposures."""
    total, count = 0.0, 0
    for path in paths:
        with fits.open(path) as hdus:
            good = (hdus["DQ"].data & 1) == 0
            total = total + np.where(good, hdus["SCI"].data, 0.0).sum(axis=0, dtype=float)
            count = count + good.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _clean_images(uncal: Path) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Noiseless images: the planet in each roll; the star in each roll and in each reference exposure."""
    from lyot.simulator.background import thermal_background
    from lyot.simulator.light import LightMaker
    from lyot.simulator.plan import Size, plan_sequence
    from lyot.simulator.scene import read_scene

    cache = uncal.parent / "clean_images.npz"
    if cache.exists():
        with np.load(cache) as saved:
            return saved["planet"], (saved["science"], saved["references"])
    scene, c = read_scene(uncal / "scene.toml"), coronagraph("F1550C")
    exposures = [e for e in plan_sequence(c, Size((30, 250), (19, 100)), scene, SEED) if not e.is_background]
    alone = LightMaker.build(replace(scene, companions=()), "F1550C", SEED)
    both = LightMaker.build(scene, "F1550C", SEED)
    planet, science, references = [], [], []
    for exposure in exposures:
        light = alone.light(exposure)
        star = light.image - thermal_background(c, light.background_level, glow=scene.background.glow)
        if exposure.is_reference:
            references.append(star)
        else:
            science.append(star)
            planet.append(both.light(exposure).image - light.image)
    np.savez(cache, planet=planet, science=science, references=references)
    return np.array(planet), (np.array(science), np.array(references))


def hd106906_case(folder: Path) -> Case:
    """Read the real HD 106906 sequence, with no planet in it yet (one roll, F1140C, each exposure one frame)."""
    from lyot.steps.stage3_throughput import throughput_map

    science = sorted(folder.glob("jw01277019*calints.fits"))
    references = sorted(folder.glob("jw01194015*calints.fits"))
    back = [sorted(folder.glob(p)) for p in ("jw01277022*calints.fits", "jw01194019*calints.fits")]
    data, variance, headers = _read(science)
    refs, refs_variance, _ = _read(references)
    c = coronagraph("F1140C")
    star = [(h["CRPIX1"] - 1, h["CRPIX2"] - 1) for h in headers]
    pa_y = [geometry.pa_of_detector_y(h["ROLL_REF"], h["V3I_YANG"]) for h in headers]
    shape = (data.shape[1], data.shape[2])
    y0, x0 = round(c.reference_point[1] - star[0][1]), round(c.reference_point[0] - star[0][0])
    sequence = CoronagraphicSequence(
        science=data, science_variance=variance, exposure=np.arange(1), pa_y=np.array(pa_y),
        star=np.array(star), pixel_scale=c.pixel_scale, references=refs, reference_variance=refs_variance,
        throughput=throughput_map("F1140C")[y0 : y0 + shape[0], x0 : x0 + shape[1]], boundary_tilt=c.boundary_tilt,
    )  # fmt: skip
    backgrounds = np.array([nanmean(_read(paths)[0]) for paths in back])
    zero = np.zeros_like(data)
    return Case(sequence, zero, (0.0, 0.0), c.lambda_over_d, tuple(science), tuple(references), backgrounds)


def with_planet(case: Case, *, separation: float, angle: float, contrast: float = 6e-4) -> Case:
    """Inject a planet into the HD 106906 sequence."""
    sequence = case.sequence
    star = (float(sequence.star[0][0]), float(sequence.star[0][1]))
    dx, dy = geometry.detector_offset(separation, angle, float(sequence.pa_y[0]))
    unit = contrast * HD106906_FLUX * 1e-6 / coronagraph("F1140C").pixel_area
    planet = unit * _optics().psf((float(dx), float(dy)), shape=sequence.shape, center=star)[np.newaxis]
    return replace(
        case, sequence=sequence.replace(science=sequence.science + planet), planet=planet,
        offset=_sky(separation, angle),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _optics() -> Any:
    from lyot.optics import CoronagraphModel

    return CoronagraphModel.build("F1140C")


def _read(paths: list[Path]) -> tuple[FloatArray, FloatArray, list[fits.Header]]:
    data, variance, headers = [], [], []
    for path in paths:
        with fits.open(path) as hdus:
            cube = hdus["SCI"].data.astype(np.float64)
            cube[(hdus["DQ"].data & 1) > 0] = np.nan
            data.append(cube[0])
            variance.append(hdus["ERR"].data[0].astype(np.float64) ** 2)
            headers.append(hdus["SCI"].header)
    return np.array(data), np.array(variance), headers


def exposure_means(sequence: CoronagraphicSequence) -> tuple[FloatArray, FloatArray]:
    """Means of each science and of each reference exposure."""
    assert sequence.references is not None and sequence.reference_exposure is not None
    n = int(sequence.reference_exposure.max()) + 1
    return (
        mean_by_group(sequence.science, sequence.exposure, sequence.n_exposures),
        mean_by_group(sequence.references, sequence.reference_exposure, n),
    )


HALF = 46
"""Half side of the crop in which reductions within 5 arcsec of the star are compared, pixels."""


def window(case: Case) -> tuple[Any, slice, slice]:
    """Index of the pixels about the star."""
    x, y = np.rint(case.sequence.star.mean(axis=0)).astype(int)
    return (Ellipsis, slice(int(y) - HALF, int(y) + HALF + 1), slice(int(x) - HALF, int(x) + HALF + 1))


def cropped(case: Case) -> Case:
    """The surroundings of the star alone: what lies further out has its own fits and does not matter at the planet."""
    cut, s = window(case), case.sequence
    x0, y0 = cut[2].start, cut[1].start
    center = s.mask_center or (float(s.star[0][0]), float(s.star[0][1]))
    assert s.references is not None and s.throughput is not None
    sequence = s.replace(
        science=s.science[cut],
        references=s.references[cut],
        throughput=s.throughput[cut],
        star=s.star - [x0, y0],
        science_variance=None if s.science_variance is None else s.science_variance[cut],
        reference_variance=None,
        mask_center=(center[0] - x0, center[1] - y0),
    )
    names = ("planet", "backgrounds", "clean_science", "clean_references")
    arrays = {name: None if getattr(case, name) is None else getattr(case, name)[cut] for name in names}
    return replace(case, sequence=sequence, **arrays)
