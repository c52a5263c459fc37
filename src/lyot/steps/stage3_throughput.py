"""The coronagraph's off-axis throughput on the pixels of an exposure."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lyot.instrument import Coronagraph
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.models import DataModel
from lyot.steps.sequence_io import geometry_of


def throughput_of(model: DataModel) -> NDArray[np.float64] | None:
    """Off-axis throughput on the pixels of an exposure.

    Parameters
    ----------
    model : CubeModel
        Exposure of a MIRI coronagraph; any crop by whole pixels (told by CRPIX).

    Returns
    -------
    (ny, nx) float64 ndarray or None
        NaN outside the field stop; None for an instrument or filter without a model.
    """
    known = coronagraph_of(model)
    return None if known is None else _on_pixels_of(model, known, throughput_map(known.filter))


def uniform_background_of(model: DataModel) -> NDArray[np.float64] | None:
    """Pattern that a uniform background has on the pixels of an exposure: dark along the boundaries of the mask.

    Parameters
    ----------
    model : CubeModel
        As for `throughput_of`.

    Returns
    -------
    (ny, nx) float64 ndarray or None
        Relative to the open field, 1; it goes on beyond the field stop, NaN outside the subarray. None for an
        instrument or filter without a model, and behind the Lyot spot, which hides only what is around the star.
    """
    known = coronagraph_of(model)
    if known is None or known.kind != "4QPM":
        return None
    return _on_pixels_of(model, known, throughput_map(known.filter, field_stop=False))


def _on_pixels_of(model: DataModel, known: Coronagraph, full: NDArray[np.float64]) -> NDArray[np.float64] | None:
    star = geometry_of(model).star
    x = round(known.reference_point[0] - star[0])
    y = round(known.reference_point[1] - star[1])
    ny, nx = model.data.shape[-2:]
    out = np.full((ny, nx), np.nan)
    y0, x0 = max(y, 0), max(x, 0)
    part = full[y0 : y + ny, x0 : x + nx]
    out[y0 - y : y0 - y + part.shape[0], x0 - x : x0 - x + part.shape[1]] = part
    return out if np.isfinite(out).any() else None


@lru_cache(maxsize=4)
def throughput_map(filter_name: str, *, field_stop: bool = True) -> NDArray[np.float64]:
    """Off-axis throughput over the subarray of a coronagraph: (ny, nx) float64, read-only."""
    from lyot.optics import CoronagraphModel

    computed = CoronagraphModel.build(filter_name).throughput_map(field_stop=field_stop)
    computed.setflags(write=False)
    return computed
