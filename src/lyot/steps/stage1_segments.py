"""The ramps of a whole exposure for stage 1 of one of its segments.

The archive cuts long exposures into files. The official step reduces each by itself, so that two things depend on
where the cut lies: the median difference relative to which jumps stand out, and the rate from which the photon noise
follows, both of the integrations in the file. With all segments at hand they are of the exposure.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from lyot.errors import InputError
from lyot.exposures.names import exposure_name
from lyot.ramps.readers import RampFile, SegmentFiles
from lyot.steps.stage1_level1b import Level1bFile, inspect_level1b

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExposureRamps:
    """What stage 1 of a file reads.

    Attributes
    ----------
    source : RampFile or SegmentFiles
        Ramps of the file, or of all segments that follow each other without a gap.
    first : int
        Number of the first integration of `source` in the exposure, from 1.
    own : (int, int)
        Integrations [first, last) of `source` that are in the file, 0-based.
    """

    source: RampFile | SegmentFiles
    first: int
    own: tuple[int, int]


def exposure_ramps(file: Level1bFile, first: int, segments: Sequence[str | Path]) -> ExposureRamps:
    """Join a file with the other segments of its exposure.

    Parameters
    ----------
    file : Level1bFile
        The file to reduce; its ramps are stored as in the archive.
    first : int
        Number of its first integration in the exposure, from 1.
    segments : sequence of str or Path
        Segments of the exposure; the file itself may be among them.

    Returns
    -------
    ExposureRamps
        Of the file alone if no other segment precedes or follows it directly.

    Raises
    ------
    InputError
        If a segment is of another exposure or another shape, or does not say which integrations it holds.
    """
    ramps = file.ramps()
    assert ramps is not None  # `why_not` has looked
    begins = {first: ramps}
    for path in map(Path, segments):
        if path.absolute() != file.path.absolute():
            begins[_first_integration(path, file.path)] = _ramps(path)
    chain = [first]
    while (following := chain[-1] + begins[chain[-1]].shape[0]) in begins:
        chain.append(following)
    for start in sorted(begins, reverse=True):
        if start + begins[start].shape[0] == chain[0]:
            chain.insert(0, start)
    left_out = [begins[start].path.name for start in begins if start not in chain]
    if left_out:
        log.warning(
            "%s: not used for the medians and the photon noise of %s, because integrations between them are missing",
            ", ".join(left_out), file.path.name,
        )  # fmt: skip
    own = first - chain[0], first - chain[0] + ramps.shape[0]
    if len(chain) == 1:
        return ExposureRamps(ramps, first, own)
    return ExposureRamps(SegmentFiles([begins[start] for start in chain]), chain[0], own)


def _first_integration(path: Path, of: Path) -> int:
    """INTSTART of a segment that must be of the same exposure as `of`."""
    if exposure_name(path.name) != exposure_name(of.name):
        raise InputError(f"{path}: not a segment of the exposure of {of.name}; give segments of one exposure.")
    try:
        return int(fits.getval(path, "INTSTART"))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: a segment without INTSTART; set INTSTART and INTEND to its first and last integration in the "
            "exposure."
        ) from None


def _ramps(path: Path) -> RampFile:
    ramps = inspect_level1b(path).ramps()
    if ramps is None:
        raise InputError(f"{path}: the file does not contain 16-bit ramps as in the archive; download it again.")
    return ramps
