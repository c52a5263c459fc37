"""The mean background of an exposure, carried from stage 2 to stage 3 in the exposure's own file.

Stage 2 subtracts the mean of the dedicated background exposures, and leaves a part of it where the background has
changed meanwhile: a few tenths of a per cent as a rule, glow sticks and all. Stage 3 fits the same pattern beside the
star. The pattern travels as the image extension ``BACKGROUND`` of ``bsubints`` (in the unit of the slopes) and of
``calints`` (in the unit of the calibrated data), so that it is there for whatever is done with the file later.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lyot.calibrate.background_combine import shared_variance
from lyot.exposures.headers import BACKGROUND_IMAGE
from lyot.stacks import nanmean
from lyot.steps.models import DataModel

log = logging.getLogger(__name__)

ERROR_EXTENSION = "BACKGROUND_ERR"
"""Name of the image extension that holds its error, as far as it went into the errors of the exposure."""

NOISE_EXTENSION = "BACKGROUND_RNOISE"
"""Largest VAR_RNOISE of each pixel over the integrations of ``bsubints``, by which the unit of the background follows
that of the data; ``calints`` do not have it any more."""


def attach_background(model: DataModel, image: NDArray[np.floating], error: NDArray[np.floating] | None = None) -> None:
    """Put a mean background (ny, nx), NaN where unknown, and its error into the file of an exposure."""
    extensions = model.instance.setdefault("extra_fits", {})
    extensions[BACKGROUND_IMAGE] = {"data": np.asarray(image, dtype=np.float32)}
    for name in (ERROR_EXTENSION, NOISE_EXTENSION):
        extensions.pop(name, None)
    if error is not None:
        extensions[ERROR_EXTENSION] = {"data": np.asarray(error, dtype=np.float32)}


def background_of(model: DataModel, extension: str = BACKGROUND_IMAGE) -> NDArray[np.float64] | None:
    """The mean background that stage 2 subtracted from an exposure.

    Parameters
    ----------
    model : CubeModel or ImageModel
        Calibrated exposure.
    extension : str, optional
        `BACKGROUND_IMAGE`, `ERROR_EXTENSION` or `NOISE_EXTENSION`.

    Returns
    -------
    (ny, nx) float64 ndarray or None
        In the unit of the file, NaN where unknown; None if the file has none, or one of another shape (the file was
        cropped since).
    """
    found = model.instance.get("extra_fits", {}).get(extension, {}).get("data")
    if found is None:
        return None
    image = np.asarray(found, dtype=np.float64)
    if image.shape != np.shape(model.data)[-2:]:
        log.warning(
            "%s: %s has shape %s, a frame %s; it is not used",
            model.meta.filename, extension, image.shape, np.shape(model.data)[-2:],
        )  # fmt: skip
        return None
    return image if np.isfinite(image).any() else None


def background_template(
    models: Sequence[DataModel], windows: Sequence[tuple[slice, slice]]
) -> NDArray[np.float64] | None:
    """Mean of the backgrounds of the science exposures, as a template for stage 3.

    Parameters
    ----------
    models : sequence of CubeModel
        Science exposures; those without a background are passed over.
    windows : sequence of (y slice, x slice)
        Pixels of each that the sequence holds.

    Returns
    -------
    (1, ny, nx) float64 ndarray or None
        None if no exposure has a background.
    """
    found = [(background_of(model), window) for model, window in zip(models, windows, strict=True)]
    images = [image[window] for image, window in found if image is not None]
    return nanmean(np.stack(images))[np.newaxis] if images else None


def background_variance(
    models: Sequence[DataModel], windows: Sequence[tuple[slice, slice]]
) -> NDArray[np.float32] | None:
    """Variance that the backgrounds put into the science exposures.

    Parameters
    ----------
    models, windows
        As for `background_template`.

    Returns
    -------
    (nexposures, ny, nx) float32 ndarray or None
        0 where unknown; None if no exposure has one.
    """
    errors = [background_of(model, ERROR_EXTENSION) for model in models]
    if all(error is None for error in errors):
        return None
    parts = [
        np.zeros((w[0].stop - w[0].start, w[1].stop - w[1].start)) if e is None else np.nan_to_num(e[w]) ** 2
        for e, w in zip(errors, windows, strict=True)
    ]
    return np.asarray(parts, dtype=np.float32)


def template_variance(
    models: Sequence[DataModel], windows: Sequence[tuple[slice, slice]]
) -> NDArray[np.float64] | None:
    """Variance of `background_template`: (ny, nx), NaN where unknown; None if no exposure has one.

    Exposures from which the same background was subtracted share its noise; different ones average it.

    Parameters
    ----------
    models, windows
        As for `background_template`.
    """
    found = [(background_of(m), background_of(m, ERROR_EXTENSION), w) for m, w in zip(models, windows, strict=True)]
    known = [(image[w], None if error is None else error[w]) for image, error, w in found if image is not None]
    return shared_variance([image for image, _ in known], [error for _, error in known])
