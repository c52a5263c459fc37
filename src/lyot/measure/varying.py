"""Images of a point source that change from place to place, written with few stamps.

Behind a coronagraph's mask, and after the subtraction of the star, no two places have the same image of a source. The
images at some nodes are written as sums of few orthogonal stamps (singular value decomposition), and the amplitudes of
these are interpolated between the nodes. Filtering a map with the image of each of its pixels, or spreading an extended
source with it, is then a handful of convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.interpolate import LinearNDInterpolator

from lyot.errors import InputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class VaryingImage:
    """Images of a source of unit flux at every pixel of a map.

    Attributes
    ----------
    basis : (n, s, s) float64 ndarray
        Orthonormal stamps; s is odd, the source lies on the middle pixel.
    amplitude : (n, ny, nx) float64 ndarray
        Amplitude of each stamp for a source on each pixel; 0 where `known` is False.
    square_basis, square_amplitude : float64 ndarray
        The same for the squares of the images.
    known : (ny, nx) bool ndarray
        False outside the region that the nodes enclose.
    lost : float
        Part of the nodes' power that the stamps left out hold.
    """

    basis: FloatArray
    amplitude: FloatArray
    square_basis: FloatArray
    square_amplitude: FloatArray
    known: NDArray[np.bool_]
    lost: float

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the map."""
        return self.known.shape[0], self.known.shape[1]

    def at(self, x: int, y: int) -> FloatArray:
        """Image of a source on a pixel: (s, s)."""
        return np.asarray(np.tensordot(self.amplitude[:, y, x], self.basis, axes=1))

    def spread(self, light: FloatArray) -> FloatArray:
        """Image of an extended source: each pixel's light spread as the image of a source there.

        Parameters
        ----------
        light : (ny, nx) float64 ndarray
            Flux in each pixel; no NaN. Light outside `known` is lost.

        Returns
        -------
        (ny, nx) float64 ndarray
        """
        return _convolved(self.amplitude * light, self.basis)

    def matched(self, data: FloatArray) -> FloatArray:
        """Sum over the pixels of `data` times the image of a source, for a source on each pixel: (ny, nx).

        `data` must not hold NaN; outside of it counts as 0.
        """
        return np.asarray(np.sum(self.amplitude * _correlated(data, self.basis), axis=0))

    def around(self, data: FloatArray) -> FloatArray:
        """Sum of `data` over the square of a stamp around each pixel: (ny, nx)."""
        size = self.basis.shape[-1]
        return np.asarray(_correlated(data, np.ones((1, size, size)))[0])

    def power(self, weight: FloatArray) -> FloatArray:
        """Sum over the pixels of `weight` times the squared image of a source, for a source on each pixel: (ny, nx)."""
        each = _correlated(weight, self.square_basis)
        return np.maximum(np.sum(self.square_amplitude * each, axis=0), 0.0)


def from_nodes(
    stamps: NDArray[np.floating],
    positions: NDArray[np.floating],
    shape: tuple[int, int],
    *,
    keep: float = 0.998,
    most: int = 12,
) -> VaryingImage:
    """Write images at nodes as sums of few stamps, and interpolate between the nodes (linearly, on triangles).

    Parameters
    ----------
    stamps : (nnodes, s, s) array of float
        Images of a source of unit flux, centered on the middle pixel; no NaN, s odd.
    positions : (nnodes, 2) array of float
        Pixel (x, y) of each node on the map.
    shape : (ny, nx)
        Of the map.
    keep : float, optional
        Part of the power (sum of squares) that must be kept; above about 0.99 the loss of a matched filter's S/N is
        half of what is left out.
    most : int, optional
        Most stamps.

    Returns
    -------
    VaryingImage

    Raises
    ------
    InputError
        If shapes do not fit, or the nodes enclose nothing.
    """
    images = np.asarray(stamps, dtype=np.float64)
    xy = np.asarray(positions, dtype=np.float64)
    if (
        images.ndim != 3
        or images.shape[1] != images.shape[2]
        or images.shape[1] % 2 == 0
        or xy.shape != (len(images), 2)
    ):
        raise InputError(
            f"stamps of shape {images.shape} and positions of shape {xy.shape}: expected (n, s, s), (n, 2)."
        )
    if len(images) < 4 or not np.isfinite(images).all():
        raise InputError("a varying image needs four nodes or more, whose stamps hold no NaN.")
    if not images.any():
        raise InputError("a varying image needs stamps that are not all 0.")
    basis, amplitude, lost = _components(images, keep, most)
    squares, square_amplitude, _ = _components(images**2, keep, most)
    y, x = np.indices(shape)
    both = LinearNDInterpolator(xy, np.hstack([amplitude, square_amplitude]))(np.column_stack([x.ravel(), y.ravel()]))
    maps = both.T.reshape(-1, *shape)
    known = np.isfinite(maps[0])
    if not known.any():
        raise InputError("the nodes of a varying image enclose no pixel.")
    maps = np.where(known, maps, 0.0)
    n = len(basis)
    return VaryingImage(basis, maps[:n], squares, maps[n:], known, lost)


