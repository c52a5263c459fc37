"""Which exposures a run reduces: the science targets, their references, and how the star is subtracted from each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lyot.errors import InputError, unknown_name
from lyot.exposures.exposure import Exposure
from lyot.exposures.names import plain_letters
from lyot.exposures.roles import NOT_REDUCED, Assigned, Role, choose_filter, single_reference, with_role
from lyot.geometry import angular_distance
from lyot.run.config import Config

ALL = "all"
"""Stands for every science target, or every other star as a reference."""

SAME_STAR = 5.0
"""Two names within this angle on the sky are one star, or are in each other's images, arcsec."""

WITHOUT_REFERENCES = "adi"
"""Strategy where there are several rolls and no reference."""


@dataclass(frozen=True)
class Reduction:
    """One product of stage 3.

    Attributes
    ----------
    target : str
        The science target.
    stars : tuple of Assigned
        Its exposures, and those of its references with the role `Role.REFERENCE`.
    notes : tuple of str
        What is left out or chosen, one sentence each.
    """

    target: str
    stars: tuple[Assigned, ...]
    notes: tuple[str, ...] = ()

    @property
    def references(self) -> list[Assigned]:
        """Exposures of the references."""
        return with_role(self.stars, Role.REFERENCE)

    @property
    def rolls(self) -> int:
        """Number of rolls of the science target."""
        return len({a.roll_number for a in with_role(self.stars, Role.SCIENCE)})


def select(
    found: Sequence[Assigned], config: Config, stages: tuple[int, ...]
) -> tuple[list[Assigned], list[Reduction]]:
    """The exposures to work on, and the products of stage 3; only stage 3 needs a choice of filter and target.

    Parameters
    ----------
    found : sequence of Assigned
    config : Config
    stages : tuple of int

    Raises
    ------
    InputError
        If a choice is needed that was not made, or nothing is left.
    UnknownNameError
        For a filter, target or reference star that is not there.
    """
    wanted = config.run
    if 3 in stages or wanted.filter is not None:
        group = choose_filter(found, wanted.filter)
    else:
        group = [a for a in found if a.role not in NOT_REDUCED]
    reductions: list[Reduction] = []
    if 3 in stages or wanted.target or wanted.reference:
        reductions = _reductions(group, wanted.target, wanted.reference, needed=3 in stages)
        group = _used(group, reductions, wanted.reference)
    if stages != (1,) and with_role(group, Role.SCIENCE, Role.REFERENCE):
        group = [a for a in group if a.role is not Role.BACKGROUND]  # a background of no star in the input
    if not group:
        raise InputError("no coronagraphic exposure among the inputs; check them with lyot info.")
    return group, reductions if 3 in stages else []


def _named(names: Sequence[str], known: Sequence[str], kind: str, option: str) -> list[str]:
    """Those of the known names that are asked for."""
    found = []
    for name in names:
        match = [k for k in known if plain_letters(k) == plain_letters(name)]
        if not match:
            raise unknown_name(kind, name, known, where=option)
        found += match
    return list(dict.fromkeys(found))


def _is_all(names: Sequence[str]) -> bool:
    return any(name.strip().lower() == ALL for name in names)


def _reductions(
    group: Sequence[Assigned], targets: Sequence[str], references: Sequence[str], *, needed: bool
) -> list[Reduction]:
    """One for each science target that is asked for."""
    stars = with_role(group, Role.SCIENCE, Role.REFERENCE)
    chosen = _targets(group, targets, references)
    everybody = sorted({a.exposure.target for a in stars})
    named = everybody if _is_all(references) else _named(references, everybody, "reference star", "--reference")
    found = []
    for target in chosen:
        science = [a for a in with_role(group, Role.SCIENCE) if a.exposure.target == target]
        lines: list[str] = []
        if references:
            others, lines = _references(science, stars, named, everyone=_is_all(references))
        else:
            others = with_role(group, Role.REFERENCE)
        found.append(Reduction(target, (*science, *others), tuple(lines)))
    if needed and not found:
        raise InputError("no science exposure, which stage 3 requires; check the roles with lyot info.")
    return found


def _targets(group: Sequence[Assigned], wanted: Sequence[str], references: Sequence[str]) -> list[str]:
    """The science targets to reduce."""
    targets = sorted({a.exposure.target for a in with_role(group, Role.SCIENCE)})
    if _is_all(wanted):
        return targets
    if wanted:
        return _named(wanted, targets, "science target", "--target")
    if not _is_all(references):  # a star that was named as a reference need not be reduced itself
        targets = [t for t in targets if not any(plain_letters(t) == plain_letters(name) for name in references)]
    if len(targets) > 1:
        raise InputError(
            f"several science targets, {', '.join(targets)}; choose one with --target, or reduce each with --target "
            "all."
        )
    return targets


