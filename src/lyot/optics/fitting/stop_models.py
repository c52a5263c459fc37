"""Descriptions of a Lyot stop for a fit: a free map, a drawing with named lengths, and a stop that stays as it is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lyot.optics.fitted import STEEPNESS, between_cells, transmission
from lyot.optics.params import OpticsParams
from lyot.optics.pupil import GRID_DIAMETER, lyot_stop, pupil_coordinates
from lyot.optics.stops import ERODED_SHEAR, StopShape, smooth_stop

FloatArray = NDArray[np.float64]

_EDGE = 0.14  # m over which a free map begins to fall from open to closed
_SOFTNESS = 0.235  # of a drawn edge, in samples of the pupil


class StopModel(Protocol):
    """A stop as a function of parameters.

    Attributes
    ----------
    scale, prior : (nparameters,) float64 ndarray
        Step that suits the search, and standard deviation from the start.
    """

    scale: FloatArray
    prior: FloatArray

    def start(self) -> FloatArray:
        """Parameters to start from: (nparameters,)."""
        ...

    def draw(self, parameters: FloatArray, /) -> FloatArray:
        """Transmission on the pupil array: (n, n)."""
        ...

    def pull(self, parameters: FloatArray, stop: FloatArray, by_stop: FloatArray, /) -> FloatArray:
        """Gradient with respect to the parameters from that with respect to the transmission."""
        ...

    def latent(self, parameters: FloatArray, /) -> FloatArray:
        """The stop as `lyot.optics.fitted.FittedOptics` keeps it: (cells, cells)."""
        ...


class FreeStop:
    """A free map: latent values on a coarse grid, that a logistic makes transmissions.

    Parameters
    ----------
    npix : int
        Samples across the pupil array.
    cells : int
        Of the grid, per axis.
    shape : StopShape
        Where the search starts, and what the prior holds the map to where the data say nothing.
    """

    def __init__(self, npix: int, cells: int, shape: StopShape) -> None:
        self._to = between_cells(npix, cells)
        self._cells = cells
        self._shape = shape
        self.scale = np.full(cells * cells, 0.3)
        self.prior = np.full(cells * cells, 0.7)

    def start(self) -> FloatArray:
        """The drawing, with soft edges."""
        return coarse(self._shape, self._cells).ravel()

    def draw(self, parameters: FloatArray) -> FloatArray:
        """See `StopModel`."""
        return transmission(self._to @ self.latent(parameters) @ self._to.T)

    def pull(self, _parameters: FloatArray, stop: FloatArray, by_stop: FloatArray) -> FloatArray:
        """See `StopModel`."""
        inner = by_stop * (STEEPNESS * stop * (1.0 - stop))
        return np.asarray((self._to.T @ inner @ self._to).ravel())

    def latent(self, parameters: FloatArray) -> FloatArray:
        """See `StopModel`."""
        return parameters.reshape(self._cells, self._cells)


class GeometricStop:
    """The drawing of `lyot.optics.stops` with its lengths free.

    Parameters
    ----------
    npix : int
        Samples across the pupil array.
    cells : int
        Of the map that is kept, per axis.
    shape : StopShape
        Where the search starts.
    """

    def __init__(self, npix: int, cells: int, shape: StopShape) -> None:
        self._xi, self._cells, self._shape = pupil_coordinates(npix), cells, shape
        self.scale = np.array([0.05, 0.05, 0.05, 0.05, 0.03, 0.03])
        self.prior = np.array([0.3, 0.5, 0.4, 0.3, 0.13, 0.13])

    def start(self) -> FloatArray:
        """The lengths of the shape."""
        return self._shape.values

    def draw(self, parameters: FloatArray) -> FloatArray:
        """See `StopModel`."""
        softness = _SOFTNESS * float(self._xi[1] - self._xi[0])
        return smooth_stop(self._xi, StopShape(*parameters), softness=softness)

    def pull(self, parameters: FloatArray, _stop: FloatArray, by_stop: FloatArray) -> FloatArray:
        """See `StopModel`; by differences, of which there are few."""
        out = np.empty(len(parameters))
        for i in range(len(parameters)):
            step = np.zeros(len(parameters))
            step[i] = 2e-3
            out[i] = float(((self.draw(parameters + step) - self.draw(parameters - step)) * by_stop).sum()) / 4e-3
        return out

    def latent(self, parameters: FloatArray) -> FloatArray:
        """See `StopModel`."""
        return coarse(StopShape(*parameters), self._cells)


class FixedStop:
    """The eroded pupil, which has nothing to fit.

    Parameters
    ----------
    npix : int
        Samples across the pupil array.
    cells : int
        Of the map that is kept, per axis.
    _shape : StopShape
        Not used.
    """

    def __init__(self, npix: int, cells: int, _shape: StopShape) -> None:
        self._stop = lyot_stop(npix, transmission=OpticsParams().fqpm_stop_transmission, shear=ERODED_SHEAR)
        self._to = np.linalg.pinv(between_cells(npix, cells))
        self.scale = self.prior = np.empty(0)

    def start(self) -> FloatArray:
        """Nothing."""
        return np.empty(0)

    def draw(self, _parameters: FloatArray) -> FloatArray:
        """See `StopModel`."""
        return self._stop

    def pull(self, _parameters: FloatArray, _stop: FloatArray, _by_stop: FloatArray) -> FloatArray:
        """Nothing."""
        return np.empty(0)

    def latent(self, _parameters: FloatArray) -> FloatArray:
        """See `StopModel`."""
        return np.clip(2.0 * (self._to @ self._stop @ self._to.T) - 1.0, -1.0, 1.0)


def coarse(shape: StopShape, cells: int) -> FloatArray:
    """Latent values of a drawn stop on a grid of `cells` by `cells` over the pupil array, -1 to 1."""
    xi = np.asarray((np.arange(cells) + 0.5) * (GRID_DIAMETER / cells) - GRID_DIAMETER / 2.0)
    open_ = np.clip(smooth_stop(xi, shape, softness=_EDGE / STEEPNESS), 1e-6, 1.0 - 1e-6)
    return np.clip(np.log(open_ / (1.0 - open_)) / STEEPNESS, -1.0, 1.0)
