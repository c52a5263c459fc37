"""A finished run, opened to be measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.errors import MissingInputError
from lyot.measure.detection import Template
from lyot.run.manifest import Manifest, Record
from lyot.run.measuring import CombinedImage, read_combined
from lyot.steps.measuring_io import MeasuredSequence, open_reduction


@dataclass(frozen=True)
class MeasuredRun:
    """A run's folder, opened for measurements.

    Attributes
    ----------
    out : Path
    sequence : MeasuredSequence
    image : CombinedImage
        The main product and its header.
    klcube : Path or None
        Combined images of all truncations.
    tables : Path or None
        Folder of tables and images; ``<out>/measure`` by default.
    subtracted : tuple of Path
        Star-subtracted integrations (``psfsub``) of each exposure.
    key : str
        The reduction: key of stage 3 in the manifest.
    """

    out: Path
    sequence: MeasuredSequence
    image: CombinedImage
    klcube: Path | None
    tables: Path | None = None
    subtracted: tuple[Path, ...] = ()
    key: str = ""

    @property
    def folder(self) -> Path:
        """Where the tables are and go."""
        return self.out / "measure" if self.tables is None else self.tables


def _last_stage3(out: Path, i2d: Path | None) -> Record:
    """The record of stage 3 that made a combined image, or else of the one that was done last."""
    if not (out / "manifest.jsonl").is_file():
        raise MissingInputError(f"{out}: no manifest.jsonl; expected the output folder of lyot run.")
    records = [r for r in Manifest(out).records if r.kind == "stage3"]
    if not records:
        raise MissingInputError(f"{out}: stage 3 has not been run; run lyot run with --stages up to 3 first.")
    if i2d is not None:
        records = [r for r in records if any(Path(p.path).name == i2d.name for p in r.products)] or records
    return records[-1]


def _association(out: Path, record: Record) -> list[dict[str, str]]:
    """Members of the association that stage 3 was made from."""
    path = out / record.association
    try:
        members: list[dict[str, str]] = json.loads(path.read_text())["products"][0]["members"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise MissingInputError(f"{path}: the association of stage 3 cannot be read; run lyot run again.") from error
    return members


def _product(out: Path, record: Record, suffix: str) -> Path | None:
    found = [out / p.path for p in record.products if p.path.endswith(f"_{suffix}.fits") and "_roll" not in p.path]
    return found[0] if found else None


def _klip_parameters(record: Record) -> dict[str, Any]:
    """Parameters of the subtraction as they were used: ``mode`` of the whole of stage 3 goes before the step's."""
    parameters = dict(record.parameters.get("klip", {}))
    if record.parameters.get("", {}).get("mode") == "official":
        parameters["mode"] = "official"
    return parameters


def open_run(out: str | Path, *, modes: int | None = None, i2d: Path | None = None) -> MeasuredRun:
    """Open a finished run for measurements.

    Parameters
    ----------
    out : path
        Output folder of ``lyot run``.
    modes : int, optional
        Truncation to measure; that of the main product by default.
    i2d : Path, optional
        Combined image that is measured, where the folder holds several; by default the one that was made last.

    Raises
    ------
    MissingInputError
        If stage 3 has not been run there, or its inputs are gone.
    """
    out = Path(out)
    record = _last_stage3(out, i2d)
    members = _association(out, record)
    science = [_subtracted(out, record, m["expname"]) for m in members if m["exptype"] == "science"]
    i2d = _product(out, record, "i2d")
    if i2d is None or not i2d.is_file():
        raise MissingInputError(f"{out}: the combined image of stage 3 is gone; run lyot run again.")
    sequence = open_reduction(science, _product(out, record, "psfalign"), _klip_parameters(record), modes=modes)
    subtracted = tuple(out / p.path for p in record.products if p.path.endswith("_psfsub.fits"))
    klcube = _product(out, record, "klcube")
    return MeasuredRun(out, sequence, read_combined(i2d), klcube, subtracted=subtracted, key=record.key)


def _subtracted(out: Path, record: Record, name: str) -> Path:
    """The exposure from which the star was subtracted: with its outliers flagged, where stage 3 did that."""
    root = Path(name).name.removesuffix(".fits").rsplit("_", 1)[0] + "_"
    flagged = [
        p.path for p in record.products if p.path.endswith("_crfints.fits") and Path(p.path).name.startswith(root)
    ]
    if not flagged:
        return _member(out, record, name)
    if not (out / flagged[0]).is_file():
        raise MissingInputError(
            f"{out / flagged[0]}: is gone; measurements repeat the reduction of it, run lyot run again."
        )
    return out / flagged[0]


def _member(out: Path, record: Record, name: str) -> Path:
    path = Path(name) if Path(name).is_absolute() else (out / record.association).parent / name
    if not path.is_file():
        raise MissingInputError(f"{path}: the calibrated exposure is gone; measurements repeat the reduction of it.")
    return path


def template_of(run: MeasuredRun) -> Template:
    """Image of a source at a pixel of the combined image, through the reduction."""
    injector = run.sequence.injector
    return lambda x, y: injector.forward(*injector.sky(x, y))


def read_truncations(klcube: Path) -> tuple[NDArray[np.float64], list[int]]:
    """Combined images of all truncations, (nK, Ny, Nx), and their numbers of modes."""
    with fits.open(klcube) as hdus:
        return np.asarray(hdus["SCI"].data, dtype=float), [int(k) for k in hdus["KLMODES"].data["MODES"]]
