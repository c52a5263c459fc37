"""Role of each exposure from its metadata: science, reference, their backgrounds, target acquisition.

`sort_roles` gives each exposure its role and each star its backgrounds; `advice` says in one sentence each what is
missing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lyot.errors import InputError, unknown_name
from lyot.exposures.exposure import Exposure
from lyot.exposures.names import plain_name
from lyot.exposures.proposals import NEARBY, proposed_backgrounds, sentence
from lyot.exposures.segments import missing_segments
from lyot.geometry import angular_distance, number_rolls

EPOCH = 60.0
"""Exposures of a target within this time are one epoch, days."""


class Role(enum.StrEnum):
    """Role of an exposure in a reduction.

    Examples
    --------
    >>> from lyot.exposures import Role
    >>> str(Role.SCIENCE), Role("reference background") is Role.REFERENCE_BACKGROUND
    ('science', True)
    """

    SCIENCE = "science"
    REFERENCE = "reference"
    SCIENCE_BACKGROUND = "science background"
    REFERENCE_BACKGROUND = "reference background"
    BACKGROUND = "background"
    ACQUISITION = "target acquisition"
    OTHER = "not coronagraphic"
    IGNORED = "ignored"


NOT_REDUCED = (Role.ACQUISITION, Role.OTHER, Role.IGNORED)
"""Roles of exposures that no reduction takes."""

_GIVEN = {
    "science": Role.SCIENCE, "reference": Role.REFERENCE, "background": Role.BACKGROUND,
    "acquisition": Role.ACQUISITION, "ignore": Role.IGNORED,
}  # fmt: skip
"""Roles by the names that `lyot.exposures.given_roles` has for them."""


@dataclass(frozen=True)
class Assigned:
    """One exposure with its role.

    Attributes
    ----------
    exposure : Exposure
    role : Role
    roll_number : int
        For science exposures, which roll of its target this is, from 1; otherwise 0.
    backgrounds : tuple of str
        Roots of the background exposures that belong to this star; empty for other roles.
    borrowed : bool
        The backgrounds were taken for another star, as there are none of its own.
    proposal : str
        Sentence about a role that the header does not state; empty where it does.
    """

    exposure: Exposure
    role: Role
    roll_number: int = 0
    backgrounds: tuple[str, ...] = ()
    borrowed: bool = False
    proposal: str = ""

    @property
    def label(self) -> str:
        """The role as it is shown, with the number of the roll: ``science, roll 1``."""
        return f"{self.role}, roll {self.roll_number}" if self.roll_number else str(self.role)


def _distance(a: tuple[float, float] | None, b: tuple[float, float] | None) -> float:
    """Angle between two sky positions, degrees; infinite where one is unknown."""
    if a is None or b is None:
        return math.inf
    return angular_distance(a, b)


def _affinity(background: Exposure, star: Exposure) -> tuple[int, int, int, float]:
    """How well a background fits a star; larger is better: position, exposure specification, program."""
    separation = _distance(background.sky, star.sky)
    same_ramps = (background.n_groups == star.n_groups) + (background.n_integrations == star.n_integrations)
    return (
        int(separation < NEARBY),
        2 * same_ramps + (background.program == star.program),
        int(not star.is_psf),
        -separation,
    )


def _first_role(exposure: Exposure, proposed: bool) -> Role:
    if exposure.given_role:
        return _GIVEN[exposure.given_role]
    if exposure.is_acquisition:
        return Role.ACQUISITION
    if not exposure.is_coronagraphic:
        return Role.OTHER
    if exposure.is_background or proposed:
        return Role.BACKGROUND
    return Role.REFERENCE if exposure.is_psf else Role.SCIENCE


def _roll_numbers(science: Sequence[Exposure]) -> dict[str, int]:
    """Number the rolls of each target and configuration in the order of observation."""
    numbers: dict[str, int] = {}
    together: dict[tuple[object, ...], list[Exposure]] = {}
    for exposure in sorted(science, key=lambda e: (e.observation, e.root)):
        together.setdefault((exposure.target, exposure.configuration), []).append(exposure)
    for group in together.values():
        rolls = number_rolls(e.roll if e.roll is not None else 0.0 for e in group)
        numbers |= {e.root: number + 1 for e, number in zip(group, rolls, strict=True)}
    return numbers


def _own_backgrounds(stars: Sequence[Exposure], backgrounds: Sequence[Exposure]) -> dict[str, list[str]]:
    """For each background, the star group (role, target) of the same configuration that it fits best."""
    owned: dict[str, list[str]] = {}
    names = {plain_name(s.target) for s in stars}
    for background in backgrounds:
        fitting = [s for s in stars if s.configuration == background.configuration]
        if plain_name(background.target) in names:
            fitting = [s for s in fitting if plain_name(s.target) == plain_name(background.target)]
        if not fitting:
            continue
        # of several that fit alike the first by name, whatever the order of the files
        best = max(sorted(fitting, key=lambda s: s.root), key=lambda s: _affinity(background, s))
        for star in fitting:
            if plain_name(star.target) == plain_name(best.target) and star.is_psf == best.is_psf:
                owned.setdefault(star.root, []).append(background.root)
    return owned


def _may_be_lent(background: Exposure, stars: Sequence[Exposure]) -> bool:
    """Whether a background may serve a star without one: it carries no star's name, or was given as one by hand."""
    return bool(background.given_role) or all(plain_name(background.target) != plain_name(s.target) for s in stars)


