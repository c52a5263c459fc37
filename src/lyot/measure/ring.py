"""A parametric debris disk: a ring with its radial profile and thickness, in scattered or thermal light.

The density is that of Augereau et al. (1999, A&A 348, 557, their Eqs. 1 to 4): two power laws that meet at the radius
of the ring, times a vertical Gaussian whose scale height grows in proportion to the distance. Scattered light falls as
the inverse square of the distance from the star and follows one or two Henyey-Greenstein (1941, ApJ 93, 70) phase
functions; thermal light is isotropic, and follows the Planck function where a temperature is given. The disk is
optically thin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ConfigError, InputError
from lyot.measure.disks import DiskModel
from lyot.measure.injection import FloatArray
from lyot.params import param

FLAT = 88.0
"""Inclination above which a disk without thickness has no image of finite brightness, degrees."""

HEIGHTS = 3.5
"""Scale heights above and below the midplane that hold the light."""

_PLANCK = 14387.77
"""Second radiation constant hc/k, um K."""


@dataclass(frozen=True)
class RingParams:
    """A ring around the star.

    Lengths are on the sky as seen face-on. The near side lies at a position angle of `major_axis` + 90 degrees; add 180
    to `major_axis` for the other side.

    Examples
    --------
    >>> from lyot.measure import RingParams, ring_image
    >>> ring = RingParams(radius=1.0, profile="gaussian", width=0.1, inclination=60.0, major_axis=90.0)
    >>> image = ring_image(ring, half_size=1.5, pixel_scale=0.05).image
    >>> bool(image[30].sum() > image[:, 30].sum())  # the long axis is east to west: along a row
    True
    """

    radius: float = param(1.5, help="radius of maximum density", unit="arcsec", min=0.02, max=30.0)
    profile: str = param(
        "power",
        help="radial profile of the midplane density: power (two power laws, alpha_in and alpha_out) or gaussian "
        "(width)",
        choices=("power", "gaussian"),
    )
    alpha_in: float = param(5.0, help="power-law exponent of the density inside the radius", min=0.0, max=40.0)
    alpha_out: float = param(-5.0, help="power-law exponent of the density outside the radius", min=-40.0, max=-0.5)
    width: float = param(0.2, help="standard deviation of the Gaussian profile", unit="arcsec", min=0.01, max=10.0)
    aspect: float = param(
        0.05, help="aspect ratio: scale height divided by distance from the star; 0 for a flat disk", min=0.0, max=0.5
    )
    inclination: float = param(45.0, help="inclination; 0 is face-on", unit="deg", min=0.0, max=90.0)
    major_axis: float = param(0.0, help="position angle of the major axis, east of north", unit="deg")
    offset_major: float = param(
        0.0, help="offset of the ring center from the star in the disk plane, along the major axis", unit="arcsec"
    )
    offset_minor: float = param(
        0.0, help="offset of the ring center from the star in the disk plane, toward the near side", unit="arcsec"
    )
    light: str = param(
        "thermal",
        help="origin of the light: thermal (isotropic emission) or scattered (starlight)",
        choices=("thermal", "scattered"),
    )
    g: float = param(0.0, help="asymmetry parameter of the Henyey-Greenstein phase function", min=-0.99, max=0.99)
    g2: float = param(0.0, help="asymmetry parameter of a second Henyey-Greenstein phase function", min=-0.99, max=0.99)
    g2_weight: float = param(0.0, help="weight of the second phase function", min=0.0, max=1.0)
    temperature: float | None = param(
        None,
        help="thermal emission: temperature at the radius, which decreases as the inverse square root of the "
        "distance; none: surface brightness proportional to density",
        unit="K",
        min=3.0,
        max=3000.0,
    )


def ring_image(
    ring: RingParams, half_size: float, pixel_scale: float, *, wavelength: float = 15.0, oversample: int = 2
) -> DiskModel:
    """Image of a ring on the sky, north up and east to the left, of total flux 1.

    Parameters
    ----------
    ring : RingParams
    half_size : float
        Half side of the image, arcsec; light farther from the star is left out, and not in the total flux.
    pixel_scale : float
        arcsec per pixel.
    wavelength : float, optional
        Of the Planck function, um.
    oversample : int, optional
        Points per pixel in each direction.

    Returns
    -------
    DiskModel
        Star at the middle of the image, which has an odd number of pixels per side; before any PSF.

    Raises
    ------
    InputError
        If a flat disk is seen edge-on, or the image holds no light.

    Examples
    --------
    >>> model = ring_image(RingParams(radius=1.0, profile="gaussian", width=0.1, inclination=0.0), 1.5, 0.05)
    >>> model.image.shape, round(float(model.image.sum()), 6)
    ((61, 61), 1.0)
    """
    n = 2 * int(np.ceil(half_size / pixel_scale)) + 1
    fine = n * oversample
    offset = (np.arange(fine) - (fine - 1) / 2) * (pixel_scale / oversample)
    east, north = np.meshgrid(-offset, offset)
    light = brightness(ring, east, north, reach=1.5 * half_size, wavelength=wavelength)
    light = np.where(np.hypot(east, north) <= half_size, light, 0.0)
    image = light.reshape(n, oversample, n, oversample).mean(axis=(1, 3))
    total = float(image.sum())
    if not (np.isfinite(total) and total > 0):
        raise InputError(
            f"ring: no light inside {half_size:.2f} arcsec for a radius of {ring.radius:g} arcsec; enlarge the region "
            "or reduce the radius."
        )
    return DiskModel(image / total, pixel_scale)


def brightness(
    ring: RingParams, east: FloatArray, north: FloatArray, *, reach: float, wavelength: float = 15.0
) -> FloatArray:
    """Surface brightness of a ring at sky offsets from the star, any scale.

    Parameters
    ----------
    ring : RingParams
    east, north : (...) float64 ndarray
        Offsets from the star, arcsec.
    reach : float
        Largest distance from the ring's center along the line of sight, arcsec.
    wavelength : float, optional
        um.

    Returns
    -------
    (...) float64 ndarray

    Raises
    ------
    InputError
        If a flat disk is seen edge-on.
    """
    if ring.aspect == 0 and ring.inclination > FLAT:
        raise InputError(
            f"ring: a flat disk (aspect = 0) at an inclination of {ring.inclination:g} deg has no finite brightness; "
            "give it a thickness, e.g. aspect = 0.03."
        )
    axis, tilt = np.radians(ring.major_axis), np.radians(ring.inclination)
    sin, cos = float(np.sin(tilt)), max(float(np.cos(tilt)), 1e-9)
    u = east * np.sin(axis) + north * np.cos(axis) - ring.offset_major
    v = east * np.cos(axis) - north * np.sin(axis) - ring.offset_minor * cos
    if ring.aspect == 0:
        y = v / cos
        return _flat(ring, u, y, y * sin, wavelength) / cos
    low, high = _layer(u, v, (sin, cos), HEIGHTS * ring.aspect, reach)
    length = high - low
    if not (length > 0).any():
        return np.zeros(np.shape(u))
    crossing = np.minimum(np.hypot(u, v / cos), reach)
    height = ring.aspect * np.maximum(crossing, 0.3 * ring.radius)
    radial = max(radial_scale(ring), 0.005 * reach)  # narrower rings are as wide as a step, at the same total light
    resolved = np.minimum(0.8 * height / cos, 0.7 * radial / max(sin, 1e-3))
    count = int(np.clip(np.ceil((length / resolved).max()), 8, 600))
    total = np.zeros(np.shape(u))
    step = length / count
    for k in range(count):
        along = low + (k + 0.5) * step
        total += _volume(ring, u, v * cos + along * sin, along * cos - v * sin, along, wavelength)
    return total * step


def _layer(
    u: FloatArray, v: FloatArray, tilt: tuple[float, float], slope: float, reach: float
) -> tuple[FloatArray, FloatArray]:
    """Where a line of sight enters and leaves the layer whose height above the midplane is `slope` times the distance.

    That is where (l cos - v sin)^2 = slope^2 (u^2 + (v cos + l sin)^2): a quadratic equation for l, with an interval
    between its roots unless the line of sight is as flat as the layer.
    """
    sin, cos = tilt
    a = cos**2 - (slope * sin) ** 2
    if a < 1e-3:
        return np.full(np.shape(u), -reach), np.full(np.shape(u), reach)
    b = v * sin * cos * (1 + slope**2)
    c = (v * sin) ** 2 - slope**2 * (u**2 + (v * cos) ** 2)
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    return np.clip((b - root) / a, -reach, reach), np.clip((b + root) / a, -reach, reach)


def radial_scale(ring: RingParams) -> float:
    """Distance over which the density changes by a factor of about two, arcsec."""
    return ring.width if ring.profile == "gaussian" else ring.radius / max(ring.alpha_in, -ring.alpha_out, 1.0)


def _profile(ring: RingParams, r: FloatArray) -> FloatArray:
    """Midplane density at distances from the ring's center, 1 near the radius."""
    if ring.profile == "gaussian":
        return np.asarray(np.exp(-((r - ring.radius) ** 2) / (2 * ring.width**2)))
    x = np.maximum(r, 1e-6) / ring.radius
    with np.errstate(over="ignore"):
        return np.asarray(np.sqrt(2.0 / (x ** (-2 * ring.alpha_in) + x ** (-2 * ring.alpha_out))))


