"""A tiny detector and tiny exposures of it, to run the official pipeline on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lyot.instrument import Coronagraph, coronagraph
from lyot.simulator.detector import DetectorModel, build_detector
from lyot.simulator.level1b import Level1bWriter
from lyot.simulator.plan import Size, plan_sequence
from lyot.simulator.scene import Scene

SHAPE = (24, 32)


def tiny_coronagraph(name: str = "F1550C", shape: tuple[int, int] = SHAPE) -> Coronagraph:
    """A coronagraph with a subarray of a few hundred pixels around its reference point."""
    c = coronagraph(name)
    x, y = c.reference_point
    column, row = int(x) - shape[1] // 2, int(y) - shape[0] // 2
    return dataclasses.replace(
        c,
        shape=shape,
        first_column=c.first_column + column,
        first_row=c.first_row + row,
        reference_point=(x - column, y - row),
    )


def tiny_detector(name: str = "F1550C", seed: int = 3, shape: tuple[int, int] = SHAPE) -> DetectorModel:
    """The same window of the full subarray's detector."""
    full, small = coronagraph(name), tiny_coronagraph(name, shape)
    rows = slice(small.first_row - full.first_row, small.first_row - full.first_row + shape[0])
    columns = slice(small.first_column - full.first_column, small.first_column - full.first_column + shape[1])
    whole = build_detector(full, seed)
    maps = {
        field.name: np.ascontiguousarray(getattr(whole, field.name)[..., rows, columns])
        for field in dataclasses.fields(whole)
        if isinstance(getattr(whole, field.name), np.ndarray)
    }
    return dataclasses.replace(whole, coronagraph=small, **maps)


def measured(detector: DetectorModel, linear: np.ndarray) -> np.ndarray:
    """Invert the linearity polynomial by Newton's method: (ngroups, ny, nx) linear DN to measured DN."""
    c = detector.linearity
    m = np.array(linear, dtype=float)
    for _ in range(8):
        value = c[0] + m * (c[1] + m * (c[2] + m * c[3]))
        slope = c[1] + m * (2 * c[2] + 3 * m * c[3])
        m -= (value - linear) / slope
    return m


def noiseless_ramp(detector: DetectorModel, rate: np.ndarray, nints: int, ngroups: int) -> np.ndarray:
    """Ramp of a constant scene [DN/s] in the file's DN, without noise, by the simulator's convention; not rounded."""
    times = (np.arange(ngroups) + 1) * detector.coronagraph.frame_time
    linear = detector.pedestal + times[:, None, None] * (rate * detector.flat + detector.dark_rate)
    one = measured(detector, linear)
    return np.stack([one + detector.reset_anomaly(ngroups, i) for i in range(nints)])


def write_uncal(folder: Path, detector: DetectorModel, rate: np.ndarray, role: str, *, ngroups: int = 16) -> Path:
    """Write the noiseless ramp of a constant scene [DN/s] as the level-1b file of the first exposure of a role."""
    scene, size = Scene(), Size((2, ngroups), (2, ngroups))
    exposures = plan_sequence(detector.coronagraph, size, scene, seed=1)
    exposure = next(e for e in exposures if e.role == role)
    ramp = noiseless_ramp(detector, rate, *exposure.shape[:2])
    data = np.round(np.clip(ramp, 0, detector.full_well)).astype(np.uint16)
    with Level1bWriter(folder / exposure.filename, exposure, scene, seed=1) as writer:
        for number, integration in enumerate(data):
            writer.write(number, encode(integration), encode(integration[:, ::4]))
    return folder / exposure.filename


def encode(values: np.ndarray) -> np.ndarray:
    """The file's bytes of DN (uint16); the inverse of `lyot.simulator.exposure.decode`."""
    return np.ascontiguousarray((values ^ np.uint16(0x8000)).byteswap())