def sort_roles(exposures: Sequence[Exposure]) -> list[Assigned]:
    """Assign a role to each exposure, and backgrounds to each star.

    A background belongs to the star whose target name it carries (``HD-106906-BACKGROUND``), else to the one within a
    degree, else to the one with the same number of groups and integrations, else of the same program. One that carries
    the name of a star in another configuration belongs to nobody. A star without backgrounds of its own borrows those
    of another star in the same configuration, except those that carry its name: only one that was given the role of a
    background by hand (or by an association) is lent to a star of another name.

    Parameters
    ----------
    exposures : sequence of Exposure

    Returns
    -------
    list of Assigned
        In the order: science by roll, references, backgrounds, the rest.

    Examples
    --------
    >>> from lyot.exposures import Exposure, sort_roles
    >>> common = {"exposure_type": "MIR_4QPM", "filter": "F1550C", "mask": "4QPM_1550", "subarray": "MASK1550"}
    >>> exposures = [
    ...     Exposure(root="a", target="HIP-65426", roll=108.2, **common),
    ...     Exposure(root="b", target="HIP-65426", roll=117.6, **common),
    ...     Exposure(root="c", target="HIP-68245", is_psf=True, roll=101.3, **common),
    ... ]
    >>> [(assigned.exposure.root, assigned.label) for assigned in sort_roles(exposures)]
    [('a', 'science, roll 1'), ('b', 'science, roll 2'), ('c', 'reference')]
    """
    reasons = proposed_backgrounds(exposures)
    first = {e.root: _first_role(e, e.root in reasons) for e in exposures}
    stars = [e for e in exposures if first[e.root] in (Role.SCIENCE, Role.REFERENCE)]
    backgrounds = [e for e in exposures if first[e.root] is Role.BACKGROUND]
    owned = _own_backgrounds(stars, backgrounds)
    owners = {b: s for s in stars for b in owned.get(s.root, ())}
    rolls = _roll_numbers([e for e in stars if first[e.root] is Role.SCIENCE])
    lent = [b for b in backgrounds if b.root in owners and _may_be_lent(b, stars)]
    result = []
    for exposure in exposures:
        role = first[exposure.root]
        if role is Role.BACKGROUND and exposure.root in owners:
            star = owners[exposure.root]
            role = Role.REFERENCE_BACKGROUND if star.is_psf else Role.SCIENCE_BACKGROUND
        own = tuple(owned.get(exposure.root, ()))
        borrowed: tuple[str, ...] = ()
        if role in (Role.SCIENCE, Role.REFERENCE) and not own:
            borrowed = tuple(b.root for b in lent if b.configuration == exposure.configuration)
        proposal = ""
        if exposure.root in reasons:
            proposal = sentence(exposure, owners.get(exposure.root), reasons[exposure.root])
        result.append(Assigned(exposure, role, rolls.get(exposure.root, 0), own or borrowed, bool(borrowed), proposal))
    order = list(Role)
    return sorted(result, key=lambda a: (a.exposure.filter, order.index(a.role), a.roll_number, a.exposure.root))