def _flat(ring: RingParams, x: FloatArray, y: FloatArray, along: FloatArray, wavelength: float) -> FloatArray:
    """Light of a disk without thickness: its surface density is the midplane density times the distance."""
    r = np.hypot(x, y)
    return _profile(ring, r) * r * _emission(ring, x, y, np.zeros_like(x), along, wavelength)


def _volume(
    ring: RingParams, x: FloatArray, y: FloatArray, z: FloatArray, along: FloatArray, wavelength: float
) -> FloatArray:
    """Light per volume at positions in the frame of the disk; `along` is the same point toward the observer."""
    r = np.hypot(x, y)
    height = np.exp(-0.5 * (z / (ring.aspect * np.maximum(r, 1e-3))) ** 2)
    return _profile(ring, r) * height * _emission(ring, x, y, z, along, wavelength)


def _emission(
    ring: RingParams, x: FloatArray, y: FloatArray, z: FloatArray, along: FloatArray, wavelength: float
) -> FloatArray:
    """Light of a grain at positions from the ring's center, seen from the star where it matters."""
    distance = np.sqrt((x + ring.offset_major) ** 2 + (y + ring.offset_minor) ** 2 + z**2)
    distance = np.maximum(distance, 1e-2 * ring.radius)
    if ring.light == "thermal":
        if ring.temperature is None:
            return np.ones_like(distance)
        exponent = _PLANCK / (wavelength * ring.temperature) * np.sqrt(distance / ring.radius)
        reference = _PLANCK / (wavelength * ring.temperature)
        return np.asarray(np.expm1(reference) / np.expm1(np.minimum(exponent, 500.0)))
    tilt = np.radians(ring.inclination)
    toward = along + ring.offset_minor * np.sin(tilt)
    cosine = np.clip(toward / distance, -1.0, 1.0)
    phase = (1 - ring.g2_weight) * henyey_greenstein(cosine, ring.g)
    if ring.g2_weight > 0:
        phase = phase + ring.g2_weight * henyey_greenstein(cosine, ring.g2)
    return np.asarray(phase * (ring.radius / distance) ** 2)


