"""The configuration of a run: a TOML file, options of the command line, or a Python mapping, checked and merged.

Sections: ``[run]`` (what `RunParams` declares), ``[stage1]``, ``[stage2]``, ``[stage3]`` with one table per step
(``[stage1.jump]``), ``[measure]`` (the search for sources, `lyot.measure.detection.DetectionParams`), and what else is
measured: ``[star]``, ``[contrast]``, ``[companion]``, ``[systematics]``, ``[maps]``, ``[disk]`` and ``[astrometry]``;
``[report]`` is what the report shows besides.
Any name that does not exist is refused, with the nearest ones.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomli_w

from lyot.analysis.astrometry import AstrometrySection
from lyot.analysis.parameters import (
    CompanionSection,
    ContrastSection,
    DiskSection,
    MapsSection,
    ReportSection,
    values_of,
    with_paths,
)
from lyot.analysis.star_flux import BESIDE_SOURCES, FLUX_SOURCES, StarSection
from lyot.errors import ConfigError, MissingInputError, UnknownNameError, unknown_name
from lyot.exposures.given_roles import check_roles
from lyot.measure.detection import DetectionParams
from lyot.measure.systematics import SystematicParams
from lyot.params import describe, from_mapping, param
from lyot.records.manifest import CONFIGURATION, write_text
from lyot.renamed import current_names
from lyot.run.pipelines import MANAGED, STAGE_NAMES, StepParameter, check_stage, step_parameters

MEASURING: dict[str, type] = {
    "star": StarSection, "contrast": ContrastSection, "companion": CompanionSection, "systematics": SystematicParams,
    "maps": MapsSection, "disk": DiskSection, "astrometry": AstrometrySection, "report": ReportSection,
}  # fmt: skip
"""Sections that say what is measured besides the detections, and shown, and what declares their parameters."""

ROLES = "roles"
"""Section with the roles that are given by hand."""

SECTIONS = ("run", *STAGE_NAMES, "measure", *MEASURING, ROLES)
"""Sections of a configuration file."""


@dataclass(frozen=True)
class RunParams:
    """Section ``[run]``: what to reduce, and the number of processes and threads.

    Examples
    --------
    >>> from lyot.run import RunParams
    >>> RunParams(filter="F1550C", stages="3").jobs
    0
    """

    filter: str | None = param(None, help="filter to reduce; required if the input has several")
    target: tuple[str, ...] = param(
        (), help="science targets (TARGPROP) to reduce, or 'all'; required if the input has several"
    )
    reference: tuple[str, ...] = param(
        (), help="reference stars, in place of those marked in the headers; 'all': all other stars in the filter"
    )
    stages: str = param("1-3", help="stages to run: '1-3', '2', '1,2', '3'")
    measure: bool = param(
        True, help="fit the detected sources and measure the contrast curve; off: only search for sources"
    )
    background: bool = param(True, help="subtract dedicated backgrounds in stage 2")
    calints_background: str = param(
        "auto",
        help="state of the background in input calints: subtracted, present, or auto (from S_BKDSUB and the "
        "background level)",
        choices=("auto", "subtracted", "present"),
    )
    jobs: int = param(0, help="number of worker processes; 0: as many as cores and memory allow", min=0)
    threads: int = param(0, help="number of threads per worker; 0: cores divided among the workers", min=0)
    scheduler: str | None = param(None, help="address of a Dask scheduler to use instead of local workers")
    crds_path: str | None = param(None, help="CRDS cache; default: CRDS_PATH, or a cache next to the input")
    crds_context: str | None = param(None, help="CRDS context (.pmap); default: CRDS_CONTEXT, or that of the cache")


@dataclass(frozen=True)
class Config:
    """Complete configuration of a run.

    Attributes
    ----------
    run : RunParams
    measure : DetectionParams
    star : StarSection
    contrast : ContrastSection
    companion : CompanionSection
    systematics : SystematicParams
    maps : MapsSection
    disk : DiskSection
    astrometry : AstrometrySection
    report : ReportSection
    roles : mapping of str to str
        Roles given by hand: name or pattern of exposures, and what they are for.
    stages : mapping of str to mapping
        For each of stage1, stage2, stage3 the arguments of the pipeline's ``call``: ``{"steps": {...}, ...}``.
    given : mapping
        What was set, section by section, as it came (for the record).

    Examples
    --------
    >>> from lyot.run import build_config
    >>> config = build_config({"contrast": {"angles": 16}, "star": {"magnitude": 6.67}})
    >>> config.contrast.angles, config.star.magnitude, config.run.stages
    (16, 6.67, '1-3')
    """

    run: RunParams = field(default_factory=RunParams)
    measure: DetectionParams = field(default_factory=DetectionParams)
    star: StarSection = field(default_factory=StarSection)
    contrast: ContrastSection = field(default_factory=ContrastSection)
    companion: CompanionSection = field(default_factory=CompanionSection)
    systematics: SystematicParams = field(default_factory=SystematicParams)
    maps: MapsSection = field(default_factory=MapsSection)
    disk: DiskSection = field(default_factory=DiskSection)
    astrometry: AstrometrySection = field(default_factory=AstrometrySection)
    report: ReportSection = field(default_factory=ReportSection)
    roles: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {s: {"steps": {}} for s in STAGE_NAMES})
    given: Mapping[str, Any] = field(default_factory=dict)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML configuration file.

    Raises
    ------
    MissingInputError
        If it is not there.
    ConfigError
        If it is not valid TOML; says where.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such configuration file; check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error


def parse_setting(text: str) -> tuple[tuple[str, ...], Any]:
    """Parse one ``--set`` option.

    Parameters
    ----------
    text : str
        ``section.step.parameter=value``; the value is written as in TOML, and a bare word is taken as text.

    Returns
    -------
    (tuple of str, value)
        The keys, outermost first, and the value.
    """
    name, equals, value = text.partition("=")
    keys = tuple(key.strip() for key in name.split("."))
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(f"--set {text}: expected section.name=value, e.g. stage1.jump.rejection_threshold=5.")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return keys, value.strip()
    if set(parsed) != {"value"}:
        raise ConfigError(f"--set {text}: expected a single value.")
    return keys, parsed["value"]


def apply_settings(table: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Return `table` with ``--set`` options put in; later ones win."""
    result = copy.deepcopy(dict(table))
    for text in settings:
        keys, value = parse_setting(text)
        keys = _current_keys(keys, value, text)
        place = result
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text}: {key} is a parameter, not a section.")
        place[keys[-1]] = value
    return result


