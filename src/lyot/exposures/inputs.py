"""Exposures among the inputs of the user, with the roles that were given, and reasons for excluded files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lyot.errors import InputError, NotCoronagraphicError
from lyot.exposures.exposure import STAGES, Exposure, Stage
from lyot.exposures.given_roles import roles_of_members, with_given_roles, with_role_of
from lyot.exposures.read import (
    averaged_files,
    expand_paths,
    once_each,
    one_per_exposure,
    one_spelling,
    read_exposure,
    second_files,
    without_copies,
)


@dataclass(frozen=True)
class Inputs:
    """Exposures among the inputs given by the user.

    Attributes
    ----------
    exposures : tuple of Exposure
        One file per exposure.
    left_out : tuple of str
        One sentence for each file that was passed over, and for each target with two names.
    roles : mapping of str to str
        Roles that associations and the user gave, by name or pattern; the user's last.
    failures : mapping of Path to InputError
        Files for which a run is refused, and why: they were named and cannot be used, or no file can be. None from
        `read_inputs`, which raises them.
    """

    exposures: tuple[Exposure, ...]
    left_out: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[Path, InputError] = field(default_factory=dict)


def look_at(
    inputs: Iterable[str | Path], *, preference: Sequence[Stage] = STAGES, roles: Mapping[str, str] | None = None
) -> Inputs:
    """Read all readable exposures among files, folders and associations.

    Files of a folder that are of another kind (a guide star, an image of another mode) are passed over with a sentence,
    and those that are broken are left out with one; what was named and cannot be used is among the failures. Arguments
    are those of `read_inputs`.
    """
    given = [Path(item).absolute() for item in inputs]
    named = set(expand_paths(path for path in given if not path.is_dir()))
    exposures: list[Exposure] = []
    failures: dict[Path, InputError] = {}
    passed_over = [f"ignored: {line}" for path in given if path.is_dir() for line in averaged_files(path)]
    for path in expand_paths(given):
        try:
            exposures.append(read_exposure(path))
        except NotCoronagraphicError as error:
            if path in named:
                failures[path] = error
            else:
                passed_over.append(f"ignored: {error}")
        except InputError as error:
            failures[path] = error
    if not exposures and not failures:
        raise InputError(f"no usable exposure; {passed_over[0]}")
    members = _members(given)
    exposures = [with_role_of(e, members[e.path]) if e.path in members else e for e in exposures]
    chosen, copies = without_copies(one_per_exposure(exposures, preference=preference))
    chosen, again = once_each(chosen, preference)
    if chosen:
        chosen = with_given_roles(chosen, roles or {})
    chosen, names = one_spelling(chosen)
    told = {e.root: members[e.path] for e in chosen if e.path in members}
    fatal = {path: failure for path, failure in failures.items() if path in named or not chosen}
    left_out = [f"not used: {failure}" for path, failure in failures.items() if path not in fatal]
    left_out += [f"not used: {line}" for line in (*second_files(exposures), *copies, *again)]
    return Inputs(tuple(chosen), (*passed_over, *left_out, *names), {**told, **(roles or {})}, fatal)


def read_inputs(
    inputs: Iterable[str | Path], *, preference: Sequence[Stage] = STAGES, roles: Mapping[str, str] | None = None
) -> Inputs:
    """Read all exposures that files, folders and associations name; leave out what cannot be used in a folder.

    Parameters
    ----------
    inputs : iterable of str or Path
        See `lyot.exposures.read.expand_paths`.
    preference : sequence of {"uncal", "rateints", "calints"}, optional
        See `lyot.exposures.read.one_per_exposure`.
    roles : mapping of str to str, optional
        Roles given by hand; see `lyot.exposures.given_roles.with_given_roles`.

    Raises
    ------
    InputError
        For a file that was named itself, or by an association, and cannot be used; if no file can be used; or if a
        given role is for no exposure.
    """
    found = look_at(inputs, preference=preference, roles=roles)
    for failure in found.failures.values():
        raise failure
    return found


def _members(inputs: Sequence[Path]) -> dict[Path, str]:
    """Roles of the members of the associations among the inputs."""
    roles: dict[Path, str] = {}
    for path in inputs:
        if path.suffix == ".json" and path.is_file():
            found = roles_of_members(json.loads(path.read_text(encoding="utf-8")))
            for name, role in found.items():
                if roles.get(path.parent / name) != "science":
                    roles[path.parent / name] = role
    return roles
