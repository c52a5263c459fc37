"""The field divided into zones: where the star's light is fitted, and where it is subtracted.

Each pixel of the field is subtracted in one zone only (nothing is blended). The region of the fit of a zone may reach
further than the region of subtraction, and leaves out what would spoil the fit.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from lyot import geometry
from lyot.errors import ReductionError
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.sequence import BoolArray, CoronagraphicSequence, FloatArray, IntArray

MIRI_EDGES = (2.4, 5.0)
"""Radii between the annuli of MIRI's coronagraphs, arcsec."""

SMALLEST_FIT = 50
"""A cell with fewer pixels than this to fit takes the fit of its whole annulus."""


STARLIGHT = 5.0
"""Separation inside of which the common light of the references is the star's, arcsec: the diffraction pattern of the
segments reaches to 4.1 in F1550C. Further out it is as often structure of the background (HD 106906)."""


@dataclass(frozen=True)
class Zone:
    """One zone.

    Attributes
    ----------
    name : str
        E.g. ``"annulus 0.0-2.4 arcsec"``.
    fit, subtract : (n,) int ndarray
        Flat indices (into a (ny, nx) frame, C order) of the pixels of the fit, and of those that are subtracted.
    around_star : bool
        Whether it belongs to the innermost annulus.
    in_starlight : bool
        Whether it begins inside `STARLIGHT`.
    """

    name: str
    fit: IntArray
    subtract: IntArray
    around_star: bool = False
    in_starlight: bool = False


def field_mask(sequence: CoronagraphicSequence, params: ReductionParams) -> BoolArray:
    """Pixels that are reduced: inside the field stop and between the inner and outer radius.

    Returns
    -------
    (ny, nx) bool ndarray
    """
    radius = radius_arcsec(sequence)
    field = radius >= params.inner_radius
    if params.outer_radius is not None:
        field &= radius <= params.outer_radius
    if sequence.throughput is not None:
        field &= np.isfinite(sequence.throughput)
    return field


def radius_arcsec(sequence: CoronagraphicSequence) -> FloatArray:
    """Distance of each pixel from the star (mean position over the exposures), arcsec: (ny, nx)."""
    dx, dy = _offsets(sequence)
    return np.asarray(np.hypot(dx, dy))


def _offsets(sequence: CoronagraphicSequence) -> tuple[FloatArray, FloatArray]:
    x, y = sequence.star.mean(axis=0)
    dx, dy = geometry.offset_grid(sequence.shape, (float(x), float(y)))
    return dx * sequence.pixel_scale[0], dy * sequence.pixel_scale[1]


def mask_quadrants(sequence: CoronagraphicSequence) -> tuple[IntArray, FloatArray]:
    """Quadrant (1 to 4) of each pixel, and its distance from the nearest boundary in arcsec.

    Raises
    ------
    ReductionError
        If the sequence has no `boundary_tilt`.
    """
    if sequence.boundary_tilt is None:
        raise ReductionError("quadrants require a sequence with boundary_tilt (a four-quadrant mask).")
    x, y = sequence.mask_center or tuple(sequence.star.mean(axis=0))
    quadrant, distance = geometry.quadrant_map(sequence.shape, (x, y), sequence.boundary_tilt)
    return quadrant.astype(np.intp), distance * float(np.mean(sequence.pixel_scale))


def build_zones(
    sequence: CoronagraphicSequence,
    params: ReductionParams,
    *,
    usable: BoolArray,
    exclude: BoolArray | None = None,
) -> tuple[Zone, ...]:
    """Divide the field into annuli, sectors and quadrants.

    Parameters
    ----------
    sequence : CoronagraphicSequence
        Gives the star, pixel scale, field stop and mask.
    params : ReductionParams
        `zone_edges`, `sectors`, `quadrants`, `fit_margin`, `boundary_buffer` and the radii are used.
    usable : (ny, nx) bool ndarray
        Pixels good enough in science and references to be used at all.
    exclude : (ny, nx) bool ndarray, optional
        Pixels that are left out of the fit only.

    Returns
    -------
    tuple of Zone
        Innermost first; zones without pixels are left out.

    Raises
    ------
    ReductionError
        If no pixel is left.
    """
    radius = radius_arcsec(sequence)
    field = field_mask(sequence, params) & usable
    fit_field = field & _off_boundaries(sequence, params)
    if exclude is not None:
        fit_field &= ~np.asarray(exclude, dtype=bool)
    angular = _angular_cells(sequence, params)
    edges = _edges(sequence, params, float(radius[field].max()) if field.any() else 0.0)
    zones = []
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (radius >= low) & (radius < high)
        near = (radius >= low - params.fit_margin) & (radius < high + params.fit_margin)
        cells = np.zeros_like(angular) if i == 0 and not params.quadrants else angular
        for cell in np.unique(cells[inside & field]):
            part = cells == cell
            subtract = np.flatnonzero(inside & field & part)
            fit = np.flatnonzero(near & fit_field & part)
            if len(fit) < SMALLEST_FIT:
                fit = np.flatnonzero(near & fit_field)
            if len(subtract) == 0 or len(fit) == 0:
                continue
            suffix = "" if cells.max() == 0 else f", cell {cell}"
            zones.append(
                Zone(
                    f"annulus {low:.2f}-{high:.2f} arcsec{suffix}",
                    fit,
                    subtract,
                    around_star=i == 0,
                    in_starlight=low < STARLIGHT,
                )
            )
    if not zones:
        raise ReductionError(
            "no pixels left to reduce: field stop, inner_radius, outer_radius and bad pixels mask the whole image."
        )
    return tuple(zones)


def subtracted_pixels(zones: tuple[Zone, ...], shape: tuple[int, int]) -> BoolArray:
    """Pixels that are subtracted in one of the zones: (ny, nx) bool ndarray."""
    mask = np.zeros(shape, dtype=bool)
    for zone in zones:
        mask.ravel()[zone.subtract] = True
    return mask


def zone_edges(sequence: CoronagraphicSequence, params: ReductionParams) -> tuple[float, ...]:
    """Radii between the annuli, arcsec: as given, or `MIRI_EDGES` where the mask of a MIRI coronagraph is known.

    Those were chosen for the thermal background and the image scale of MIRI; for NIRCam, annuli took light from a disk.
    """
    if params.zone_edges is not None:
        return params.zone_edges
    return MIRI_EDGES if sequence.boundary_tilt is not None or sequence.throughput is not None else ()


def _edges(sequence: CoronagraphicSequence, params: ReductionParams, largest: float) -> list[float]:
    inner = sorted({e for e in zone_edges(sequence, params) if params.inner_radius < e < largest})
    return [params.inner_radius, *inner, np.nextafter(largest, np.inf)]


def _off_boundaries(sequence: CoronagraphicSequence, params: ReductionParams) -> BoolArray:
    if params.boundary_buffer == 0:
        return np.ones(sequence.shape, dtype=bool)
    return np.asarray(mask_quadrants(sequence)[1] >= params.boundary_buffer)


def _angular_cells(sequence: CoronagraphicSequence, params: ReductionParams) -> IntArray:
    """Number of the sector (and quadrant) of each pixel, from 0."""
    cells = np.zeros(sequence.shape, dtype=np.intp)
    if params.sectors > 1:
        dx, dy = _offsets(sequence)
        turn = (np.arctan2(dy, dx) / (2 * np.pi)) % 1.0
        cells = np.minimum((turn * params.sectors).astype(np.intp), params.sectors - 1)
    if params.quadrants:
        cells = cells * 4 + mask_quadrants(sequence)[0] - 1
    return cells
