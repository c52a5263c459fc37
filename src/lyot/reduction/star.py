"""Position of the star behind the mask: parameters, result, target acquisition, and fit of the optics model.

The star is acquired through a neutral-density filter in a region beside the mask (48 x 48, later 16 x 16 pixels), and a
small-angle manoeuvre brings it to the mask's center. The manoeuvre starts from the position that the observatory
measured itself, which the files do not tell; but the pointing of both exposures comes from the guide star and says how
far the telescope moved. The star's position in the acquisition image, moved by that, is its position behind the mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lyot import geometry
from lyot.errors import ConfigError, InputError, LyotError
from lyot.instrument import Coronagraph
from lyot.measure.star import AcquisitionParams, aperture_photometry, windowed_centroid
from lyot.measure.systematics import STAR_CENTER
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.optics.fitted import fitted_optics
from lyot.optics.small_errors import small_errors, wavefront_modes
from lyot.params import param
from lyot.subtract import CoronagraphicSequence
from lyot.subtract.sequence import mean_by_group
from lyot.subtract.star_position import StarFit, StarFitParams, fit_star

FloatArray = NDArray[np.float64]

REFERENCE_ERRORS = {"MIRI": 1e3 * STAR_CENTER, "NIRCAM": 20.0}
"""Error of the reference point as the star's position, per axis, mas, by instrument. NIRCam's target acquisition is 7
to 14 arcsec from the masks, and the maneuver from there has uncertainties of up to 20 mas (JWST user documentation,
"NIRCam Coronagraph Astrometric Confirmation Images")."""

WAYS = ("reference", "acquisition", "model", "auto")
FARTHEST_GIVEN = 2.0
"""A position given farther than this from the mask's reference point is taken for a mistake, arcsec."""


@dataclass(frozen=True)
class StarPositionParams:
    """Parameters of the star position.

    Examples
    --------
    >>> from lyot.reduction import StarPositionParams
    >>> StarPositionParams(position="119.2,112.5").given()
    (119.2, 112.5)
    >>> StarPositionParams(position="model").given() is None
    True
    """

    position: str = param(
        "reference",
        help="position of the star behind the mask: reference (reference point of the mask), acquisition (target "
        "acquisition), model (fit of the optics model), auto (model, otherwise acquisition, otherwise "
        "reference), or x,y in 0-based pixels of the first exposure",
    )
    acquisition: tuple[str, ...] = param((), help="target-acquisition images (FITS), in any order")
    reference_error: float | None = param(
        None,
        help="error of the star position per axis if the reference point is used; default: 7 for MIRI, 20 for NIRCam",
        unit="mas",
        min=0.0,
    )
    acquisition_error: float = param(
        10.0,
        help="error of a position from target acquisition in addition to the centroid error: pointing, distortion, "
        "filter shift",
        unit="mas",
        min=0.0,
    )
    n_modes: int = param(55, help="number of wavefront modes in the fit of the optics model", min=0, max=69)
    optics: str = param(
        "effective",
        help="Lyot stop of the optics model: effective (fitted to a star, with wavefront and mask errors), "
        "geometric, eroded",
        choices=("effective", "geometric", "eroded"),
    )
    fitted_optics: str = param("", help="file written by lyot fit-optics; empty: the effective optics included in Lyot")

    def model_optics(self) -> OpticsParams:
        """Optics of the model that is fitted.

        Returns
        -------
        OpticsParams
            With three wavelengths.

        Raises
        ------
        ConfigError
            If the file of fitted optics cannot be read, or the stop is not the effective one.
        """
        try:
            optics = OpticsParams(stop=self.optics, fitted_optics=self.fitted_optics, n_wavelengths=3)
            if self.fitted_optics:
                fitted_optics(self.fitted_optics)
        except LyotError as error:
            raise ConfigError(f"locate_star: {error}") from error
        return optics

    def given(self) -> tuple[float, float] | None:
        """The position, if it is given as two numbers.

        Returns
        -------
        (float, float) or None
            x and y in the first exposure, 0-based pixels; None for one of the words.

        Raises
        ------
        ConfigError
            If it is neither a known word nor two numbers.
        """
        if self.position in WAYS:
            return None
        try:
            x, y = (float(v) for v in self.position.split(","))
        except ValueError:
            x = y = np.nan
        if not np.isfinite(x + y):
            raise ConfigError(
                f'locate_star.position: expected {", ".join(WAYS)}, or "x,y" in pixels; got {self.position!r}.'
            )
        return x, y


