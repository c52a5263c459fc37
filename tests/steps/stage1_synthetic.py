"""Small MIRI exposures and references that reach every branch of stage 1, for comparison with the official steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot import dq

SHAPE = (20, 36)
FIRST_ROW = 463
GROUP_TIME = 0.23968


@dataclass(frozen=True)
class Scenario:
    """What an exposure is like; `saturating` is the share of pixels that saturate somewhere in the ramp."""

    nints: int = 3
    ngroups: int = 24
    shape: tuple[int, int] = SHAPE
    seed: int = 1
    saturating: float = 0.15
    rays: float = 0.01
    segment: tuple[int, int] | None = None
    dark_groups: int | None = None
    dark_nints: int = 2


def _subarray(model: Any, shape: tuple[int, int]) -> None:
    model.meta.subarray.name = "MASK1550"
    model.meta.subarray.xstart, model.meta.subarray.ystart = 1, FIRST_ROW
    model.meta.subarray.ysize, model.meta.subarray.xsize = shape
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = 1, 2


def _identify(model: Any, shape: tuple[int, int]) -> None:
    model.meta.telescope = "JWST"
    model.meta.instrument.name = "MIRI"
    model.meta.instrument.detector = "MIRIMAGE"
    model.meta.instrument.filter = "F1550C"
    model.meta.instrument.coronagraph = "4QPM_1550"
    _subarray(model, shape)


def _timing(model: Any, nints: int, ngroups: int) -> None:
    e = model.meta.exposure
    e.nints, e.ngroups, e.nframes, e.groupgap = nints, ngroups, 1, 0
    e.readpatt, e.frame_time, e.group_time = "FASTR1", GROUP_TIME, GROUP_TIME


def write_references(folder: Path, scenario: Scenario) -> dict[str, Any]:
    """Write references with every defect that matters; returns pipeline ``steps`` with their overrides."""
    rng = np.random.default_rng(scenario.seed + 1000)
    shape = scenario.shape
    pick = rng.random(shape)
    files: dict[str, str] = {}

    def save(kind: str, model: Any) -> None:
        model.meta.instrument.name, model.meta.instrument.detector = "MIRI", "MIRIMAGE"
        if kind != "rscd":
            _subarray(model, shape)
        model.meta.reftype = kind
        model.meta.author = model.meta.pedigree = model.meta.description = "SYNTHETIC"
        model.meta.useafter = "2022-01-01T00:00:00"
        files[kind] = str(folder / f"{kind}.fits")
        model.save(files[kind])
        model.close()

    mask = np.zeros(shape, np.uint32)
    mask[pick < 0.02] = dq.DO_NOT_USE | dq.DEAD
    mask[(pick > 0.02) & (pick < 0.03)] = dq.HOT
    save("mask", datamodels.MaskModel(dq=mask))

    limit = rng.uniform(50000, 56000, shape).astype(np.float32)
    limit[(pick > 0.10) & (pick < 0.11)] = np.nan
    flags = np.zeros(shape, np.uint32)
    flags[(pick > 0.11) & (pick < 0.12)] = dq.NO_SAT_CHECK
    save("saturation", datamodels.SaturationModel(data=limit, dq=flags))

    reset = rng.normal(0, 20, (2, 8, *shape)).astype(np.float32) / np.arange(1, 9, dtype=np.float32)[:, None, None]
    reset[0, 0, 2, 3] = np.nan
    flags = np.zeros(shape, np.uint32)
    flags[4, 4] = dq.UNRELIABLE_BIAS
    model = datamodels.ResetModel(data=reset, dq=flags)
    model.meta.exposure.nints, model.meta.exposure.ngroups = 2, 8
    save("reset", model)

    coefficients = np.zeros((4, *shape), np.float32)
    coefficients[1] = rng.normal(1.0, 0.01, shape)
    coefficients[2] = rng.normal(1.2e-6, 1e-7, shape)
    coefficients[3] = rng.normal(3e-12, 1e-13, shape)
    coefficients[2][(pick > 0.13) & (pick < 0.14)] = np.nan
    coefficients[1][(pick > 0.14) & (pick < 0.145)] = 0
    flags = np.zeros(shape, np.uint32)
    flags[(pick > 0.15) & (pick < 0.16)] = dq.NO_LIN_CORR
    save("linearity", datamodels.LinearityModel(coeffs=coefficients, dq=flags))

    table = np.array(
        [("MASK1550", "FASTR1", 4, 3), ("FULL", "FASTR1", 5, 2)],
        dtype=[("subarray", "S13"), ("readpatt", "S8"), ("group_skip", "i4"), ("group_skip1", "i4")],
    )
    save("rscd", datamodels.RSCDModel(rscd_group_skip_table=table))

    n = scenario.dark_groups or scenario.ngroups + 2
    rate = rng.gamma(2, 0.1, shape).astype(np.float32)
    rate[(pick > 0.02) & (pick < 0.03)] = 300
    dark = rate * np.arange(1, n + 1, dtype=np.float32)[:, None, None]
    dark = np.stack([dark * (1 + 0.2 * k) for k in range(scenario.dark_nints)]).astype(np.float32)
    dark[-1, 3, 5, 5] = np.nan
    flags4 = np.zeros((scenario.dark_nints, 1, *shape), np.uint32)
    flags4[-1, 0, 6, 6] = dq.UNRELIABLE_DARK
    model = datamodels.DarkMIRIModel(data=dark, dq=flags4)
    _timing(model, scenario.dark_nints, n)
    model.meta.exposure.average_dark_current = 1.5
    save("dark", model)

    gain = rng.normal(5.5, 0.05, shape).astype(np.float32)
    gain[(pick > 0.17) & (pick < 0.175)] = np.nan
    gain[(pick > 0.175) & (pick < 0.18)] = -1
    save("gain", datamodels.GainModel(data=gain))
    noise = rng.normal(6.0, 0.3, shape).astype(np.float32)
    noise[(pick > 0.18) & (pick < 0.19)] = 0
    save("readnoise", datamodels.ReadnoiseModel(data=noise))
    return overrides(files)


def overrides(files: dict[str, str]) -> dict[str, Any]:
    """Pipeline ``steps`` that use these reference files."""
    both = {"override_gain": files["gain"], "override_readnoise": files["readnoise"]}
    return {
        "dq_init": {"override_mask": files["mask"]},
        "saturation": {"override_saturation": files["saturation"]},
        "reset": {"override_reset": files["reset"]},
        "linearity": {"override_linearity": files["linearity"]},
        "rscd": {"override_rscd": files["rscd"]},
        "dark_current": {"override_dark": files["dark"]},
        "jump": dict(both),
        "ramp_fit": dict(both),
        "gain_scale": {"override_gain": files["gain"]},
    }


def ramps(scenario: Scenario) -> NDArray[np.uint16]:
    """Raw ramps (nints, ngroups, ny, nx): faint to saturating in any group, cosmic rays, dropouts, rows of zeros."""
    rng = np.random.default_rng(scenario.seed)
    nints, ngroups, (ny, nx) = scenario.nints, scenario.ngroups, scenario.shape
    rate = np.exp(rng.normal(4.0, 1.0, (ny, nx)))
    bright = rng.random((ny, nx)) < scenario.saturating
    rate[bright] = 54000 / rng.uniform(0.6, ngroups + 2, bright.sum())
    steps = rng.poisson(rate * 5.5, (nints, ngroups, ny, nx)) / 5.5
    hits = rng.random(steps.shape) < scenario.rays / ngroups * 8
    steps[hits] += np.exp(rng.normal(6.0, 2.0, hits.sum()))
    pairs = np.argwhere(hits)[::3]  # neighbours hit in the same and in the next group
    for i, g, y, x in pairs:
        steps[i, g, y, min(x + 1, nx - 1)] += 900
        steps[i, min(g + 1, ngroups - 1), y, x] += 700
    signal = 9000 + np.cumsum(steps, axis=1) + rng.normal(0, 4.2, steps.shape)
    signal -= 1e-6 * np.clip(signal - 9000, 0, None) ** 2
    out = np.clip(np.rint(signal), 0, 65535).astype(np.uint16)
    drop = rng.random(out.shape) < 0.0005
    out[drop] = 0
    return out


def write_exposure(path: Path, scenario: Scenario, data: NDArray[Any] | None = None) -> Path:
    """Write a level-1b file."""
    data = ramps(scenario) if data is None else data
    model = datamodels.Level1bModel(data=data)
    _identify(model, scenario.shape)
    first, total = scenario.segment or (1, scenario.nints)
    _timing(model, total, scenario.ngroups)
    if scenario.segment:
        model.meta.exposure.integration_start = first
        model.meta.exposure.integration_end = first + scenario.nints - 1
    model.meta.exposure.type = "MIR_4QPM"
    model.meta.exposure.frame_divisor = 1
    model.meta.exposure.zero_frame = False
    model.meta.observation.date, model.meta.observation.time = "2023-07-01", "00:00:00.000"
    times = np.zeros(scenario.nints, model.get_dtype("int_times"))
    times["integration_number"] = np.arange(1, scenario.nints + 1)
    model.int_times = times
    model.save(path)
    model.close()
    return path