def _current_keys(keys: tuple[str, ...], value: Any, text: str) -> tuple[str, ...]:
    """The keys of a setting, with today's name of the parameter."""
    table: Any = value
    for key in reversed(keys):
        table = {key: table}
    table = current_names(table, where=f"--set {text}")
    for number in range(len(keys)):
        (key,) = table
        keys, table = (*keys[:number], key, *keys[number + 1 :]), table[key]
    return keys


def build_config(table: Mapping[str, Any], *, where: str = "") -> Config:
    """Check a configuration given as a mapping of sections.

    Parameters
    ----------
    table : mapping
        As read from a configuration file.
    where : str, optional
        Where it came from, for messages.

    Returns
    -------
    Config

    Raises
    ------
    UnknownNameError
        For a section, step or parameter that does not exist; offers the nearest names.
    ConfigError
        For a value of the wrong type or out of range.

    Examples
    --------
    >>> config = build_config({"run": {"stages": "3"}, "stage3": {"klip": {"truncate": 5}}})
    >>> config.run.stages
    '3'
    >>> config.stages["stage3"]["steps"]["klip"]["truncate"]
    5
    """
    for name, value in table.items():
        if name not in SECTIONS:
            _check_place(name, value, "", where)
            raise unknown_name("section", name, SECTIONS, where=where)
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where + ': ' if where else ''}{name} is a section; write [{name}].")
    table = current_names(table, where=where)
    _check_places(table, where)
    prefix = f"{where} " if where else ""
    section = dict(table.get("run", {}))
    if type(section.get("stages")) is int:
        section["stages"] = str(section["stages"])
    for name in ("target", "reference"):
        if isinstance(section.get(name), str):
            section[name] = [section[name]]
    run = from_mapping(RunParams, section, where=f"{prefix}[run] ")
    parse_stages(run.stages)
    measure = from_mapping(DetectionParams, table.get("measure", {}), where=f"{prefix}[measure] ")
    more: dict[str, Any] = {
        name: from_mapping(cls, table.get(name, {}), where=f"{prefix}[{name}] ") for name, cls in MEASURING.items()
    }
    _check_measuring(more, prefix)
    stages: dict[str, Mapping[str, Any]] = {}
    for stage in STAGE_NAMES:
        steps = table.get(stage, {})
        stages[stage] = check_stage(stage, steps, where=where) if steps else {"steps": {}}
    roles = check_roles(table.get(ROLES, {}), where=prefix)
    return Config(run=run, measure=measure, roles=roles, stages=stages, given=copy.deepcopy(dict(table)), **more)


