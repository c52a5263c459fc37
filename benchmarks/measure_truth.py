"""Do the error bars hold? Injected planets in simulated sequences, against what was put in.

Sequences are simulated at image level: the star behind the mask with a wavefront that drifts from exposure to exposure,
nine dithered reference exposures and two rolls, with photon and read noise of the mean of an exposure. They do not go
through ramps and stages 1 and 2. A planet is put in with the wavefront of its exposure, and measured with the
model's nominal one, as with real data. Each planet is in a noise realization of its own. The reduction has the
parameters of the product. Each sequence is a file in DIR, and one that is there is not made again.

    python benchmarks/measure_truth.py pulls --first 0 --sequences 30 --out DIR     # can be run in pieces
    python benchmarks/measure_truth.py alarms --first 0 --sequences 100 --out DIR
    python benchmarks/measure_truth.py completeness --first 0 --sequences 30 --out DIR
    python benchmarks/measure_truth.py disks --first 0 --sequences 20 --out DIR           # next to an edge-on disk
    python benchmarks/measure_truth.py significance --first 0 --sequences 20 --out DIR    # four settings, no planet
    python benchmarks/measure_truth.py summary --out DIR [--figure FILE]

``pulls`` takes another filter (``--filter F1140C``) and another world (``--world NAME``, see `WORLDS`): the sequences
and their planets are then made with other optics, pointing or drift than the model knows. One folder for each.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.measure import CompanionParams, ContrastParams, DetectionParams, Injector
from lyot.measure.companion import fit_companion
from lyot.measure.contrast import aperture_response, contrast_curve
from lyot.measure.detection import away_from_edges, detect_in_reduction
from lyot.measure.noise import snr_map
from lyot.measure.significance import combined_significance, speckle_pattern
from lyot.measure.source_snr import source_snr
from lyot.optics import CoronagraphModel, OpticsParams, Wavefront, drifted
from lyot.reduction.injector import injector_of, off_axis_source, placed, source_imager
from lyot.reduction.second_pass import star_changes
from lyot.simulator.background import thermal_background
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction

FILTER = "F1550C"
FLUXES = {"F1065C": 0.0686, "F1140C": 0.0603, "F1550C": 0.034, "F2300C": 0.0170}  # of the star, Jy
BACKGROUNDS = {
    "F1065C": 92.0,
    "F1140C": 122.0,
    "F1550C": 350.0,
    "F2300C": 2300.0,
}  # MJy/sr, as F1550C to the simulator's
SIZE = 121  # pixels: separations up to 5 arcsec with the whole PSF of the planet
BRIGHTER = 4.0  # of the reference star
PHOTONS = 31.0  # photo-electrons per MJy/sr and second: of the order of MIRI's at 15.5 um
TIME = 3000.0  # s per science exposure
PA_Y = (113.006, 122.385)
DITHERS = ((0, 0), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
BOUNDARY = 0.35  # planets that keep less light than this in one of the rolls are told apart: they are on a boundary
OPTICS = OpticsParams(pupil_pixels=64, n_wavelengths=2)
STARLIGHT = replace(OPTICS, stop="effective")
DRIFT = 5.0  # nm between the stars; a third of it between exposures
POINTING = 0.003  # arcsec per axis, of each star behind the mask


@dataclass(frozen=True)
class World:
    """What sequences are made with that the measurement does not know of.

    `optics` are those of the planets, `star` those of the star (none: the same).
    """

    optics: OpticsParams = OPTICS
    star: OpticsParams | None = STARLIGHT
    drift: float = DRIFT
    pointing: float = POINTING
    seconds: float = TIME
    backgrounds: bool = False
    """Background exposures of the same length, two for each star, whose mean is subtracted from all its exposures."""
    background_left: float = 0.0
    """Standard deviation of the background that is left, with its glow sticks, relative to it: one for each star."""
    latent: float = 0.0
    """Flux (Jy) of a latent image of the star, at one place on the detector in both rolls; half of it in the second."""


WORLDS = {
    "ours": World(),
    "geometric": World(star=None),
    "eroded": World(replace(OPTICS, stop="eroded"), star=None),
    "stop": World(replace(OPTICS, stop="eroded", fqpm_stop_transmission=0.50, lyot_stop_transmission=0.60), star=None),
    "shear": World(replace(OPTICS, shear_x=-0.02, shear_y=0.025, wavefront_seed=7), star=None),
    "blur": World(replace(OPTICS, charge_diffusion=0.05, wavefront_rms=180.0), star=None),
    "pointing": World(pointing=0.010, drift=10.0),
    "medium": World(seconds=144.0, backgrounds=True),
    "shallow": World(seconds=30.0, backgrounds=True),
    "background": World(background_left=0.03),
    "latent": World(latent=2e-5),
}
"""Worlds: ours; those in which the optics, or what is assumed of star and drift, are others than in the model;
exposures as short as those of the simulator's sizes medium and small, with the noise of the background; a background
of which 3 % are left; and a latent image of the star from its acquisition."""

WORLD = WORLDS["ours"]
PARAMS = ReductionParams()  # that of the product
PRIOR = 0.0  # nm: drift whose images are fitted with the modes, 0 for none


@lru_cache(maxsize=1)
def model() -> CoronagraphModel:
    """The optics that planets are made with, coarse enough for hundreds of exposures."""
    return CoronagraphModel.build(FILTER, WORLD.optics)


@lru_cache(maxsize=1)
def starlight() -> CoronagraphModel:
    """The optics that the star shines through."""
    return model() if WORLD.star is None else CoronagraphModel.build(FILTER, WORLD.star)


@dataclass(frozen=True)
class Truth:
    """A noiseless sequence: images in MJy/sr and what they were made with."""

    science: NDArray[np.float64]
    references: NDArray[np.float64]
    wavefronts: tuple[Wavefront, ...]
    center: tuple[float, float]


def noiseless(seed: int) -> Truth:
    """The star in two rolls and nine reference exposures."""
    rng = np.random.default_rng([seed, 1])
    optics, c = starlight(), coronagraph(FILTER)
    center = ((SIZE - 1) / 2 + 0.25, (SIZE - 1) / 2 - 0.29)
    unit = 1e-6 / c.pixel_area
    drift = WORLD.drift if WORLD.drift != World().drift else DRIFT
    star = drifted(optics.wavefront, drift, rng)
    reference = drifted(optics.wavefront, drift, rng)

    def image(wavefront: Wavefront, offset: tuple[float, float]) -> NDArray[np.float64]:
        return optics.psf(offset, shape=(SIZE, SIZE), center=center, wavefront=wavefront)

    fronts = tuple(drifted(star, drift / 3, rng) for _ in PA_Y)
    pointing = rng.normal(scale=WORLD.pointing, size=2)
    jitter = rng.normal(scale=0.001, size=(len(PA_Y), 2))
    science = [FLUXES[FILTER] * unit * image(w, tuple(pointing + j)) for w, j in zip(fronts, jitter, strict=True)]
    frames = []
    off = rng.normal(scale=WORLD.pointing, size=2)
    for dither in DITHERS:
        wavefront = drifted(reference, drift / 3, rng)
        where = tuple(0.01 * np.array(dither) + off + rng.normal(scale=0.001, size=2))
        frames.append(BRIGHTER * FLUXES[FILTER] * unit * image(wavefront, where))
    return Truth(np.array(science), np.array(frames), fronts, center)


def with_noise(images: NDArray[np.float64], seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Photon noise of source and background (Gaussian; thousands of electrons per pixel) and read noise."""
    electrons, background = PHOTONS * seconds, BACKGROUNDS[FILTER]
    sigma = np.sqrt((images + background) / electrons + (0.02 * background / np.sqrt(electrons)) ** 2)
    return images + sigma * rng.standard_normal(images.shape)


