"""Check that measurements belong to the current reduction in a folder.

Tables and maps of ``<out>/measure`` name the reduction that they were made from: the key of stage 3 in the manifest, as
``reduction`` in the metadata of a table, as ``REDUCTN`` in the primary header of an image.
"""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits

from lyot.errors import InputError
from lyot.exposures import names
from lyot.records.manifest import FILE_NAME, Manifest
from lyot.records.tables import read_ecsv

META = "reduction"
KEYWORD = "REDUCTN"
LENGTH = 16
"""Digits of the key that are written."""
MEASURED = (
    names.CONTRAST, names.CONTRAST_MAP, names.COMPANIONS, names.ERROR_BUDGET, names.PROPER_MOTION, names.DISK,
    names.DISK_RESIDUAL, names.DISK_RING, names.MATCHED_FILTER, names.STIM_MAP,
)  # fmt: skip
"""What commands measure in a finished run; detections and the S/N map are made again with each reduction."""


def reduction_of(path: Path) -> str:
    """Key of the reduction that a table (``.ecsv``) or image was measured on; empty if it is not recorded."""
    if path.suffix == ".ecsv":
        return str(read_ecsv(path).meta.get(META, ""))
    return str(fits.getheader(path).get(KEYWORD, ""))


def is_current(path: Path, out: Path) -> bool:
    """Whether a table or image was measured on the current reduction in `out`.

    Parameters
    ----------
    path : Path
        Table (``.ecsv``) or image; need not be there.
    out : Path
        Output folder of the run.

    Returns
    -------
    bool
        Also True for a file without this information, or one that cannot be read.
    """
    try:
        said = reduction_of(path) if path.is_file() else ""
    except (InputError, OSError):  # damaged, which whoever reads it says
        return True
    if not said or not (out / FILE_NAME).is_file():
        return True
    keys = {r.key[:LENGTH] for r in Manifest(out).records if r.kind == "stage3"}
    return not keys or said in keys


def outdated(out: Path) -> list[str]:
    """Names of the files in ``<out>/measure`` that were measured on an earlier reduction.

    Parameters
    ----------
    out : Path
        Output folder of the run.

    Returns
    -------
    list of str
    """
    return [name for name in MEASURED if not is_current(out / "measure" / name, out)]
