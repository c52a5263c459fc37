"""Files without the extension ASDF, as astropy and older tools write them: its metadata rebuilt from the headers.

The pipelines read the extension before they open a file as a data model, and fail where it is not there.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from astropy.io import fits

from lyot.steps.sequence_io import open_exposure

log = logging.getLogger(__name__)


def has_metadata(path: Path) -> bool:
    """Whether a FITS file has the extension ASDF."""
    with fits.open(path, lazy_load_hdus=True) as hdus:
        return "ASDF" in hdus


def with_metadata(source: str | Path, folder: Path) -> Path:
    """A file, or an association, with the metadata that the pipelines read.

    Parameters
    ----------
    source : path
        FITS file, or association (``.json``) of such files.
    folder : Path
        Where complete copies go; made if one is needed.

    Returns
    -------
    Path
        `source` itself if nothing is missing, else its copy.

    Raises
    ------
    InputError
        If a file cannot be opened.
    """
    source = Path(source)
    if source.suffix != ".json":
        return source if has_metadata(source) else _rebuilt(source, folder)
    association: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    changed = False
    for product in association["products"]:
        for member in product["members"]:
            path = source.parent / member["expname"]
            complete = path if has_metadata(path) else _rebuilt(path, folder)
            changed = changed or complete != path
            member["expname"] = str(complete.absolute())
    if not changed:
        return source
    copy = folder / source.name
    copy.write_text(json.dumps(association, indent=4), encoding="utf-8")
    return copy


def _rebuilt(path: Path, folder: Path) -> Path:
    """Write a copy with the extension ASDF, its metadata those of the headers."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / path.name.removesuffix(".gz")
    if not copy.is_file():
        log.warning("%s: has no extension ASDF; its metadata are rebuilt from the headers.", path.name)
        with open_exposure(str(path)) as model:
            model.meta.filename = copy.name
            model.save(str(copy))
    return copy
