"""Segments of one exposure as data models: grouped by file name, joined along the integrations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from stdatamodels.jwst import datamodels

from lyot.errors import InputError
from lyot.exposures.names import exposure_name, segment_number
from lyot.steps.models import DataModel, ModelInput
from lyot.steps.sequence_io import model_name, open_exposure
from lyot.steps.stage1_common import first_integration_of

log = logging.getLogger(__name__)

ARRAYS = ("data", "err", "dq", "var_poisson", "var_rnoise", "var_flat")
"""Arrays of a slope or calibrated product with one plane per integration."""


def group_segments(models: Sequence[DataModel]) -> list[list[DataModel]]:
    """Exposures in the order of their first file, each as the list of its segments in the order of integrations.

    Parameters
    ----------
    models : sequence of CubeModel
        Exposures, whole or segments.

    Raises
    ------
    InputError
        If two segments of an exposure hold the same integration.
    """
    groups: dict[str, list[DataModel]] = {}
    for index, model in enumerate(models):
        name = model_name(model)
        whole = segment_number(name) == 0
        groups.setdefault(f"{index}" if whole else exposure_name(name), []).append(model)
    ordered = [sorted(group, key=first_integration_of) for group in groups.values()]
    for group in ordered:
        for one, other in pairwise(group):
            _check_order(one, other)
    return ordered


def _check_order(one: DataModel, other: DataModel) -> None:
    """Refuse two segments that hold the same integration; warn of integrations missing between them."""
    last, first = integration_numbers(one)[-1], first_integration_of(other)
    if first <= last:
        raise InputError(
            f"{model_name(other)} begins with integration {first}, but {model_name(one)} contains integrations up to "
            f"{last}; give each segment once, with INTSTART as in the archive."
        )
    if first > last + 1:
        log.warning("%s to %s: integrations %d to %d are missing", model_name(one), model_name(other), last + 1,
                    first - 1)  # fmt: skip


def integration_numbers(model: DataModel) -> list[int]:
    """Numbers of the integrations of a file within their exposure, from 1."""
    n = 1 if np.ndim(model.data) == 2 else len(model.data)
    first = first_integration_of(model)
    return list(range(first, first + n))


def integrations_of_exposure(model: DataModel) -> int:
    """Integrations of the whole exposure that a file is (a segment of)."""
    in_file = integration_numbers(model)[-1]
    return max(in_file, int(model.meta.exposure.nints or 0)) if is_segment(model) else in_file


def is_segment(model: DataModel) -> bool:
    """Whether a file holds a part of its exposure's integrations, from its name, EXSEGTOT or INTSTART."""
    total = getattr(model.meta.exposure, "segment_total", None) or 1
    return segment_number(model_name(model)) > 0 or int(total) > 1 or first_integration_of(model) > 1


def join_segments(models: Sequence[DataModel]) -> list[DataModel]:
    """One model per exposure: segments are joined along the integrations, whole exposures stay as they are.

    Parameters
    ----------
    models : sequence of CubeModel
        Exposures, whole or segments, of one kind of product. Not changed.

    Returns
    -------
    list of CubeModel
        A joined exposure has the metadata of its first segment and a file name without ``-segNNN``.

    Raises
    ------
    InputError
        If segments of an exposure overlap or have different shapes.
    """
    return [join(group) for group in group_segments(models)]


def join(segments: Sequence[DataModel]) -> DataModel:
    """Join the segments of one exposure, in the order of `group_segments`; a single file is returned as it is."""
    first, last = segments[0], segments[-1]
    if len(segments) == 1:
        return first
    shapes = {np.shape(m.data)[-2:] for m in segments}
    if len(shapes) > 1:
        raise InputError(f"{model_name(first)} and its other segments have frames of different shapes {shapes}.")
    arrays = {name: [_array(m, name) for m in segments] for name in ARRAYS}
    complete = {name: np.concatenate(parts) for name, parts in arrays.items() if all(p is not None for p in parts)}
    joined = datamodels.CubeModel(data=complete.pop("data"))
    joined.update(first)
    for name, values in complete.items():
        setattr(joined, name, values)
    times = [m.int_times for m in segments if m.hasattr("int_times") and m.int_times is not None]
    if len(times) == len(segments):
        joined.int_times = np.concatenate(times)
    if first.meta.hasattr("wcs") and first.meta.wcs is not None:
        joined.meta.wcs = first.meta.wcs
    if "extra_fits" in first.instance:
        joined.instance["extra_fits"] = dict(first.instance["extra_fits"])
    joined.meta.filename = exposure_name(model_name(first))
    joined.meta.exposure.integration_start = first_integration_of(first)
    joined.meta.exposure.integration_end = integration_numbers(last)[-1]
    joined.meta.exposure.segment_number = None
    log.info("%s: %d segments joined, %d integrations", joined.meta.filename, len(segments), len(joined.data))
    return joined


def _array(model: DataModel, name: str) -> Any:
    """An array of a model with an axis of integrations; None if it has none, or one of another shape."""
    try:
        array = model.getarray_noinit(name)
    except AttributeError:
        return None
    if array is None or np.shape(array) != np.shape(model.data):
        return None
    return array if np.ndim(array) == 3 else np.asarray(array)[np.newaxis]


def open_exposures(sources: Sequence[ModelInput]) -> list[DataModel]:
    """Open files (or take models) as one model per exposure; see `join_segments`."""
    return join_segments([open_exposure(s) for s in sources])
