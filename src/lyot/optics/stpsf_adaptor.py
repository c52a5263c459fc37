"""Use STPSF, where it and its data are installed, in place of our own propagation.

Nothing of MIRI needs it. `stpsf_psf` mirrors `CoronagraphModel.psf` in units and conventions, so that a simulation or
a forward model can be repeated with STPSF's pupil, Lyot stop and measured wavefronts. Measurements on NIRCam, of which
this package has no optics of its own, take the images of off-axis sources from it (`StpsfImager`).
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from lyot.errors import ConfigError
from lyot.instrument import (
    NIRCAM_ROUND_MASKS,
    Coronagraph,
    coronagraph,
    modeled_coronagraph,
    nircam_coronagraph,
)

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

_IMAGE_MASKS = {"F1065C": "FQPM1065", "F1140C": "FQPM1140", "F1550C": "FQPM1550", "F2300C": "LYOT2300"}


def _import_stpsf() -> Any:
    try:
        import stpsf
    except ImportError as error:
        raise ConfigError(
            'STPSF is not installed; install it (pip install "lyot[stpsf]") with its data and set STPSF_PATH, or use '
            "Lyot's own optics."
        ) from error
    except OSError as error:  # some versions search for their data when they are imported
        raise ConfigError(
            "STPSF is installed, but its data are missing or too old; download them as its documentation says and "
            "set STPSF_PATH to their folder, or use Lyot's own optics."
        ) from error
    return stpsf


def _missing_data(stpsf: Any) -> str:
    """Why STPSF's data cannot be used, with the remedy; empty if they can.

    STPSF itself would begin to download them, and where there is no network leave an empty folder and a traceback.
    """
    folder = stpsf.conf.STPSF_PATH
    if folder == "from_environment_variable":
        folder = os.environ.get("STPSF_PATH") or stpsf.utils.get_default_data_path()
    if (Path(folder) / "version.txt").is_file():
        return ""
    return (
        f"the data files of STPSF are not in {folder} (no version.txt); set STPSF_PATH to their folder, or have STPSF "
        "download them: python -c 'import stpsf; stpsf.NIRCam()'"
    )


def _instrument(name: str) -> Any:
    """STPSF's model of an instrument."""
    stpsf = _import_stpsf()
    if missing := _missing_data(stpsf):
        raise ConfigError(f"STPSF: {missing}.")
    try:
        return getattr(stpsf, name)()
    except (OSError, RuntimeError) as error:
        # a version of the data that is too old, or files that are missing: STPSF's own message names them
        raise ConfigError(f"STPSF: its model of {name} could not be built: {error}.") from error


def stpsf_instrument(filter_name: str) -> Any:
    """Set up STPSF's MIRI for a coronagraphic filter: image mask, Lyot stop, pixel scale.

    Raises
    ------
    ConfigError
        If STPSF or its data are not installed.
    UnknownNameError
        If there is no such coronagraphic filter.
    """
    table = coronagraph(filter_name)
    miri = _instrument("MIRI")
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
    return np.asarray(image / _whole_light(unmasked))


def _image(
    miri: Any, offset: tuple[float, float], size: int, n_wavelengths: int, *, extension: str = "DET_SAMP", **more: Any
) -> FloatArray:
    # STPSF counts the source's position angle from detector +y toward -x
    miri.options["source_offset_r"] = float(np.hypot(*offset))
    miri.options["source_offset_theta"] = float(np.degrees(np.arctan2(-offset[0], offset[1])))
    result = miri.calc_psf(fov_pixels=size, nlambda=n_wavelengths, add_distortion=False, **more)
    return np.asarray(result[extension].data, dtype=np.float64)


RADII = (0.0, 0.24, 0.47, 0.7, 0.94, 1.25, 1.57, 2.04, 2.67, 3.45)
"""Distances from the center of a round mask at which images are made, relative to where it passes half of the light;
beyond the last the mask does nothing."""

