"""A calibration reference cache on disk, with which the official pipeline runs without a network.

`write_crds_cache` writes the rules, the reference files and the server's configuration for a set of simulated
detectors; `CrdsCache.environment` gives the variables that make the pipeline use it. `write_empty_cache` writes one
that knows no reference file at all: enough for steps that need none.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError, OutputError, output_error
from lyot.simulator import crds_mappings
from lyot.simulator.detector import DetectorModel
from lyot.simulator.references import Reference, references_of

log = logging.getLogger(__name__)

MARKER: Final = "config/jwst/lyot_context"
"""File that marks a cache as one of ours, so that it may be replaced; holds the context's name."""

_INSTRUMENTS: Final = ("fgs", "miri", "nircam", "niriss", "nirspec")
"""Folders that the reference system makes when they are missing, for which it would need a cache it may write to."""


@dataclass(frozen=True)
class CrdsCache:
    """A cache that was written.

    Attributes
    ----------
    path : Path
        Folder with ``config``, ``mappings`` and ``references``.
    context : str
        Name of its rules (``.pmap``); a fingerprint of the files is part of it.
    """

    path: Path
    context: str

    def environment(self) -> dict[str, str]:
        """Variables that make the pipeline use this cache; CRDS_SERVER_URL must not be set beside them."""
        return {"CRDS_PATH": str(self.path.resolve()), "CRDS_CONTEXT": self.context}


def write_crds_cache(
    root: str | Path,
    detectors: Mapping[str, DetectorModel],
    *,
    ngroups: int,
    psf_masks: Mapping[str, NDArray[Any]] | None = None,
) -> CrdsCache:
    """Write a cache valid for the official pipeline on exposures of the simulated detectors.

    Parameters
    ----------
    root : path
        Folder to write; one that was written before is replaced, any other must be empty or absent.
    detectors : mapping of str to DetectorModel
        By filter (F1065C, F1140C, F1550C, F2300C).
    ngroups : int
        Largest number of groups of an integration; the dark has as many.
    psf_masks : mapping of str to (ny, nx) array, optional
        PSFMASK by filter, 1 to use and 0 to leave out; by default the field without the mask's boundaries.

    Raises
    ------
    InputError
        If there is no detector, a key is not its detector's filter, or a mask has another shape.
    OutputError
        If the folder holds something else or cannot be written.
    """
    _check(detectors, ngroups, psf_masks or {})
    return _write(Path(root), references_of(detectors, ngroups=ngroups, psf_masks=psf_masks), ("miri",))


def write_empty_cache(root: str | Path, instruments: Sequence[str] = ("miri", "nircam")) -> CrdsCache:
    """Write a cache without reference files: every type is 'N/A' for the `instruments`.

    Steps that need no reference (or are given one by ``override_...``) run with it offline, where the reference system
    would otherwise end the process because it cannot name its context.

    Parameters
    ----------
    root : path
        Folder of the cache.
    instruments : sequence of str
        In lower case.

    Returns
    -------
    CrdsCache

    Examples
    --------
    >>> import tempfile
    >>> from lyot.simulator import write_empty_cache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = write_empty_cache(folder)
    >>> cache.context
    'jwst_lyotdcda26e1.pmap'
    """
    return _write(Path(root), [], tuple(instruments))


def _check(detectors: Mapping[str, DetectorModel], ngroups: int, psf_masks: Mapping[str, NDArray[Any]]) -> None:
    if not detectors:
        raise InputError("The calibration cache requires at least one detector, got none.")
    if ngroups < 2:
        raise InputError(f"The calibration cache requires ngroups >= 2, got {ngroups}.")
    for name, detector in detectors.items():
        if detector.filter != name:
            raise InputError(f"The detector given for {name} is that of {detector.filter}.")
    for name, mask in psf_masks.items():
        if name not in detectors:
            raise InputError(f"A PSF mask is given for {name}, for which there is no detector.")
        if np.shape(mask) != detectors[name].shape:
            raise InputError(
                f"The PSF mask of {name} has shape {np.shape(mask)}; expected the subarray's, {detectors[name].shape}."
            )


def _write(root: Path, references: Sequence[Reference], instruments: Sequence[str]) -> CrdsCache:
    """Write into a folder beside `root` and move it there when all is done."""
    if root.exists() and not (root / MARKER).is_file() and (not root.is_dir() or any(root.iterdir())):
        raise OutputError(f"{root} exists and is not a calibration cache of the simulator; choose another folder.")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
        try:
            scratch.chmod(0o755)
            context = _fill(scratch, references, instruments)
            if root.exists():
                shutil.rmtree(root)
            scratch.rename(root)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise output_error(root, error) from error
    log.info("Wrote calibration cache %s with %d reference files, context %s", root, len(references), context)
    return CrdsCache(root, context)


def _fill(root: Path, references: Sequence[Reference], instruments: Sequence[str]) -> str:
    config, mappings = root / "config" / "jwst", root / "mappings" / "jwst"
    for folder in (config, mappings, *(root / "references" / "jwst" / name for name in _INSTRUMENTS)):
        folder.mkdir(parents=True)
    files, fingerprint = _write_references(root / "references" / "jwst" / "miri", references)
    rmaps = {kind: f"jwst_miri_{kind}_0001.rmap" for kind in files}
    texts = {rmaps[kind]: crds_mappings.reference_map(rmaps[kind], kind, files[kind]) for kind in files}
    imaps = {name: f"jwst_{name}_0001.imap" for name in instruments}
    for name, imap in imaps.items():
        texts[imap] = crds_mappings.instrument_map(imap, name, rmaps if name == "miri" else {})
    for name in sorted(texts):
        fingerprint.update(texts[name].encode())
    context = f"jwst_lyot{fingerprint.hexdigest()[:8]}.pmap"
    texts[context] = crds_mappings.pipeline_map(context, imaps)
    for name, text in texts.items():
        (mappings / name).write_text(text, encoding="utf-8")
    (config / "server_config").write_text(crds_mappings.server_config(context), encoding="utf-8")
    (config / "bad_files.txt").write_text("", encoding="utf-8")
    (config / "ref_cache_subdir_mode").write_text("instrument", encoding="utf-8")
    (root / MARKER).write_text(context + "\n", encoding="utf-8")
    return context


def _write_references(
    folder: Path, references: Sequence[Reference]
) -> tuple[dict[str, dict[tuple[str, ...], str]], Any]:
    """Write the files; return their names by type and selection values, and the running fingerprint of their bytes."""
    files: dict[str, dict[tuple[str, ...], str]] = {}
    fingerprint = hashlib.sha1()
    for reference in references:
        known = files.setdefault(reference.kind, {})
        name = f"jwst_miri_{reference.kind}_{len(known) + 1:04d}.{reference.extension}"
        reference.write(folder / name)
        with (folder / name).open("rb") as stream:
            fingerprint.update(hashlib.file_digest(stream, "sha1").digest())
        known[reference.match] = name
    return files, fingerprint
