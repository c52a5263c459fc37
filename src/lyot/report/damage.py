"""Products that are no longer as the run wrote them, each in words: missing, truncated, changed, or not readable."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from lyot.records.manifest import Manifest, Product
from lyot.written import size_text

STAGES = ("stage1/", "stage2/", "stage3/")
"""Folders of products that only a run writes; those in ``measure`` are also written by its commands."""


def changed_size(out: Path, product: Product) -> str:
    """What is wrong with the size of a product, empty if nothing is."""
    size = (out / product.path).stat().st_size
    if size == product.size:
        return ""
    if size < product.size:
        return f"{product.path} is truncated ({size_text(size)}, expected {size_text(product.size)})"
    return f"{product.path} was changed after the run ({size_text(size)}, expected {size_text(product.size)})"


def damaged_products(out: Path) -> list[str]:
    """The damaged products of a run, each as a part of a sentence with the path relative to the output folder.

    Parameters
    ----------
    out : Path
        Folder of the run.
    """
    recorded = {p.path: p for record in Manifest(out).records for p in record.products}
    there = [path.relative_to(out).as_posix() for stage in STAGES for path in sorted((out / stage).glob("*.fits"))]
    found = []
    for name in dict.fromkeys([*recorded, *there]):
        if not (out / name).is_file():
            found.append(f"{name} is missing")
            continue
        text = changed_size(out, recorded[name]) if name in recorded and name.startswith(STAGES) else ""
        if not text and not _readable(out / name):
            text = f"{name} has damaged content"
        if text:
            found.append(text)
    return found


def _readable(path: Path) -> bool:
    """Whether a FITS or JSON file can be read to its end; others are taken as readable."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".fits":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)
                with fits.open(path) as hdus:
                    for hdu in hdus:
                        _ = hdu.header, hdu.data
                    last = hdus[-1].fileinfo()
                return bool(last["datLoc"] + last["datSpan"] == path.stat().st_size)  # no headers were lost
    except (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError):
        return False
    return True
