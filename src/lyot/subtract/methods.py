"""The methods of subtraction behind one door: each makes a model of a zone, and each model subtracts.

``klip``, ``classical`` (the scaled mean reference) and ``loci`` (damped least squares on the frames themselves) are
linear in the science frame and share one representation, `lyot.subtract.klip.LinearModel`; ``nmf`` is not.
"""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ReductionError, warn
from lyot.subtract import klip, nmf
from lyot.subtract.changes import ExpectedChanges, with_changes
from lyot.subtract.library_noise import LibraryNoise
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.sequence import FloatArray, IntArray
from lyot.subtract.zones import Zone

log = logging.getLogger(__name__)

ZoneModel: TypeAlias = klip.LinearModel | nmf.NonNegativeModel


def possible_truncations(params: ReductionParams, library_size: int) -> tuple[int, ...]:
    """Truncations that a library allows, increasing; the largest possible stands for those beyond.

    Methods without modes (classical, loci, roll subtraction) have one, which is called 1.
    """
    if params.method in ("classical", "loci") or params.strategy == "roll":
        return (1,)
    wanted = sorted(set(params.truncations))
    if not wanted:
        raise ReductionError("truncations is empty; expected at least one number of modes.")
    kept = tuple(k for k in wanted if k <= library_size)
    if len(kept) == len(wanted):
        return kept
    message = f"{library_size} reference frames allow at most this number of modes; larger truncations are omitted"
    if params.truncations == ReductionParams().truncations:  # which nobody asked for
        log.info("%s", message)
    else:
        warn(message)
    return kept if kept and kept[-1] == library_size else (*kept, library_size)


def zone_models(
    params: ReductionParams,
    zones: tuple[Zone, ...],
    library: FloatArray,
    truncations: tuple[int, ...],
    *,
    templates: FloatArray | None = None,
    template_variance: FloatArray | None = None,
    changes: ExpectedChanges | None = None,
    noise: LibraryNoise | None = None,
) -> tuple[ZoneModel, ...]:
    """Model of each zone from a library of frames.

    Parameters
    ----------
    params : ReductionParams
    zones : tuple of Zone
    library : (nlibrary, ny * nx) float64 ndarray
        Frames, bad pixels filled.
    truncations : tuple of int
        From `possible_truncations`.
    templates : (ntemplates, ny * nx) float64 ndarray, optional
        Patterns fitted at every truncation, without NaN; not used by nmf.
    template_variance : (ny * nx,) float64 ndarray, optional
        Variance of the first template, where it was subtracted from the science before; NaN counts as 0.
    changes : ExpectedChanges, optional
        Changes of the star's image that are fitted beside the modes with a prior; for klip and loci.
    noise : LibraryNoise, optional
        Of the library, before frames are averaged; for the zones around the star.
    """
    damping = 0.0
    if params.strategy == "roll" or params.method == "classical":
        library = library.mean(axis=0, keepdims=True)
        noise = None if noise is None else noise.of_mean()
    elif params.method == "loci":
        truncations, damping = (len(library),), params.damping
    models: list[ZoneModel] = []
    for zone in zones:
        fit = library[:, zone.fit]
        rest = None if same_pixels(zone) is None else library[:, zone.subtract]
        if params.method == "nmf" and params.strategy != "roll":
            models.append(nmf.nmf_model(fit, rest, truncations, subtract_mean=params.subtract_mean))
        else:
            patterns = None if templates is None else (templates[:, zone.fit], templates[:, zone.subtract])
            linear = klip.klip_model(
                fit,
                rest,
                truncations,
                subtract_mean=params.subtract_mean,
                damping=damping,
                templates=patterns,
                template_noise=None if template_variance is None else float(np.nansum(template_variance[zone.fit])),
                # further out the star is smooth and fainter than the noise, which would grow
                noise=noise.sum_over(zone.fit) if noise is not None and zone.around_star else None,
            )
            models.append(linear if changes is None else with_changes(linear, zone, changes))
    return tuple(models)


def subtract(
    model: ZoneModel,
    fit_frames: NDArray[np.floating[Any]],
    frames: NDArray[np.floating[Any]] | None,
    *,
    signal: bool = False,
) -> FloatArray:
    """Subtract a model from frames, at every truncation; as `lyot.subtract.klip.subtract`."""
    if isinstance(model, nmf.NonNegativeModel):
        return nmf.subtract(model, fit_frames, frames)
    return klip.subtract(model, fit_frames, frames, signal=signal)


def same_pixels(zone: Zone) -> IntArray | None:
    """Position of each subtracted pixel among those of the fit (-1: not there); None if they are the same pixels."""
    if np.array_equal(zone.fit, zone.subtract):
        return None
    position = np.minimum(np.searchsorted(zone.fit, zone.subtract), len(zone.fit) - 1)
    return np.asarray(np.where(zone.fit[position] == zone.subtract, position, -1), dtype=np.intp)
