"""Contrast and companions as tasks of a run: the same calls as `lyot contrast` and `lyot companion`."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lyot.params import from_mapping

if TYPE_CHECKING:
    from lyot.run.measured import MeasuredRun
    from lyot.run.tasks import Task

DETECTIONS = "detections.ecsv"
COMPANIONS = "companions.ecsv"
CONTRAST = "contrast.ecsv"

COMPANIONS_TASK = "companions"
CONTRAST_TASK = "contrast"
MAPS_TASK = "maps"

FILES = ("sed", "acquisition", "bandpass", "masses")
"""Parameters that name files."""


def with_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections for a worker: the files absolute, wherever it works."""
    return {
        name: {k: str(Path(v).absolute()) if k in FILES and v else v for k, v in section.items()}
        for name, section in values.items()
    }


def without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections for the record: the files by name alone, as their content is in the key already."""
    return {
        name: {k: Path(v).name if k in FILES and v else v for k, v in section.items()}
        for name, section in values.items()
    }


def run_measurement(task: Task, folder: Path, out: Path) -> None:
    """Do one of the measuring tasks.

    Parameters
    ----------
    task : Task
        `COMPANIONS_TASK`, `CONTRAST_TASK`, `MAPS_TASK`, or else the search for sources, with its sections as arguments.
    folder : Path
        Where the products go before they are complete.
    out : Path
        Output folder of the run.
    """
    if task.name == COMPANIONS_TASK:
        _companions(task, folder, out)
    elif task.name == CONTRAST_TASK:
        _contrast(task, folder, out)
    elif task.name == MAPS_TASK:
        _maps(task, folder, out)
    else:
        _detections(task, folder)


def _detections(task: Task, folder: Path) -> None:
    from lyot.measure.detection import DetectionParams
    from lyot.run.measuring import measure_products

    measure_products(Path(task.inputs[0]), folder, DetectionParams(**task.arguments))


def _opened(task: Task, folder: Path, out: Path, modes: int | None) -> tuple[MeasuredRun, list[Path]]:
    """The run, whose measurements go to `folder`, with copies there of the tables that the task reads."""
    from lyot.run.measured import open_run

    run = open_run(out, modes=modes, i2d=Path(task.inputs[0]))
    copies = []
    for path in map(Path, task.inputs):
        if path.parent == out / "measure":
            folder.mkdir(parents=True, exist_ok=True)
            copies.append(Path(shutil.copy2(path, folder / path.name)))
    return dataclasses.replace(run, tables=folder), copies


def _companions(task: Task, folder: Path, out: Path) -> None:
    from lyot.measure.systematics import SystematicParams
    from lyot.run.measure_sections import CompanionSection
    from lyot.run.measurements import measure_companions
    from lyot.run.measuring import read_detections
    from lyot.run.star import StarSection, load_star

    section = from_mapping(CompanionSection, task.arguments["companion"])
    run, copies = _opened(task, folder, out, section.modes)
    guesses = section.guesses()
    if not guesses and not len(read_detections(run.folder / DETECTIONS)):
        _no_companion(run)
    else:
        star = load_star(from_mapping(StarSection, task.arguments["star"]), run.sequence.coronagraph)
        systematics = from_mapping(SystematicParams, task.arguments["systematics"])
        measure_companions(run, guesses, star, section, systematics=systematics)
    for copy in copies:
        copy.unlink()


def _no_companion(run: MeasuredRun) -> None:
    """An empty table: nothing was detected and no position was given."""
    from astropy.table import Table

    names = ("separation", "position_angle", "flux", "flux_err", "snr")
    table = Table({name: [0.0] for name in names})[:0]
    table.meta["note"] = "no source was detected"
    table.write(run.folder / COMPANIONS, format="ascii.ecsv")


def _contrast(task: Task, folder: Path, out: Path) -> None:
    from lyot.measure.mass import MassGrid
    from lyot.run.measure_sections import ContrastSection
    from lyot.run.measurements import measure_contrast
    from lyot.run.star import StarSection, load_star

    section = from_mapping(ContrastSection, task.arguments["contrast"])
    star_section = from_mapping(StarSection, task.arguments["star"])
    run, copies = _opened(task, folder, out, section.modes)
    star = load_star(star_section, run.sequence.coronagraph)
    grid = None if section.masses is None else MassGrid.read(section.masses, age=section.age)
    measure_contrast(run, star, section, distance=star_section.distance, masses=grid)
    for copy in copies:
        copy.unlink()


def _maps(task: Task, folder: Path, out: Path) -> None:
    from lyot.run.maps import measure_maps
    from lyot.run.measure_sections import MapsSection

    section = from_mapping(MapsSection, task.arguments["maps"])
    run, _ = _opened(task, folder, out, section.modes)
    measure_maps(run, section, sigma=section.sigma, completeness_flux=section.completeness_flux)
