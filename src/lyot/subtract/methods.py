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
from lyot.subtract.starlight import bright_pattern, share_of_noise, with_starlight_subtracted
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
    message = f"{library_size} reference frames allow no more than {library_size} modes; larger truncations are omitted"
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
    shape: tuple[int, int],
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
    shape : (ny, nx)
        Of the frames.
    templates : (ntemplates, ny * nx) float64 ndarray, optional
        Patterns fitted at every truncation, without NaN; not used by nmf.
    template_variance : (ny * nx,) float64 ndarray, optional
        Variance of the first template, where it was subtracted from the science before; NaN counts as 0.
    changes : ExpectedChanges, optional
        Changes of the star's image that are fitted beside the modes with a prior; for klip and loci.
    noise : LibraryNoise, optional
        Of the library, before frames are averaged.
    """
    damping = 0.0
    if params.strategy == "roll" or params.method == "classical":
        library = library.mean(axis=0, keepdims=True)
        noise = None if noise is None else noise.of_mean()
    elif params.method == "loci":
        truncations, damping = (len(library),), params.damping
    models: list[ZoneModel] = []
    for zone in zones:
        if params.method == "nmf" and params.strategy != "roll":
            rest = None if same_pixels(zone) is None else library[:, zone.subtract]
            models.append(nmf.nmf_model(library[:, zone.fit], rest, truncations, subtract_mean=params.subtract_mean))
            continue
        linear = _linear_model(
            zone, library, truncations, shape, params.subtract_mean, damping, templates, template_variance, noise
        )
        models.append(linear if changes is None else with_changes(linear, zone, changes))
    return tuple(models)


def _linear_model(
    zone: Zone,
    library: FloatArray,
    truncations: tuple[int, ...],
    shape: tuple[int, int],
    subtract_mean: bool,
    damping: float,
    templates: FloatArray | None,
    template_variance: FloatArray | None,
    noise: LibraryNoise | None,
) -> klip.LinearModel:
    """Model of one zone; without the starlight that noisy references would leave (`lyot.subtract.starlight`)."""
    expected = None if noise is None else noise.sum_over(zone.fit)

    def model(patterns: FloatArray | None) -> klip.LinearModel:
        return klip.klip_model(
            library[:, zone.fit],
            None if same_pixels(zone) is None else library[:, zone.subtract],
            truncations,
            subtract_mean=subtract_mean,
            damping=damping,
            templates=None if patterns is None else (patterns[:, zone.fit], patterns[:, zone.subtract]),
            template_noise=None if template_variance is None else float(np.nansum(template_variance[zone.fit])),
            noise=expected if zone.around_star else None,
        )

    linear = model(templates)
    if noise is None or expected is None or zone.around_star or not zone.in_starlight or damping > 0:
        return linear
    share = share_of_noise(linear, expected)
    if share < klip.LARGEST_SHARE:
        return with_starlight_subtracted(linear, zone, shape, share)
    bright = bright_pattern(library.mean(axis=0), zone, shape, float(noise.of_mean().covariance[0, 0]))
    if bright is None:
        return linear
    return model(bright[None] if templates is None else np.vstack([templates, bright]))


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
