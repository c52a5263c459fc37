"""Strategies for random but physical inputs, small enough for hundreds of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from lyot import dq
from lyot.exposures.exposure import CORONAGRAPHIC_TYPES, STAGES, Exposure, Stage
from lyot.optics import Wavefront, realistic_wavefront
from lyot.subtract import CoronagraphicSequence

_SEEDS = st.integers(0, 2**32 - 1)

GROUP_FLAGS = (dq.DO_NOT_USE, dq.SATURATED, dq.JUMP_DET)
"""Flags of single groups."""


def _generator(draw: st.DrawFn) -> np.random.Generator:
    return np.random.default_rng(draw(_SEEDS))


@st.composite
def cubes(
    draw: st.DrawFn,
    *,
    frames: tuple[int, int] = (1, 6),
    side: tuple[int, int] = (8, 24),
    bad: float = 0.0,
    scale: float = 1.0,
) -> NDArray[np.float64]:
    """Images of normal noise about a plane: (n, ny, nx) float64 ndarray, MJy/sr.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    frames, side : (int, int)
        Least and largest number of images, and of rows and columns.
    bad : float
        Part of the pixels that is NaN.
    scale : float
        Standard deviation of the noise, MJy/sr.

    Returns
    -------
    (n, ny, nx) float64 ndarray
        MJy/sr.
    """
    rng = _generator(draw)
    n, ny, nx = draw(st.tuples(st.integers(*frames), st.integers(*side), st.integers(*side)))
    y, x = np.indices((ny, nx))
    level, along_x, along_y = rng.normal(size=3)
    cube = level + along_x * x / nx + along_y * y / ny + rng.normal(scale=scale, size=(n, ny, nx))
    cube[rng.random(cube.shape) < bad] = np.nan
    return np.asarray(cube)


@st.composite
def dq_masks(
    draw: st.DrawFn, shape: tuple[int, ...], *, flags: tuple[int, ...] = GROUP_FLAGS, share: float = 0.1
) -> NDArray[Any]:
    """Data-quality flags: uint8 ndarray (uint32 where a flag needs it).

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    shape : tuple of int
    flags : tuple of int
        Bits that are set.
    share : float
        Fraction of the samples that carries each of them, 0 to 1.

    Returns
    -------
    ndarray of uint8 or uint32
    """
    rng = _generator(draw)
    dtype = np.uint8 if max(flags) < 256 else np.uint32
    mask = np.zeros(shape, dtype)
    for flag in flags:
        mask[rng.random(shape) < share] |= dtype(flag)
    return mask


@st.composite
def ramps(
    draw: st.DrawFn,
    *,
    integrations: tuple[int, int] = (1, 3),
    groups: tuple[int, int] = (4, 12),
    side: tuple[int, int] = (2, 6),
    read_noise: float = 6.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Linear ramps with read noise, and their slopes.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    integrations, groups, side : (int, int)
        Least and largest numbers.
    read_noise : float
        Of a group, DN.

    Returns
    -------
    ramps : (nints, ngroups, ny, nx) float32 ndarray
        DN.
    slopes : (nints, ny, nx) float32 ndarray
        DN per group, between 0 and 500.
    """
    rng = _generator(draw)
    nints, ngroups = draw(st.integers(*integrations)), draw(st.integers(*groups))
    ny, nx = draw(st.integers(*side)), draw(st.integers(*side))
    slopes = rng.uniform(0, 500, (nints, ny, nx))
    counts = 1e4 + slopes[:, np.newaxis] * np.arange(1, ngroups + 1).reshape(1, -1, 1, 1)
    counts += rng.normal(scale=read_noise, size=counts.shape)
    return counts.astype(np.float32), slopes.astype(np.float32)


