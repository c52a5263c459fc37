"""Optics of a four-quadrant-mask coronagraph as fitted to images of a star behind it, and the fit that comes with Lyot.

What is fitted is *effective*: it reproduces the star, and takes up whatever else the model lacks (fields before the
stop, defects of the mask). It serves for starlight; images and throughput of companions use the geometric stop.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.errors import InputError
from lyot.optics.pupil import pupil_coordinates

FloatArray = NDArray[np.float64]

SHIPPED: Final = Path(__file__).parent / "data" / "effective_4qpm.npz"
"""Fit to HD 218261 behind the F1140C mask; `lyot fit-optics` makes such a file, ``docs/optics.md`` says how."""

STEEPNESS: Final = 4.0
"""The stop's transmission is ``1 / (1 + exp(-STEEPNESS * latent))``."""


@dataclass(frozen=True)
class FittedOptics:
    """Stop, wavefront and mask errors that reproduce a star.

    Attributes
    ----------
    latent : (m, m) float64 ndarray
        The Lyot stop on a coarse grid over the pupil array, [y, x] in the mask frame; see `stop`.
    opd : (n, n) float64 ndarray
        Wavefront error, m; n samples over the pupil array.
    phase_error : float
        Relative error of the mask's phase step.
    leak : complex
        Field that passes as if there were no mask, as a fraction.
    charge_diffusion : float
        Gaussian sigma, arcsec.
    center : (x, y)
        Center of the mask from its nominal position, arcsec along the detector's axes.
    filter : str
        Filter of the images.
    origin : str
        What it was fitted to.
    """

    latent: FloatArray
    opd: FloatArray
    phase_error: float
    leak: complex
    charge_diffusion: float
    center: tuple[float, float]
    filter: str
    origin: str

    def stop(self, npix: int) -> FloatArray:
        """Transmission of the stop on the pupil array, 0 to 1: (npix, npix) float64."""
        to = between_cells(npix, len(self.latent))
        return transmission(to @ self.latent @ to.T)

    def wavefront(self, npix: int) -> FloatArray:
        """Wavefront error on the pupil array, m: (npix, npix) float64."""
        if len(self.opd) == npix:
            return self.opd
        at = pupil_coordinates(npix)
        theirs = pupil_coordinates(len(self.opd))
        index = (at - theirs[0]) / (theirs[1] - theirs[0])
        y, x = np.meshgrid(index, index, indexing="ij")
        return np.asarray(ndimage.map_coordinates(self.opd, [y, x], order=1, mode="nearest"))

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file, that `load` reads."""
        np.savez_compressed(
            path,
            latent=self.latent.astype(np.float32),
            opd_nm=(self.opd * 1e9).astype(np.float32),
            phase_error=self.phase_error,
            leak=self.leak,
            charge_diffusion=self.charge_diffusion,
            center=np.array(self.center),
            filter=np.array(self.filter),
            origin=np.array(self.origin),
        )

    @staticmethod
    def load(path: Path) -> FittedOptics:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file is missing or is none of these.
        """
        try:
            with np.load(path) as d:
                return FittedOptics(
                    np.asarray(d["latent"], dtype=np.float64),
                    np.asarray(d["opd_nm"], dtype=np.float64) * 1e-9,
                    float(d["phase_error"]),
                    complex(d["leak"]),
                    float(d["charge_diffusion"]),
                    (float(d["center"][0]), float(d["center"][1])),
                    str(d["filter"]),
                    str(d["origin"]),
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: expected fitted optics as lyot fit-optics writes them (.npz); cannot read it ({error})."
            ) from error


@lru_cache(maxsize=4)
def fitted_optics(path: str = "") -> FittedOptics:
    """The fit in a file; the one that comes with Lyot if no `path` is given."""
    return FittedOptics.load(Path(path) if path else SHIPPED)


def transmission(latent: FloatArray) -> FloatArray:
    """Transmission of the stop, 0 to 1, of latent values."""
    return np.asarray(1.0 / (1.0 + np.exp(-STEEPNESS * latent)))


def between_cells(npix: int, cells: int) -> FloatArray:
    """Matrix (npix, cells) that interpolates linearly between the centers of cells over the same range."""
    at = (np.arange(npix) + 0.5) * cells / npix - 0.5
    left = np.clip(np.floor(at).astype(int), 0, cells - 2)
    share = np.clip(at - left, 0.0, 1.0)
    out = np.zeros((npix, cells))
    rows = np.arange(npix)
    out[rows, left] = 1.0 - share
    out[rows, left + 1] += share
    return out