def exposed(images: NDArray[np.float64], seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Images with noise, and with that of the mean background that all of them have subtracted, where there is one."""
    noisy = with_noise(images, seconds, rng)
    return noisy - with_noise(np.zeros(images.shape[1:]), 2 * seconds, rng) if WORLD.backgrounds else noisy


def light_left(seed: int, center: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What background subtraction and persistence leave in science (2 rolls) and reference exposures, MJy/sr."""
    rng, c = np.random.default_rng([seed, 3]), coronagraph(FILTER)
    science, references = np.zeros((len(PA_Y), SIZE, SIZE)), np.zeros((1, SIZE, SIZE))
    if WORLD.background_left:
        x, y = (round(v) - (SIZE - 1) // 2 for v in c.reference_point)
        background = thermal_background(c, BACKGROUNDS[FILTER])[y : y + SIZE, x : x + SIZE]
        science += WORLD.background_left * rng.normal() * background
        references += WORLD.background_left * rng.normal() * background
    if WORLD.latent:
        r, angle = rng.uniform(1.0, 4.0), rng.uniform(0.0, 2.0 * np.pi)
        x, y = center[0] + r * np.cos(angle) / c.pixel_scale[0], center[1] + r * np.sin(angle) / c.pixel_scale[1]
        # the acquisition is seen without the mask
        stamp = model().off_axis_psf((5.0, 5.0), size=101, phase=(x - round(x), y - round(y)))
        image = placed(stamp, (SIZE, SIZE), (round(x), round(y))) * 1e-6 / c.pixel_area * WORLD.latent
        science += image * np.array([1.0, 0.5])[:, None, None]
    return science, references


def sequence_of(science: NDArray[np.float64], references: NDArray[np.float64], center: tuple[float, float]) -> Any:
    """The arrays of stage 3."""
    c = coronagraph(FILTER)
    return CoronagraphicSequence(
        science=science,
        exposure=np.arange(len(PA_Y)),
        pa_y=np.array(PA_Y),
        star=np.array([center] * len(PA_Y)),
        pixel_scale=c.pixel_scale,
        references=references,
        mask_center=center,
        boundary_tilt=c.boundary_tilt,
    )


def planet(truth: Truth, separation: float, angle: float) -> NDArray[np.float64]:
    """A source of 1 Jy in the two rolls, with their wavefronts: (2, ny, nx), MJy/sr."""
    c = coronagraph(FILTER)
    frames = []
    for pa_y, wavefront in zip(PA_Y, truth.wavefronts, strict=True):
        dx, dy = (float(v) for v in geometry.detector_offset(separation, angle, pa_y))
        x, y = truth.center[0] + dx / c.pixel_scale[0], truth.center[1] + dy / c.pixel_scale[1]
        phase = (x - round(x), y - round(y))
        stamp = model().off_axis_psf((dx, dy), size=101, phase=phase, wavefront=wavefront)
        frames.append(placed(stamp, (SIZE, SIZE), (round(x), round(y))) * 1e-6 / c.pixel_area)
    return np.array(frames)


@dataclass(frozen=True)
class Simulated:
    """One sequence with noise, and its reduction."""

    truth: Truth
    injector: Injector
    fwhm: float


def simulate(
    seed: int, realization: int = 0, extra: NDArray[np.float64] | None = None, truth: Truth | None = None
) -> Simulated:
    """Simulate and plan; `extra` is light to add to the science exposures."""
    truth = truth or noiseless(seed)
    rng = np.random.default_rng([seed, 2, realization])
    science = truth.science if extra is None else truth.science + extra
    t = WORLD.seconds
    left = light_left(seed, truth.center)
    science, references = science + left[0], truth.references + left[1]
    sequence = sequence_of(*(exposed(images, seconds, rng) for images, seconds in (
        (science, t), (references, t / 9))), truth.center)  # fmt: skip
    c = coronagraph(FILTER)
    plan = plan_reduction(sequence, one_truncation(sequence), changes=star_changes(sequence, c, PRIOR))
    psf = _source(sequence)
    injector = injector_of(plan, psf)
    return Simulated(truth, injector, c.lambda_over_d / injector.pixel_scale)


_MODES: dict[int, int] = {}


def one_truncation(sequence: CoronagraphicSequence) -> ReductionParams:
    """The parameters of the product, for the truncation of its main image alone."""
    n = sequence.n_references
    if n not in _MODES:
        _MODES[n] = plan_reduction(sequence, PARAMS).recommended
    return replace(PARAMS, truncations=(_MODES[n],), recommended=_MODES[n])


_SOURCES: dict[bytes, Any] = {}


def _source(sequence: CoronagraphicSequence) -> Any:
    """Images of unit sources; the geometry is the same in all sequences, so that they can be shared."""
    key = FILTER.encode() + np.asarray(sequence.star).tobytes()
    if key not in _SOURCES:
        c = coronagraph(FILTER)
        source = off_axis_source(sequence, source_imager(c, optics=OPTICS), c.pixel_area)
        _SOURCES[key] = lru_cache(maxsize=1024)(source)
    return _SOURCES[key]


SEPARATIONS = (0.5, 0.7, 1.0, 1.5, 2.2, 3.2, 4.5)


def pulls(seed: int, *, per_sequence: int = 8) -> list[dict[str, float]]:
    """Planets of S/N 3 to 100 at random places of one sequence, each in its own noise, fitted from a guess nearby."""
    rng = np.random.default_rng([seed, 3])
    truth = noiseless(seed)
    base = simulate(seed, 1000, truth=truth)
    maps = snr_map(base.injector.image, base.injector.center, base.fwhm)
    rows = []
    for k in range(per_sequence):
        places = [max(s, 1.1 * coronagraph(FILTER).spot_radius) for s in SEPARATIONS]
        separation = float(rng.choice(places)) * float(rng.uniform(0.9, 1.1))
        angle = float(rng.uniform(0, 360))
        light = planet(truth, separation, angle)
        # flux for the wanted S/N: by the aperture noise there and the planet's own light
        east, north = (float(v) for v in geometry.sky_offset(separation, angle))
        x, y = base.injector.pixel(east, north)
        noise = maps.noise[round(y), round(x)]
        if not np.isfinite(noise):
            continue
        response = aperture_response(base.injector, east, north, base.fwhm)
        flux = float(10 ** rng.uniform(np.log10(3), 2)) * float(noise) / response
        one = simulate(seed, k, flux * light, truth=truth)
        guess = (separation + rng.normal(scale=0.03), angle + np.degrees(rng.normal(scale=0.03) / separation))
        start = time.perf_counter()
        c = fit_companion(one.injector, one.fwhm, guess, CompanionParams(posterior=False))
        seconds = time.perf_counter() - start
        u = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
        radial = np.array([c.east - east, c.north - north]) @ u
        tangential = np.array([c.east - east, c.north - north]) @ np.array([u[1], -u[0]])
        rows.append({
            "seed": seed, "separation": separation, "angle": angle, "flux": flux, "snr": flux / c.flux_error,
            "fitted": c.flux, "error": c.flux_error, "radial": radial, "radial_error": c.separation_error,
            "tangential": tangential, "tangential_error": np.radians(c.position_angle_error) * c.separation,
            "elements": c.elements, "scale": c.noise_scale, "chi2": c.reduced_chi2, "seconds": seconds,
            "ambiguous": float(c.ambiguous), "shape": c.shape_error, "kept": _kept(one, separation, angle),
            "least": min(model().throughput_at(_behind(separation, angle, pa_y)) for pa_y in PA_Y),
        })  # fmt: skip
    return rows


def _behind(separation: float, angle: float, pa_y: float) -> tuple[float, float]:
    """Offset from the mask's center along the detector's axes, arcsec."""
    x, y = geometry.detector_offset(separation, angle, pa_y)
    return float(x), float(y)


def _kept(one: Simulated, separation: float, angle: float) -> float:
    """Light of a source that the model of the measurement keeps, over that in the open field, mean of the rolls."""
    psf = one.injector.psf
    east, north = (float(v) for v in geometry.sky_offset(separation, angle))
    far = 0.7 * 5.0  # arcsec in both axes of the detector: between the boundaries
    x, y = (float(v) for v in geometry.sky_offset(float(np.hypot(far, far)), PA_Y[0] + 45.0))
    light = [np.mean([psf(k, e, n).sum() for k in range(len(PA_Y))]) for e, n in ((east, north), (x, y))]
    return float(light[0] / light[1])


CLOSE = 1.2  # arcsec, inside of which planets at the curve are told apart
LEVELS = (3.5, 4.0, 4.5, 5.0)


def alarms(seed: int) -> list[dict[str, float]]:
    """Peaks above some Gaussian sigmas in a sequence without planets, and the least false-alarm probability.

    Searched as `lyot run` does it, every candidate measured with its own image taken out of its noise.
    """
    one = simulate(seed)
    c = one.injector
    params = DetectionParams(threshold=0.0, min_significance=LEVELS[0], outer_radius=5.0)
    found = [d for d in detect_in_reduction(c, one.fwhm, params=params) if d.accepted]
    elements = searched_elements(c.image, c.center, one.fwhm, c.pixel_scale)
    least = min((d.false_alarm for d in found), default=1.0)
    return [
        {"seed": seed, "level": level, "found": sum(d.significance >= level for d in found), "least": least,
         "elements": elements}
        for level in LEVELS
    ]  # fmt: skip


def searched_elements(
    image: NDArray[np.float64], center: tuple[float, float], fwhm: float, pixel_scale: float
) -> float:
    """Area that `alarms` searches over that of an aperture."""
    radius = geometry.radius_map((image.shape[0], image.shape[1]), center)
    searched = (radius >= fwhm) & (radius * pixel_scale <= 5.0) & np.isfinite(image)
    return float(searched.sum() / (np.pi * fwhm**2 / 4))


def completeness(seed: int, *, per_sequence: int = 8) -> list[dict[str, float]]:
    """Planets at the 5-sigma curve, half of them inside `CLOSE`, each in its own noise: what becomes of them.

    ``significance`` is what the curve stands for: the aperture at the planet's place against the combined noise, its
    own image taken out of the others. ``found`` is a detection of 5 sigmas by the search within half a resolution
    element: it takes the highest of the pixels around, which gains a few tenths of a sigma. ``in_map`` is the plain S/N
    map, where a planet close to the star is hidden by its own wings.
    """
    rng = np.random.default_rng([seed, 4])
    truth = noiseless(seed)
    base = simulate(seed, 1000, truth=truth)
    curve = contrast_curve(base.injector, base.fwhm, ContrastParams(separations=12, angles=8, outer_radius=4.5))
    close = np.flatnonzero(np.isfinite(curve.flux_limit) & (curve.separation < CLOSE))
    far = np.flatnonzero(np.isfinite(curve.flux_limit) & (curve.separation >= CLOSE))
    rows = []
    for k in range(per_sequence):
        i = int(rng.choice(close if k % 2 and len(close) else far))
        angle = float(rng.uniform(0, 360))
        light = planet(truth, float(curve.separation[i]), angle)
        one = simulate(seed, k, float(curve.flux_limit[i]) * light, truth=truth)
        c = one.injector
        east, north = (float(v) for v in geometry.sky_offset(curve.separation[i], angle))
        x, y = c.pixel(east, north)
        own = source_snr(c.image, c.forward(east, north), (x, y), c.center, one.fwhm)
        maps = snr_map(c.image, c.center, one.fwhm)
        pattern = speckle_pattern(c.speckles, c.center, one.fwhm)
        rest = c.image - own.scale * np.nan_to_num(c.forward(east, north))
        combined = combined_significance(rest, pattern, own.signal, (x, y), c.center, one.fwhm)
        params = DetectionParams(threshold=0.0, min_significance=5.0, outer_radius=5.0)
        found = [d for d in detect_in_reduction(c, one.fwhm, maps=maps, params=params) if d.accepted]
        rows.append({
            "seed": seed, "separation": float(curve.separation[i]), "angle": angle,
            "significance": combined.significance, "ring": own.significance,
            "in_map": float(maps.significance()[round(y), round(x)]), "elements": int(curve.elements[i]),
            "found": float(any(np.hypot(d.x - x, d.y - y) < 0.5 * one.fwhm for d in found)),
            "flux": float(curve.flux_limit[i]), "snr": own.snr, "threshold": float(curve.threshold[i]),
        })  # fmt: skip
    return rows


DISK_ANGLE = 60.0
"""Position angle of the simulated edge-on disk, degrees."""


def edge_on_disk(truth: Truth) -> NDArray[np.float64]:
    """A ridge as narrow as the resolution, falling outward, in the two rolls: (2, ny, nx), peak 1 at 1 arcsec."""
    scale = float(np.mean(coronagraph(FILTER).pixel_scale))
    dx, dy = geometry.offset_grid((SIZE, SIZE), truth.center)
    frames = []
    for pa_y in PA_Y:
        ux, uy = (float(v) for v in geometry.detector_offset(1.0, DISK_ANGLE, pa_y))
        along, across = dx * ux + dy * uy, dx * uy - dy * ux
        r = np.hypot(dx, dy) * scale
        frames.append(np.exp(-0.5 * (across / 1.9) ** 2) * np.minimum(np.maximum(np.abs(along) * scale, 0.3) ** -1.5, 2)
                      * (r > 0.4) * (r < 4.5))  # fmt: skip
    return np.array(frames)


def disks(seed: int, *, per_sequence: int = 4, contrast: float = 30.0) -> list[dict[str, float]]:
    """Planets of S/N 8 next to an edge-on disk `contrast` times the noise: found, and false sources, with and without.

    ``on``: extended light left out of the noise, as in the product; ``off``: not.
    """
    rng = np.random.default_rng([seed, 5])
    truth = noiseless(seed)
    base = simulate(seed, 0, truth=truth)
    maps = snr_map(base.injector.image, base.injector.center, base.fwhm)
    far = geometry.radius_map(maps.noise.shape, base.injector.center) * base.injector.pixel_scale > 1.0
    area = np.pi * base.fwhm**2 / 4
    light = contrast * float(np.nanmedian(maps.noise[far])) / area * edge_on_disk(truth)
    rows = []
    for k in range(per_sequence + 1):
        separation, turn = float(rng.uniform(1.3, 4.0)), float(rng.uniform(25, 155))
        east, north = (float(v) for v in geometry.sky_offset(separation, DISK_ANGLE + turn))
        x, y = base.injector.pixel(east, north)
        response = aperture_response(base.injector, east, north, base.fwhm)
        flux = 0.0 if k == 0 else 8.0 * float(maps.noise[round(y), round(x)]) / response
        companion = flux * planet(truth, separation, (DISK_ANGLE + turn) % 360)
        row: dict[str, float] = {"seed": seed, "separation": separation, "turn": turn, "planet": float(k > 0)}
        for disk in (0, 1):
            one = simulate(seed, k, companion + disk * light, truth=truth)
            for name, on in (("on", True), ("off", False)):
                params = DetectionParams(outer_radius=5.0, extended_light=on)
                found = [d for d in detect_in_reduction(one.injector, one.fwhm, params=params) if d.accepted]
                near = [np.hypot(d.x - x, d.y - y) < 0.5 * one.fwhm for d in found]
                row[f"found_{disk}_{name}"] = float(k > 0 and any(near))
                row[f"false_{disk}_{name}"] = float(len(near) - (sum(near) if k else 0))
        rows.append(row)
    return rows


SETTINGS = {"drift 5 nm": (5.0, 3000.0), "2 nm": (2.0, 3000.0), "10 nm": (10.0, 3000.0), "200 s": (5.0, 200.0)}
"""Drift of the wavefront (nm) and exposure time (s) of the settings on which the significance is calibrated."""


def significance(seed: int) -> list[dict[str, float]]:
    """Peaks of planet-free sequences of four settings beyond some sigmas: combined, of the ring alone, expected."""
    global DRIFT, TIME
    rows = []
    for name, (drift, seconds) in SETTINGS.items():
        DRIFT, TIME = drift, seconds
        one = simulate(seed)
        c, fwhm = one.injector, one.fwhm
        maps, pattern = snr_map(c.image, c.center, fwhm), speckle_pattern(c.speckles, c.center, fwhm)
        radius = geometry.radius_map(maps.snr.shape, c.center)
        searched = (radius >= fwhm) & (radius * c.pixel_scale <= 5.0) & away_from_edges(c.image, 3 * fwhm)
        top = maps.signal == ndimage.maximum_filter(np.nan_to_num(maps.signal, nan=-np.inf), 5)
        ring = maps.significance()
        peaks = np.argwhere(top & searched & (ring > 2.0))
        found = [
            combined_significance(c.image, pattern, maps.signal[y, x], (x, y), c.center, fwhm).significance
            for y, x in peaks
        ]
        elements = float(searched.sum() / (np.pi * fwhm**2 / 4))
        for level in (3.0, *LEVELS):
            expected = elements * 0.48 * level**2 * float(stats.norm.sf(level))
            rows.append({"seed": seed, "drift": drift, "time": seconds, "level": level, "expected": expected,
                         "combined": float(np.sum(np.array(found) > level)), "setting": name,
                         "ring": float((ring[tuple(peaks.T)] > level).sum())})  # type: ignore[dict-item]  # fmt: skip
    return rows


def total(folder: Path, what: str) -> str:
    """Sums of the numbers of all sequences of `disks` or `significance`."""
    rows = [row for path in sorted(folder.glob(f"{what}_*.json")) for row in json.loads(path.read_text())]
    if what == "significance":
        lines = []
        for level in (3.0, *LEVELS):
            mine = [r for r in rows if r["level"] == level]
            sums = {k: round(sum(r[k] for r in mine), 1) for k in ("expected", "combined", "ring")}
            lines.append(f"{level}: {sums} in {len(mine)} images")
        return "\n".join(lines)
    keys = [k for k in rows[0] if k.startswith(("found", "false"))]
    sums = {k: sum(r[k] for r in rows) for k in keys}
    return f"{sums} of {sum(r['planet'] for r in rows):.0f} planets in {len(rows)} images each"


def main() -> None:
    """Run one piece, or sum up."""
    global FILTER, WORLD, PRIOR
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pulls", "alarms", "completeness", "disks", "significance", "summary"))
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--sequences", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--filter", choices=sorted(FLUXES), default=FILTER, help="of pulls")
    parser.add_argument("--world", choices=sorted(WORLDS), default="ours", help="of pulls")
    parser.add_argument("--prior", type=float, default=PRIOR, help="drift of the wavefront that is fitted, nm")
    args = parser.parse_args()
    FILTER, WORLD, PRIOR = args.filter, WORLDS[args.world], args.prior
    args.out.mkdir(parents=True, exist_ok=True)
    if args.what == "summary":
        from measure_truth_summary import figure, summary, tables

        numbers = summary(args.out)
        print(json.dumps(numbers, indent=1))
        print(tables(numbers))
        if args.figure is not None:
            figure(args.out, args.figure)
        return
    jobs: dict[str, Any] = {"pulls": pulls, "alarms": alarms, "completeness": completeness, "disks": disks,
                            "significance": significance}  # fmt: skip
    job = jobs[args.what]
    for seed in range(args.first, args.first + args.sequences):
        path = args.out / f"{args.what}_{seed:05d}.json"
        if not path.exists():
            start = time.process_time()
            path.write_text(json.dumps(job(seed)))
            print(f"{path.name}: {time.process_time() - start:.1f} s of CPU", flush=True)
    if args.what in ("disks", "significance"):
        print(total(args.out, args.what))


if __name__ == "__main__":
    main()
