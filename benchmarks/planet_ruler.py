"""One ruler for every image: aperture flux of a planet at its known place against apertures on the same ring.

The apertures have a diameter of one lambda/D and are centered exactly (their edge pixels count by the area inside), so
that images on different grids and of any orientation are measured alike. The scatter is taken over the part of the
ring that is not next to the planet, in steps of an eighth of an aperture, which uses all of it; the number of
independent apertures enters as in Mawet et al. (2014), so that

    snr = (x - mean) / (scatter sqrt(n / (n - 1)) sqrt(1 + 1 / n)).

At 0.82 arcsec and 15.5 um n is 7: such a scatter is itself uncertain by 29 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

OVERSAMPLE = 10
STEPS = 8
"""Positions per aperture diameter at which the ring is sampled."""


@dataclass(frozen=True)
class Place:
    """Where a planet is in an image.

    Attributes
    ----------
    star, planet : (x, y)
        0-based pixels.
    fwhm : float
        Diameter of the aperture, pixels.
    """

    star: tuple[float, float]
    planet: tuple[float, float]
    fwhm: float


@dataclass(frozen=True)
class Reading:
    """What the ruler says: S/N, aperture flux less the ring's mean, its noise, and the number of other apertures."""

    snr: float
    signal: float
    noise: float
    elements: int


def aperture_weights(shape: tuple[int, int], position: tuple[float, float], fwhm: float) -> FloatArray:
    """Part of each pixel that lies inside an aperture: (ny, nx) float64, 0 to 1."""
    weights = np.zeros(shape)
    x, y = position
    half = int(np.ceil(fwhm / 2 + 1))
    x0, y0 = round(x) - half, round(y) - half
    sub = (np.arange((2 * half + 1) * OVERSAMPLE) + 0.5) / OVERSAMPLE - 0.5
    inside = (sub[:, None] + y0 - y) ** 2 + (sub[None, :] + x0 - x) ** 2 <= (fwhm / 2) ** 2
    n = 2 * half + 1
    stamp = inside.reshape(n, OVERSAMPLE, n, OVERSAMPLE).mean(axis=(1, 3))
    rows = slice(max(y0, 0), min(y0 + n, shape[0]))
    columns = slice(max(x0, 0), min(x0 + n, shape[1]))
    weights[rows, columns] = stamp[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]
    return weights


def aperture_sum(image: FloatArray, position: tuple[float, float], fwhm: float) -> float:
    """Sum in an aperture; NaN pixels count as the mean of the others, NaN if they are more than 30 % of it."""
    weights = aperture_weights((image.shape[0], image.shape[1]), position, fwhm)
    used = np.where(np.isfinite(image), weights, 0.0)
    if used.sum() < 0.7 * np.pi * fwhm**2 / 4:
        return float("nan")
    return float((used * np.nan_to_num(image)).sum() * weights.sum() / used.sum())


def ring_sums(image: FloatArray, place: Place, *, guard: float) -> tuple[FloatArray, int]:
    """Sums in apertures on the ring, more than `guard` diameters from the planet, and how many are independent."""
    dx, dy = place.planet[0] - place.star[0], place.planet[1] - place.star[1]
    radius, angle = float(np.hypot(dx, dy)), float(np.arctan2(dy, dx))
    whole = 2 * np.pi * radius / place.fwhm
    free = whole - 2 * guard
    steps = np.arange(round(free * STEPS) + 1) / STEPS if guard > 0 else np.arange(round(whole * STEPS)) / STEPS
    theta = angle + (guard + steps) * place.fwhm / radius
    sums = [
        aperture_sum(image, (place.star[0] + radius * np.cos(t), place.star[1] + radius * np.sin(t)), place.fwhm)
        for t in theta
    ]
    good = np.array(sums)[np.isfinite(sums)]
    elements = int((free + 1 if guard > 0 else whole) * len(good) / max(len(sums), 1))
    return good, elements


def read(image: FloatArray, place: Place, *, guard: float = 2.0) -> Reading:
    """Measure a planet in an image; with `guard` 0 the whole ring is noise (for images without the planet)."""
    others, n = ring_sums(image, place, guard=guard)
    if n < 4:
        return Reading(float("nan"), float("nan"), float("nan"), n)
    noise = float(others.std() * np.sqrt(n / (n - 1)) * np.sqrt(1 + 1 / n))
    signal = aperture_sum(image, place.planet, place.fwhm) - float(others.mean())
    return Reading(signal / noise, signal, noise, n)
