"""References and backgrounds from other programs, for a star that has none of its own: the nearest in time and sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lyot.archive.mast import MastClient
from lyot.archive.records import ArchiveExposure
from lyot.archive.search import separation

Kind = Literal["reference", "background"]

DAYS: Final = 30.0
"""A difference in time that weighs as much as `DEGREES` on the sky; the telescope is aligned about as often."""

DEGREES: Final = {"reference": 60.0, "background": 15.0}
"""A distance on the sky that weighs as much as `DAYS`; the thermal background depends more on it than the mirrors."""

UNKNOWN: Final = 5.0
"""Counted for a time or position that the archive does not tell."""


@dataclass(frozen=True)
class Proposal:
    """An observation that could serve.

    Attributes
    ----------
    kind : "reference" or "background"
    program, observation, target : str
    exposures : tuple of ArchiveExposure
    days, degrees : float
        Distance in time and on the sky from the star; infinite where unknown.
    """

    kind: Kind
    program: str
    observation: str
    target: str
    exposures: tuple[ArchiveExposure, ...]
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


def propose(star: ArchiveExposure, kind: Kind, client: MastClient | None = None, *, limit: int = 3) -> list[Proposal]:
    """References or backgrounds of any program in the configuration (filter, mask, subarray) of a star.

    Parameters
    ----------
    star : ArchiveExposure
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


def rank(star: ArchiveExposure, kind: Kind, exposures: Sequence[ArchiveExposure]) -> list[Proposal]:
    """Observations of one kind in the star's configuration, the nearest in time and sky first; see `propose`."""
    groups: dict[tuple[str, str], list[ArchiveExposure]] = {}
    for exposure in exposures:
        fits = exposure.is_background if kind == "background" else exposure.is_psf and not exposure.is_background
        if fits and exposure.configuration == star.configuration and exposure.dataset != star.dataset:
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


def _days(a: ArchiveExposure, b: ArchiveExposure) -> float:
    return math.inf if a.time is None or b.time is None else abs(a.time - b.time)
