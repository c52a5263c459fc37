"""Level-1b files looked at without reading their ramps: what is in them, and their metadata as a data model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from stdatamodels.jwst import datamodels

from lyot.errors import InputError, MissingInputError
from lyot.ramps.readers import FloatFile, RampFile
from lyot.steps.models import DataModel

RAMP_AXES = 4


@dataclass(frozen=True)
class Level1bFile:
    """The ramps of a level-1b file.

    Attributes
    ----------
    path : Path
        The file.
    shape : (nints, ngroups, ny, nx)
        Of its ramps.
    bitpix : int
        FITS sample type: 16 as the archive has it.
    zero, scale : float
        BZERO and BSCALE.
    offset : int
        Where the samples begin, bytes.
    extensions : tuple of str
        Names of all extensions.
    """

    path: Path
    shape: tuple[int, int, int, int]
    bitpix: int
    zero: float
    scale: float
    offset: int
    extensions: tuple[str, ...]

    def ramps(self) -> RampFile | None:
        """The ramps as a source for the streaming engine; None if they are not stored as the archive does."""
        if (self.bitpix, self.zero, self.scale) != (16, 32768.0, 1.0):
            return None
        return RampFile(self.path, self.offset, self.shape)


def inspect_level1b(path: str | Path) -> Level1bFile:
    """Look at a level-1b file and refuse it if its ramps cannot be used.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it is no FITS file, has no ramps, an empty axis, the wrong sample type, samples that are not numbers, or is
        truncated; one sentence with the file and the cure.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of truncation: told below, in one sentence
            with fits.open(path, memmap=True, lazy_load_hdus=True) as hdus:
                return _inspect(path, hdus)
    except OSError as error:
        raise InputError(f"{path}: not a readable FITS file ({error}); download it again.") from error


def _inspect(path: Path, hdus: Any) -> Level1bFile:
    names = tuple(h.name for h in hdus)
    if "SCI" not in names:
        raise InputError(f"{path}: no SCI extension; stage 1 requires level-1b files (..._uncal.fits).")
    hdu = hdus["SCI"]
    header = hdu.header
    if header["NAXIS"] != RAMP_AXES:
        raise InputError(
            f"{path}: SCI has {header['NAXIS']} axes, ramps have 4 (x, y, group, integration); stage 1 requires "
            "level-1b files (..._uncal.fits)."
        )
    nints, ngroups, ny, nx = (int(header[f"NAXIS{k}"]) for k in (4, 3, 2, 1))
    shape = (nints, ngroups, ny, nx)
    if min(shape) == 0:
        empty = ("integrations", "groups", "rows", "columns")[shape.index(0)]
        raise InputError(f"{path}: SCI has zero {empty} (shape {shape}); nothing to reduce.")
    bitpix = int(header["BITPIX"])
    offset = int(hdu.fileinfo()["datLoc"])
    needed = offset + abs(bitpix) // 8 * int(np.prod(shape, dtype=np.int64))
    size = path.stat().st_size
    if size < needed:
        raise InputError(
            f"{path}: truncated, {size} bytes, but the ramps should end at byte {needed}; download it again."
        )
    found = Level1bFile(path, shape, bitpix, float(hdu._orig_bzero), float(hdu._orig_bscale), offset, names)
    _check_samples(found)
    return found


def _check_samples(file: Level1bFile) -> None:
    """Refuse sample types that are no DN, and floating samples that are not finite."""
    if file.bitpix in (16, 32):
        return
    if file.bitpix != -32:
        raise InputError(
            f"{file.path}: SCI has BITPIX = {file.bitpix}; ramps are unsigned 16-bit DN (BITPIX 16 with BZERO 32768) "
            "or float32."
        )
    plane = int(np.prod(file.shape[1:], dtype=np.int64))
    with file.path.open("rb") as stream:
        stream.seek(file.offset)
        for integration in range(file.shape[0]):
            values = np.frombuffer(stream.read(plane * 4), ">f4")
            bad = ~np.isfinite(values)
            if bad.any():
                group, y, x = np.unravel_index(int(np.argmax(bad)), file.shape[1:])
                raise InputError(
                    f"{file.path}: {int(bad.sum())} samples of integration {integration + 1} are not finite numbers, "
                    f"the first in group {group + 1} at x = {x}, y = {y}; raw ramps have none: download the file "
                    "again."
                )


def read_metadata_model(path: str | Path) -> DataModel:
    """Metadata and tables of a level-1b file as the official RampModel, whose arrays are empty stand-ins.

    Everything that `update` copies into the products is there; SCI and other pixel arrays are not read.
    """
    return _without_arrays(path, datamodels.RampModel)


def _without_arrays(path: str | Path, model_class: type) -> DataModel:
    """Open a FITS file as a data model, every image larger than a plane left out."""
    kept = []
    with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.PrimaryHDU):
                kept.append(fits.PrimaryHDU(header=hdu.header.copy()))
            elif isinstance(hdu, fits.ImageHDU) and hdu.header["NAXIS"] >= RAMP_AXES and hdu.name in ("SCI", "ERR"):
                header = hdu.header.copy()
                kept.append(fits.ImageHDU(np.zeros((1,) * RAMP_AXES, np.float32), _plain(header), name=hdu.name))
            elif hdu.name != "REFOUT":
                kept.append(hdu.copy())
        return model_class(fits.HDUList(kept), validate_on_assignment=False)


def _plain(header: fits.Header) -> fits.Header:
    for key in ("BZERO", "BSCALE", "CHECKSUM", "DATASUM"):
        header.remove(key, ignore_missing=True)
    return header


def open_dark_lightly(file: str | Path) -> tuple[DataModel, FloatFile] | None:
    """A MIRI dark whose ramps stay on disk: (model without ramps, ramps); None if it is not such a file."""
    if not isinstance(file, (str, Path)) or not str(file).endswith(".fits"):
        return None
    try:
        with fits.open(file, memmap=True, lazy_load_hdus=True) as hdus:
            hdu = hdus["SCI"]
            header = hdu.header
            shape = tuple(int(header[f"NAXIS{k}"]) for k in range(header["NAXIS"], 0, -1))
            plain = header["BITPIX"] == -32 and hdu._orig_bzero == 0 and hdu._orig_bscale == 1
            if len(shape) != RAMP_AXES or not plain or isinstance(hdu, fits.CompImageHDU):
                return None
            nints, ngroups, ny, nx = shape
            ramps = FloatFile(Path(file), int(hdu.fileinfo()["datLoc"]), (nints, ngroups, ny, nx))
    except (OSError, KeyError):
        return None
    return _without_arrays(file, datamodels.DarkMIRIModel), ramps
