"""Wavefront error maps over the pupil: realistic ones, and their drift from one exposure to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ConfigError, InputError
from lyot.optics.pupil import CIRCUMSCRIBED_DIAMETER, Pupil, jwst_pupil

FloatArray = NDArray[np.float64]

_SHARES = {"segments": 0.3, "low_order": 0.45, "mid_frequency": 0.25}  # of the variance
_DRIFT_SHARES = {"segments": 0.4, "low_order": 0.55, "mid_frequency": 0.05}  # thermal: rigid segments and bending
_MID_FREQUENCY_SLOPE = -2.5  # of the power spectrum
_MID_FREQUENCY_BAND = (4.0, 40.0)  # cycles per pupil

SEGMENT_RADIUS = 0.66
"""Radius of a mirror segment, m: tip and tilt have unit amplitude there."""


@dataclass(frozen=True)
class Wavefront:
    """Optical path difference over the pupil.

    Attributes
    ----------
    opd : (n, n) float64 ndarray
        Path difference, m, [y, x] in the mask frame (see `lyot.optics.pupil`). No NaN; values outside the pupil have no
        effect.

    Examples
    --------
    >>> from lyot.optics import Wavefront
    >>> perfect = Wavefront.flat(64)
    >>> perfect.npix, perfect.rms_nm
    (64, 0.0)
    """

    opd: FloatArray

    def __post_init__(self) -> None:
        if self.opd.ndim != 2 or self.opd.shape[0] != self.opd.shape[1]:
            raise InputError(f"wavefront: the map must be square, got shape {self.opd.shape}.")
        if not np.all(np.isfinite(self.opd)):
            raise InputError("wavefront: the map holds NaN or infinite values; set them to 0 outside the pupil.")

    @property
    def npix(self) -> int:
        """Samples across the map."""
        return int(self.opd.shape[0])

    @property
    def rms_nm(self) -> float:
        """Rms over the clear pupil about its mean, nm."""
        return 1e9 * _rms(self.opd, jwst_pupil(self.npix).amplitude)

    @staticmethod
    def flat(npix: int = 256) -> Wavefront:
        """The perfect wavefront.

        Parameters
        ----------
        npix : int, optional
            Samples across the pupil.

        Returns
        -------
        Wavefront
            Zero everywhere.
        """
        return Wavefront(np.zeros((npix, npix)))

    def __add__(self, other: Wavefront) -> Wavefront:
        """Sum of two maps."""
        return Wavefront(self.opd + other.opd)


def realistic_wavefront(seed: int | np.random.Generator, rms_nm: float = 120.0, *, npix: int = 256) -> Wavefront:
    """Draw a wavefront error map like that of JWST and MIRI together.

    Piston, tip and tilt of each segment, Zernike terms from defocus to the fourth order that fall off with order, and
    polishing errors with a power-law spectrum from 4 to 40 cycles per pupil; 30, 45 and 25 % of the variance. Global
    tip and tilt are removed: pointing is the source's offset.

    Parameters
    ----------
    seed : int or numpy.random.Generator
        The same seed gives the same map.
    rms_nm : float
        Rms over the clear pupil, nm; exactly that of the result.
    npix : int
        Samples across the pupil array.

    Returns
    -------
    Wavefront
        Optical path difference, m.

    Examples
    --------
    >>> from lyot.optics import realistic_wavefront
    >>> round(realistic_wavefront(1, 120.0, npix=64).rms_nm, 6)
    120.0
    """
    return Wavefront(_draw(np.random.default_rng(seed), rms_nm, npix, _SHARES))


def drifted(wavefront: Wavefront, rms_nm: float, seed: int | np.random.Generator) -> Wavefront:
    """Add a drift to a wavefront: mostly rigid motions of segments and low-order bending.

    Parameters
    ----------
    wavefront : Wavefront
        Not changed.
    rms_nm : float
        Rms of the drift over the clear pupil, nm.
    seed : int or numpy.random.Generator
        The same seed gives the same drift.

    Returns
    -------
    Wavefront
        The sum of both.

    Examples
    --------
    >>> from lyot.optics import Wavefront, drifted, realistic_wavefront
    >>> first = realistic_wavefront(1, npix=64)
    >>> second = drifted(first, 4.0, seed=2)
    >>> round(Wavefront(second.opd - first.opd).rms_nm, 6)
    4.0
    """
    rng = np.random.default_rng(seed)
    return Wavefront(wavefront.opd + _draw(rng, rms_nm, wavefront.npix, _DRIFT_SHARES))


def _draw(rng: np.random.Generator, rms_nm: float, npix: int, shares: dict[str, float]) -> FloatArray:
    if rms_nm < 0:
        raise ConfigError(f"wavefront: the rms must not be negative, got {rms_nm} nm.")
    pupil = jwst_pupil(npix)
    parts = {"segments": _segments(rng, pupil), "low_order": _low_order(rng, pupil), "mid_frequency": _mid(rng, pupil)}
    total = np.zeros((npix, npix))
    for name, share in shares.items():
        part = without_pointing(parts[name], pupil)
        total += np.sqrt(share) * part / _rms(part, pupil.amplitude)
    total = without_pointing(total, pupil)
    return np.asarray(total * (rms_nm * 1e-9 / _rms(total, pupil.amplitude)))


def _rms(opd: FloatArray, weight: FloatArray) -> float:
    mean = np.average(opd, weights=weight)
    return float(np.sqrt(np.average((opd - mean) ** 2, weights=weight)))


def without_pointing(opd: FloatArray, pupil: Pupil) -> FloatArray:
    """Remove piston, tip and tilt (least squares over the clear pupil); zero outside the pupil."""
    y, x = np.meshgrid(pupil.coordinates, pupil.coordinates, indexing="ij")
    inside = pupil.amplitude > 0
    basis = np.stack([np.ones(inside.sum()), x[inside], y[inside]], axis=1)
    root = np.sqrt(pupil.amplitude[inside])
    coefficients = np.linalg.lstsq(basis * root[:, None], opd[inside] * root, rcond=None)[0]
    out = np.zeros_like(opd)
    out[inside] = opd[inside] - basis @ coefficients
    return out


def _segments(rng: np.random.Generator, pupil: Pupil) -> FloatArray:
    y, x = np.meshgrid(pupil.coordinates, pupil.coordinates, indexing="ij")
    n = len(pupil.segment_centers)
    piston, tip, tilt = rng.normal(size=n), rng.normal(size=n), rng.normal(size=n)
    k = pupil.segment - 1
    cx, cy = pupil.segment_centers[k, 0], pupil.segment_centers[k, 1]
    return np.asarray(piston[k] + (tip[k] * (x - cx) + tilt[k] * (y - cy)) / SEGMENT_RADIUS)


def radial_order(noll: int) -> int:
    """Radial order of a Zernike term from its Noll index."""
    return int(np.ceil((np.sqrt(8 * noll + 1) - 3) / 2))


def _low_order(rng: np.random.Generator, pupil: Pupil) -> FloatArray:
    from poppy.zernike import zernike1

    y, x = np.meshgrid(pupil.coordinates, pupil.coordinates, indexing="ij")
    rho = np.hypot(x, y) / (CIRCUMSCRIBED_DIAMETER / 2.0)
    theta = np.arctan2(y, x)
    total = np.zeros(rho.shape)
    for noll in range(4, 16):
        term = zernike1(noll, rho=np.minimum(rho, 1.0), theta=theta, outside=0.0)
        total += rng.normal() / radial_order(noll) * np.asarray(term, dtype=float)
    return total


def _mid(rng: np.random.Generator, pupil: Pupil) -> FloatArray:
    n = pupil.coordinates.size
    cycles = np.fft.fftfreq(n, d=pupil.step) * CIRCUMSCRIBED_DIAMETER
    f = np.hypot(cycles[:, None], cycles[None, :])
    low, high = _MID_FREQUENCY_BAND
    amplitude = np.where((f >= low) & (f <= high), np.maximum(f, low) ** (_MID_FREQUENCY_SLOPE / 2.0), 0.0)
    noise = np.fft.fft2(rng.normal(size=(n, n)))
    return np.asarray(np.fft.ifft2(noise * amplitude).real)
