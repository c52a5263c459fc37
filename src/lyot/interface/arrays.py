"""`subtract_star`: subtraction of the star from images in memory, of any instrument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from lyot.analysis.combined_image import wcs_of
from lyot.errors import InputError
from lyot.geometry import scale_of_matrix
from lyot.interface.quantities import number, plain_parameters
from lyot.params import describe, from_mapping
from lyot.subtract import CoronagraphicSequence, ReductionParams, ReductionResult, plan_reduction

FloatArray = NDArray[np.float64]
Exposure: TypeAlias = "ArrayLike | NDData | fits.HDUList | fits.ImageHDU | fits.PrimaryHDU"
"""Frames (ny, nx) or (n, ny, nx): an array, NDData (mask, uncertainty and WCS are used), or HDUs (SCI, ERR, WCS)."""


@dataclass(frozen=True)
class Subtracted:
    """The star subtracted from a sequence of images.

    Attributes
    ----------
    image : NDData
        Combined image, north up and east left: data (Ny, Nx) in the unit of the science, standard deviation where the
        science has one, mask, WCS relative to the star (offsets in degrees), ``meta["star"]`` the 0-based pixel (x, y).
    cube : (nK, Ny, Nx) float64 ndarray
        Combined image at each number of modes; NaN where there are no data.
    truncations : tuple of int
        Numbers of modes.
    pixel_scale : Quantity
        Of the combined image, arcsec.
    result : ReductionResult
        Everything else: residuals on the detector, images of the rolls, variances.
    """

    image: NDData
    cube: FloatArray
    truncations: tuple[int, ...]
    pixel_scale: u.Quantity
    result: ReductionResult


@dataclass(frozen=True)
class _Frames:
    """One exposure: frames (n, ny, nx) with NaN where bad, variance or None, unit and WCS where they are known."""

    data: FloatArray
    variance: FloatArray | None
    unit: u.UnitBase | None
    wcs: WCS | None


def subtract_star(
    science: Exposure | Sequence[Exposure],
    references: Exposure | Sequence[Exposure] | None = None,
    *,
    star: ArrayLike | None = None,
    pixel_scale: Any = None,
    position_angle: Any = None,
    wcs: WCS | Sequence[WCS] | None = None,
    modes: int | Sequence[int] | None = None,
    **parameters: Any,
) -> Subtracted:
    """Subtract the star from images in memory, rotate them to north up and combine them.

    Parameters
    ----------
    science : exposure or list of exposures
        Each is an array (ny, nx) or (n, ny, nx), NDData, or FITS HDUs; one exposure per roll. NaN, masked pixels
        and, in HDUs, pixels with bit 1 (DO_NOT_USE) set in DQ are bad.
    references : exposure or list of exposures, optional
        Exposures of the reference star, with the same shape and the star at the same pixel; without references the
        rolls are used as references of each other.
    star : (x, y) or (n, 2) array_like of float, optional
        0-based pixel position of the star, one for all exposures or one for each; CRPIX - 1 of the WCS by default.
    pixel_scale : float, Quantity or pair of them, optional
        Arcsec (per pixel), along x and y if two; from the WCS by default.
    position_angle : float, Quantity or list of them, optional
        Position angle of +y of each science exposure, degrees east of north; from the WCS by default.
    wcs : WCS or list of WCS, optional
        Celestial coordinates of the science exposures, for arrays.
    modes : int or sequence of int, optional
        Numbers of KL modes; the first applies to `image`. Those of `lyot.subtract.ReductionParams` by default.
    **parameters
        Further parameters of `lyot.subtract.ReductionParams`, such as ``outer_radius=3.0``; quantities are converted.

    Returns
    -------
    Subtracted

    Raises
    ------
    InputError
        If shapes differ, or if star, scale or angle are neither given nor in a WCS.
    ConfigError
        For an unknown parameter or an invalid value.
    ReductionError
        If there are neither references nor two rolls.

    Examples
    --------
    A constant star, and a planet of 5 counts per pixel, 12 pixels to the right of it:

    >>> import numpy as np, lyot
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.indices((61, 61)) - 30.0
    >>> halo = 100 * np.exp(-np.hypot(x, y) / 6)
    >>> references = [halo + rng.normal(scale=0.1, size=halo.shape) for _ in range(6)]
    >>> science = [halo + 5 * np.exp(-(x - 12) ** 2 / 4 - y**2 / 4)]
    >>> found = lyot.subtract_star(science, references, star=(30, 30), pixel_scale=0.11, position_angle=0.0, modes=3)
    >>> iy, ix = np.unravel_index(np.nanargmax(found.image.data), found.image.data.shape)
    >>> round(float(ix - found.image.meta["star"][0]))
    12
    """
    exposures = [_frames(e) for e in _several(science)]
    others = [] if references is None else [_frames(e) for e in _several(references)]
    shapes = {e.data.shape[1:] for e in (*exposures, *others)}
    if len(shapes) > 1:
        raise InputError(f"science and references: expected images of one shape, got {sorted(shapes)}.")
    coordinates = _coordinates(exposures, wcs)
    n = len(exposures)
    sequence = CoronagraphicSequence(
        science=np.concatenate([e.data for e in exposures]),
        exposure=np.repeat(np.arange(n), [len(e.data) for e in exposures]),
        pa_y=_angles(position_angle, coordinates, n),
        star=_stars(star, coordinates, n),
        pixel_scale=_scale(pixel_scale, coordinates),
        references=np.concatenate([e.data for e in others]) if others else None,
        reference_exposure=np.repeat(np.arange(len(others)), [len(e.data) for e in others]) if others else None,
        science_variance=_variances(exposures),
        reference_variance=_variances(others) if others else None,
    )
    result = plan_reduction(sequence, _parameters(modes, parameters, bool(others))).reduce()
    return _subtracted(result, exposures[0].unit)


def _several(exposures: Any) -> list[Any]:
    """The exposures of a list, or the one that was given; an HDUList is one exposure, as is an array."""
    is_list = isinstance(exposures, (list, tuple)) and not isinstance(exposures, fits.HDUList)
    found = list(exposures) if is_list else [exposures]
    if not found:
        raise InputError("science: expected at least one exposure, got an empty list.")
    return found


def _frames(exposure: Any) -> _Frames:
    if isinstance(exposure, fits.HDUList):
        return _from_hdus(exposure)
    if isinstance(exposure, (fits.ImageHDU, fits.PrimaryHDU)):
        return _from_hdus(fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(exposure.data, exposure.header, name="SCI")]))
    if isinstance(exposure, NDData):
        data = _cube(exposure.data)
        if exposure.mask is not None:
            data[np.broadcast_to(np.asarray(exposure.mask, dtype=bool), data.shape)] = np.nan
        return _Frames(data, _variance_of(exposure, data.shape), exposure.unit, _celestial(exposure.wcs))
    return _Frames(_cube(exposure), None, getattr(exposure, "unit", None), None)


def _cube(data: Any) -> FloatArray:
    cube = np.array(getattr(data, "value", data), dtype=np.float64)
    if cube.ndim not in (2, 3) or 0 in cube.shape:
        raise InputError(f"exposure: expected an image (ny, nx) or frames (n, ny, nx), got shape {cube.shape}.")
    cube = cube[np.newaxis] if cube.ndim == 2 else cube
    cube[~np.isfinite(cube)] = np.nan
    return cube


def _variance_of(exposure: NDData, shape: tuple[int, ...]) -> FloatArray | None:
    error = exposure.uncertainty
    if error is None:
        return None
    values = np.asarray(error.array, dtype=np.float64)
    if isinstance(error, StdDevUncertainty):
        values = values**2
    elif not isinstance(error, VarianceUncertainty):
        raise InputError(f"uncertainty: expected standard deviations or variances, got {type(error).__name__}.")
    return np.array(np.broadcast_to(values, shape))


def _from_hdus(hdus: fits.HDUList) -> _Frames:
    names = {hdu.name: hdu for hdu in hdus}
    science = names.get("SCI") or next((h for h in hdus if h.data is not None and np.ndim(h.data) >= 2), None)
    if science is None:
        raise InputError("HDUs: expected an image extension, SCI or the first with an image.")
    data = _cube(science.data)
    dq = names.get("DQ")
    if dq is not None and np.shape(dq.data)[-2:] == data.shape[1:]:
        data[np.broadcast_to((np.asarray(dq.data) & 1) > 0, data.shape)] = np.nan
    err = names.get("ERR")
    variance = None
    if err is not None and np.shape(err.data)[-2:] == data.shape[1:]:
        variance = np.array(np.broadcast_to(np.asarray(err.data, dtype=np.float64) ** 2, data.shape))
    unit = str(science.header.get("BUNIT", "")).strip()
    return _Frames(data, variance, u.Unit(unit) if unit else None, _celestial(wcs_of(science.header)))


def _celestial(wcs: Any) -> WCS | None:
    return wcs.celestial if isinstance(wcs, WCS) and wcs.has_celestial else None


def _coordinates(exposures: Sequence[_Frames], given: Any) -> list[WCS] | None:
    """Coordinates of the science exposures, as given or their own; None unless all have them."""
    found = [e.wcs for e in exposures] if given is None else [_celestial(w) for w in _several(given)]
    if given is not None and (len(found) not in (1, len(exposures)) or None in found):
        raise InputError(f"wcs: expected one celestial WCS, or one for each of {len(exposures)} exposures.")
    found = found * len(exposures) if len(found) == 1 else found
    usable = [w for w in found if w is not None]
    return usable if len(usable) == len(exposures) else None


def _missing(name: str) -> InputError:
    return InputError(f"{name}: neither given nor in the WCS of the exposures; give {name}=... or wcs=...")


def _stars(star: Any, coordinates: list[WCS] | None, n: int) -> FloatArray:
    if star is None:
        if coordinates is None:
            raise _missing("star")
        return np.array([np.asarray(w.wcs.crpix, dtype=float) - 1 for w in coordinates])
    places = np.atleast_2d(np.asarray(star, dtype=np.float64))
    if places.shape not in ((1, 2), (n, 2)):
        raise InputError(
            f"star: expected one position (x, y), or one for each of {n} exposures, got shape {np.shape(star)}."
        )
    return np.array(np.broadcast_to(places, (n, 2)))


def _scale(scale: Any, coordinates: list[WCS] | None) -> tuple[float, float]:
    if scale is None:
        if coordinates is None:
            raise _missing("pixel_scale")
        return scale_of_matrix(coordinates[0].pixel_scale_matrix)
    pair = scale if isinstance(scale, (list, tuple)) or np.ndim(scale) == 1 else (scale, scale)
    x, y = (number(v, u.arcsec, "pixel_scale") for v in pair)
    return x, y


def _angles(angle: Any, coordinates: list[WCS] | None, n: int) -> FloatArray:
    if angle is None:
        if coordinates is None:
            raise _missing("position_angle")
        matrices = [w.pixel_scale_matrix for w in coordinates]
        if any(np.linalg.det(m) > 0 for m in matrices):
            raise InputError("wcs: east is to the right of north in an exposure; flip the images first.")
        return np.array([np.degrees(np.arctan2(m[0, 1], m[1, 1])) % 360.0 for m in matrices])
    values = list(angle) if isinstance(angle, (list, tuple)) or np.ndim(angle) == 1 else [angle] * n
    if len(values) != n:
        raise InputError(f"position_angle: expected one for each of {n} exposures, got {len(values)}.")
    return np.array([number(v, u.deg, "position_angle") % 360.0 for v in values])


def _variances(exposures: Sequence[_Frames]) -> FloatArray | None:
    found = [e.variance for e in exposures if e.variance is not None]
    return np.concatenate(found) if len(found) == len(exposures) else None


def _parameters(modes: Any, parameters: dict[str, Any], has_references: bool) -> ReductionParams:
    values = dict(parameters)
    if modes is not None:
        wanted = [modes] if np.ndim(modes) == 0 else list(modes)
        values |= {"truncations": tuple(sorted(set(wanted))), "recommended": wanted[0]}
    if not has_references:
        values.setdefault("strategy", "adi")
    where = "subtract_star: "
    return from_mapping(ReductionParams, plain_parameters(values, describe(ReductionParams), where=where), where=where)


def _subtracted(result: ReductionResult, unit: u.UnitBase | None) -> Subtracted:
    k = result.index()
    data = result.combined[k]
    degrees = result.pixel_scale / 3600.0
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [result.center[0] + 1, result.center[1] + 1]
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.cdelt = [-degrees, degrees]
    error = None
    if result.combined_variance is not None:
        error = StdDevUncertainty(np.sqrt(result.combined_variance[k]), unit=unit)
    image = NDData(
        data, uncertainty=error, mask=~np.isfinite(data), wcs=wcs, unit=unit,
        meta={"star": result.center, "modes": result.recommended},
    )  # fmt: skip
    return Subtracted(image, result.combined, result.truncations, result.pixel_scale * u.arcsec, result)
