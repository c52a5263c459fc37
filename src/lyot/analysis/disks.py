"""A disk model fitted to a finished run: `lyot disk`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from lyot.analysis.combined_image import wcs_of
from lyot.analysis.finished_run import MeasuredRun
from lyot.analysis.tables import provenance, write_images, write_table
from lyot.errors import ConfigError, InputError, MissingInputError
from lyot.exposures.names import DISK, DISK_RESIDUAL
from lyot.measure.disks import DiskFit, DiskModel, DiskParams, fit_disk
from lyot.params import param


@dataclass(frozen=True)
class DiskOptions:
    """What a model file does not say of itself."""

    pixel_scale: float | None = param(
        None,
        help="pixel scale of the model; default from the file's coordinates or its keyword PIXELSCL",
        unit="arcsec",
        min=1e-4,
    )
    position_angle: float | None = param(
        None,
        help="position angle of the model's +y, east of north; default from the file's coordinates, else 0",
        unit="deg",
    )
    center: str | None = param(None, help='star in the model, "X,Y" in 0-based pixels; default the middle')
    total_flux: float | None = param(None, help="flux that the model is scaled to first", unit="Jy", min=0.0)

    def place(self) -> tuple[float, float] | None:
        """The star's pixel (x, y); None for the middle of the image.

        Raises
        ------
        ConfigError
            If `center` is not two numbers.
        """
        if self.center is None:
            return None
        try:
            x, y = (float(part) for part in self.center.split(","))
        except ValueError:
            raise ConfigError(f"center {self.center}: expected X,Y in pixels, e.g. 100,100.") from None
        return x, y


def read_disk(path: Path, options: DiskOptions | None = None) -> DiskModel:
    """Read a model image (FITS).

    The unit (BUNIT) may be Jy per pixel or a surface brightness such as MJy/sr or mJy/arcsec2; without one, pixels
    are taken as Jy.

    Parameters
    ----------
    path : Path
    options : DiskOptions, optional
        What the file does not say, or says otherwise.

    Returns
    -------
    DiskModel
        Flux in Jy per pixel.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it holds no image, its scale is not known, or its unit is no flux.
    """
    o = options or DiskOptions()
    if not path.is_file():
        raise MissingInputError(f"{path}: there is no such disk model.")
    try:
        with fits.open(path) as hdus:
            hdu = next(h for h in hdus if h.data is not None and np.ndim(h.data) >= 2)
            image, header = np.array(hdu.data, dtype=float), hdu.header.copy()
    except (OSError, StopIteration, TypeError) as error:
        raise InputError(f"{path}: expected a FITS file with an image ({error}).") from error
    image = np.nan_to_num(np.squeeze(image))
    if image.ndim != 2:
        raise InputError(f"{path}: expected one image, got {image.ndim} axes.")
    scale, angle = _from_header(header)
    scale = o.pixel_scale if o.pixel_scale is not None else scale
    if scale is None:
        raise InputError(f"{path}: the pixel scale is not in the file; give --pixel-scale in arcsec.")
    image = image * _flux_per_pixel(path, str(header.get("BUNIT", "")), scale)
    if o.total_flux is not None:
        image = image * (o.total_flux / image.sum())
    return DiskModel(image, scale, angle if o.position_angle is None else o.position_angle, o.place())


def _from_header(header: fits.Header) -> tuple[float | None, float]:
    """Pixel scale (arcsec) and position angle of +y, from celestial coordinates or PIXELSCL."""
    wcs: WCS = wcs_of(header)
    if wcs.has_celestial:
        matrix = wcs.celestial.pixel_scale_matrix
        if np.linalg.det(matrix) > 0:
            raise InputError("disk model: its coordinates have east to the right of north; turn it over first.")
        return float(np.sqrt(abs(np.linalg.det(matrix)))) * 3600, float(
            np.degrees(np.arctan2(matrix[0, 1], matrix[1, 1]))
        )
    value = header.get("PIXELSCL")
    return (float(value) if value else None), 0.0


def _flux_per_pixel(path: Path, unit: str, scale: float) -> float:
    """Jy in a pixel of value 1."""
    if not unit.strip():
        return 1.0
    try:
        parsed = u.Unit(unit.replace("arcsec2", "arcsec**2").replace("/pixel", "").replace("/pix", ""))
        if parsed.is_equivalent(u.Jy):
            return float(parsed.to(u.Jy))
        return float((parsed * (scale * u.arcsec) ** 2).to_value(u.Jy))
    except (ValueError, u.UnitConversionError) as error:
        raise InputError(f"{path}: the unit {unit!r} is neither a flux nor a surface brightness ({error}).") from error


def measure_disk(run: MeasuredRun, model: DiskModel, params: DiskParams | None = None) -> DiskFit:
    """Fit a disk; writes `DISK` and `DISK_RESIDUAL` (image less model, model, image).

    Parameters
    ----------
    run : MeasuredRun
    model : DiskModel
        Flux in Jy per pixel.
    params : DiskParams, optional

    Returns
    -------
    DiskFit
    """
    sequence = run.sequence
    fit = fit_disk(sequence.injector, model, sequence.detector, sequence.fwhm, params)
    flux = float(model.image.sum())
    table = Table()
    table["scale"], table["scale_err"] = [fit.scale], [fit.error]
    table["flux"], table["flux_err"] = [fit.scale * flux] * u.Jy, [fit.error * flux] * u.Jy
    table["snr"], table["reduced_chi2"] = [fit.snr], [fit.reduced_chi2]
    table["background"] = [fit.background] * u.MJy / u.sr
    table["pixels"] = [int(fit.region.sum())]
    table["scale"].description = "factor of the model's flux; error statistical, with correlated residuals"
    table["flux"].description = "of the whole model at that scale, before the mask"
    table.meta.update(provenance(run))
    write_table(table, run.tables / DISK)
    layers = {"SCI": fit.residual, "MODEL": fit.model, "IMAGE": fit.residual + fit.model}
    cards = {"DSCALE": (fit.scale, "factor of the model's flux"), "DSCALERR": (fit.error, "its error")}
    write_images(run, run.tables / DISK_RESIDUAL, layers, dict.fromkeys(layers, "MJy/sr"), {"SCI": cards})
    return fit
