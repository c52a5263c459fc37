"""Disks of a finished run, from images of models or a parametric ring: `lyot disk`, and section ``[disk]``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from lyot.analysis import columns
from lyot.analysis.combined_image import wcs_of
from lyot.analysis.finished_run import FinishedRun, MeasuredRun
from lyot.analysis.parameters import DiskOptions, DiskSection
from lyot.analysis.tables import provenance, write_images, write_table
from lyot.errors import InputError, MissingInputError, output_error
from lyot.exposures.names import DISK, DISK_RESIDUAL, DISK_RING, DISK_RING_MODEL
from lyot.geometry import scale_of_matrix
from lyot.measure.disks import DiskFit, DiskImager, DiskModel, DiskParams, disk_imager, fit_disk, same_pixels
from lyot.measure.ring import RingParams
from lyot.measure.ring_fit import RingFit, RingFitParams, fit_radii, fit_ring
from lyot.params import describe

log = logging.getLogger(__name__)

RING = "ring"
"""Name of the parametric ring among the models."""

REFERENCES_ALONE = "rdi"
"""Strategy whose basis holds no other roll."""


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

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from lyot.analysis import DiskOptions, read_disk
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "model.fits"
    >>> fits.PrimaryHDU(np.ones((21, 21))).writeto(path)
    >>> model = read_disk(path, DiskOptions(pixel_scale=0.05, total_flux=0.01))
    >>> model.pixel_scale, round(float(model.image.sum()), 3)
    (0.05, 0.01)
    >>> folder.cleanup()
    """
    o = options or DiskOptions()
    if not path.is_file():
        raise MissingInputError(f"{path}: no such disk model; check the path.")
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
        raise InputError(f"{path}: the file has no pixel scale; give --pixel-scale in arcsec.")
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
            raise InputError("disk model: in its WCS, east is to the right of north; flip the image first.")
        return float(np.mean(scale_of_matrix(matrix))), float(np.degrees(np.arctan2(matrix[0, 1], matrix[1, 1])))
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


def basis_for_disks(finished: FinishedRun, *, rolls: bool = False) -> str | None:
    """Strategy of the reduction that disks are fitted in; None for that of the run.

    With other rolls in the basis a disk subtracts itself, and its flux comes out wrong (20 % in simulated two-roll
    sequences); where there are references, the reduction is repeated with them alone.

    Parameters
    ----------
    finished : FinishedRun
    rolls : bool, optional
        Leave the reduction as it is.

    Returns
    -------
    str or None
    """
    strategy = str(finished.klip_parameters.get("strategy", REFERENCES_ALONE))
    if rolls and strategy == REFERENCES_ALONE:
        log.warning(
            "rolls has no effect: the PSF library contains reference stars only (stage3.klip.strategy = %s); "
            "reduce with adi+rdi to include the other rolls",
            strategy,
        )
    if rolls or strategy == REFERENCES_ALONE:
        return None
    if finished.psfalign is None:
        log.warning(
            "%s: the PSF library consists of the other rolls (%s), as there are no references: the disk subtracts "
            "itself, and its flux may be wrong by 20 %%", finished.out, strategy,
        )  # fmt: skip
        return None
    return REFERENCES_ALONE


@dataclass(frozen=True)
class FittedDisks:
    """Disk models fitted to the same pixels of a run.

    Attributes
    ----------
    names : tuple of str
    fits : tuple of DiskFit
        In the same order.
    table : Table
        One row per model.
    best : int
        Index of the model with the lowest Bayesian information criterion.
    ring : RingFit or None
        The parametric ring, if it was fitted.
    """

    names: tuple[str, ...]
    fits: tuple[DiskFit, ...]
    table: Table
    best: int
    ring: RingFit | None = None


