"""Segments among the exposures of a run: grouped, checked, and not mixed with whole exposures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from lyot.errors import InputError

if TYPE_CHECKING:
    from lyot.exposures.exposure import Exposure, Stage

log = logging.getLogger(__name__)


def whole_or_segments(exposures: Sequence[Exposure], preference: Sequence[Stage]) -> list[Exposure]:
    """Use either the whole exposure or its segments, where both are present.

    The product that comes first in `preference` is kept; of the same product, the whole exposure.

    Raises
    ------
    InputError
        If two segments hold the same integration.
    """
    kept: list[Exposure] = []
    for name, files in by_exposure(exposures).items():
        stage = min((e.stage for e in files), key=preference.index)
        whole = [e for e in files if not e.segment]
        if whole and len(files) > len(whole):
            use_whole = any(e.stage == stage for e in whole)
            log.warning("%s exists as a whole and in segments; the %s used", name,
                        "whole is" if use_whole else "segments are")  # fmt: skip
            files = whole if use_whole else [e for e in files if e.segment]
        _check_overlap(files)
        kept += files
    return kept


def by_exposure(exposures: Sequence[Exposure]) -> dict[str, list[Exposure]]:
    """Files of each exposure by its name, segments in the order of their integrations."""
    groups: dict[str, list[Exposure]] = {}
    for exposure in exposures:
        groups.setdefault(exposure.name, []).append(exposure)
    return {name: sorted(files, key=lambda e: (e.segment, e.integrations)) for name, files in groups.items()}


def _check_overlap(files: Sequence[Exposure]) -> None:
    for one, other in pairwise(files):
        if other.integrations[0] <= one.integrations[1]:
            raise InputError(
                f"{other.path}: begins with integration {other.integrations[0]}, but {one.path.name} contains "
                f"integrations {one.integrations[0]} to {one.integrations[1]}; give each segment once, with INTSTART "
                "as in the archive."
            )


def missing_segments(exposures: Sequence[Exposure]) -> list[str]:
    """One sentence for each exposure with missing segments."""
    lines = []
    for name, files in by_exposure([e for e in exposures if e.segment]).items():
        total = max(e.n_segments for e in files)
        missing = sorted(set(range(1, total + 1)) - {e.segment for e in files})
        if missing:
            one = len(missing) == 1
            lines.append(
                f"{name}: segment{'' if one else 's'} {', '.join(map(str, missing))} of {total} "
                f"{'is' if one else 'are'} missing; the integrations in {'it' if one else 'them'} are not used."
            )
    return lines
