"""Injection of sources into the science frames, followed by the same reduction as for the image.

`Injector` holds the science frames, the image of a point source on the detector, and the reduction as a callable. The
product, the injections and the forward models all go through that one callable: an injected source of zero flux gives
the same image, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lyot.errors import InputError

FloatArray = NDArray[np.float64]

Psf = Callable[[int, float, float], FloatArray]
"""``psf(exposure, east, north)``: image (ny, nx) of a source of unit flux on the detector in that exposure, unit of the
science frames; the offsets are those from the star, arcsec."""

Reduce = Callable[[FloatArray], FloatArray]
"""``reduce(science)``: frames (nframes, ny, nx) to combined images (nK, Ny, Nx), north up, east to the left."""

ReduceMany = Callable[[FloatArray], FloatArray]
"""``reduce_many(signals)``: signals (n, nframes, ny, nx), added to the science frames, to their traces (n, nK, Ny, Nx)
in the combined images; only for reductions that are linear in the science frames."""

ReduceRolls = Callable[[FloatArray], FloatArray]
"""``reduce_rolls(science)``: as `Reduce`, to the image of each roll, north up: (nK, nrolls, Ny, Nx)."""

Residuals = Callable[[], FloatArray | None]
"""``residuals()``: references reduced as if each were the science star, (n, Ny, Nx); None where that cannot be done."""

Window = tuple[slice, slice]
"""Rows and columns of the combined image."""

ReduceWindow = Callable[[FloatArray, Window], FloatArray]
"""``reduce_window(signals, window)``: as `ReduceMany`, for a part of the combined image alone."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Injector:
    """The reduction of one sequence, ready for injections.

    Attributes
    ----------
    science : (nframes, ny, nx) float64 ndarray
        Science frames, NaN where bad.
    exposure : (nframes,) int ndarray
        Exposure (roll) of each frame.
    psf : callable
        See `Psf`.
    reduce : callable
        See `Reduce`.
    center : (x, y)
        Position of the star in the combined images, 0-based pixels.
    pixel_scale : float
        arcsec per pixel of the combined images.
    index : int
        Truncation (first axis of the combined images) that is measured.
    reduce_many : callable or None
        See `ReduceMany`; None where the reduction is not linear: forward models are then differences of two reductions.
    reduce_window : callable or None
        See `ReduceWindow`; without it the whole image is reduced and cut.
    reference_residuals : callable or None
        See `Residuals`; tells where behind the mask residual starlight is strong.
    reduce_rolls : callable or None
        See `ReduceRolls`; without it sources are not compared between rolls.
    roll_angles : tuple of float
        Position angle of the detector's +y axis in each roll, deg; empty where it is not known.

    Examples
    --------
    A reduction that only averages the frames:

    >>> import numpy as np
    >>> from lyot.measure import Injector
    >>> y, x = np.indices((41, 41)) - 20.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.1) ** 2 + (y - north / 0.1) ** 2) / 4)
    >>> frames = np.random.default_rng(1).normal(size=(4, 41, 41))
    >>> injector = Injector(
    ...     frames, np.zeros(4, int), psf, lambda frames: frames.mean(axis=0)[None], center=(20, 20), pixel_scale=0.1
    ... )
    >>> injector.pixel(east=1.0, north=0.0)
    (10.0, 20.0)
    >>> np.array_equal(injector.inject([(1.0, 0.0, 0.0)]), injector.image)
    True
    >>> round(float((injector.inject([(1.0, 0.0, 5.0)]) - injector.image)[20, 10]), 9)
    5.0
    """

    science: FloatArray
    exposure: NDArray[np.intp]
    psf: Psf
    reduce: Reduce
    center: tuple[float, float]
    pixel_scale: float
    index: int = 0
    reduce_many: ReduceMany | None = None
    reduce_window: ReduceWindow | None = None
    reference_residuals: Residuals | None = None
    reduce_rolls: ReduceRolls | None = None
    roll_angles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if np.ndim(self.science) != 3 or len(self.exposure) != len(self.science):
            raise InputError(
                f"science: expected (frames, ny, nx) with one exposure index per frame ({len(self.exposure)}), "
                f"got shape {np.shape(self.science)}."
            )

    @cached_property
    def image(self) -> FloatArray:
        """The combined image at the measured truncation: (Ny, Nx)."""
        return np.asarray(self.reduce(self.science)[self.index])

    @cached_property
    def speckles(self) -> FloatArray | None:
        """Residuals of the references on the pixels of `image`, computed once: (n, Ny, Nx); None if unavailable."""
        return None if self.reference_residuals is None else self.reference_residuals()

    @cached_property
    def rolls(self) -> FloatArray | None:
        """Images of the single rolls at the measured truncation: (nrolls, Ny, Nx); None with one roll."""
        if self.reduce_rolls is None or len(np.unique(self.exposure)) < 2:
            return None
        images = np.asarray(self.reduce_rolls(self.science)[self.index])
        return images if len(images) > 1 else None

    def forward_rolls(self, east: float, north: float, *, flux: float = 1.0) -> FloatArray:
        """Forward model of a source of unit flux in each roll.

        Parameters
        ----------
        east, north : float
            Offsets from the star, arcsec.
        flux : float, optional
            Flux at which it is made where the reduction is not linear in the science frames.

        Returns
        -------
        (nrolls, Ny, Nx) float64 ndarray
            NaN where a roll has no data.

        Raises
        ------
        InputError
            If the reduction has no images of single rolls.
        """
        if self.reduce_rolls is None or self.rolls is None:
            raise InputError("forward_rolls: the reduction has no images of single rolls.")
        signal = flux * self.signal(east, north)
        return np.asarray((self.reduce_rolls(self.science + signal)[self.index] - self.rolls) / flux)

    def pixel(self, east: float, north: float) -> tuple[float, float]:
        """Position in the combined images of an offset on the sky.

        Parameters
        ----------
        east, north : float
            Offsets from the star, arcsec.

        Returns
        -------
        x, y : float
            0-based pixels; north is at +y, east at -x.
        """
        return self.center[0] - east / self.pixel_scale, self.center[1] + north / self.pixel_scale

    def sky(self, x: float, y: float) -> tuple[float, float]:
        """Offset on the sky of a position in the combined images.

        Parameters
        ----------
        x, y : float
            0-based pixels.

        Returns
        -------
        east, north : float
            Offsets from the star, arcsec.
        """
        return (self.center[0] - x) * self.pixel_scale, (y - self.center[1]) * self.pixel_scale

    def signal(self, east: float, north: float) -> FloatArray:
        """Signal of a source of unit flux in the science frames, before the reduction.

        Parameters
        ----------
        east, north : float
            Offsets from the star, arcsec.

        Returns
        -------
        (nframes, ny, nx) float64 ndarray
            The image of its exposure in each frame (`psf`).
        """
        images = {int(e): self.psf(int(e), east, north) for e in np.unique(self.exposure)}
        return np.stack([images[int(e)] for e in self.exposure])

    def inject(self, sources: Sequence[tuple[float, float, float]]) -> FloatArray:
        """Combined image with sources added to the science frames before the reduction.

        Parameters
        ----------
        sources : sequence of (east, north, flux)
            Offsets from the star in arcsec, flux in the unit of `psf`; a negative flux takes a source out.

        Returns
        -------
        (Ny, Nx) float64 ndarray
        """
        frames = self.science
        for east, north, flux in sources:
            frames = frames + flux * self.signal(east, north)
        return np.asarray(self.reduce(frames)[self.index])

    def forward(self, east: float, north: float, *, flux: float = 1.0) -> FloatArray:
        """Forward model: image of a source of unit flux in the combined image, over-subtraction included.

        Parameters
        ----------
        east, north : float
            Offsets from the star, arcsec.
        flux : float, optional
            Flux at which it is made where the reduction is not linear in the science frames.

        Returns
        -------
        (Ny, Nx) float64 ndarray
            NaN where the combined image is.

        Raises
        ------
        InputError
            If the flux is 0 and the reduction is not linear.
        """
        signal = self.signal(east, north)
        if self.reduce_many is not None:
            return np.asarray(self.reduce_many(signal[np.newaxis])[0, self.index])
        if flux == 0:
            raise InputError("forward: expected a flux other than 0 for a reduction that is not linear.")
        return np.asarray((self.reduce(self.science + flux * signal)[self.index] - self.image) / flux)

    def forward_window(self, east: float, north: float, window: Window, *, flux: float = 1.0) -> FloatArray:
        """A part of the forward model; see `forward`.

        Parameters
        ----------
        east, north : float
            Offsets from the star, arcsec.
        window : (slice, slice)
            Rows and columns of the combined image.
        flux : float, optional
            As for `forward`, unit of `psf`.

        Returns
        -------
        (rows, columns) float64 ndarray
            Shape of the window; NaN where the combined image is.
        """
        return self.forward_windows([(east, north)], window, flux=flux)[0]

    def forward_windows(
        self, places: Sequence[tuple[float, float]], window: Window, *, flux: float = 1.0
    ) -> FloatArray:
        """Forward models of several sources on one part of the image: all at once, where the reduction is linear.

        Parameters
        ----------
        places : sequence of (east, north)
            Offsets from the star, arcsec.
        window, flux
            As for `forward_window`.

        Returns
        -------
        (n, rows, columns) float64 ndarray
            NaN where the combined image is.
        """
        if self.reduce_window is None or self.reduce_many is None:
            return np.stack([self.forward(*place, flux=flux)[window] for place in places])
        signals = np.stack([self.signal(*place) for place in places])
        return np.asarray(self.reduce_window(signals, window)[:, self.index])


def in_threads(work: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
    """Results of `work` for all items in their order, a thread on each processor and one for each matrix product."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(work, items))
