"""Throughput of the coronagraph for an off-axis source as a function of position.

Only energies in the Lyot plane are needed, no images. They are computed on a grid in the mask frame that is fine near
the boundaries (or the spot) and coarse in the open field, for half the plane (a perfect pupil gives the same at
opposite points, to 3e-4 away from the design wavelength), and interpolated with cubic splines.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator, RectBivariateSpline

from lyot.errors import ConfigError
from lyot.geometry import ARCSEC
from lyot.instrument import Coronagraph
from lyot.kept_arrays import Arrays, remembered
from lyot.optics import field as _field
from lyot.optics import propagate
from lyot.optics.params import OpticsParams
from lyot.optics.propagate import OpaqueSpot, PhaseMask
from lyot.optics.pupil import jwst_pupil
from lyot.optics.stops import stop_of

FloatArray = NDArray[np.float64]
ComplexSingle = NDArray[np.complex64]

_PIXELS = 128  # pupil samples: energies are within 0.003 of those with 256
_BAND_SAMPLES = 3  # wavelengths over the band
_MARGIN = 5.0  # arcsec by which the window of the map exceeds the field, so that its edge does not matter


class ThroughputTable:
    """Throughput in the mask frame as a smooth function, and the fall-off toward the field stop's edges.

    Built by `throughput_table`; call `at` with offsets.
    """

    def __init__(self, mask: RectBivariateSpline, edge: PchipInterpolator, coronagraph: Coronagraph) -> None:
        self._mask = mask
        self._edge = edge
        self._tilt = coronagraph.boundary_tilt
        self._half = coronagraph.field_size / 2.0

    def at(self, dx: FloatArray, dy: FloatArray, *, field_stop: bool = True) -> FloatArray:
        """Throughput at offsets (dx, dy) from the mask center (arcsec along the detector's axes, any equal shapes).

        Without the field stop it is that of the mask alone, which goes on beyond the field.
        """
        u, v = _field.to_mask_frame(dx, dy, self._tilt)
        value = self._mask.ev(v, u)
        if not field_stop:
            return np.asarray(np.clip(value, 0.0, None))
        edges = self._edge(self._half - np.abs(dx)) * self._edge(self._half - np.abs(dy))
        return np.asarray(np.clip(value, 0.0, None) * edges)


def throughput_table(coronagraph: Coronagraph, params: OpticsParams, *, step: float = 0.33) -> ThroughputTable:
    """Tabulate the throughput of a coronagraph for the perfect wavefront.

    Parameters
    ----------
    coronagraph : Coronagraph
    params : OpticsParams
        The Lyot stop and the spectral index; wavefront and errors of the mask are not used.
    step : float
        Grid spacing near the mask's features, in units of lambda/D; the time goes with its inverse square.

    Returns
    -------
    ThroughputTable
        Fraction of a source's light that is kept, by its offset from the mask's center in arcsec.
    """
    c, p = coronagraph, params
    if not 0.05 <= step <= 2.0:
        raise ConfigError(f"throughput: step must lie between 0.05 and 2 lambda/D, got {step}.")
    stop = stop_of(c, p, _PIXELS)
    values = {"step": step, "stop": hashlib.sha256(stop.tobytes()).hexdigest(), "index": p.spectral_index}
    content = {**values, "coronagraph": dataclasses.asdict(c)}
    table = remembered("throughput", content, lambda: _tabulate(c, p, stop, step), room=Path(__file__).parent)
    nodes, edge = table["nodes"], PchipInterpolator(table["edge_distance"], table["edge_light"])
    return ThroughputTable(RectBivariateSpline(nodes, nodes, table["light"], s=0), edge, c)


def _tabulate(c: Coronagraph, p: OpticsParams, stop: FloatArray, step: float) -> Arrays:
    """Light on the grid of the table (v, u), and by the distance inside an edge of the field stop."""
    nodes = _nodes(c, step)
    n = _PIXELS
    pupil = jwst_pupil(n)
    waves = (c.wavelength + c.bandwidth * ((np.arange(_BAND_SAMPLES) + 0.5) / _BAND_SAMPLES - 0.5)) * 1e-6
    weights = waves ** -(p.spectral_index + 1.0)
    weights = weights / weights.sum() / ((pupil.amplitude * stop) ** 2).sum()
    both = np.concatenate([-nodes[:0:-1], nodes])
    table = np.zeros((both.size, nodes.size))  # [v, u >= 0]
    half = c.field_size / 2.0 + _MARGIN
    for wave, weight in zip(waves, weights, strict=True):
        mask = _mask(c, pupil.coordinates, half, wave)
        tilts = np.exp(2j * np.pi * ARCSEC / wave * np.outer(both, pupil.coordinates))
        for j in range(nodes.size):  # u
            field = pupil.amplitude * tilts[nodes.size - 1 + j][None, :]
            table[:, j] += weight * _energies(mask, field, tilts, stop)
    full = np.concatenate([table[::-1, :0:-1], table], axis=1)  # T(-u, -v) = T(u, v)
    distance, kept = _edge(c, pupil.amplitude, stop)
    return {"nodes": both, "light": full, "edge_distance": distance, "edge_light": kept}


def _nodes(c: Coronagraph, step: float) -> FloatArray:
    """Grid of |u| and |v|, arcsec, from 0 to the field's corner: fine, then medium, then coarse."""
    unit = c.lambda_over_d
    end = _field.window_half_width(c) / unit + 0.5
    fine = 3.0 if c.kind == "4QPM" else 4.5
    parts = [np.arange(0.0, fine, step), np.arange(fine, 8.0, 1.5 * step), np.arange(8.0, end, 9.0 * step), [end]]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]) * unit


