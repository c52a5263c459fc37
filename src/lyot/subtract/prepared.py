"""What of a planned reduction does not depend on which pixels are left out of the fit, prepared once for many plans.

The second pass compares a source with the same aperture at other angles, each left out of the fit in its turn, and
measurements repeat a reduction with one truncation: the same frames, library and weights each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ReductionError, warn
from lyot.subtract import klip
from lyot.subtract.changes import ExpectedChanges, expected_changes
from lyot.subtract.combine import NorthUpGrid, Resampler, fill_bad, resampler
from lyot.subtract.library_noise import LibraryNoise, library_noise
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.sequence import BoolArray, CoronagraphicSequence, FloatArray, IntArray, mean_by_group
from lyot.subtract.templates import SHARE, smoothed
from lyot.subtract.weights import exposure_weights, roll_weights
from lyot.subtract.zones import field_mask, radius_arcsec


@dataclass(frozen=True)
class OnGrid:
    """Resampling of the exposures to a grid, their weights and the throughput there; see `ReductionPlan`."""

    resamplers: tuple[Resampler, ...]
    weights: FloatArray
    throughput: FloatArray | None


@dataclass(frozen=True)
class Prepared:
    """A sequence prepared for plans that differ in the excluded pixels, the truncations or the expected changes.

    Attributes
    ----------
    sequence, params
        What it was made from.
    frame_exposure : (nframes,) int ndarray
        Exposure of each frame that is subtracted.
    library : (nlibrary, ny * nx) float64 ndarray
        Reference frames as used, bad pixels filled.
    library_variance : (nlibrary, ny * nx) float ndarray or None
    usable : (ny, nx) bool ndarray
        Pixels good enough in science and references to be used at all.
    templates : (ntemplates, ny * nx) float64 ndarray or None
    template_variance : (ny * nx,) float64 ndarray or None
    noise : LibraryNoise or None
        The last three for the models of ``rdi``, made once for all plans; None for other strategies.
    changes : (n, ny, nx) float64 ndarray or None
        Expected changes of the star's image, as given.
    expected : ExpectedChanges or None
        The same as the frames have them.
    on_grid : callable
        Resamplers and weights on a grid; kept for the last one.
    """

    sequence: CoronagraphicSequence
    params: ReductionParams
    frame_exposure: IntArray
    library: FloatArray
    library_variance: NDArray[np.floating[Any]] | None
    usable: BoolArray
    templates: FloatArray | None
    template_variance: FloatArray | None
    noise: LibraryNoise | None
    changes: FloatArray | None
    expected: ExpectedChanges | None
    on_grid: Callable[[NorthUpGrid], OnGrid]

    def with_truncations(self, truncations: tuple[int, ...], recommended: int | None) -> Prepared:
        """The same for other numbers of modes, on which nothing here depends."""
        params = dataclasses.replace(self.params, truncations=truncations, recommended=recommended)
        return dataclasses.replace(self, params=params)

    def with_changes(self, changes: FloatArray | None) -> Prepared:
        """The same with other expected changes of the star's image; see `lyot.subtract.plan_reduction`."""
        if changes is self.changes:
            return self
        return dataclasses.replace(self, changes=changes, expected=_expected(self.sequence, self.params, changes))


def prepare_reduction(
    sequence: CoronagraphicSequence,
    params: ReductionParams,
    *,
    changes: FloatArray | None = None,
    like: Prepared | None = None,
) -> Prepared:
    """Prepare plans of the reduction of a sequence.

    Parameters
    ----------
    sequence : CoronagraphicSequence
    params : ReductionParams
    changes : (n, ny, nx) float ndarray, optional
        As for `lyot.subtract.plan_reduction`.
    like : Prepared, optional
        Of a sequence that differs in its science and reference frames only, not in exposures, templates and variances
        of the science, with the same parameters but for the truncations: templates and weights are taken from there.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError, ReductionError
        As from `lyot.subtract.plan_reduction`, apart from pixels that are left out.
    """
    check_strategy(sequence, params)
    frames = frames_of(sequence, params, sequence.science)
    library, library_variance, usable = _library(sequence, params)
    usable = usable & np.isfinite(frames).any(axis=0)
    expected = _expected(sequence, params, changes, frames)
    linear = params.strategy == "rdi"
    templates = templates_of(sequence, params) if linear and like is None else None
    return Prepared(
        sequence=sequence,
        params=params,
        frame_exposure=np.arange(sequence.n_exposures) if params.science_frames == "exposure" else sequence.exposure,
        library=library,
        library_variance=library_variance,
        usable=usable,
        templates=templates if like is None else like.templates,
        template_variance=_template_variance(sequence, params) if linear else None,
        noise=_library_noise(sequence, params, library, library_variance, usable) if linear else None,
        changes=changes,
        expected=expected,
        on_grid=_resampling(sequence, params) if like is None else like.on_grid,
    )


