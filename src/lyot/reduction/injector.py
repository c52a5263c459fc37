"""A planned reduction as a callable, for injections and forward models, and the image of an off-axis source in it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lyot import geometry
from lyot.errors import InputError, ReductionError
from lyot.instrument import Coronagraph, coronagraph
from lyot.last_results import LastResults
from lyot.measure.injection import Injector
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.optics.off_axis import SourceImager
from lyot.optics.stpsf_adaptor import StpsfImager
from lyot.subtract import CoronagraphicSequence, ReductionPlan, plan_reduction
from lyot.subtract.plan import plan_prepared
from lyot.subtract.prepared import Prepared, prepare_reduction
from lyot.subtract.sequence import mean_by_group
from lyot.subtract.zones import subtracted_pixels

log = logging.getLogger(__name__)

LEAST_REFERENCES = 5
"""Fewest reference exposures whose residuals tell the noise from place to place."""

STAMP = 101
"""Side of the image of an injected source, pixels."""

Imager = Callable[[tuple[float, float], tuple[float, float]], NDArray[np.float64]]
"""Image (STAMP, STAMP) of a source, as a fraction of the light that one far off the mask gives: called with its offset
from the mask, arcsec along the detector's axes, and its phase in its pixel."""


def collapsed(plan: ReductionPlan) -> ReductionPlan:
    """The same plan with one science frame per exposure, if it reduces the mean of each exposure anyway.

    Zones, references, weights and resampling stay the same objects, so that the reduction has the same result.
    """
    if plan.params.science_frames != "exposure":
        return plan
    s = plan.sequence
    small = s.replace(
        science=mean_by_group(s.science, s.exposure, s.n_exposures),
        exposure=np.arange(s.n_exposures),
        science_variance=None,
    )
    return dataclasses.replace(plan, sequence=small, prepared=None)


def source_imager(c: Coronagraph, *, optics: OpticsParams | None = None, module: str = "A") -> Imager:
    """Images of off-axis sources behind a coronagraph: by our own optics for MIRI, by STPSF for NIRCam.

    Parameters
    ----------
    c : Coronagraph
    optics : OpticsParams, optional
        Of our own model; by default three wavelengths (seven for F2300C): the band's width changes the image of an
        off-axis source by less than 1e-4 of its peak.
    module : "A" or "B", optional
        Of NIRCam.

    Returns
    -------
    callable
        ``imager(offset, phase)``, (STAMP, STAMP) float64; see `lyot.optics.off_axis.SourceImager`.

    Raises
    ------
    ConfigError
        For NIRCam if STPSF is not installed.
    """
    if c.kind == "ROUND":
        return StpsfImager(c, size=STAMP, module=module)
    default = OpticsParams(n_wavelengths=7 if c.filter == "F2300C" else 3)
    return SourceImager.build(CoronagraphModel.build(c, optics or default), size=STAMP)


def off_axis_source(
    sequence: CoronagraphicSequence, imager: Imager | str, pixel_area: float
) -> Callable[[int, float, float], NDArray[np.float64]]:
    """Image of a 1 Jy source on the detector, in MJy/sr, including the effect of the mask at its position.

    Parameters
    ----------
    sequence : CoronagraphicSequence
        Tells shape, star positions, orientations and the center of the mask.
    imager : callable or str
        Images behind the mask, from `source_imager`; or the name of a MIRI coronagraphic filter.
    pixel_area : float
        Steradian.

    Returns
    -------
    callable
        ``psf(exposure, east, north)``, (ny, nx) float64; see `lyot.measure.injection.Psf`.
    """
    images = source_imager(coronagraph(imager)) if isinstance(imager, str) else imager
    scale = np.array(sequence.pixel_scale)

    @lru_cache(maxsize=64)
    def psf(exposure: int, east: float, north: float) -> NDArray[np.float64]:
        star = np.asarray(sequence.star[exposure])
        mask = star if sequence.mask_center is None else np.asarray(sequence.mask_center)
        separation, pa = geometry.separation_and_pa(east, north)
        offset = np.array(geometry.detector_offset(separation, pa, float(sequence.pa_y[exposure])), dtype=float)
        position = star + offset / scale
        near = np.rint(position)
        phase = (float(position[0] - near[0]), float(position[1] - near[1]))
        from_mask = offset + (star - mask) * scale
        stamp = images((float(from_mask[0]), float(from_mask[1])), phase)
        return placed(stamp, sequence.shape, (int(near[0]), int(near[1]))) * (1e-6 / pixel_area)

    return psf


