"""A finished run, opened to be measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.analysis.combined_image import CombinedImage, read_combined
from lyot.analysis.measured_sequence import MeasuredSequence, cannot_repeat, open_reduction
from lyot.errors import InputError, MissingInputError
from lyot.exposures.associations import target_slug
from lyot.exposures.names import ROLL_IMAGE, exposure_name, exposure_root, is_product
from lyot.measure.detection import Template
from lyot.measure.forward import source_image
from lyot.records.manifest import FILE_NAME, Manifest, Record


@dataclass(frozen=True)
class FinishedRun:
    """The last reduction in an output folder of ``lyot run``, as the manifest records it; nothing is read yet.

    Attributes
    ----------
    out : Path
        Output folder.
    name : str
        Name of the product of stage 3.
    key : str
        The reduction: key of stage 3 in the manifest.
    parameters : mapping
        All parameters of the steps of stage 3, defaults included, by step; those of the pipeline under ``""``.
    calints : tuple of Path
        Calibrated science exposures, in the order of the association.
    i2d : Path
        Combined image.
    psfalign : Path or None
        Registered references.
    psfsub : tuple of Path
        Star-subtracted integrations of each science exposure.
    klcube : Path or None
        Combined images of all truncations.
    rolls : tuple of Path
        North-up images of the single rolls.
    refined : Path or None
        Image of the second pass.
    folder : str
        Folder of its tables below ``measure``, where the run has several targets; empty for one.
    """

    out: Path
    name: str
    key: str
    parameters: Mapping[str, Any]
    calints: tuple[Path, ...]
    i2d: Path
    psfalign: Path | None = None
    psfsub: tuple[Path, ...] = ()
    klcube: Path | None = None
    rolls: tuple[Path, ...] = ()
    refined: Path | None = None
    folder: str = ""

    @property
    def measured(self) -> Path:
        """Folder of the tables and images that are measured."""
        return self.out / "measure" / self.folder

    @property
    def klip_parameters(self) -> dict[str, Any]:
        """Parameters of the subtraction as they were used: ``mode`` of the whole of stage 3 goes before the step's."""
        parameters = dict(self.parameters.get("klip", {}))
        if self.parameters.get("", {}).get("mode") == "official":
            parameters["mode"] = "official"
        return parameters


@dataclass(frozen=True)
class MeasuredRun:
    """A finished run, opened for measurements.

    Attributes
    ----------
    finished : FinishedRun
    image : CombinedImage
        The main product and its header.
    reduction : MeasuredSequence or None
        The reduction as a callable; None where it cannot be repeated.
    reason : str
        Why it cannot; empty if it can.
    tables : Path
        Folder that tables and images are written to and read from.
    strategy : str
        How the star is subtracted in `reduction`: that of the run, unless another was asked for.
    """

    finished: FinishedRun
    image: CombinedImage
    reduction: MeasuredSequence | None
    reason: str
    tables: Path
    strategy: str = "rdi"

    @property
    def sequence(self) -> MeasuredSequence:
        """The reduction as a callable.

        Raises
        ------
        InputError
            If it cannot be repeated: there is no model of the coronagraph, or the star was subtracted otherwise.
        """
        if self.reduction is None:
            raise InputError(self.reason)
        return self.reduction


def _manifest(out: Path) -> Manifest:
    """The record of the run in an output folder."""
    if not (out / FILE_NAME).is_file():
        raise MissingInputError(f"{out}: no {FILE_NAME} in this folder; expected the output folder of lyot run.")
    return Manifest(out)


def _slug_of(record: Record) -> str:
    """The target in the name of a product of stage 3: ``jw01386-a3001_hip-65426_miri_f1550c-mask1550``."""
    return record.name.split("_")[1] if "_" in record.name else record.name


def _letters(slug: str) -> str:
    """A target's name without what separates its parts, as `lyot run` compares names."""
    return slug.replace("-", "")


def _last_stage3(manifest: Manifest, i2d: Path | None, target: str | None) -> Record:
    """The record of stage 3 that made a combined image, or that of a target, or else of the one that was done last."""
    out, records = manifest.out, [r for r in manifest.records if r.kind == "stage3"]
    if not records:
        raise MissingInputError(f"{out}: stage 3 has not been run; run lyot run with stage 3 (--stages 1-3) first.")
    if i2d is not None:
        records = [r for r in records if any(Path(p.path).name == i2d.name for p in r.products)]
        if not records:
            raise MissingInputError(f"{i2d}: no reduction recorded in {out} wrote this image; rerun lyot run.")
    if target is not None:
        there = list(dict.fromkeys(_slug_of(r) for r in records))
        wanted = _letters(target_slug(target))
        records = [r for r in records if _letters(_slug_of(r)) == wanted]
        if not records:
            raise MissingInputError(
                f"{out}: no reduction of {target} in this folder; expected {' or '.join(there)}, or reduce this "
                "target with lyot run."
            )
    return records[-1]