OWN: dict[str, type] = {"run": RunParams, "measure": DetectionParams, **MEASURING}
"""Sections with parameters of their own, and what declares these."""


def sections_with(name: str) -> list[str]:
    """Sections of a configuration file that contain a parameter or step of a given name."""
    found = [section for section, cls in OWN.items() if any(info.name == name for info in describe(cls))]
    for stage in STAGE_NAMES:
        for step, parameters in step_parameters(stage).items():
            section = f"{stage}.{step}" if step else stage
            if step == name or any(p.name == name for p in parameters):
                found.append(section)
    return found


def _check_place(name: str, value: Any, section: str, where: str) -> None:
    """Refuse a name in the wrong section, saying where it belongs; nothing happens where it belongs nowhere."""
    places = [place for place in sections_with(name) if place != section]
    if isinstance(value, Mapping):
        places = [place for place in places if place.endswith(f".{name}")]
    if not places or len(places) > 4:  # every step has ``skip``
        return
    wrong = f"not in [{section}]" if section else "not outside of all sections"
    right = " or ".join(f"[{place}]" for place in places)
    raise UnknownNameError(f"{where + ': ' if where else ''}{name} belongs in {right}, {wrong}.")


def _check_places(table: Mapping[str, Any], where: str) -> None:
    """Refuse parameters that another section has."""
    for section, cls in OWN.items():
        known = {info.name for info in describe(cls)}
        for name in table.get(section, {}):
            if name not in known:
                _check_place(name, None, section, where)
    for stage in STAGE_NAMES:
        if not table.get(stage):
            continue
        steps = {step: {p.name for p in parameters} for step, parameters in step_parameters(stage).items()}
        for name, value in table[stage].items():
            if name not in steps and name not in steps[""] and name not in MANAGED:
                _check_place(name, value, stage, where)
            elif isinstance(value, Mapping):
                for inner in value:
                    if inner not in steps.get(name, ()) and inner not in MANAGED:
                        _check_place(inner, value[inner], f"{stage}.{name}", where)


def _check_measuring(sections: Mapping[str, Any], prefix: str) -> None:
    """What can be said of the measuring sections before anything is read."""
    sections["star"].check(f"{prefix}[star]")
    sections["companion"].guesses()
    sections["disk"].check()
    star = sections["star"]
    distance = 0.0 if star.distance is None and star.simbad is not None else star.distance  # it will be fetched
    sections["astrometry"].check(f"{prefix}[astrometry]", distance)
    sections["contrast"].check(f"{prefix}[contrast]", distance)


def measuring_table(config: Config) -> dict[str, dict[str, Any]]:
    """The measuring sections as tables, all values, those that are None left out; files by their absolute paths."""
    sections = with_paths({name: values_of(getattr(config, name)) for name in MEASURING})
    return {name: {k: v for k, v in values.items() if v is not None} for name, values in sections.items()}


