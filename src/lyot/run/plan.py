"""From inputs and configuration to tasks that depend on each other, each with the key of all it depends on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lyot.analysis.parameters import MASS_PARAMETERS, existing, values_of, with_paths, without_paths
from lyot.analysis.star_flux import load_star, resolved
from lyot.errors import InputError
from lyot.exposures import associations
from lyot.exposures.background_state import BackgroundStates, background_states
from lyot.exposures.exposure import STAGES, Exposure, Stage
from lyot.exposures.inputs import Inputs, read_inputs
from lyot.exposures.names import COMPANIONS, CONTRAST, DETECTIONS
from lyot.exposures.roles import Assigned, Role, group_notes, role_lines, sort_roles, with_role
from lyot.exposures.segments import by_exposure, missing_segments
from lyot.instrument import modeled_coronagraph, nircam_coronagraph
from lyot.measure.detection import DetectionParams
from lyot.optics.stpsf_adaptor import why_no_images
from lyot.params import describe
from lyot.records.manifest import Checksums, keyed_versions
from lyot.reduction.second_pass import RefineParams
from lyot.reduction.star import StarPositionParams
from lyot.reference_files.calibration import Calibration
from lyot.run.checks import BYTES_PER_PIXEL
from lyot.run.code_digest import source_digest
from lyot.run.config import Config, parse_stages
from lyot.run.keys import Keys
from lyot.run.measure_task import (
    COMPANIONS_TASK,
    CONTRAST_TASK,
    DISK_TASK,
    MAPS_TASK,
)
from lyot.run.pipelines import effective_parameters, step_parameters
from lyot.run.selection import Reduction, select, strategy_for
from lyot.run.task import Task

log = logging.getLogger(__name__)

NOTE = {"is_note": True}
"""What marks a record of the log as one of `Plan.notes`: the command line prints those with the result."""

CHECKSUMS = ".checksums.json"
"""File in the output folder that remembers the checksums of the inputs."""

_WEIGHTS = {"stage1": 1.0, "stage2": 0.4, "stage3": 2.0}

CALIBRATING = ("assign_wcs", "flat_field", "photom", "resample")
"""Steps of stage 2 that calints have been through."""


@dataclass(frozen=True)
class Plan:
    """Tasks of a run.

    Attributes
    ----------
    out : Path
        Output folder.
    config : Config
    exposures : tuple of Assigned
        All exposures that were found, with their roles.
    tasks : tuple of Task
        In an order in which they can be done.
    associations : mapping of str to str
        Association files to write: path relative to `out`, and text.
    calibration : Calibration
    checksums : Checksums
        Of the input files; those that were never read are read by the tasks.
    keys : Keys
        Of the tasks.
    notes : tuple of str
        What is missing, or done to make exposures alike: one sentence each.
    """

    out: Path
    config: Config
    exposures: tuple[Assigned, ...]
    tasks: tuple[Task, ...]
    associations: Mapping[str, str]
    calibration: Calibration
    checksums: Checksums
    keys: Keys
    notes: tuple[str, ...] = ()

    def source_key(self, path: str) -> str:
        """Checksum of an input file.

        Parameters
        ----------
        path : str
            As in the tasks.

        Returns
        -------
        str
            Hexadecimal (`lyot.records.manifest.file_checksum`); empty for a product of the run itself.
        """
        source = Path(path)
        return self.checksums.of([source])[source] if self.checksums.is_input(source) else ""

    def unread(self, task: Task) -> tuple[str, ...]:
        """Input files of a task whose checksum is not known yet.

        Parameters
        ----------
        task : Task

        Returns
        -------
        tuple of str
        """
        sources = [path for path in map(Path, task.inputs) if self.checksums.is_input(path)]
        return tuple(str(path) for path in self.checksums.unknown(sources))


def products_size(tasks: Iterable[Task]) -> int:
    """Rough size of the products of tasks, bytes."""
    pixels = ((t.kind, t.weight / _WEIGHTS[t.kind]) for t in tasks if t.kind in _WEIGHTS)
    return int(sum(count * BYTES_PER_PIXEL[kind] for kind, count in pixels))


def _pixels(exposure: Exposure) -> float:
    """Rough number of pixels of all integrations, from the file size (all but the ramps are about 20 bytes each)."""
    if exposure.stage == "uncal":
        return exposure.size / 2 / max(exposure.n_groups, 1)
    return exposure.size / 20


def preference(stages: tuple[int, ...]) -> tuple[Stage, ...]:
    """Which product of an exposure to start from: the rawest that the first stage takes, then the others."""
    first = STAGES[stages[0] - 1 :]
    return (*first, *reversed(STAGES[: stages[0] - 1]))


class _Builder:
    """Collects the tasks of a run."""

    def __init__(self, out: Path, config: Config, calibration: Calibration, checksums: Checksums, keys: Keys) -> None:
        self.out = out
        self.config = config
        self.calibration = calibration
        self.keys = keys
        self._checksums = checksums
        self.tasks: dict[str, Task] = {}
        self._made: dict[Path, Task] = {}
        self.associations: dict[str, str] = {}
        self._versions = keyed_versions()
        self._parameters: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, name: str, sources: Sequence[tuple[str, Path]], **more: Any) -> Task:
        """Add a task that reads `sources`, pairs of (what the file is for, file), with the key of all that matters.

        `makes` names products that other tasks read and that are not called after the task.
        """
        makers = [self._maker(path) for _, path in sources]
        depends = [t for t in makers if t is not None]
        parameters = more.pop("parameters") if "parameters" in more else self._parameters_of(kind)
        arguments = more.pop("arguments", self.config.stages.get(kind, {}))
        makes, folder = more.pop("makes", ()), more.get("folder", "")
        content = {
            "kind": kind, "name": name, "parameters": parameters, "versions": self._versions,
            "sources": source_digest(kind), "crds_context": self.calibration.context,
            **({"folder": folder} if folder else {}),
        }  # fmt: skip
        task = Task(
            id=f"{kind}/{name}", kind=kind, name=name, inputs=tuple(str(p) for _, p in sources), arguments=arguments,
            depends=tuple(dict.fromkeys(t.id for t in depends)), parameters=parameters, **more,
        )  # fmt: skip
        self.tasks[task.id] = task
        read = [(word, t.id if t else path) for (word, path), t in zip(sources, makers, strict=True)]
        self.keys.add(task.id, content, [p for p in files_in(arguments) if self._checksums.is_input(p)], read)
        self._made.update(dict.fromkeys((self.out / kind / folder / file for file in makes), task))
        return task

    def _parameters_of(self, stage: str) -> dict[str, Any]:
        """All parameters of a stage, asked for once and only if a task needs them: its modules are imported for it."""
        if stage not in self._parameters:
            self._parameters[stage] = effective_parameters(stage, self.config.stages[stage])
        return self._parameters[stage]

    def product(self, kind: str, root: str, suffix: str) -> Path:
        """Path of the product that a stage is going to make."""
        return self.out / kind / f"{root}_{suffix}.fits"

    def _maker(self, path: Path) -> Task | None:
        kind = path.parent.name
        if path in self._made:
            return self._made[path]
        if path.parent.parent != self.out:
            return None
        name = path.name.rpartition("_")[0]
        return self.tasks.get(f"{kind}/{name}") or self.tasks.get(f"{kind}/{path.name}")


def _stage1(builder: _Builder, group: Sequence[Assigned], run_it: bool) -> dict[str, Path]:
    """Add stage 1 of every raw exposure; returns the slopes of each exposure root."""
    slopes = {}
    raw = by_exposure([item.exposure for item in group if item.exposure.stage == "uncal"])
    for item in group:
        exposure = item.exposure
        if exposure.stage == "rateints":
            slopes[exposure.root] = exposure.path
        elif exposure.stage == "uncal" and run_it:
            weight = _WEIGHTS["stage1"] * _pixels(exposure)
            arguments = {"sample_ramps": True, **builder.config.stages["stage1"]}  # the report shows them
            others = [e.path for e in raw[exposure.name] if e.path != exposure.path]
            if others:
                arguments["segments"] = [str(path) for path in others]
            sources = [("uncal", exposure.path), *(("segment", path) for path in others)]
            builder.add("stage1", exposure.root, sources, weight=weight, arguments=arguments)
            slopes[exposure.root] = builder.product("stage1", exposure.root, "rateints")
    return slopes


def _backgrounds_of(item: Assigned, slopes: Mapping[str, Path]) -> list[Path]:
    found = [slopes[root] for root in item.backgrounds if root in slopes]
    if len(found) < len(item.backgrounds):
        log.warning(
            "%s: %d of %d backgrounds are not available as slopes and are not used",
            item.exposure.root, len(item.backgrounds) - len(found), len(item.backgrounds),
        )  # fmt: skip
    return found


def _stage2(
    builder: _Builder, group: Sequence[Assigned], slopes: Mapping[str, Path], states: BackgroundStates, *, run_it: bool
) -> dict[str, Path]:
    """Add stage 2 of every star exposure; returns the calibrated file of each exposure root."""
    calibrated = {}
    uncalibrated: dict[str, list[Assigned]] = {}
    holding: dict[str, list[Assigned]] = {}
    for item in with_role(group, Role.SCIENCE, Role.REFERENCE):
        exposure = item.exposure
        if exposure.stage == "calints":
            calibrated[exposure.root] = exposure.path
            if exposure.root in states.backgrounds:
                holding.setdefault(exposure.name, []).append(item)
        elif run_it and exposure.root in slopes:
            uncalibrated.setdefault(exposure.name, []).append(item)
    for exposure_name, files in uncalibrated.items():
        own = [slopes[item.exposure.root] for item in files]
        use = builder.config.run.background and not files[0].exposure.background_done
        backgrounds = _backgrounds_of(files[0], slopes) if use else []
        calibrated |= _add_stage2(builder, exposure_name, files, own, backgrounds)
    for exposure_name, files in holding.items():
        calibrated |= _subtract_from_calints(builder, exposure_name, files, states)
    return calibrated


def _subtract_from_calints(
    builder: _Builder, exposure_name: str, files: Sequence[Assigned], states: BackgroundStates
) -> dict[str, Path]:
    """Add the background subtraction alone, of an exposure that is calibrated already; returns its new files."""
    own = [item.exposure.path for item in files]
    backgrounds = list(states.backgrounds[files[0].exposure.root])
    given = builder.config.stages["stage2"]
    steps = {**given.get("steps", {})}
    for step in CALIBRATING:
        steps[step] = {**steps.get(step, {}), "skip": True}
    arguments = {**given, "steps": steps}
    parameters = effective_parameters("stage2", arguments)
    return _add_stage2(builder, exposure_name, files, own, backgrounds, arguments=arguments, parameters=parameters)


def _add_stage2(
    builder: _Builder,
    exposure_name: str,
    files: Sequence[Assigned],
    own: Sequence[Path],
    backgrounds: Sequence[Path],
    **more: Any,
) -> dict[str, Path]:
    """Add stage 2 of one exposure, its `files` read from `own`; returns the calibrated file of each of its roots."""
    roots = [item.exposure.root for item in files]
    name = f"asn/{exposure_name}_image2_asn.json"
    builder.associations[name] = associations.dump(associations.level2(files, own, backgrounds))
    sources = [*(("science", path) for path in own), *(("background", path) for path in backgrounds)]
    weight = _WEIGHTS["stage2"] * sum(_pixels(item.exposure) for item in files)
    builder.add("stage2", exposure_name, sources, association=name, weight=weight,
                makes=[f"{root}_calints.fits" for root in roots], **more)  # fmt: skip
    return {root: builder.product("stage2", root, "calints") for root in roots}


def _stage3(
    builder: _Builder, reduction: Reduction, calibrated: Mapping[str, Path], strategy: str | None, *, alone: bool
) -> str:
    """Add stage 3 and the measurements of one science target; `alone` if there is no other.

    Returns why what is asked for is not measured, as a sentence; empty if it is.
    """
    stars = reduction.stars
    usable = [a for a in stars if a.exposure.root in calibrated]
    left_out = [a.exposure for a in stars if a.exposure.root not in calibrated]
    if left_out:
        raise InputError(
            f"{left_out[0].path}: is at stage {left_out[0].stage}, which the selected stages do not reduce to "
            "calints; include the earlier stages with --stages."
        )
    _check_one_configuration(usable)
    association = associations.level3(usable, dict(calibrated))
    name = association["products"][0]["name"]
    file = f"asn/{name}_coron3_asn.json"
    builder.associations[file] = associations.dump(association)
    sources = [(m["exptype"], Path(m["expname"])) for m in association["products"][0]["members"]]
    weight = _WEIGHTS["stage3"] * sum(_pixels(a.exposure) for a in usable)
    folder = "" if alone else associations.target_slug(reduction.target)
    stage3 = builder.add("stage3", name, sources, association=file, weight=weight,
                         **_subtracting_by(builder.config, strategy))  # fmt: skip
    measure = builder.config.measure
    values = {info.name: getattr(measure, info.name) for info in describe(type(measure))}
    i2d = builder.product("stage3", name, "i2d")
    builder.add(
        "measure", name, [("i2d", i2d)], makes=(DETECTIONS,),
        arguments=values, parameters={"": values}, weight=0.1 * stage3.weight, folder=folder,
    )  # fmt: skip
    obstacle = _obstacle(reduction, builder.config, stage3.parameters)
    if builder.config.run.measure and not obstacle:
        _measurements(builder, i2d, stage3.weight, folder)
    return obstacle


def _asked(config: Config) -> list[str]:
    """What is to be measured beside the search for sources."""
    wanted = [("companions", config.companion.wanted), ("contrast", config.contrast.measure),
              ("maps", config.maps.measure), ("disks", config.disk.wanted)]  # fmt: skip
    return [name for name, is_wanted in wanted if is_wanted and config.run.measure]


def _obstacle(reduction: Reduction, config: Config, parameters: Mapping[str, Any]) -> str:
    """Why what is asked for cannot be measured, said before the work begins; empty if it can."""
    asked = _asked(config)
    if not asked:
        return ""
    exposure = reduction.stars[0].exposure
    names = " and ".join(part for part in (", ".join(asked[:-1]), asked[-1]) if part)
    left_out = (
        f"{exposure.instrument} {exposure.filter}: {names} {'is' if asked == ['contrast'] else 'are'} not measured"
    )
    missing = why_no_images(exposure.instrument, exposure.filter, exposure.mask)
    if missing:
        return f"{left_out}, because {missing}; all other steps are run, including the search for sources."
    if "official" in (parameters.get("", {}).get("mode"), parameters.get("klip", {}).get("mode")):
        return f"{left_out}, because this requires stage3.mode = lyot; all other steps are run."
    return ""


def _with_star(config: Config, reductions: Sequence[Reduction]) -> Config:
    """Look the star up where that is asked for, and read what tells its flux and the masses: faults are found now."""
    if not _asked(config):
        return config
    targets = {r.target for r in reductions}
    if config.star.is_given and len(targets) > 1:
        log.warning("the given star's flux is used for all of %s", " and ".join(sorted(targets)))
    existing([*config.star.files, *config.contrast.files])
    config = replace(config, star=resolved(config.star, reductions[0].target if reductions else ""))
    for reduction in reductions:
        exposure = reduction.stars[0].exposure
        known = modeled_coronagraph(exposure.instrument, exposure.filter) or nircam_coronagraph(
            exposure.filter, exposure.mask, (1.0, 1.0)
        )
        if known is not None:
            load_star(config.star, known)
            config.contrast.mass_grid(known)
    return config


def _subtracting_by(config: Config, strategy: str | None) -> dict[str, Any]:
    """Arguments and parameters of stage 3 with another strategy than that of the configuration."""
    if strategy is None or not any(p.name == "strategy" for p in step_parameters("stage3").get("klip", ())):
        return {}
    given = config.stages["stage3"]
    steps = given.get("steps", {})
    arguments = {**given, "steps": {**steps, "klip": {**steps.get("klip", {}), "strategy": strategy}}}
    return {"arguments": arguments, "parameters": effective_parameters("stage3", arguments)}


def _measurements(builder: _Builder, i2d: Path, weight: float, below: str) -> None:
    """Add what else is to be measured; its key holds stage 3's, and with it the exposures and all parameters."""
    config = builder.config
    star, systematics = values_of(config.star), values_of(config.systematics)
    star_files = [("star", path) for path in existing(config.star.files)]
    folder = builder.out / "measure" / below
    end = f"_{below}" if below else ""
    known = [("detections", folder / DETECTIONS)]
    if config.companion.wanted:
        sources = [("i2d", i2d), *star_files]
        if config.companion.measure:
            sources.append(("detections", folder / DETECTIONS))
        values = {"companion": values_of(config.companion), "star": star, "systematics": systematics}
        if config.contrast.masses is not None:
            values["contrast"] = {name: getattr(config.contrast, name) for name in MASS_PARAMETERS}
            sources += [("masses", path) for path in existing(config.contrast.files)]
        if config.astrometry.epochs:
            values["astrometry"] = values_of(config.astrometry)
        builder.add("measure", COMPANIONS_TASK + end, sources, makes=(COMPANIONS,), arguments=with_paths(values),
                    parameters=without_paths(values), weight=0.5 * weight, folder=below)  # fmt: skip
        known += [("companions", folder / COMPANIONS)]
    if config.contrast.measure:
        grid = [("masses", path) for path in existing(config.contrast.files)]
        values = {"contrast": values_of(config.contrast), "star": star}
        builder.add("measure", CONTRAST_TASK + end, [("i2d", i2d), *known, *star_files, *grid],
                    makes=(CONTRAST,), arguments=with_paths(values), parameters=without_paths(values),
                    weight=weight, folder=below)  # fmt: skip
    if config.maps.measure:
        values = {"maps": values_of(config.maps)}
        builder.add("measure", MAPS_TASK + end, [("i2d", i2d), *known], arguments=values, parameters=values,
                    weight=weight, folder=below)  # fmt: skip
    if config.disk.wanted:
        values, models = {"disk": values_of(config.disk)}, existing(config.disk.files)
        builder.add("measure", DISK_TASK + end, [("i2d", i2d), *(("disk", path) for path in models)],
                    arguments=with_paths(values), parameters=without_paths(values), weight=weight,
                    folder=below)  # fmt: skip


