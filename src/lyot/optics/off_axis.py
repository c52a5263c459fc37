"""Images of off-axis sources by the hundred: what `CoronagraphModel.off_axis_psf` gives, some ten times faster.

A calibrated contrast curve needs several hundred images of sources at different places behind the mask. Everything
that does not depend on the place is made once: the kernels of the mask cut to the opening of the Lyot stop, the
transform to a lattice that is fixed to the stamp's middle pixel, the response of the pixels together with the
prefilter of the spline, and the spline's weights at the pixels. What is left for a source are a few real and complex
matrix products in single precision.

The field stop passes some fifty resolution elements on a side, so that the kernels and transforms have a rank of 40 to
65 in single precision, whatever the number of samples. The field is projected on that many functions of the pupil, and
everything after that is done with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg, sparse
from scipy.interpolate import BSpline

from lyot.errors import InputError
from lyot.geometry import ARCSEC, offset_grid
from lyot.optics import field as _field
from lyot.optics import propagate
from lyot.optics.model import CoronagraphModel
from lyot.optics.propagate import PhaseMask

FloatArray = NDArray[np.float64]
SingleArray = NDArray[np.float32]
ComplexSingle = NDArray[np.complex64]
Operator = Callable[[Any], Any]

LYOT_PIXELS = 128
"""Samples across the Lyot plane. The field stop makes the field there smooth on the scale of two samples of the pupil:
half of them carry the image to 1.1e-3 of its peak."""

SMALLEST_VALUE = 1e-7
"""Singular values smaller than this times the largest are left out: single precision does not hold them."""

_ORDER = 5  # of the spline


@dataclass(frozen=True)
class _Wavelength:
    """One wavelength of the band.

    Attributes
    ----------
    entrance : (nv, nu) complex64 ndarray
        Field in the pupil of a source on the axis, with the wavefront; rows and columns without light are cut off.
    onto_v, onto_u : (r, nv) and (r, nu) float32 ndarrays
        Functions of the pupil to which the mask is sensitive, on its rows and on its columns.
    mask : operator
        From the coefficients of these functions to the opening of the Lyot stop.
    to_v, to_u : pair of ndarrays
        Transforms from the opening to the lattice, whose origin is the stamp's middle pixel: (nv, q) and (q, m)
        complex64, which are multiplied.
    per_arcsec : complex
        Phase per m and arcsec of tilt: 2 pi i / wavelength.
    weight : float
        Share of the photons times the solid angle of a pixel over the energy of the open stop.
    """

    entrance: ComplexSingle
    onto_v: SingleArray
    onto_u: SingleArray
    mask: Operator
    to_v: tuple[ComplexSingle, ComplexSingle]
    to_u: tuple[ComplexSingle, ComplexSingle]
    per_arcsec: complex
    weight: float


class SourceImager:
    """Images of off-axis sources of one coronagraph; make it with `SourceImager.build`, call it with a position.

    Calls share nothing that they change: they may run in several threads.
    """

    def __init__(
        self,
        bands: tuple[_Wavelength, ...],
        stop: SingleArray,
        coordinates: tuple[FloatArray, FloatArray, FloatArray],
        response: FloatArray,
        weights: sparse.csr_matrix,
        model: CoronagraphModel,
    ) -> None:
        self._bands = bands
        self._stop = stop
        self._pupil_v, self._pupil_u, self._opening = coordinates
        self._response = response
        self._weights = weights
        self._model = model
        self._size = round(weights.shape[0] ** 0.5)

    @classmethod
    def build(cls, model: CoronagraphModel, *, size: int, pixels: int = LYOT_PIXELS) -> SourceImager:
        """Prepare images of `size` pixels (odd) a side.

        Parameters
        ----------
        model : CoronagraphModel
            The optics.
        size : int
            Side of the images, pixels, odd.
        pixels : int, optional
            Samples across the Lyot plane; the model's if that is no even multiple of it.
        """
        if size < 1 or size % 2 == 0:
            raise InputError(f"images of sources: size must be a positive odd number of pixels, got {size}.")
        n = model.params.pupil_pixels
        factor = n // pixels if n % (2 * pixels) == 0 else 1
        c, half, xi = model.coronagraph, size // 2, model.pupil.coordinates
        stop = _binned(_binned(model.lyot_stop, factor).T, factor).T
        box = _opening(stop)
        opening = _binned(xi, factor)[box]
        dx, dy = offset_grid((size, size), (half, half))
        u, v = _field.to_mask_frame(dx * c.pixel_scale[0], dy * c.pixel_scale[1], c.boundary_tilt)
        grid = _field.sample_grid(u, v, step=model.image_step)
        response = _field.pixel_response(grid, c, model.charge_diffusion) / _spline_transfer(grid.shape)
        rows, columns = (_lit(model.pupil.amplitude, axis) for axis in (1, 0))
        bands = []
        for k, (wave, weight, mask) in enumerate(zip(model.wavelengths, model.weights, model._masks, strict=True)):
            onto, reduced = _small(mask, factor, box)
            bands.append(
                _Wavelength(
                    entrance=np.asarray(model._entrance((0.0, 0.0), k, None)[rows, columns], dtype=np.complex64),
                    onto_v=np.ascontiguousarray(onto[:, rows]),
                    onto_u=np.ascontiguousarray(onto[:, columns]),
                    mask=reduced,
                    to_v=_factors(propagate.fourier_matrix(grid.v, opening, wave)),
                    to_u=_factors(propagate.fourier_matrix(grid.u, opening, wave)),
                    per_arcsec=2j * np.pi * ARCSEC / wave,
                    weight=float(weight * factor**4 * model.pixel_solid_angle(wave) / model.full_energy),
                )
            )
        where = ((v - grid.v[0]) / grid.step, (u - grid.u[0]) / grid.step)
        weights = _spline_weights(where, grid.shape)
        coordinates = (xi[rows], xi[columns], opening)
        return cls(tuple(bands), stop[box, box].astype(np.float32), coordinates, response, weights, model)

    def __call__(self, offset: tuple[float, float], phase: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
        """Image of a source, as `CoronagraphModel.off_axis_psf`.

        Parameters
        ----------
        offset : (dx, dy)
            Of the source from the mask center, arcsec along the detector's axes.
        phase : (x, y), optional
            Position of the source relative to the center of the stamp's middle pixel, pixels.

        Returns
        -------
        (size, size) float64 ndarray
            Light per pixel as a fraction of what a source far off the mask gives in an infinite aperture.
        """
        c = self._model.coronagraph
        tilt = c.boundary_tilt
        u, v = (float(t) for t in _field.to_mask_frame(float(offset[0]), float(offset[1]), tilt))
        pixel = (offset[0] - phase[0] * c.pixel_scale[0], offset[1] - phase[1] * c.pixel_scale[1])
        pu, pv = (float(t) for t in _field.to_mask_frame(float(pixel[0]), float(pixel[1]), tilt))
        image = np.zeros((len(self._bands[0].to_v[0]), len(self._bands[0].to_u[0])), np.float32)
        for band in self._bands:
            tilted = _tilted_parts(
                band.entrance,
                _phases(band.per_arcsec, v, self._pupil_v),
                _phases(band.per_arcsec, u, self._pupil_u),
            )
            lyot = band.mask(_projected(band, tilted)) * self._stop
            lyot *= _phases(-band.per_arcsec, pv, self._opening)[:, None]
            lyot *= _phases(-band.per_arcsec, pu, self._opening)[None, :]
            (far_v, near_v), (far_u, near_u) = band.to_v, band.to_u
            amplitude = far_v @ (near_v @ lyot @ near_u.T) @ far_u.T
            image += np.float32(band.weight) * (amplitude.real**2 + amplitude.imag**2)
        smooth = fft.irfft2(fft.rfft2(image.astype(np.float64)) * self._response, s=image.shape)
        return np.asarray(np.maximum(self._weights @ smooth.ravel(), 0.0).reshape(self._size, self._size))


def _phases(per_arcsec: complex, angle: float, coordinates: FloatArray) -> ComplexSingle:
    """Phase of a tilt by an angle (arcsec) along one axis: (n,) complex64."""
    return np.exp(per_arcsec * angle * coordinates).astype(np.complex64)


@nb.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def _tilted_parts(field: ComplexSingle, along_v: ComplexSingle, along_u: ComplexSingle) -> SingleArray:
    """A field times the phases of a tilt, its real and imaginary parts side by side: (nv, 2, nu)."""
    nv, nu = field.shape
    out = np.empty((nv, 2, nu), np.float32)
    for i in range(nv):
        for j in range(nu):
            value = field[i, j] * (along_v[i] * along_u[j])
            out[i, 0, j] = value.real
            out[i, 1, j] = value.imag
    return out


def _projected(band: _Wavelength, parts: SingleArray) -> ComplexSingle:
    """Coefficients (r, r) of the functions of a mask in a field that is given by its parts, (nv, 2, nu)."""
    nv, _, nu = parts.shape
    rows = band.onto_v @ parts.reshape(nv, 2 * nu)
    both = (rows.reshape(-1, nu) @ band.onto_u.T).reshape(len(rows), 2, -1)
    return np.asarray(both[:, 0] + 1j * both[:, 1])


def _lit(amplitude: FloatArray, axis: int) -> slice:
    """Rows (axis 1) or columns (axis 0) of the pupil that hold light."""
    lit = np.flatnonzero((amplitude != 0).any(axis=axis))
    return slice(int(lit[0]), int(lit[-1]) + 1)


def _factors(matrix: NDArray[np.complex128]) -> tuple[ComplexSingle, ComplexSingle]:
    """Two factors of a matrix that has a rank smaller than its sides in single precision."""
    left, values, right = linalg.svd(matrix, full_matrices=False)
    rank = int(np.sum(values > SMALLEST_VALUE * values[0]))
    return (left[:, :rank] * values[:rank]).astype(np.complex64), right[:rank].astype(np.complex64)


def _functions(*kernels: FloatArray) -> FloatArray:
    """Orthonormal functions of the pupil that real kernels are made of in single precision: (r, n)."""
    _, values, right = linalg.svd(np.vstack(kernels), full_matrices=False)
    return np.asarray(right[: int(np.sum(values > SMALLEST_VALUE * values[0]))])


def _binned(values: Any, factor: int) -> Any:
    """Means of `factor` neighbors along the first axis."""
    return values.reshape(len(values) // factor, factor, *values.shape[1:]).mean(axis=1)


def _midway(values: Any, factor: int) -> Any:
    """Values along the first axis at the middle of every group of `factor` (1 or even), by cubic interpolation."""
    if factor == 1:
        return values
    first = np.arange(len(values) // factor) * factor + factor // 2 - 2
    rows = np.clip(first[:, None] + np.arange(4), 0, len(values) - 1)
    return np.einsum("k,ik...->i...", np.array([-1.0, 9.0, 9.0, -1.0]) / 16.0, values[rows])


def _opening(stop: FloatArray) -> slice:
    """Rows and columns (the same for both) that hold the opening of the Lyot stop."""
    open_ = np.flatnonzero((stop > 0).any(axis=0) | (stop > 0).any(axis=1))
    return slice(int(open_[0]), int(open_[-1]) + 1)


def _small(mask: Any, factor: int, box: slice) -> tuple[SingleArray, Operator]:
    """The operator of a mask in single precision, from the pupil to the opening of the stop at fewer samples.

    Returns
    -------
    (r, n) float32 ndarray
        Functions of the pupil, orthonormal, on which the field is projected from both sides.
    operator
        From the coefficients (r, r) to the opening.
    """
    if isinstance(mask, PhaseMask):
        kernels = [_midway(k, factor)[box] for k in (mask.even, mask.odd)]
        onto = _functions(*kernels)
        even, odd = ((k @ onto.T).astype(np.float32) for k in kernels)
        return onto.astype(np.float32), PhaseMask(even, odd, mask.phase, mask.leak)
    kernels = [_midway(k, factor)[box] for k in (mask.window, mask.bar)]
    onto = _functions(*kernels, mask.transform.real, mask.transform.imag)
    window, bar = (k @ onto.T for k in kernels)
    window, beside = window.astype(np.float32), (window - bar).astype(np.float32)
    disk, forth = (mask.scale * mask.disk).astype(np.float32), (mask.transform @ onto.T).astype(np.complex64)
    back = _midway(mask.transform.T, factor)[box].conj().astype(np.complex64)

    def spot(field: Any) -> Any:
        blocked = back @ (disk * (forth @ field @ forth.T)) @ back.T
        return np.asarray(propagate.two_sided(window, field, beside) - blocked)

    return onto.astype(np.float32), spot


def _spline_transfer(shape: tuple[int, int]) -> FloatArray:
    """Transfer function of the sampled B-spline, for `scipy.fft.rfft2`: dividing by it makes spline coefficients."""
    taps = BSpline.basis_element(np.arange(_ORDER + 2) - (_ORDER + 1) / 2, extrapolate=False)(np.arange(-2.0, 3.0))

    def axis(frequency: FloatArray) -> FloatArray:
        return np.asarray(np.sum(taps[:, None] * np.cos(2 * np.pi * np.arange(-2, 3)[:, None] * frequency), axis=0))

    return np.asarray(axis(fft.fftfreq(shape[0]))[:, None] * axis(fft.rfftfreq(shape[1]))[None, :])


def _spline_weights(where: tuple[FloatArray, FloatArray], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Weights of a lattice's spline coefficients at some points (v, u) in lattice steps: (npoints, nv * nu)."""
    spline = BSpline.basis_element(np.arange(_ORDER + 2) - (_ORDER + 1) / 2, extrapolate=False)
    first = [np.floor(w.ravel()).astype(int) - _ORDER // 2 for w in where]
    taps = np.arange(_ORDER + 1)
    values = [
        np.nan_to_num(spline(w.ravel()[:, None] - (f[:, None] + taps))) for w, f in zip(where, first, strict=True)
    ]
    rows = (first[0][:, None] + taps)[:, :, None]
    columns = (first[1][:, None] + taps)[:, None, :]
    weights = values[0][:, :, None] * values[1][:, None, :]
    n = len(first[0])
    pointers = np.arange(n + 1) * (_ORDER + 1) ** 2
    return sparse.csr_matrix(
        (weights.ravel(), (rows * shape[1] + columns).ravel(), pointers), shape=(n, shape[0] * shape[1])
    )
