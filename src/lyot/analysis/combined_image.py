"""The combined image of stage 3 with what a measurement needs of it, and detections and S/N map as files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from lyot.analysis.columns import APERTURE, describe
from lyot.errors import InputError
from lyot.exposures.headers import STAR_ERRORS, star_pixel, star_pixel_cards
from lyot.exposures.names import DETECTIONS
from lyot.geometry import scale_of_matrix
from lyot.instrument import resolution
from lyot.measure.detected import CANDIDATE, POINT_SOURCES, Detection
from lyot.measure.noise import SignalToNoise
from lyot.records.tables import read_ecsv


@dataclass(frozen=True)
class CombinedImage:
    """A combined image of stage 3 with what the measurement needs of its header.

    Attributes
    ----------
    data : (ny, nx) float64 ndarray
        Unit of the product (MJy/sr); NaN where there are no data.
    header : fits.Header
        Of the extension SCI.
    primary : fits.Header
    center : (x, y)
        0-based pixel position of the star.
    pixel_scale : float
        arcsec per pixel.
    fwhm : float
        Resolution element lambda/D, pixels.
    coverage : (ny, nx) int ndarray or None
        Number of rolls with data at each pixel.
    """

    data: NDArray[np.float64]
    header: Any
    primary: Any
    center: tuple[float, float]
    pixel_scale: float
    fwhm: float
    coverage: NDArray[np.int64] | None = None


def wcs_of(header: Any) -> WCS:
    """Celestial coordinates of an image; that astropy completes the observatory's position is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(header, naxis=2)


def read_combined(path: Path, rolls: Sequence[Path] = ()) -> CombinedImage:
    """Read a combined image (``i2d``).

    Parameters
    ----------
    path : Path
    rolls : sequence of Path, optional
        North-up images of the single rolls, for the coverage.

    Raises
    ------
    InputError
        If it is no two-dimensional image or its instrument and filter are not known.
    """
    with fits.open(path) as hdus:
        primary, header = hdus[0].header.copy(), hdus["SCI"].header.copy()
        data = np.asarray(hdus["SCI"].data, dtype=float)
    if data.ndim != 2:
        raise InputError(f"{path}: expected an image, got {data.ndim} axes.")
    wcs = wcs_of(header)
    scale = float(np.mean(scale_of_matrix(wcs.pixel_scale_matrix)))  # square pixels
    star = star_pixel(primary, header)
    fwhm = resolution(str(primary.get("INSTRUME", "")).strip(), str(primary.get("FILTER", "")).strip()) / scale
    return CombinedImage(data, header, primary, star, scale, fwhm, coverage_of(data, rolls))


def star_error(image: CombinedImage) -> float | None:
    """Error of the star's position per axis, arcsec: the quadratic mean of `STAR_ERRORS`; None without them."""
    found = [
        float(header[key])
        for key in STAR_ERRORS
        for header in (image.primary, image.header)
        if isinstance(header.get(key), int | float) and np.isfinite(header[key]) and header[key] > 0
    ]
    return 1e-3 * float(np.sqrt(np.mean(np.square(found)))) if found else None


CAP = "max_sources"
"""Metadata of a table of detections: the number of sources at which the search ended; absent if it found all."""


UNCOMPARED = "rolls_not_compared"
"""Metadata of a table of detections: why no source was compared between rolls, where there are several."""


def detection_table(detections: Sequence[Detection], image: CombinedImage) -> Table:
    """Detections as a table with units and what the measurement was: sources, highest S/N first, then what is none.

    Parameters
    ----------
    detections : sequence of Detection
    image : CombinedImage
        The image they were found in.
    """

    def column(name: str, dtype: type = float) -> NDArray[Any]:
        return np.array([getattr(d, name) for d in detections], dtype=dtype)

    table = Table()
    table["separation"] = column("separation") * u.arcsec
    table["position_angle"] = column("position_angle") * u.deg
    table["snr"] = column("snr")
    table["significance"] = column("significance")
    table["ring_significance"] = column("ring_significance")
    table["x"] = column("x") * u.pix
    table["y"] = column("y") * u.pix
    sky = wcs_of(image.header).pixel_to_world_values(column("x"), column("y"))
    table["ra"], table["dec"] = np.asarray(sky[0]) * u.deg, np.asarray(sky[1]) * u.deg
    unit = u.Unit(APERTURE)
    table["signal"], table["noise"] = column("signal") * unit, column("noise") * unit
    table["kl_modes"] = column("truncation", int)
    table["images"] = column("images", int)
    table["false_alarm"] = column("false_alarm")
    table["status"], table["reason"] = column("status", str), column("reason", str)
    table["shape"], table["roll_difference"] = column("shape"), column("roll_difference")
    table["rolls"] = column("rolls", int)
    describe(table, DETECTIONS)
    table.meta["fwhm_arcsec"] = round(image.fwhm * image.pixel_scale, 5)
    table.meta["target"] = str(image.primary.get("TARGPROP", ""))
    table.meta["filter"] = str(image.primary.get("FILTER", ""))
    return table


