"""Where things are on the sky, for the report: mask boundaries, images turned north up, regions for ds9."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from scipy import ndimage

from lyot.exposures.headers import STAR_OFFSETS
from lyot.geometry import detector_offset, position_angle, separation_and_pa, sky_offset
from lyot.instrument import Coronagraph, modeled_coronagraph
from lyot.report.figures import View, mark_label
from lyot.report.products import Product

Line = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Offsets (east, north) of the points of a line, arcsec."""


@dataclass(frozen=True)
class Marked:
    """A source at a place on the sky.

    Attributes
    ----------
    name : str
    kind : {"detection", "companion", "rejected"}
    east, north : float
        Offset from the star, arcsec.
    note : str
        Separation, position angle and how sure it is, in a few words.
    unsure : bool
        A candidate, which may be noise: drawn dashed, with a question mark behind its name.
    """

    name: str
    kind: str
    east: float
    north: float
    note: str = ""
    unsure: bool = False

    @property
    def label(self) -> str:
        """What is written beside its circle."""
        return mark_label(self.name, unsure=self.unsure)


def mask_boundaries(header: Mapping[str, Any]) -> list[Line]:
    """Boundaries of the mask in an exposure, as lines on the sky.

    Parameters
    ----------
    header : mapping
        Keywords of an exposure or of its ``psfsub``: INSTRUME, FILTER, ROLL_REF, V3I_YANG, and STARDX and STARDY.

    Returns
    -------
    list of (east, north)
        Two lines of the quadrants, or the edges of spot and bar; offsets from the star, arcsec. Empty for a mask that
        is not modeled, or without a roll angle.
    """
    known = modeled_coronagraph(str(header.get("INSTRUME", "")), str(header.get("FILTER", "")))
    if known is None or header.get("ROLL_REF") is None:
        return []
    star = [1e-3 * float(header.get(key) or 0.0) for key in STAR_OFFSETS]
    pa_y = float(header["ROLL_REF"]) + float(header.get("V3I_YANG") or 0.0)
    found = []
    for along, across in _in_mask_frame(known):
        t = np.radians(known.boundary_tilt)
        dx = along * np.cos(t) - across * np.sin(t) - star[0]
        dy = along * np.sin(t) + across * np.cos(t) - star[1]
        east, north = sky_offset(np.hypot(dx, dy), position_angle(dx, dy, pa_y))
        found.append((east, north))
    return found


def _in_mask_frame(mask: Coronagraph) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Lines in the frame of the mask, arcsec from its center."""
    line, half = np.array([-1.0, 1.0]) * mask.field_size / 2, mask.bar_width / 2
    zero = np.zeros(2)
    if mask.kind == "4QPM":
        return [(line, zero), (zero, line)]
    angle = np.linspace(0.0, 2 * np.pi, 121)
    spot = (mask.spot_radius * np.cos(angle), mask.spot_radius * np.sin(angle))
    return [spot, (zero + half, line), (zero - half, line)]


def distance_to_lines(east: float, north: float, lines: Sequence[Line]) -> float:
    """Distance of a point from the nearest of straight lines and circles, arcsec; infinite without any."""
    distances = [np.inf]
    for x, y in lines:
        a, b = np.stack([x[:-1], y[:-1]]), np.stack([x[1:], y[1:]])
        point = np.array([[east], [north]])
        length = np.sum((b - a) ** 2, axis=0)
        part = np.clip(np.sum((point - a) * (b - a), axis=0) / np.where(length > 0, length, 1.0), 0.0, 1.0)
        distances.append(float(np.hypot(*(a + part * (b - a) - point)).min()))
    return min(distances)


def north_up(item: Product, view: View, shape: tuple[int, int]) -> NDArray[np.float64]:
    """An image in detector orientation, turned onto a north-up grid by linear interpolation.

    Parameters
    ----------
    item : Product
        Image with the star at `item.view.center`.
    view : View
        Of the grid.
    shape : (ny, nx)
        Of the grid.

    Returns
    -------
    (ny, nx) float64 ndarray
        NaN outside of the image.
    """
    y, x = np.indices(shape, dtype=float)
    east = -(x - view.center[0]) * view.pixel_scale[0]
    north = (y - view.center[1]) * view.pixel_scale[1]
    separation, angle = separation_and_pa(east, north)
    dx, dy = detector_offset(separation, angle, item.view.pa_y)
    columns = item.view.center[0] + dx / item.view.pixel_scale[0]
    rows = item.view.center[1] + dy / item.view.pixel_scale[1]
    return np.asarray(ndimage.map_coordinates(item.image, [rows, columns], order=1, cval=np.nan))


def mean_image(images: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean of the finite values of images of one shape; NaN where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without data in all
        return np.asarray(np.nanmean(np.stack(images), axis=0))


def regions_text(star: tuple[float, float], marked: Sequence[Marked], radius: float) -> str:
    """Region file for ds9: the star, and a circle around each detection and companion, ICRS; candidates are dashed.

    Parameters
    ----------
    star : (ra, dec)
        Degrees.
    marked : sequence of Marked
        Those that were rejected are left out.
    radius : float
        Of the circles, arcsec.
    """
    origin = SkyCoord(*star, unit="deg", frame="icrs")
    lines = ["# Region file format: DS9", "global color=green width=2", "icrs"]
    lines.append(f"point({star[0]:.8f},{star[1]:.8f}) # point=cross text={{star}}")
    for source in marked:
        if source.kind == "rejected":
            continue
        sky = origin.spherical_offsets_by(source.east * u.arcsec, source.north * u.arcsec)
        color = " color=magenta" if source.kind == "companion" else ""
        text = f'circle({sky.ra.deg:.8f},{sky.dec.deg:.8f},{radius:.3f}")'
        dash = " dash=1" if source.unsure else ""
        lines.append(f"{text} #{color}{dash} text={{{source.label}}}")
    return "\n".join(lines) + "\n"
