"""The coronagraph's off-axis throughput on the pixels of an exposure, kept on disk between runs.

The map takes some seconds to compute and depends on the filter alone. It is kept in ``$XDG_CACHE_HOME/lyot`` (by
default ``~/.cache/lyot``); where that cannot be written it is computed each time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot.instrument import CORONAGRAPHS, Coronagraph
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.sequence_io import geometry_of
from lyot.version import __version__

log = logging.getLogger(__name__)


def throughput_of(model: JwstDataModel) -> NDArray[np.float64] | None:
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
    if known is None:
        return None
    star = geometry_of(model).star
    x = round(known.reference_point[0] - star[0])
    y = round(known.reference_point[1] - star[1])
    ny, nx = model.data.shape[-2:]
    out = np.full((ny, nx), np.nan)
    full = throughput_map(known.filter)
    y0, x0 = max(y, 0), max(x, 0)
    part = full[y0 : y + ny, x0 : x + nx]
    out[y0 - y : y0 - y + part.shape[0], x0 - x : x0 - x + part.shape[1]] = part
    return out if np.isfinite(out).any() else None


@lru_cache(maxsize=4)
def throughput_map(filter_name: str) -> NDArray[np.float64]:
    """Off-axis throughput over the subarray of a coronagraph, cached or computed: (ny, nx) float64, read-only."""
    coronagraph = CORONAGRAPHS[filter_name]
    path = _cache_folder() / f"throughput_{filter_name}_{_fingerprint(coronagraph)}.npy"
    try:
        found = np.load(path)
        if found.shape == coronagraph.shape:
            return _frozen(found)
    except (OSError, ValueError, EOFError):
        pass
    from lyot.optics import CoronagraphModel

    log.info("computing the throughput map of %s (kept in %s)", filter_name, path.parent)
    computed = CoronagraphModel.build(filter_name).throughput_map()
    _store(path, computed)
    return _frozen(computed)


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.setflags(write=False)
    return array


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "lyot"


def _fingerprint(coronagraph: Coronagraph) -> str:
    """Changes with the coronagraph, the parameters of the optics, their code and the package's version."""
    from lyot.optics import OpticsParams, field, model, propagate, pupil, throughput

    digest = hashlib.sha256(repr((__version__, coronagraph, OpticsParams())).encode())
    for module in (field, model, propagate, pupil, throughput):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]


def _store(path: Path, array: NDArray[np.float64]) -> None:
    """Write the map so that another process never sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npy", delete=False) as handle:
            np.save(handle, array)
        Path(handle.name).replace(path)
    except OSError as error:
        log.debug("the throughput map is not kept: %s", error)
