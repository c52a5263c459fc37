"""Roles given by hand, as names or patterns of exposures, or by an association; they override the headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from lyot.errors import ConfigError, InputError, unknown_name
from lyot.exposures.exposure import Exposure

ROLE_NAMES: Final = ("science", "reference", "background", "acquisition", "ignore")
"""What an exposure can be declared to be; ``ignore`` leaves it out."""

_EXPTYPES: Final = {"psf": "reference", "background": "background", "target_acquisition": "acquisition"}
"""EXPTYPE of an association that gives a role, whatever the kind of the association."""


def parse_role(text: str) -> tuple[str, str]:
    """Parse one ``--role`` option.

    Parameters
    ----------
    text : str
        ``FILE=background``: name or pattern, and role.

    Raises
    ------
    ConfigError
        If it is not a pair, or the role is unknown.
    """
    pattern, equals, role = text.rpartition("=")
    if not equals or not pattern.strip():
        raise ConfigError(f"--role {text}: expected FILE=ROLE, e.g. 'jw01386030*=background'.")
    return pattern.strip(), check_role(role, where=f"--role {text}")


def roles_section(given: Iterable[str] | None) -> dict[str, str]:
    """The section ``[roles]`` from the options ``--role``; later ones win."""
    return dict(parse_role(text) for text in given or ())


def check_role(role: Any, *, where: str) -> str:
    """The role in lower case; raises `ConfigError` if there is none of that name."""
    name = role.strip().lower() if isinstance(role, str) else role
    if name == "psf":
        return "reference"
    if name not in ROLE_NAMES:
        raise unknown_name("role", str(role), ROLE_NAMES, where=where)
    return str(name)


def check_roles(table: Mapping[str, Any], *, where: str = "") -> dict[str, str]:
    """Check a section ``[roles]``: names or patterns of exposures to roles."""
    return {str(pattern): check_role(role, where=f"{where}[roles] {pattern}") for pattern, role in table.items()}


def with_role_of(exposure: Exposure, role: str) -> Exposure:
    """The exposure with a role that overrides its header."""
    if role == "science":
        return replace(exposure, is_psf=False, is_background=False, given_role=role)
    if role == "reference":
        return replace(exposure, is_psf=True, is_background=False, given_role=role)
    if role == "background":
        return replace(exposure, is_background=True, given_role=role)
    return replace(exposure, given_role=role)


def _matches(exposure: Exposure, pattern: str) -> bool:
    """Whether a name or pattern stands for an exposure: its file, root, exposure or target, in any case.

    A target's name does not stand for the acquisitions of it.
    """
    names = {exposure.path.name, exposure.root, exposure.name, str(exposure.path)}
    names |= set() if exposure.is_acquisition else {exposure.target}
    if str(Path(pattern).absolute()) == str(exposure.path):
        return True
    return any(fnmatchcase(name.upper(), pattern.upper()) for name in names)


def with_given_roles(exposures: Sequence[Exposure], roles: Mapping[str, str], *, strict: bool = True) -> list[Exposure]:
    """Assign the given roles to exposures; later patterns override earlier ones.

    Parameters
    ----------
    exposures : sequence of Exposure
    roles : mapping of str to str
        Name or pattern (``*``, ``?``, ``[...]``) of files, exposures or targets, to one of `ROLE_NAMES`.
    strict : bool, optional
        Refuse a pattern that stands for no exposure.

    Raises
    ------
    InputError
        If a pattern stands for no exposure.
    """
    result = list(exposures)
    for pattern, role in roles.items():
        found = [i for i, exposure in enumerate(result) if _matches(exposure, pattern)]
        if not found and strict:
            example = result[0].root if result else "none"
            raise InputError(
                f"role of {pattern!r}: no exposure matches; expected a file name, target or pattern such as "
                f"'{example[:10]}*' (see lyot info)."
            )
        for i in found:
            result[i] = with_role_of(result[i], role)
    return result


def roles_of_members(association: Mapping[str, Any]) -> dict[str, str]:
    """Roles that an association gives to its members, by file name.

    ``science`` counts in a level-3 association only: in one of level 2 every exposure that is calibrated is called
    science, a reference star and a background too.
    """
    members = [m for product in association["products"] for m in product["members"]]
    kinds = {str(m.get("exptype", "")).lower() for m in members}
    level3 = "evel3" in str(association.get("asn_rule", "")) or str(association.get("asn_type", "")).endswith("3")
    table = {**_EXPTYPES, "science": "science"} if level3 or "psf" in kinds else _EXPTYPES
    found: dict[str, str] = {}
    for member in members:
        role = table.get(str(member.get("exptype", "")).lower())
        if role is not None and found.get(member["expname"]) != "science":  # a star may be science and reference
            found[str(member["expname"])] = role
    return found
