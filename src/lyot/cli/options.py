"""Options of commands, generated from the parameters that they set.

A command declares its own arguments in its signature, as typer has it, and names the dataclasses whose parameters are
its further options (`options`). Name, type, help and default of these come from the declaration of each parameter;
what is given arrives as sections of a configuration and is checked where every configuration is.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lyot.errors import ConfigError, warn_deprecated
from lyot.params import ParameterInfo, describe
from lyot.renamed import Renamed, former_names

if TYPE_CHECKING:
    from lyot.analysis.finished_run import MeasuredRun
    from lyot.analysis.star_flux import StarSection
    from lyot.measure.photometry import Star

Sections = dict[str, dict[str, Any]]
"""What was given on the command line, by section of the configuration."""

SECTIONS = "sections"
"""Name of the argument by which a command takes its sections."""

_TYPES: dict[str, Any] = {"boolean": bool, "integer": int, "float": float, "string": str, "bool_list": bool,
                          "int_list": int, "float_list": float, "string_list": str}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Options that set the parameters of one section of the configuration.

    Attributes
    ----------
    section : str
        Name of the section, e.g. ``"contrast"``.
    parameters : str
        Its dataclass as ``module:name``, imported when the options are made.
    prefix : str
        Put before the name of each option, e.g. ``"star-"``.
    aliases : mapping of str to tuple of str
        Further spellings of the option of a parameter; where one ends with ``!`` it is the only one.
    only : tuple of str
        Parameters that become options; empty for all but those of `leave_out`.
    leave_out : tuple of str
    """

    section: str
    parameters: str
    prefix: str = ""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    def infos(self) -> tuple[ParameterInfo, ...]:
        """The parameters that become options."""
        module, _, name = self.parameters.partition(":")
        found = describe(getattr(importlib.import_module(module), name))
        wanted = self.only or tuple(info.name for info in found if info.name not in self.leave_out)
        return tuple(info for info in found if info.name in wanted)

    def flags(self, info: ParameterInfo) -> list[str]:
        """Spellings of the option of a parameter, that of its name first."""
        further = self.aliases.get(info.name, ())
        alone = [flag.removesuffix("!") for flag in further if flag.endswith("!")]
        flags = alone or [f"--{self.prefix}{info.name.replace('_', '-')}", *further]
        if info.kind == "boolean":
            flags[0] = f"{flags[0]}/--no-{flags[0].removeprefix('--')}"
        return flags

    def signature(self) -> list[inspect.Parameter]:
        """The options as parameters of a function; None is the default of each, for what was not given."""
        found = []
        for info in self.infos():
            plain: Any = _TYPES[info.kind]
            kind: Any = list[plain] if info.kind.endswith("_list") else plain
            annotation: Any = Annotated[kind | None, typer.Option(*self.flags(info), help=help_text(info))]
            name = f"{self.section}__{info.name}"
            found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
            for former in former_names(self.section, info.name):
                hidden: Any = Annotated[kind | None, typer.Option(*self.former_flags(info, former), hidden=True)]
                name = f"{self.section}__{former.former}"
                found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hidden))
        return found

    def given(self, values: dict[str, Any]) -> dict[str, Any]:
        """Take the values of this group out of those of a call; what was not given is left out."""
        found = {}
        for info in self.infos():
            found[info.name] = values.pop(f"{self.section}__{info.name}", None)
            for former in former_names(self.section, info.name):
                value = values.pop(f"{self.section}__{former.former}", None)
                if value is not None:
                    old, new = self.former_flags(info, former)[0].split("/")[0], self.flags(info)[0].split("/")[0]
                    if found[info.name] is not None:
                        raise ConfigError(f"{old} and {new} are the same option; give {new} only.")
                    warn_deprecated(f"{old} is now called {new}; the former name works until version {former.until}.")
                    found[info.name] = value
        return {name: value for name, value in found.items() if value is not None}

    def former_flags(self, info: ParameterInfo, former: Renamed) -> list[str]:
        """Spellings of the option of a parameter under its former name."""
        flag = f"{self.prefix}{former.former.replace('_', '-')}"
        return [f"--{flag}/--no-{flag}" if info.kind == "boolean" else f"--{flag}"]


def help_text(info: ParameterInfo) -> str:
    """What the help of an option says: what it is, its unit, what it may be and its default."""
    text = info.help[0].upper() + info.help[1:]
    plural = {"pixel": "pixels"}.get(info.unit, info.unit)
    unit = f", {plural}" if info.unit and info.unit not in text else ""
    meaning, semicolon, rest = text.rstrip(".").partition(";")
    default = "on" if info.default is True else "off" if info.default is False else info.default
    if isinstance(default, tuple):
        default = ", ".join(map(str, default))
    shown = f" Default: {default}." if default not in (None, (), "") else ""
    often = " May be repeated." if info.kind.endswith("_list") else ""
    return f"{meaning}{unit}{semicolon}{rest}.{often}{shown}"


