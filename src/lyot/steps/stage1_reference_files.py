"""Reference files of stage 1 as arrays: opened through the official data models, cut to the subarray, checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from astropy.io import fits
from jwst.datamodels import dqflags  # noqa: F401  (registers the DQ mnemonics that reference files use)
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot.errors import ReferenceFileError
from lyot.ramps.dark import DarkReference, GroupTiming, dark_reference
from lyot.ramps.dq_init import mask_flags
from lyot.ramps.linearity import LinearityReference, linearity_reference
from lyot.ramps.reset import ResetReference, reset_reference
from lyot.ramps.saturation import SaturationReference, saturation_reference
from lyot.steps.models import DataModel

_FULL_FRAME = {"MIRI": (1024, 1032)}
_FULL_FRAME_NIR = (2048, 2048)


@contextmanager
def opened(kind: str, file: str | Path | DataModel, model_class: type) -> Iterator[DataModel]:
    """Open a reference file (or take an open model), with one clear error where it is missing or unreadable."""
    if isinstance(file, datamodels.JwstDataModel):
        yield cast("DataModel", file) if isinstance(file, model_class) else model_class(file)
        return
    if str(file) == "N/A":  # what CRDS answers where its rules have none
        raise ReferenceFileError(
            f"the calibration context has no {kind} reference file for this exposure; use the context of the "
            f"instrument (--crds, CRDS_PATH, CRDS_CONTEXT), or give the file with override_{kind}."
        )
    try:
        model = model_class(file)
    except FileNotFoundError as error:
        raise ReferenceFileError(
            f"{file}: the {kind} reference file does not exist; check override_{kind} or CRDS_PATH."
        ) from error
    except (OSError, TypeError, ValueError) as error:
        raise ReferenceFileError(f"{file}: cannot be read as a {kind} reference file ({error}).") from error
    try:
        yield model
    finally:
        model.close()


def _corner(model: DataModel) -> tuple[Any, Any]:
    return model.meta.subarray.xstart, model.meta.subarray.ystart


def cut(kind: str, exposure: DataModel, reference: DataModel, array: NDArray[Any]) -> NDArray[Any]:
    """Part of a reference array (..., y, x) that covers the exposure's subarray.

    Parameters
    ----------
    kind : str
        Reference type, for messages.
    exposure, reference : DataModel
        Their ``meta.subarray`` says where on the detector they are.
    array : (..., ny, nx) ndarray
        Array of the reference.

    Raises
    ------
    ReferenceFileError
        If the reference does not cover the exposure's pixels.
    """
    shape = (exposure.meta.subarray.ysize, exposure.meta.subarray.xsize)
    x_ref, y_ref = _corner(reference)
    if x_ref is None or y_ref is None:
        full = _FULL_FRAME.get(str(exposure.meta.instrument.name).upper(), _FULL_FRAME_NIR)
        x_ref, y_ref = (1, 1) if array.shape[-2:] == full else _corner(exposure)
    x_exp, y_exp = _corner(exposure)
    x0, y0 = x_exp - x_ref, y_exp - y_ref
    part = array[..., y0 : y0 + shape[0], x0 : x0 + shape[1]] if min(x0, y0) >= 0 else array[..., :0, :0]
    if part.shape[-2:] != shape:
        name = reference.meta.filename or "in memory"
        raise ReferenceFileError(
            f"{name}: the {kind} reference covers {array.shape[-1]} x {array.shape[-2]} pixels from column {x_ref}, "
            f"row {y_ref}, the exposure {shape[1]} x {shape[0]} from column {x_exp}, row {y_exp} (subarray "
            f"{exposure.meta.subarray.name}); use the reference file of that subarray."
        )
    return part


def native(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """A contiguous copy in the machine's byte order."""
    return np.array(array, dtype=dtype, order="C", copy=True)