def with_role(assigned: Sequence[Assigned], *roles: Role) -> list[Assigned]:
    """Exposures with one of the given roles.

    Parameters
    ----------
    assigned : sequence of Assigned
        From `sort_roles`.
    *roles : Role
        Those wanted.

    Returns
    -------
    list of Assigned
        In the order of `assigned`.

    Examples
    --------
    >>> from lyot.exposures import Role, find_exposures, sort_roles, with_role
    >>> with_role(sort_roles(find_exposures([])), Role.SCIENCE)
    []
    """
    return [a for a in assigned if a.role in roles]


def _filters(assigned: Sequence[Assigned]) -> list[str]:
    return sorted({a.exposure.filter for a in assigned if a.role not in NOT_REDUCED})


def choose_filter(assigned: Sequence[Assigned], filter_name: str | None) -> list[Assigned]:
    """Keep the exposures of one filter.

    Parameters
    ----------
    assigned : sequence of Assigned
    filter_name : str or None
        Filter to keep; None if all science is of one filter.

    Raises
    ------
    InputError
        If there are several filters and none was chosen.
    UnknownNameError
        If no exposure was taken with the chosen filter.
    """
    filters = _filters(assigned)
    if filter_name is None:
        if len(filters) > 1:
            raise InputError(f"the exposures were taken with {_list(filters)}; choose one with --filter.")
        return [a for a in assigned if a.role not in NOT_REDUCED]
    if filter_name.upper() not in filters:
        raise unknown_name("filter", filter_name, filters, where="--filter")
    kept = [a for a in assigned if a.role not in NOT_REDUCED]
    return [a for a in kept if a.exposure.filter == filter_name.upper()]


