"""Read the products of a run back from disk, for the report: arrays and how they lie on the sky."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.exposures.headers import pixel_scale
from lyot.exposures.names import exposure_name, exposure_root, find_products, is_north_up, product_beside
from lyot.geometry import pa_of_detector_y
from lyot.records.manifest import Manifest
from lyot.report.figures import View
from lyot.stacks import nanmean

_KEPT = 64
"""Products whose mean images are kept, half a megabyte each."""


@dataclass(frozen=True)
class Product:
    """One image product.

    Attributes
    ----------
    path : Path
        Its file.
    image : (ny, nx) float ndarray
        Mean over integrations or frames of SCI, NaN where no integration is usable.
    unit : str
        BUNIT of SCI.
    view : View
        Star position, scale and orientation.
    header : dict
        Primary and SCI keywords together.
    """

    path: Path
    image: NDArray[np.float64]
    unit: str
    view: View
    header: dict[str, Any]

    @property
    def name(self) -> str:
        """File name without extension."""
        return self.path.stem


def view_of(header: dict[str, Any], shape: tuple[int, ...], *, north_up: bool) -> View:
    """Star position, scale and orientation of an image from its keywords.

    Parameters
    ----------
    header : dict
        CRPIX1 and CRPIX2 (1-based, the center of the image if missing), scale, ROLL_REF and V3I_YANG.
    shape : (..., ny, nx)
        Of the image.
    north_up : bool
        Whether north is up; otherwise the orientation is that of the detector.

    Returns
    -------
    View

    Examples
    --------
    >>> from lyot.report import view_of
    >>> view = view_of({"CRPIX1": 21.0, "CRPIX2": 21.0, "CDELT1": -3e-5, "CDELT2": 3e-5}, (41, 41), north_up=True)
    >>> view.center
    (20.0, 20.0)
    """
    ny, nx = shape[-2:]
    center = (float(header.get("CRPIX1", (nx + 1) / 2)) - 1, float(header.get("CRPIX2", (ny + 1) / 2)) - 1)
    pa_y = 0.0 if north_up else pa_of_detector_y(header.get("ROLL_REF") or 0.0, header.get("V3I_YANG") or 0.0)
    return View(center, pixel_scale(header), pa_y)


def usable(data: NDArray[np.floating], dq: NDArray[np.integer] | None) -> NDArray[np.float64]:
    """Return the data as float64 with NaN where DQ says DO_NOT_USE."""
    values = np.array(data, dtype=float)
    if dq is not None and dq.shape == values.shape:
        values[(dq & 1) > 0] = np.nan
    return values


def read_cube(path: str | Path) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Read the image or cube of a product with its keywords.

    Parameters
    ----------
    path : path
        FITS file with the extension SCI.

    Returns
    -------
    data : (..., ny, nx) float64 ndarray
        Unit of the product; NaN where DQ is DO_NOT_USE.
    header : dict
        Keywords of the primary header and of SCI.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from lyot.report import read_cube
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "x_calints.fits"
    >>> image = np.ones((2, 4, 4), dtype=np.float32)
    >>> fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI")]).writeto(path)
    >>> cube, header = read_cube(path)
    >>> cube.shape, header["EXTNAME"]
    ((2, 4, 4), 'SCI')
    >>> folder.cleanup()
    """
    with fits.open(path) as hdus:
        header = {**dict(hdus[0].header), **dict(hdus["SCI"].header)}
        dq = np.asarray(hdus["DQ"].data) if "DQ" in hdus else None
        return usable(hdus["SCI"].data, dq), header


def read_product(path: str | Path) -> Product:
    """Read an image or cube product as its mean image.

    Parameters
    ----------
    path : path
        FITS file with the extension SCI.

    Returns
    -------
    Product
        Its image is read-only, as several parts of a report show it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from lyot.report import read_product
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "x_calints.fits"
    >>> image = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    >>> fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI")]).writeto(path)
    >>> float(read_product(path).image.mean())  # mean of the integrations
    0.5
    >>> folder.cleanup()
    """
    state = Path(path).stat()
    return _read_product(Path(path), (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=_KEPT)
def _read_product(path: Path, _state: tuple[int, int]) -> Product:
    data, header = read_cube(path)
    image = data if data.ndim == 2 else nanmean(np.where(np.isfinite(data), data, np.nan).reshape(-1, *data.shape[-2:]))
    image.flags.writeable = False
    view = view_of(header, image.shape, north_up=is_north_up(path))
    return Product(path, image, str(header.get("BUNIT", "")), view, header)


def products(out: Path, stage: str, suffix: str) -> Iterator[Product]:
    """Products of one kind in a run's folder, e.g. ``products(out, "stage2", "calints")``, by name."""
    for path in find_products(out / stage, suffix):
        yield read_product(path)


def combined_image(out: Path) -> Path | None:
    """The combined image of a run; None if stage 3 was not done."""
    return next(iter(find_products(out / "stage3", "i2d")), None)


def before_subtraction(out: Path, item: Product) -> Product | None:
    """The calibrated exposure that a ``psfsub`` was made from, with the star where it was found.

    That of stage 2, else as stage 3 kept it, else as it was given; None if it is not there any more.
    """
    path = _calibrated(out, item)
    if path is None:
        return None
    before = read_product(path)
    # CRPIX of a calibrated exposure marks the mask, that of the psfsub the star
    return replace(before, view=item.view) if before.image.shape == item.image.shape else before


def _calibrated(out: Path, item: Product) -> Path | None:
    root = exposure_root(item.path)
    stem = root.rsplit("_", 1)[0]  # level-3 file names carry the association's candidate before the suffix
    calibrated = find_products(out / "stage2", "calints")
    candidates = [
        *(path for name in (root, stem) for path in calibrated if exposure_root(path) == name),
        *(path for path in calibrated if exposure_name(exposure_root(path)) in (root, stem)),
        product_beside(item.path, "crfints"),
    ]
    given = [Path(i["path"]) for r in Manifest(out).records if r.kind == "stage3" for i in r.inputs]
    candidates += [path for path in given if exposure_root(path) in (root, stem)]
    return next((path for path in candidates if path.is_file()), None)


def read_snr(path: Path) -> Product:
    """The S/N map of a run."""
    with fits.open(path) as hdus:
        hdu = next(h for h in hdus if h.data is not None and h.data.ndim >= 2)
        header = {**dict(hdus[0].header), **dict(hdu.header)}
        data = np.asarray(hdu.data, dtype=float)
    image = data if data.ndim == 2 else data[-1]
    return Product(path, image, "S/N", view_of(header, image.shape, north_up=True), header)


def truncations_of(path: Path, count: int) -> list[int]:
    """KL truncations of a cube product, from its table (extension KLMODES); 1..n when there is none."""
    with fits.open(path) as hdus:
        for hdu in hdus:
            if not isinstance(hdu, fits.BinTableHDU):
                continue
            column = next((n for n in hdu.columns.names if n.lower() in ("modes", "truncation")), None)
            if column is not None:
                return [int(v) for v in hdu.data[column]]
    return list(range(1, count + 1))
