"""Parameters under their former names, as configuration files, options and the folders of earlier runs have them.

One table, `RENAMED`, serves all of them: `current_names` for a configuration, whatever it was read from, and
`former_names` for the command line. To rename a parameter, add a line to the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lyot.errors import ConfigError, warn_deprecated


@dataclass(frozen=True)
class Renamed:
    """A parameter that was called otherwise.

    Attributes
    ----------
    section : str
        Section of the configuration, with the step where there is one: ``maps``, ``stage3.klip``.
    former : str
        Name that is deprecated.
    name : str
        Name of today.
    until : str
        First version without the former name.
    """

    section: str
    former: str
    name: str
    until: str


RENAMED: tuple[Renamed, ...] = (
    Renamed("maps", "most", "max_sources", until="0.3"),
)  # fmt: skip
"""Every parameter that was renamed and is still accepted under its former name."""


def current_names(table: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """A configuration with today's names for those that are deprecated; warns once for each.

    Parameters
    ----------
    table : mapping
        Sections, as in a configuration file; not changed.
    where : str, optional
        Where it came from, for messages.

    Returns
    -------
    dict

    Raises
    ------
    ConfigError
        If a parameter is given under both of its names.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     current_names({"maps": {"most": 3}})
    {'maps': {'max_sources': 3}}
    """
    result = dict(table)
    for renamed in RENAMED:
        result = _with(result, renamed.section.split("."), renamed, f"{where}: " if where else "")
    return result


def _with(table: dict[str, Any], keys: list[str], renamed: Renamed, prefix: str) -> dict[str, Any]:
    """`table` with one parameter, in the section that `keys` lead to, under its name of today."""
    if keys:
        inner = table.get(keys[0])
        if not isinstance(inner, Mapping):
            return table
        return {**table, keys[0]: _with(dict(inner), keys[1:], renamed, prefix)}
    if renamed.former not in table:
        return table
    both = f"{prefix}[{renamed.section}]: {renamed.former} and {renamed.name} are the same parameter"
    if renamed.name in table:
        raise ConfigError(f"{both}; give {renamed.name} only.")
    warn_deprecated(
        f"{prefix}[{renamed.section}] {renamed.former} is now called {renamed.name}; the former name works until "
        f"version {renamed.until}.",
        stacklevel=4,
    )
    return {renamed.name if name == renamed.former else name: value for name, value in table.items()}


def former_names(section: str, name: str) -> tuple[Renamed, ...]:
    """Deprecated names of a parameter of a section."""
    return tuple(r for r in RENAMED if (r.section, r.name) == (section, name))