def _list(names: Sequence[str]) -> str:
    names = [str(n) for n in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def single_reference(science: Sequence[Assigned], references: Sequence[Assigned]) -> str:
    """A sentence about a target with one roll and one reference exposure; empty if there are more of either."""
    if len({a.roll_number for a in science}) != 1 or len({a.exposure.name for a in references}) != 1:
        return ""
    return (
        f"{science[0].exposure.target} has only one roll and one reference exposure: residual speckles may be "
        "mistaken for sources, because neither a second roll nor other references identify them."
    )


def _reference_advice(science: list[Assigned], references: list[Assigned], prefix: str) -> list[str]:
    targets = sorted({a.exposure.target for a in science})
    if references:
        by_target = [[a for a in science if a.exposure.target == target] for target in targets]
        return [prefix + line for mine in by_target if (line := single_reference(mine, references))]
    if len(targets) > 1:
        return [
            f"{prefix}no reference star: {_list(targets)} can be used as references of each other with --reference all."
        ]
    rolls = {a.roll_number for a in science}
    if len(rolls) > 1:
        return [f"{prefix}no reference star, but {len(rolls)} rolls: roll subtraction is possible."]
    return [f"{prefix}no reference star and only one roll: neither reference nor roll subtraction is possible."]


def _not_lent(stars: list[Assigned], others: Sequence[Assigned]) -> str:
    """How a background that carries another star's name can be used for this one; empty where there is none."""
    configurations = {a.exposure.configuration for a in stars}
    names = sorted({a.exposure.target for a in others if a.exposure.configuration in configurations})
    if not names:
        return ""
    option = f"--role '{names[0]}=background'" if len(names) == 1 else "--role 'TARGET=background'"
    return f" {_list(names)}, which carries the name of another star, is used for it only with {option}."


def _background_advice(stars: list[Assigned], word: str, others: Sequence[Assigned]) -> list[str]:
    calibrated = [a for a in stars if a.exposure.stage == "calints"]
    if calibrated and len(calibrated) == len(stars):
        return []
    if any(a.borrowed for a in stars):
        return [f"no background for the {word}: the background of the other star is used."]
    if stars and not any(a.backgrounds for a in stars) and stars[0].exposure.instrument == "MIRI":
        return [f"no background for the {word}: the glow sticks will remain in its images.{_not_lent(stars, others)}"]
    return []


def role_lines(group: Sequence[Assigned]) -> list[str]:
    """What is to be said of roles: backgrounds that only their names mark, and backgrounds that cannot be used."""
    lines = [a.proposal for a in group if a.proposal]
    stars = [a.exposure for a in with_role(group, Role.SCIENCE, Role.REFERENCE)]
    for background in (a.exposure for a in with_role(group, Role.BACKGROUND)):
        if not stars:
            continue
        named = [s for s in stars if plain_name(s.target) == plain_name(background.target)]
        star = (named or stars)[0]
        own, other = _differing(background, star)
        lines.append(
            f"{background.target} is not used: it was taken with {own}, but {star.target} with {other}; a background "
            "must have the filter, mask and subarray of the star."
        )
    return list(dict.fromkeys(lines))


def _differing(a: Exposure, b: Exposure) -> tuple[str, str]:
    """Where two configurations differ, in words."""
    words = ("filter", "mask", "subarray")
    pairs = [(w, x, y) for w, x, y in zip(words, a.configuration, b.configuration, strict=True) if x != y]
    return tuple(" and ".join(f"{w} {p[i] or 'unknown'}" for w, *p in pairs) for i in (0, 1))  # type: ignore[return-value]


def _configuration_advice(group: list[Assigned], prefix: str) -> list[str]:
    science = with_role(group, Role.SCIENCE)
    references = with_role(group, Role.REFERENCE)
    lines = [prefix + line for line in group_notes(group)]
    if not science:
        return [*lines, f"{prefix}no science exposure."]
    lines += _reference_advice(science, references, prefix)
    targets = sorted({a.exposure.target for a in science})
    if len(targets) > 1:
        lines.append(f"{prefix}science targets {_list(targets)}: choose one with --target, or all with --target all.")
    return lines


def _epochs(science: Sequence[Assigned]) -> list[str]:
    """A sentence about each target whose exposures are of several epochs."""
    lines = []
    for target in sorted({a.exposure.target for a in science}):
        times = [a.exposure.time for a in science if a.exposure.target == target and a.exposure.time is not None]
        if times and max(times) - min(times) > EPOCH:
            lines.append(
                f"the science exposures of {target} were taken over {max(times) - min(times):.0f} days and are "
                "combined into one image, in which companions that move meanwhile are smeared; to reduce each epoch by "
                "itself, exclude the others with --role 'FILE=ignore'."
            )
    return lines


def group_notes(group: Sequence[Assigned]) -> list[str]:
    """What is to be said of exposures however they are reduced: roles, epochs, missing segments and backgrounds."""
    lines = [*role_lines(group), *missing_segments([a.exposure for a in group])]
    lines += _epochs(with_role(group, Role.SCIENCE))
    for star, back, word in (
        (Role.SCIENCE, Role.REFERENCE_BACKGROUND, "science target"),
        (Role.REFERENCE, Role.SCIENCE_BACKGROUND, "reference star"),
    ):
        lines += _background_advice(with_role(group, star), word, with_role(group, back))
    stages = sorted({a.exposure.stage for a in group})
    if len(stages) > 1:
        lines.append(f"the exposures are at different stages ({_list(stages)}); each is processed from its stage.")
    return lines


def advice(assigned: Sequence[Assigned]) -> list[str]:
    """Describe what is missing or must be chosen, one sentence each; empty if the exposures are complete.

    Parameters
    ----------
    assigned : sequence of Assigned
        From `sort_roles`.

    Returns
    -------
    list of str
        One sentence each.

    Examples
    --------
    >>> from lyot.exposures import Exposure, advice, sort_roles
    >>> alone = Exposure(root="a", exposure_type="MIR_4QPM", filter="F1550C", target="HIP-65426", roll=108.2)
    >>> advice(sort_roles([alone]))[-1]
    'no reference star and only one roll: neither reference nor roll subtraction is possible.'
    """
    filters = _filters(assigned)
    lines = []
    if not filters:
        return ["no coronagraphic exposure."]
    if len(filters) > 1:
        lines.append(f"exposures in {_list(filters)}: choose one with --filter.")
    for name in filters:
        group = choose_filter(assigned, name)
        lines += _configuration_advice(group, f"{name}: " if len(filters) > 1 else "")
    return lines
