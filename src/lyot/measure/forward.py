"""Forward models of a source on a grid of positions, and the model anywhere between them.

The model is interpolated between forward models on a grid of positions (a quartic in each direction: for images sampled
as MIRI's, exact to a few 1e-4 of the peak), each made by the reduction itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.measure.injection import FloatArray, Injector

NODES = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
"""Grid of forward models around the source, pixels."""


@dataclass(frozen=True)
class ForwardGrid:
    """Forward models of unit flux on a grid of positions around a pixel.

    Attributes
    ----------
    middle : (x, y)
        Position of the grid's middle, pixels of the combined image.
    models : (25, Ny, Nx) float64 ndarray
        x varies fastest.
    """

    middle: tuple[float, float]
    models: FloatArray

    def stamps(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> FloatArray:
        """The models on some pixels: (25, n)."""
        return self.models[:, rows, columns]


def forward_grid(injector: Injector, middle: tuple[float, float], *, flux: float = 1.0) -> ForwardGrid:
    """Make the forward models around a position (x, y) in the combined image."""
    models = [
        injector.forward(*injector.sky(middle[0] + dx, middle[1] + dy), flux=flux) for dy in NODES for dx in NODES
    ]
    return ForwardGrid(middle, np.nan_to_num(np.stack(models)))


def node_weights(dx: FloatArray, dy: FloatArray) -> FloatArray:
    """Weights of the 25 nodes for positions (dx, dy) pixels from the middle: (n,) each to (n, 25)."""
    wx, wy = _lagrange(np.atleast_1d(dx)), _lagrange(np.atleast_1d(dy))
    return np.asarray((wy[:, :, None] * wx[:, None, :]).reshape(len(wx), -1))


def _lagrange(t: FloatArray) -> FloatArray:
    out = np.ones((len(t), len(NODES)))
    for i, node in enumerate(NODES):
        for other in np.delete(NODES, i):
            out[:, i] *= (t - other) / (node - other)
    return out


def derivatives(stamps: FloatArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Model of unit flux at ``theta = (flux, x, y)`` and its derivatives by x and y.

    Parameters
    ----------
    stamps : (25, n) float64 ndarray
        Forward models on some pixels (whitened or not).
    theta : (3,) float64 ndarray
        Flux, and pixels from the grid's middle.

    Returns
    -------
    unit : (n,) float64 ndarray
    gradient : (2, n) float64 ndarray
        Per pixel of displacement.
    """
    h = 1e-3
    x, y = theta[1], theta[2]
    w = node_weights(np.array([x, x + h, x - h, x, x]), np.array([y, y, y, y + h, y - h])) @ stamps
    return w[0], np.stack([(w[1] - w[2]), (w[3] - w[4])]) / (2 * h)
