"""Segments: exposures whose integrations are in several files, ``...-seg001_mirimage_uncal.fits`` and so on.

The archive cuts exposures of more than about 2 GB. Each segment has its own products at stages 1 and 2, named after it;
INTSTART and INTEND of a segment number its integrations within the exposure, from 1.
"""

from __future__ import annotations

import re

_SEGMENT = re.compile(r"-seg(\d+)")


def segment_number(name: str) -> int:
    """Number of the segment that a file name (or its root) belongs to, from 1; 0 for a whole exposure."""
    found = _SEGMENT.search(name)
    return int(found[1]) if found else 0


def exposure_name(name: str) -> str:
    """File name (or its root) without the segment: the same for all segments of an exposure."""
    return _SEGMENT.sub("", name, count=1)