def _unused_backgrounds(
    builder: _Builder, assigned: Sequence[Assigned], group: Sequence[Assigned], slopes: Mapping[str, Path]
) -> list[str]:
    """A sentence about the background exposures of this filter that nothing is subtracted with."""
    filters = {a.exposure.filter for a in group}
    roles = (Role.BACKGROUND, Role.SCIENCE_BACKGROUND, Role.REFERENCE_BACKGROUND)
    given = [a.exposure for a in with_role(assigned, *roles) if a.exposure.filter in filters]
    used = {path for task in builder.tasks.values() if task.kind == "stage2" for path in task.inputs}
    unused = [e.root for e in given if not {str(e.path), str(slopes.get(e.root, e.path))} & used]
    if not unused:
        return []
    stars = with_role(group, Role.SCIENCE, Role.REFERENCE)
    if not builder.config.run.background:
        reason = "run.background is false"
    elif any(a.exposure.stage != "calints" for a in stars):
        reason = "they are not available as slopes"
    elif any(e.stage == "calints" for e in given):
        reason = "the exposures of their stars are already background-subtracted"
    else:
        reason = "backgrounds of calibrated exposures must be calints"
    names = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
    number = "1 background exposure is" if len(unused) == 1 else f"{len(unused)} background exposures are"
    return [f"{number} not used, because {reason}: {names}."]