IDENTITY = ("TELESCOP", "INSTRUME", "FILTER", "TARGPROP", "TARGNAME", "PROGRAM")
"""Keywords that say what was observed."""


def copy_cards(source: Any, target: fits.Header, keywords: Iterable[str]) -> None:
    """Copy those of the keywords that a header has, with their comments."""
    for key in keywords:
        if key in source:
            target[key] = (source[key], getattr(source, "comments", {key: ""})[key])


def write_snr_map(path: Path, image: CombinedImage, signal_to_noise: SignalToNoise) -> None:
    """Write the S/N map with the coordinates of the combined image; SIGNAL and NOISE follow as extensions."""
    coordinates = wcs_of(image.header).to_header()
    primary = fits.PrimaryHDU()
    copy_cards(image.primary, primary.header, (*IDENTITY, "KLMODES"))
    layers = {"SCI": signal_to_noise.snr, "SIGNAL": signal_to_noise.signal, "NOISE": signal_to_noise.noise}
    hdus = [fits.ImageHDU(data.astype(np.float32), coordinates, name=name) for name, data in layers.items()]
    hdus[0].header["BUNIT"] = ("", "signal to noise, small-sample statistics")
    hdus[0].header["FWHM"] = (signal_to_noise.fwhm, "[pixel] diameter of the apertures")
    for key, value, comment in star_pixel_cards(image.center):
        primary.header[key] = (value, comment)
    fits.HDUList([primary, *hdus]).writeto(path)


def shape_model(reduction: bool) -> str:
    """What the shape of a source is compared with, for the metadata of the table."""
    return "forward model" if reduction else "Gaussian core of one lambda/D (no model of the coronagraph)"


def read_detections(path: Path, *, all_peaks: bool = False) -> Table:
    """Read the sources and candidates of a table of detections.

    Parameters
    ----------
    path : Path
        ``measure/detections.ecsv`` of a run.
    all_peaks : bool
        Also the rejected peaks and the extended ones.

    Returns
    -------
    Table
        With units.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy.table import Table
    >>> from lyot.analysis import read_detections
    >>> table = Table({"separation": [0.8, 2.1], "position_angle": [150.0, 30.0], "snr": [15.0, 5.2]})
    >>> table["status"] = ["source", "extended"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "detections.ecsv")
    ...     table.write(path)
    ...     len(read_detections(path)), len(read_detections(path, all_peaks=True))
    (1, 2)
    """
    table = read_ecsv(path)
    return table if all_peaks else table[is_source(table)]


def is_source(table: Table) -> NDArray[np.bool_]:
    """Rows of a table of detections that are point sources, candidates among them, (n,) bool; all in old tables."""
    if "status" not in table.colnames:
        return np.ones(len(table), dtype=bool)
    return np.isin(np.asarray(table["status"]).astype(str), POINT_SOURCES)


def is_candidate(table: Table) -> NDArray[np.bool_]:
    """Rows of a table of detections that may be noise, (n,) bool; none in tables of earlier versions."""
    if "status" not in table.colnames:
        return np.zeros(len(table), dtype=bool)
    return np.asarray(np.asarray(table["status"]).astype(str) == CANDIDATE)


def coverage_of(data: NDArray[np.float64], rolls: Sequence[Path]) -> NDArray[np.int64]:
    """Number of rolls that have data at each pixel: (ny, nx); 1 or 0 where the images of the rolls are not there.

    Parameters
    ----------
    data : (ny, nx) float64 ndarray
        The combined image, NaN where there are no data.
    rolls : sequence of Path
        North-up images of the single rolls.
    """
    counts = np.isfinite(data).astype(np.int64)
    images = [np.isfinite(fits.getdata(path, "SCI")) for path in rolls if path.is_file()]
    if len(images) > 1 and all(image.shape == data.shape for image in images):
        counts = np.sum(images, axis=0, dtype=np.int64)
    return counts