@dataclass(frozen=True)
class StarPosition:
    """Position of the star in each science exposure.

    Attributes
    ----------
    offset : (n, 2) float64 ndarray
        (dx, dy) from the mask's reference point along the detector's axes, mas.
    error : (n, 2) float64 ndarray
        One sigma, mas.
    source : str
        reference, acquisition, model or given.
    note : str
        Why it is not what was asked for; empty if it is.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.reduction import StarPosition
    >>> position = StarPosition(np.array([[3.0, -2.0], [4.0, 1.0]]), np.full((2, 2), 7.0), "acquisition")
    >>> position.of(1).offset.tolist()
    [[4.0, 1.0]]
    """

    offset: FloatArray
    error: FloatArray
    source: str
    note: str = ""

    def of(self, exposure: int) -> StarPosition:
        """The position in one exposure.

        Parameters
        ----------
        exposure : int
            Index of the exposure, from 0.

        Returns
        -------
        StarPosition
            With arrays of length 1.
        """
        return replace(self, offset=self.offset[[exposure]], error=self.error[[exposure]])


def at_reference_point(n: int, instrument: str, *, error: float | None = None, note: str = "") -> StarPosition:
    """The star at the mask's reference point in `n` exposures.

    Parameters
    ----------
    n : int
        Number of exposures.
    instrument : str
        Name, for the default of `error`; the largest of all for an unknown instrument.
    error : float, optional
        Error per axis, mas; default: `REFERENCE_ERRORS`.
    note : str, optional
        Why the reference point is used.

    Returns
    -------
    StarPosition
    """
    if error is None:
        error = REFERENCE_ERRORS.get(instrument.upper(), max(REFERENCE_ERRORS.values()))
    return StarPosition(np.zeros((n, 2)), np.full((n, 2), error), "reference", note)


@dataclass(frozen=True)
class Pointing:
    """Where an exposure looked, and which part of the detector was read.

    Attributes
    ----------
    sky : (ra, dec)
        Of the reference point of the aperture, degrees.
    roll : float
        Position angle of V3 there (ROLL_REF), degrees east of north.
    reference : (V2, V3)
        Reference point of the aperture in the telescope, arcsec.
    y_angle : float
        Angle from V3 to the detector's y axis (V3I_YANG), degrees.
    corner : (x, y)
        First column and row of the subarray on the detector, pixels from 1.
    """

    sky: tuple[float, float]
    roll: float
    reference: tuple[float, float]
    y_angle: float
    corner: tuple[float, float]

    @property
    def pa_y(self) -> float:
        """Position angle of the detector's +y axis, degrees east of north."""
        return geometry.pa_of_detector_y(self.roll, self.y_angle)


CENTROID = AcquisitionParams(radius=5.0, inner=6.0, outer=8.0)
"""Aperture of the centroid of an acquired star: it stays inside the smaller regions (16 x 16 pixels)."""


