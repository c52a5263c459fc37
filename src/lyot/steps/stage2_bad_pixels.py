"""Stage 2, bad pixels: `BadPixelStep` flags or repairs bad pixels not flagged in stage 1."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jwst.stpipe import Step
from numpy.typing import NDArray

from lyot import dq
from lyot.calibrate.bad_pixels import BadPixelParams, BadPixels, Repaired, find_bad_pixels, repair, surrounded
from lyot.params import from_step, spec_from
from lyot.steps.extra_fits import add_cards
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelsInput
from lyot.steps.sequence_io import as_list, frames_of, model_name, open_exposure, several

log = logging.getLogger(__name__)


def _joined(stacks: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Images of all files, in a copy where there are several."""
    return stacks[0] if len(stacks) == 1 else np.concatenate(stacks)


class BadPixelStep(LyotMixin, Step):  # type: ignore[misc]
    """Find outliers in time and space, and flag (default) or repair them.

    The default thresholds are conservative; a planet is not touched (see `lyot.calibrate.bad_pixels`).
    """

    class_alias = "bad_pixels"

    spec = spec_from(BadPixelParams, extra="suffix = string(default='badpixels')")

    def process(self, step_input: ModelsInput) -> DataModel | list[DataModel]:
        """Flag or repair bad pixels.

        Parameters
        ----------
        step_input : str, CubeModel, or list of CubeModel
            Calibrated integrations; of a list, the segments of one exposure, looked at together.

        Returns
        -------
        CubeModel or list of CubeModel
            The same with more flags (OUTLIER and DO_NOT_USE), or with pixels filled (FLUX_ESTIMATED).
        """
        models = [open_exposure(self.prepare_output(m)) for m in as_list(step_input)]
        frames = [frames_of(m) for m in models]
        lengths = [len(f.data) for f in frames]
        data, variance, flags = (_joined([getattr(f, name) for f in frames]) for name in ("data", "variance", "dq"))
        del frames  # of several there are copies now
        found = find_bad_pixels(data, variance, from_step(BadPixelParams, self))
        fixed = None
        if self.action == "repair":
            bad = found.mask | ((flags & dq.DO_NOT_USE) > 0)
            fixed = repair(data, variance, bad & surrounded(data))
        start = 0
        for model, length in zip(models, lengths, strict=True):
            mine = slice(start, start + length)
            start = mine.stop
            self._write_back(model, found, fixed, mine)
        return models if several(step_input) is not None else models[0]

    def _write_back(self, model: DataModel, found: BadPixels, fixed: Repaired | None, mine: slice) -> None:
        """Put the flags and repaired pixels of one file, integrations `mine` of the arrays, into its model."""
        shape = model.data.shape
        mask = found.mask[mine].reshape(shape)
        if fixed is not None:
            filled = fixed.filled[mine].reshape(shape)
            model.data[filled] = fixed.data[mine].reshape(shape)[filled].astype(np.float32)
            model.err[filled] = np.sqrt(fixed.variance[mine].reshape(shape)[filled]).astype(np.float32)
            model.dq[filled] = (model.dq[filled] & ~np.uint32(dq.DO_NOT_USE)) | dq.FLUX_ESTIMATED
            mask = mask & ~filled
        model.dq[mask] |= dq.DO_NOT_USE | dq.OUTLIER
        in_time, in_space = int(found.in_time[mine].sum()), int(found.in_space.sum())
        log.info(
            "%s: %d outlier pixels in single integrations, %d pixels bad in all integrations (%s)",
            model_name(model), in_time, in_space, self.action,
        )  # fmt: skip
        add_cards(
            model,
            [
                ("NBADTIME", in_time, "Outlying pixels of single integrations"),
                ("NBADSPAC", in_space, "Isolated pixels bad in all integrations"),
            ],
        )
