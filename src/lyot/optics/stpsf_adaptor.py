"""Use STPSF, where it and its data are installed, in place of our own propagation.

Nothing of MIRI needs it. `stpsf_psf` mirrors `CoronagraphModel.psf` in units and conventions, so that a simulation or
a forward model can be repeated with STPSF's pupil, Lyot stop and measured wavefronts. Measurements on NIRCam, of which
this package has no optics of its own, take the images of off-axis sources from it (`StpsfImager`).
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot.errors import ConfigError
from lyot.instrument import Coronagraph, coronagraph, modeled_coronagraph, nircam_coronagraph

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

_IMAGE_MASKS = {"F1065C": "FQPM1065", "F1140C": "FQPM1140", "F1550C": "FQPM1550", "F2300C": "LYOT2300"}


def _import_stpsf() -> Any:
    try:
        import stpsf

        if hasattr(stpsf, "utils"):  # not the stand-in of the tests
            stpsf.utils.get_stpsf_data_path(data_version_min=stpsf.stpsf_core.DATA_VERSION_MIN)
    except ImportError as error:
        raise ConfigError(
            'STPSF is not installed; install it (pip install "lyot[stpsf]") with its data and set STPSF_PATH, or use '
            "Lyot's own optics."
        ) from error
    except OSError as error:  # it searches for its data when it is imported, and tries to download them
        raise ConfigError(
            "STPSF is installed, but its data are missing or too old; download them as its documentation says and "
            "set STPSF_PATH to their folder, or use Lyot's own optics."
        ) from error
    return stpsf


def stpsf_instrument(filter_name: str) -> Any:
    """Set up STPSF's MIRI for a coronagraphic filter: image mask, Lyot stop, pixel scale.

    Raises
    ------
    ConfigError
        If STPSF is not installed.
    UnknownNameError
        If there is no such coronagraphic filter.
    """
    table = coronagraph(filter_name)
    miri = _import_stpsf().MIRI()
    miri.filter = table.filter
    miri.image_mask = _IMAGE_MASKS[table.filter]
    miri.pupil_mask = "MASKFQPM" if table.kind == "4QPM" else "MASKLYOT"
    miri.pixelscale = float(np.mean(table.pixel_scale))
    return miri


def stpsf_psf(
    filter_name: str, offset: tuple[float, float], *, size: int = 81, n_wavelengths: int = 7, instrument: Any = None
) -> FloatArray:
    """Image of a point source behind the coronagraph, by STPSF.

    Parameters
    ----------
    filter_name : str
        F1065C, F1140C, F1550C or F2300C.
    offset : (dx, dy)
        Of the source from the mask center along the detector's x and y, arcsec.
    size : int
        Side of the image, pixels, odd; the mask center is on the middle pixel.
    n_wavelengths : int
        Over the band.
    instrument : stpsf.MIRI, optional
        A prepared instrument, for instance with a measured wavefront loaded; from `stpsf_instrument` by default.

    Returns
    -------
    (size, size) float64 ndarray
        In the unit of `CoronagraphModel.psf`: divided by what the Lyot stop passes of a source without the mask.
    """
    miri = stpsf_instrument(filter_name) if instrument is None else instrument
    image = _image(miri, offset, size, n_wavelengths)
    mask = miri.image_mask
    try:
        miri.image_mask = None
        unmasked = _image(miri, (0.0, 0.0), max(size, 301), n_wavelengths)
    finally:
        miri.image_mask = mask
    return np.asarray(image / unmasked.sum())


def _image(
    miri: Any, offset: tuple[float, float], size: int, n_wavelengths: int, *, extension: str = "DET_SAMP", **more: Any
) -> FloatArray:
    # STPSF counts the source's position angle from detector +y toward -x
    miri.options["source_offset_r"] = float(np.hypot(*offset))
    miri.options["source_offset_theta"] = float(np.degrees(np.arctan2(-offset[0], offset[1])))
    result = miri.calc_psf(fov_pixels=size, nlambda=n_wavelengths, add_distortion=False, **more)
    return np.asarray(result[extension].data, dtype=np.float64)


RADII = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2)
"""Distances from the center of a round mask at which images are made, arcsec; beyond the last the mask does nothing."""

DIRECTIONS = 8
"""Directions from the center at which they are made: the shape of a half hidden source depends on it."""

OVERSAMPLE = 4
"""Samples per pixel and axis of the images that are shifted to where a source lies in its pixel."""

WAVELENGTHS = 5


def is_available() -> bool:
    """Whether STPSF can be imported, which needs its data."""
    try:
        _import_stpsf()
    except ConfigError:
        return False
    return True


def why_no_images(instrument: str, filter_name: str, mask: str) -> str:
    """Why there are no images of off-axis sources behind a mask, which measurements need; empty if there are.

    Parameters
    ----------
    instrument, filter_name, mask : str
        INSTRUME, FILTER and CORONMSK.
    """
    if modeled_coronagraph(instrument, filter_name) is not None:
        return ""
    required = "this requires a model of the coronagraph, which "
    if instrument.strip().upper() != "NIRCAM":
        return required + "exists for MIRI, and with STPSF for the round masks of NIRCam"
    if nircam_coronagraph(filter_name, mask, (1.0, 1.0)) is None:
        return required + f"STPSF provides for the round masks of NIRCam only (CORONMSK is {mask.strip() or 'missing'})"
    if not is_available():
        return required + 'STPSF provides for NIRCam (pip install "lyot[stpsf]", with its data in STPSF_PATH)'
    return ""


class StpsfImager:
    """Images of off-axis sources behind a round mask of NIRCam, by STPSF; called as a `SourceImager`.

    STPSF makes images at a few places behind the mask, each when it is first needed. Between them the image is
    interpolated, linearly in radius and angle, centered on the source.

    Parameters
    ----------
    c : Coronagraph
        Of kind ROUND, from `lyot.instrument.nircam_coronagraph`.
    size : int
        Side of the images, pixels, odd.
    module : "A" or "B"
        Of NIRCam.

    Raises
    ------
    ConfigError
        If STPSF is not installed.
    """

    def __init__(self, c: Coronagraph, *, size: int, module: str = "A") -> None:
        self.coronagraph, self.size = c, size
        instrument = _import_stpsf().NIRCam()
        if module == "B":
            instrument.detector = "NRCB1" if c.mask == "MASK210R" else "NRCB5"
        instrument.filter = c.filter
        instrument.image_mask, instrument.pupil_mask = c.mask, "MASKRND"
        instrument.pixelscale = float(np.mean(c.pixel_scale))
        self._instrument = instrument
        self._scale = float(np.mean(c.pixel_scale))
        self._open = self._computed((0.0, 0.0), masked=False)
        self._light = float(self._computed((0.0, 0.0), masked=False, size=max(size, 301)).sum())
        self._node = lru_cache(maxsize=None)(self._at_node)

    def __call__(self, offset: tuple[float, float], phase: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
        """Image of a source.

        Parameters
        ----------
        offset : (dx, dy)
            Of the source from the mask center, arcsec along the detector's axes.
        phase : (x, y), optional
            Position of the source relative to the center of the stamp's middle pixel, pixels.

        Returns
        -------
        (size, size) float64 ndarray
            Light per pixel as a fraction of what a source far off the mask gives in an infinite aperture.
        """
        fine = self._fine(float(np.hypot(*offset)), float(np.arctan2(offset[1], offset[0])))
        moved = ndimage.shift(fine, (phase[1] * OVERSAMPLE, phase[0] * OVERSAMPLE), order=3)
        binned = moved.reshape(self.size, OVERSAMPLE, self.size, OVERSAMPLE).sum(axis=(1, 3))
        return np.asarray(np.maximum(binned, 0.0) / self._light)

    def _fine(self, radius: float, angle: float) -> FloatArray:
        """Image of a source in the middle of the stamp, at `OVERSAMPLE` samples per pixel."""
        if radius >= RADII[-1]:
            return self._open
        k = int(np.searchsorted(RADII, radius, side="right")) - 1
        outward = (radius - RADII[k]) / (RADII[k + 1] - RADII[k])
        turn = (angle / (2.0 * np.pi) * DIRECTIONS) % DIRECTIONS
        first, around = int(turn), turn - int(turn)
        image = np.zeros_like(self._open)
        for ring, along in ((k, 1.0 - outward), (k + 1, outward)):
            for direction, share in ((first, 1.0 - around), ((first + 1) % DIRECTIONS, around)):
                if along * share > 0.0:
                    image += along * share * self._at(ring, direction)
        return image

    def _at(self, ring: int, direction: int) -> FloatArray:
        if ring == len(RADII) - 1:
            return self._open
        return self._node(ring, direction if ring else 0)

    def _at_node(self, ring: int, direction: int) -> FloatArray:
        t = 2.0 * np.pi * direction / DIRECTIONS
        log.info("STPSF: image of a source %.2f arcsec from the center of the mask", RADII[ring])
        # whole samples, so that the source is brought to the middle without interpolation
        step = self._scale / OVERSAMPLE
        x, y = (round(RADII[ring] * part / step) for part in (np.cos(t), np.sin(t)))
        margin = int(np.ceil(RADII[ring] / self._scale)) + 1
        wide = self._computed((x * step, y * step), masked=True, size=self.size + 2 * margin)
        y0, x0 = margin * OVERSAMPLE + y, margin * OVERSAMPLE + x
        side = self.size * OVERSAMPLE
        return wide[y0 : y0 + side, x0 : x0 + side]

    def _computed(self, offset: tuple[float, float], *, masked: bool, size: int | None = None) -> FloatArray:
        mask = self._instrument.image_mask
        try:
            self._instrument.image_mask = mask if masked else None
            self._instrument.pixelscale = self._scale  # STPSF sets that of the aperture with the mask
            return _image(
                self._instrument, offset, size or self.size, WAVELENGTHS, oversample=OVERSAMPLE, extension="OVERSAMP"
            )
        finally:
            self._instrument.image_mask = mask