def _components(images: FloatArray, keep: float, most: int) -> tuple[FloatArray, FloatArray, float]:
    """Orthonormal stamps, the amplitude of each in each image (nnodes, n), and the part of the power left out."""
    flat = images.reshape(len(images), -1)
    # the small side of the matrix is the cheap one to decompose
    wide = flat.shape[0] < flat.shape[1]
    values, vectors = np.linalg.eigh(flat @ flat.T if wide else flat.T @ flat)
    order = np.argsort(values)[::-1]
    power = np.maximum(values[order], 0.0)
    share = np.cumsum(power) / power.sum()
    n = min(int(np.searchsorted(share, keep)) + 1, most, int((power > 1e-12 * power[0]).sum()))
    kept = vectors[:, order[:n]].T
    basis = (kept @ flat) / np.sqrt(power[:n])[:, None] if wide else kept
    return basis.reshape(n, *images.shape[1:]), flat @ basis.T, float(1 - share[n - 1])


def node_grid(shape: tuple[int, int], wanted: NDArray[np.bool_], spacing: int) -> NDArray[np.intp]:
    """Pixels (x, y) of a square grid that lie on or within one spacing of the `wanted` pixels: (n, 2)."""
    ys, xs = (np.arange(0, n + spacing, spacing).clip(max=n - 1) for n in shape)
    x, y = (a.ravel() for a in np.meshgrid(np.unique(xs), np.unique(ys)))
    near = np.zeros(len(x), bool)
    for i, (px, py) in enumerate(zip(x, y, strict=True)):
        near[i] = wanted[max(py - spacing, 0) : py + spacing + 1, max(px - spacing, 0) : px + spacing + 1].any()
    return np.column_stack([x[near], y[near]])


def _padded(shape: tuple[int, int], size: int) -> tuple[int, int]:
    return fft.next_fast_len(shape[0] + size - 1, real=True), fft.next_fast_len(shape[1] + size - 1, real=True)


def _kernels(stamps: FloatArray, padded: tuple[int, int]) -> NDArray[np.complex128]:
    """Transforms of stamps with their middle pixel moved to the origin."""
    half = stamps.shape[-1] // 2
    whole = np.zeros((len(stamps), *padded))
    whole[:, : stamps.shape[1], : stamps.shape[2]] = stamps
    return np.asarray(fft.rfft2(np.roll(whole, (-half, -half), axis=(1, 2))))


def _correlated(data: FloatArray, stamps: FloatArray) -> FloatArray:
    """Sum of `data` times a stamp centered on each pixel, for each stamp: (n, ny, nx)."""
    padded = _padded((data.shape[0], data.shape[1]), stamps.shape[-1])
    transform = fft.rfft2(data, padded)
    found = fft.irfft2(transform * np.conj(_kernels(stamps, padded)), padded)
    return np.asarray(found[:, : data.shape[0], : data.shape[1]])


def _convolved(amplitudes: FloatArray, stamps: FloatArray) -> FloatArray:
    """Sum over the stamps of each amplitude map convolved with its stamp: (ny, nx)."""
    shape = amplitudes.shape[1:]
    padded = _padded((shape[0], shape[1]), stamps.shape[-1])
    transform = np.sum(fft.rfft2(amplitudes, padded) * _kernels(stamps, padded), axis=0)
    return np.asarray(fft.irfft2(transform, padded)[: shape[0], : shape[1]])
