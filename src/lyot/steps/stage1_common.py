"""What the stage 1 steps share: which exposures are theirs, and arrays in the form that `lyot.ramps` takes."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot.errors import InputError
from lyot.exposures.names import segment_number
from lyot.steps.models import DataModel

log = logging.getLogger(__name__)


def is_plain_miri(model: DataModel) -> bool:
    """Whether an exposure is what the corrections of `lyot.ramps` are made for: MIRI ramps of one frame per group.

    Everything else (near-infrared detectors, averaged groups, stripes, zero frames) goes to the official algorithm.
    """
    return (
        type(model) is datamodels.RampModel
        and str(model.meta.instrument.name).upper() == "MIRI"
        and (model.meta.exposure.nframes or 1) == 1
        and not model.meta.exposure.zero_frame
        and not getattr(model.meta.subarray, "num_superstripe", None)
    )


def ramps_of(model: DataModel) -> NDArray[np.float32]:
    """The model's own ramps as a native, contiguous float32 array (nints, ngroups, ny, nx), to be changed in place."""
    data: NDArray[np.float32] = model.data
    if data.dtype != np.float32 or not data.dtype.isnative or not data.flags.c_contiguous or not data.flags.writeable:
        model.data = np.array(data, dtype=np.float32, order="C")
        data = model.data
    return data


def group_flags_of(model: DataModel) -> NDArray[np.uint8]:
    """The model's own group flags as a contiguous uint8 array, made (zero) where the model has none."""
    flags: NDArray[np.uint8] = model.groupdq
    if flags is None or flags.shape != model.data.shape:
        log.warning("Setting input group DQ to default array")
        model.groupdq = np.zeros(model.data.shape, np.uint8)
    elif not flags.flags.c_contiguous or not flags.flags.writeable or flags.dtype != np.uint8:
        model.groupdq = np.array(flags, dtype=np.uint8, order="C")
    flags = model.groupdq
    return flags


def pixel_flags_of(model: DataModel) -> NDArray[np.uint32]:
    """The model's own pixel flags as a native uint32 array, made (zero) where the model has none."""
    flags: NDArray[np.uint32] = model.pixeldq
    if flags is None or flags.shape != model.data.shape[-2:]:
        log.warning("Setting input pixel DQ to default array")
        model.pixeldq = np.zeros(model.data.shape[-2:], np.uint32)
    elif not flags.dtype.isnative or not flags.flags.writeable or flags.dtype != np.uint32:
        model.pixeldq = np.array(flags, dtype=np.uint32)
    flags = model.pixeldq
    return flags


def first_integration_of(model: DataModel) -> int:
    """Number of the file's first integration in its exposure, from 1 (segmented exposures).

    Raises
    ------
    InputError
        If a later segment, by its file name, does not say which integrations it holds.
    """
    start = model.meta.exposure.integration_start
    if start is None and segment_number(str(model.meta.filename or "")) > 1:
        raise InputError(
            f"{model.meta.filename}: a later segment without INTSTART; set INTSTART and INTEND to its first and last "
            "integration in the exposure."
        )
    return int(start or 1)


def skip(model: DataModel, keyword: str, name: str, reason: str) -> DataModel:
    """Mark a step as skipped, saying why, and return the model."""
    log.warning("%s", reason)
    log.warning("%s step will be skipped", name)
    setattr(model.meta.cal_step, keyword, "SKIPPED")
    return model
