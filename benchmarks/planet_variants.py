"""The reductions that the stage-3 benchmark compares, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from planet_ruler import Place, aperture_sum, read
from planet_sequences import Case, exposure_means
from scipy import interpolate

from lyot import geometry
from lyot.instrument import CORONAGRAPHS
from lyot.reduction.second_pass import RefineParams, refine
from lyot.subtract import CoronagraphicSequence, ReductionParams, ReductionPlan, plan_reduction

FloatArray = NDArray[np.float64]
Change = Callable[[Case, CoronagraphicSequence], CoronagraphicSequence]

CROP = 33
"""Half side of the images that are kept for the figures, pixels."""


@dataclass(frozen=True)
class Variant:
    """One reduction: a name, the change of the sequence, the parameters, and whether the second pass is measured."""

    name: str
    params: ReductionParams
    changes: tuple[Change, ...] = ()
    second_pass: RefineParams | None = None

    def but(self, name: str, *changes: Change, **params: Any) -> Variant:
        """A copy with some parameters replaced and changes added."""
        return replace(self, name=name, params=replace(self.params, **params), changes=(*self.changes, *changes))

    def again(self, name: str, **params: Any) -> Variant:
        """A copy whose second pass is measured: sources found are left out of the fit, drifts fitted."""
        return replace(self, name=name, second_pass=RefineParams(**params))


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes
    ----------
    snr : float
        Of the planet in the image as it is.
    throughput : float
        Part of the planet's light in the aperture that the reduction leaves.
    clean_snr : float
        Light of the planet in the image over the noise on the whole ring with the planet taken out of the input:
        what `snr` estimates, with more apertures.
    noise : float
        That noise, MJy/sr summed over the pixels of an aperture.
    residual : float
        What the aperture at the planet's place holds without the planet, less the mean of the ring: its scatter over
        many sequences is the noise at that very place, which a fit that leaves the place out does not lower as it
        lowers that of the ring.
    image : ndarray
        About the star.
    """

    snr: float
    throughput: float
    clean_snr: float
    noise: float
    residual: float
    image: FloatArray = field(repr=False)

    def row(self) -> dict[str, float | None]:
        """The figures without the image; None where there is none."""
        values = {k: float(getattr(self, k)) for k in ("snr", "throughput", "clean_snr", "noise")}
        return {k: round(v, 4) if np.isfinite(v) else None for k, v in values.items()}


def place_in(plan: ReductionPlan, case: Case) -> Place:
    """Where star and planet are in the combined image of a plan: north up, east to the left."""
    side, (x, y) = plan.grid.pixel_scale, plan.grid.center
    return Place((x, y), (x - case.offset[0] / side, y + case.offset[1] / side), case.fwhm / side)


def planet_alone(plan: ReductionPlan, case: Case) -> float:
    """Aperture sum of the planet behind the mask, rolls combined with the same weights and no star subtracted."""
    place = place_in(plan, case)
    mine = case.planet[plan.frame_exposure]
    masked = np.where(np.isfinite(plan.frames()), mine, np.nan)
    return aperture_sum(plan.combine(masked[np.newaxis])[1][0], place.planet, place.fwhm)


def measure(case: Case, variant: Variant) -> Outcome:
    """Reduce the sequence with and without the planet, and measure it at its known place.

    Where the second pass is asked for and the first finds no source, the first is measured.
    """
    sequence = case.sequence
    for change in variant.changes:
        sequence = change(case, sequence)
    plan = plan_reduction(sequence, variant.params)
    if variant.second_pass is not None:
        known = min(CORONAGRAPHS.values(), key=lambda c: abs(c.lambda_over_d - case.fwhm))
        second = refine(plan, known, variant.second_pass)
        plan = plan if second is None else second.plan
    k = plan.truncations.index(plan.recommended)
    whole = plan.reduce(with_variance=False).combined[k]
    without = plan.reduce(sequence.science - case.planet[sequence.exposure], with_variance=False).combined[k]
    return outcome(whole, without, place_in(plan, case), planet_alone(plan, case))


