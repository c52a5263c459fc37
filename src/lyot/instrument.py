"""The coronagraphs of MIRI: one table of masks, filters, apertures and detector facts; and NIRCam's round masks.

Apertures and scales are those of the JWST Science Instrument Aperture File (pysiaf, PRDOPSSOC-075); wavelengths and
Vega zero points are the filter profile service's means; the orientation of the four-quadrant masks is that of the
aperture's V3IdlYAngle, confirmed on in-flight transmission minima. `coronagraph` looks one up by filter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from lyot.errors import InputError, unknown_name
from lyot.geometry import ARCSEC_PER_RADIAN

V3_IDEAL_Y_ANGLE: Final = 4.83544897
"""Angle from V3 to the ideal y axis of MIRI's coronagraphic apertures, degrees."""

__all__ = [
    "CORONAGRAPHS",
    "FRAME_TIME",
    "NIRCAM_DIAMETER",
    "TELESCOPE_DIAMETER",
    "Coronagraph",
    "coronagraph",
    "modeled_coronagraph",
    "resolution",
    "wavelength_of",
]

FRAME_TIME: Final = 0.23968
"""Read time of one frame of a 4QPM subarray in FASTR1, s (group time is 0.23968 s as nframes = 1)."""

TELESCOPE_DIAMETER: Final = 6.57
"""Diameter used for lambda/D at MIRI, m (flat-to-flat mean of the segmented pupil)."""

NIRCAM_DIAMETER: Final = 5.2
"""Effective diameter of NIRCam's coronagraphic Lyot stops, m."""


@dataclass(frozen=True)
class Coronagraph:
    """One coronagraph: filter, mask and aperture.

    Attributes
    ----------
    filter, mask, exposure_type, subarray, aperture : str
        As in the keywords FILTER, CORONMSK, EXP_TYPE, SUBARRAY and APERNAME.
    kind : "4QPM", "LYOT" or "ROUND"
        Four-quadrant phase mask, opaque spot on a bar, or a round mask of NIRCam.
    shape : (ny, nx)
        Subarray shape, pixels.
    first_column, first_row : int
        SUBSTRT1 and SUBSTRT2: 1-based detector position of the first pixel.
    reference_point : (x, y)
        0-based pixel position of the mask center in the subarray (SIAF XSciRef - 1, YSciRef - 1).
    pixel_scale : (x, y)
        arcsec per pixel.
    v2_ref, v3_ref : float
        Telescope position of the reference point, arcsec.
    wavelength, bandwidth : float
        Mean wavelength and full width, um.
    vega_zero_point : float
        Flux density of a zero-magnitude star, Jy; NaN where it is not known.
    field_size : float
        Side of the square field stop, arcsec.
    boundary_tilt : float
        Rotation of the mask's boundaries (of the bar, for the Lyot spot) from the pixel axes, degrees counter-clockwise
        from +x toward +y.
    inner_working_angle : float
        arcsec, at which an off-axis source keeps half of its light.
    design_wavelength : float
        Wavelength of pi phase shift, um; 0 for the Lyot spot.
    spot_radius, bar_width : float
        Of the Lyot coronagraph, arcsec; 0 for 4QPM.
    frame_time : float
        Read time of one frame, s.
    instrument : str
        MIRI or NIRCAM.
    diameter : float
        Of the telescope behind the Lyot stop, for lambda/D, m.

    Examples
    --------
    >>> from lyot.instrument import coronagraph
    >>> c = coronagraph("F1140C")
    >>> round(c.lambda_over_d, 3), c.vega_zero_point  # arcsec, Jy
    (0.355, 29.66)
    """

    filter: str
    mask: str
    exposure_type: str
    kind: Literal["4QPM", "LYOT", "ROUND"]
    subarray: str
    aperture: str
    shape: tuple[int, int]
    first_column: int
    first_row: int
    reference_point: tuple[float, float]
    pixel_scale: tuple[float, float]
    v2_ref: float
    v3_ref: float
    wavelength: float
    bandwidth: float
    vega_zero_point: float
    field_size: float
    inner_working_angle: float
    design_wavelength: float
    spot_radius: float
    bar_width: float
    frame_time: float
    boundary_tilt: float = -V3_IDEAL_Y_ANGLE
    instrument: str = "MIRI"
    diameter: float = TELESCOPE_DIAMETER

    @property
    def lambda_over_d(self) -> float:
        """Angular resolution lambda/D at the mean wavelength, arcsec."""
        return self.wavelength * 1e-6 / self.diameter * ARCSEC_PER_RADIAN

    @property
    def pixel_area(self) -> float:
        """Solid angle of a pixel, steradian."""
        return self.pixel_scale[0] * self.pixel_scale[1] / ARCSEC_PER_RADIAN**2


