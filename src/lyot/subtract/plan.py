"""The reduction of a sequence: planned once, run on any science frames of the same shape and masks.

`plan_reduction` does everything that does not depend on the values of the science pixels; `ReductionPlan.reduce` does
the rest. The science product, forward models and injection tests all go through the same `reduce`: frames with an
injected source of zero flux give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError, ReductionError
from lyot.subtract import klip
from lyot.subtract.combine import NorthUpGrid, Resampler, grid_for
from lyot.subtract.methods import ZoneModel, possible_truncations, same_pixels, subtract, zone_models
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.prepared import Prepared, frames_of, prepare_reduction, templates_of
from lyot.subtract.result import ReductionResult
from lyot.subtract.sequence import BoolArray, CoronagraphicSequence, FloatArray, IntArray, mean_by_group
from lyot.subtract.variance import combined_variance, frame_variance, roll_variance
from lyot.subtract.zones import Zone, build_zones, subtracted_pixels


def plan_reduction(
    sequence: CoronagraphicSequence,
    params: ReductionParams | None = None,
    *,
    exclude: BoolArray | None = None,
    changes: FloatArray | None = None,
) -> ReductionPlan:
    """Prepare the reduction of a sequence.

    Parameters
    ----------
    sequence : CoronagraphicSequence
        Science and reference frames; references registered to the science (see `lyot.subtract.register`).
    params : ReductionParams, optional
        Default parameters if not given.
    exclude : (ny, nx) bool ndarray, optional
        True for pixels to leave out of the fit but subtract all the same, e.g. those of a disk.
    changes : (n, ny, nx) float ndarray, optional
        Images of the changes that the star's image is expected to have between references and science, such as those
        by drifts of the wavefront (`lyot.optics.drift`), each of one standard deviation, MJy/sr, no NaN; fitted beside
        the modes with that prior. For strategy ``rdi`` with ``klip`` or ``loci``.

    Returns
    -------
    ReductionPlan

    Raises
    ------
    InputError
        If `changes` has not the shape of the frames, or is given for another strategy or method.
    ReductionError
        If there are no references for a strategy that needs them, a single roll for one that needs two, or no pixel
        left.

    Examples
    --------
    The star is twice as bright in the second roll; what is left is the noise of the references:

    >>> import numpy as np
    >>> from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> star = 100 * np.exp(-np.hypot(x, y) / 4)
    >>> references = star + np.random.default_rng(1).normal(scale=0.01, size=(5, 41, 41))
    >>> sequence = CoronagraphicSequence(
    ...     np.stack([star, 2 * star]), [0, 1], [0.0, 10.0], [[20, 20], [20, 20]], (0.11, 0.11), references
    ... )
    >>> result = plan_reduction(sequence, ReductionParams(truncations=(1, 3), recommended=3)).reduce()
    >>> result.combined.shape, bool(np.nanmax(abs(result.image)) < 0.1)
    ((2, 61, 61), True)
    """
    params = ReductionParams() if params is None else params
    return plan_prepared(prepare_reduction(sequence, params, changes=changes), exclude=exclude)


def plan_prepared(prepared: Prepared, *, exclude: BoolArray | None = None) -> ReductionPlan:
    """One of several plans of a sequence that was prepared; see `plan_reduction`.

    Parameters
    ----------
    prepared : Prepared
        From `lyot.subtract.prepared.prepare_reduction`.
    exclude : (ny, nx) bool ndarray, optional
        True for pixels to leave out of the fit.

    Returns
    -------
    ReductionPlan

    Raises
    ------
    ReductionError
        If no pixel is left.
    """
    p, sequence, params = prepared, prepared.sequence, prepared.params
    zones = build_zones(sequence, params, usable=p.usable, exclude=exclude)
    truncations = possible_truncations(params, _library_size(params, len(p.library), sequence.roll[p.frame_exposure]))
    models = (
        zone_models(
            params,
            zones,
            p.library,
            truncations,
            shape=sequence.shape,
            templates=p.templates,
            template_variance=p.template_variance,
            changes=p.expected,
            noise=p.noise,
        )
        if params.strategy == "rdi"
        else None
    )
    grid = grid_for(subtracted_pixels(zones, sequence.shape), sequence.star, sequence.pixel_scale)
    there = p.on_grid(grid)
    return ReductionPlan(
        sequence=sequence,
        params=params,
        zones=zones,
        library=p.library,
        library_variance=p.library_variance,
        truncations=truncations,
        frame_exposure=p.frame_exposure,
        models=models,
        grid=grid,
        resamplers=there.resamplers,
        exposure_weights=there.weights,
        exposure_throughput=there.throughput,
        changes=p.changes,
        prepared=p,
    )


@dataclass(frozen=True)
class ReductionPlan:
    """A prepared reduction; made by `plan_reduction`.

    Attributes
    ----------
    sequence, params
        What it was made from.
    zones : tuple of Zone
    library : (nlibrary, ny * nx) float64 ndarray
        Reference frames as used, bad pixels filled.
    library_variance : (nlibrary, ny * nx) float ndarray or None
    truncations : tuple of int
    frame_exposure : (nframes,) int ndarray
        Exposure of each frame that is subtracted.
    models : tuple of ZoneModel or None
        One per zone for RDI; None where the model depends on the science frames.
    grid : NorthUpGrid
        Of the combined image.
    resamplers : tuple of Resampler
        One per exposure.
    exposure_weights, exposure_throughput : (nexposures, Ny, Nx) float64 ndarray (or None)
        Unnormalized weights, and throughput maps, on the grid.
    changes : (n, ny, nx) float64 ndarray or None
        Expected changes of the star's image, as given.
    prepared : Prepared or None
        What it shares with other plans of the sequence; see `plan_prepared`.

    Examples
    --------
    An injected source of no flux gives the same image, bit for bit; for RDI the result is linear in the source:

    >>> import numpy as np
    >>> from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> references = 100 * np.exp(-np.hypot(x, y) / 4) + np.random.default_rng(1).normal(size=(5, 41, 41))
    >>> sequence = CoronagraphicSequence(references[:1], [0], [0.0], [[20, 20]], (0.11, 0.11), references[1:])
    >>> plan = plan_reduction(sequence, ReductionParams(truncations=(2,), recommended=2))
    >>> planet = np.exp(-((x - 8) ** 2 + y**2) / 4)
    >>> alone = plan.reduce().image
    >>> np.array_equal(plan.reduce(sequence.science + 0 * planet).image, alone, equal_nan=True)
    True
    >>> change = plan.reduce(sequence.science + 3 * planet).image - alone
    >>> np.allclose(change, 3 * plan.reduce_many(planet[None, None])[0, 0], equal_nan=True)
    True
    """

    sequence: CoronagraphicSequence
    params: ReductionParams
    zones: tuple[Zone, ...]
    library: FloatArray
    library_variance: NDArray[np.floating[Any]] | None
    truncations: tuple[int, ...]
    frame_exposure: IntArray
    models: tuple[ZoneModel, ...] | None
    grid: NorthUpGrid
    resamplers: tuple[Resampler, ...]
    exposure_weights: FloatArray
    exposure_throughput: FloatArray | None
    changes: FloatArray | None = None
    prepared: Prepared | None = None

    def reduce(
        self, science: NDArray[np.floating[Any]] | None = None, *, with_variance: bool = True
    ) -> ReductionResult:
        """Subtract the star and combine the rolls.

        Parameters
        ----------
        science : (nframes, ny, nx) float ndarray, optional
            Science frames in place of those of the sequence, in the same unit, e.g. with injected sources; NaN where
            bad. For RDI the result is linear in them.
        with_variance : bool, optional
            Carry the variances of the sequence, where there are any.

        Returns
        -------
        ReductionResult

        Raises
        ------
        InputError
            If `science` has not the shape of the frames of the sequence.
        """
        return self.combine_residuals(*self._residuals(self.frames(science), with_variance=with_variance))

    def combine_residuals(self, residuals: FloatArray, variance: FloatArray | None = None) -> ReductionResult:
        """Turn star-subtracted frames north up and combine them, with their variances.

        Parameters
        ----------
        residuals : (nK, nframes, ny, nx) float64 ndarray
            On the detector, unit of the sequence; NaN where bad.
        variance : (nK, nframes, ny, nx) float64 ndarray, optional
            Their variances, unit of the sequence squared; NaN where unknown.

        Returns
        -------
        ReductionResult
        """
        rolls, combined, weights = self.combine(residuals)
        all_variance = of_rolls = None
        if variance is not None:
            of_rolls = roll_variance(self.sequence, variance, self.frame_exposure, self.resamplers)
            all_variance = combined_variance(of_rolls, weights)
        throughput = None
        if self.exposure_throughput is not None:
            throughput = np.sum(weights * np.nan_to_num(self.exposure_throughput), axis=0)
            throughput = np.where(weights.sum(axis=0) > 0, throughput, np.nan)
        return ReductionResult(
            truncations=self.truncations,
            recommended=self.recommended,
            residuals=residuals,
            residual_variance=variance,
            exposure=self.frame_exposure,
            rolls=rolls,
            combined=combined,
            combined_variance=all_variance,
            weights=weights,
            throughput=throughput,
            center=self.grid.center,
            pixel_scale=self.grid.pixel_scale,
            roll_variance=of_rolls,
        )

    def reduce_many(
        self, signals: NDArray[np.floating[Any]], *, window: tuple[slice, slice] | None = None
    ) -> FloatArray:
        """Combined images of many signals at once, without the star: the linear part of RDI.

        ``reduce(science + signal).combined = reduce(science).combined + reduce_many(signal)`` to rounding (about 1e-13
        of the brightest science pixel), as the fit leaves out the same bad pixels; with `window`, to 1e-8 of the
        signal.

        Parameters
        ----------
        signals : (nsignals, nframes, ny, nx) or (nsignals, nexposures, ny, nx) float ndarray
            Signals as they would be added to the science frames, in their unit, or one image for all frames of an
            exposure; no NaN.
        window : (rows, columns) of slices, optional
            Part of the combined image that is wanted.

        Returns
        -------
        (nsignals, nK, Ny, Nx) float64 ndarray
            Or of the window. NaN where the combined image is.

        Raises
        ------
        ReductionError
            If the strategy or method is not linear in the science frames.
        InputError
            If the signals have another shape.
        """
        combined = self.combine(self._traces(signals, window), window=window)[1]
        return combined.reshape(len(signals), len(self.truncations), *combined.shape[1:])

    def _traces(self, signals: NDArray[np.floating[Any]], window: tuple[slice, slice] | None = None) -> FloatArray:
        """Signals through the subtraction: (nsignals * nK, nframes, ny, nx); NaN where `window` needs no pixels."""
        if self.models is None or self.params.method == "nmf":
            raise ReductionError("reduce_many requires strategy 'rdi' with a linear method; use reduce otherwise.")
        frames = self._signal_frames(np.asarray(signals, dtype=np.float64))
        seen = None if window is None else self._seen_in(window)
        residuals, _ = self._residuals(frames, with_variance=False, signal=True, seen=seen)
        n_frames = len(self.frame_exposure)
        shape = (len(self.truncations), len(signals), n_frames, *self.sequence.shape)
        return np.swapaxes(residuals.reshape(shape), 0, 1).reshape(-1, n_frames, *self.sequence.shape)

    def _seen_in(self, window: tuple[slice, slice]) -> BoolArray:
        """Pixels of the detector from which a part of the combined image is interpolated: (ny, nx)."""
        seen = np.zeros(self.sequence.shape, dtype=bool)
        for whole in self.resamplers:
            seen[whole.window(*window)[1:]] = True
        return seen

    @cached_property
    def _good_science(self) -> BoolArray:
        """Good pixels of the science frames, as signals are masked: (nframes, ny, nx)."""
        return np.isfinite(self.sequence.science)

    def _signal_frames(self, signals: FloatArray) -> FloatArray:
        """Signals as frames are subtracted, with the bad pixels of the science: (nsignals * nframes, ny, nx)."""
        science = self.sequence.science
        if signals.ndim == 4 and signals.shape[1:] == science.shape:
            masked = np.where(self._good_science, signals, np.nan)
            return np.concatenate([frames_of(self.sequence, self.params, m) for m in masked])
        if signals.ndim == 4 and signals.shape[1:] == (len(self.resamplers), *self.sequence.shape):
            good = np.isfinite(self.frames())
            return np.where(good, signals[:, self.frame_exposure], np.nan).reshape(-1, *self.sequence.shape)
        raise InputError(
            f"signals have shape {signals.shape}; expected (n, *{science.shape}) or one image for each of the "
            f"{len(self.resamplers)} exposures."
        )

    @property
    def recommended(self) -> int:
        """Truncation of the main product: the largest not above `params.recommended`."""
        limit = 9 if self.params.recommended is None else self.params.recommended
        return max((k for k in self.truncations if k <= limit), default=min(self.truncations))

    def frames(self, science: NDArray[np.floating[Any]] | None = None) -> FloatArray:
        """Frames as they are subtracted: the integrations, or the mean of each exposure.

        Parameters
        ----------
        science : (n, ny, nx) float ndarray, optional
            Science frames in place of those of the sequence, in the same unit; NaN where bad.

        Returns
        -------
        (nframes, ny, nx) float64 ndarray
            NaN where bad: in a mean, where all frames of the exposure are.

        Raises
        ------
        InputError
            If `science` has another shape than the frames of the sequence.
        """
        data = self.sequence.science if science is None else np.asarray(science)
        if data.shape != self.sequence.science.shape:
            raise InputError(f"science has shape {data.shape}; the plan is for {self.sequence.science.shape}.")
        return frames_of(self.sequence, self.params, data)

    def combine(
        self, residuals: FloatArray, *, window: tuple[slice, slice] | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Turn star-subtracted frames north up and combine them.

        Parameters
        ----------
        residuals : (nK, nframes, ny, nx) float64 ndarray
            On the detector, any linear unit; NaN where bad.
        window : (rows, columns) of slices, optional
            Part of the grid that is wanted; the returned arrays have its shape.

        Returns
        -------
        rolls : (nK, nexposures, Ny, Nx) float64 ndarray
        combined : (nK, Ny, Nx) float64 ndarray
        weights : (nexposures, Ny, Nx) float64 ndarray
            Normalized; those of the first truncation.
        """
        window = (slice(None), slice(None)) if window is None else window
        wanted = self.exposure_weights[:, *window]
        rolls = np.empty((len(residuals), *wanted.shape))
        for e, whole in enumerate(self.resamplers):
            turn, rows, columns = whole.window(*window)
            mine = np.where(self.frame_exposure == e, 0, -1)
            rolls[:, e] = turn.images(np.concatenate([mean_by_group(r[:, rows, columns], mine, 1) for r in residuals]))
        good = np.isfinite(rolls)
        weight = np.where(good, wanted, 0.0)
        total = weight.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            combined = np.einsum("kerc,kerc->krc", weight, np.where(good, rolls, 0.0)) / total
            weights = np.where(total[0] > 0, weight[0] / total[0], 0.0)
        return rolls, combined, weights

    def _residuals(
        self, frames: FloatArray, *, with_variance: bool, signal: bool = False, seen: BoolArray | None = None
    ) -> tuple[FloatArray, FloatArray | None]:
        """Frames without the star, and their variances; on the pixels that are `seen` alone, where given."""
        flat = frames.reshape(len(frames), -1)
        out = np.full((len(self.truncations), *flat.shape), np.nan)
        found = self.frame_variance() if with_variance else None
        variance = None if found is None else found.reshape(len(flat), -1)
        out_variance = None if variance is None else np.full_like(out, np.nan)
        for rows, models, library_variance in self._jobs(flat):
            for zone, model in zip(self.zones, models, strict=True):
                if seen is not None and isinstance(model, klip.LinearModel):
                    keep = seen.ravel()[zone.subtract]
                    if keep.any():
                        pixels = zone.subtract[keep]
                        part = replace(model, subtract_modes=model.subtract_modes[:, keep])
                        fit = flat[np.ix_(rows, zone.fit)]
                        there = flat[np.ix_(rows, pixels)]
                        out[:, rows[:, None], pixels] = subtract(part, fit, there, signal=signal)
                    continue
                fit = flat[np.ix_(rows, zone.fit)]
                same = same_pixels(zone)
                wanted = None if same is None else flat[np.ix_(rows, zone.subtract)]
                out[:, rows[:, None], zone.subtract] = subtract(model, fit, wanted, signal=signal)
                if out_variance is None or variance is None or not isinstance(model, klip.LinearModel):
                    continue
                coef = klip.coefficients(model, fit)
                noise = None if library_variance is None else library_variance[:, zone.subtract]
                for i, row in enumerate(rows):
                    v_fit = np.where(np.isfinite(fit[i]), variance[row, zone.fit], np.nan)
                    out_variance[:, row, zone.subtract] = klip.residual_variance(
                        model, coef[:, i], v_fit, variance[row, zone.subtract], same, noise
                    )
        shape = (len(self.truncations), *frames.shape)
        if out_variance is not None:
            out_variance[~np.isfinite(out)] = np.nan
            out_variance = out_variance.reshape(shape)
        return out.reshape(shape), out_variance

    def _jobs(self, flat: FloatArray) -> list[tuple[IntArray, tuple[ZoneModel, ...], NDArray[np.floating[Any]] | None]]:
        """Frames that share models, with the models and the variances of their library."""
        if self.models is not None:
            return [(np.arange(len(flat)), self.models, self.library_variance)]
        jobs: list[tuple[IntArray, tuple[ZoneModel, ...], NDArray[np.floating[Any]] | None]] = []
        roll = self.sequence.roll[self.frame_exposure]
        for r in np.unique(roll):  # a planet is at the same place in all exposures of a roll
            mine = np.flatnonzero(roll == r)
            others = flat[roll != r]
            if len(mine):
                jobs.append((mine, self._roll_models(others), None))
        return jobs

    def _roll_models(self, others: FloatArray) -> tuple[ZoneModel, ...]:
        """Models of one roll from the frames of the others, and from the references for ADI+RDI."""
        filled, usable = klip.fill_library(others, min_good=0.0)
        filled[:, ~usable] = 0.0
        library = np.vstack([self.library, filled]) if self.params.strategy == "adi+rdi" else filled
        return zone_models(
            self.params,
            self.zones,
            library,
            self.truncations,
            shape=self.sequence.shape,
            templates=templates_of(self.sequence, self.params),
        )

    def frame_variance(self) -> FloatArray | None:
        """Variance of each frame that is subtracted (`frames`).

        Returns
        -------
        (nframes, ny, nx) float64 ndarray or None
            Unit of the sequence squared; None if the sequence has no variances.
        """
        return frame_variance(self.sequence, means=self.params.science_frames == "exposure")


def _library_size(params: ReductionParams, n_references: int, frame_roll: IntArray) -> int:
    if params.strategy == "rdi":
        return n_references
    counts = np.bincount(frame_roll)
    others = int(len(frame_roll) - counts.max())
    return others + (n_references if params.strategy == "adi+rdi" else 0)
