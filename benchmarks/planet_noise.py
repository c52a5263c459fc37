"""What photon and read noise allow, and where the rest is lost: a noise budget of the simulated sequence.

The simulator knows every exposure without noise. Drawn from the errors of stage 1, noise is added to one part of the
data at a time and taken through the same reduction; its scatter over draws and over the ring is compared with the noise
in the image of the data themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from planet_ruler import Place, read, ring_sums
from planet_sequences import Case, cropped, exposure_means, window
from planet_variants import Variant, place_in, planet_alone, smooth_background, spline_fit

from lyot.subtract import CoronagraphicSequence, ReductionPlan, plan_reduction

FloatArray = NDArray[np.float64]

DRAWS = 24
REFERENCE_DRAWS = 10


@dataclass(frozen=True)
class Variances:
    """Variances of the mean of each exposure, (MJy/sr)^2, before any background subtraction.

    Attributes
    ----------
    science, references, science_background, reference_background : (n, ny, nx) float64 ndarray
    """

    science: FloatArray
    references: FloatArray
    science_background: FloatArray
    reference_background: FloatArray


def read_variances(uncal: Path, run: Path, to_mjysr: FloatArray) -> Variances:
    """Variances from the errors of stage 1 (``rateints``)."""
    from lyot.simulator.truth import read_truth

    groups: dict[str, list[FloatArray]] = {}
    for exposure in read_truth(uncal)["exposures"]:
        path = run / "stage1" / exposure["file"].replace("uncal", "rateints")
        with fits.open(path) as hdus:
            good = (hdus["DQ"].data & 1) == 0
            variance = np.where(good, hdus["ERR"].data.astype(float) ** 2, 0.0).sum(axis=0)
            count = good.sum(axis=0)
        mean = np.where(count > 0, variance / np.maximum(count, 1) ** 2, np.nan) * to_mjysr**2
        groups.setdefault(exposure["role"], []).append(np.where(np.isfinite(mean), mean, np.nanmedian(mean)))
    return Variances(*(np.array(groups[r]) for r in
                       ("science", "reference", "science_background", "reference_background")))  # fmt: skip


def _cropped(case: Case, variances: Variances) -> Variances:
    cut = window(case)
    parts = (variances.science, variances.references, variances.science_background, variances.reference_background)
    return Variances(*(v[cut] for v in parts))


def clean_sequence(case: Case, variant: Variant) -> CoronagraphicSequence:
    """The sequence without noise and planet, one frame per exposure."""
    assert case.clean_science is not None and case.clean_references is not None
    s = case.sequence.replace(
        science=case.clean_science, references=case.clean_references, exposure=np.arange(len(case.clean_science)),
        reference_exposure=None, science_variance=None, reference_variance=None,
    )  # fmt: skip
    for change in variant.changes:
        s = change(replace(case, sequence=s), s)
    return s


def _ring_rms(images: FloatArray, place: Place) -> float:
    """Scatter of aperture sums, over the ring and over images."""
    sums = [ring_sums(image, place, guard=0.0)[0] for image in images]
    return float(np.sqrt(np.mean([np.var(s, ddof=0) * 10 / 9 for s in sums])))


def budget(case: Case, variant: Variant, variances: Variances, *, seed: int = 5) -> dict[str, Any]:
    """Noise on the planet's ring, MJy/sr in an aperture, part by part, and the S/N that each part alone would allow."""
    rng = np.random.default_rng(seed)
    case, variances = cropped(case), _cropped(case, variances)
    smoothed = smooth_background in variant.changes
    clean = clean_sequence(
        case, replace(variant, changes=tuple(c for c in variant.changes if c is not smooth_background))
    )
    plan = plan_reduction(clean, variant.params)
    place, k = place_in(plan, case), plan.truncations.index(plan.recommended)
    ny, nx = clean.shape
    drawn = rng.standard_normal((DRAWS, len(clean.science), ny, nx)) * np.sqrt(variances.science)
    n_back = len(variances.science_background)
    common = np.sqrt(variances.science_background.sum(axis=0)) / n_back
    back = rng.standard_normal((DRAWS, ny, nx)) * common
    if smoothed:
        back = np.array([spline_fit(b, case) for b in back])
    back = np.repeat(back[:, np.newaxis], len(clean.science), axis=1)
    parts = {
        "science, not subtracted": _ring_rms(_combined(plan, drawn), place),
        "science": _ring_rms(plan.reduce_many(drawn)[:, k], place),
        "science background": _ring_rms(plan.reduce_many(back)[:, k], place),
        "references": _reference_noise(clean, variant, variances, place, rng),
        "speckles": _ring_rms(plan.reduce(with_variance=False).combined[k][np.newaxis], place),
    }
    data = case.sequence
    for change in variant.changes:
        data = change(case, data)
    real = plan_reduction(data, variant.params)
    without = real.reduce(data.science - case.planet[data.exposure], with_variance=False).combined[k]
    parts["data"] = _ring_rms(without[np.newaxis], place_in(real, case))
    left = float(parts["references"] ** 2 + parts["speckles"] ** 2)
    parts["references and speckles"] = float(np.sqrt(left))
    known = sum(parts[name] ** 2 for name in ("science", "science background", "references", "speckles"))
    parts["known parts together"] = float(np.sqrt(known))
    alone = planet_alone(real, case)
    whole = real.reduce(with_variance=False).combined[k]
    signal = read(whole, place_in(real, case)).signal
    return {
        "aperture_flux_of_the_planet": round(alone, 3),
        "signal_in_the_image": round(signal, 3),
        "noise": {name: round(v, 4) for name, v in parts.items()},
        "snr_expected": round(signal / parts["known parts together"], 2),
        "snr_limit_science_noise": round(alone / parts["science, not subtracted"], 2),
        "snr_limit_with_background_noise": round(
            alone / float(np.hypot(parts["science, not subtracted"], parts["science background"])), 2
        ),
    }


