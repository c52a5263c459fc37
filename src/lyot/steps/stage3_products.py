"""Data models of the stage-3 products: star-subtracted cubes and north-up images with their coordinates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot import dq, geometry
from lyot.steps.models import DataModel
from lyot.steps.sequence_io import Geometry, own_array
from lyot.subtract import ReductionResult
from lyot.subtract.references import ReferenceRanking

log = logging.getLogger(__name__)


def detector_cube(
    like: DataModel,
    data: NDArray[np.floating],
    variance: NDArray[np.floating] | None,
    *,
    flags: NDArray[np.uint32] | None = None,
) -> datamodels.CubeModel:
    """A cube on the detector's pixels with the metadata of an exposure.

    Parameters
    ----------
    like : DataModel
        Exposure whose metadata are taken over.
    data : (n, ny, nx) float ndarray
        Images; NaN becomes DO_NOT_USE in DQ.
    variance : (n, ny, nx) float ndarray or None
        Variance; its root is written as ERR (NaN where unknown).
    flags : (n, ny, nx) uint32 ndarray, optional
        Flags to keep.
    """
    err = np.full(data.shape, np.nan) if variance is None else np.sqrt(variance)
    bad = np.where(np.isfinite(data), np.uint32(0), np.uint32(dq.DO_NOT_USE))
    if flags is not None:
        bad |= flags
    model = datamodels.CubeModel(data=data.astype(np.float32), err=err.astype(np.float32, copy=False), dq=bad)
    model.update(like)
    _keep_int_times(model, like)
    return model


def _keep_int_times(model: DataModel, like: DataModel) -> None:
    times = getattr(like, "int_times", None) if like.hasattr("int_times") else None
    if times is not None and len(times) == len(model.data):
        model.int_times = times


@dataclass(frozen=True)
class SkyGrid:
    """North-up, east-left tangent-plane grid.

    Attributes
    ----------
    center : (x, y)
        0-based pixel position of the star.
    pixel_scale : float
        arcsec per pixel.
    sky : (ra, dec)
        ICRS position of the star, degrees.
    shape : (ny, nx)
    """

    center: tuple[float, float]
    pixel_scale: float
    sky: tuple[float, float]
    shape: tuple[int, int]


def tangent_gwcs(grid: SkyGrid) -> Any:
    """The gwcs of a north-up grid: pixel (0-based) to ICRS by a gnomonic projection about the star."""
    import gwcs
    from astropy import coordinates
    from astropy import units as u
    from astropy.modeling import models
    from gwcs import coordinate_frames as cf

    degrees = grid.pixel_scale / 3600.0
    transform = (
        models.Shift(-grid.center[0]) & models.Shift(-grid.center[1])
        | models.Scale(-degrees) & models.Scale(degrees)
        | models.Pix2Sky_Gnomonic()
        | models.RotateNative2Celestial(grid.sky[0], grid.sky[1], 180.0)
    )
    detector = cf.Frame2D(name="detector", axes_names=("x", "y"), unit=(u.pix, u.pix))
    world = cf.CelestialFrame(name="world", reference_frame=coordinates.ICRS(), unit=(u.deg, u.deg))
    wcs = gwcs.WCS([(detector, transform), (world, None)])
    ny, nx = grid.shape
    wcs.bounding_box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    return wcs


def set_sky_grid(model: DataModel, grid: SkyGrid) -> None:
    """Write the coordinates of a north-up grid, as gwcs and as FITS keywords, in place of the detector's."""
    scale = grid.pixel_scale
    footprint = [
        (grid.sky, (x - grid.center[0]) * scale, (y - grid.center[1]) * scale)
        for x, y in ((0, 0), (grid.shape[1] - 1, 0), (grid.shape[1] - 1, grid.shape[0] - 1), (0, grid.shape[0] - 1))
    ]
    corners = " ".join(
        f"{s[0] - dx / 3600 / np.cos(np.radians(s[1])):.9f} {s[1] + dy / 3600:.9f}" for s, dx, dy in footprint
    )
    model.meta.wcsinfo = {
        "wcsaxes": 2,
        "ctype1": "RA---TAN",
        "ctype2": "DEC--TAN",
        "cunit1": "deg",
        "cunit2": "deg",
        "crpix1": grid.center[0] + 1,
        "crpix2": grid.center[1] + 1,
        "crval1": grid.sky[0],
        "crval2": grid.sky[1],
        "cdelt1": scale / 3600,
        "cdelt2": scale / 3600,
        "pc1_1": -1.0,
        "pc1_2": 0.0,
        "pc2_1": 0.0,
        "pc2_2": 1.0,
        "radesys": "ICRS",
        "ra_ref": grid.sky[0],
        "dec_ref": grid.sky[1],
        "s_region": f"POLYGON ICRS  {corners}",
    }
    model.meta.wcs = tangent_gwcs(grid)
    model.meta.photometry.pixelarea_arcsecsq = scale**2
    model.meta.photometry.pixelarea_steradians = (scale / geometry.ARCSEC_PER_RADIAN) ** 2


