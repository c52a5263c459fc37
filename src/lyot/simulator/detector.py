"""The simulated detector: every property of the subarray that shapes a ramp, and that calibration must undo.

One `DetectorModel` is the truth for one coronagraph. The exposure maker draws ramps from it; the offline calibration
cache is written from the same object, so that a perfect pipeline recovers the truth. Values are of the size of MIRI's
imager in FASTR1 (gain and read noise agree with the variances of archival products), but the maps are random.

From photons to the numbers in the file, for one pixel of one integration::

    linear(g)   = pedestal + kTC + sum over groups of Poisson(rate * gain * t) / gain  + cosmic rays   [DN]
    measured(g) = inverse_linearity(linear(g)) + reset_anomaly(g) + rscd(g) + last_frame(g) + read noise [DN]
    file        = round(min(measured(g), full_well))                                                      [uint16]

where ``rate = (scene / PHOTMJSR) * flat + dark_rate``. The stock pipeline's corrections undo this from right to left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lyot import dq
from lyot.instrument import Coronagraph

Float32 = NDArray[np.float32]

PHOTMJSR: Final[dict[str, float]] = {"F1065C": 3.15, "F1140C": 2.86, "F1550C": 2.55, "F2300C": 1.25}
"""Photometric conversion by filter, (MJy/sr) / (DN/s), for a source far from the mask. F1140C is that of an archival
header; the others are plausible."""

REFERENCE_COLUMNS: Final = 4
"""Number of light-insensitive reference columns at the left edge of a subarray that starts in detector column 1."""

PIXEL_PITCH: Final = 25e-4
"""Pixel pitch, cm."""


@dataclass(frozen=True)
class DetectorModel:
    """Truth of one subarray of the simulated detector.

    Maps have the subarray's shape (ny, nx), [y, x], and hold no NaN. Dead pixels have a flat of 0.

    Attributes
    ----------
    coronagraph : Coronagraph
        Gives filter, subarray name, SUBSTRT1/2 (first_column, first_row) and shape.
    seed : int
        Seed the maps were drawn from.
    photmjsr : float
        (MJy/sr) / (DN/s) of a source far from the mask, on a pixel with flat 1.
    gain : (ny, nx) float32
        electrons per DN.
    read_noise : (ny, nx) float32
        DN; standard deviation of the difference of two reads (correlated double sample), as in the JWST READNOISE
        reference file: one read has ``read_noise / sqrt(2)``.
    dark_rate : (ny, nx) float32
        DN/s after linearity correction, hot pixels included; 0 on reference columns.
    saturation : (ny, nx) float32
        DN as in the file (before any correction) above which the linearity correction is not valid (SATURATION file).
    full_well : float
        DN; measured values are cut here (digitisation limit 65535).
    linearity : (ncoef, ny, nx) float64
        Correction polynomial as the JWST linearity step applies it: ``linear = sum_k linearity[k] * measured**k``,
        measured in DN (pedestal included), valid up to `saturation`. linearity[0] = 0, linearity[1] = 1.
    pedestal : (ny, nx) float32
        Level right after a reset, DN (linear). Constant, so it does not change slopes; no reference file needs it.
    ktc_noise : float
        DN; standard deviation of the level after each reset, the same for all groups of one integration.
    flat : (ny, nx) float32
        Relative response, median 1; 0 for dead pixels, 1 on reference columns.
    mask_dq : (ny, nx) uint32
        Bad-pixel mask with the official bits (`lyot.dq`): DEAD, HOT, RC-like noisy ones as UNRELIABLE_SLOPE, each with
        DO_NOT_USE; REFERENCE_PIXEL with DO_NOT_USE on reference columns; warm pixels WARM only.
    reset_amplitude : (ny, nx) float32
        DN; reset anomaly of the first group, for a scale of 1. See `reset_anomaly`.
    reset_tau : float
        groups; decay of the reset anomaly.
    reset_scale : tuple of float
        Factor of the reset anomaly by integration; the last value repeats.
    rscd_amplitude : float
        Reset switch charge decay: in integrations after the first, the first groups are low by this fraction of the
        last level of the integration before (above pedestal) times exp(-(g + 1) / rscd_tau), g counted from 0.
    rscd_tau : float
        groups.
    rscd_skip : tuple of int
        Number of first groups to skip in (integration 1, integrations 2 and later): values for the RSCD reference.
    last_frame : tuple of float
        The last group is pulled down by these fractions of its level above pedestal, on (even, odd) rows.
    brighter_fatter : float
        Strength of the spill to less filled neighbors: the fraction of newly arriving charge that a pixel filled to
        the full well next to four empty ones gives away (`lyot.simulator.exposure.brighter_fatter_change`); 0 off.

    Examples
    --------
    >>> from lyot.instrument import coronagraph
    >>> from lyot.simulator.detector import build_detector
    >>> detector = build_detector(coronagraph("F1550C"), seed=1)
    >>> detector.shape, round(float(detector.gain.mean()), 1)
    ((224, 288), 3.1)
    >>> [round(float(factor), 3) for factor in detector.reset_profile(3, integration=0)]
    [0.6, 0.491, 0.402]
    """

    coronagraph: Coronagraph
    seed: int
    photmjsr: float
    gain: Float32
    read_noise: Float32
    dark_rate: Float32
    saturation: Float32
    full_well: float
    linearity: NDArray[np.float64]
    pedestal: Float32
    ktc_noise: float
    flat: Float32
    mask_dq: NDArray[np.uint32]
    reset_amplitude: Float32
    reset_tau: float
    reset_scale: tuple[float, ...]
    rscd_amplitude: float
    rscd_tau: float
    rscd_skip: tuple[int, int]
    last_frame: tuple[float, float]
    brighter_fatter: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the subarray."""
        return self.coronagraph.shape

    @property
    def filter(self) -> str:
        """Filter name."""
        return self.coronagraph.filter

    @property
    def reset_groups(self) -> int:
        """Groups after which the reset anomaly is zero (it is cut there, at under 0.3 % of its start)."""
        return int(np.ceil(6 * self.reset_tau))

    def reset_profile(self, ngroups: int, integration: int) -> Float32:
        """Factor of `reset_amplitude` in each group of an integration.

        Parameters
        ----------
        ngroups : int
            Number of groups.
        integration : int
            Index of the integration in the exposure, from 0.

        Returns
        -------
        (ngroups,) float32 ndarray
            Exponential decay; 0 from group `reset_groups` on.
        """
        g = np.arange(ngroups)
        scale = self.reset_scale[min(integration, len(self.reset_scale) - 1)]
        return np.where(g < self.reset_groups, scale * np.exp(-g / self.reset_tau), 0.0).astype(np.float32)

    def reset_anomaly(self, ngroups: int, integration: int) -> Float32:
        """Reset anomaly to subtract from an integration.

        Parameters
        ----------
        ngroups : int
            Number of groups.
        integration : int
            Index of the integration in the exposure, from 0.

        Returns
        -------
        (ngroups, ny, nx) float32 ndarray
            DN.
        """
        return self.reset_profile(ngroups, integration)[:, None, None] * self.reset_amplitude

    def dark_ramp(self, ngroups: int, group_time: float) -> Float32:
        """Dark signal to subtract after the linearity correction.

        Parameters
        ----------
        ngroups : int
            Number of groups.
        group_time : float
            Time between groups, s.

        Returns
        -------
        (ngroups, ny, nx) float32 ndarray
            DN; the first group holds one group time.
        """
        times = (np.arange(ngroups) + 1) * group_time
        return (times[:, None, None] * self.dark_rate).astype(np.float32)