def _association(out: Path, record: Record) -> list[dict[str, str]]:
    """Members of the association that stage 3 was made from."""
    path = out / record.association
    try:
        members: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))["products"][0]["members"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise MissingInputError(f"{path}: the association of stage 3 cannot be read; rerun lyot run.") from error
    return members


def _tables_folder(manifest: Manifest, record: Record) -> str:
    """Folder below ``measure`` that the sources found in an image were written to."""
    measured = next((r for r in manifest.records if (r.kind, r.name) == ("measure", record.name)), None)
    return "" if measured is None else measured.folder


def _product(out: Path, record: Record, suffix: str) -> Path | None:
    return next((out / p.path for p in record.products if is_product(p.path, suffix)), None)


def find_finished(out: str | Path, *, i2d: Path | None = None, target: str | None = None) -> FinishedRun:
    """Find the reduction in an output folder; only the manifest and the association are read.

    Parameters
    ----------
    out : path
        Output folder of ``lyot run``.
    i2d : Path, optional
        Combined image, where the folder holds several; by default the one that was made last.
    target : str, optional
        Science target, where the folder holds several.

    Returns
    -------
    FinishedRun
        Paths and parameters; no product is read.

    Raises
    ------
    MissingInputError
        If stage 3 has not been run there, or its inputs or its image are gone.

    Examples
    --------
    >>> from lyot.analysis import find_finished
    >>> try:
    ...     find_finished("no such folder")
    ... except FileNotFoundError as error:
    ...     print(error)
    no such folder: no manifest.jsonl in this folder; expected the output folder of lyot run.
    """
    out = Path(out)
    manifest = _manifest(out)
    record = _last_stage3(manifest, i2d, target)
    members = _association(out, record)
    science = tuple(dict.fromkeys(_subtracted(out, record, m["expname"]) for m in members if m["exptype"] == "science"))
    combined = _product(out, record, "i2d")
    if combined is None or not combined.is_file():
        raise MissingInputError(f"{out}: the combined image of stage 3 is missing; rerun lyot run.")
    products = [out / p.path for p in record.products]
    return FinishedRun(
        out=out,
        name=record.name,
        key=record.key,
        parameters=record.parameters,
        calints=science,
        i2d=combined,
        psfalign=_product(out, record, "psfalign"),
        psfsub=tuple(p for p in products if is_product(p, "psfsub")),
        klcube=_product(out, record, "klcube"),
        rolls=tuple(sorted(p for p in products if ROLL_IMAGE.search(p.name))),
        refined=_product(out, record, "refined"),
        folder=_tables_folder(manifest, record),
    )


def open_run(
    out: str | Path | FinishedRun,
    *,
    modes: int | None = None,
    i2d: Path | None = None,
    target: str | None = None,
    tables: Path | None = None,
    strategy: str | None = None,
) -> MeasuredRun:
    """Open a finished run for measurements.

    Parameters
    ----------
    out : path or FinishedRun
        Output folder of ``lyot run``.
    modes : int, optional
        Truncation to measure; that of the main product by default.
    i2d : Path, optional
        Combined image that is measured, where the folder holds several; by default the one that was made last.
    target : str, optional
        Science target that is measured, where the folder holds several.
    tables : Path, optional
        Folder for tables and images; ``measure`` in the output folder by default.
    strategy : str, optional
        Subtract the star in another way than the run did, from the same exposures; the product is then not repeated.

    Returns
    -------
    MeasuredRun

    Raises
    ------
    MissingInputError
        If stage 3 has not been run there, or its inputs are gone.
    InputError
        If the image cannot be measured at all, or `modes` is no truncation of the reduction.
    """
    finished = out if isinstance(out, FinishedRun) else find_finished(out, i2d=i2d, target=target)
    parameters = finished.klip_parameters
    if strategy is not None:
        parameters["strategy"] = strategy
    reduction, reason = None, cannot_repeat(finished.calints, parameters)
    if not reason:
        reduction = open_reduction(
            finished.calints, finished.psfalign, parameters, modes=modes, subtracted=finished.psfsub
        )
    image = read_combined(finished.i2d, finished.rolls)
    used = str(parameters.get("strategy", MeasuredRun.strategy))
    return MeasuredRun(finished, image, reduction, reason, tables or finished.measured, used)


def _subtracted(out: Path, record: Record, name: str) -> Path:
    """The exposure from which the star was subtracted: with its outliers flagged, where stage 3 did that."""
    root = exposure_name(exposure_root(Path(name))) + "_"
    flagged = next(
        (p.path for p in record.products if is_product(p.path, "crfints") and Path(p.path).name.startswith(root)), None
    )
    if flagged is None:
        return _member(out, record, name)
    if not (out / flagged).is_file():
        raise MissingInputError(
            f"{out / flagged}: missing; measurements require this file for the reduction of injected sources; rerun "
            "lyot run."
        )
    return out / flagged


def _member(out: Path, record: Record, name: str) -> Path:
    path = Path(name) if Path(name).is_absolute() else (out / record.association).parent / name
    if not path.is_file():
        raise MissingInputError(
            f"{path}: the calibrated exposure is missing; measurements require it for the reduction of injected "
            "sources; restore it, or rerun lyot run."
        )
    return path


def template_of(run: MeasuredRun) -> Template | None:
    """Image of a source at a pixel of the combined image, through the reduction; None where it cannot be repeated."""
    if run.reduction is None:
        return None
    injector, fwhm = run.reduction.injector, run.reduction.fwhm
    return lambda x, y: source_image(injector, fwhm, (x, y))


def read_truncations(klcube: Path) -> tuple[NDArray[np.float64], list[int]]:
    """Combined images of all truncations, (nK, Ny, Nx), and their numbers of modes."""
    with fits.open(klcube) as hdus:
        return np.asarray(hdus["SCI"].data, dtype=float), [int(k) for k in hdus["KLMODES"].data["MODES"]]