def _check_one_configuration(stars: Sequence[Assigned]) -> None:
    """Raise if exposures of one filter were taken with different masks or subarrays."""
    for a in stars:
        if a.exposure.configuration != stars[0].exposure.configuration:
            one, other = (" ".join(x.exposure.configuration) for x in (stars[0], a))
            raise InputError(
                f"{a.exposure.path}: taken with {other}, but {stars[0].exposure.path.name} with {one}; reduce one "
                f"mask and subarray at a time: exclude the others, e.g. with --role '{a.exposure.root}=ignore'."
            )


def _notes(assigned: Sequence[Assigned], group: Sequence[Assigned], stages: tuple[int, ...]) -> list[str]:
    """What is to be said of the exposures, filter by filter."""
    lines: list[str] = []
    for name in sorted({a.exposure.filter for a in group}):
        of_filter = [a for a in assigned if (a in group or a.role is Role.BACKGROUND) and a.exposure.filter == name]
        if stages == (1,):
            lines += [*role_lines(of_filter), *missing_segments([a.exposure for a in of_filter])]
        else:
            lines += group_notes(of_filter)
    return list(dict.fromkeys(lines))


def _with_acquisitions(config: Config, found: Sequence[Assigned]) -> Config:
    """Hand target acquisitions among the inputs to stage 3, if it is to take the star's position from them."""
    steps = config.stages["stage3"].get("steps", {})
    values = steps.get("locate_star", {})
    images = [str(a.exposure.path) for a in found if a.role == Role.ACQUISITION]
    if not images or values.get("acquisition") or values.get("position") not in ("acquisition", "auto"):
        return config
    stage3 = {**config.stages["stage3"], "steps": {**steps, "locate_star": {**values, "acquisition": images}}}
    return replace(config, stages={**config.stages, "stage3": stage3})


