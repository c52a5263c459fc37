"""Search for whole sequences in the archive, not only the exposures of the target itself."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence

from lyot.archive.mast import MastClient
from lyot.archive.records import Listing, Query
from lyot.errors import ArchiveError
from lyot.exposures.exposure import Exposure
from lyot.exposures.names import plain_name
from lyot.geometry import angular_distance

log = logging.getLogger(__name__)

SAME_POSITION = 30 / 3600
"""An exposure pointed closer than this to an object is of that object, degrees."""


def find(query: Query, client: MastClient | None = None) -> Listing:
    """Search the archive for the exposures of a query and their files.

    A target brings with it the reference stars and backgrounds taken in its programs with the same filter, mask and
    subarray; every exposure brings the target acquisitions of its visit.

    Parameters
    ----------
    query : Query
        From `make_query`.
    client : MastClient, optional

    Returns
    -------
    Listing

    Raises
    ------
    ArchiveError
        If the archive cannot be reached, or has nothing for the query.
    """
    client = client or MastClient()
    exposures, names = _candidates(query, client)
    kept, everything = select(exposures, query, names)
    if not kept:
        raise ArchiveError(_nothing(query, everything))
    files, missing = client.files(kept, query.level)
    if not files:
        raise ArchiveError(f"The archive has no {query.level} files for {query}; try another --level.")
    return Listing(query, tuple(files), tuple(missing))


def _candidates(query: Query, client: MastClient) -> tuple[list[Exposure], frozenset[str]]:
    """All exposures of the programs, and the plain names that the wanted targets have there."""
    names: set[str] = set()
    programs: dict[str, None] = dict.fromkeys(query.programs)
    exposures = client.exposures(program=query.programs) if query.programs else []
    for target in query.targets:
        if query.programs:
            found = [e for e in exposures if _is_named(e, target)]
        else:
            found = [e for e in client.exposures(target=(_pattern(target),)) if _is_named(e, target)]
        if not found:
            found = _at_position_of(target, exposures, query, client)
        names.update(plain_name(e.target) for e in found)
        programs.update(dict.fromkeys(e.program for e in found))
    if programs and not query.programs:
        exposures = client.exposures(program=tuple(programs))
    return exposures, frozenset(names)


def _at_position_of(target: str, exposures: Sequence[Exposure], query: Query, client: MastClient) -> list[Exposure]:
    """Exposures of an object that the proposer calls by another name."""
    position = client.position(target)
    if position is None:
        return []
    if query.programs:
        return [e for e in exposures if separation(e.sky, position) < SAME_POSITION]
    return client.exposures(at=position)


def separation(a: tuple[float, float] | None, b: tuple[float, float] | None) -> float:
    """Angle between two sky positions, degrees; infinite where one is unknown."""
    if a is None or b is None:
        return math.inf
    return angular_distance(a, b)


def _pattern(target: str) -> str:
    """What matches the name however blanks and hyphens are written: ``HIP 65426`` gives ``*HIP*65426*``."""
    return "*" + "*".join(re.findall(r"[A-Za-z]+|\d+", target)) + "*"


def _is_named(exposure: Exposure, target: str) -> bool:
    """Whether the exposure's target carries the name, with or without a component's letter or a further word."""
    own, wanted = plain_name(exposure.target), plain_name(target)
    return bool(wanted) and own.startswith(wanted) and not own[len(wanted) : len(wanted) + 1].isdigit()


def select(
    exposures: Sequence[Exposure], query: Query, names: frozenset[str] = frozenset()
) -> tuple[list[Exposure], list[Exposure]]:
    """Select the exposures that satisfy a query.

    Parameters
    ----------
    exposures : sequence of Exposure
        All of the programs.
    query : Query
    names : frozenset of str, optional
        Plain names of the wanted targets, if the query has targets.

    Returns
    -------
    kept, coronagraphic : lists of Exposure
        Those asked for, with their target acquisitions; and all that are not acquisitions, for messages.
    """
    coronagraphic = [e for e in exposures if not e.is_acquisition]
    kept = [
        e
        for e in coronagraphic
        if (not query.filters or e.filter in query.filters)
        and (not query.observations or e.observation in query.observations)
    ]
    if query.targets:
        kept = _of_targets(kept, names)
    visits = {e.visit for e in kept}
    return kept + [e for e in exposures if e.is_acquisition and e.visit in visits], coronagraphic


def _of_targets(exposures: Sequence[Exposure], names: frozenset[str]) -> list[Exposure]:
    """Exposures of the targets, with all references and backgrounds in their configurations but those of others."""

    def is_star(e: Exposure) -> bool:
        return not e.is_psf and not e.is_background

    configurations = {e.configuration for e in exposures if plain_name(e.target) in names}
    others = {plain_name(e.target) for e in exposures if is_star(e)} - names
    return [
        e
        for e in exposures
        if plain_name(e.target) in names
        or (not is_star(e) and e.configuration in configurations and plain_name(e.target) not in others)
    ]


def _nothing(query: Query, coronagraphic: Sequence[Exposure]) -> str:
    """Say what the archive has instead."""
    if not coronagraphic:
        return f"The archive has no coronagraphic exposures for {query}; check the number or name."
    filters = ", ".join(sorted({e.filter for e in coronagraphic}))
    observations = ", ".join(sorted({str(int(e.observation)) for e in coronagraphic}, key=int))
    targets = f", targets {', '.join(sorted({e.target for e in coronagraphic}))}" if query.targets else ""
    return (
        f"The archive has no exposures for {query}; available are filters {filters}{targets} and observations "
        f"{observations}."
    )