def sky_grid(result: ReductionResult, where: Geometry) -> SkyGrid:
    """The grid of a reduction's combined image, with the star where it is on the sky."""
    ny, nx = result.combined.shape[1:]
    return SkyGrid(result.center, result.pixel_scale, where.sky, (ny, nx))


def sky_image(
    like: DataModel,
    grid: SkyGrid,
    data: NDArray[np.floating],
    variance: NDArray[np.floating] | None,
) -> datamodels.ImageModel:
    """A north-up image (``i2d``): SCI, ERR, WHT = 1/variance, coordinates, and the metadata of an exposure.

    Parameters
    ----------
    like : DataModel
        Exposure whose metadata are taken over.
    grid : SkyGrid
        Coordinates.
    data, variance : (Ny, Nx) float ndarray
        Image and its variance (or None: ERR is NaN and WHT is 1 where there are data).
    """
    good = np.isfinite(data)
    model = datamodels.ImageModel()
    model.data = data.astype(np.float32)
    model.update(like)
    if variance is None:
        model.err = np.full(data.shape, np.nan, np.float32)
        weight = good.astype(np.float32)
    else:
        known = good & (variance > 0)
        model.err = np.where(known, np.sqrt(np.where(known, variance, 1.0)), np.nan).astype(np.float32)
        weight = np.where(known, 1.0 / np.where(known, variance, 1.0), 0.0).astype(np.float32)
    model.wht = weight
    set_sky_grid(model, grid)
    return model


def sky_cube(
    like: DataModel,
    grid: SkyGrid,
    data: NDArray[np.floating],
    variance: NDArray[np.floating] | None,
) -> datamodels.CubeModel:
    """A cube of north-up images (e.g. one per truncation): SCI, ERR and DQ, with coordinates."""
    model = detector_cube(like, data, variance)
    if model.hasattr("int_times"):
        del model.int_times
    set_sky_grid(model, grid)
    return model


def truncation_table(result: ReductionResult) -> NDArray[Any]:
    """Table of the planes of a per-truncation cube: plane, number of modes, whether it is the main product."""
    rows = [(i, k, k == result.recommended) for i, k in enumerate(result.truncations)]
    return np.array(rows, dtype=[("PLANE", "i4"), ("MODES", "i4"), ("MAIN", "?")])


def reference_table(rows: Sequence[tuple[int, int, str]]) -> NDArray[Any]:
    """Table of the planes of a reference stack: plane, exposure index, file name."""
    width = max((len(r[2]) for r in rows), default=1)
    return np.array([tuple(r) for r in rows], dtype=[("PLANE", "i4"), ("EXPOSURE", "i4"), ("FILENAME", f"S{width}")])


def science_flags(target: DataModel) -> NDArray[np.uint32] | None:
    """DQ of an exposure as (n, ny, nx), or None if it has none of the shape of its data."""
    flags = own_array(target, "dq")
    if flags is None:
        return None
    flags = flags.astype(np.uint32)
    return flags[None] if flags.ndim == 2 else flags


def ranking_table(ranking: ReferenceRanking, exposure: NDArray[np.intp]) -> NDArray[Any]:
    """Ranking as a table: plane, exposure, similarity, brightness, kept, worth of the exposure (part of the rms)."""
    worth = dict(zip(ranking.exposures.tolist(), ranking.worth.tolist(), strict=True))
    rows = [
        (plane, int(e), ranking.similarity[plane], ranking.scale[plane], bool(ranking.keep[plane]), worth[int(e)])
        for plane, e in enumerate(exposure)
    ]
    columns = [("PLANE", "i4"), ("EXPOSURE", "i4"), ("SIMILAR", "f8"), ("SCALE", "f8"), ("KEPT", "?"), ("WORTH", "f8")]
    return np.array(rows, dtype=columns)