def henyey_greenstein(cosine: FloatArray, g: float) -> FloatArray:
    """Henyey-Greenstein phase function, whose mean over the sphere is 1/(4 pi).

    Parameters
    ----------
    cosine : (...) float64 ndarray
        Cosine of the scattering angle; 1 is forward.
    g : float
        Asymmetry; positive scatters forward.

    Returns
    -------
    (...) float64 ndarray
        Per steradian.
    """
    return np.asarray((1 - g**2) / (4 * np.pi * (1 + g**2 - 2 * g * cosine) ** 1.5))


STEPS = {
    "radius": 0.01, "alpha_in": 0.1, "alpha_out": 0.1, "width": 0.01, "aspect": 0.005, "inclination": 0.5,
    "major_axis": 0.5, "offset_major": 0.01, "offset_minor": 0.01, "g": 0.01, "g2": 0.01, "g2_weight": 0.01,
    "temperature": 3.0,
}  # fmt: skip
"""Parameters that can be fitted, and the steps of their derivatives, in their units."""


def check_fitted(ring: RingParams, names: tuple[str, ...]) -> None:
    """Raise `ConfigError` if a parameter is not one of a ring, or has no effect on this one.

    Parameters
    ----------
    ring : RingParams
    names : tuple of str
        Parameters that are to be fitted.
    """
    idle = {
        "width": ring.profile != "gaussian", "alpha_in": ring.profile != "power", "alpha_out": ring.profile != "power",
        "g": ring.light != "scattered", "g2": ring.light != "scattered" or ring.g2_weight == 0,
        "g2_weight": ring.light != "scattered", "temperature": ring.light != "thermal" or ring.temperature is None,
        "aspect": ring.aspect == 0,
    }  # fmt: skip
    for name in names:
        if name not in STEPS:
            raise ConfigError(f"[disk] fit: {name!r} cannot be fitted; expected some of {', '.join(STEPS)}.")
        if idle.get(name):
            raise ConfigError(
                f"[disk] fit: {name} has no effect on this ring (profile {ring.profile}, {ring.light} light); leave it "
                "out, or change the profile, the light or its starting value."
            )
    if len(set(names)) != len(names):
        raise ConfigError("[disk] fit: each parameter once, please.")


def with_values(ring: RingParams, names: tuple[str, ...], values: NDArray[np.float64]) -> RingParams:
    """The ring with other values of some parameters.

    Parameters
    ----------
    ring : RingParams
    names : tuple of str
    values : (n,) float64 ndarray
        In the units of the parameters.

    Returns
    -------
    RingParams
    """
    changes: dict[str, Any] = dict(zip(names, (float(v) for v in values), strict=True))
    return replace(ring, **changes)
