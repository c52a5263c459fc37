"""Calibration reference files of the simulated detector, in the formats of the official ones.

Each function builds one reference type from a `DetectorModel`, so that the official corrections undo exactly what the
simulator put in. Files are subarray-sized (SUBSTRT/SUBSIZE tell where), hold a fixed date and no machine-dependent
metadata: the same detector gives the same bytes. FITS is written with astropy alone; nothing here imports jwst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot import dq
from lyot.instrument import V3_IDEAL_Y_ANGLE, Coronagraph
from lyot.optics.field import detector_offsets, field_stop_mask, to_mask_frame
from lyot.simulator.detector import DetectorModel

DATE: Final = "2022-01-01T00:00:00"
"""DATE and USEAFTER of every reference file: before any science observation of MIRI."""

READ_PATTERN: Final = "FASTR1"

BOUNDARY_HALF_WIDTH: Final = 2.0
"""Half width of the strip along the mask's boundaries that the PSFMASK leaves out, pixels."""


@dataclass(frozen=True)
class Reference:
    """One reference file before it is written.

    Attributes
    ----------
    kind : str
        CRDS type, e.g. ``"dark"``.
    extension : str
        ``"fits"`` or ``"asdf"``.
    match : tuple of str
        Values of the type's selection parameters (`lyot.simulator.crds_mappings.PARKEYS`), in their order.
    write : callable
        Writes the file to the path it is given.
    """

    kind: str
    extension: str
    match: tuple[str, ...]
    write: Callable[[Path], None]


def _header(kind: str, model: str, coronagraph: Coronagraph | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    cards: dict[str, Any] = {
        "DATE": DATE,
        "ORIGIN": "LYOT",
        "TELESCOP": "JWST",
        "INSTRUME": "MIRI",
        "DETECTOR": "MIRIMAGE",
        "DATAMODL": model,
        "REFTYPE": kind.upper(),
        "PEDIGREE": "SIMULATION",
        "AUTHOR": "Lyot simulator",
        "DESCRIP": f"{kind} of the simulated detector",
        "USEAFTER": DATE,
    }
    if coronagraph is not None:
        cards |= {
            "FILTER": coronagraph.filter,
            "CORONMSK": coronagraph.mask,
            "EXP_TYPE": coronagraph.exposure_type,
            "SUBARRAY": coronagraph.subarray,
            "SUBSTRT1": coronagraph.first_column,
            "SUBSTRT2": coronagraph.first_row,
            "SUBSIZE1": coronagraph.shape[1],
            "SUBSIZE2": coronagraph.shape[0],
            "FASTAXIS": 1,
            "SLOWAXIS": 2,
        }
    return cards | dict(extra)


def _flag_table() -> fits.BinTableHDU:
    """DQ_DEF table: every bit means what it means officially."""
    flags = [(name, value) for name, value in sorted(dq.FLAGS.items(), key=lambda kv: kv[1]) if value]
    columns = np.zeros(len(flags), dtype=[("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")])
    columns["BIT"] = [value.bit_length() - 1 for _, value in flags]
    columns["VALUE"] = [value for _, value in flags]
    columns["NAME"] = [name.encode() for name, _ in flags]
    columns["DESCRIPTION"] = columns["NAME"]
    return fits.BinTableHDU(columns, name="DQ_DEF")


def _fits_writer(header: Mapping[str, Any], hdus: Callable[[], Iterable[Any]]) -> Callable[[Path], None]:
    """Writer of a FITS file; the arrays are made only when it is called."""

    def write(path: Path) -> None:
        primary = fits.PrimaryHDU()
        for key, value in {**header, "FILENAME": path.name}.items():
            primary.header[key] = value
        fits.HDUList([primary, *hdus()]).writeto(path)

    return write


def _image(name: str, data: NDArray[Any], unit: str = "") -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.ascontiguousarray(data), name=name)
    if unit:
        hdu.header["BUNIT"] = unit
    return hdu


def _flags(shape: tuple[int, ...]) -> NDArray[np.uint32]:
    return np.zeros(shape, dtype=np.uint32)


def _imager_match(coronagraph: Coronagraph) -> tuple[str, ...]:
    return ("MIRIMAGE", coronagraph.filter, coronagraph.subarray)


