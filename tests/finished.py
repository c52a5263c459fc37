"""A finished run of a small synthetic sequence: a star of speckles, and a planet that went through the model's optics.

Made once per test session and shared by all processes of it; nothing in it is faked: it is reduced by `lyot.run`.
"""

from __future__ import annotations

import fcntl
import warnings
from pathlib import Path

import numpy as np
from stdatamodels.exceptions import NoTypeWarning

from lyot.geometry import pa_of_detector_y, sky_offset
from lyot.reduction.injector import off_axis_source
from lyot.run.config import build_config
from lyot.run.execute import run
from lyot.subtract import CoronagraphicSequence
from tests.steps.stage23_synthetic import F1550C, NOISE, SHAPE, STAR, exposure, speckles

PLANET = (1.6, 149.4, 1.0e-4)
"""Separation (arcsec), position angle (deg) and flux (Jy) of what was put in."""

ROLLS = (108.171, 117.55)
V3I_YANG = 4.83544897
SETTINGS = {"contrast": {"separations": 3, "angles": 2, "outer_radius": 3.0}, "companion": {"posterior": False}}
"""What measurements of the run do without being told otherwise; few positions, so that they are quick."""

RUN = {"stages": "3", "measure": False}


def planet_images() -> list[np.ndarray]:
    """The planet in each roll, MJy/sr."""
    empty = CoronagraphicSequence(
        science=np.zeros((2, *SHAPE)), exposure=np.arange(2), star=np.array([STAR] * 2), mask_center=STAR,
        pa_y=np.array([pa_of_detector_y(roll, V3I_YANG) for roll in ROLLS]), pixel_scale=F1550C.pixel_scale,
    )  # fmt: skip
    psf = off_axis_source(empty, "F1550C", F1550C.pixel_area)
    east, north = (float(v) for v in sky_offset(*PLANET[:2]))
    return [PLANET[2] * psf(k, east, north) for k in range(2)]


def write_calints(folder: Path) -> None:
    """Two rolls of three integrations and six references of two, with the archive's keywords."""
    rng = np.random.default_rng(3)  # noise without a chance peak above the threshold (that of 1 has one, at 6 %)
    folder.mkdir(parents=True)
    for e, (roll, planet) in enumerate(zip(ROLLS, planet_images(), strict=True)):
        scene = speckles(SHAPE, STAR, 0.02 * e) + planet
        model = exposure(rng.normal(scene, NOISE, (3, *SHAPE)), name=f"jw0100100{e + 1}001_04101_00001", roll=roll)
        _save(model, folder, target="STAR", observation=e + 1)
    for i in range(6):
        scene = 2.2 * speckles(SHAPE, STAR, 0.05 * (i - 2.5))
        model = exposure(rng.normal(scene, NOISE, (2, *SHAPE)), name=f"jw01001003001_04101_0000{i + 1}", roll=115.0)
        _save(model, folder, target="REFERENCE", observation=3, is_psf=True, dither=i + 1)


def _save(model, folder: Path, *, target: str, observation: int, is_psf: bool = False, dither: int = 1) -> None:
    name = f"{model.meta.filename}_mirimage_calints.fits"
    model.meta.filename = name
    model.meta.target.proposer_name = target
    model.meta.observation.program_number = "01001"
    model.meta.observation.observation_number = f"{observation:03d}"
    model.meta.exposure.psf_reference = is_psf
    model.meta.exposure.nints, model.meta.exposure.ngroups = len(model.data), 10
    model.meta.dither.position_number, model.meta.dither.total_points = dither, 6 if is_psf else 1
    model.meta.cal_step.photom = "COMPLETE"
    model.save(str(folder / name))


def finished_run(base: Path) -> Path:
    """Output folder of the run below `base`; made by whichever process comes first."""
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "done").is_file():
            write_calints(base / "data")
            with warnings.catch_warnings():
                # of the official association reader and data models, which a worker process does not turn into errors
                warnings.filterwarnings("ignore", "Input association file contains path information")
                warnings.filterwarnings("ignore", category=NoTypeWarning)
                run([base / "data"], base / "out", build_config({"run": RUN, **SETTINGS}), inline=True)
            (base / "done").touch()
    return base / "out"