def _check_star_optics(config: Config) -> None:
    """Refuse optics for the star's position that cannot be used, before any work."""
    given = config.stages["stage3"].get("steps", {}).get("locate_star", {})
    StarPositionParams(**{name: given[name] for name in ("optics", "fitted_optics") if name in given}).model_optics()


def _with_search(config: Config) -> Config:
    """Let the second pass search for sources as the measurement will, where its own section does not say otherwise."""
    defaults = {info.name: info.default for info in describe(DetectionParams)}
    own = {info.name: info for info in describe(RefineParams)}
    wanted = {n: getattr(config.measure, n) for n, d in defaults.items() if getattr(config.measure, n) != d}
    for name in ("outer_radius", "max_sources"):  # it searches near the star, and masks few
        if wanted.get(name) is not None:
            wanted[name] = min(wanted[name], own[name].default)
    steps = config.stages["stage3"].get("steps", {})
    given = steps.get("refine", {})
    if not wanted or wanted.keys() <= given.keys() or "refine" not in step_parameters("stage3"):
        return config
    stage3 = {**config.stages["stage3"], "steps": {**steps, "refine": {**wanted, **given}}}
    return replace(config, stages={**config.stages, "stage3": stage3})


def _other_files(config: Config) -> list[Path]:
    """Files that measurements and parameters name."""
    given = (path for arguments in config.stages.values() for path in files_in(arguments))
    return [*existing([*config.star.files, *config.contrast.files, *config.disk.files]), *given]