def _map_reference(
    kind: str, model: str, detector: DetectorModel, hdus: Callable[[], Iterable[Any]], extra: Mapping[str, Any]
) -> Reference:
    c = detector.coronagraph
    return Reference(kind, "fits", _imager_match(c), _fits_writer(_header(kind, model, c, extra), hdus))


def mask(detector: DetectorModel) -> Reference:
    """Bad-pixel mask (MASK)."""
    return _map_reference(
        "mask", "MaskModel", detector, lambda: [_image("DQ", detector.mask_dq), _flag_table()], {"READPATT": "ANY"}
    )


def gain(detector: DetectorModel) -> Reference:
    """Gain (GAIN), electrons per DN."""
    return _map_reference(
        "gain", "GainModel", detector, lambda: [_image("SCI", detector.gain.astype(np.float32), "ELECTRONS/DN")], {}
    )


def read_noise(detector: DetectorModel) -> Reference:
    """Read noise of the difference of two reads (READNOISE), DN."""
    return _map_reference(
        "readnoise",
        "ReadnoiseModel",
        detector,
        lambda: [_image("SCI", detector.read_noise.astype(np.float32), "DN")],
        {"READPATT": "ANY"},
    )


def saturation(detector: DetectorModel) -> Reference:
    """Saturation threshold (SATURATION), DN as in the raw file."""

    def hdus() -> list[Any]:
        return [_image("SCI", detector.saturation.astype(np.float32), "DN"), _image("DQ", _flags(detector.shape))]

    return _map_reference("saturation", "SaturationModel", detector, hdus, {})


def linearity(detector: DetectorModel) -> Reference:
    """Coefficients of the linearity correction (LINEARITY), with the 2-D DQ that the official step needs."""

    def hdus() -> list[Any]:
        return [_image("COEFFS", detector.linearity.astype(np.float32)), _image("DQ", _flags(detector.shape))]

    return _map_reference("linearity", "LinearityModel", detector, hdus, {})


def flat(detector: DetectorModel) -> Reference:
    """Flat field (FLAT); pixels of no response are marked NO_FLAT_FIELD and DO_NOT_USE."""

    def hdus() -> list[Any]:
        flags = _flags(detector.shape)
        flags[~(detector.flat > 0)] |= np.uint32(dq.NO_FLAT_FIELD | dq.DO_NOT_USE)
        error = np.zeros(detector.shape, dtype=np.float32)
        return [
            _image("SCI", detector.flat.astype(np.float32)),
            _image("ERR", error),
            _image("DQ", flags),
            _flag_table(),
        ]

    return _map_reference("flat", "FlatModel", detector, hdus, {"READPATT": "ANY"})


def reset(detector: DetectorModel, *, ngroups: int) -> Reference:
    """Reset anomaly by integration and group (RESET), DN; the last integration repeats."""
    groups = max(1, min(detector.reset_groups, ngroups))
    nints = len(detector.reset_scale)
    extra = {"READPATT": READ_PATTERN, "NGROUPS": groups, "NINTS": nints}
    c = detector.coronagraph

    def hdus() -> list[Any]:
        cube = np.stack([detector.reset_anomaly(groups, i) for i in range(nints)])
        return [_image("SCI", cube.astype(np.float32), "DN"), _image("DQ", _flags(detector.shape))]

    header = _header("reset", "ResetModel", c, extra)
    return Reference("reset", "fits", ("MIRIMAGE", c.subarray, READ_PATTERN), _fits_writer(header, hdus))


def dark(detector: DetectorModel, *, ngroups: int) -> Reference:
    """Dark ramp (DARK), DN; one integration, which the official step repeats.

    The mean current is given as a number (electrons/s), not as a map: the official step refuses the map, since it
    compares its shape with that of an array not yet made.
    """
    c = detector.coronagraph
    current = float(np.median(detector.dark_rate * detector.gain))
    extra = {"READPATT": READ_PATTERN, "NGROUPS": ngroups, "NFRAMES": 1, "GROUPGAP": 0, "NINTS": 1, "AVDRKCUR": current}
    header = _header("dark", "DarkMIRIModel", c, extra)

    def hdus() -> list[Any]:
        ramp = detector.dark_ramp(ngroups, c.frame_time)[None]
        return [_image("SCI", ramp.astype(np.float32), "DN"), _image("DQ", _flags((1, 1, *detector.shape)))]

    return Reference("dark", "fits", ("MIRIMAGE", READ_PATTERN, c.subarray), _fits_writer(header, hdus))