def outcome(whole: FloatArray, without: FloatArray, place: Place, alone: float) -> Outcome:
    """Measure a pair of images."""
    with_planet = read(whole, place)
    noise = read(without, place, guard=0.0).noise
    left = aperture_sum(whole, place.planet, place.fwhm) - aperture_sum(without, place.planet, place.fwhm)
    residual = read(without, place).signal
    return Outcome(with_planet.snr, left / alone, left / noise, noise, residual, crop(whole, place.star))


def crop(image: FloatArray, star: tuple[float, float]) -> FloatArray:
    """Cut the image about the star."""
    x, y = round(star[0]), round(star[1])
    return np.asarray(image[max(y - CROP, 0) : y + CROP + 1, max(x - CROP, 0) : x + CROP + 1])


# changes of the sequence


def no_field(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
    """Forget the field stop: every pixel of the subarray is fitted."""
    return s.replace(throughput=None)


def with_field(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
    """Leave out what lies outside the field stop."""
    return s.replace(throughput=case.sequence.throughput)


def unaligned(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
    """Reference frames where they were taken."""
    return s.replace(references=case.sequence.references, reference_exposure=case.sequence.reference_exposure)


def aligned_with(frames: FloatArray) -> Change:
    """References as the official step aligned them (to integration 0 of the first roll)."""

    def change(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
        return s.replace(references=frames, reference_variance=None)

    return change


def realigned(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
    """Dither means registered to the mean of the first roll within 2.4 arcsec."""
    from lyot.subtract.register import align, register
    from lyot.subtract.zones import radius_arcsec

    science, references = exposure_means(case.sequence)
    weight = (radius_arcsec(case.sequence) < 2.4).astype(float)
    found = register(references, science[0], weight=weight)
    return s.replace(references=align(references, found), reference_exposure=None, reference_variance=None)


def template(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
    """Fit the mean background of stage 2 in every zone as well."""
    filled = np.nan_to_num(case.backgrounds, nan=float(np.nanmedian(case.backgrounds)))
    return s.replace(templates=filled[:1])


def no_template(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
    """Fit no background."""
    return s.replace(templates=None)


def smooth_background(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
    """Give back the noise that stage 2 took over from the background: subtract a smooth background instead.

    Within 4.5 arcsec the background is fitted by splines along and across the boundaries of the mask, with knots at
    every pixel on the boundaries and at every fifth elsewhere; what they leave is noise that both rolls have in common.
    """
    assert s.references is not None
    noise = [b - spline_fit(b, case) for b in case.backgrounds]
    return s.replace(science=s.science + noise[0], references=s.references + noise[1])


def spline_fit(image: FloatArray, case: Case, *, half: int = 41) -> FloatArray:
    """Least-squares spline surface of an image within `half` pixels of the star; the image itself elsewhere."""
    x, y = case.sequence.star.mean(axis=0)
    dx, dy = geometry.offset_grid(case.sequence.shape, (float(x), float(y)))
    turn = np.radians(case.sequence.boundary_tilt or 0.0)
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    near = (np.abs(u) < half) & (np.abs(v) < half)
    rows = [_spline_rows(t[near], half) for t in (u, v)]
    design = (rows[0][:, :, None] * rows[1][:, None, :]).reshape(int(near.sum()), -1)
    good = np.isfinite(image[near])
    left = design[good].T
    normal = left @ left.T + 1e-6 * np.eye(design.shape[1])
    out = image.copy()
    out[near] = design @ np.linalg.solve(normal, left @ image[near][good])
    return out


def _spline_rows(t: FloatArray, half: int) -> FloatArray:
    """Cubic B-splines at t: (n, nsplines)."""
    far = np.arange(8.0, half, 5.0)
    inner = np.concatenate([-far[::-1], np.arange(-6.0, 7.0), far])
    knots = np.concatenate([[-half] * 4, inner, [half] * 4])
    return np.asarray(interpolate.BSpline.design_matrix(t, knots, 3).toarray())


def background_left(part: float) -> Change:
    """Leave a part of the background, with its glow sticks, in the science frames."""

    def change(case: Case, s: CoronagraphicSequence) -> CoronagraphicSequence:
        return s.replace(science=s.science + part * case.backgrounds[0])

    return change


SKETCH = Variant(
    "sketch: dither means, 9 modes, 22 px",
    ReductionParams(
        truncations=(9,), zone_edges=(), outer_radius=2.42, roll_weights="equal", subtract_mean=True,
        noise_correction=False,
    ),
    (no_field,),
)  # fmt: skip
OURS = Variant("Lyot's defaults", ReductionParams(truncations=(9,)), (template,))
SECOND = OURS.again("Lyot's second pass")


def from_ours() -> list[Variant]:
    """Lyot's defaults, and one change at a time."""
    o = OURS
    return [
        o,
        SKETCH,
        SECOND,
        o.again("second pass, no drifts", wavefront_drift=0.0),
        o.again("second pass, drifts of 8 nm", wavefront_drift=8.0),
        *[o.but(f"{k} modes", truncations=(k,)) for k in (1, 2, 3, 5, 7)],
        o.but("one fit over the whole frame", no_field, zone_edges=()),
        o.but("one fit over the field of view", zone_edges=()),
        *[o.but(f"first annulus to {r} arcsec", zone_edges=(r, 5.0)) for r in (1.6, 2.0, 3.0, 4.0)],
        o.but("without the constant", subtract_mean=False),
        o.but("without the template", no_template),
        o.but("smooth background in stage 2", smooth_background),
        o.but("every reference integration, 9 modes", reference_frames="integration"),
        o.but("every reference integration, 30 modes", reference_frames="integration", truncations=(30,),
              recommended=30),
        o.but("references registered", realigned),
        o.but("other roll in the basis too", strategy="adi+rdi", truncations=(10,), recommended=10),
        o.but("rolls weighted equally", roll_weights="equal"),
        o.but("damped least squares (loci)", method="loci", truncations=(9,)),
        o.but("core of 0.3 arcsec left out", inner_radius=0.3),
        o.but("quadrants apart", quadrants=True),
    ]  # fmt: skip


def official_settings(aligned: FloatArray) -> Variant:
    """The official settings in Lyot's code: all integrations, 50 modes, the whole frame, references aligned."""
    params = ReductionParams(
        truncations=(50,), recommended=50, zone_edges=(), roll_weights="equal",
        science_frames="integration", reference_frames="integration", noise_correction=False,
    )  # fmt: skip
    return Variant("official settings, Lyot's code", params, (aligned_with(aligned), no_field))


def from_official(aligned: FloatArray) -> list[Variant]:
    """The official settings, and one change at a time."""
    o = official_settings(aligned)
    return [
        o,
        o.but("fit within 2.4 arcsec", zone_edges=(2.4, 5.0)),
        o.but("9 modes", truncations=(9,), recommended=9),
        o.but("dither means (9 modes)", truncations=(9,), recommended=9, reference_frames="exposure"),
        o.but("references not aligned", unaligned),
        o.but("mean of the science integrations", science_frames="exposure"),
        o.but("background as template", template),
    ]


def path(aligned: FloatArray) -> list[Variant]:
    """From the official settings to Lyot's, each change on top of those before."""
    steps: list[tuple[str, tuple[Change, ...], dict[str, Any]]] = [
        ("+ field of view only", (with_field,), {}),
        ("+ fit in annuli, 2.4 and 5 arcsec", (), {"zone_edges": (2.4, 5.0)}),
        ("+ 9 modes", (), {"truncations": (9,), "recommended": 9}),
        ("+ references not aligned", (unaligned,), {}),
        ("+ dither means", (), {"reference_frames": "exposure"}),
        ("+ mean of the integrations", (), {"science_frames": "exposure"}),
        ("+ rolls weighted by throughput", (), {"roll_weights": "throughput"}),
        ("+ background as template", (template,), {}),
    ]
    out = [official_settings(aligned)]
    for name, changes, params in steps:
        out.append(out[-1].but(name, *changes, **params))
    return [*out, out[-1].again("+ second pass")]


def with_background_left(part: float, aligned: FloatArray) -> list[Variant]:
    """Reductions of science frames in which a part of the background is left."""
    left = background_left(part)
    return [
        official_settings(aligned).but("official settings, Lyot's code", left),
        OURS.but("one fit over the field of view", left, zone_edges=()),
        SKETCH.but(SKETCH.name, left),
        OURS.but(OURS.name, left),
        OURS.but("Lyot's defaults without the constant", left, subtract_mean=False),
        OURS.but("Lyot's defaults without the template", left, no_template),
        SECOND.but(SECOND.name, left),
    ]
