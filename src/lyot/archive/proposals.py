"""References and backgrounds from other programs, for a star that has none of its own: the nearest in time and sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lyot.archive.mast import MastClient
from lyot.archive.records import ArchiveFile
from lyot.archive.search import separation
from lyot.exposures.exposure import Exposure
from lyot.exposures.roles import Assigned, Role, with_role

Kind = Literal["reference", "background"]

DAYS: Final = 30.0
"""A difference in time that weighs as much as `DEGREES` on the sky; the telescope is aligned about as often."""

DEGREES: Final = {"reference": 60.0, "background": 15.0}
"""A distance on the sky that weighs as much as `DAYS`; the thermal background depends more on it than the mirrors."""

UNKNOWN: Final = 5.0
"""Counted for a time or position that the archive does not tell."""


@dataclass(frozen=True)
class Proposal:
    """An observation that could be used.

    Attributes
    ----------
    kind : "reference" or "background"
    program, observation, target : str
    exposures : tuple of Exposure
    days, degrees : float
        Distance in time and on the sky from the star; infinite where unknown.
    """

    kind: Kind
    program: str
    observation: str
    target: str
    exposures: tuple[Exposure, ...]
    days: float
    degrees: float

    @property
    def score(self) -> float:
        """Distance in time and sky together; the smaller the better."""
        time = self.days / DAYS if math.isfinite(self.days) else UNKNOWN
        sky = self.degrees / DEGREES[self.kind] if math.isfinite(self.degrees) else UNKNOWN
        return math.hypot(time, sky)

    def __str__(self) -> str:
        days = f"{self.days:.0f} days" if math.isfinite(self.days) else "an unknown time"
        degrees = f"{self.degrees:.0f} deg" if math.isfinite(self.degrees) else "an unknown distance"
        return (
            f"program {int(self.program)}, observation {int(self.observation)} ({self.target}, "
            f"{len(self.exposures)} exposure{'s' if len(self.exposures) > 1 else ''}): {days} and {degrees} away"
        )


def propose(star: Exposure, kind: Kind, client: MastClient | None = None, *, limit: int = 3) -> list[Proposal]:
    """References or backgrounds of any program in the configuration (filter, mask, subarray) of a star.

    Parameters
    ----------
    star : Exposure
        The science or reference exposure that lacks them.
    kind : "reference" or "background"
    client : MastClient, optional
    limit : int, optional
        How many to give.

    Returns
    -------
    list of Proposal
        The nearest first; observations of the star's own program are among them.

    Raises
    ------
    ArchiveError
        If the archive cannot be reached.
    """
    client = client or MastClient()
    found = client.exposures(exposure_type=(star.exposure_type,), filter=(star.filter,))
    return rank(star, kind, found)[:limit]


def rank(star: Exposure, kind: Kind, exposures: Sequence[Exposure]) -> list[Proposal]:
    """Observations of one kind in the star's configuration, the nearest in time and sky first; see `propose`."""
    groups: dict[tuple[str, str], list[Exposure]] = {}
    for exposure in exposures:
        fits = exposure.is_background if kind == "background" else exposure.is_psf and not exposure.is_background
        if fits and exposure.configuration == star.configuration and exposure.root != star.root:
            groups.setdefault((exposure.program, exposure.observation), []).append(exposure)
    proposals = [
        Proposal(
            kind=kind,
            program=program,
            observation=observation,
            target=group[0].target,
            exposures=tuple(group),
            days=min(_days(star, e) for e in group),
            degrees=min(separation(star.sky, e.sky) for e in group),
        )
        for (program, observation), group in groups.items()
    ]
    return sorted(proposals, key=lambda p: (p.score, p.program, p.observation))


def _days(a: Exposure, b: Exposure) -> float:
    return math.inf if a.time is None or b.time is None else abs(a.time - b.time)


def propose_missing(rows: Sequence[tuple[Assigned, ArchiveFile]], client: MastClient | None = None) -> list[Proposal]:
    """Observations of other programs that could be used where a star has no linked reference or background.

    Parameters
    ----------
    rows : sequence of (Assigned, ArchiveFile)
        From `lyot.archive.roles.assign_roles`.
    client : MastClient, optional

    Returns
    -------
    list of Proposal
        Each observation once for each kind.
    """
    assigned = [a for a, _ in rows]
    archived: dict[str, Exposure] = {a.exposure.root: f.exposure for a, f in rows}
    found: dict[tuple[str, str, str], Proposal] = {}
    present = {(f.exposure.program, f.exposure.observation) for _, f in rows}
    done: set[tuple[object, ...]] = set()
    for star in with_role(assigned, Role.SCIENCE, Role.REFERENCE):
        e = star.exposure
        linked = star.role is Role.REFERENCE or any(
            r.exposure.configuration == e.configuration for r in with_role(assigned, Role.REFERENCE)
        )
        subtracted = star.backgrounds or e.instrument != "MIRI" or e.stage == "calints"
        needed: list[Kind] = []
        if not linked:
            needed.append("reference")
        if not subtracted:
            needed.append("background")
        for kind in needed:
            if (kind, e.target, e.configuration) not in done:
                done.add((kind, e.target, e.configuration))
                for p in propose(archived[e.root], kind, client):
                    if (p.program, p.observation) not in present:
                        found.setdefault((kind, p.program, p.observation), p)
    return list(found.values())
