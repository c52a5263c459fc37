"""Parameters: each algorithm has one frozen dataclass; everything that shows or reads them is generated from it.

A field is declared with `param`, which carries help, unit and range. From it come the stpipe ``spec`` (`spec_from`),
validated construction from a mapping such as a TOML table (`from_mapping`), and the documentation (`describe`).
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from lyot.errors import ConfigError, unknown_name

T = TypeVar("T")


def param(
    default: Any,
    *,
    help: str,
    unit: str = "",
    min: float | None = None,
    max: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare one parameter of a frozen dataclass.

    Parameters
    ----------
    default : bool, int, float, str, tuple or None
        Default value; its annotation gives the type. ``None`` is allowed where the annotation has ``| None``.
    help : str
        One line, shown by ``strun --help``, in the configuration template and in the documentation.
    unit : str, optional
        Unit of the value, e.g. ``"arcsec"``.
    min, max : float, optional
        Inclusive range of a number (of each element of a tuple).
    choices : tuple of str, optional
        Allowed values of a string.
    """
    meta = {"help": help, "unit": unit, "min": min, "max": max, "choices": choices}
    return dataclasses.field(default=default, metadata={"lyot": meta})


@dataclasses.dataclass(frozen=True)
class ParameterInfo:
    """Properties of one parameter; see `param`.

    `kind` is the stpipe spec type: boolean, integer, float, string, or bool_list, int_list, float_list, string_list.
    """

    name: str
    kind: str
    optional: bool
    default: Any
    help: str
    unit: str
    min: float | None
    max: float | None
    choices: tuple[str, ...] | None


_SCALARS = {bool: "boolean", int: "integer", float: "float", str: "string"}
_LISTS = {bool: "bool_list", int: "int_list", float: "float_list", str: "string_list"}
_ELEMENT = {_LISTS[t]: _SCALARS[t] for t in _SCALARS}


def _kind_of(annotation: Any) -> tuple[str, bool]:
    """Return (kind, optional) of a type annotation; kind is an stpipe spec type."""
    args = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = [a for a in args if a is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"parameter annotation {annotation} is not a single type or None")
        return _kind_of(inner[0])[0], True
    if typing.get_origin(annotation) is tuple:
        return _LISTS[args[0]], False
    return _SCALARS[annotation], False


def describe(cls: type) -> tuple[ParameterInfo, ...]:
    """List the parameters of a dataclass whose fields were declared with `param`, in order."""
    hints = typing.get_type_hints(cls)
    infos = []
    for f in dataclasses.fields(cls):
        meta = f.metadata.get("lyot")
        if meta is None:
            continue
        kind, optional = _kind_of(hints[f.name])
        infos.append(ParameterInfo(f.name, kind, optional, f.default, **meta))
    return tuple(infos)


_DECLARED: dict[tuple[str, str], ParameterInfo] = {}
"""What stands behind each line of the specifications that were generated, which cannot say all of it."""


def declared(name: str, declaration: str) -> ParameterInfo | None:
    """The parameter that `spec_from` wrote as ``name = declaration``; None for parameters of other packages."""
    return _DECLARED.get((name, declaration))


def _spec_default(info: ParameterInfo) -> str:
    if info.default is None:
        return "None"
    if info.kind in _ELEMENT:
        inner = ", ".join(repr(v) if isinstance(v, str) else str(v) for v in info.default)
        return f"list({inner})"
    return repr(info.default)


def spec_from(cls: type, *, extra: str = "") -> str:
    """Generate the stpipe ``spec`` (ConfigObj text) of a parameter dataclass.

    Parameters
    ----------
    cls : type
        Frozen dataclass with fields from `param`.
    extra : str, optional
        Further spec lines, e.g. ``suffix = string(default='psfsub')``.
    """
    lines = []
    for info in describe(cls):
        checks = []
        kind = info.kind
        if info.choices:
            kind = "option"
            checks += [repr(c) for c in info.choices]
        elif kind in ("integer", "float"):
            number = int if kind == "integer" else float
            checks += [f"min={number(info.min)}"] if info.min is not None else []
            checks += [f"max={number(info.max)}"] if info.max is not None else []
        checks.append(f"default={_spec_default(info)}")
        unit = f" [{info.unit}]" if info.unit else ""
        declaration = f"{kind}({', '.join(checks)})"
        _DECLARED[info.name, declaration] = info
        lines.append(f"{info.name} = {declaration}  # {info.help}{unit}")
    return "\n".join(lines + ([extra.strip()] if extra else [])) + "\n"


def _scalar(info: ParameterInfo, value: Any, kind: str, where: str) -> Any:
    def bad(expected: str) -> ConfigError:
        return ConfigError(f"{where}{info.name}: expected {expected}, got {value!r}.")

    if kind == "boolean":
        if not isinstance(value, bool):
            raise bad("true or false")
        return value
    if kind == "string":
        if not isinstance(value, str):
            raise bad("a string")
        if info.choices and value not in info.choices:
            raise bad(f"one of {', '.join(info.choices)}")
        return value
    wanted = "a whole number" if kind == "integer" else "a number"
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)  # numpy's numbers too
    if not is_number or math.isnan(value):
        raise bad(wanted)
    if kind == "integer" and (math.isinf(value) or value != int(value)):
        raise bad(wanted)
    number = int(value) if kind == "integer" else float(value)
    low, high = info.min, info.max
    if not ((low is None or number >= low) and (high is None or number <= high)):
        raise ConfigError(f"{where}{info.name}: must be {_range(info)}, got {value!r}.")
    return number


def _range(info: ParameterInfo) -> str:
    """The allowed range of a number in words: ``at least 1 arcsec``."""
    unit = f" {info.unit}" if info.unit else ""
    low, high = (None if v is None else f"{v:g}" for v in (info.min, info.max))
    if high is None:
        return f"at least {low}{unit}"
    return f"at most {high}{unit}" if low is None else f"between {low} and {high}{unit}"


def validate(info: ParameterInfo, value: Any, *, where: str = "") -> Any:
    """Check and coerce one value; raise `ConfigError` naming the parameter and what was expected."""
    if value is None:
        if info.optional or info.default is None:
            return None
        raise ConfigError(f"{where}{info.name}: a value is required, got none.")
    if info.kind in _ELEMENT:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{where}{info.name}: expected a list, got {value!r}.")
        return tuple(_scalar(info, v, _ELEMENT[info.kind], where) for v in value)
    return _scalar(info, value, info.kind, where)


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """Build a parameter dataclass from a mapping, checking names, types and ranges.

    Parameters
    ----------
    cls : type
        Frozen dataclass with fields from `param`.
    values : mapping
        Parameter names to values; those not named keep their defaults.
    where : str, optional
        Prefix of error messages, e.g. ``"lyot.toml [stage3.klip] "``.

    Raises
    ------
    UnknownNameError
        For a name that is no parameter; the nearest names are offered.
    ConfigError
        For a value of the wrong type or out of range.
    """
    infos = {info.name: info for info in describe(cls)}
    for name in values:
        if name not in infos:
            raise unknown_name("parameter", name, infos, where=where.strip().rstrip(":"))
    return cls(**{name: validate(infos[name], value, where=where) for name, value in values.items()})


def from_step(cls: type[T], step: Any) -> T:
    """Build a parameter dataclass from the attributes of an stpipe Step whose spec came from `spec_from`."""
    return from_mapping(cls, {info.name: getattr(step, info.name) for info in describe(cls)})
