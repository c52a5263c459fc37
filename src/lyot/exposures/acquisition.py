"""Target-acquisition images: read, and matched with the science exposure that started from them.

The pointing keywords of both exposures come from the guide star and say how far the telescope moved in between;
`lyot.reduction.star.offset_behind_mask` computes the position of the star behind the mask from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.errors import InputError, MissingInputError
from lyot.instrument import Coronagraph
from lyot.reduction.star import Pointing, offset_behind_mask

FloatArray = NDArray[np.float64]


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
        Keywords of the science exposure, those of its pointing among them.
    coronagraph : Coronagraph
        Reference point and pixel scale of its (uncropped) subarray.

    Returns
    -------
    offset : (2,) float64 ndarray
    error : float
        Of the centroid alone, per axis, arcsec.

    Raises
    ------
    InputError
        If a keyword is missing or no star is seen.
    """
    then, now = pointing_of(acquisition.header, acquisition.name), pointing_of(header, "science exposure")
    try:
        return offset_behind_mask(acquisition.image, then, now, coronagraph)
    except InputError as problem:
        raise InputError(f"{acquisition.name}: {problem}") from problem


_POINTING = {
    "sky": ("RA_REF", "DEC_REF"), "roll": ("ROLL_REF",), "reference": ("V2_REF", "V3_REF"), "y_angle": ("V3I_YANG",),
    "corner": ("SUBSTRT1", "SUBSTRT2"),
}  # fmt: skip
"""Keywords that say where an exposure looked and which part of the detector was read, by the fields of `Pointing`."""


def pointing_of(header: dict[str, Any], name: str) -> Pointing:
    """The pointing in the header of an exposure, whose name is for messages."""
    missing = [key for keys in _POINTING.values() for key in keys if header.get(key) is None]
    if missing:
        raise InputError(
            f"{name}: {', '.join(missing)} missing; the star position from target acquisition requires the pointing "
            "keywords."
        )
    values = {field: tuple(float(header[key]) for key in keys) for field, keys in _POINTING.items()}
    return Pointing(**{field: v if len(v) > 1 else v[0] for field, v in values.items()})  # type: ignore[arg-type]
