"""How the image of a star behind the mask changes when the wavefront drifts a little."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lyot.kept_arrays import Arrays, remembered
from lyot.optics.model import CoronagraphModel
from lyot.optics.params import OpticsParams
from lyot.optics.wavefront import Wavefront, drifted

FloatArray = NDArray[np.float64]

STEP = 4.0
"""Size of the drifts the images are made with, nm; small enough that images are linear in it."""

OPTICS = OpticsParams(pupil_pixels=64, n_wavelengths=2, wavefront_rms=0.0, stop="effective")
"""Optics of the images: those fitted to a star in flight, and coarse, which is enough for differences of images."""


@dataclass(frozen=True)
class DriftImages:
    """Images of a star behind the mask, and of its changes.

    Attributes
    ----------
    star : (ny, nx) float64 ndarray
        Star of flux 1 on the center of the mask, in the unit of `CoronagraphModel.psf`.
    changes : (n, ny, nx) float64 ndarray
        A drift of 1 nm rms changes the image by their sum with independent normal coefficients of standard deviation 1.
    """

    star: FloatArray
    changes: FloatArray


@lru_cache(maxsize=4)
def drift_images(
    filter_name: str,
    shape: tuple[int, int],
    center: tuple[float, float],
    *,
    draws: int = 80,
    kept: int = 40,
    seed: int = 20221116,
) -> DriftImages:
    """Images of small drifts, from draws of rigid motions of the segments and low-order bending.

    The wavefront that drifts is that of the effective optics; behind the Lyot spot, where none was fitted, a perfect
    one.

    Parameters
    ----------
    filter_name : str
        F1065C, F1140C, F1550C or F2300C.
    shape : (ny, nx)
        Of the images.
    center : (x, y)
        0-based pixel position of the mask's center, with the star on it.
    draws : int, optional
        Number of drifts that are drawn.
    kept : int, optional
        Number of principal components of their images that are kept.
    seed : int, optional
        Of the draws.

    Returns
    -------
    DriftImages
        The arrays are shared between calls, and kept on disk for the next process; not writable.

    Raises
    ------
    UnknownNameError
        If there is no such filter.
    """
    content = {
        "optics": asdict(OPTICS),
        "filter": filter_name,
        "shape": shape,
        "center": center,
        "numbers": (draws, kept, seed, STEP),
    }
    arrays = remembered(
        f"drift-{filter_name}",
        content,
        lambda: _drift_images(filter_name, shape, center, (draws, kept, seed)),
        room=Path(__file__).parent,
    )
    return DriftImages(arrays["star"], arrays["changes"])


def _drift_images(
    filter_name: str, shape: tuple[int, int], center: tuple[float, float], numbers: tuple[int, int, int]
) -> Arrays:
    """The arrays of `DriftImages`, computed; `numbers` are those of draws and of kept components, and the seed."""
    draws, kept, seed = numbers
    model, rng = CoronagraphModel.build(filter_name, OPTICS), np.random.default_rng(seed)

    def image(sign: float, drift: FloatArray) -> FloatArray:
        wavefront = Wavefront(model.wavefront.opd + sign * drift)
        return model.psf((0.0, 0.0), shape=shape, center=center, wavefront=wavefront)

    differences = np.empty((draws, shape[0] * shape[1]))
    for row in differences:
        drift = drifted(Wavefront.flat(model.params.pupil_pixels), STEP, rng).opd
        row[:] = (image(1.0, drift) - image(-1.0, drift)).ravel() / (2.0 * STEP)
    differences /= np.sqrt(draws)
    vectors = np.linalg.eigh(differences @ differences.T)[1]
    changes = (vectors[:, ::-1][:, :kept].T @ differences).reshape(-1, *shape)
    return {"star": model.psf((0.0, 0.0), shape=shape, center=center), "changes": changes}