@dataclass(frozen=True)
class _Maps:
    """Random maps of bad and hot pixels."""

    dead: NDArray[np.bool_]
    hot: NDArray[np.bool_]
    warm: NDArray[np.bool_]
    noisy: NDArray[np.bool_]
    reference: NDArray[np.bool_]


def _draw_defects(shape: tuple[int, int], rng: np.random.Generator) -> _Maps:
    u = rng.random(shape)
    reference = np.zeros(shape, dtype=bool)
    reference[:, :REFERENCE_COLUMNS] = True
    light = ~reference
    dead = light & (u < 0.002)
    edge = np.zeros(shape, dtype=bool)
    edge[:, REFERENCE_COLUMNS : REFERENCE_COLUMNS + 1] = (
        rng.random((shape[0], 1)) < 0.3
    )  # partly bad column at the left edge
    hot = light & (((u >= 0.002) & (u < 0.006)) | edge) & ~dead
    warm = light & (u >= 0.006) & (u < 0.012)
    noisy = light & (u >= 0.012) & (u < 0.015)
    return _Maps(dead, hot, warm & ~hot, noisy & ~hot, reference)


def _smooth_noise(shape: tuple[int, int], rng: np.random.Generator, scale: float) -> NDArray[np.float64]:
    """Smooth random field of unit standard deviation and correlation length `scale` pixels."""
    white = rng.standard_normal(shape)
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    field = np.fft.irfft2(np.fft.rfft2(white) * np.exp(-2 * (np.pi * scale) ** 2 * (ky**2 + kx**2)), shape)
    field -= field.mean()
    return np.asarray(field / field.std())