MASK_SIGMAS = {"MASK210R": 5.253, "MASK335R": 3.2928, "MASK430R": 2.5883}
"""Profiles of the round masks: amplitude 1 - (2 J1(s r) / (s r))^2 with s in 1 / arcsec (Krist et al. 2009; STPSF)."""

LEAK = 0.001
"""Light of a source behind the center of the mask, of that far away: what the Lyot stop passes of its diffraction."""

BLUR = 0.2
"""Gaussian sigma by which the profile of the mask is blurred to give the light that passes, lambda/D."""

DIRECTIONS = 8
"""Directions from the center at which they are made: the shape of a half hidden source depends on it."""

OVERSAMPLE = 4
"""Samples per pixel and axis of the images that are shifted to where a source lies in its pixel."""

FFT_OVERSAMPLE = 2
"""Padding of the transforms to the plane of the mask: with 4 images change by 3e-6 of their peak and take four times as
long (`benchmarks/stpsf_images.py`)."""

WAVELENGTHS = 5

CORE = 1.0
"""Radius within which the center of an image is measured, lambda/D: the first minimum is at 1.2."""


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
    try:
        missing = _missing_data(_import_stpsf())
    except ConfigError:
        return required + 'STPSF provides for NIRCam (pip install "lyot[stpsf]", with its data in STPSF_PATH)'
    return f"{required}STPSF provides for NIRCam: {missing}" if missing else ""