def same_star(a: Exposure, b: Exposure) -> bool:
    """Whether two exposures are of one star, from its name or its place."""
    if plain_letters(a.target) == plain_letters(b.target):
        return True
    return a.sky is not None and b.sky is not None and 3600 * angular_distance(a.sky, b.sky) < SAME_STAR


def _references(
    science: Sequence[Assigned], stars: Sequence[Assigned], named: Sequence[str], *, everyone: bool
) -> tuple[list[Assigned], list[str]]:
    """Exposures of the named stars as references of a science target, never its own."""
    first = science[0].exposure
    others = [a for a in stars if a.exposure.target in named and not same_star(a.exposure, first)]
    unlike = [a for a in others if a.exposure.configuration != first.configuration] if everyone else []
    lines = [
        f"{name} cannot be a reference for {first.target}: it was not observed with the same mask and subarray."
        for name in sorted({a.exposure.target for a in unlike})
    ]
    lines += [
        f"{name} cannot be a reference for {first.target}: it has the same position on the sky."
        for name in sorted({a.exposure.target for a in stars if a.exposure.target in named} - {first.target})
        if any(a.exposure.target == name and same_star(a.exposure, first) for a in stars)
    ]
    kept = [replace(a, role=Role.REFERENCE, roll_number=0) for a in others if a not in unlike]
    if kept:
        names = sorted({a.exposure.target for a in kept})
        lines.insert(0, f"references of {first.target}: {', '.join(names)}, from --reference.")
    else:
        lines.insert(0, f"none of the stars given with --reference can be a reference for {first.target}.")
    return kept, lines


def _used(group: Sequence[Assigned], reductions: Sequence[Reduction], named: Sequence[str]) -> list[Assigned]:
    """What the reductions need: their stars, and all backgrounds but those of stars that are left out."""
    needed = {a.exposure.root for reduction in reductions for a in reduction.stars}
    left_out = [
        a for a in with_role(group, Role.SCIENCE, Role.REFERENCE)
        if a.exposure.root not in needed and (a.role is Role.SCIENCE or named)
    ]  # fmt: skip
    gone = {a.exposure.root for a in left_out}
    idle = {b for a in left_out for b in a.backgrounds}
    idle -= {b for a in group if a.exposure.root not in gone for b in a.backgrounds}
    return [a for a in group if a.exposure.root not in gone | idle]


def strategy_for(
    reduction: Reduction, arguments: Mapping[str, Any], others: Sequence[Assigned] = ()
) -> tuple[str | None, str]:
    """How the star is to be subtracted where the reduction does not allow what is set.

    Parameters
    ----------
    reduction : Reduction
    arguments : mapping
        Arguments of stage 3.
    others : sequence of Assigned
        All exposures of the same filter, for advice.

    Returns
    -------
    (str or None, str)
        Strategy to set, None to leave it as it is, and the sentence about it or about a single reference.

    Raises
    ------
    InputError
        If the star cannot be subtracted, or not in the way that was asked for; says what works.
    """
    asked = arguments.get("steps", {}).get("klip", {}).get("strategy")
    if reduction.references:
        if asked in ("adi", "roll", "adi+rdi") and reduction.rolls < 2:
            raise InputError(
                f"{reduction.target}: stage3.klip.strategy is {asked!r}, which requires a second roll; use 'rdi' with "
                "the reference star."
            )
        return None, single_reference(with_role(reduction.stars, Role.SCIENCE), reduction.references)
    if reduction.rolls < 2:
        raise InputError(f"{_alone(reduction)}{_way_out(reduction, others)}")
    if asked in ("rdi", "adi+rdi"):
        raise InputError(
            f"{reduction.target}: stage3.klip.strategy is {asked!r}, which requires a reference star, and there is "
            f"none; use '{WITHOUT_REFERENCES}', as there are {reduction.rolls} rolls."
        )
    if asked:
        return None, ""
    line = (
        f"{reduction.target} has no reference star, but {reduction.rolls} rolls: the star is subtracted with the "
        f"other roll{'s' if reduction.rolls > 2 else ''} (stage3.klip.strategy = '{WITHOUT_REFERENCES}')."
    )
    return WITHOUT_REFERENCES, line


def _alone(reduction: Reduction) -> str:
    why = f" ({reduction.notes[-1].removesuffix('.')})" if reduction.notes else ""
    return f"{reduction.target}: neither a reference star nor a second roll, so the star cannot be subtracted{why}"


def _way_out(reduction: Reduction, others: Sequence[Assigned]) -> str:
    """What can be done without a reference and with one roll."""
    first = with_role(reduction.stars, Role.SCIENCE)[0].exposure
    names = sorted({
        a.exposure.target for a in with_role(others, Role.SCIENCE, Role.REFERENCE)
        if a.exposure.configuration == first.configuration and not same_star(a.exposure, first)
    })  # fmt: skip
    if names:
        return f"; use another star of the input with --reference '{names[0]}'."
    return "; add exposures of a reference star or of a second roll with the same filter, mask and subarray."
