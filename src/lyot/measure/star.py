"""Stellar flux from a target-acquisition image.

The star is acquired beside the mask, through a filter of its own (MIRI: FND, a neutral-density filter near 13 um, or
F560W, F1000W, F1500W for faint stars). Its flux there comes from an aperture; to the coronagraphic filter it is carried
by a color that the user gives, by default that of a star whose spectrum falls as in the Rayleigh-Jeans law.

What limits it: acquisition images are short and the star may be near saturation; the neutral-density filter's
attenuation is known to a few per cent at best and images in DN/s need the user's conversion; a star with warm dust is
not a Rayleigh-Jeans source. The error given here holds the photometry and the stated relative error of the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.geometry import offset_grid
from lyot.measure.photometry import FloatArray, Star
from lyot.params import param

ACQUISITION_WAVELENGTH = {"FND": 12.9, "F560W": 5.6, "F1000W": 10.0, "F1500W": 15.1}
"""Wavelengths at which acquisition filters work for a stellar spectrum, um (rounded)."""


@dataclass(frozen=True)
class AcquisitionParams:
    """Parameters of the photometry of the star in a target-acquisition image."""

    radius: float = param(
        8.0, help="radius of the photometric aperture on the acquisition image", unit="pixel", min=1.0
    )
    inner: float = param(
        12.0, help="inner radius of the background annulus on the acquisition image", unit="pixel", min=1.0
    )
    outer: float = param(
        18.0, help="outer radius of the background annulus on the acquisition image", unit="pixel", min=2.0
    )
    aperture_fraction: float = param(
        0.86, help="fraction of the stellar flux inside the aperture on the acquisition image", min=0.01, max=1.0
    )
    calibration_error: float = param(0.1, help="relative error of calibration, attenuation and color together", min=0.0)
    jy_per_unit: float | None = param(
        None, help="Jy per unit of the summed image; required for images not in MJy/sr", min=0.0
    )
    color: float | None = param(
        None,
        help="ratio of the flux in the coronagraphic filter to that in the acquisition filter; default: Rayleigh-Jeans",
        min=0,
    )


@dataclass(frozen=True)
class AperturePhotometry:
    """Flux of one star in an image, in the unit of the image times pixels.

    Attributes
    ----------
    flux, error : float
        Background subtracted; error from the scatter of the background ring, for the aperture and the background.
    x, y : float
        Centroid, 0-based pixels.
    peak : float
        Highest pixel above the background.
    bad : int
        Pixels of the aperture without data; they are filled with the mean of those at the same distance.
    """

    flux: float
    error: float
    x: float
    y: float
    peak: float
    bad: int


def aperture_photometry(
    image: NDArray[np.floating], params: AcquisitionParams | None = None, *, near: tuple[float, float] | None = None
) -> AperturePhotometry:
    """Measure the brightest star of an image.

    Parameters
    ----------
    image : (ny, nx) array of float
        Any linear unit; NaN where there are no data.
    params : AcquisitionParams, optional
    near : (x, y), optional
        Look within the aperture's radius of this place, 0-based pixels; by default everywhere.

    Raises
    ------
    InputError
        If there is no star that stands out, or the aperture is not on the data.
    """
    p = params or AcquisitionParams()
    data = np.array(image, dtype=np.float64)
    if data.ndim != 2 or p.outer <= p.inner:
        raise InputError(f"acquisition: expected an image and inner < outer, got shape {data.shape}.")
    x, y = _brightest(data, p.radius, near)
    for _ in range(3):
        x, y = _centroid(data, x, y, p)
    dx, dy = offset_grid((data.shape[0], data.shape[1]), (x, y))
    r = np.hypot(dx, dy)
    ring = data[(r >= p.inner) & (r <= p.outer) & np.isfinite(data)]
    if len(ring) < 20:
        raise InputError("acquisition: fewer than 20 pixels of background around the star; choose smaller radii.")
    background = float(np.median(ring))
    scatter = 1.4826 * float(np.median(np.abs(ring - background)))
    weight = np.clip(p.radius + 0.5 - r, 0.0, 1.0)  # pixels on the edge count by the part that is inside
    inside = weight > 0
    bad = inside & ~np.isfinite(data)
    filled = data - background
    for iy, ix in zip(*np.nonzero(bad), strict=True):
        same = inside & ~bad & (np.abs(r - r[iy, ix]) <= 1.0)
        filled[iy, ix] = filled[same].mean() if same.any() else 0.0
    flux = float(np.sum(weight[inside] * filled[inside]))
    area = float(weight.sum())
    error = scatter * float(np.sqrt(area + area**2 * np.pi / 2 / len(ring)))
    return AperturePhotometry(flux, error, x, y, float(filled[inside].max()), int(bad.sum()))


def _brightest(data: FloatArray, radius: float, near: tuple[float, float] | None) -> tuple[float, float]:
    """The pixel with the most light in the 3 x 3 pixels around it: a hot pixel alone does not win."""
    finite = np.isfinite(data)
    if not finite.any():
        raise InputError("acquisition: all pixels are NaN.")
    level = float(np.median(data[finite]))
    padded = np.pad(np.where(finite, data - level, 0.0), 1)
    ny, nx = data.shape
    nine = np.sort([padded[j : j + ny, i : i + nx] for j in range(3) for i in range(3)], axis=0)
    smooth = nine[:-1].sum(axis=0)
    if near is not None:
        dx, dy = offset_grid((ny, nx), near)
        smooth = np.where(np.hypot(dx, dy) <= radius, smooth, -np.inf)
    iy, ix = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    if not smooth[iy, ix] > 0:
        raise InputError("acquisition: no star is detected above the background.")
    return float(ix), float(iy)


def _centroid(data: FloatArray, x: float, y: float, p: AcquisitionParams) -> tuple[float, float]:
    """Center of light within half the aperture's radius, above the background at its edge."""
    dx, dy = offset_grid((data.shape[0], data.shape[1]), (x, y))
    r = np.hypot(dx, dy)
    use = (r <= max(p.radius / 2, 2.0)) & np.isfinite(data)
    if not use.any():
        return x, y
    level = float(np.median(data[(r <= p.radius) & np.isfinite(data)]))
    light = np.where(use, np.maximum(np.nan_to_num(data) - level, 0.0), 0.0)
    total = light.sum()
    if total <= 0:
        return x, y
    return x + float((light * dx).sum() / total), y + float((light * dy).sum() / total)


