"""Propagation of one wavelength: pupil, focal-plane mask, Lyot plane, image.

The four-quadrant mask is a field transmission ``a + b s(u) s(v)``, with ``s`` the sign and (u, v) the axes of the
mask, ``a = (1 + e^{i phi}) / 2``, ``b = (1 - e^{i phi}) / 2`` and ``phi = pi lambda0 / lambda``. Both terms, times
the square window of the field stop, are products of a function of u and one of v, so their action on the pupil field
is a matrix product from either side with a kernel known in closed form: no focal plane is ever sampled, the star may
stand anywhere on the crosshair, and the only sampling is that of the pupil. The opaque bar is separable in the same
way; the Lyot spot's disk alone is sampled, finely, on its own small patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.geometry import ARCSEC

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def window_kernel(coordinates: FloatArray, half_width: float, wavelength: float) -> FloatArray:
    """Pupil-to-pupil kernel of a slit of the focal plane, ``|u| < half_width``.

    Parameters
    ----------
    coordinates : (n,) float64 ndarray
        Pupil samples along the axis, m.
    half_width : float
        arcsec.
    wavelength : float
        m.

    Returns
    -------
    (n, n) float64 ndarray
        Symmetric matrix that acts on the pupil field from the left (y) or, transposed, from the right (x).
    """
    limit = half_width * ARCSEC / wavelength  # cycles per m
    d = coordinates[:, None] - coordinates[None, :]
    step = coordinates[1] - coordinates[0]
    return np.asarray(2.0 * limit * step * np.sinc(2.0 * limit * d))


def sign_kernel(coordinates: FloatArray, half_width: float, wavelength: float) -> FloatArray:
    """Kernel of ``sign(u)`` in the window ``|u| < half_width``, divided by the imaginary unit; see `window_kernel`."""
    limit = half_width * ARCSEC / wavelength
    d = coordinates[:, None] - coordinates[None, :]
    step = coordinates[1] - coordinates[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        kernel = step * (1.0 - np.cos(2.0 * np.pi * limit * d)) / (np.pi * d)
    return np.asarray(np.where(d == 0.0, 0.0, kernel))


def fourier_matrix(angles: FloatArray, coordinates: FloatArray, wavelength: float) -> ComplexArray:
    """Matrix of the transform from pupil samples (m) to angles (arcsec): (nangle, npupil) complex128."""
    return np.asarray(np.exp((-2j * np.pi * ARCSEC / wavelength) * np.outer(angles, coordinates)))


def two_sided(left: FloatArray, field: ComplexArray, right: FloatArray) -> ComplexArray:
    """``left @ field @ right.T`` for real matrices and a complex field, as real products (half the work)."""
    n = field.shape[1]
    half = left @ np.concatenate([field.real, field.imag], axis=1)
    return np.asarray(half[:, :n] @ right.T + 1j * (half[:, n:] @ right.T))


@dataclass(frozen=True)
class PhaseMask:
    """Four-quadrant phase mask at one wavelength, as an operator on the pupil field.

    Attributes
    ----------
    even, odd : (n, n) float64 ndarray
        Kernels of the window and of the sign in it.
    phase : float
        Phase step between quadrants, radian.
    leak : complex
        Field that passes the mask unchanged, as a fraction of what falls on it: defects, gaps between the quadrants.
    """

    even: FloatArray
    odd: FloatArray
    phase: float
    leak: complex = 0j

    @property
    def weights(self) -> tuple[complex, complex]:
        """Factors of the even and the odd term in the Lyot plane (the odd kernels carry i each, hence the minus)."""
        step = np.exp(1j * self.phase)
        return complex((1.0 + step) / 2.0 + self.leak), complex(-(1.0 - step) / 2.0)

    def __call__(self, field: ComplexArray) -> ComplexArray:
        """Field in the Lyot plane for a `field` (n, n) in the pupil."""
        a, b = self.weights
        out = b * two_sided(self.odd, field, self.odd)
        if abs(a) > 1e-12:
            out = out + a * two_sided(self.even, field, self.even)
        return np.asarray(out)


@dataclass(frozen=True)
class OpaqueSpot:
    """Opaque disk on a bar at one wavelength, as an operator on the pupil field.

    Attributes
    ----------
    window, bar : (n, n) float64 ndarray
        Kernels of the field stop and of the bar's width (the bar runs along v through the whole field).
    disk : (m, m) float64 ndarray
        Opacity of the part of the disk beside the bar, on a fine grid.
    transform : (m, n) complex128 ndarray
        Transform from the pupil to that grid; its adjoint leads back.
    scale : float
        Normalization of the transform pair.
    """

    window: FloatArray
    bar: FloatArray
    disk: FloatArray
    transform: ComplexArray
    scale: float

    def __call__(self, field: ComplexArray) -> ComplexArray:
        """Field in the Lyot plane for a `field` (n, n) in the pupil."""
        open_field = two_sided(self.window, field, self.window - self.bar)
        focal = self.disk * (self.transform @ field @ self.transform.T)
        back = self.transform.conj().T @ focal @ self.transform.conj()
        return np.asarray(open_field - self.scale * back)


def phase_mask(
    coordinates: FloatArray,
    *,
    half_width: float,
    wavelength: float,
    design_wavelength: float,
    phase_error: float = 0.0,
    leak: complex = 0j,
) -> PhaseMask:
    """Build the four-quadrant mask for one wavelength (m); `half_width` of the field in arcsec.

    `phase_error` is the relative error of the phase step, `leak` the field that passes as if there were no mask.
    """
    return PhaseMask(
        window_kernel(coordinates, half_width, wavelength),
        sign_kernel(coordinates, half_width, wavelength),
        float(np.pi * design_wavelength / wavelength * (1.0 + phase_error)),
        leak,
    )


def opaque_spot(
    coordinates: FloatArray,
    *,
    half_width: float,
    wavelength: float,
    radius: float,
    bar_width: float,
    samples: int = 128,
) -> OpaqueSpot:
    """Build the Lyot spot for one wavelength (m); sizes in arcsec; `samples` across the disk."""
    step = 2.0 * radius / samples
    angles = np.asarray((np.arange(samples) - (samples - 1) / 2.0) * step, dtype=np.float64)
    fine = 8  # the disk's edge is averaged over this many points per sample and axis
    f = (np.arange(samples * fine) - (samples * fine - 1) / 2.0) * (step / fine)
    inside = (f[:, None] ** 2 + f[None, :] ** 2 <= radius**2) & (np.abs(f)[None, :] > bar_width / 2.0)
    disk = inside.reshape(samples, fine, samples, fine).mean(axis=(1, 3))
    pupil_step = coordinates[1] - coordinates[0]
    return OpaqueSpot(
        window_kernel(coordinates, half_width, wavelength),
        window_kernel(coordinates, bar_width / 2.0, wavelength),
        np.asarray(disk, dtype=np.float64),
        fourier_matrix(angles, coordinates, wavelength),
        float((pupil_step * step * ARCSEC / wavelength) ** 2),
    )