def load_mask(exposure: DataModel, file: str | Path, user_file: str | None = None) -> NDArray[np.uint32]:
    """Bad-pixel mask (ny, nx) uint32, DQ bits, with the flags of a user's FITS file added."""
    with opened("mask", file, datamodels.MaskModel) as model:
        mask = native(cut("mask", exposure, model, model.dq), np.uint32)
    user = None
    if user_file is not None:
        try:
            user = native(fits.getdata(user_file), np.uint32)
        except (OSError, TypeError) as error:
            raise ReferenceFileError(
                f"{user_file}: cannot be read as a DQ image (user_supplied_dq): {error}"
            ) from error
    return mask_flags(mask, user)


def load_saturation(exposure: DataModel, file: str | Path) -> SaturationReference:
    """Saturation thresholds; see `lyot.ramps.saturation.saturation_reference`."""
    with opened("saturation", file, datamodels.SaturationModel) as model:
        threshold = cut("saturation", exposure, model, model.data)
        flags = cut("saturation", exposure, model, model.dq)
        return saturation_reference(native(threshold, np.float32), native(flags, np.uint32))


def load_reset(exposure: DataModel, file: str | Path) -> ResetReference:
    """Reset anomaly; see `lyot.ramps.reset.reset_reference`. Only what the header's NINTS and NGROUPS cover is used."""
    with opened("reset", file, datamodels.ResetModel) as model:
        nints = model.meta.exposure.nints or model.data.shape[0]
        ngroups = model.meta.exposure.ngroups or model.data.shape[1]
        data = cut("reset", exposure, model, model.data)[:nints, :ngroups]
        flags = cut("reset", exposure, model, model.dq)
        return reset_reference(native(data, np.float32), native(flags, np.uint32))


def load_linearity(exposure: DataModel, file: str | Path) -> LinearityReference:
    """Linearity polynomials; see `lyot.ramps.linearity.linearity_reference`."""
    with opened("linearity", file, datamodels.LinearityModel) as model:
        coefficients = cut("linearity", exposure, model, model.coeffs)
        flags = cut("linearity", exposure, model, model.dq)
        return linearity_reference(native(coefficients, np.float32), native(flags, np.uint32))


def dark_of(exposure: DataModel, model: DataModel) -> DarkReference:
    """Dark ramps of an open MIRI dark, as they are in it; see `lyot.ramps.dark.dark_reference` and `match_dark`."""
    timing = GroupTiming(model.meta.exposure.nframes or 1, model.meta.exposure.groupgap or 0)
    data = cut("dark", exposure, model, model.data)
    flags = cut("dark", exposure, model, model.dq)
    return dark_reference(native(data, np.float32), native(flags, np.uint32), timing)


def load_rscd(exposure: DataModel, file: str | Path) -> tuple[int, int] | None:
    """Groups to give up in the first and the later integrations, None where the file says nothing of this readout."""
    with opened("rscd", file, datamodels.RSCDModel) as model:
        for row in model.rscd_group_skip_table:
            if row["subarray"] == exposure.meta.subarray.name and row["readpatt"] == exposure.meta.exposure.readpatt:
                return int(row["group_skip1"]), int(row["group_skip"])
    return None


def load_gain(exposure: DataModel, file: str | Path) -> tuple[NDArray[np.float32], float | None]:
    """Gain (ny, nx) float32, electrons per DN, and the gain factor of a non-standard setting (None as a rule)."""
    with opened("gain", file, datamodels.GainModel) as model:
        factor = model.meta.exposure.gain_factor
        return native(cut("gain", exposure, model, model.data), np.float32), factor


def load_read_noise(exposure: DataModel, file: str | Path) -> NDArray[np.float32]:
    """Read noise (ny, nx) float32, DN, of the difference of two reads (CDS)."""
    with opened("readnoise", file, datamodels.ReadnoiseModel) as model:
        return native(cut("readnoise", exposure, model, model.data), np.float32)