def placed(stamp: NDArray[np.float64], shape: tuple[int, int], at: tuple[int, int]) -> NDArray[np.float64]:
    """An image (ny, nx) that is 0 but for a stamp whose middle pixel is at (x, y), cut at the edges."""
    out = np.zeros(shape)
    half = stamp.shape[0] // 2
    x0, y0 = at[0] - half, at[1] - half
    xa, xb = max(x0, 0), min(x0 + stamp.shape[1], shape[1])
    ya, yb = max(y0, 0), min(y0 + stamp.shape[0], shape[0])
    if xa < xb and ya < yb:
        out[ya:yb, xa:xb] = stamp[ya - y0 : yb - y0, xa - x0 : xb - x0]
    return out


def injector_of(
    plan: ReductionPlan, psf: Callable[[int, float, float], NDArray[np.float64]], *, modes: int | None = None
) -> Injector:
    """A planned reduction as an `Injector`, for measurements.

    Parameters
    ----------
    plan : ReductionPlan
    psf : callable (exposure, east, north) to (ny, nx) float64 ndarray
        Image of a source of 1 Jy on the detector, unit of the sequence; see `lyot.measure.injection.Psf`.
    modes : int, optional
        Truncation to measure; the recommended one by default.

    Returns
    -------
    Injector
        Fluxes in Jy before the mask.

    Raises
    ------
    InputError
        If the plan has no such truncation.

    Examples
    --------
    The forward model has lost a part of the light to the subtraction:

    >>> import numpy as np
    >>> from lyot.reduction import injector_of
    >>> from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> frames = 100 * np.exp(-np.hypot(x, y) / 4) + np.random.default_rng(1).normal(size=(6, 41, 41))
    >>> sequence = CoronagraphicSequence(frames[:1], [0], [0.0], [[20, 20]], (0.11, 0.11), frames[1:])
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> injector = injector_of(plan_reduction(sequence, ReductionParams(truncations=(3,), recommended=3)), psf)
    >>> injector.center, bool(0.8 < np.nanmax(injector.forward(0.55, 0.0)) < 1)
    ((30.0, 30.0), True)
    """
    small = collapsed(plan)
    wanted = _truncation(plan, modes)
    linear = plan.models is not None and plan.params.method != "nmf"
    return Injector(
        science=np.asarray(small.sequence.science, dtype=np.float64),
        exposure=small.sequence.exposure,
        psf=psf,
        reduce=lambda science: small.reduce(science, with_variance=False).combined,
        center=plan.grid.center,
        pixel_scale=plan.grid.pixel_scale,
        index=plan.truncations.index(wanted),
        reduce_many=small.reduce_many if linear else None,
        reduce_window=(lambda signals, window: small.reduce_many(signals, window=window)) if linear else None,
        reference_residuals=(lambda: reference_residuals(plan, wanted))
        if linear and plan.sequence.n_references
        else None,
        reduce_rolls=lambda science: small.reduce(science, with_variance=False).by_roll(small.sequence.roll)[0],
        roll_angles=_roll_angles(small.sequence),
    )


def _roll_angles(sequence: CoronagraphicSequence) -> tuple[float, ...]:
    """Position angle of +y in each roll, deg: that of its first exposure, as those of a roll are equal."""
    roll = sequence.roll
    return tuple(float(sequence.pa_y[int(np.argmax(roll == k))]) for k in range(roll.max() + 1))


def reference_residuals(plan: ReductionPlan, modes: int) -> NDArray[np.float64] | None:
    """Each reference exposure reduced with the others, as if it were the science star in every roll.

    Parameters
    ----------
    plan : ReductionPlan
        Of a subtraction of references.
    modes : int
        Truncation; fewer where the other references do not allow as many.

    Returns
    -------
    (n, Ny, Nx) float64 ndarray or None
        On the grid of the combined image, at the brightness of the references, NaN where there are no data; None with
        fewer than `LEAST_REFERENCES` exposures. Read-only.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.reduction import reference_residuals
    >>> from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> frames = 100 * np.exp(-np.hypot(x, y) / 4) + np.random.default_rng(1).normal(size=(6, 41, 41))
    >>> sequence = CoronagraphicSequence(frames[:1], [0], [0.0], [[20, 20]], (0.11, 0.11), frames[1:])
    >>> plan = plan_reduction(sequence, ReductionParams(truncations=(3,), recommended=3))
    >>> reference_residuals(plan, 3).shape
    (5, 61, 61)
    """
    sequence = [getattr(plan.sequence, field.name) for field in dataclasses.fields(plan.sequence)]
    content = modes, plan.params, plan.changes, plan.library, plan.exposure_weights.shape, sequence
    return _last_residuals.of(content, lambda: _reference_residuals(plan, modes))


