"""Files without the extension ASDF, as astropy and older tools write them: its metadata rebuilt from the headers.

The pipelines read the extension before they open a file as a data model, and fail where it is not there.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

from astropy.io import fits
from stdatamodels.exceptions import NoTypeWarning
from stdatamodels.jwst import datamodels

from lyot.errors import InputError

log = logging.getLogger(__name__)


def has_metadata(path: Path) -> bool:
    """Whether a FITS file has the extension ASDF; what is not there, or no FITS file, is left to the pipeline."""
    if not path.is_file() or not path.name.endswith((".fits", ".fits.gz")):
        return True
    try:
        with fits.open(path, lazy_load_hdus=True) as hdus:
            return "ASDF" in hdus
    except (OSError, ValueError, KeyError, TypeError):
        return True


def with_metadata(source: str | Path, folder: Path) -> Path:
    """An association whose members have the metadata that the pipelines read.

    Parameters
    ----------
    source : path
        Association (``.json``).
    folder : Path
        Where complete copies go.

    Returns
    -------
    Path
        `source` itself if nothing is missing, or if it is no association of files; else its copy.

    Raises
    ------
    InputError
        If a file cannot be opened.
    """
    source = Path(source)
    try:
        association: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        members = [member for product in association["products"] for member in product["members"]]
        paths = [source.parent / member["expname"] for member in members]
    except (OSError, ValueError, KeyError, TypeError):
        return source  # the pipeline says what is wrong with it
    if all(has_metadata(path) for path in paths):
        return source
    for member, path in zip(members, paths, strict=True):
        member["expname"] = str((path if has_metadata(path) else _rebuilt(path, folder)).absolute())
    copy = folder / source.name
    copy.write_text(json.dumps(association, indent=4), encoding="utf-8")
    return copy


def _rebuilt(path: Path, folder: Path) -> Path:
    """Write a copy with the extension ASDF, its metadata those of the headers."""
    copy = folder / path.name.removesuffix(".gz")
    if not copy.is_file():
        log.warning("%s: no extension ASDF; its metadata are rebuilt from the headers.", path.name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NoTypeWarning)  # the kind of product is one of the things missing
                with datamodels.open(str(path)) as model:
                    model.meta.filename = copy.name
                    model.save(str(copy))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, fits.VerifyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{path}: not a readable JWST exposure ({reason}).") from error
    return copy
