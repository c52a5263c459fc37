"""What the steps of stage 3 are given: exposures by name, model or association, and the arrays of a whole sequence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError, MissingInputError
from lyot.steps.extra_fits import read_table
from lyot.steps.models import DataModel, ModelsInput
from lyot.steps.quality import usable_frames
from lyot.steps.segments import open_exposures
from lyot.steps.sequence_io import REFERENCES_TABLE, SequenceInput, as_list, build_sequence, several


def sequence_with_references(
    targets: Sequence[DataModel],
    references: DataModel | None,
    *,
    throughput: NDArray[np.float64] | None = None,
    uniform_background: NDArray[np.float64] | None = None,
) -> SequenceInput:
    """Arrays of the science exposures, unusable integrations NaN, and of a reference stack.

    Parameters
    ----------
    targets : sequence of CubeModel
        Calibrated science exposures, one each (segments joined).
    references : CubeModel or None
        Reference stack; its table tells the exposure of each plane.
    throughput : (ny, nx) float64 ndarray, optional
        Off-axis throughput on the pixels of the first science exposure.
    uniform_background : (ny, nx) float64 ndarray, optional
        Pattern of a uniform background on the same pixels; see `build_sequence`.
    """
    frames = [usable_frames(t).frames for t in targets]
    inputs = build_sequence(
        targets,
        [] if references is None else [references],
        throughput=throughput,
        uniform_background=uniform_background,
        frames=frames,
    )
    table = None if references is None else read_table(references, REFERENCES_TABLE)
    if table is None or len(table) != inputs.sequence.n_references:
        return inputs
    exposure = np.asarray(table["EXPOSURE"], dtype=np.intp)
    return replace(inputs, sequence=inputs.sequence.replace(reference_exposure=exposure))


def exposures_of(source: ModelsInput, *, exptype: str = "science") -> list[DataModel]:
    """Open what a step is given: one exposure, several, or the members of an association; segments are joined.

    Parameters
    ----------
    source : str, Path, DataModel, or list of them
        A name that ends in ``.json`` is an association.
    exptype : str, optional
        Members of an association to take.

    Raises
    ------
    InputError
        If a file is no readable exposure, or the association holds no such member.
    """
    path = Path(str(source))
    if several(source) is not None or path.suffix != ".json":
        return open_exposures(as_list(source))
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["products"][0]["members"]
        names = [str(m["expname"]) for m in members if str(m["exptype"]).lower() == exptype]
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such association; check the path.") from None
    except (OSError, UnicodeDecodeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: not an association ({error}); expected the JSON file of a product.") from error
    if not names:
        raise InputError(
            f"{path}: no {exptype} member in the association; expected at least one member with this exptype."
        )
    return open_exposures([str(path.parent / name) for name in names])
