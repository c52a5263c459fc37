"""Target-acquisition images: read, and what they say about where the star is behind the mask.

The star is acquired through a neutral-density filter in a region beside the mask (48 x 48, later 16 x 16 pixels), and a
small-angle manoeuvre brings it to the mask's center. The manoeuvre starts from the position that the observatory
measured itself, which the files do not tell; but the pointing keywords of both exposures come from the guide star
and tell how far the telescope moved. The star's place in the acquisition image, moved by that, is its place behind the
mask.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot import geometry
from lyot.errors import InputError, MissingInputError
from lyot.instrument import Coronagraph
from lyot.measure.star import AcquisitionParams, aperture_photometry

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

POINTING = ("RA_REF", "DEC_REF", "ROLL_REF", "V2_REF", "V3_REF", "V3I_YANG", "SUBSTRT1", "SUBSTRT2")
"""Keywords that say where an exposure looked and which part of the detector was read."""

CENTROID = AcquisitionParams(radius=5.0, inner=6.0, outer=8.0)
"""Aperture of the centroid: it stays inside the smaller regions (16 x 16 pixels)."""


@dataclass(frozen=True)
class AcquisitionImage:
    """A target-acquisition image and its header.

    Attributes
    ----------
    name : str
    image : (ny, nx) float64 ndarray
        The last of several integrations; of ramps the last frame less the first. NaN where DQ says DO_NOT_USE.
    header : dict
        Keywords of the primary and the image's header.
    """

    name: str
    image: FloatArray
    header: dict[str, Any]

    @property
    def kind(self) -> str:
        """EXP_TYPE."""
        return str(self.header.get("EXP_TYPE", "")).upper()

    @property
    def visit(self) -> tuple[str, str, str]:
        """Program, observation and visit."""
        names = ("PROGRAM", "OBSERVTN", "VISIT")
        return tuple(str(self.header.get(name, "")).lstrip("0") for name in names)  # type: ignore[return-value]

    @property
    def start(self) -> float:
        """Start of the exposure, MJD; 0 where the header does not say."""
        return float(self.header.get("EXPSTART") or 0.0)


def open_acquisition(path: str | Path) -> AcquisitionImage:
    """Read an acquisition image in any form: ``uncal``, ``rate``, ``rateints``, ``cal``.

    Raises
    ------
    MissingInputError, InputError
        If there is no such file, or no image in it.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such acquisition image; check the path.")
    try:
        with fits.open(path) as hdus:
            hdu = hdus["SCI"] if "SCI" in hdus else next(h for h in hdus if h.data is not None)
            image = np.array(hdu.data, dtype=float)
            if "DQ" in hdus and np.shape(hdus["DQ"].data) == image.shape:
                image[(hdus["DQ"].data & 1) > 0] = np.nan
            header = {**dict(hdus[0].header), **dict(hdu.header)}
    except (OSError, StopIteration, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected a FITS file with an image ({error}).") from error
    if image.ndim < 2:
        raise InputError(f"{path}: expected an image, got an array of shape {image.shape}.")
    if image.ndim == 4 and image.shape[1] > 1:
        image = image[-1, -1] - image[-1, 0]
    while image.ndim > 2:
        image = image[-1]
    return AcquisitionImage(path.name, image, header)


def acquisition_for(images: Sequence[AcquisitionImage], header: dict[str, Any]) -> AcquisitionImage | None:
    """The acquisition that a science exposure started from: the last one before it in its visit.

    Confirmation images (MIR_TACONFIRM) are left out: in them the star is behind the mask already, where a centroid says
    nothing.
    """
    science = AcquisitionImage("", np.zeros((0, 0)), header)
    mine = [a for a in images if a.kind.endswith("TACQ") and a.visit == science.visit]
    mine = [a for a in mine if not (a.start and science.start) or a.start <= science.start]
    return max(mine, key=lambda a: a.start, default=None)


def offset_from_acquisition(
    acquisition: AcquisitionImage, header: dict[str, Any], coronagraph: Coronagraph
) -> tuple[FloatArray, float]:
    """Offset (dx, dy) of the star from the mask's center in a science exposure, arcsec along the detector's axes.

    Parameters
    ----------
    acquisition : AcquisitionImage
    header : dict
        `POINTING` keywords of the science exposure.
    coronagraph : Coronagraph
        Reference point and pixel scale of its (uncropped) subarray.

    Returns
    -------
    offset : (2,) float64 ndarray
    error : float
        Of the centroid alone, per axis, arcsec: a Gaussian core's, FWHM / 2.35 over the S/N, and a fiftieth of a pixel.

    Raises
    ------
    InputError
        If a keyword is missing or no star is seen.
    """
    then, now = _pointing(acquisition.header, acquisition.name), _pointing(header, "science exposure")
    try:
        found = aperture_photometry(acquisition.image, CENTROID)
    except InputError as problem:
        raise InputError(f"{acquisition.name}: {problem}") from problem
    x, y = windowed_centroid(acquisition.image, (found.x, found.y))
    scale = np.array(coronagraph.pixel_scale)
    corner = np.array([then["SUBSTRT1"] - now["SUBSTRT1"], then["SUBSTRT2"] - now["SUBSTRT2"]])
    star = (np.array([x, y]) + corner - np.array(coronagraph.reference_point)) * scale
    dv2, dv3 = then["V2_REF"] - now["V2_REF"], then["V3_REF"] - now["V3_REF"]
    aperture = _on_detector(dv2, dv3, then["V3I_YANG"])  # of the acquisition's reference point, from the mask's
    pa_then = geometry.pa_of_detector_y(then["ROLL_REF"], then["V3I_YANG"])
    pa_now = geometry.pa_of_detector_y(now["ROLL_REF"], now["V3I_YANG"])
    dx, dy = star - aperture
    east, north = geometry.sky_offset(float(np.hypot(dx, dy)), float(geometry.position_angle(dx, dy, pa_then)))
    cos = np.cos(np.radians(now["DEC_REF"]))
    turn = (now["RA_REF"] - then["RA_REF"] + 180.0) % 360.0 - 180.0
    offset = _on_detector(
        float(east) - 3600 * turn * cos, float(north) - 3600 * (now["DEC_REF"] - then["DEC_REF"]), pa_now
    )
    error = float(scale.mean()) * float(np.hypot(1.2 * found.error / max(found.flux, 1e-300), 0.02))
    return offset, error


def windowed_centroid(
    image: NDArray[np.floating[Any]], start: tuple[float, float], *, sigma: float = 2.0, radius: float = 6.0
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
        dx, dy = geometry.offset_grid((image.shape[0], image.shape[1]), (x, y))
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


def _on_detector(east: float, north: float, pa_y: float) -> FloatArray:
    """An offset on the sky, or with V2, V3 and V3I_YANG in their stead, along the detector's axes, arcsec."""
    separation, pa = geometry.separation_and_pa(east, north)
    return np.array([float(v) for v in geometry.detector_offset(separation, pa, pa_y)])


def _pointing(header: dict[str, Any], name: str) -> dict[str, float]:
    missing = [key for key in POINTING if header.get(key) is None]
    if missing:
        raise InputError(
            f"{name}: {', '.join(missing)} missing; the star position from target acquisition requires the pointing "
            "keywords."
        )
    return {key: float(header[key]) for key in POINTING}
