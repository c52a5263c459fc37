"""Use STPSF, where it and its data are installed, in place of our own propagation.

Nothing in Lyot needs it. The functions mirror `CoronagraphModel.psf` in units and conventions, so that a simulation or
a forward model can be repeated with STPSF's pupil, Lyot stop and measured wavefronts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ConfigError
from lyot.instrument import coronagraph

FloatArray = NDArray[np.float64]

_IMAGE_MASKS = {"F1065C": "FQPM1065", "F1140C": "FQPM1140", "F1550C": "FQPM1550", "F2300C": "LYOT2300"}


def _import_stpsf() -> Any:
    try:
        import stpsf
    except ImportError as error:
        raise ConfigError(
            "STPSF is not installed; install it (pip install stpsf) with its data and set STPSF_PATH, or use Lyot's "
            "own optics."
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


def _image(miri: Any, offset: tuple[float, float], size: int, n_wavelengths: int) -> FloatArray:
    # STPSF counts the source's position angle from detector +y toward -x
    miri.options["source_offset_r"] = float(np.hypot(*offset))
    miri.options["source_offset_theta"] = float(np.degrees(np.arctan2(-offset[0], offset[1])))
    result = miri.calc_psf(fov_pixels=size, nlambda=n_wavelengths, add_distortion=False)
    return np.asarray(result["DET_SAMP"].data, dtype=np.float64)