def _fqpm(
    name: str,
    mask: str,
    *,
    first_row: int,
    reference_point: tuple[float, float],
    pixel_scale: tuple[float, float],
    v2v3: tuple[float, float],
    band: tuple[float, float, float],
    iwa: float,
    design_wavelength: float,
) -> Coronagraph:
    number = mask.split("_")[1]
    return Coronagraph(
        filter=name,
        mask=mask,
        exposure_type="MIR_4QPM",
        kind="4QPM",
        subarray=f"MASK{number}",
        aperture=f"MIRIM_MASK{number}",
        shape=(224, 288),
        first_column=1,
        first_row=first_row,
        reference_point=reference_point,
        pixel_scale=pixel_scale,
        v2_ref=v2v3[0],
        v3_ref=v2v3[1],
        wavelength=band[0],
        bandwidth=band[1],
        vega_zero_point=band[2],
        field_size=24.0,
        inner_working_angle=iwa,
        design_wavelength=design_wavelength,
        spot_radius=0.0,
        bar_width=0.0,
        frame_time=FRAME_TIME,
    )


CORONAGRAPHS: Final[dict[str, Coronagraph]] = {
    "F1065C": _fqpm(
        "F1065C", "4QPM_1065", first_row=21, reference_point=(120.18, 112.12),
        pixel_scale=(0.11020964, 0.10910099), v2v3=(-393.831254, -420.626198),
        band=(10.568, 0.600, 33.69), iwa=0.33, design_wavelength=10.65,
    ),
    "F1140C": _fqpm(
        "F1140C", "4QPM_1140", first_row=243, reference_point=(119.75, 112.24),
        pixel_scale=(0.11024593, 0.11065528), v2v3=(-391.75259, -396.280919),
        band=(11.316, 0.608, 29.66), iwa=0.36, design_wavelength=11.40,
    ),
    "F1550C": _fqpm(
        "F1550C", "4QPM_1550", first_row=463, reference_point=(119.75, 113.29),
        pixel_scale=(0.1100977, 0.11096615), v2v3=(-389.7919, -371.846167),
        band=(15.522, 0.703, 15.96), iwa=0.49, design_wavelength=15.50,
    ),
    "F2300C": Coronagraph(
        filter="F2300C", mask="LYOT_2300", exposure_type="MIR_LYOT", kind="LYOT", subarray="MASKLYOT",
        aperture="MIRIM_MASKLYOT", shape=(304, 320), first_column=1, first_row=719,
        reference_point=(143.33, 166.88), pixel_scale=(0.10974923, 0.11026162),
        v2_ref=-389.682935, v3_ref=-337.45666, wavelength=22.763, bandwidth=4.165, vega_zero_point=7.60,
        field_size=30.0, inner_working_angle=2.16, design_wavelength=0.0, spot_radius=4.25 / 2, bar_width=0.722,
        frame_time=0.32400,
    ),
}  # fmt: skip
"""The four coronagraphs by filter name."""


def coronagraph(filter_name: str) -> Coronagraph:
    """Look up a coronagraph by the name of its filter.

    Parameters
    ----------
    filter_name : str
        F1065C, F1140C, F1550C or F2300C, in upper or lower case.

    Returns
    -------
    Coronagraph

    Raises
    ------
    UnknownNameError
        If there is no such coronagraphic filter; names the nearest.

    Examples
    --------
    >>> c = coronagraph("F1550C")
    >>> c.mask, c.shape, round(c.lambda_over_d, 3)
    ('4QPM_1550', (224, 288), 0.487)
    """
    try:
        return CORONAGRAPHS[filter_name.upper()]
    except KeyError:
        raise unknown_name("coronagraphic filter", filter_name, CORONAGRAPHS) from None


