"""Synthetic coronagraphic sequences, small and seeded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lyot import geometry
from lyot.subtract import CoronagraphicSequence

SHAPE = (61, 65)
STAR = (31.3, 29.6)
SCALE = (0.1101, 0.1110)
PA_Y = (108.171 + 4.835, 117.550 + 4.835)


def gaussian(x: float, y: float, *, fwhm: float = 4.4, shape: tuple[int, int] = SHAPE) -> NDArray[np.float64]:
    """Gaussian of unit sum at (x, y)."""
    dx, dy = geometry.offset_grid(shape, (x, y))
    sigma = fwhm / 2.3548
    return np.exp(-(dx**2 + dy**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def speckles(rng: np.random.Generator, n: int, *, n_modes: int = 6, shape: tuple[int, int] = SHAPE) -> NDArray:
    """Frames of a star's halo: a fixed pattern and `n_modes` changing ones, smooth on the scale of the PSF."""
    from scipy import ndimage

    patterns = ndimage.gaussian_filter(rng.normal(size=(n_modes + 1, *shape)), (0, 1.9, 1.9)) * 10
    halo = np.exp(-geometry.radius_map(shape, STAR) / 12)
    weights = np.concatenate([np.ones((n, 1)), 0.2 * rng.normal(size=(n, n_modes))], axis=1)
    return 100 * halo * np.einsum("nm,myx->nyx", weights, patterns + 1.0)


def planet_frames(separation: float, pa: float, flux: float = 1.0) -> NDArray[np.float64]:
    """A Gaussian source in each of the two rolls of the synthetic sequence."""
    frames = []
    for pa_y in PA_Y:
        dx, dy = geometry.detector_offset(separation, pa, pa_y)
        frames.append(flux * gaussian(STAR[0] + float(dx) / SCALE[0], STAR[1] + float(dy) / SCALE[1]))
    return np.array(frames)


@pytest.fixture
def make_sequence() -> Callable[..., CoronagraphicSequence]:
    def make(
        *, n_refs: int = 9, noise: float = 0.3, seed: int = 1, flux: float = 0.0, **changes
    ) -> CoronagraphicSequence:
        rng = np.random.default_rng(seed)
        cube = speckles(rng, 2 + n_refs)
        cube += rng.normal(scale=noise, size=cube.shape)
        science = cube[:2] + planet_frames(0.8176, 149.36, flux)
        values = {
            "science": science,
            "exposure": np.arange(2),
            "pa_y": np.array(PA_Y),
            "star": np.array([STAR, STAR]),
            "pixel_scale": SCALE,
            "references": cube[2:],
            "science_variance": np.full_like(science, noise**2),
            "boundary_tilt": -4.835,
        }
        values.update(changes)
        return CoronagraphicSequence(**values)

    return make