_last_residuals: LastResults[NDArray[np.float64] | None] = LastResults()
"""Of the second pass of a run, which the search for sources asks for again."""


def _reference_residuals(plan: ReductionPlan, modes: int) -> NDArray[np.float64] | None:
    """`reference_residuals`, computed."""
    s = plan.sequence
    frames = plan.library.reshape(-1, *s.shape)
    exposure = np.arange(len(frames))
    if s.reference_exposure is not None and len(s.reference_exposure) == len(frames):
        exposure = np.asarray(s.reference_exposure)
    groups = np.unique(exposure)
    if len(groups) < LEAST_REFERENCES:
        return None
    out = np.full((len(groups), *plan.exposure_weights.shape[1:]), np.nan)
    changes = None if plan.changes is None else plan.changes * _brightness(frames, plan.frames())
    seen = subtracted_pixels(plan.zones, s.shape)  # the filled library has no NaN, but the same are to be reduced
    like: Prepared | None = None
    for image, group in zip(out, groups, strict=True):
        others = frames[exposure != group]
        params = dataclasses.replace(plan.params, truncations=(min(modes, len(others)),), recommended=None)
        sequence = s.replace(
            science=np.repeat(
                np.where(seen, frames[exposure == group].mean(axis=0), np.nan)[np.newaxis], s.n_exposures, axis=0
            ),
            exposure=np.arange(s.n_exposures),
            science_variance=None,
            references=others,
            reference_variance=None,
            reference_exposure=np.arange(len(others)),
        )
        try:
            like = prepare_reduction(sequence, params, changes=changes, like=like)
            found = plan_prepared(like).reduce(with_variance=False).combined[0]
        except ReductionError as error:
            log.info("the local noise cannot be determined from the references: %s", error)
            return None
        if found.shape != image.shape:
            return None
        image[:] = found
    return out


def _brightness(references: NDArray[np.float64], science: NDArray[np.float64]) -> float:
    """How many times as bright the reference star is as the science star: the scale that fits their mean images."""
    mean, star = references.mean(axis=0), mean_by_group(science, np.zeros(len(science), np.intp), 1)[0]
    good = np.isfinite(mean) & np.isfinite(star)
    design = np.stack([mean[good], np.ones(int(good.sum()))], axis=1)
    share = float(np.linalg.lstsq(design, star[good], rcond=None)[0][0])
    return 1.0 / share if share > 0 else 1.0


def _truncation(plan: ReductionPlan, modes: int | None) -> int:
    """The truncation that is asked for, by default the recommended one; it must be among those of the plan."""
    wanted = plan.recommended if modes is None else modes
    if wanted not in plan.truncations:
        raise InputError(f"modes: the reduction has {', '.join(map(str, plan.truncations))}, not {wanted}.")
    return wanted


def narrowed(plan: ReductionPlan, modes: int | None) -> ReductionPlan:
    """The plan for one truncation alone, so that nothing is computed in vain."""
    wanted = _truncation(plan, modes)
    if plan.prepared is not None:
        return plan_prepared(plan.prepared.with_truncations((wanted,), wanted))
    params = dataclasses.replace(plan.params, truncations=(wanted,), recommended=wanted)
    return plan_reduction(plan.sequence, params, changes=plan.changes)


def combined_throughput(plan: ReductionPlan) -> NDArray[np.float64] | None:
    """Throughput of the mask on the combined image, (Ny, Nx): weighted mean over the rolls; None if unknown."""
    if plan.exposure_throughput is None:
        return None
    weight = np.where(np.isfinite(plan.exposure_throughput), plan.exposure_weights, 0.0)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sum(weight * np.nan_to_num(plan.exposure_throughput), axis=0) / total)
