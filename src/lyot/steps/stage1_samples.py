"""Ramps of a few pixels of an exposure as the slope fit saw them, corrected and flagged: ``<root>_samples.fits``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from lyot.exposures.columns import with_units
from lyot.exposures.names import SAMPLES, product_beside
from lyot.ramps.slopes import SlopeImage
from lyot.ramps.watch import Watched, spread_pixels
from lyot.steps.models import DataModel
from lyot.steps.stage1_common import first_integration_of


def sample_pixels(model: DataModel, shape: tuple[int, ...], before: int = 0) -> Watched:
    """Pixels to look at: around the place of the star, and over the whole field.

    Parameters
    ----------
    model : DataModel
        The exposure; CRPIX is the place of the star (1-based), or at least of the target.
    shape : (nints, ngroups, ny, nx)
        Of the ramps of the file.
    before : int, optional
        Integrations of other segments that are streamed before those of the file.

    Returns
    -------
    Watched
        Of the second integration where there is one, as the first begins otherwise.
    """
    nints, ngroups, ny, nx = shape
    star = (model.meta.wcsinfo.crpix1 or (nx + 1) / 2) - 1, (model.meta.wcsinfo.crpix2 or (ny + 1) / 2) - 1
    return Watched.of(spread_pixels((ny, nx), star), before + min(1, nints - 1), ngroups)


def samples_table(
    model: DataModel, watched: Watched | None, slopes: SlopeImage, before: int = 0
) -> fits.BinTableHDU | None:
    """The ramps with the slopes that were fitted to them; None without any.

    Parameters
    ----------
    model : DataModel
        The exposure.
    watched : Watched or None
    slopes : SlopeImage
        Of each integration of the file, DN/s.
    before : int, optional
        As in `sample_pixels`.

    Returns
    -------
    BinTableHDU or None
        A row per pixel: X, Y (0-based), RAMP (DN), FLAGS (group flags), SLOPE and ERR (DN/s);
        TGROUP (s) and INTEGR in the header.
    """
    if watched is None or not watched.pixels:
        return None
    y, x = np.array(watched.pixels).T
    integration = watched.integration - before
    at = (integration, y, x)
    ngroups = watched.ramps.shape[1]
    types = [
        ("X", "i4"),
        ("Y", "i4"),
        ("RAMP", "f4", ngroups),
        ("FLAGS", "u1", ngroups),
        ("SLOPE", "f4"),
        ("ERR", "f4"),
    ]
    rows = np.zeros(len(x), dtype=types)
    values = (x, y, watched.ramps, watched.flags, slopes.slope[at], slopes.err[at])
    for (name, *_), value in zip(types, values, strict=True):
        rows[name] = value
    data, cards = with_units(SAMPLES.upper(), rows)
    table = fits.BinTableHDU(data, name=SAMPLES.upper())
    table.header.extend(cards)
    table.header["TGROUP"] = (model.meta.exposure.group_time, "[s] time between groups")
    table.header["INTEGR"] = (first_integration_of(model) + integration, "number of the integration, from 1")
    return table


def write_samples(rateints: Path, table: fits.BinTableHDU) -> Path:
    """Write the table beside the ``rateints`` product that it belongs to."""
    path = product_beside(rateints, SAMPLES)
    table.writeto(path, overwrite=True)
    return path
