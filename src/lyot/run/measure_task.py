"""Contrast and companions as tasks of a run: the same calls as `lyot contrast` and `lyot companion`."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lyot.params import from_mapping
from lyot.processes import release_memory

if TYPE_CHECKING:
    from lyot.analysis.finished_run import MeasuredRun
    from lyot.run.task import Task

COMPANIONS_TASK = "companions"
CONTRAST_TASK = "contrast"
MAPS_TASK = "maps"
DISK_TASK = "disk"


def run_measurement(task: Task, folder: Path, out: Path) -> None:
    """Execute one of the measuring tasks.

    Parameters
    ----------
    task : Task
        `COMPANIONS_TASK`, `CONTRAST_TASK`, `MAPS_TASK`, `DISK_TASK`, or else the search for sources, with its sections
        as arguments.
    folder : Path
        Where the products go before they are complete.
    out : Path
        Output folder of the run.
    """
    what = task.name.partition("_")[0]  # with the target behind it where there are several
    if what == COMPANIONS_TASK:
        _companions(task, folder, out)
    elif what == CONTRAST_TASK:
        _contrast(task, folder, out)
    elif what == MAPS_TASK:
        _maps(task, folder, out)
    elif what == DISK_TASK:
        _disk(task, folder, out)
    else:
        _detections(task, folder, out)


def is_search(task: Task) -> bool:
    """Whether a measuring task is the search for sources."""
    return task.name.partition("_")[0] not in (COMPANIONS_TASK, CONTRAST_TASK, MAPS_TASK, DISK_TASK)


def _detections(task: Task, folder: Path, out: Path) -> None:
    from lyot.analysis.measurements import measure_detections
    from lyot.measure.detection import DetectionParams

    run, _ = _opened(task, folder, out, None)
    measure_detections(run, DetectionParams(**task.arguments))


@functools.lru_cache(maxsize=1)
def _reduction(out: Path, i2d: Path, _key: str, modes: int | None) -> MeasuredRun:
    """The reduction that the tasks of one worker measure, opened once; the key names its state."""
    from lyot.analysis.finished_run import open_run

    run = open_run(out, modes=modes, i2d=i2d)
    release_memory()  # the exposures that it was made from: a third of what is left
    return run


def _opened(task: Task, folder: Path, out: Path, modes: int | None) -> tuple[MeasuredRun, list[Path]]:
    """The run, whose measurements go to `folder`, with copies there of the tables that the task reads."""
    copies = []
    for path in map(Path, task.inputs):
        if path.parent == out / "measure" / task.folder and path.is_file():  # a measurement may have failed
            folder.mkdir(parents=True, exist_ok=True)
            copies.append(Path(shutil.copy2(path, folder / path.name)))
    return _shared(task, folder, out, modes), copies


def _shared(task: Task, folder: Path, out: Path, modes: int | None) -> MeasuredRun:
    """The run as all tasks share it, whose measurements go to `folder`."""
    from lyot.analysis.finished_run import find_finished

    i2d = Path(task.inputs[0])
    run = _reduction(out, i2d, find_finished(out, i2d=i2d).key, modes)
    return dataclasses.replace(run, tables=folder)


def _companions(task: Task, folder: Path, out: Path) -> None:
    from lyot.analysis.astrometry import AstrometrySection
    from lyot.analysis.measurements import measure_companions, places_to_fit, write_no_companion
    from lyot.analysis.parameters import CompanionSection, ContrastSection
    from lyot.analysis.proper_motion import measure_motion
    from lyot.analysis.star_flux import StarSection, load_star
    from lyot.measure.systematics import SystematicParams

    section = from_mapping(CompanionSection, task.arguments["companion"])
    run, copies = _opened(task, folder, out, section.modes)
    guesses = places_to_fit(run, section)
    if not guesses:
        write_no_companion(run)
    else:
        star_section = from_mapping(StarSection, task.arguments["star"])
        star = load_star(star_section, run.sequence.coronagraph)
        systematics = from_mapping(SystematicParams, task.arguments["systematics"])
        masses = from_mapping(ContrastSection, task.arguments.get("contrast", {})).mass_grid(run.sequence.coronagraph)
        table, _ = measure_companions(run, guesses, star, section, systematics=systematics,
                                      distance=star_section.distance, masses=masses)  # fmt: skip
        astrometry = from_mapping(AstrometrySection, task.arguments.get("astrometry", {}))
        if astrometry.epochs:
            measure_motion(run, table, astrometry, distance=star_section.distance)
    for copy in copies:
        copy.unlink()


def _contrast(task: Task, folder: Path, out: Path) -> None:
    from lyot.analysis.measurements import measure_contrast
    from lyot.analysis.parameters import ContrastSection
    from lyot.analysis.star_flux import StarSection, load_star

    section = from_mapping(ContrastSection, task.arguments["contrast"])
    star_section = from_mapping(StarSection, task.arguments["star"])
    run, copies = _opened(task, folder, out, section.modes)
    star = load_star(star_section, run.sequence.coronagraph)
    masses = section.mass_grid(run.sequence.coronagraph)
    measure_contrast(run, star, section, distance=star_section.distance, masses=masses)
    for copy in copies:
        copy.unlink()


def _maps(task: Task, folder: Path, out: Path) -> None:
    from lyot.analysis.maps import measure_maps
    from lyot.analysis.parameters import MapsSection

    section = from_mapping(MapsSection, task.arguments["maps"])
    run, copies = _opened(task, folder, out, section.modes)
    measure_maps(run, section, sigma=section.sigma, completeness_flux=section.completeness_flux)
    for copy in copies:
        copy.unlink()


def _disk(task: Task, folder: Path, out: Path) -> None:
    from lyot.analysis.disks import basis_for_disks, measure_disks, models_of
    from lyot.analysis.finished_run import find_finished, open_run
    from lyot.analysis.parameters import DiskSection

    section = from_mapping(DiskSection, task.arguments["disk"])
    finished = find_finished(out, i2d=Path(task.inputs[0]))
    strategy = basis_for_disks(finished, rolls=section.rolls)
    if strategy is None:
        run = _shared(task, folder, out, section.modes)
    else:
        run = open_run(finished, modes=section.modes, tables=folder, strategy=strategy)
    measure_disks(run, models_of(section), section if section.ring else None, section)
