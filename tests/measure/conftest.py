"""A small synthetic sequence with its reduction: a halo with changing patterns, Gaussian planets, two rolls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lyot import geometry
from lyot.measure import Injector
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction

SHAPE = (81, 81)
STAR = (40.3, 39.6)
SCALE = 0.11
PA_Y = (113.0, 122.4)
FWHM = 4.4


def unit_source(exposure: int, east: float, north: float) -> NDArray[np.float64]:
    """Gaussian of unit sum where the sky position falls on the detector in that roll."""
    separation, pa = geometry.separation_and_pa(east, north)
    dx, dy = geometry.detector_offset(separation, pa, PA_Y[exposure])
    gx, gy = geometry.offset_grid(SHAPE, (STAR[0] + float(dx) / SCALE, STAR[1] + float(dy) / SCALE))
    sigma = FWHM / 2.3548
    return np.exp(-(gx**2 + gy**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def make_sequence(
    seed: int, planets: tuple[tuple[float, float, float], ...] = (), *, speckles: float = 1.0, nan: bool = False
) -> CoronagraphicSequence:
    """Two science frames and six references; planets are (separation, position angle, flux)."""
    rng = np.random.default_rng(seed)
    halo = 50 * np.exp(-geometry.radius_map(SHAPE, STAR) / 8)
    patterns = ndimage.gaussian_filter(rng.normal(size=(4, *SHAPE)), (0, 1.8, 1.8)) * 4
    weights = 0.05 * rng.normal(size=(8, 4))
    cube = halo * (1 + speckles * np.einsum("nm,myx->nyx", weights, patterns)) + 0.2 * rng.normal(size=(8, *SHAPE))
    science = cube[:2]
    for separation, pa, flux in planets:
        east, north = (float(v) for v in geometry.sky_offset(separation, pa))
        science = science + flux * np.stack([unit_source(e, east, north) for e in (0, 1)])
    if nan:
        science[0, 20, 30] = science[1, 50, 61] = np.nan
    return CoronagraphicSequence(
        science=science, exposure=np.arange(2), pa_y=np.array(PA_Y), star=np.array([STAR, STAR]),
        pixel_scale=(SCALE, SCALE), references=cube[2:],
    )  # fmt: skip


def injector_for(sequence: CoronagraphicSequence, *, linear: bool = True, strategy: str = "rdi") -> Injector:
    """The sequence's reduction with three modes; with one where the library is the other roll."""
    modes = (1, 3) if strategy == "rdi" else (1,)
    plan = plan_reduction(
        sequence, ReductionParams(strategy=strategy, truncations=modes, recommended=modes[-1], zone_edges=())
    )
    return Injector(
        science=np.asarray(sequence.science, float), exposure=sequence.exposure, psf=unit_source,
        reduce=lambda frames: plan.reduce(frames, with_variance=False).combined, center=plan.grid.center,
        pixel_scale=plan.grid.pixel_scale, index=plan.truncations.index(modes[-1]),
        reduce_many=plan.reduce_many if linear and strategy == "rdi" else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What the tests of this room build sequences with."""

    sequence: Callable[..., CoronagraphicSequence] = make_sequence
    injector: Callable[..., Injector] = injector_for
    fwhm: float = FWHM
    scale: float = SCALE


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()