def _combined(plan: ReductionPlan, frames: FloatArray) -> FloatArray:
    """Rolls combined with nothing subtracted: (n, Ny, Nx)."""
    good = np.isfinite(plan.reduce(with_variance=False).residuals[0])
    return plan.combine(np.where(good, frames, np.nan))[1]


def _reference_noise(
    clean: CoronagraphicSequence, variant: Variant, variances: Variances, place: Place, rng: np.random.Generator
) -> float:
    """Noise that the references bring in: basis and coefficients from noisy references, science without noise."""
    assert clean.references is not None
    base = plan_reduction(clean, variant.params).reduce(with_variance=False).combined[0]
    n_back = len(variances.reference_background)
    common = np.sqrt(variances.reference_background.sum(axis=0)) / n_back
    images = []
    for _ in range(REFERENCE_DRAWS):
        noise = rng.standard_normal(clean.references.shape) * np.sqrt(variances.references)
        noisy = clean.replace(references=clean.references + noise + rng.standard_normal(clean.shape) * common)
        images.append(plan_reduction(noisy, variant.params).reduce(with_variance=False).combined[0] - base)
    return _ring_rms(np.array(images), place)


def automatic(case: Case) -> tuple[Variant, dict[str, Any]]:
    """Zones and number of modes chosen by planets injected at other position angles (`lyot.subtract.auto`)."""
    from lyot.instrument import CORONAGRAPHS
    from lyot.reduction.choice import unit_psf
    from lyot.subtract import ReductionParams
    from lyot.subtract.auto import candidates, choose

    science, references = exposure_means(case.sequence)
    means = case.sequence.replace(
        science=science,
        references=references,
        exposure=np.arange(len(science)),
        reference_exposure=None,
        science_variance=None,
        reference_variance=None,
    )
    trials = candidates(ReductionParams(truncations=(3, 5, 7, 9)), ((1.2, 5.0), (1.6, 5.0), (2.4, 5.0), (3.5, 5.0)))
    separation, angle = np.hypot(*case.offset), np.degrees(np.arctan2(*case.offset))
    choice = choose(
        means,
        unit_psf(means, CORONAGRAPHS["F1550C"]),
        separation=float(separation),
        flux=10.0,
        fwhm=case.fwhm,
        avoid=float(angle) % 360.0,
        trials=[t for t in trials if t.subtract_mean],
    )
    facts = [
        {"zones": list(t.params.zone_edges), "modes": t.truncation, "snr": round(t.snr, 2)} for t in choice.trials[:8]
    ]
    best = replace(choice.params, truncations=(choice.params.recommended or 9,))
    return Variant("zones and modes chosen automatically", best), {"best_first": facts}
