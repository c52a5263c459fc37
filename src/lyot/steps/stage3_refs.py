"""Stage 3, the references: stacked to one cube and registered to the science."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jwst.coron.align_refs_step import AlignRefsStep as OfficialAlignRefsStep
from jwst.coron.stack_refs_step import StackRefsStep as OfficialStackRefsStep
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot.errors import InputError
from lyot.steps.mixin import LyotMixin
from lyot.steps.sequence_io import check_same_setting, common_windows, frames_of, geometry_of, model_name
from lyot.steps.stage3_products import add_table, detector_cube, reference_table

log = logging.getLogger(__name__)

REFERENCES_TABLE = "REFS"
"""Extension of ``psfstack`` and ``psfalign`` that tells which exposure each plane is from."""


class StackRefsStep(LyotMixin, OfficialStackRefsStep):  # type: ignore[misc]
    """Stack all integrations of all reference exposures into one cube (``psfstack``).

    Unlike the official step it takes exposures of different crops, and writes which exposure each plane is from.
    """

    class_alias = "stack_refs"

    def process(self, input_files: Any) -> JwstDataModel:
        """Stack the references.

        Parameters
        ----------
        input_files : str, ModelContainer or list of CubeModel
            Reference exposures of one filter.

        Returns
        -------
        CubeModel
            All integrations, MJy/sr, (nrefs, ny, nx); metadata of the first exposure.
        """
        models: Sequence[JwstDataModel] = self.prepare_output(input_files)
        if len(models) == 0:
            raise InputError("no reference exposure to stack; expected at least one member of exptype psf.")
        check_same_setting(models)
        frames = [frames_of(m) for m in models]
        windows = common_windows([f.data.shape[1:] for f in frames], [geometry_of(m).star for m in models])
        cut = [(slice(None), *w) for w in windows]
        data = np.concatenate([f.data[w] for f, w in zip(frames, cut, strict=True)])
        variance = np.concatenate([f.variance[w] for f, w in zip(frames, cut, strict=True)])
        flags = np.concatenate([f.dq[w] for f, w in zip(frames, cut, strict=True)])
        result = detector_cube(models[0], data, variance, flags=flags)
        result.meta.wcsinfo.crpix1 -= windows[0][1].start
        result.meta.wcsinfo.crpix2 -= windows[0][0].start
        rows = [(i, model_name(models[i])) for i, f in enumerate(frames) for _ in f.data]
        table = reference_table([(plane, exposure, name) for plane, (exposure, name) in enumerate(rows)])
        add_table(result, REFERENCES_TABLE, table)
        result.meta.cal_step.stack_psfs = "COMPLETE"
        log.info("stacked %d integrations of %d reference exposures", len(data), len(models))
        return result


class AlignRefsStep(LyotMixin, OfficialAlignRefsStep):  # type: ignore[misc]
    """Bring the references onto the science (``psfalign``)."""

    class_alias = "align_refs"

    spec = """
        mode = option('lyot', 'official', default='lyot')  # our registration, or the official algorithm
    """

    def process(self, target: Any, psf: Any) -> JwstDataModel:
        """Register the reference stack to the science.

        Parameters
        ----------
        target : str or CubeModel
            Science exposure.
        psf : str or CubeModel
            Reference stack (``psfstack``).

        Returns
        -------
        CubeModel
            The references as the subtraction takes them, (nrefs, ny, nx).
        """
        if self.mode == "official":
            return super().process(target, psf)
        model = self.prepare_output(psf)
        result = model.copy()
        result.meta.cal_step.align_psfs = "SKIPPED"
        return result