def rscd(detectors: Iterable[DetectorModel]) -> Reference:
    """First groups to skip (RSCD), one row per subarray."""
    rows = [(d.coronagraph.subarray, READ_PATTERN, *d.rscd_skip) for d in detectors]
    names = [("subarray", "S17"), ("readpatt", "S12"), ("group_skip1", "i4"), ("group_skip", "i4")]

    def hdus() -> list[Any]:
        return [fits.BinTableHDU(np.array(rows, dtype=names), name="RSCD_GROUP_SKIP")]

    return Reference("rscd", "fits", ("MIRIMAGE",), _fits_writer(_header("rscd", "RSCDModel", None, {}), hdus))


def photom(detector: DetectorModel) -> Reference:
    """Photometric conversion (PHOTOM), (MJy/sr)/(DN/s), without change in time."""
    c = detector.coronagraph
    names = [("filter", "S12"), ("subarray", "S17"), ("photmjsr", "f4"), ("uncertainty", "f4")]
    rows = [(c.filter, c.subarray, detector.photmjsr, 0.02 * detector.photmjsr)]
    header = _header("photom", "MirImgPhotomModel", None, {"EXP_TYPE": c.exposure_type, **_pixel_area_cards(c)})

    def hdus() -> list[Any]:
        return [fits.BinTableHDU(np.array(rows, dtype=names), name="PHOTOM")]

    return Reference("photom", "fits", ("MIRIMAGE", c.filter), _fits_writer(header, hdus))


def _pixel_area_cards(coronagraph: Coronagraph) -> dict[str, float]:
    return {
        "PIXAR_SR": coronagraph.pixel_area,
        "PIXAR_A2": coronagraph.pixel_scale[0] * coronagraph.pixel_scale[1],
    }


def area(detector: DetectorModel) -> Reference:
    """Relative pixel area (AREA).

    The official step cuts the subarray out by detector row and column whatever the file's own size, so the map begins
    at the detector's first pixel and ends with the subarray.
    """
    c = detector.coronagraph
    shape = (c.first_row - 1 + c.shape[0], c.first_column - 1 + c.shape[1])
    extra = {"FILTER": c.filter, "EXP_TYPE": c.exposure_type, **_pixel_area_cards(c)}

    def hdus() -> list[Any]:
        return [_image("SCI", np.ones(shape, dtype=np.float32))]

    writer = _fits_writer(_header("area", "PixelAreaModel", None, extra), hdus)
    return Reference("area", "fits", ("MIRIMAGE", c.filter), writer)


def subtraction_mask(coronagraph: Coronagraph) -> NDArray[np.float32]:
    """Region on which the official alignment compares images: in the field, off the mask's boundaries.

    Returns
    -------
    (ny, nx) float32 ndarray
        1 to use, 0 to leave out.
    """
    u, v = to_mask_frame(*detector_offsets(coronagraph), coronagraph.boundary_tilt)
    margin = BOUNDARY_HALF_WIDTH * coronagraph.pixel_scale[0]
    if coronagraph.kind == "4QPM":
        clear = np.minimum(np.abs(u), np.abs(v)) > margin
    else:
        clear = (np.hypot(u, v) > coronagraph.spot_radius + margin) & (np.abs(u) > coronagraph.bar_width / 2 + margin)
    return np.asarray(field_stop_mask(coronagraph) & clear, dtype=np.float32)


def psf_mask(detector: DetectorModel, mask_map: NDArray[Any] | None = None) -> Reference:
    """Mask of the stage-3 alignment (PSFMASK); `mask_map` (ny, nx), 1 to use, replaces `subtraction_mask`."""
    c = detector.coronagraph

    def hdus() -> list[Any]:
        data = subtraction_mask(c) if mask_map is None else np.asarray(mask_map, dtype=np.float32)
        return [_image("SCI", data)]

    writer = _fits_writer(_header("psfmask", "PsfMaskModel", c, {}), hdus)
    return Reference("psfmask", "fits", (c.filter, c.mask, c.subarray), writer)


