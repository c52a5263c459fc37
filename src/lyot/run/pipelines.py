"""The pipelines of the three stages, and their parameters as their specifications declare them."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from lyot.errors import ConfigError, unknown_name
from lyot.params import ParameterInfo, declared, validate

STAGE_NAMES = ("stage1", "stage2", "stage3")
"""Sections of the configuration that belong to the pipelines."""

_CLASSES = {
    "stage1": ("lyot.steps.detector1", "Detector1Pipeline"),
    "stage2": ("lyot.steps.image2", "Image2Pipeline"),
    "stage3": ("lyot.steps.coron3", "Coron3Pipeline"),
}

MANAGED = frozenset({"output_dir", "output_file", "output_ext", "output_use_model", "output_use_index", "input_dir",
                     "search_output_file", "config_file", "name", "class", "suffix",
                     "segments"})  # fmt: skip
"""Parameters that the run itself sets, as it decides where products go and how they are named."""

NEUTRAL = frozenset({"maximum_cores", "sample_ramps"})
"""Parameters that change how fast a result comes, or what is kept next to it, and not the result."""

_SPEC = re.compile(r"^\s*(?P<kind>\w+)\s*\((?P<body>.*)\)\s*$", re.DOTALL)
_DEFAULT = re.compile(r"default\s*=\s*(?P<value>list\([^)]*\)|'[^']*'|\"[^\"]*\"|[^,)]+)")


@dataclass(frozen=True)
class StepParameter:
    """One parameter of one step as declared in its specification.

    Attributes
    ----------
    name, kind : str
        Name, and type as in the specification: float, integer, boolean, string, option, float_list, ...
    default : str
        Default as text of the specification, e.g. ``"4.0"`` or ``"None"``.
    help : str
        What it does.
    choices : str
        For options, the allowed values as text.
    info : ParameterInfo or None
        The declaration of a parameter of our own, which has the ranges of lists too.
    """

    name: str
    kind: str
    default: str
    help: str
    choices: str = ""
    info: ParameterInfo | None = None


@functools.cache
def pipeline_class(stage: str) -> type:
    """Pipeline class of a stage (``stage1``, ``stage2``, ``stage3``); imports what of jwst this stage needs."""
    module, name = _CLASSES[stage]
    return cast(type, getattr(importlib.import_module(module), name))


@functools.cache
def specification(stage: str) -> Any:
    """Stpipe specification (ConfigObj) of the pipeline of a stage, with all its steps."""
    return pipeline_class(stage).load_spec_file()  # type: ignore[attr-defined]


def _parameters(section: Any) -> list[StepParameter]:
    found = []
    for name in section.scalars:
        match = _SPEC.match(str(section[name]))
        if match is None or name in MANAGED:
            continue
        body = match["body"]
        default = _DEFAULT.search(body)
        choices = body[: default.start()].strip(" ,") if match["kind"] == "option" and default else ""
        help_text = str(section.inline_comments.get(name) or "").strip().lstrip("#").strip()
        found.append(
            StepParameter(
                name,
                match["kind"],
                default["value"].strip() if default else "",
                help_text,
                choices,
                declared(name, str(section[name]).strip()),
            )
        )
    return found


def step_parameters(stage: str) -> dict[str, list[StepParameter]]:
    """Parameters of each step of a stage; those of the pipeline itself under the empty name."""
    spec = specification(stage)
    return {"": _parameters(spec), **{step: _parameters(spec["steps"][step]) for step in spec["steps"]}}


def _items(table: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    for name, value in table.items():
        yield name, value, isinstance(value, Mapping)


def _checked_value(parameter: StepParameter, value: Any, where: str) -> Any:
    """The value as it came, its type and range checked; a number for a text (``maximum_cores = 2``) becomes text."""
    if parameter.kind in ("string", "option") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if parameter.info is not None:
        validate(parameter.info, value, where=f"{where} ")
    elif (parameter.name, parameter.kind) == ("truncate", "force_list"):
        _check_truncate(value, where)
    return value


def _check_truncate(value: Any, where: str) -> None:
    """Refuse what is no number of modes, or list of them; its specification takes any list."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or item < 1:
            raise ConfigError(
                f"{where} truncate: must be a whole number of at least 1, or a list of them, got {value!r}."
            )


def _checked_table(table: Mapping[str, Any], known: list[StepParameter], where: str) -> dict[str, Any]:
    by_name = {p.name: p for p in known}
    values = {}
    for name, value in table.items():
        if name in MANAGED:
            raise ConfigError(f"{where}: {name} is set by lyot run and cannot be configured; remove it.")
        if name not in by_name:
            raise unknown_name("parameter", name, by_name, where=where)
        if isinstance(value, Mapping):
            raise ConfigError(f"{where}: {name} is a parameter, not a section.")
        values[name] = _checked_value(by_name[name], value, where)
    return values