def options(*groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command generated options; what is given arrives in its argument `SECTIONS`."""

    def mark(command: Callable[..., None]) -> Callable[..., None]:
        command.groups = groups  # type: ignore[attr-defined]
        return command

    return mark


WORDS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}
"""What the help says that an option takes, in place of the name of a Python type."""


def with_words(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a word for the value of each option that has none; its signature is replaced."""
    signature = inspect.signature(command)
    hints = typing.get_type_hints(command, include_extras=True)
    parameters = []
    for name, parameter in signature.parameters.items():
        hint = hints[name]
        if typing.get_origin(hint) is Annotated:
            kind, info, *more = typing.get_args(hint)
            if (word := _word(name, kind, info)) and info.metavar is None:
                info = copy.copy(info)
                info.metavar = word
                hint = Annotated[(kind, info, *more)]
        parameters.append(parameter.replace(annotation=hint))

    @functools.wraps(command)
    def called(*args: Any, **values: Any) -> None:
        command(*args, **values)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    del called.__wrapped__
    return called


def _word(name: str, kind: Any, info: Any) -> str:
    """What an argument or option takes; empty for a switch."""
    if isinstance(info, typer.models.ArgumentInfo):
        return name.upper() + ("..." if typing.get_origin(kind) is list else "")
    plain = [a for a in typing.get_args(kind) if a is not type(None)] or [kind]
    (plain, *_) = typing.get_args(plain[0]) or plain
    return WORDS.get(plain, "")


def with_options(command: Callable[..., None], *, all_options: bool = True) -> Callable[..., None]:
    """The command as typer takes it.

    Parameters
    ----------
    command : callable
        Marked by `options`, or any other, which is returned as it is.
    all_options : bool, optional
        Make the generated options; without them it is quick, and enough to list the commands.
    """
    groups: tuple[Group, ...] = getattr(command, "groups", ())
    if not groups:
        return command

    @functools.wraps(command)
    def called(*args: Any, **values: Any) -> None:
        sections: Sections = {}
        for group in groups:
            sections.setdefault(group.section, {}).update(group.given(values))
        command(*args, **values, **{SECTIONS: sections})

    own = inspect.signature(command)
    hints = typing.get_type_hints(command, include_extras=True)
    kept = [p.replace(annotation=hints.get(n, p.annotation)) for n, p in own.parameters.items() if n != SECTIONS]
    made = [p for group in groups for p in group.signature()] if all_options else []
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept] + made
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    del called.__wrapped__
    return called


ROLE = typer.Option(
    "--role",
    metavar="FILE=ROLE",
    help="Role of exposures, overriding their headers. FILE: a file, target or pattern; ROLE: science, reference, "
    "background, acquisition or ignore. May be repeated.",
)
"""Roles given by hand, in every command that reads exposures."""

TARGET = typer.Option(
    "--target",
    metavar="STAR",
    help="Science target to measure, if the run has several. Default: the target reduced last.",
)
"""The science target, in every command that measures a finished run."""

STAR = Group(
    "star", "lyot.analysis.star_flux:StarSection", prefix="star-",
    aliases={"magnitude": ("--star-mag",), "acquisition": ("--star-ta",), "jy_per_unit": ("--star-ta-jy",),
             "k_magnitude": ("--star-kmag",), "spectral_type": ("--star-sptype",), "distance": ("--distance!",)},
)  # fmt: skip
"""The star, in every command that measures."""


def star_of(run: MeasuredRun, section: StarSection) -> tuple[StarSection, Star]:
    """The star of a finished run, looked up where that is asked for, and kept for the measurements that follow."""
    from lyot.analysis.star_flux import load_star, resolved
    from lyot.run.config import keep_star

    found = resolved(section, str(run.image.primary.get("TARGPROP", "")))
    star = load_star(found, run.sequence.coronagraph)
    keep_star(run.finished.out, found)
    return found, star


def show_target(run: MeasuredRun) -> None:
    """Say which target is measured, where the run has several."""
    if run.finished.folder:
        typer.echo(f"target: {run.finished.folder}")


def refresh_report(out: Path) -> None:
    """Write the report of a run again, with what was just measured in it."""
    from lyot.report import write_report

    typer.echo(f"report: {write_report(out)}")
