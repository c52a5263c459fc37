"""Fit the optics to one's own dithered images of a star: from calibrated files to a file that the model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.stats import mad_std
from numpy.typing import NDArray

from lyot import geometry
from lyot.errors import InputError
from lyot.exposures.read import expand_paths
from lyot.instrument import Coronagraph
from lyot.optics.fitting import CompanionFrame, OpticsFit, OpticsFitParams, StarFrames, fit_optics
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.models import DataModel
from lyot.steps.segments import open_exposures
from lyot.steps.sequence_io import check_same_setting, frames_of, geometry_of, known_input, model_name
from lyot.steps.stage3_star import commanded_offset
from lyot.subtract.sequence import mean_by_group

FloatArray = NDArray[np.float64]

_HALF_COMPANION = 6  # pixels
_SCALE_RADII = (0.3, 1.6)  # arcsec, over which the references are scaled to the science


@dataclass(frozen=True)
class FittedExposures:
    """A fit with what it was made from.

    Attributes
    ----------
    coronagraph : Coronagraph
    names : tuple of str
        Files, in the order of the fit's models.
    left_out : tuple of int
        Exposures that were predicted only.
    frames : (n, ny, nx) float64 ndarray
        Images around the star, MJy/sr; NaN: bad.
    fit : OpticsFit
    """

    coronagraph: Coronagraph
    names: tuple[str, ...]
    left_out: tuple[int, ...]
    frames: FloatArray
    fit: OpticsFit


def fit_exposures(
    inputs: Sequence[str | Path],
    *,
    science: str | Path | None = None,
    companion: tuple[float, float] | None = None,
    leave_out: Sequence[int] = (),
    flux: tuple[float, float] | None = None,
    params: OpticsFitParams | None = None,
    progress: Callable[[int], None] | None = None,
) -> FittedExposures:
    """Fit the optics to calibrated exposures of one star.

    Parameters
    ----------
    inputs : sequence of path
        Background-subtracted ``calints`` of the dithers, or folders of nothing but these.
    science : path, optional
        Calibrated exposure of another star with a companion far from the mask's boundaries.
    companion : (separation, position angle), optional
        Of that companion, arcsec and degrees east of north.
    leave_out : sequence of int
        Numbers of exposures, from 1, that are predicted and not fitted.
    flux : (value, error), optional
        Flux density of the dithered star, Jy.
    params : OpticsFitParams, optional
    progress : callable, optional
        Called with the number of each iteration.

    Raises
    ------
    InputError
        If the files are of different settings, of no four-quadrant mask, or too few.
    """
    p = params or OpticsFitParams()
    paths = expand_paths(inputs)
    if not paths:
        raise InputError(f"{', '.join(str(i) for i in inputs)}: no FITS files; give the calints of a dithered star.")
    with known_input():
        models = open_exposures([str(path) for path in paths])
        _check(models)
        c = coronagraph_of(models[0])
        if c is None:
            raise InputError(f"{model_name(models[0])}: only the MIRI coronagraphs have a model; give MIRI exposures.")
        unknown = [n for n in leave_out if not 1 <= n <= len(models)]
        if unknown:
            raise InputError(f"leave_out: no exposure {unknown[0]}; there are {len(models)}, numbered from 1.")
        star, means = _star(models, c, p.radius, flux)
        found = None if science is None else _companion(str(science), companion, means, models[0], c)
    left = tuple(n - 1 for n in leave_out)
    names = tuple(model_name(m) for m in models)
    fit = fit_optics(
        c, star, companion=found, leave_out=left, params=p, progress=progress, origin=", ".join(names)
    )  # fmt: skip
    return FittedExposures(c, names, left, star.frames, fit)


def _check(models: Sequence[DataModel]) -> None:
    check_same_setting(models)
    first = models[0]
    for model in models[1:]:
        a, b = first.meta.target.catalog_name, model.meta.target.catalog_name
        if a and b and a != b:
            raise InputError(
                f"{model_name(model)} is of {b}, {model_name(first)} of {a}; give the exposures of one star."
            )
        if np.shape(model.data)[-2:] != np.shape(first.data)[-2:]:
            raise InputError(f"{model_name(model)}: different image size than {model_name(first)}.")


def _star(
    models: Sequence[DataModel], c: Coronagraph, radius: float, flux: tuple[float, float] | None
) -> tuple[StarFrames, FloatArray]:
    """Images around the star, and the whole mean images."""
    means = np.array([_mean(model) for model in models])
    center = geometry_of(models[0]).star
    half = int(np.ceil(radius / min(c.pixel_scale))) + 1
    x0, y0 = round(center[0]) - half, round(center[1]) - half
    ny, nx = means.shape[1:]
    if x0 < 0 or y0 < 0 or x0 + 2 * half >= nx or y0 + 2 * half >= ny:
        raise InputError(
            f"{model_name(models[0])}: {radius:.1f} arcsec around the mask are not covered by the image; use full "
            "subarrays."
        )
    box = np.s_[y0 : y0 + 2 * half + 1, x0 : x0 + 2 * half + 1]
    dx, dy = geometry.offset_grid((2 * half + 1,) * 2, (center[0] - x0, center[1] - y0))
    offsets = 1e3 * np.array([commanded_offset(model) for model in models])
    if len(models) > 1 and np.ptp(offsets, axis=0).max() == 0.0:
        raise InputError("XOFFSET and YOFFSET are the same in all files; the fit needs a dithered star.")
    frames = means[(slice(None), *box)]
    return StarFrames(frames, dx * c.pixel_scale[0], dy * c.pixel_scale[1], offsets - offsets[0], flux), means


def _mean(model: DataModel) -> FloatArray:
    """Mean of the integrations; NaN where none is good."""
    return _mean_of(frames_of(model).data)


def _mean_of(data: NDArray[np.floating[Any]]) -> FloatArray:
    """Mean over the first axis; NaN where none is good."""
    return mean_by_group(data, np.zeros(len(data), dtype=np.intp), 1)[0]


def _companion(
    path: str, at: tuple[float, float] | None, references: FloatArray, reference: DataModel, c: Coronagraph
) -> CompanionFrame:
    """Image of a companion: the science exposure minus the scaled mean of the dithers."""
    if at is None:
        raise InputError(f"{path}: give separation and position angle of the companion with --companion.")
    model = open_exposures([path])[0]
    check_same_setting([reference, model])
    image, mean, place = _mean(model), _mean_of(references), geometry_of(model)
    if image.shape != mean.shape:
        raise InputError(f"{model_name(model)}: different image size than {model_name(reference)}.")
    scale = np.array(c.pixel_scale)
    dx, dy = geometry.offset_grid(image.shape, place.star)
    dx, dy = dx * scale[0], dy * scale[1]
    radius = np.hypot(dx, dy)
    near = (radius > _SCALE_RADII[0]) & (radius < _SCALE_RADII[1]) & np.isfinite(image + mean)
    factor = float((image[near] * mean[near]).sum() / (mean[near] ** 2).sum())
    rest = image - factor * mean
    offset = np.array(geometry.detector_offset(at[0], at[1], place.pa_y), dtype=float)
    x, y = np.rint(np.array(place.star) + offset / scale).astype(int)
    h = _HALF_COMPANION
    ny, nx = image.shape
    if not (3 * h <= x < nx - 3 * h and 3 * h <= y < ny - 3 * h):
        raise InputError(f"{model_name(model)}: a companion at {at[0]:g} arcsec, {at[1]:g} deg is not on the image.")
    box = np.s_[y - h : y + h + 1, x - h : x + h + 1]
    around = rest[y - 3 * h : y + 3 * h + 1, x - 3 * h : x + 3 * h + 1].copy()
    around[2 * h : 4 * h + 1, 2 * h : 4 * h + 1] = np.nan
    noise = float(mad_std(around, ignore_nan=True))
    return CompanionFrame(rest[box], dx[box], dy[box], (float(offset[0]), float(offset[1])), noise)


@dataclass(frozen=True)
class FitFiles:
    """Files of a fit: the optics, and a picture."""

    optics: Path
    picture: Path


def free_to_write(path: Path, *, overwrite: bool = False) -> FitFiles:
    """Files of a fit that shall be written to `path`.

    Raises
    ------
    InputError
        If one of them exists and `overwrite` is false, or the folder does not.
    """
    optics = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    files = FitFiles(optics, optics.with_suffix(".png"))
    for file in (files.optics, files.picture):
        if file.exists() and not overwrite:
            raise InputError(f"{file} already exists; choose another --out, or use --overwrite.")
    if not optics.parent.is_dir():
        raise InputError(f"{optics.parent} is not an existing folder; create it, or choose another --out.")
    return files


def save_fit(found: FittedExposures, path: Path) -> None:
    """Write the optics to an ``.npz`` file, whole or not at all."""
    part = path.with_name(f".{path.stem}.part.npz")
    found.fit.optics.save(part)
    part.replace(path)