def check_stage(stage: str, table: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """Check one stage's section of a configuration against the specification of its pipeline.

    Parameters
    ----------
    stage : str
        ``stage1``, ``stage2`` or ``stage3``.
    table : mapping
        Step names to tables of parameters, and parameters of the pipeline itself.
    where : str, optional
        Name of the configuration file, for messages.

    Returns
    -------
    dict
        The same, with values of the right type: ``{"steps": {...}, <pipeline parameters>}``.

    Raises
    ------
    UnknownNameError
        For a step or a parameter that does not exist; offers the nearest names.
    ConfigError
        For a value of the wrong type or out of range.
    """
    known = step_parameters(stage)
    place = f"{where} " if where else ""
    steps: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for name, value, is_table in _items(table):
        if is_table:
            if name not in known or not name:
                raise unknown_name("step", name, [k for k in known if k], where=f"{place}[{stage}]")
            steps[name] = _checked_table(value, known[name], f"{place}[{stage}.{name}]")
        elif name in known:
            raise ConfigError(f"{place}[{stage}]: {name} is a step; set its parameters in [{stage}.{name}].")
        else:
            own |= _checked_table({name: value}, known[""], f"{place}[{stage}]")
    arguments = {**own, "steps": steps}
    _validate(stage, arguments, place)
    _check_texts(steps)
    return arguments


def _check_texts(steps: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse texts that no step could read, before anything is done."""
    if "protect" in steps.get("refine", {}):
        from lyot.reduction.second_pass import RefineParams

        RefineParams(protect=steps["refine"]["protect"]).places()
    if steps.get("klip", {}).get("wavefront_drift"):
        from lyot.params import from_mapping
        from lyot.reduction.choice import ChoiceParams, check_drift
        from lyot.subtract import ReductionParams

        given = {name: value for name, value in steps["klip"].items() if name in ("strategy", "method")}
        check_drift(
            ChoiceParams(wavefront_drift=steps["klip"]["wavefront_drift"]), from_mapping(ReductionParams, given)
        )
    if "position" in steps.get("locate_star", {}):
        from lyot.reduction.star import StarPositionParams

        StarPositionParams(position=steps["locate_star"]["position"]).given()


def _validate(stage: str, arguments: dict[str, Any], place: str) -> dict[str, Any]:
    """Fill in the defaults and let the specification check types and ranges; returns the complete configuration."""
    from stpipe.config_parser import config_from_dict
    from stpipe.exceptions import ValidationError

    try:
        complete = config_from_dict(arguments, spec=specification(stage), allow_missing=True)
    except ValidationError as error:
        first = str(error).splitlines()[0].removeprefix("Config parameter ")
        path, _, reason = first.partition(": ")
        names = path.strip("'").split("/")
        section, name = ".".join([stage, *(n for n in names[:-1] if n != "steps")]), names[-1]
        where = f"{place}[{section}] "
        _refuse(name, _at(specification(stage), names), _at(arguments, names), where)
        raise ConfigError(f"{where}{name}: {reason or first}") from None
    result: dict[str, Any] = complete.dict()
    return result


def _at(table: Any, path: list[str]) -> Any:
    """What is at a path in nested tables; None if nothing is."""
    for name in path:
        if not isinstance(table, Mapping) or name not in table:
            return None
        table = table[name]
    return None if isinstance(table, Mapping) else table


_KINDS = {"option": "string", "force_list": "string_list"}
"""Kinds of the official specifications by our names for them; the others are the same."""

_LIMIT = re.compile(r"\b(min|max)\s*=\s*([-+.\deE]+)")


def _refuse(name: str, declaration: Any, value: Any, where: str) -> None:
    """Raise what is wrong with a value of an official step in the words of our own parameters; nothing if it is fine.

    Parameters
    ----------
    name : str
    declaration : str or None
        As in the specification: ``float(min=0.0, max=1.0, default=0.5)``.
    value : object
    where : str
        Beginning of the message.
    """
    match = _SPEC.match(str(declaration or ""))
    if match is None:
        return
    kind, body = _KINDS.get(match["kind"], match["kind"]), _DEFAULT.sub("", match["body"])
    limits = {which: float(number) for which, number in _LIMIT.findall(body)}
    is_list = kind.endswith("_list")
    if is_list and isinstance(value, (list, tuple)):  # its limits are those of its length
        fewest, most = (int(limits[which]) if which in limits else None for which in ("min", "max"))
        if not (fewest or 0) <= len(value) <= (len(value) if most is None else most):
            least = (
                f"at least {fewest}" if most is None else f"at most {most}" if fewest is None else f"{fewest} to {most}"
            )
            count = str(most) if fewest == most else least
            raise ConfigError(f"{where}{name}: expected a list of {count} values, got {list(value)!r}.")
    choices = tuple(re.findall(r"['\"]([^'\"]*)['\"]", body)) if match["kind"] == "option" else None
    low, high = (None if is_list else limits.get(which) for which in ("min", "max"))
    info = ParameterInfo(name, kind, "None" in match["body"], "", "", "", low, high, choices)
    if kind in ("boolean", "integer", "float", "string") or is_list:
        validate(info, value, where=where)


def effective_parameters(stage: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of all steps of a stage, defaults included, without those that do not change a result.

    Parameters
    ----------
    stage : str
        ``stage1``, ``stage2`` or ``stage3``.
    arguments : mapping
        From `check_stage`.

    Returns
    -------
    dict
        JSON-ready: step names to parameters, and the pipeline's own parameters under ``""``.
    """
    complete = _validate(stage, {**arguments, "steps": {k: dict(v) for k, v in arguments["steps"].items()}}, "")
    ignored = MANAGED | NEUTRAL
    steps = {step: {k: _plain(v) for k, v in values.items() if k not in ignored and not _unset(k, v)}
             for step, values in complete["steps"].items()}  # fmt: skip
    own = {k: _plain(v) for k, v in complete.items() if k != "steps" and k not in ignored and not _unset(k, v)}
    return {"": own, **steps}


def _unset(name: str, value: Any) -> bool:
    """Empty hooks and reference overrides that were not given say nothing."""
    return (name in ("pre_hooks", "post_hooks") and not value) or (name.startswith("override_") and value is None)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (bool, int, float, str)) or value is None else repr(value)
