"""Level-1b FITS files, written integration by integration to their final place in the file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from astropy.io import fits
from astropy.time import Time
from numpy.typing import NDArray

from lyot.simulator.headers import primary_header, science_cards
from lyot.simulator.plan import Exposure
from lyot.simulator.scene import Scene

_BLOCK = 2880
_TIME_COLUMNS = ("int_start_MJD_UTC", "int_mid_MJD_UTC", "int_end_MJD_UTC")
_ASDF = (
    "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n"
    "--- !core/asdf-1.1.0\nmeta: {telescope: JWST}\n...\n"
)
_BARY_COLUMNS = ("int_start_BJD_TDB", "int_mid_BJD_TDB", "int_end_BJD_TDB")


def _padded(nbytes: int) -> int:
    return -(-nbytes // _BLOCK) * _BLOCK


def _image_header(name: str, shape: tuple[int, ...]) -> fits.Header:
    header = fits.Header()
    header["XTENSION"] = ("IMAGE", "Image extension")
    header["BITPIX"] = (16, "array data type")
    header["NAXIS"] = (len(shape), "number of array dimensions")
    for axis, n in enumerate(reversed(shape), 1):
        header[f"NAXIS{axis}"] = (n, f"length of data axis {axis}")
    header["PCOUNT"] = (0, "number of parameters")
    header["GCOUNT"] = (1, "number of groups")
    header["BSCALE"] = (1, "default scaling factor")
    header["BZERO"] = (32768, "offset of unsigned 16-bit integers")
    header["EXTNAME"] = (name, "extension name")
    return header


def integration_times(exposure: Exposure) -> fits.BinTableHDU:
    """INT_TIMES: start, middle and end of each integration, UTC and barycentric, MJD."""
    frame = exposure.coronagraph.frame_time
    number = np.arange(exposure.nints)
    start = exposure.start + number * (exposure.ngroups + 1) * frame / 86400.0
    end = start + exposure.ngroups * frame / 86400.0
    times = (start, 0.5 * (start + end), end)
    columns = [fits.Column("integration_number", "J", array=number + 1)]
    columns += [fits.Column(name, "D", array=t) for name, t in zip(_TIME_COLUMNS, times, strict=True)]
    columns += [fits.Column(name, "D", array=t + 250.0 / 86400.0) for name, t in zip(_BARY_COLUMNS, times, strict=True)]
    return fits.BinTableHDU.from_columns(columns, name="INT_TIMES")


def group_times(exposure: Exposure) -> fits.BinTableHDU:
    """GROUP: the end of each group and the size of the frame."""
    c = exposure.coronagraph
    frame = c.frame_time
    integration, group = (i.ravel() for i in np.indices((exposure.nints, exposure.ngroups)))
    elapsed = (integration * (exposure.ngroups + 1) + group + 1) * frame
    end = Time(exposure.start, elapsed / 86400.0, format="mjd")
    days, fraction = np.divmod(end.mjd - 51544.0, 1.0)  # since 2000-01-01
    milliseconds = np.floor(fraction * 86400e3)
    n = integration.size
    columns = [
        fits.Column("integration_number", "J", array=integration + 1),
        fits.Column("group_number", "I", array=group + 1),
        fits.Column("end_day", "I", array=days),
        fits.Column("end_milliseconds", "J", array=milliseconds),
        fits.Column("end_submilliseconds", "I", array=np.floor((fraction * 86400e3 - milliseconds) * 1000)),
        fits.Column("group_end_time", "26A", array=end.isot),
        fits.Column("number_of_columns", "I", array=np.full(n, c.shape[1])),
        fits.Column("number_of_rows", "I", array=np.full(n, c.shape[0])),
        fits.Column("number_of_gaps", "I", array=np.zeros(n)),
        fits.Column("completion_code_number", "I", array=np.zeros(n)),
        fits.Column("completion_code_text", "36A", array=np.full(n, "COMPLETE")),
        fits.Column("bary_end_time", "D", array=end.mjd + 250.0 / 86400.0),
        fits.Column("helio_end_time", "D", array=end.mjd + 250.0 / 86400.0),
    ]
    return fits.BinTableHDU.from_columns(columns, name="GROUP")


def asdf_extension() -> fits.BinTableHDU:
    """ASDF: present since the official readers look for it; all metadata are in the keywords."""
    data = np.frombuffer(_ASDF.encode("ascii"), dtype=np.uint8)[None, :]
    column = fits.Column("ASDF_METADATA", f"{data.size}B", array=data)
    return fits.BinTableHDU.from_columns([column], name="ASDF")


class Level1bWriter:
    """Context manager that writes one level-1b file.

    The extensions are SCI (nints, ngroups, ny, nx) and REFOUT (nints, ngroups, ny / 4, nx), both uint16, DN; GROUP,
    INT_TIMES and ASDF. Everything but the samples is written on entering.

    Parameters
    ----------
    path : Path
        File to write; replaced if there.
    exposure, scene, seed
        Give the keywords.
    """

    def __init__(self, path: Path, exposure: Exposure, scene: Scene, *, seed: int) -> None:
        self.path = path
        self.exposure = exposure
        self._scene = scene
        self._seed = seed
        self._file: BinaryIO
        self._offsets: tuple[int, int] = (0, 0)

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        try:
            self._write_frame()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write_frame(self) -> None:
        nints, ngroups, ny, nx = self.exposure.shape
        f = self._file
        f.write(primary_header(self.exposure, self._scene, seed=self._seed).tostring().encode("ascii"))
        header = _image_header("SCI", (nints, ngroups, ny, nx))
        for keyword, value, comment in science_cards(self.exposure, self._scene):
            header[keyword] = (value, comment)
        f.write(header.tostring().encode("ascii"))
        science = f.tell()
        f.seek(science + _padded(nints * ngroups * ny * nx * 2))
        f.write(_image_header("REFOUT", (nints, ngroups, ny // 4, nx)).tostring().encode("ascii"))
        reference = f.tell()
        f.seek(reference + _padded(nints * ngroups * (ny // 4) * nx * 2))
        for table in (group_times(self.exposure), integration_times(self.exposure), asdf_extension()):
            f.write(_extension_bytes(table))
        f.flush()
        self._offsets = (science, reference)

    def write(self, number: int, science: NDArray[np.uint16], reference_output: NDArray[np.uint16]) -> None:
        """Write integration `number` (from 0), given as bytes (see `lyot.simulator.exposure.Integration`)."""
        for array, offset in zip((science, reference_output), self._offsets, strict=True):
            _write_all(self._file.fileno(), array.reshape(-1).view(np.uint8).data, offset + number * array.nbytes)


def _extension_bytes(table: fits.BinTableHDU) -> bytes:
    """A table as it is in a file: header and big-endian data, each in whole blocks."""
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    return buffer.getvalue()[_padded(1) :]  # without the primary header, which is one block


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