def load_config(
    path: str | Path | None = None,
    settings: Iterable[str] = (),
    *,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    **run: Any,
) -> Config:
    """Configuration from a file, ``--set`` options and options of ``lyot run``, the later overriding the earlier.

    Parameters
    ----------
    path : str or Path, optional
        TOML file; None for the defaults.
    settings : iterable of str, optional
        ``section.name=value``, see `parse_setting`.
    sections : mapping of str to mapping, optional
        Further parameters by section, e.g. ``{"contrast": {"measure": True}}``.
    **run
        Parameters of `RunParams`; those that are None are passed over.

    Returns
    -------
    Config

    Examples
    --------
    >>> config = load_config(settings=["stage3.klip.truncate=5"], stages="3")
    >>> config.run.stages
    '3'
    """
    where = str(path) if path is not None else ""
    table = current_names(read_toml(path), where=where) if path is not None else {}
    table = apply_settings(table, settings)
    given = {name: value for name, value in run.items() if value is not None}
    merged = current_names(sections or {})
    merged["run"] = {**merged.get("run", {}), **given}
    _merge(table, merged, path)
    return build_config(table, where=where)


def _merge(table: dict[str, Any], sections: Mapping[str, Mapping[str, Any]], path: str | Path | None) -> None:
    """Put sections into a configuration; of the star's ways of telling its flux the last one stands alone."""
    for name, values in sections.items():
        if not values:
            continue
        section = table.setdefault(name, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{path}: {name} is a section; write [{name}].")
        if name == "star" and any(key in values for key in FLUX_SOURCES):
            for key in (*FLUX_SOURCES, *BESIDE_SOURCES):
                section.pop(key, None)
        section.update(values)


def _kept(path: Path) -> dict[str, Any]:
    """Configuration of a finished run, with today's names of the parameters; empty if there is none."""
    return current_names(read_toml(path), where=str(path)) if path.is_file() else {}


def with_kept_star(config: Config, out: str | Path) -> tuple[Config, str]:
    """Take over the stellar flux of an earlier run in a folder, where a configuration gives none.

    Parameters
    ----------
    config : Config
    out : path
        Output folder.

    Returns
    -------
    Config
    str
        A sentence that says so; empty if nothing was taken over.
    """
    path = Path(out) / CONFIGURATION
    if config.star.is_given or not path.is_file():
        return config, ""
    kept = from_mapping(StarSection, _kept(path).get("star", {}), where=f"{path} [star] ")
    if not kept.is_given:
        return config, ""
    said = {name: getattr(kept, name) for name in FLUX_SOURCES if getattr(kept, name) is not None}
    told = " and ".join(f"{name} = {value}" for name, value in said.items())
    distance = kept.distance if config.star.distance is None else config.star.distance
    return replace(config, star=replace(kept, distance=distance)), f"using the stellar flux of the earlier run: {told}."


def with_kept_report(config: Config, out: str | Path) -> Config:
    """Take over section ``[report]`` of an earlier run in a folder, where a configuration has none.

    Parameters
    ----------
    config : Config
    out : path
        Output folder.
    """
    path = Path(out) / CONFIGURATION
    if "report" in config.given or not path.is_file():
        return config
    return replace(config, report=from_mapping(ReportSection, _kept(path).get("report", {}), where=f"{path} "))


def report_changes(config: Config, out: str | Path) -> bool:
    """Whether section ``[report]`` differs from that of an earlier run in a folder."""
    path = Path(out) / CONFIGURATION
    former = _kept(path).get("report", {})
    wanted = with_paths({"report": values_of(config.report)})["report"]
    return wanted != {**values_of(ReportSection()), **former}


def keep_star(out: str | Path, star: StarSection) -> None:
    """Write the star into the configuration of a finished run, for the measurements that follow.

    Parameters
    ----------
    out : path
        Output folder of ``lyot run``; nothing happens if it holds no configuration.
    star : StarSection

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    keep_section(out, "star", star)


def keep_section(out: str | Path, name: str, section: StarSection | ReportSection) -> None:
    """Write a section into the configuration of a finished run.

    Parameters
    ----------
    out : path
        Output folder of ``lyot run``; nothing happens if it holds no configuration.
    name : str
    section : StarSection or ReportSection

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = Path(out) / CONFIGURATION
    if not path.is_file():
        return
    table = _kept(path)
    values = {key: value for key, value in with_paths({name: values_of(section)})[name].items() if value is not None}
    if values == table.get(name, {}):
        return
    table[name] = values
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    write_text(path, "\n".join(comments) + "\n\n" + tomli_w.dumps(table))


def config_of_run(out: str | Path, sections: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    r"""Configuration that a finished run was made with, with changes for a measurement.

    Parameters
    ----------
    out : path
        Output folder of ``lyot run``.
    sections : mapping of str to mapping, optional
        What is changed, by section.

    Returns
    -------
    Config

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lyot.run import config_of_run
    >>> with tempfile.TemporaryDirectory() as out:
    ...     _ = Path(out, "lyot.toml").write_text("[contrast]\nangles = 16\n", encoding="utf-8")
    ...     config = config_of_run(out, {"contrast": {"sigma": 3.0}})
    >>> config.contrast.angles, config.contrast.sigma
    (16, 3.0)
    """
    path = Path(out) / CONFIGURATION
    table = _kept(path)
    _merge(table, current_names(sections or {}), path)
    where = str(path) if path.is_file() else ""
    if where and any((sections or {}).values()):
        where += " with the options given"
    return build_config(table, where=where)


def parse_stages(text: str) -> tuple[int, ...]:
    """Stages named by ``1-3``, ``2``, ``1,2``: an unbroken series of 1, 2, 3.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    bad = ConfigError(f"stages: expected 1-3, 1-2, 2-3 or a single stage 1, 2 or 3, got {text!r}.")
    numbers: set[int] = set()
    for part in text.split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or not all(e.strip() in ("1", "2", "3") for e in ends):
            raise bad
        numbers |= set(range(int(ends[0]), int(ends[-1]) + 1))
    if not numbers or numbers != set(range(min(numbers), max(numbers) + 1)):
        raise bad
    return tuple(sorted(numbers))


def _toml_default(parameter: StepParameter) -> str | None:
    """Default of a step parameter as TOML text; None if it is unset."""
    text = parameter.default
    if text in ("None", ""):
        return None
    if text.startswith("list("):
        inner = text[len("list(") : -1].strip()
        return f"[{inner}]"
    if parameter.kind == "boolean":
        return text.lower()
    if parameter.kind == "float":
        return repr(float(text))
    if parameter.kind == "integer":
        return str(int(text))
    return '"' + text.strip("'\"") + '"'


def _template_line(parameter: StepParameter) -> str:
    value = _toml_default(parameter)
    notes = [parameter.help] if parameter.help else []
    if parameter.choices:
        notes.append(f"one of {parameter.choices}")
    comment = f"  # {'; '.join(notes)}" if notes else ""
    assignment = f"{parameter.name} = {value}" if value is not None else f"{parameter.name} ="
    return f"# {assignment}{comment}"


def _own_section(name: str, cls: type) -> list[str]:
    lines = [f"[{name}]"]
    for info in describe(cls):
        default: object = info.default
        if isinstance(default, bool):
            default = str(default).lower()
        elif isinstance(default, str):
            default = f'"{default}"'
        elif isinstance(default, tuple):
            default = list(default)
        unit = f" [{info.unit}]" if info.unit else ""
        lines.append(f"# {info.name} ={'' if default is None else f' {default}'}  # {info.help}{unit}")
    return [*lines, ""]


def template() -> str:
    """Configuration file with all parameters of all steps, their defaults and descriptions, all commented out."""
    lines = ["# Configuration of lyot. Commented-out lines show the defaults.", ""]
    lines += _own_section("run", RunParams)
    lines += [
        f"[{ROLES}]  # files, exposures or targets (with * and ?) whose role differs from their headers",
        '# "jw01386030*" = "background"  # or science, reference, acquisition, ignore',
        "",
    ]
    for stage in STAGE_NAMES:
        for step, parameters in step_parameters(stage).items():
            lines.append(f"[{stage}.{step}]" if step else f"[{stage}]")
            lines += [_template_line(p) for p in parameters]
            lines.append("")
    lines += _own_section("measure", DetectionParams)
    for name, cls in MEASURING.items():
        lines += _own_section(name, cls)
    return "\n".join(lines)


def run_arguments(config: Config) -> dict[str, Any]:
    """The ``[run]`` parameters as a dict."""
    return {f.name: getattr(config.run, f.name) for f in fields(config.run)}