@st.composite
def sequences(
    draw: st.DrawFn, *, side: int = 41, n_references: tuple[int, int] = (3, 8), noise: float = 0.1, bad: float = 0.0
) -> CoronagraphicSequence:
    """A star of speckles in two rolls, and references of it that drift a little; no planet.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    side : int
        Rows and columns, odd.
    n_references : (int, int)
        Least and largest number of reference frames.
    noise : float
        Of a pixel, MJy/sr; the star has 100 at its maximum.
    bad : float
        Part of the pixels that is NaN.

    Returns
    -------
    CoronagraphicSequence
    """
    rng = _generator(draw)
    n = draw(st.integers(*n_references))
    apart = draw(st.floats(5.0, 20.0))
    middle = side // 2
    y, x = np.indices((side, side), dtype=float) - middle
    r = np.hypot(x, y)
    patterns = [np.cos(a * x + b * y + c) for a, b, c in rng.uniform(-1.5, 1.5, (4, 3))]

    def frame(drift: float) -> NDArray[np.float64]:
        texture = np.sum([(0.3 + drift * rng.normal()) * p for p in patterns], axis=0)
        image = 100 * np.exp(-r / 5) * (1 + 0.2 * texture) + rng.normal(scale=noise, size=r.shape)
        return np.asarray(np.where(rng.random(r.shape) < bad, np.nan, image))

    return CoronagraphicSequence(
        science=np.stack([frame(0.02) for _ in range(2)]),
        exposure=np.arange(2),
        pa_y=np.array([10.0, 10.0 + apart]),
        star=np.array([[middle, middle]] * 2, dtype=float),
        pixel_scale=(0.11, 0.11),
        references=np.stack([2 * frame(0.05) for _ in range(n)]),
        science_variance=np.full((2, side, side), noise**2),
    )


@st.composite
def exposures(draw: st.DrawFn) -> Exposure:
    """Header values of one coronagraphic exposure: science, reference or background, at any stage.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.

    Returns
    -------
    Exposure
    """
    program, observation = draw(st.integers(1, 9999)), draw(st.integers(1, 200))
    dither = draw(st.integers(1, 9))
    root = f"jw{program:05d}{observation:03d}001_04101_{dither:05d}_mirimage"
    stage: Stage = draw(st.sampled_from(STAGES))
    return Exposure(
        root=root,
        path=Path(f"/data/{root}_{stage}.fits"),
        stage=stage,
        instrument="MIRI",
        exposure_type=draw(st.sampled_from(CORONAGRAPHIC_TYPES)),
        filter=draw(st.sampled_from(("F1065C", "F1140C", "F1550C"))),
        target=draw(st.sampled_from(("HIP-65426", "HIP 65426", "HD-218261", "STAR"))),
        program=f"{program:05d}",
        observation=f"{observation:03d}",
        is_psf=draw(st.booleans()),
        is_background=draw(st.booleans()),
        roll=draw(st.one_of(st.none(), st.floats(0, 360, exclude_max=True))),
        n_integrations=draw(st.integers(1, 60)),
        n_groups=draw(st.integers(1, 500)),
        dither=dither,
        sky=draw(st.one_of(st.none(), st.tuples(st.floats(0, 360), st.floats(-89, 89)))),
    )


@st.composite
def source_offsets(
    draw: st.DrawFn, *, radius: tuple[float, float] = (0.0, 8.0), from_boundary: float = 0.0
) -> tuple[float, float]:
    """Offset of a source from the center of the mask, in the frame of the mask.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    radius : (float, float)
        Smallest and largest distance, arcsec.
    from_boundary : float
        Smallest angle between the source and the boundaries of a four-quadrant mask, degrees, below 45.

    Returns
    -------
    (x, y) : tuple of float
        arcsec.
    """
    quadrant = draw(st.integers(0, 3))
    angle = np.radians(90 * quadrant + draw(st.floats(from_boundary, 90 - from_boundary)))
    distance = draw(st.floats(*radius))
    return distance * float(np.cos(angle)), distance * float(np.sin(angle))


@st.composite
def wavefronts(draw: st.DrawFn, *, rms: tuple[float, float] = (1.0, 200.0), npix: int = 64) -> Wavefront:
    """Wavefront error maps like those of the telescope.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    rms : (float, float)
        Smallest and largest rms over the clear pupil, nm.
    npix : int
        Samples across the map.

    Returns
    -------
    Wavefront
        Optical path difference, m.
    """
    return realistic_wavefront(_generator(draw), draw(st.floats(*rms)), npix=npix)