def _asdf_writer(tree: Mapping[str, Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import asdf

        meta = {**tree["meta"], "filename": path.name}
        asdf.AsdfFile({**tree, "meta": meta}).write_to(path)

    return write


def _asdf_meta(kind: str, model: str, **extra: Any) -> dict[str, Any]:
    return {
        "author": "Lyot simulator",
        "date": DATE,
        "description": f"{kind} of the simulated detector",
        "instrument": {"name": "MIRI", "detector": "MIRIMAGE"},
        "model_type": model,
        "origin": "LYOT",
        "pedigree": "SIMULATION",
        "reftype": kind,
        "telescope": "JWST",
        "useafter": DATE,
        **extra,
    }


def distortion(coronagraph: Coronagraph) -> Reference:
    """Detector pixel to V2, V3 (DISTORTION): linear, exactly the scales and angles that the simulator draws with.

    The reference point of the aperture falls on (V2_REF, V3_REF); the ideal y axis is turned by V3I_YANG from V3.
    """

    def write(path: Path) -> None:
        from astropy.modeling import models

        x0 = coronagraph.reference_point[0] + coronagraph.first_column - 1
        y0 = coronagraph.reference_point[1] + coronagraph.first_row - 1
        a = np.radians(V3_IDEAL_Y_ANGLE)
        scale_x, scale_y = coronagraph.pixel_scale
        matrix = [[-scale_x * np.cos(a), scale_y * np.sin(a)], [scale_x * np.sin(a), scale_y * np.cos(a)]]
        model = (
            models.Shift(-x0) & models.Shift(-y0)
            | models.AffineTransformation2D(matrix=matrix, translation=[0.0, 0.0])
            | models.Shift(coronagraph.v2_ref) & models.Shift(coronagraph.v3_ref)
        )
        meta = _asdf_meta("distortion", "DistortionModel", input_units="pixel", output_units="arcsec")
        meta["exposure"] = {"type": coronagraph.exposure_type}
        _asdf_writer({"meta": meta, "model": model})(path)

    return Reference("distortion", "asdf", _imager_match(coronagraph), write)


def filter_offset(filters: Iterable[str]) -> Reference:
    """Shifts of the image by filter (FILTEROFFSET): none."""
    rows = [{"filter": name, "row_offset": 0.0, "column_offset": 0.0} for name in sorted(filters)]
    meta = _asdf_meta("filteroffset", "FilteroffsetModel", input_units="pixel")
    return Reference("filteroffset", "asdf", ("MIRIMAGE",), _asdf_writer({"meta": meta, "filters": rows}))


def detector1_parameters(exposure_type: str) -> Reference:
    """Parameters of the official stage 1 (PARS-DETECTOR1PIPELINE): no step for effects that are not simulated."""

    def step(name: str, cls: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"class": cls, "name": name, "parameters": dict(parameters)}

    tree = {
        **step("detector1", "jwst.pipeline.Detector1Pipeline", {}),
        "meta": _asdf_meta("pars-detector1pipeline", "PARS", exposure={"type": exposure_type}),
        "steps": [
            step("emicorr", "jwst.emicorr.EmiCorrStep", {"skip": True}),
            step("jump", "jwst.jump.JumpStep", {"find_showers": False}),
        ],
    }
    return Reference("pars-detector1pipeline", "asdf", (exposure_type,), _asdf_writer(tree))


def references_of(
    detectors: Mapping[str, DetectorModel], *, ngroups: int, psf_masks: Mapping[str, NDArray[Any]] | None = None
) -> list[Reference]:
    """All reference files of a set of detectors, those of each subarray and those shared.

    Parameters
    ----------
    detectors : mapping of str to DetectorModel
        By filter.
    ngroups : int
        Largest number of groups in one integration that must be calibrated.
    psf_masks : mapping of str to (ny, nx) array, optional
        PSFMASK by filter, 1 to use and 0 to leave out; default `subtraction_mask`.
    """
    masks = psf_masks or {}
    out: list[Reference] = []
    for name in sorted(detectors):
        d = detectors[name]
        out += [mask(d), gain(d), read_noise(d), saturation(d), linearity(d), flat(d), photom(d), area(d)]
        out += [reset(d, ngroups=ngroups), dark(d, ngroups=ngroups)]
        out += [psf_mask(d, masks.get(name)), distortion(d.coronagraph)]
    out += [rscd([detectors[name] for name in sorted(detectors)]), filter_offset(detectors)]
    out += [detector1_parameters(t) for t in sorted({d.coronagraph.exposure_type for d in detectors.values()})]
    return out
