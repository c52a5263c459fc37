"""Forward models of a source on a lattice of positions, and the model anywhere between them.

Each model is made by the reduction itself, on the pixels around the lattice. Between the nodes the models are
interpolated with a quintic spline: an image changes with the position of its source no faster than the aperture allows,
and the lattice is finer than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline

from lyot.measure.injection import FloatArray, Injector, Window, in_threads
from lyot.measure.noise import aperture_sums

SPACING = 0.25
"""Distance of the nodes, resolution elements: half of what the aperture's cut-off asks for. Behind the mask of F1550C
the interpolated models are then within 3e-4 of the peak of those made there."""

COARSE_SPACING = 0.35
"""The same for reductions that are not linear, where each model takes a whole reduction."""

BATCH = 8
"""Models that are reduced at once: more do not save time, and each takes the memory of the science frames."""

MARGIN = 2
"""Nodes outside the radius on each side: a spline is less exact near its ends."""

_ORDER = 5


def rough_flux(injector: Injector, fwhm: float, at: tuple[float, float], *, image: FloatArray | None = None) -> float:
    """Flux of a source from its aperture, with the image of an unmasked unit source for its response.

    Forward models of reductions that are not linear depend on the flux at which they are made: in ADI a bright source
    would take itself out.

    Parameters
    ----------
    injector : Injector
    fwhm : float
        Resolution element, pixels.
    at : (x, y)
        Position in the combined image, 0-based pixels.
    image : (Ny, Nx) float64 ndarray, optional
        Combined image; by default that of the injector.

    Returns
    -------
    float
        Unit of the injector's `psf`; where the aperture holds less than the noise of the image, that of the noise.
    """
    pixels = injector.image if image is None else image
    unit = float(np.nanmax(aperture_sums(injector.signal(*injector.sky(*at))[0], fwhm)))
    value = float(aperture_sums(pixels, fwhm)[round(at[1]), round(at[0])])
    noise = float(np.nanstd(pixels)) * fwhm
    return max(value if np.isfinite(value) else 0.0, noise) / unit


def model_flux(injector: Injector, fwhm: float, at: tuple[float, float]) -> float:
    """Flux at which the forward model of what is at a position is made: that of its removal.

    A source in the library of a reduction (ADI) changes the library by more the brighter it is; at the flux of the
    source that is there, what its removal changes is its own image.

    Parameters
    ----------
    injector, fwhm, at
        As for `rough_flux`.

    Returns
    -------
    float
        Unit of the injector's `psf`: minus the rough flux, or 1 where the reduction is linear and it does not matter.
    """
    return 1.0 if injector.reduce_many is not None else -rough_flux(injector, fwhm, at)


def source_image(injector: Injector, fwhm: float, at: tuple[float, float]) -> FloatArray:
    """Forward model of unit flux at a position of the combined image, made by taking what is there out.

    Parameters
    ----------
    injector, fwhm, at
        As for `rough_flux`.

    Returns
    -------
    (Ny, Nx) float64 ndarray
        NaN where the combined image is.
    """
    return injector.forward(*injector.sky(*at), flux=model_flux(injector, fwhm, at))


@dataclass(frozen=True)
class ForwardLattice:
    """Forward models of unit flux on a square lattice of positions.

    Attributes
    ----------
    middle : (x, y)
        Position of the lattice's middle, pixels of the combined image.
    spacing : float
        Distance of the nodes, pixels.
    radius : float
        Positions as far as this from the middle are covered, pixels.
    window : (rows, columns) of slices
        Part of the combined image that the models show.
    models : (n, n, rows, columns) float64 ndarray
        [y, x] of the source's position, then pixels; 0 where the image has no data.
    """

    middle: tuple[float, float]
    spacing: float
    radius: float
    window: Window
    models: FloatArray

    @cached_property
    def _spline(self) -> BSpline:
        n = len(self.models)
        nodes = (np.arange(n) - (n - 1) / 2) * self.spacing
        return make_interp_spline(nodes, np.eye(n), k=_ORDER)

    def weights(self, t: NDArray[np.floating], *, derivative: int = 0) -> FloatArray:
        """Weights of the nodes of one axis at distances `t` (m,) pixels from the middle: (m, n)."""
        return np.asarray(self._spline(np.atleast_1d(t), nu=derivative))

    def stamps(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> FloatArray:
        """The models on some pixels of the combined image, inside the window: (n, n, npix)."""
        return self.models[:, :, rows - self.window[0].start, columns - self.window[1].start]


def forward_lattice(
    injector: Injector, middle: tuple[float, float], *, radius: float, reach: float, fwhm: float, flux: float = 1.0
) -> ForwardLattice:
    """Make the forward models around a position.

    Parameters
    ----------
    injector : Injector
    middle : (x, y)
        Pixels of the combined image.
    radius : float
        How far from the middle positions are wanted, pixels.
    reach : float
        How far from a source its image is wanted, pixels.
    fwhm : float
        Resolution element, pixels.
    flux : float, optional
        Flux at which the models are made where the reduction is not linear.
    """
    spacing = (COARSE_SPACING if injector.reduce_many is None else SPACING) * fwhm
    half = int(np.ceil(radius / spacing)) + MARGIN
    steps = np.arange(-half, half + 1) * spacing
    ny, nx = injector.image.shape
    far = radius + reach + 2
    window = tuple(
        slice(max(int(np.floor(v - far)), 0), min(int(np.ceil(v + far)) + 1, n))
        for v, n in ((middle[1], ny), (middle[0], nx))
    )
    positions = [injector.sky(middle[0] + dx, middle[1] + dy) for dy in steps for dx in steps]

    def several(some: list[tuple[float, float]]) -> FloatArray:
        return np.nan_to_num(injector.forward_windows(some, (window[0], window[1]), flux=flux))

    batches = [positions[k : k + BATCH] for k in range(0, len(positions), BATCH)]
    models = in_threads(several, batches) if injector.reduce_many is not None else [several(b) for b in batches]
    shape = (len(steps), len(steps), *models[0].shape[1:])
    return ForwardLattice(middle, spacing, radius, (window[0], window[1]), np.concatenate(models).reshape(shape))


@dataclass(frozen=True)
class WhiteModels:
    """Forward models on the fitted pixels, whitened together with the data: unit, independent noise.

    Attributes
    ----------
    lattice : ForwardLattice
    stamps : (n, n, npix) float64 ndarray
    data : (npix,) float64 ndarray
    """

    lattice: ForwardLattice
    stamps: FloatArray
    data: FloatArray

    def at(self, x: float, y: float) -> tuple[FloatArray, FloatArray]:
        """Model of unit flux at (x, y) pixels from the middle, and its derivatives by x and y: (npix,), (2, npix)."""
        where_x, where_y = np.array([x]), np.array([y])
        along_x = np.vstack([self.lattice.weights(where_x), self.lattice.weights(where_x, derivative=1)])
        along_y = np.vstack([self.lattice.weights(where_y), self.lattice.weights(where_y, derivative=1)])
        both = np.einsum("ai,bj,ijp->abp", along_y, along_x, self.stamps, optimize=True)
        return both[0, 0], np.stack([both[0, 1], both[1, 0]])

    def match(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Matched filter on a mesh of positions: data times model, and model squared, each (len(y), len(x))."""
        along_x = np.einsum("bj,ijp->ibp", self.lattice.weights(x), self.stamps, optimize=True)
        models = np.einsum("ai,ibp->abp", self.lattice.weights(y), along_x, optimize=True)
        return models @ self.data, np.einsum("abp,abp->ab", models, models)

    def many(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Models of unit flux at positions (m,): (m, npix)."""
        n = len(self.stamps)
        weights = self.lattice.weights(y)[:, :, None] * self.lattice.weights(x)[:, None, :]
        return np.asarray(weights.reshape(len(x), n * n) @ self.stamps.reshape(n * n, -1))