def fit_disks(
    run: MeasuredRun,
    models: Mapping[str, DiskModel],
    ring: RingFitParams | None = None,
    params: DiskParams | None = None,
) -> FittedDisks:
    """Fit disk models and compare them; nothing is written.

    Parameters
    ----------
    run : MeasuredRun
        Opened with the strategy of `basis_for_disks`.
    models : mapping of str to DiskModel
        Images by name, flux in Jy per pixel; may be empty.
    ring : RingFitParams, optional
        Fit this ring as well.
    params : DiskParams, optional

    Returns
    -------
    FittedDisks

    Raises
    ------
    InputError
        If there is nothing to fit, or a model has no light on the detector.
    ReductionError
        If too few pixels can be fitted.
    """
    if not models and ring is None:
        raise InputError("disk: nothing to fit; give the image of a model (FITS), or fit a ring with --ring.")
    sequence = run.sequence
    injector, fwhm = sequence.injector, sequence.fwhm
    imager = _imager_for(run, models, ring, params) if len(models) + (ring is not None) > 1 else None
    names = list(models)
    fits = [fit_disk(injector, m, sequence.detector, fwhm, params, imager=imager) for m in models.values()]
    fluxes = [float(m.image.sum()) for m in models.values()]
    numbers, ring_fit = [1] * len(fits), None
    if ring is not None:
        wavelength = sequence.coronagraph.wavelength
        ring_fit = fit_ring(injector, sequence.detector, fwhm, ring, params, wavelength=wavelength, imager=imager)
        flux = ring_fit.fit.scale
        names.append(RING)
        fits.append(replace(ring_fit.fit, scale=1.0, error=ring_fit.fit.error / flux))
        fluxes.append(flux)
        numbers.append(len(ring_fit.names))
    if len(fits) > 1:
        errors = [f.error for f in fits]
        fits = list(same_pixels(fits, injector, fwhm, params))
        if ring_fit is not None:  # with the errors of the other parameters in it
            fits[-1] = replace(fits[-1], error=max(fits[-1].error, errors[-1]))
    more = int((params or DiskParams()).background)
    criterion = _criterion(fits, [n + more for n in numbers])
    table = _disk_table(names, fits, fluxes, criterion)
    return FittedDisks(tuple(names), tuple(fits), table, int(np.argmin(criterion)), ring_fit)


def _imager_for(
    run: MeasuredRun, models: Mapping[str, DiskModel], ring: RingFitParams | None, params: DiskParams | None
) -> DiskImager:
    """Images of a source as far out as any of the models has light, so that they are made once for all."""
    sequence = run.sequence
    reach = [float(np.hypot(*model.light()[:2]).max()) for model in models.values()]
    if ring is not None:
        reach.append(fit_radii(ring, params or DiskParams(), sequence.fwhm * sequence.injector.pixel_scale)[2])
    return disk_imager(sequence.injector, sequence.detector, sequence.fwhm, max(reach), params)


def _criterion(fits: Sequence[DiskFit], numbers: Sequence[int]) -> list[float]:
    """Bayesian information criterion of each model, chi2 and pixels counted in independent ones (Schwarz 1978)."""
    share = max(fits[int(np.argmin([f.chi2 for f in fits]))].correlation, 1.0)
    penalty = [float(np.log(max(float(f.region.sum()) / share, 2.0))) for f in fits]
    return [f.chi2 / share + n * p for f, n, p in zip(fits, numbers, penalty, strict=True)]


def _disk_table(
    names: Sequence[str], fits: Sequence[DiskFit], fluxes: Sequence[float], criterion: Sequence[float]
) -> Table:
    """One row per model, in the order that they were given."""
    table = Table()
    table["model"] = list(names)
    table["best"] = [k == int(np.argmin(criterion)) for k in range(len(fits))]
    table["scale"], table["scale_err"] = [f.scale for f in fits], [f.error for f in fits]
    table["flux"] = [f.scale * flux for f, flux in zip(fits, fluxes, strict=True)] * u.Jy
    table["flux_err"] = [f.error * abs(flux) for f, flux in zip(fits, fluxes, strict=True)] * u.Jy
    table["snr"] = [f.snr for f in fits]
    table["chi2"], table["reduced_chi2"] = [f.chi2 for f in fits], [f.reduced_chi2 for f in fits]
    table["delta_bic"] = np.array(criterion) - min(criterion)
    table["background"] = [f.background for f in fits] * u.MJy / u.sr
    table["pixels"] = [int(f.region.sum()) for f in fits]
    table["correlation"] = [f.correlation for f in fits]
    columns.describe(table, DISK)
    return table


