"""The ramps of one exposure, integration by integration, so that memory stays flat whatever the size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.simulator.cosmic_rays import CosmicRays, draw_hits
from lyot.simulator.detector import REFERENCE_COLUMNS, DetectorModel
from lyot.simulator.kernels import ramp_rows, reference_rows
from lyot.simulator.plan import Exposure
from lyot.simulator.random import TABLE_SIZE, poisson_tables

FloatArray = NDArray[np.float64]

_BAND = 16  # rows per task; the result does not depend on it
_REFERENCE_LEVEL = 8200.0  # DN, of the reference output
_REFERENCE_NOISE = 4.0  # DN


@dataclass(frozen=True)
class Integration:
    """One integration as it is written to the file.

    Attributes
    ----------
    number : int
        From 0.
    science : (ngroups, ny, nx) uint16 ndarray
        Bytes of a FITS int16 array with BZERO = 32768; `decode` gives DN. Overwritten by the next integration but one.
    reference_output : (ngroups, ny // 4, nx) uint16 ndarray
        Likewise.
    hits : structured ndarray
        Cosmic-ray charge by pixel (`lyot.simulator.cosmic_rays.HIT_DTYPE`).
    """

    number: int
    science: NDArray[np.uint16]
    reference_output: NDArray[np.uint16]
    hits: NDArray[np.void]


def decode(encoded: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """DN (uint16) from the bytes of `Integration`."""
    return np.asarray(encoded.byteswap() ^ np.uint16(0x8000))


def light_slope(image: FloatArray, detector: DetectorModel) -> FloatArray:
    """Signal of the light alone, DN/s after linearity correction, flat still in: (ny, nx) float64.

    Parameters
    ----------
    image : (ny, nx) ndarray
        Surface brightness, MJy/sr.
    detector : DetectorModel
        Its flat, conversion and reference columns (0 there).
    """
    slope = image / detector.photmjsr * detector.flat
    slope[:, :REFERENCE_COLUMNS] = 0.0
    return np.asarray(slope)


def brighter_fatter_change(electrons: FloatArray, detector: DetectorModel) -> FloatArray:
    """Change of the electrons per group from one group to the next, by spill to neighbors: (ny, nx) float64.

    A pixel's charge pushes later charge away in proportion to its excess over each of four neighbors; charge is kept.
    """
    change = np.zeros_like(electrons)
    if detector.brighter_fatter == 0.0:
        return change
    well = detector.full_well * float(np.median(detector.gain))
    factor = 0.25 * detector.brighter_fatter / well
    for axis in (0, 1):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
        excess = electrons[first] - electrons[second]
        flow = factor * excess * np.where(excess > 0, electrons[first], electrons[second])  # from first to second
        change[first] -= flow
        change[second] += flow
    change[:, :REFERENCE_COLUMNS] = 0.0
    return change


class RampMaker:
    """Draws the ramps of one exposure.

    Parameters
    ----------
    exposure : Exposure
        Size and place in the sequence.
    slope : (ny, nx) ndarray
        Signal of the light, DN/s (`light_slope`).
    detector : DetectorModel
        Everything else.
    seed : int
        Key of the random numbers, together with the exposure's index: the result depends on nothing else.
    cosmic_rays : CosmicRays
        Their rate.
    """

    def __init__(
        self, exposure: Exposure, slope: FloatArray, detector: DetectorModel, *, seed: int, cosmic_rays: CosmicRays
    ) -> None:
        self.exposure = exposure
        self.detector = detector
        self.seed = seed
        self.cosmic_rays = cosmic_rays
        frame = exposure.coronagraph.frame_time
        electrons = (slope + detector.dark_rate) * detector.gain * frame
        electrons = electrons.astype(np.float32).astype(
            float
        )  # so that last bits of the optics' arithmetic do not matter
        self._light = np.stack([electrons, brighter_fatter_change(electrons, detector)])
        self._tables = np.zeros((*electrons.shape, TABLE_SIZE), dtype=np.uint32)
        self._maps = np.stack(
            [1 / detector.gain, detector.read_noise / math.sqrt(2), detector.pedestal, detector.reset_amplitude]
        ).astype(np.float32)
        self._coefficients = np.ascontiguousarray(detector.linearity[2:4])
        c2, c3 = self._coefficients.mean(axis=(1, 2))
        limit = 65535.0 * (1.0 + 65535.0 * (c2 + 65535.0 * c3))
        self._scalars = (detector.ktc_noise, float(limit), float(detector.full_well))
        self._level = np.zeros(electrons.shape, dtype=np.float32)

    def _hits(self, number: int) -> NDArray[np.void]:
        """Cosmic rays of one integration."""
        e = self.exposure
        rng = np.random.default_rng([self.seed, 0xC05, e.index, number])
        return draw_hits(rng, self.cosmic_rays, e.shape[1:], e.coronagraph.frame_time, number)

    def _run(self, pool: ThreadPoolExecutor, part: Integration) -> None:
        """Draw one integration into its buffers."""
        e, d = self.exposure, self.detector
        number, science, output, hits = part.number, part.science, part.reference_output, part.hits
        hit_start = np.searchsorted(hits["y"], np.arange(science.shape[1] + 1)).astype(np.int64)
        charges = np.stack([hits["group"], hits["x"], hits["electrons"]]).astype(float)
        reset = d.reset_profile(e.ngroups, number)
        rscd = (d.rscd_amplitude * np.exp(-(np.arange(e.ngroups) + 1) / d.rscd_tau)).astype(np.float32)
        key = (self.seed, e.index, number)
        light = self._light, self._tables, self._maps, self._coefficients, self._scalars
        effects = reset, rscd, d.last_frame, hit_start, charges

        def science_band(first: int) -> None:
            rows = (first, min(first + _BAND, science.shape[1]))
            ramp_rows(science, self._level, rows, key, *light, *effects)

        def reference_band(first: int) -> None:
            rows = (first, min(first + _BAND, output.shape[1]))
            reference_rows(output, rows, key, _REFERENCE_LEVEL, _REFERENCE_NOISE)

        tasks = [pool.submit(science_band, r) for r in range(0, science.shape[1], _BAND)]
        tasks += [pool.submit(reference_band, r) for r in range(0, output.shape[1], _BAND)]
        for task in tasks:
            task.result()

    def _fill_tables(self, pool: ThreadPoolExecutor) -> None:
        def band(first: int) -> None:
            rows = slice(first, first + _BAND)
            poisson_tables(self._light[0, rows].ravel(), self._tables[rows].reshape(-1, TABLE_SIZE))

        for task in [pool.submit(band, r) for r in range(0, self._tables.shape[0], _BAND)]:
            task.result()

    def integrations(self, pool: ThreadPoolExecutor) -> Iterator[Integration]:
        """Draw all integrations in turn; two buffers alternate, so one may be written while the next is drawn."""
        nints, ngroups, ny, nx = self.exposure.shape
        buffers = [
            (np.empty((ngroups, ny, nx), np.uint16), np.empty((ngroups, ny // 4, nx), np.uint16)) for _ in range(2)
        ]
        self._level[:] = 0.0
        self._fill_tables(pool)
        ahead = pool.submit(self._hits, 0)
        for number in range(nints):
            part = Integration(number, *buffers[number % 2], ahead.result())
            if number + 1 < nints:
                ahead = pool.submit(self._hits, number + 1)
            self._run(pool, part)
            yield part