class StpsfImager:
    """Images of off-axis sources behind a round mask of NIRCam, by STPSF; called as a `SourceImager`.

    STPSF makes images at a few places behind the mask, each when it is first needed. Between them the image, centered
    on the source, is interpolated linearly in radius and angle after it is divided by the light that the mask passes
    there, of which the profile is known: linearly interpolated light would be wrong by up to 14 %, this is by up to
    0.3 % (1 % inside half the radius of the mask).

    STPSF moves all images of NIRCam's coronagraphs by what the wedge of the Lyot stop disperses relative to the filter
    of the target acquisition (0.45 pixels along y in F444W, 0.09 in F210M, 0.01 in F335M). This applies to the star
    alike. As positions are relative to the star where it is on the detector, the shift is taken out.

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
        If STPSF or its data are not installed.
    """

    def __init__(self, c: Coronagraph, *, size: int, module: str = "A") -> None:
        self.coronagraph, self.size = c, size
        instrument = _instrument("NIRCam")
        if module == "B":
            instrument.detector = "NRCB1" if c.mask == "MASK210R" else "NRCB5"
        instrument.filter = c.filter
        instrument.image_mask, instrument.pupil_mask = c.mask, "MASKRND"
        instrument.pixelscale = float(np.mean(c.pixel_scale))
        self._instrument = instrument
        self._scale = float(np.mean(c.pixel_scale))
        wide = self._computed((0.0, 0.0), masked=False, size=max(size, 301))
        self._light = _whole_light(wide)
        margin = (wide.shape[0] - size * OVERSAMPLE) // 2
        self._open = wide[margin : margin + size * OVERSAMPLE, margin : margin + size * OVERSAMPLE]
        self._shift = _core_centroid(self._open, radius=CORE * c.lambda_over_d / self._scale * OVERSAMPLE)
        self._node = lru_cache(maxsize=None)(self._at_node)
        self._radii = np.array(RADII) * NIRCAM_ROUND_MASKS[c.mask]

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
        by = (phase[1] * OVERSAMPLE - self._shift[1], phase[0] * OVERSAMPLE - self._shift[0])
        moved = ndimage.shift(fine, by, order=3)
        binned = moved.reshape(self.size, OVERSAMPLE, self.size, OVERSAMPLE).sum(axis=(1, 3))
        return np.asarray(np.maximum(binned, 0.0) / self._light)

    def _fine(self, radius: float, angle: float) -> FloatArray:
        """Image of a source in the middle of the stamp, at `OVERSAMPLE` samples per pixel."""
        radii = self._radii
        if radius >= radii[-1]:
            return self._open
        k = int(np.searchsorted(radii, radius, side="right")) - 1
        outward = (radius - radii[k]) / (radii[k + 1] - radii[k])
        passed = self._light_passed(radius)
        turn = (angle / (2.0 * np.pi) * DIRECTIONS) % DIRECTIONS
        first, around = int(turn), turn - int(turn)
        image = np.zeros_like(self._open)
        for ring, along in ((k, 1.0 - outward), (k + 1, outward)):
            for direction, share in ((first, 1.0 - around), ((first + 1) % DIRECTIONS, around)):
                if along * share > 0.0:
                    x, y = self._place(ring, direction)
                    there = self._light_passed(np.hypot(x, y) * self._scale / OVERSAMPLE)
                    image += along * share * passed / there * self._at(ring, direction)
        return image

    def _light_passed(self, radius: float) -> float:
        """Light of a source at a distance (arcsec) from the center of the mask, by the profile of the mask alone."""
        c = self.coronagraph
        at = np.linspace(-3.0, 3.0, 25)
        weight = np.exp(-0.5 * (at[:, None] ** 2 + at[None, :] ** 2))
        step = BLUR * c.lambda_over_d * at
        r = np.hypot(radius + step[None, :], step[:, None])
        x = np.maximum(MASK_SIGMAS[c.mask] * r, 1e-6)
        passed = (1.0 - (2.0 * special.j1(x) / x) ** 2) ** 2
        return float((passed * weight).sum() / weight.sum()) + LEAK

    def _at(self, ring: int, direction: int) -> FloatArray:
        if ring == len(self._radii) - 1:
            return self._open
        return self._node(ring, direction if ring else 0)

    def _place(self, ring: int, direction: int) -> tuple[int, int]:
        """(x, y) of a source whose image is made, in whole samples so that it needs no interpolation to the middle."""
        t = 2.0 * np.pi * direction / DIRECTIONS
        step = self._scale / OVERSAMPLE
        return round(self._radii[ring] * np.cos(t) / step), round(self._radii[ring] * np.sin(t) / step)

    def _at_node(self, ring: int, direction: int) -> FloatArray:
        log.info("STPSF: image of a source %.2f arcsec from the center of the mask", self._radii[ring])
        step = self._scale / OVERSAMPLE
        x, y = self._place(ring, direction)
        margin = int(np.ceil(self._radii[ring] / self._scale)) + 1
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
                self._instrument, offset, size or self.size, WAVELENGTHS, extension="OVERSAMP",
                detector_oversample=OVERSAMPLE, fft_oversample=FFT_OVERSAMPLE,
            )  # fmt: skip
        finally:
            self._instrument.image_mask = mask


def _whole_light(image: FloatArray) -> float:
    """Light of a source in an infinite aperture, from a wide image of it.

    The light outside a square decreases as 1 / side (the wings of an aperture with hard edges), which the sums over the
    image and over its inner quarter determine. Of an image of 33 arcsec in F1140C 1 % of the light is outside.
    """
    n = image.shape[0]
    side = 2 * (n // 4) + n % 2
    cut = (n - side) // 2
    inner = float(image[cut : cut + side, cut : cut + side].sum())
    return (n * float(image.sum()) - side * inner) / (n - side)


def _core_centroid(image: FloatArray, *, radius: float) -> tuple[float, float]:
    """(x, y) of the light within a circle that follows it, samples from the middle of the image."""
    y, x = (axis - (n - 1) / 2.0 for axis, n in zip(np.indices(image.shape), image.shape, strict=True))
    peak = np.unravel_index(int(np.argmax(image)), image.shape)
    at = (float(x[peak]), float(y[peak]))
    for _ in range(20):
        light = np.where(np.hypot(x - at[0], y - at[1]) <= radius, image, 0.0)
        at = (float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum()))
    return at
