"""What a reduction returns, whatever its strategy and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lyot.errors import ReductionError
from lyot.subtract.sequence import FloatArray, IntArray


@dataclass(frozen=True)
class ReductionResult:
    """Star-subtracted frames and the combined image, for each truncation.

    Attributes
    ----------
    truncations : tuple of int
        Numbers of modes, in the order of the first axis of the arrays. 1 for methods without modes.
    recommended : int
        The truncation of the main product.
    residuals : (nK, nframes, ny, nx) float64 ndarray
        Star-subtracted frames on the detector, unit of the science; NaN where masked or bad.
    residual_variance : (nK, nframes, ny, nx) float64 ndarray or None
        Their variance; None if the sequence has no variances (or it was not asked for).
    exposure : (nframes,) int ndarray
        Exposure (roll) of each frame of `residuals`.
    rolls : (nK, nexposures, Ny, Nx) float64 ndarray
        Mean residual of each exposure, north up and east to the left.
    combined : (nK, Ny, Nx) float64 ndarray
        Weighted mean of `rolls`.
    combined_variance : (nK, Ny, Nx) float64 ndarray or None
        Its variance.
    weights : (nexposures, Ny, Nx) float64 ndarray
        Weight of each exposure at each pixel, sum 1 where there are data, 0 where an exposure has none.
    throughput : (Ny, Nx) float64 ndarray or None
        Light kept of an off-axis point source in `combined`: the weighted mean of the exposures' maps.
    center : (x, y)
        Position of the star in `combined`, 0-based pixels.
    pixel_scale : float
        arcsec per (square) pixel of `combined`.
    roll_variance : (nK, nexposures, Ny, Nx) float64 ndarray or None
        Variance of `rolls`.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> frames = 100 * np.exp(-np.hypot(x, y) / 4) + np.random.default_rng(1).normal(size=(6, 41, 41))
    >>> sequence = CoronagraphicSequence(frames[:1], [0], [0.0], [[20, 20]], (0.11, 0.11), frames[1:])
    >>> result = plan_reduction(sequence, ReductionParams(truncations=(1, 3), recommended=3)).reduce()
    >>> result.combined.shape
    (2, 61, 61)
    """

    truncations: tuple[int, ...]
    recommended: int
    residuals: FloatArray
    residual_variance: FloatArray | None
    exposure: IntArray
    rolls: FloatArray
    combined: FloatArray
    combined_variance: FloatArray | None
    weights: FloatArray
    throughput: FloatArray | None
    center: tuple[float, float]
    pixel_scale: float
    roll_variance: FloatArray | None = None

    def __repr__(self) -> str:
        """In one line: stpipe logs what a step is given, and the arrays would fill hundreds."""
        exposures, ny, nx = self.rolls.shape[1:]
        return f"<ReductionResult: {exposures} exposures, modes {self.truncations}, {nx} x {ny} pixels>"

    def index(self, modes: int | None = None) -> int:
        """Index of a truncation along the first axis of the arrays.

        Parameters
        ----------
        modes : int, optional
            Number of modes; the recommended one by default.

        Returns
        -------
        int

        Raises
        ------
        ReductionError
            If there is no such truncation.

        Examples
        --------
        >>> import numpy as np
        >>> from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
        >>> frames = np.random.default_rng(1).normal(size=(6, 21, 21))
        >>> sequence = CoronagraphicSequence(frames[:1], [0], [0.0], [[10, 10]], (0.11, 0.11), frames[1:])
        >>> result = plan_reduction(sequence, ReductionParams(truncations=(1, 2, 4), recommended=2)).reduce()
        >>> result.index(), result.index(4)
        (1, 2)
        """
        wanted = self.recommended if modes is None else modes
        if wanted not in self.truncations:
            raise ReductionError(f"no truncation at {wanted} modes; there are {', '.join(map(str, self.truncations))}.")
        return self.truncations.index(wanted)

    def by_roll(self, numbers: Sequence[int] | IntArray) -> tuple[FloatArray, FloatArray | None]:
        """Weighted mean of the exposures of each roll; that of a single exposure is its image.

        Parameters
        ----------
        numbers : (nexposures,) sequence of int
            Number of the roll of each exposure, from 0.

        Returns
        -------
        images : (nK, nrolls, Ny, Nx) float64 ndarray
            Unit of the science; NaN where no exposure of the roll has data.
        variance : (nK, nrolls, Ny, Nx) float64 ndarray or None
            Their variance; None where `roll_variance` is.
        """
        groups = [np.flatnonzero(np.asarray(numbers) == roll) for roll in range(max(numbers) + 1)]
        if all(len(group) == 1 for group in groups):
            order = np.concatenate(groups)
            return self.rolls[:, order], None if self.roll_variance is None else self.roll_variance[:, order]
        means = [self._mean_of(self.rolls, group, 1) for group in groups]
        if self.roll_variance is None:
            return np.stack(means, axis=1), None
        variances = [self._mean_of(self.roll_variance, group, 2) for group in groups]
        return np.stack(means, axis=1), np.stack(variances, axis=1)

    def _mean_of(self, images: FloatArray, exposures: IntArray, power: int) -> FloatArray:
        """Sum of some exposures with their weights to a power: (nK, Ny, Nx); as it is if it is one."""
        if len(exposures) == 1:
            return images[:, exposures[0]]
        weights = self.weights[exposures]
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = weights / weights.sum(axis=0)
        used = weights > 0
        total = np.sum(np.where(used, weights**power * images[:, exposures], 0.0), axis=1)
        return np.where(used.any(axis=0), total, np.nan)

    @property
    def image(self) -> FloatArray:
        """Combined image at the recommended truncation: (Ny, Nx)."""
        return self.combined[self.index()]
