"""The mask frame, the field stop, and sampling an image on tilted detector pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from lyot.geometry import offset_grid
from lyot.instrument import Coronagraph

FloatArray = NDArray[np.float64]


def to_mask_frame(dx: FloatArray | float, dy: FloatArray | float, tilt: float) -> tuple[FloatArray, FloatArray]:
    """Turn offsets (dx, dy) along the detector's axes into (u, v) along the mask's boundaries; `tilt` in degrees."""
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    return np.asarray(dx * c + dy * s), np.asarray(-dx * s + dy * c)


def detector_offsets(coronagraph: Coronagraph) -> tuple[FloatArray, FloatArray]:
    """Offsets (dx, dy) of every pixel of the subarray from the mask center, arcsec: two (ny, nx) float64 arrays."""
    dx, dy = offset_grid(coronagraph.shape, coronagraph.reference_point)
    return dx * coronagraph.pixel_scale[0], dy * coronagraph.pixel_scale[1]


def field_stop_mask(coronagraph: Coronagraph) -> NDArray[np.bool_]:
    """Pixels of the subarray inside the field stop, a square along the detector's axes (not the mask's).

    Parameters
    ----------
    coronagraph : Coronagraph
        Gives subarray, reference point, pixel scale and field stop.

    Returns
    -------
    (ny, nx) bool ndarray
        True inside.

    Examples
    --------
    The field is about 24 arcsec wide:

    >>> from lyot.instrument import coronagraph
    >>> from lyot.optics import field_stop_mask
    >>> mask = coronagraph("F1550C")
    >>> inside = field_stop_mask(mask)
    >>> inside.shape == mask.shape, round(float(inside.sum(axis=1).max() * mask.pixel_scale[0]))
    (True, 24)
    """
    dx, dy = detector_offsets(coronagraph)
    half = coronagraph.field_size / 2.0
    return np.asarray((np.abs(dx) < half) & (np.abs(dy) < half))


def window_half_width(coronagraph: Coronagraph) -> float:
    """Half width of the square along the mask's axes that circumscribes the field stop, arcsec.

    The propagation uses this square in place of the stop, which is turned by 4.8 degrees from the mask.
    """
    t = abs(np.radians(coronagraph.boundary_tilt))
    return float(coronagraph.field_size / 2.0 * (np.cos(t) + np.sin(t)))


@dataclass(frozen=True)
class SampleGrid:
    """Regular grid of angles in the mask frame that covers a patch of detector pixels.

    Attributes
    ----------
    u, v : (nu,), (nv,) float64 ndarray
        Angles from the mask center along the mask's axes, arcsec.
    step : float
        Spacing, arcsec.
    """

    u: FloatArray
    v: FloatArray
    step: float

    @property
    def shape(self) -> tuple[int, int]:
        """(nv, nu)."""
        return self.v.size, self.u.size


def sample_grid(u: FloatArray, v: FloatArray, *, step: float, margin: int = 12) -> SampleGrid:
    """Cover the points (u, v) (any shape, arcsec) with a grid of spacing `step` arcsec and `margin` samples around."""

    def axis(points: FloatArray) -> FloatArray:
        low, high = float(points.min()), float(points.max())
        n = fft.next_fast_len(int(np.ceil((high - low) / step)) + 1 + 2 * margin, real=True)
        return np.asarray((low + high) / 2.0 + (np.arange(n) - (n - 1) / 2.0) * step)

    return SampleGrid(axis(u), axis(v), step)


def pixel_response(grid: SampleGrid, coronagraph: Coronagraph, diffusion: float) -> FloatArray:
    """Transfer function of a detector pixel, tilted in the mask frame: its square and Gaussian charge diffusion.

    Parameters
    ----------
    grid : SampleGrid
        Grid of the image that will be filtered.
    coronagraph : Coronagraph
        Gives the pixel's sides and the tilt.
    diffusion : float
        Gaussian sigma, arcsec.

    Returns
    -------
    (nv, nu // 2 + 1) float64 ndarray
        For `scipy.fft.rfft2`; 1 at zero frequency.
    """
    nv, nu = grid.shape
    fv = fft.fftfreq(nv, grid.step)[:, None]
    fu = fft.rfftfreq(nu, grid.step)[None, :]
    t = np.radians(coronagraph.boundary_tilt)
    fx, fy = fu * np.cos(t) - fv * np.sin(t), fu * np.sin(t) + fv * np.cos(t)
    box = np.sinc(fx * coronagraph.pixel_scale[0]) * np.sinc(fy * coronagraph.pixel_scale[1])
    return np.asarray(box * np.exp(-2.0 * (np.pi * diffusion) ** 2 * (fu**2 + fv**2)))


def on_pixels(image: FloatArray, response: FloatArray, grid: SampleGrid, u: FloatArray, v: FloatArray) -> FloatArray:
    """Integrate a band-limited image over detector pixels centered at (u, v).

    Parameters
    ----------
    image : (nv, nu) float64 ndarray
        Surface brightness per pixel area on `grid`.
    response : (nv, nu // 2 + 1) float64 ndarray
        From `pixel_response`.
    grid : SampleGrid
        Where `image` is sampled.
    u, v : (ny, nx) float64 ndarray
        Pixel centers in the mask frame, arcsec.

    Returns
    -------
    (ny, nx) float64 ndarray
        Light in each pixel; never negative (interpolation noise below zero is cut).
    """
    smooth = fft.irfft2(fft.rfft2(image) * response, s=grid.shape)
    where = [(v - grid.v[0]) / grid.step, (u - grid.u[0]) / grid.step]
    return np.maximum(ndimage.map_coordinates(smooth, where, order=5, mode="mirror"), 0.0)
