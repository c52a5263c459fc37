"""Automatic choice of truncation and zones: by the S/N of planets injected at other position angles.

Tuning a reduction on the planet itself makes any bump a planet. Here each candidate reduction is judged by sources that
are injected at the same separation but at other position angles, against the noise measured there with no source in it;
the neighborhood of the planet (or of where one is suspected) is used neither for the sources nor for the noise.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lyot import geometry
from lyot.errors import ReductionError
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.plan import plan_reduction
from lyot.subtract.sequence import CoronagraphicSequence, FloatArray

log = logging.getLogger(__name__)

Psf = Callable[[int, float, float], FloatArray]
"""``psf(exposure_index, separation, position_angle)``: image (ny, nx) of a source of unit flux on the detector in that
exposure, with the effect of the mask on it; arcsec, degrees east of north."""

DEFAULT_ZONES = ((), (1.8, 5.0), (2.4, 5.0), (3.5, 6.0), (1.2, 2.4, 5.0))
"""Divisions into annuli that are tried, arcsec."""


@dataclass(frozen=True)
class Trial:
    """One candidate at one truncation: mean S/N of the injected sources, part of their flux that is left, and noise."""

    params: ReductionParams
    truncation: int
    snr: float
    throughput: float
    noise: float


@dataclass(frozen=True)
class Choice:
    """The best reduction and all that were tried, best first. `params.recommended` is the best truncation."""

    params: ReductionParams
    trials: tuple[Trial, ...]


def candidates(base: ReductionParams, zones: Sequence[tuple[float, ...]] = DEFAULT_ZONES) -> list[ReductionParams]:
    """Variants of a reduction with other zones, without and with a constant."""
    return [dataclasses.replace(base, zone_edges=tuple(z), subtract_mean=mean) for z in zones for mean in (True, False)]


def choose(
    sequence: CoronagraphicSequence,
    psf: Psf,
    *,
    separation: float,
    flux: float,
    fwhm: float,
    avoid: float | None = None,
    trials: Sequence[ReductionParams] | None = None,
) -> Choice:
    """Choose zones and truncation for a separation.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    psf : callable
        See `Psf`.
    separation : float
        Of the injected sources, arcsec.
    flux : float
        Of the injected sources, in units of `psf`; for linear reductions the choice does not depend on it.
    fwhm : float
        Diameter of the apertures, arcsec.
    avoid : float, optional
        Position angle of the (suspected) planet, degrees: nothing nearer than 1.5 `fwhm` to it is used.
    trials : sequence of ReductionParams, optional
        Reductions to try; default `candidates` of the default one.

    Returns
    -------
    Choice

    Raises
    ------
    ReductionError
        If there is not room for three apertures, or no candidate gave a finite S/N.
    """
    angles = _angles(separation, fwhm, avoid)
    tried = [trial for p in trials or candidates(ReductionParams()) for trial in _try(sequence, psf, p, angles, flux)]
    tried = sorted((t for t in tried if np.isfinite(t.snr)), key=lambda t: -t.snr)
    if not tried:
        raise ReductionError(
            f"no reduction gave a finite S/N at {separation} arcsec; check that this separation is inside the field."
        )
    best = tried[0]
    log.info("best of %d reductions: %d modes, zones %s", len(tried), best.truncation, best.params.zone_edges)
    return Choice(dataclasses.replace(best.params, recommended=best.truncation), tuple(tried))


@dataclass(frozen=True)
class _Places:
    separation: float
    fwhm: float
    angles: FloatArray


def _angles(separation: float, fwhm: float, avoid: float | None) -> _Places:
    """Position angles of apertures side by side around the star, without those near the one to avoid."""
    n = int(2 * np.pi * separation / fwhm)
    start = 0.0 if avoid is None else avoid
    angles = (start + 360.0 * np.arange(n) / max(n, 1)) % 360.0
    if avoid is not None:
        apart = np.abs((angles - avoid + 180.0) % 360.0 - 180.0)
        angles = angles[2 * separation * np.sin(np.radians(np.minimum(apart, 180.0)) / 2) >= 1.5 * fwhm - 1e-9]
    if len(angles) < 3:
        raise ReductionError(
            f"at {separation} arcsec there is space for only {len(angles)} apertures; 3 are required; use a larger "
            "separation."
        )
    return _Places(separation, fwhm, angles)


def _try(
    sequence: CoronagraphicSequence, psf: Psf, params: ReductionParams, places: _Places, flux: float
) -> list[Trial]:
    plan = plan_reduction(sequence, params)
    base = plan.reduce(with_variance=False)
    noise = np.array([_aperture(i, base.center, base.pixel_scale, places, places.angles) for i in base.combined])
    spread = noise.std(axis=1, ddof=1)
    gained = []
    inside = 0.0
    for angle in places.angles[:: max(1, len(places.angles) // 6)]:
        images = [flux * psf(e, places.separation, float(angle)) for e in range(sequence.n_exposures)]
        frames = np.stack([images[e] for e in sequence.exposure])
        with_source = plan.reduce(sequence.science + frames, with_variance=False).combined
        one = np.array([angle])
        at = [_aperture(i, base.center, base.pixel_scale, places, one)[0] for i in with_source - base.combined]
        whole = plan.combine(np.stack([plan.frames(np.where(np.isfinite(sequence.science), frames, np.nan))]))[1][0]
        inside += float(_aperture(whole, base.center, base.pixel_scale, places, one)[0])
        gained.append(at)
    signal = np.mean(gained, axis=0)
    inside /= len(gained)
    with np.errstate(invalid="ignore", divide="ignore"):
        return [
            Trial(params, k, float(signal[t] / spread[t]), float(signal[t] / inside), float(spread[t]))
            for t, k in enumerate(plan.truncations)
        ]


def _aperture(
    image: FloatArray, center: tuple[float, float], scale: float, places: _Places, angles: FloatArray
) -> FloatArray:
    """Sums in apertures at position angles; NaN where more than a fifth of an aperture has no data."""
    sums = []
    for angle in angles:
        dx, dy = geometry.detector_offset(places.separation / scale, float(angle), 0.0)
        gx, gy = geometry.offset_grid((image.shape[0], image.shape[1]), (center[0] + float(dx), center[1] + float(dy)))
        part = image[np.hypot(gx, gy) <= places.fwhm / scale / 2]
        good = np.isfinite(part)
        sums.append(float(part[good].mean() * len(part)) if good.sum() >= 0.8 * max(len(part), 1) else np.nan)
    return np.array(sums)
