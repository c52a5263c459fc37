"""The truth of a simulated sequence: all true values (see ``docs/truth_schema.md``)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.errors import InputError, MissingInputError
from lyot.geometry import sky_offset
from lyot.instrument import Coronagraph
from lyot.simulator.detector import DetectorModel
from lyot.simulator.headers import target_position
from lyot.simulator.light import Light, Source
from lyot.simulator.plan import Exposure, Size
from lyot.simulator.scene import Scene
from lyot.version import __version__

SCHEMA: Final = 1
"""Version of the layout of ``truth.json``; a change that breaks readers counts it up."""

TRUTH, SLOPES, HITS = "truth.json", "truth_slopes.fits", "truth_cosmic_rays.fits"


@dataclass(frozen=True)
class ExposureTruth:
    """What was put into one exposure.

    Attributes
    ----------
    exposure : Exposure
        Role, size, dither and pointing error.
    light : Light
        Sources, background and wavefront; its image is dropped (None is not kept here: see `slope`).
    slope : (ny, nx) float32 ndarray
        Signal of the light, DN/s, flat still in.
    hits : structured ndarray
        Cosmic-ray charge by pixel (`lyot.simulator.cosmic_rays.HIT_DTYPE`).
    """

    exposure: Exposure
    light: Light
    slope: NDArray[np.float32]
    hits: NDArray[np.void]


def _pair(values: Iterable[float]) -> list[float]:
    return [float(v) for v in values]


def _source(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "flux_jy": source.flux,
        "position_px": _pair(source.position),
        "offset_from_mask_arcsec": _pair(source.offset),
        "throughput": source.throughput,
    }


def _hit_summary(truth: ExposureTruth) -> dict[str, Any]:
    e, hits = truth.exposure, truth.hits
    tracks = len({(int(i), int(h)) for i, h in zip(hits["integration"], hits["hit"], strict=True)})
    npix = e.coronagraph.shape[0] * e.coronagraph.shape[1]
    return {
        "tracks": tracks,
        "charged_pixels": len(hits),
        "tracks_per_1000_pixels_per_s": 1000.0 * tracks / (npix * e.nints * e.ngroups * e.coronagraph.frame_time),
    }


def exposure_record(truth: ExposureTruth, scene: Scene) -> dict[str, Any]:
    """One entry of ``exposures`` in ``truth.json``."""
    e, light = truth.exposure, truth.light
    name, ra, dec = target_position(e, scene)
    return {
        "file": e.filename,
        "role": e.role,
        "observation": e.observation,
        "target": {"name": name, "ra_deg": ra, "dec_deg": dec},
        "nints": e.nints,
        "ngroups": e.ngroups,
        "roll_ref_deg": e.roll,
        "pa_y_deg": light.pa_y,
        "dither_arcsec": _pair(e.dither),
        "offset_keyword_arcsec": _pair(e.offset_keyword),
        "pointing_error_arcsec": _pair(e.pointing_error),
        "star": None if light.star is None else _source(light.star),
        "companions": [_source(c) for c in light.companions],
        "background_level_mjysr": light.background_level,
        "wavefront": {"rms_nm": light.wavefront_rms, "drift_rms_nm": light.wavefront_drift},
        "cosmic_rays": _hit_summary(truth),
        "slope_extension": e.rootname.upper(),
    }


def _sky(scene: Scene, filter_name: str) -> dict[str, Any]:
    flux = scene.star_flux(filter_name)
    companions = []
    for c in scene.companions:
        east, north = sky_offset(c.separation, c.position_angle)
        companion_flux = scene.companion_flux(c, filter_name)
        companions.append(
            {
                "name": c.name,
                "separation_arcsec": c.separation,
                "position_angle_deg": c.position_angle,
                "east_arcsec": float(east),
                "north_arcsec": float(north),
                "flux_jy": companion_flux,
                "contrast": companion_flux / flux if flux > 0 else None,
            }
        )
    disk = dataclasses.asdict(scene.disk) if scene.disk.contrast > 0 else None
    return {
        "star": {"name": scene.star.name, "flux_jy": flux},
        "reference": {"name": scene.reference.name, "flux_jy": flux * scene.reference.brightness},
        "companions": companions,
        "disk": disk,
    }


def _instrument(c: Coronagraph, detector: DetectorModel) -> dict[str, Any]:
    return {
        "filter": c.filter,
        "subarray": c.subarray,
        "shape": list(c.shape),
        "mask_center_px": _pair(c.reference_point),
        "pixel_scale_arcsec": _pair(c.pixel_scale),
        "pixel_area_sr": c.pixel_area,
        "frame_time_s": c.frame_time,
        "boundary_tilt_deg": c.boundary_tilt,
        "photmjsr": detector.photmjsr,
        "gain_e_per_dn_median": float(np.median(detector.gain)),
        "read_noise_cds_dn_median": float(np.median(detector.read_noise)),
        "dark_dn_per_s_median": float(np.median(detector.dark_rate)),
        "saturation_dn_median": float(np.median(detector.saturation)),
        "bad_pixels": int(np.count_nonzero(detector.mask_dq & 1)),
    }


_HIT_COLUMNS = {
    "hit": ("", "number of the track within the integration"),
    "integration": ("", "0-based"),
    "group": ("", "first group with the charge, 0-based"),
    "y": ("pixel", "row, 0-based"),
    "x": ("pixel", "column, 0-based"),
    "electrons": ("electron", "charge deposited in the pixel"),
}


def _hits_table(hits: NDArray[Any], name: str) -> fits.BinTableHDU:
    """Charge of the cosmic rays, with the unit and the meaning (TCOMMn) of each column."""
    columns = fits.BinTableHDU(hits).columns
    for column in columns:
        column.unit = _HIT_COLUMNS[column.name][0] or None
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.extend([(f"TCOMM{n}", _HIT_COLUMNS[c.name][1], "") for n, c in enumerate(columns, 1)])
    return table


def _hdu_list(hdus: Sequence[Any], comment: str) -> fits.HDUList:
    primary = fits.PrimaryHDU()
    primary.header["COMMENT"] = comment
    return fits.HDUList([primary, *hdus])


def write_truth(
    folder: Path, truths: Sequence[ExposureTruth], *, scene: Scene, detector: DetectorModel, size: Size, seed: int
) -> Path:
    """Write ``truth.json``, ``truth_slopes.fits`` and ``truth_cosmic_rays.fits`` into `folder`; returns the first."""
    slopes, tables = [], []
    for t in truths:
        name = t.exposure.rootname.upper()
        image = fits.ImageHDU(t.slope, name=name)
        image.header["BUNIT"] = ("DN/s", "unit of the image")
        slopes.append(image)
        tables.append(_hits_table(t.hits, name))
    text = "Signal of the light alone after linearity and dark correction, before flat fielding"
    _hdu_list(slopes, text).writeto(folder / SLOPES, overwrite=True)
    text = "Charge of cosmic rays by pixel; integration, group, y, x from 0"
    _hdu_list(tables, text).writeto(folder / HITS, overwrite=True)
    c = detector.coronagraph
    record = {
        "schema": SCHEMA,
        "generator": {"lyot": __version__, "numpy": np.__version__, "numba": numba.__version__},
        "seed": seed,
        "size": {"science": list(size.science), "reference": list(size.reference)},
        "instrument": _instrument(c, detector),
        "sky": _sky(scene, c.filter),
        "exposures": [exposure_record(t, scene) for t in truths],
        "files": {"slopes": SLOPES, "cosmic_rays": HITS, "scene": "scene.toml"},
    }
    path = folder / TRUTH
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def read_truth(folder: str | Path) -> dict[str, Any]:
    """Read ``truth.json`` of a simulated sequence.

    Parameters
    ----------
    folder : str or Path
        Folder of the sequence, or the file itself.

    Returns
    -------
    dict
        The JSON as it was written.

    Raises
    ------
    MissingInputError
        If there is none.
    InputError
        If it is not JSON, or of another schema version.

    Examples
    --------
    >>> from lyot.errors import MissingInputError
    >>> from lyot.simulator import read_truth
    >>> try:
    ...     read_truth("not_there")
    ... except MissingInputError as error:
    ...     print(error)
    not_there: no such file; expected the folder of a simulated sequence, which contains truth.json.
    """
    path = Path(folder)
    path = path / TRUTH if path.is_dir() else path
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInputError(
            f"{path}: no such file; expected the folder of a simulated sequence, which contains {TRUTH}."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a JSON file: {error}.") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise InputError(f"{path}: expected truth schema {SCHEMA}, got {found}; simulate the sequence again.")
    return record