def measure_disks(
    run: MeasuredRun,
    models: Mapping[str, DiskModel],
    ring: RingFitParams | None = None,
    params: DiskParams | None = None,
) -> FittedDisks:
    """Fit disk models; writes `DISK`, `DISK_RESIDUAL`, and for a ring `DISK_RING` and `DISK_RING_MODEL`.

    The residual file holds image minus model, model and image of the best model, and where there are several, residual
    and model of each.

    Parameters
    ----------
    run : MeasuredRun
        Opened with the strategy of `basis_for_disks`.
    models : mapping of str to DiskModel
        Images by name, flux in Jy per pixel; may be empty.
    ring : RingFitParams, optional
        Fit this ring as well.
    params : DiskParams, optional

    Returns
    -------
    FittedDisks

    Raises
    ------
    InputError
        If there is nothing to fit, or a model has no light on the detector.
    ReductionError
        If too few pixels can be fitted.
    OutputError
        If a file cannot be written.
    """
    found = fit_disks(run, models, ring, params)
    found.table.meta.update(provenance(run, best_model=found.names[found.best], strategy=run.strategy))
    write_table(found.table, run.tables / DISK)
    best = found.fits[found.best]
    layers = {"SCI": best.residual, "MODEL": best.model, "IMAGE": best.residual + best.model}
    cards = {"SCI": _cards(found.names[found.best], best)}
    if len(found.fits) > 1:
        for k, (name, fit) in enumerate(zip(found.names, found.fits, strict=True), start=1):
            layers |= {f"RESID{k}": fit.residual, f"MODEL{k}": fit.model}
            cards |= {f"RESID{k}": _cards(name, fit), f"MODEL{k}": _cards(name, fit)}
    write_images(run, run.tables / DISK_RESIDUAL, layers, dict.fromkeys(layers, "MJy/sr"), cards)
    if found.ring is not None:
        table = ring_table(found.ring)
        table.meta.update(provenance(run, strategy=run.strategy))
        write_table(table, run.tables / DISK_RING)
        _write_model(found.ring.model, run.tables / DISK_RING_MODEL)
    return found


def _cards(name: str, fit: DiskFit) -> dict[str, tuple[object, str]]:
    return {
        "DMODEL": (Path(name).name[:50], "disk model"),
        "DSCALE": (fit.scale, "scale factor of the model flux"),
        "DSCALERR": (fit.error, "its error"),
        "DCHI2": (fit.reduced_chi2, "reduced chi2"),
    }


def ring_table(fit: RingFit) -> Table:
    """Parameters of a fitted ring as a table: value, error and unit of each, fitted or not.

    Parameters
    ----------
    fit : RingFit

    Returns
    -------
    Table
        The covariance of the fitted parameters is in the metadata.
    """
    infos = {info.name: info for info in describe(RingParams)}
    errors = dict(zip(fit.names, fit.errors, strict=True))
    rows = [("flux", f"{fit.fit.scale:.6g}", float(errors["flux"]), "Jy", "fitted", "whole disk, before the mask")]
    for name, info in infos.items():
        value = getattr(fit.ring, name)
        if value is None:
            continue
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        status = "at its limit" if name in fit.at_limit else "fitted" if name in fit.names else "fixed"
        rows.append((name, text, float(errors.get(name, np.nan)), info.unit, status, info.help))
    table = Table(rows=rows, names=("parameter", "value", "error", "unit", "status", "meaning"))
    columns.describe(table, DISK_RING)
    table.meta["covariance_of"] = list(fit.names)
    table.meta["covariance"] = [[float(v) for v in row] for row in fit.covariance]
    return table


def _write_model(model: DiskModel, path: Path) -> None:
    """Write a model on the sky, north up, in Jy per pixel; `read_disk` reads it."""
    hdu = fits.PrimaryHDU(model.image.astype(np.float32))
    hdu.header["BUNIT"] = ("Jy/pixel", "unit of the image")
    hdu.header["PIXELSCL"] = (model.pixel_scale, "[arcsec] pixel scale; north up, star centered")
    partial = path.with_name(path.name + ".part")
    try:
        hdu.writeto(partial, overwrite=True)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise output_error(path, error) from error


def models_of(section: DiskSection) -> dict[str, DiskModel]:
    """The images of a section, by the names of their files.

    Parameters
    ----------
    section : DiskSection

    Returns
    -------
    dict of str to DiskModel
        Flux in Jy per pixel.

    Raises
    ------
    MissingInputError
        If a file is not there.
    InputError
        If one cannot be used, or two have the same name.
    """
    names = [path.name for path in section.files]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"{double}: two disk models have this file name; rename one of them.")
    return {path.name: read_disk(path, section) for path in section.files}
