"""Which coronagraph an exposure was taken with."""

from __future__ import annotations

from lyot.errors import InputError
from lyot.instrument import Coronagraph, modeled_coronagraph, nircam_coronagraph
from lyot.optics.stpsf_adaptor import why_no_images
from lyot.steps.models import DataModel


def coronagraph_of(model: DataModel) -> Coronagraph | None:
    """The coronagraph of an exposure by its filter; None if it is none of MIRI's."""
    return modeled_coronagraph(str(model.meta.instrument.name), str(model.meta.instrument.filter))


def measured_coronagraph(model: DataModel) -> Coronagraph:
    """The coronagraph of an exposure whose images of off-axis sources are available: MIRI's, and NIRCam's by STPSF.

    Raises
    ------
    InputError
        If there are none.
    """
    setting = model.meta.instrument
    missing = why_no_images(str(setting.name), str(setting.filter), str(setting.coronagraph))
    if missing:
        raise InputError(
            f"{model.meta.filename}: companions, disks and contrast cannot be measured, because {missing}."
        )
    known = coronagraph_of(model)
    if known is None:
        side = float(model.meta.photometry.pixelarea_arcsecsq) ** 0.5
        known = nircam_coronagraph(str(setting.filter), str(setting.coronagraph), (side, side))
    assert known is not None  # as `why_no_images` has looked
    return known


def boundary_tilt(model: DataModel) -> float | None:
    """Tilt of the quadrant boundaries, degrees counter-clockwise from +x; None without a four-quadrant mask."""
    known = coronagraph_of(model)
    return None if known is None or known.kind != "4QPM" else known.boundary_tilt