def files_in(arguments: Mapping[Any, Any]) -> list[Path]:
    """Files that parameters name (``override_gain``, ``depth_map``, ...): their content counts, not their names."""
    found: list[Path] = []
    for value in arguments.values():
        if isinstance(value, Mapping):
            found += files_in(value)
        elif isinstance(value, (list, tuple)):
            found += files_in(dict(enumerate(value)))
        elif isinstance(value, (str, Path)) and str(value) and Path(value).is_file():
            found.append(Path(value).absolute())
    return found


def make_plan(
    inputs: Iterable[str | Path],
    out: str | Path,
    config: Config,
    *,
    calibration: Calibration | None = None,
    found: Inputs | None = None,
) -> Plan:
    """Plan a run: read the headers, sort out roles, build associations and tasks.

    Parameters
    ----------
    inputs : iterable of str or Path
        Exposure files, folders, associations.
    out : str or Path
        Output folder; nothing is written there.
    config : Config
    calibration : Calibration, optional
        Calibration references; those of the environment if None.
    found : Inputs, optional
        What `inputs` hold, if they were read already.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If a file cannot be used, or the exposures do not allow what was asked for.
    """
    out = Path(out).absolute()
    stages = parse_stages(config.run.stages)
    if found is None:
        found = read_inputs(inputs, preference=preference(stages), roles=config.roles)
    for line in found.left_out:  # before anything that follows from it is refused
        log.warning("%s", line, extra=NOTE)
    config = replace(config, roles=found.roles)
    assigned = sort_roles(found.exposures)
    group, reductions = select(assigned, config, stages)
    config = _with_search(_with_acquisitions(config, assigned))
    config = _with_star(config, reductions)
    config.report.curves()
    if 3 in stages:
        _check_star_optics(config)
    checksums = Checksums(out / CHECKSUMS)
    others = _other_files(config)
    checksums.look_at([*(a.exposure.path for a in group), *others])
    builder = _Builder(out, config, calibration or Calibration(), checksums, Keys(checksums, checksums.of(others)))
    notes = [*found.left_out, *_notes(assigned, group, stages)]
    slopes = _stage1(builder, group, 1 in stages)
    if stages != (1,):
        states = background_states(group, given=config.run.calints_background, subtract=config.run.background)
        notes += states.lines
        calibrated = _stage2(builder, group, slopes, states, run_it=2 in stages)
        for reduction in reductions:
            strategy, line = strategy_for(reduction, config.stages["stage3"], assigned)
            obstacle = _stage3(builder, reduction, calibrated, strategy, alone=len(reductions) == 1)
            notes += [*reduction.notes, *(text for text in (line, obstacle) if text)]
        notes += _unused_backgrounds(builder, assigned, group, slopes)
    for line in notes[len(found.left_out) :]:
        log.warning("%s", line, extra=NOTE)
    if not builder.tasks:
        kinds = sorted({a.exposure.stage for a in group})
        raise InputError(f"stage {config.run.stages} has nothing to do: the input is {' and '.join(kinds)}.")
    return Plan(
        out=out, config=config, exposures=tuple(assigned), tasks=tuple(builder.tasks.values()),
        associations=builder.associations, calibration=builder.calibration,
        checksums=checksums, keys=builder.keys, notes=tuple(notes),
    )  # fmt: skip
