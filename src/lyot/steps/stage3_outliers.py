"""Stage 3, outliers: `FlagOutliersStep` flags pixels that no flag names before the references are stacked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jwst.stpipe import Step
from numpy.typing import NDArray

from lyot import dq
from lyot.calibrate.outliers import MIN_SAMPLING, OutlierParams, find_outliers
from lyot.geometry import ARCSEC_PER_RADIAN
from lyot.instrument import wavelength_of
from lyot.params import from_step, spec_from
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.extra_fits import add_cards
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelsInput
from lyot.steps.quality import usable_frames
from lyot.steps.sequence_io import Frames, as_list, geometry_of, model_name, open_exposure, own_array, several

log = logging.getLogger(__name__)

DIAMETER = 6.5
"""Diameter of the telescope whose cutoff an image cannot exceed, m."""

SAME_PIXELS = 0.5
"""Exposures whose CRPIX differ by less are on the same pixels of the detector."""


class FlagOutliersStep(LyotMixin, Step):  # type: ignore[misc]
    """Flag outliers that stage 1 and 2 left, or that calibrated exposures of the archive hold (``crfints``).

    Exposures of one call are taken for those of one star (science rolls, or dithers of a reference) and compared with
    each other. A planet of any brightness is left alone (see `lyot.calibrate.outliers`).
    """

    class_alias = "flag_outliers"

    spec = spec_from(OutlierParams, extra="suffix = string(default='crfints')")

    def process(self, exposures: ModelsInput) -> DataModel | list[DataModel]:
        """Flag outliers.

        Parameters
        ----------
        exposures : str, CubeModel, or list of them
            Calibrated exposures of one star.

        Returns
        -------
        CubeModel or list of CubeModel
            The same with more flags (OUTLIER and DO_NOT_USE).
        """
        models = [open_exposure(self.prepare_output(e)) for e in as_list(exposures)]
        for group in _by_star(models):
            self._flag(group)
        return models if several(exposures) is not None else models[0]

    def _flag(self, models: Sequence[DataModel]) -> None:
        resolution = _resolution(models[0])
        if resolution is None or resolution < MIN_SAMPLING:
            size = "unknown" if resolution is None else f"{resolution:.2f} pixels, which is too small"
            log.warning("%s: no outlier search: lambda/D is %s", model_name(models[0]), size)
            return
        frames = [usable_frames(m, dtype=np.float64).frames for m in models]  # with errors where a file has none
        params = from_step(OutlierParams, self)
        for part in _comparable(models, frames):
            found = find_outliers(
                [frames[i].data for i in part], [_variance(frames[i]) for i in part], resolution, params
            )
            for i, outliers in zip(part, found, strict=True):
                _set_flags(models[i], outliers)


def _by_star(models: Sequence[DataModel]) -> list[list[DataModel]]:
    """Exposures of the same target name together."""
    groups: dict[str, list[DataModel]] = {}
    for model in models:
        groups.setdefault(str(model.meta.target.proposer_name or model.meta.target.catalog_name), []).append(model)
    return list(groups.values())


def _comparable(models: Sequence[DataModel], frames: Sequence[Frames]) -> list[list[int]]:
    """Indices of exposures that have the same pixels of the detector."""
    groups: list[list[int]] = []
    stars = [geometry_of(m).star for m in models]
    for i, frame in enumerate(frames):
        for group in groups:
            first = group[0]
            near = np.abs(np.subtract(stars[i], stars[first])).max() < SAME_PIXELS
            if near and frame.data.shape[1:] == frames[first].data.shape[1:]:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _variance(frames: Frames) -> NDArray[np.floating[Any]]:
    """Variance; where the file has none the scatter of the image alone sets the threshold."""
    return np.where(np.isfinite(frames.variance), frames.variance, 0.0)


def _resolution(model: DataModel) -> float | None:
    """lambda/D of the whole telescope, pixels; None for a filter whose wavelength is not known."""
    scale = float(np.min(geometry_of(model).pixel_scale))
    known = coronagraph_of(model)
    if known is not None:
        return known.lambda_over_d / scale
    wavelength = wavelength_of(str(model.meta.instrument.name), str(model.meta.instrument.filter))
    return None if wavelength is None else wavelength * 1e-6 / DIAMETER * ARCSEC_PER_RADIAN / scale


def _set_flags(model: DataModel, outliers: NDArray[np.bool_]) -> None:
    """Flag the outliers of an exposure, and say how many there are."""
    shape = np.shape(model.data)
    mask = outliers.reshape(shape)
    flags = own_array(model, "dq")
    if flags is None:
        flags = np.zeros(shape, np.uint32)
    if mask.any():
        model.dq = np.where(mask, flags | np.uint32(dq.DO_NOT_USE | dq.OUTLIER), flags).astype(np.uint32)
    pixels = int(outliers.any(axis=0).sum())
    always = int(outliers.all(axis=0).sum()) if len(outliers) > 1 else pixels
    log.info(
        "%s: %d previously unflagged outliers flagged (%d pixels, %d of them in all %d integrations)",
        model_name(model), int(mask.sum()), pixels, always, len(outliers),
    )  # fmt: skip
    add_cards(model, [("NOUTLIER", int(mask.sum()), "Outliers flagged at the start of stage 3")])
    model.meta.cal_step.outlier_detection = "COMPLETE"