def offset_behind_mask(
    image: NDArray[np.floating], acquired: Pointing, science: Pointing, coronagraph: Coronagraph
) -> tuple[FloatArray, float]:
    """Offset (dx, dy) of the star from the mask's center in a science exposure, arcsec along the detector's axes.

    Parameters
    ----------
    image : (ny, nx) float array
        Target-acquisition image, any linear unit; NaN where bad.
    acquired, science : Pointing
        Of the acquisition and of the science exposure.
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
        If no star is seen.
    """
    found = aperture_photometry(image, CENTROID)
    x, y = windowed_centroid(image, (found.x, found.y))
    scale = np.array(coronagraph.pixel_scale)
    corner = np.array([acquired.corner[0] - science.corner[0], acquired.corner[1] - science.corner[1]])
    star = (np.array([x, y]) + corner - np.array(coronagraph.reference_point)) * scale
    dv2, dv3 = acquired.reference[0] - science.reference[0], acquired.reference[1] - science.reference[1]
    aperture = _on_detector(dv2, dv3, acquired.y_angle)  # of the acquisition's reference point, from the mask's
    dx, dy = star - aperture
    east, north = geometry.sky_offset(float(np.hypot(dx, dy)), float(geometry.position_angle(dx, dy, acquired.pa_y)))
    cos = np.cos(np.radians(science.sky[1]))
    turn = (science.sky[0] - acquired.sky[0] + 180.0) % 360.0 - 180.0
    offset = _on_detector(
        float(east) - 3600 * turn * cos, float(north) - 3600 * (science.sky[1] - acquired.sky[1]), science.pa_y
    )
    error = float(scale.mean()) * float(np.hypot(1.2 * found.error / max(found.flux, 1e-300), 0.02))
    return offset, error


def _on_detector(east: float, north: float, pa_y: float) -> FloatArray:
    """An offset on the sky, or with V2, V3 and V3I_YANG in their stead, along the detector's axes, arcsec."""
    separation, pa = geometry.separation_and_pa(east, north)
    return np.array([float(v) for v in geometry.detector_offset(separation, pa, pa_y)])


def fit_sequence(
    sequence: CoronagraphicSequence,
    coronagraph: Coronagraph,
    *,
    n_modes: int = 55,
    params: StarFitParams | None = None,
    optics: OpticsParams | None = None,
) -> StarFit:
    """Fit the optics model to the exposures of a sequence: science, and references if available.

    Parameters
    ----------
    sequence : CoronagraphicSequence
        References as they were taken, not registered; `reference_exposure` names the exposure of each frame.
    coronagraph : Coronagraph
        With a four-quadrant mask.
    n_modes : int, optional
        Modes of the wavefront in the fit.
    params : StarFitParams, optional
    optics : OpticsParams, optional
        Of the model; by default effective ones at three wavelengths.

    Returns
    -------
    StarFit
        Science exposures first, then reference exposures.

    Raises
    ------
    InputError
        Behind the Lyot spot, which hides the star, or where the sequence does not say where the mask is.
    """
    p = params or StarFitParams()
    if coronagraph.kind != "4QPM":
        raise InputError("the Lyot spot hides the star.")
    center = sequence.mask_center
    if center is None or sequence.references is None or sequence.reference_exposure is None:
        raise InputError("the sequence has no position of the mask.")
    dx, dy = geometry.offset_grid(sequence.shape, center)
    dx, dy = dx * coronagraph.pixel_scale[0], dy * coronagraph.pixel_scale[1]
    near = np.hypot(dx, dy) < p.radius
    _, group = np.unique(sequence.reference_exposure, return_inverse=True)
    cubes = [(sequence.science, sequence.science_variance, sequence.exposure, sequence.n_exposures)]
    if sequence.n_references:
        cubes.append((sequence.references, sequence.reference_variance, group, int(group.max()) + 1))
    frames = np.concatenate([mean_by_group(data[:, near][:, None], g, n)[:, 0] for data, _, g, n in cubes])
    known_noise = all(v is not None for _, v, _, _ in cubes)
    variance = (
        np.concatenate([mean_by_group(v[:, near][:, None], g, n, variance=True)[:, 0]
                        for _, v, g, n in cubes if v is not None])
        if known_noise else None
    )  # fmt: skip
    model = CoronagraphModel.build(coronagraph, optics or OpticsParams(stop="effective", n_wavelengths=3))
    modes = wavefront_modes(n=n_modes, npix=model.params.pupil_pixels) if n_modes else []
    fields = small_errors(model, (dx[near], dy[near]), modes)
    background = None if sequence.templates is None else sequence.templates[0][near]
    return fit_star(frames, fields, variance=variance, background=background, params=p)
