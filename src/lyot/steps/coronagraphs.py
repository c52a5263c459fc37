"""Which of MIRI's coronagraphs an exposure was taken with."""

from __future__ import annotations

from lyot.instrument import Coronagraph, modeled_coronagraph
from lyot.steps.models import DataModel


def coronagraph_of(model: DataModel) -> Coronagraph | None:
    """The coronagraph of an exposure by its filter; None if it is none of MIRI's."""
    return modeled_coronagraph(str(model.meta.instrument.name), str(model.meta.instrument.filter))


def boundary_tilt(model: DataModel) -> float | None:
    """Tilt of the quadrant boundaries, degrees counter-clockwise from +x; None without a four-quadrant mask."""
    known = coronagraph_of(model)
    return None if known is None or known.kind != "4QPM" else known.boundary_tilt
