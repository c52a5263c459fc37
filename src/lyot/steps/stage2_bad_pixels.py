"""Stage 2, bad pixels: `BadPixelStep` flags or repairs what the flags of stage 1 missed."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from jwst.stpipe import Step
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot import dq
from lyot.calibrate.bad_pixels import BadPixelParams, find_bad_pixels, repair
from lyot.params import from_step, spec_from
from lyot.steps.extra_fits import add_cards
from lyot.steps.mixin import LyotMixin
from lyot.steps.sequence_io import frames_of, model_name, open_exposure

log = logging.getLogger(__name__)


class BadPixelStep(LyotMixin, Step):  # type: ignore[misc]
    """Find outlying pixels in time and space and flag (default) or repair them.

    The default thresholds are conservative; a planet is not touched (see `lyot.calibrate.bad_pixels`).
    """

    class_alias = "bad_pixels"

    spec = spec_from(BadPixelParams, extra="suffix = string(default='badpixels')")

    def process(self, step_input: Any) -> JwstDataModel:
        """Flag or repair bad pixels.

        Parameters
        ----------
        step_input : str or CubeModel
            Calibrated integrations.

        Returns
        -------
        CubeModel
            The same with more flags (OUTLIER and DO_NOT_USE), or with pixels filled (FLUX_ESTIMATED).
        """
        model = self.prepare_output(step_input)
        model = open_exposure(model)
        frames = frames_of(model)
        found = find_bad_pixels(frames.data, frames.variance, from_step(BadPixelParams, self))
        mask = found.mask.reshape(model.data.shape)
        if self.action == "repair":
            bad = found.mask | ((frames.dq & dq.DO_NOT_USE) > 0)
            fixed = repair(frames.data, frames.variance, bad & self._inside(frames.data))
            filled = fixed.filled.reshape(model.data.shape)
            model.data[filled] = fixed.data.reshape(model.data.shape)[filled].astype(np.float32)
            model.err[filled] = np.sqrt(fixed.variance.reshape(model.data.shape)[filled]).astype(np.float32)
            model.dq[filled] = (model.dq[filled] & ~np.uint32(dq.DO_NOT_USE)) | dq.FLUX_ESTIMATED
            mask = mask & ~filled
        model.dq[mask] |= dq.DO_NOT_USE | dq.OUTLIER
        log.info(
            "%s: %d outlying pixels of single integrations, %d pixels bad in all (%s)",
            model_name(model), found.in_time.sum(), found.in_space.sum(), self.action,
        )  # fmt: skip
        add_cards(
            model,
            [
                ("NBADTIME", int(found.in_time.sum()), "Outlying pixels of single integrations"),
                ("NBADSPAC", int(found.in_space.sum()), "Isolated pixels bad in all integrations"),
            ],
        )
        return model

    @staticmethod
    def _inside(data: np.ndarray) -> np.ndarray:
        """Pixels with at least five good ones in the 3 x 3 about them: the field stop is not filled."""
        good = np.pad(np.isfinite(data).any(axis=0), 1).astype(int)
        ny, nx = data.shape[1:]
        total = sum(good[i : i + ny, j : j + nx] for i in range(3) for j in range(3))
        return np.broadcast_to(np.asarray(total) >= 5, data.shape)