def _resampling(sequence: CoronagraphicSequence, params: ReductionParams) -> Callable[[NorthUpGrid], OnGrid]:
    """Resamplers and weights on a grid."""
    by_exposure = exposure_weights(sequence, params)

    @lru_cache(maxsize=1)  # plans of one sequence share it, unless they reduce other pixels
    def on_grid(grid: NorthUpGrid) -> OnGrid:
        resamplers = tuple(
            resampler(grid, star, float(pa), sequence.pixel_scale, sequence.shape)
            for star, pa in zip(sequence.star, sequence.pa_y, strict=True)
        )
        return OnGrid(resamplers, *roll_weights(sequence, params, resamplers, by_exposure))

    return on_grid


def _expected(
    sequence: CoronagraphicSequence,
    params: ReductionParams,
    changes: FloatArray | None,
    frames: FloatArray | None = None,
) -> ExpectedChanges | None:
    if changes is None:
        return None
    frames = frames_of(sequence, params, sequence.science) if frames is None else frames
    return expected_changes(sequence, params, changes, frames)


def check_strategy(sequence: CoronagraphicSequence, params: ReductionParams) -> None:
    """Refuse a strategy for which references or rolls are missing; raises `ReductionError`."""
    if params.strategy in ("rdi", "adi+rdi") and sequence.n_references == 0:
        raise ReductionError(
            f"strategy {params.strategy!r} requires reference frames, and there are none; with two or more rolls, use "
            "'adi' or 'roll'."
        )
    if params.strategy != "rdi" and len(np.unique(sequence.roll)) < 2:
        n = sequence.n_exposures
        there = "is one exposure" if n == 1 else f"are {n} exposures of the same roll"
        raise ReductionError(
            f"strategy {params.strategy!r} requires two or more rolls, and there {there}; use 'rdi' with references."
        )


def frames_of(
    sequence: CoronagraphicSequence,
    params: ReductionParams,
    data: NDArray[np.floating[Any]],
) -> FloatArray:
    """Frames (n, ny, nx) as they are subtracted: `data`, or its mean in each exposure."""
    if params.science_frames == "integration":
        return np.asarray(data, dtype=np.float64)
    return mean_by_group(data, sequence.exposure, sequence.n_exposures)


def _library(
    sequence: CoronagraphicSequence, params: ReductionParams
) -> tuple[FloatArray, NDArray[np.floating[Any]] | None, BoolArray]:
    """Reference frames as used (flat, filled), their variances, and which pixels are usable (ny, nx)."""
    if params.strategy in ("adi", "roll"):
        return np.empty((0, np.prod(sequence.shape))), None, np.ones(sequence.shape, dtype=bool)
    frames, variance = sequence.references, sequence.reference_variance
    assert frames is not None and sequence.reference_exposure is not None
    if params.reference_frames == "exposure":
        _, group = np.unique(sequence.reference_exposure, return_inverse=True)
        n = int(group.max()) + 1
        if variance is not None:
            variance = mean_by_group(np.where(np.isfinite(frames), variance, np.nan), group, n, variance=True)
        frames = mean_by_group(frames, group, n)
    field = field_mask(sequence, params).ravel()
    flat = np.where(field, frames.reshape(len(frames), -1), np.nan)
    whole = np.isfinite(flat).sum(axis=1) > 0.5 * np.count_nonzero(np.isfinite(flat).any(axis=0))
    if not whole.any():
        raise ReductionError("no reference frame has good pixels in more than half of the field.")
    if not whole.all():
        warn(f"{int((~whole).sum())} of {len(whole)} reference frames are mostly masked and not used")
        flat, variance = flat[whole], None if variance is None else variance[whole]
    filled, usable = klip.fill_library(flat, min_good=params.min_good_references)
    # in single precision where the files have it, as it is as large as the frames: sums of it are in double precision
    flat_variance = None if variance is None else np.asarray(variance).reshape(len(variance), -1)
    if flat_variance is not None and params.method == "classical":
        total = np.asarray(np.nansum(flat_variance, axis=0, dtype=np.float64))
        flat_variance = total[np.newaxis] / len(flat_variance) ** 2
    return filled, flat_variance, usable.reshape(sequence.shape)


def templates_of(sequence: CoronagraphicSequence, params: ReductionParams) -> FloatArray | None:
    """Templates as they are fitted, flat and without NaN: (ntemplates, ny * nx); None if there are none."""
    if sequence.templates is None or not params.use_templates:
        return None
    ready = [fill_bad(t) for t in sequence.templates]
    if sequence.template_variance is not None:  # its noise is in the science, with the opposite sign
        ready[0] = smoothed(sequence.templates[0])
    return np.stack([t.ravel() for t in ready])


def _library_noise(
    sequence: CoronagraphicSequence,
    params: ReductionParams,
    library: FloatArray,
    variance: NDArray[np.floating[Any]] | None,
    usable: BoolArray,
) -> LibraryNoise | None:
    if not params.noise_correction:
        return None
    return library_noise(library, variance, usable, radius_arcsec(sequence))


def _template_variance(sequence: CoronagraphicSequence, params: ReductionParams) -> FloatArray | None:
    """What the smoothed template has in common with the noise in the science, flat; see `lyot.subtract.klip`.

    Other rolls as references hold the same noise, which they take off.
    """
    if sequence.template_variance is None or not params.use_templates or params.strategy != "rdi":
        return None
    return SHARE * np.asarray(sequence.template_variance, dtype=np.float64).ravel()