def _mask_bits(maps: _Maps) -> NDArray[np.uint32]:
    bits = np.zeros(maps.dead.shape, dtype=np.uint32)
    bits[maps.dead] |= np.uint32(dq.DEAD | dq.DO_NOT_USE)
    bits[maps.hot] |= np.uint32(dq.HOT | dq.DO_NOT_USE)
    bits[maps.warm] |= np.uint32(dq.WARM)
    bits[maps.noisy] |= np.uint32(dq.UNRELIABLE_SLOPE | dq.DO_NOT_USE)
    bits[maps.reference] |= np.uint32(dq.REFERENCE_PIXEL | dq.DO_NOT_USE)
    return bits


def build_detector(coronagraph: Coronagraph, seed: int, *, brighter_fatter: float = 0.0) -> DetectorModel:
    """Draw the detector of one coronagraph.

    Parameters
    ----------
    coronagraph : Coronagraph
        Filter, subarray and shape.
    seed : int
        The same seed and coronagraph give the same detector, to the last bit.
    brighter_fatter : float, optional
        See `DetectorModel.brighter_fatter`.
    """
    shape = coronagraph.shape
    rng = np.random.default_rng([seed, coronagraph.first_row, 0xDE7EC7])
    maps = _draw_defects(shape, rng)
    light = ~maps.reference
    gain = 3.1 * (1 + 0.003 * _smooth_noise(shape, rng, 20.0))
    read_noise = 6.0 * np.exp(0.08 * rng.standard_normal(shape))  # DN, correlated double sample
    read_noise[maps.noisy] *= rng.uniform(4.0, 10.0, maps.noisy.sum())
    dark = np.abs(0.06 * (1 + 0.25 * _smooth_noise(shape, rng, 30.0)) * np.exp(0.2 * rng.standard_normal(shape)))
    dark[maps.warm] += 10 ** rng.uniform(-0.5, 1.0, maps.warm.sum())
    dark[maps.hot] += 10 ** rng.uniform(1.0, 3.3, maps.hot.sum())
    dark[maps.reference] = 0.0
    flat = (1 + 0.012 * _smooth_noise(shape, rng, 25.0)) * (1 + 0.008 * rng.standard_normal(shape))
    flat /= np.median(flat[light])
    flat[maps.reference] = 1.0
    flat[maps.dead] = 0.0
    linearity = np.zeros((4, *shape))
    linearity[1] = 1.0
    linearity[2] = 2.0e-7 * (1 + 0.1 * _smooth_noise(shape, rng, 15.0) + 0.03 * rng.standard_normal(shape))
    linearity[3] = 6.0e-12 * (1 + 0.05 * rng.standard_normal(shape))
    saturation = 57000.0 + 1200.0 * _smooth_noise(shape, rng, 15.0) + 300.0 * rng.standard_normal(shape)
    reset = 45.0 * (1 + 0.2 * _smooth_noise(shape, rng, 40.0)) + 8.0 * rng.standard_normal(shape)
    reset[1::2] *= 0.9  # odd and even rows differ
    reset[maps.reference] *= 0.1
    pedestal = 8000.0 + 250.0 * _smooth_noise(shape, rng, 50.0) + 60.0 * rng.standard_normal(shape)

    def f32(values: NDArray[np.float64]) -> Float32:
        out = np.ascontiguousarray(values, dtype=np.float32)
        out.setflags(write=False)
        return out

    return DetectorModel(
        coronagraph=coronagraph,
        seed=seed,
        photmjsr=PHOTMJSR[coronagraph.filter],
        gain=f32(gain),
        read_noise=f32(read_noise),
        dark_rate=f32(dark),
        saturation=f32(saturation),
        full_well=63500.0,
        linearity=linearity,
        pedestal=f32(pedestal),
        ktc_noise=12.0,
        flat=f32(flat),
        mask_dq=_mask_bits(maps),
        reset_amplitude=f32(reset),
        reset_tau=5.0,
        reset_scale=(0.6, 1.0, 0.95, 0.93),
        rscd_amplitude=0.02,
        rscd_tau=1.3,
        rscd_skip=(4, 4),
        last_frame=(0.012, 0.008),
        brighter_fatter=brighter_fatter,
    )
