"""Small MIRI exposures and references that reach every branch of stage 1, for comparison with the official steps."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot import dq
from lyot.reference_files.environment import resolve_crds
from lyot.simulator.crds_cache import write_empty_cache

from ..ramps.cubes import GROUP_TIME, Scenario, ramps, references

FIRST_ROW = 463
_NO_PARS = {"STPIPE_DISABLE_CRDS_STEPPARS": "true"}


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
    """Write the references of a scenario; returns pipeline ``steps`` with their overrides."""
    r = references(scenario)
    files: dict[str, str] = {}

    def save(kind: str, model: Any) -> None:
        model.meta.instrument.name, model.meta.instrument.detector = "MIRI", "MIRIMAGE"
        if kind != "rscd":
            _subarray(model, scenario.shape)
        model.meta.reftype = kind
        model.meta.author = model.meta.pedigree = model.meta.description = "SYNTHETIC"
        model.meta.useafter = "2022-01-01T00:00:00"
        files[kind] = str(folder / f"{kind}.fits")
        model.save(files[kind])
        model.close()

    save("mask", datamodels.MaskModel(dq=r.mask))
    save("saturation", datamodels.SaturationModel(data=r.saturation, dq=r.saturation_dq))
    flags = np.zeros(scenario.shape, np.uint32)
    flags[4, 4] = dq.UNRELIABLE_BIAS
    reset = datamodels.ResetModel(data=r.reset, dq=flags)
    reset.meta.exposure.nints, reset.meta.exposure.ngroups = r.reset.shape[:2]
    save("reset", reset)
    save("linearity", datamodels.LinearityModel(coeffs=r.coefficients, dq=r.linearity_dq))
    table = np.array(
        [("MASK1550", "FASTR1", 4, 3), ("FULL", "FASTR1", 5, 2)],
        dtype=[("subarray", "S13"), ("readpatt", "S8"), ("group_skip", "i4"), ("group_skip1", "i4")],
    )
    save("rscd", datamodels.RSCDModel(rscd_group_skip_table=table))
    dark = datamodels.DarkMIRIModel(data=r.dark, dq=r.dark_dq)
    _timing(dark, *r.dark.shape[:2])
    dark.meta.exposure.average_dark_current = 1.5
    save("dark", dark)
    save("gain", datamodels.GainModel(data=r.gain))
    save("readnoise", datamodels.ReadnoiseModel(data=r.read_noise))
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


@contextmanager
def offline(folder: Path) -> Iterator[None]:
    """A reference system that knows no file and needs no network, for the length of a ``with`` block."""
    cache = write_empty_cache(folder / "crds_cache")
    environment = resolve_crds(cache.path, cache.context)
    with environment.applied(), mock.patch("stpipe.step.gc.collect"), mock.patch.dict(os.environ, _NO_PARS):
        yield  # a garbage collection before each step of each run would take half of the tests' time


def run(pipeline: Any, file: Any, steps: dict[str, Any], folder: Path, **parameters: Any) -> tuple[Any, Any]:
    """Run a stage 1 pipeline with its products in a folder; returns the open rate and rateints, None if not written."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.call(str(file), steps=copy.deepcopy(steps), save_results=True, output_dir=str(folder), **parameters)
    products = []
    for kind in ("rate", "rateints"):
        found = sorted(folder.glob(f"*_{kind}.fits"))
        products.append(datamodels.open(found[0]) if found else None)
    return products[0], products[1]


def assert_products_agree(ours: Any, theirs: Any, *, rtol: float = 1e-6, exact: bool = False) -> None:
    """Flags equal; numbers equal to a few roundings of float32 (2**-24 = 6e-8 each), or to the bit."""
    np.testing.assert_array_equal(ours.dq, theirs.dq)
    for name in ("data", "err", "var_poisson", "var_rnoise"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0 if exact else rtol, atol=0, err_msg=name)


def header_differences(ours: Any, theirs: Any) -> dict[str, tuple[Any, Any]]:
    """Metadata that differ between two products, but for dates and what tells the software apart."""
    skip = ("date", "filename", "cal_logs", "asdf", "history", "extra_fits", "_fits_hash", "calibration_software")
    a, b = ours.to_flat_dict(include_arrays=False), theirs.to_flat_dict(include_arrays=False)
    names = {n for n in {*a, *b} if not any(part in n for part in skip)}
    return {n: (a.get(n), b.get(n)) for n in sorted(names) if str(a.get(n)) != str(b.get(n))}


def leave_alone(model: Any) -> Any:
    """A hook that does nothing."""
    return model