def star_from_acquisition(
    image: NDArray[np.floating],
    wavelengths: tuple[float, float],
    params: AcquisitionParams | None = None,
    *,
    pixel_area: float | None = None,
) -> tuple[Star, AperturePhotometry]:
    """Flux of the star in the coronagraphic filter, from its acquisition image.

    Parameters
    ----------
    image : (ny, nx) array of float
        MJy/sr with `pixel_area`, else any unit with `params.jy_per_unit`; NaN where there are no data (saturated).
    wavelengths : (acquisition, coronagraph)
        Wavelengths of the two filters, um, for the default color (ratio of the squares: F_nu falls as lambda^-2).
    params : AcquisitionParams, optional
    pixel_area : float, optional
        Steradian, for images in MJy/sr.

    Returns
    -------
    Star
    AperturePhotometry
        In the unit of the image times pixels.

    Raises
    ------
    InputError
        If neither conversion to Jy is given, or no star is found.
    """
    p = params or AcquisitionParams()
    if p.jy_per_unit is None and pixel_area is None:
        raise InputError("acquisition: the image is not in MJy/sr; give jy_per_unit, the Jy per unit of the image.")
    factor = p.jy_per_unit if p.jy_per_unit is not None else 1e6 * float(pixel_area or 0.0)
    color = p.color if p.color is not None else (wavelengths[0] / wavelengths[1]) ** 2
    found = aperture_photometry(image, p)
    if not found.flux > 0:
        raise InputError("acquisition: no flux above the background in the aperture of the star.")
    flux = found.flux * factor * color / p.aperture_fraction
    relative = float(np.hypot(found.error / found.flux, p.calibration_error))
    return Star(flux, flux * relative, "target acquisition"), found


def windowed_centroid(
    image: NDArray[np.floating], start: tuple[float, float], *, sigma: float = 2.0, radius: float = 6.0
) -> tuple[float, float]:
    """Centroid (x, y), 0-based pixels, under a Gaussian window that moves with it until it stands still.

    Parameters
    ----------
    image : (ny, nx) float array
        NaN pixels are left out.
    start : (x, y)
        Within some pixels of the star.
    sigma, radius : float, optional
        Of the window, pixels; the background is the median from `radius` to 1.5 `radius`.
    """
    x, y = start
    for _ in range(60):
        dx, dy = offset_grid((image.shape[0], image.shape[1]), (x, y))
        r2 = dx**2 + dy**2
        good = np.isfinite(image)
        ring = good & (r2 > radius**2) & (r2 < (1.5 * radius) ** 2)
        use = good & (r2 <= radius**2)
        level = float(np.median(image[ring])) if ring.any() else 0.0
        weight = np.exp(-0.5 * r2[use] / sigma**2) * (image[use] - level)
        total = float(weight.sum())
        if not total > 0:
            break
        step = 2 * float((weight * dx[use]).sum()) / total, 2 * float((weight * dy[use]).sum()) / total
        if np.hypot(*step) > 2.0:
            break
        x, y = x + step[0], y + step[1]
        if np.hypot(*step) < 1e-4:
            break
    return x, y