def _mask(c: Coronagraph, xi: FloatArray, half: float, wave: float) -> PhaseMask | OpaqueSpot:
    if c.kind == "4QPM":
        return propagate.phase_mask(xi, half_width=half, wavelength=wave, design_wavelength=c.design_wavelength * 1e-6)
    return propagate.opaque_spot(
        xi, half_width=half, wavelength=wave, radius=c.spot_radius, bar_width=c.bar_width, samples=64
    )


def _energies(
    mask: PhaseMask | OpaqueSpot, field: NDArray[np.complex128], tilts: NDArray[np.complex128], stop: FloatArray
) -> FloatArray:
    """Energy behind the stop for one `field` (already tilted along u) times each of `tilts` along v: (len(tilts),).

    Single precision: it leaves errors of 1e-6, and halves the time.
    """
    small, tilts32 = field.astype(np.complex64), tilts.astype(np.complex64)
    left = _spot_left(mask, small) if isinstance(mask, OpaqueSpot) else _phase_left(mask, small)
    weight = (stop**2).astype(np.float32)
    out = np.empty(len(tilts))
    for i, tilt in enumerate(tilts32):
        passed = left(tilt)
        out[i] = float(np.vdot(weight, passed.real**2 + passed.imag**2))
    return out


def _phase_left(mask: PhaseMask, field: ComplexSingle) -> Callable[[ComplexSingle], ComplexSingle]:
    """Apply the mask's products from the right, which do not depend on v; return the rest, a function of the tilt."""
    a, b = (np.complex64(w) for w in mask.weights)
    kernel_odd, kernel_even = mask.odd.astype(np.float32), mask.even.astype(np.float32)
    odd, even = b * (field @ kernel_odd.T), a * (field @ kernel_even.T)

    def left(tilt: ComplexSingle) -> ComplexSingle:
        o, e = tilt[:, None] * odd, tilt[:, None] * even
        n = tilt.size
        half = kernel_odd @ np.concatenate([o.real, o.imag], axis=1)
        half += kernel_even @ np.concatenate([e.real, e.imag], axis=1)
        return np.asarray(half[:, :n] + np.complex64(1j) * half[:, n:])

    return left


def _spot_left(mask: OpaqueSpot, field: ComplexSingle) -> Callable[[ComplexSingle], ComplexSingle]:
    """As `_phase_left`, for the opaque spot."""
    window, transform = mask.window.astype(np.float32), mask.transform.astype(np.complex64)
    disk = (mask.scale * mask.disk).astype(np.float32)
    beside_bar = field @ (mask.window - mask.bar).astype(np.float32).T
    toward_disk = field @ transform.T

    def left(tilt: ComplexSingle) -> ComplexSingle:
        n = tilt.size
        o = tilt[:, None] * beside_bar
        half = window @ np.concatenate([o.real, o.imag], axis=1)
        focal = disk * (transform @ (tilt[:, None] * toward_disk))
        blocked = transform.conj().T @ (focal @ transform.conj())
        return np.asarray(half[:, :n] + np.complex64(1j) * half[:, n:] - blocked)

    return left


def _edge(c: Coronagraph, amplitude: FloatArray, stop: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distances inside one edge of the field stop (arcsec; negative outside) and the light that it keeps there."""
    xi = jwst_pupil(_PIXELS).coordinates
    wave = c.wavelength * 1e-6
    half = c.field_size / 2.0
    distance = c.lambda_over_d * np.concatenate([[-8.0], np.arange(-3.0, 6.01, 0.25), [9.0, 14.0]])
    kernel = propagate.window_kernel(xi, half, wave)
    kept = []
    for d in distance:
        tilt = np.exp(2j * np.pi * ARCSEC / wave * (half - d) * xi)
        passed = (amplitude * tilt[None, :]) @ kernel.T * stop
        kept.append(float((np.abs(passed) ** 2).sum()))
    kept_array = np.array(kept) / ((amplitude * stop) ** 2).sum()
    return np.append(distance, 60.0), np.append(kept_array, kept_array[-1])
