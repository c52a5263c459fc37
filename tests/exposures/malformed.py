"""Malformed exposure files: a good one, and what goes wrong with files between the archive and a user."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from tests.steps.stage23_synthetic import exposure

KEYWORDS = (
    "TELESCOP", "INSTRUME", "EXP_TYPE", "FILTER", "CORONMSK", "SUBARRAY", "TARGPROP", "TARG_RA", "TARG_DEC", "PROGRAM",
    "OBSERVTN", "IS_PSF", "BKGDTARG", "NINTS", "NGROUPS", "EFFINTTM", "PATT_NUM", "NUMDTHPT", "S_BKDSUB", "INTSTART",
    "EXSEGNUM", "EXSEGTOT", "DATAMODL", "S_PHOTOM", "FILENAME",
)  # fmt: skip
SCI_KEYWORDS = ("CRPIX1", "CRPIX2", "ROLL_REF", "V3I_YANG", "BUNIT", "RA_REF", "PIXAR_A2", "EXTNAME", "EXTVER")
VALUES: tuple[bytes, ...] = (
    b"'' ", b"'nonsense'", b"-1", b"0", b"1E400", b"NaN", b"12h34m56s", b"99999999999999999999", b"T", b"F", b"(1,2)",
    b"'unclosed", b"-999.5", b"'\xe9\xff'", b"",
)  # fmt: skip


def good_file(*, shape: tuple[int, int] = (24, 26), n: int = 2, target: str = "STAR", is_psf: bool = False) -> bytes:
    """A calibrated exposure of a few pixels with all that the archive's files have."""
    rng = np.random.default_rng(1)
    model = exposure(rng.normal(5.0, 1.0, (n, *shape)), name="jw01001001001_04101_00001_mirimage_calints.fits",
                     star=(shape[1] / 2, shape[0] / 2))  # fmt: skip
    model.meta.target.proposer_name = target
    model.meta.observation.program_number, model.meta.observation.observation_number = "01001", "001"
    model.meta.exposure.psf_reference = is_psf
    model.meta.exposure.nints, model.meta.exposure.ngroups = n, 10
    model.meta.cal_step.photom = "COMPLETE"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / str(model.meta.filename)
        model.save(str(path))
        return path.read_bytes()


def _card(data: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite, remove or double the card of a keyword."""
    keyword = str(rng.choice(KEYWORDS + SCI_KEYWORDS)).ljust(8).encode() + b"="
    at = data.find(keyword)
    if at < 0 or at % 80:
        return data
    card = (keyword + b" " + VALUES[rng.integers(len(VALUES))]).ljust(80)[:80]
    if rng.random() < 0.25:
        card = b" " * 80
    return data[:at] + card + data[at + 80 :]


def _hdus(data: bytes, change: Callable[[fits.HDUList], None]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.HDUList.fromstring(data) as hdus:
                change(hdus)
                hdus.writeto(buffer, output_verify="ignore")
        except Exception:  # noqa: BLE001 - an earlier change made it unreadable, in whatever way
            return data
    return buffer.getvalue()


def _extension(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove, rename, empty, double or replace an extension."""

    def change(hdus: fits.HDUList) -> None:
        index = int(rng.integers(1, len(hdus)))
        action = rng.integers(5)
        if action == 0:
            del hdus[index]
        elif action == 1:
            hdus[index].name = str(rng.choice(["SCI", "ERR", "DQ", "ASDF", "OTHER"]))
        elif action == 2:
            hdus[index] = fits.ImageHDU(name=hdus[index].name)
        elif action == 3:
            hdus.append(hdus[index].copy())
        else:
            column = fits.Column(name="A", format="D", array=np.arange(3.0))
            hdus[index] = fits.BinTableHDU.from_columns([column], name=hdus[index].name)

    return _hdus(data, change)


def _array(data: bytes, rng: np.random.Generator) -> bytes:
    """Another shape, type or content of an array."""

    def change(hdus: fits.HDUList) -> None:
        name = str(rng.choice(["SCI", "SCI", "ERR", "DQ"]))
        array = np.array(hdus[name].data)
        choices: tuple[Callable[[], np.ndarray], ...] = (
            lambda: array[0], lambda: array[None], lambda: array[:, :1, :1], lambda: array[:, :-3],
            lambda: array.swapaxes(1, 2), lambda: array[:1], lambda: array.astype(np.int16),
            lambda: array.astype(np.float64), lambda: array.astype(np.uint8), lambda: np.full_like(array, _nan(array)),
            lambda: np.where(rng.random(array.shape) < 0.7, _nan(array), array), lambda: array * 0 - 1,
            lambda: array * 1e30, lambda: array.ravel(),
        )  # fmt: skip
        with np.errstate(all="ignore"):
            hdus[name].data = choices[rng.integers(len(choices))]()

    return _hdus(data, change)


def _nan(array: np.ndarray) -> float:
    return np.nan if array.dtype.kind == "f" else 1


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    """The file ends early, at a block or anywhere."""
    end = int(rng.integers(1, len(data)))
    return data[: end - end % 2880] if rng.random() < 0.5 else data[:end]


def _bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes anywhere are others, or a stretch is zero."""
    changed = bytearray(data)
    if rng.random() < 0.5:
        for at in rng.integers(0, len(data), 8):
            changed[at] = int(rng.integers(256))
    else:
        start = int(rng.integers(0, len(data)))
        changed[start : start + 400] = bytes(len(changed[start : start + 400]))
    return bytes(changed)


def malformed(data: bytes, seed: int) -> bytes:
    """A good file with one to three faults; the same for the same seed."""
    rng = np.random.default_rng(seed)
    kinds = (_card, _card, _card, _extension, _array, _array, _cut, _bytes)
    for _ in range(int(rng.integers(1, 4))):
        if len(data) > 2880:
            data = kinds[rng.integers(len(kinds))](data, rng)
    return data