def modeled_coronagraph(instrument: str, filter_name: str) -> Coronagraph | None:
    """The coronagraph of a filter, if this package has a model of it.

    Parameters
    ----------
    instrument : str
        INSTRUME.
    filter_name : str
        FILTER.

    Returns
    -------
    Coronagraph or None
        None for NIRCam and for unknown filters.

    Examples
    --------
    >>> from lyot.instrument import modeled_coronagraph
    >>> modeled_coronagraph("MIRI", "F1550C").mask
    '4QPM_1550'
    >>> modeled_coronagraph("NIRCAM", "F444W") is None
    True
    """
    return CORONAGRAPHS.get(filter_name.strip()) if instrument.strip().upper() == "MIRI" else None


NIRCAM_ROUND_MASKS: Final = {"MASK210R": 0.40, "MASK335R": 0.63, "MASK430R": 0.81}
"""Round masks of NIRCam, and where they pass half of the light, arcsec (JWST User Documentation)."""


def nircam_coronagraph(filter_name: str, mask: str, pixel_scale: tuple[float, float]) -> Coronagraph | None:
    """A coronagraph of NIRCam with a round mask, as far as measurements need to know it.

    Parameters
    ----------
    filter_name, mask : str
        FILTER and CORONMSK, for example F444W and MASKA335R.
    pixel_scale : (x, y)
        arcsec per pixel.

    Returns
    -------
    Coronagraph or None
        Vega zero point and bandwidth are NaN; None for a bar, or a filter without a wavelength in its name.

    Examples
    --------
    >>> nircam_coronagraph("F444W", "MASKA335R", (0.0629, 0.0629)).inner_working_angle
    0.63
    """
    found = re.fullmatch(r"MASK[AB]?(\d{3}R)", mask.strip().upper())
    wavelength = wavelength_of("NIRCAM", filter_name)
    if found is None or wavelength is None or f"MASK{found[1]}" not in NIRCAM_ROUND_MASKS:
        return None
    nan, name = float("nan"), f"MASK{found[1]}"
    return Coronagraph(
        filter=filter_name.strip(), mask=name, exposure_type="NRC_CORON", kind="ROUND", subarray="", aperture="",
        shape=(0, 0), first_column=1, first_row=1, reference_point=(nan, nan), pixel_scale=pixel_scale, v2_ref=nan,
        v3_ref=nan, wavelength=wavelength, bandwidth=nan, vega_zero_point=nan, field_size=20.0,
        inner_working_angle=NIRCAM_ROUND_MASKS[name], design_wavelength=0.0, spot_radius=0.0, bar_width=0.0,
        frame_time=nan, boundary_tilt=0.0, instrument="NIRCAM", diameter=NIRCAM_DIAMETER,
    )  # fmt: skip


def wavelength_of(instrument: str, filter_name: str) -> float | None:
    """Mean wavelength of a coronagraphic filter.

    Parameters
    ----------
    instrument : str
        INSTRUME.
    filter_name : str
        FILTER.

    Returns
    -------
    float or None
        um; for MIRI from the table, for NIRCam from the name of the filter, otherwise None.

    Examples
    --------
    >>> from lyot.instrument import wavelength_of
    >>> round(wavelength_of("MIRI", "F1140C"), 1)
    11.3
    >>> round(wavelength_of("NIRCAM", "F444W"), 1)
    4.4
    """
    known = modeled_coronagraph(instrument, filter_name)
    if known is not None:
        return known.wavelength
    digits = filter_name.strip()[1:4]
    return int(digits) * 1e-2 if instrument.strip().upper() == "NIRCAM" and digits.isdigit() else None


def resolution(instrument: str, filter_name: str) -> float:
    """Resolution element lambda/D of a coronagraphic filter, arcsec.

    Parameters
    ----------
    instrument : str
        INSTRUME.
    filter_name : str
        FILTER.

    Returns
    -------
    float
        arcsec.

    Raises
    ------
    InputError
        For a filter whose wavelength is not known.

    Examples
    --------
    >>> from lyot.instrument import resolution
    >>> round(resolution("MIRI", "F1550C"), 2), round(resolution("NIRCAM", "F444W"), 3)
    (0.49, 0.176)
    """
    known = modeled_coronagraph(instrument, filter_name)
    if known is not None:
        return known.lambda_over_d
    wavelength = wavelength_of(instrument, filter_name)
    if wavelength is not None:
        return wavelength * 1e-6 / NIRCAM_DIAMETER * ARCSEC_PER_RADIAN
    raise InputError(
        f"filter {filter_name} of {instrument}: the wavelength is unknown, so no measurements are possible; check the "
        "keyword FILTER."
    )
