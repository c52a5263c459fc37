"""Small exposures and a quick optics for the tests of the simulator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lyot.instrument import coronagraph
from lyot.optics import OpticsParams
from lyot.simulator.cosmic_rays import CosmicRays
from lyot.simulator.detector import DetectorModel, build_detector
from lyot.simulator.exposure import RampMaker, decode
from lyot.simulator.plan import Exposure, Size, plan_sequence
from lyot.simulator.scene import Scene

QUICK = OpticsParams(pupil_pixels=64, n_wavelengths=1)
TINY = Size((2, 8), (2, 6))


def plan(filter_name: str = "F1550C", size: Size = TINY, scene: Scene | None = None) -> tuple[Exposure, ...]:
    """The exposures of a tiny sequence."""
    return plan_sequence(coronagraph(filter_name), size, scene or Scene(), 5)


def ramps(
    slope: float | np.ndarray,
    *,
    nints: int = 1,
    ngroups: int = 20,
    rays: float = 0.0,
    threads: int = 2,
    detector: DetectorModel | None = None,
) -> np.ndarray:
    """Ramps (nints, ngroups, ny, nx) float64, DN, of a uniform light [DN/s, flat not applied]."""
    exposure = plan(size=Size((nints, ngroups), (1, 5)))[9]
    detector = detector or build_detector(exposure.coronagraph, 1)
    light = np.broadcast_to(np.asarray(slope, dtype=float), detector.shape).copy()
    light[:, :4] = 0.0
    maker = RampMaker(exposure, light, detector, seed=11, cosmic_rays=CosmicRays(rays))
    with ThreadPoolExecutor(threads) as pool:
        return np.stack([decode(part.science).astype(float) for part in maker.integrations(pool)])


def linearized(data: np.ndarray, detector: DetectorModel) -> np.ndarray:
    """Apply the detector's own correction: reset anomaly off, then the linearity polynomial."""
    out = data.copy()
    for i in range(len(out)):
        out[i] -= detector.reset_anomaly(out.shape[1], i)
    return sum(c * out**k for k, c in enumerate(detector.linearity))
