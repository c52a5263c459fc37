"""What this package uses of jwst's data models, as a type: mypy does not read jwst."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray


class DataModel(Protocol):
    """A data model of jwst: an exposure, a product or a reference file.

    Attributes
    ----------
    meta : object
        Tree of keywords, named as in the model's schema (``meta.exposure.nints``); what a file does not have is None.
    data : ndarray
        SCI: (nints, ny, nx) of calibrated integrations and slopes, (ny, nx) of images, (nints, ngroups, ny, nx) of
        ramps.
    err, var_poisson, var_rnoise, var_flat : ndarray
        Error and variances, shape of `data`.
    dq : ndarray
        uint32 flags, shape of `data`.
    groupdq, pixeldq : ndarray
        Flags of ramps: uint8 of each group, uint32 (ny, nx) of each pixel.
    average_dark_current : ndarray
        Mean dark current of ramps, DN/s.
    int_times : ndarray
        Table with the times of each integration.
    coeffs, rscd_group_skip_table : ndarray
        Of reference files for linearity, (ncoeffs, ny, nx), and RSCD.
    instance : dict
        The tree behind the attributes, with what no schema names (``extra_fits``).
    """

    meta: Any
    data: NDArray[Any]
    err: NDArray[Any]
    dq: NDArray[np.uint32]
    var_poisson: NDArray[Any]
    var_rnoise: NDArray[Any]
    var_flat: NDArray[Any]
    groupdq: NDArray[np.uint8]
    pixeldq: NDArray[np.uint32]
    average_dark_current: NDArray[Any]
    int_times: NDArray[Any]
    coeffs: NDArray[Any]
    rscd_group_skip_table: NDArray[Any]
    instance: dict[str, Any]

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def copy(self) -> Self:
        """Deep copy."""
        ...

    def update(self, other: DataModel, *, only: str | None = None) -> None:
        """Take over the keywords of another model."""
        ...

    def save(self, path: str) -> str:
        """Write the model to a file; returns its path."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def getarray_noinit(self, name: str) -> NDArray[Any]:
        """An array that the model holds; AttributeError instead of making its default."""
        ...

    def hasattr(self, name: str) -> bool:
        """Whether the model holds an array or keyword, without making its default."""
        ...


ModelInput = str | Path | DataModel
"""What a step takes: a file, an association or a data model."""

ModelsInput = ModelInput | Sequence[ModelInput]
"""What a step of stage 3 takes: one or several."""


def close_file(model: DataModel) -> None:
    """Close the FITS file that a model was read from; its arrays were all read when it was opened."""
    if str(model.meta.filename or "").endswith(".fits"):  # those of ASDF files are read when they are used
        model.close()
