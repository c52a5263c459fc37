"""Stage 1 in one pass: the steps of a pipeline, with their parameters and reference files, run by the streaming engine.

`why_not` says why an exposure must go step by step; `stream` takes it through and leaves the same keywords behind.
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot.params import from_step
from lyot.ramps import engine
from lyot.ramps.dark import DarkReference, GroupTiming, dark_reference
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.options import FitOptions
from lyot.ramps.ramp_fit import RampFitParams
from lyot.ramps.scratch import Scratch
from lyot.ramps.slopes import GroupTimes
from lyot.steps import stage1_reference_files as references
from lyot.steps.models import DataModel
from lyot.steps.stage1_common import first_integration_of, skip
from lyot.steps.stage1_corrections import average_dark_current, record_rscd, rscd_plan
from lyot.steps.stage1_level1b import Level1bFile, open_dark_lightly, read_metadata_model
from lyot.steps.stage1_samples import sample_pixels, samples_table
from lyot.steps.stage1_segments import exposure_ramps
from lyot.steps.stage1_slopes import (
    MIN_GROUPS_JUMP,
    complete_slopes,
    fit_limits,
    record_jumps,
    slope_models,
    without_outliers,
)

log = logging.getLogger(__name__)

NOT_STREAMED = ("emicorr", "firstframe", "charge_migration", "picture_frame", "clean_flicker_noise", "persistence")
"""Steps that need whole ramps; skipped by default."""
FULL_FRAME = (1024, 1032)


@dataclass(frozen=True)
class Streamed:
    """Products of a streamed exposure: ``rate`` and ``rateints`` data models, and where large arrays are kept.

    `samples`: table of the ramps of a few pixels, if they were asked for.
    """

    rate: DataModel
    rateints: DataModel
    scratch: Scratch
    samples: fits.BinTableHDU | None = None


def why_not(pipeline: Any, file: Level1bFile) -> str | None:
    """Why an exposure cannot be streamed with the pipeline's parameters; None if it can, as far as the header tells."""
    steps = {name: getattr(pipeline, name) for name in pipeline.step_defs}
    if pipeline.save_calibrated_ramp:
        return "save_calibrated_ramp requires the calibrated ramps"
    for name, step in steps.items():
        if step.save_results or step.output_file:
            return f"{name}.save_results requires its ramps"
        if step._pre_hooks or step._post_hooks:
            return f"{name} has hooks"
    for name in NOT_STREAMED:
        if not steps[name].skip:
            return f"{name} requires whole ramps"
    if steps["ramp_fit"].skip:
        return "ramp_fit is skipped, so the result is the ramps"
    if pipeline.dark_current.dark_output is not None:
        return "dark_current.dark_output requires the dark"
    if file.ramps() is None:
        return "the file does not contain 16-bit ramps as in the archive"
    extra = {"PIXELDQ", "GROUPDQ", "ERR", "ZEROFRAME"} & set(file.extensions)
    if extra:
        return f"the file already has {', '.join(sorted(extra))}"
    return None


def why_not_exposure(pipeline: Any, model: DataModel, file: Level1bFile) -> str | None:
    """As `why_not`, for what only the metadata tell."""
    exposure = model.meta.exposure
    if str(model.meta.instrument.name).upper() != "MIRI":
        return "only MIRI exposures are streamed"
    if (exposure.nframes or 1) != 1:
        return "the groups are averages of frames"
    divisor = exposure.frame_divisor
    if divisor is not None and divisor != (exposure.nframes or 1) and not pipeline.group_scale.skip:
        return "group_scale applies to this exposure"
    if getattr(exposure, "read_times", None) is not None and len(exposure.read_times) > 0:
        return "the groups are unevenly spaced"
    if file.shape[2:] == FULL_FRAME and not pipeline.refpix.skip:
        return "the full detector has reference pixels to subtract"
    if (exposure.ngroups, model.meta.subarray.ysize, model.meta.subarray.xsize) != file.shape[1:]:
        return "NGROUPS, SUBSIZE1 and SUBSIZE2 are not those of the ramps"
    return None


def stream(pipeline: Any, file: Level1bFile) -> Streamed | str:
    """Take an exposure through stage 1 in one pass.

    Parameters
    ----------
    pipeline : Detector1Pipeline
        With its steps configured.
    file : Level1bFile
        The exposure, for which `why_not` gave None.

    Returns
    -------
    Streamed or str
        The products, before gain_scale; or why it must go step by step, and then nothing has been done.
    """
    model = read_metadata_model(file.path)
    reason = why_not_exposure(pipeline, model, file)
    if reason is not None:
        return reason
    run = _Run(pipeline, model, file)
    try:
        return run.products()
    except engine.NotStreamableError as error:
        return str(error)
    finally:
        for name in pipeline.step_defs:
            getattr(pipeline, name)._reference_files_used = []
        model.close()


class _Run:
    """One exposure on its way through the engine: reference files in, keywords and products out."""

    def __init__(self, pipeline: Any, model: DataModel, file: Level1bFile) -> None:
        self.pipeline, self.model, self.file = pipeline, model, file
        first = first_integration_of(model)
        joined = () if pipeline.jump.median_over == "file" else pipeline.segments
        self.ramps = exposure_ramps(file, first, joined)
        self.shape = self.ramps.source.shape
        self.before = self.ramps.own[0]

    def products(self) -> Streamed:
        """Run the engine, and put slopes and keywords into data models."""
        gain, factor, read_noise = self._detector()
        corrections = self._corrections()
        fit = from_step(RampFitParams, self.pipeline.ramp_fit)
        jump = self._jump_params()
        e = self.model.meta.exposure
        watched = sample_pixels(self.model, self.file.shape, self.before) if self.pipeline.sample_ramps else None
        log.info("Streaming %d integrations of %d groups from raw ramps to slopes", *self.shape[:2])
        result = engine.process_exposure(
            self.ramps.source,
            corrections,
            engine.Detector(gain, read_noise, self.average_dark),
            GroupTimes(e.group_time, e.frame_time, nframes=e.nframes or 1, groupgap=e.groupgap or 0),
            jump=jump,
            fit=fit,
            params=engine.StreamParams(
                threads=self.pipeline.threads,
                memory=self.pipeline.memory,
                scratch=self._scratch_folder(),
                first_integration=self.ramps.first,
                own=self.ramps.own,
                limits=fit_limits(self.model, from_step(FitOptions, self.pipeline.ramp_fit), self.ramps.first),
                watched=watched,
            ),
        )
        self._record(result, jump, factor)
        return replace(
            self._models(result), samples=samples_table(self.model, watched, result.slopes.rateints, self.before)
        )

    def _scratch_folder(self) -> Path:
        """Where the products go, if that is a folder that can be written to; else the folder for temporary files."""
        folder = Path(self.pipeline.search_attr("output_dir") or self.file.path.parent)
        return folder if folder.is_dir() and os.access(folder, os.W_OK) else Path(tempfile.gettempdir())

    def _file(self, step: Any, kind: str) -> Any:
        """Reference file of a step, None if there is none."""
        name = step.get_reference_file(self.model, kind)
        log.info("Using %s reference file %s", kind.upper(), name)
        return None if name == "N/A" else name

    def _skipped(self, name: str, keyword: str) -> bool:
        if getattr(self.pipeline, name).skip:
            setattr(self.model.meta.cal_step, keyword, "SKIPPED")
            return True
        return False

    def _reference(self, name: str, keyword: str, kind: str) -> Any:
        """Reference file of a correction, or None, with the step marked as skipped or complete."""
        if self._skipped(name, keyword):
            return None
        file = self._file(getattr(self.pipeline, name), kind)
        if file is None:
            skip(self.model, keyword, name, f"No {kind.upper()} reference file found")
        else:
            setattr(self.model.meta.cal_step, keyword, "COMPLETE")
        return file

    def _detector(self) -> tuple[NDArray[np.float32], float | None, NDArray[np.float32]]:
        """Gain, gain factor and read noise, from the files of the fit, which those of the jump step must equal."""
        fit, jump = self.pipeline.ramp_fit, self.pipeline.jump
        files = [self._file(fit, kind) for kind in ("gain", "readnoise")]
        if not jump.skip and [self._file(jump, kind) for kind in ("gain", "readnoise")] != files:
            raise engine.NotStreamableError("jump and ramp_fit are given different gain or read noise files")
        gain, factor = references.load_gain(self.model, files[0])
        return gain, factor, references.load_read_noise(self.model, files[1])

    def _jump_params(self) -> JumpParams | None:
        if self._skipped("jump", "jump"):
            return None
        if self.file.shape[1] < MIN_GROUPS_JUMP:
            skip(self.model, "jump", "Jump", "Cannot apply jump detection when NGROUPS<=2;")
            return None
        self.model.meta.cal_step.jump = "COMPLETE"
        return from_step(JumpParams, self.pipeline.jump)

    def _corrections(self) -> engine.Corrections:
        """References of all corrections, and what is skipped, in the keywords."""
        p, m, status = self.pipeline, self.model, self.model.meta.cal_step
        for name in (*NOT_STREAMED, "group_scale", "refpix"):
            setattr(status, name, "SKIPPED")
        if not p.ipc.skip and self._file(p.ipc, "ipc") is not None:
            raise engine.NotStreamableError("there is an IPC reference file, and ipc requires whole ramps")
        status.ipc = "SKIPPED"
        mask = self._reference("dq_init", "dq_init", "mask")
        saturation = self._reference("saturation", "saturation", "saturation")
        if saturation is not None:
            self._file(p.saturation, "superbias")
        reset = self._reference("reset", "reset", "reset")
        linearity = self._reference("linearity", "linearity", "linearity")
        rscd = self._reference("rscd", "rscd", "rscd")
        return engine.Corrections(
            mask=None if mask is None else references.load_mask(m, mask, p.dq_init.user_supplied_dq),
            saturation=None if saturation is None else references.load_saturation(m, saturation),
            n_pix_grow_sat=p.saturation.n_pix_grow_sat,
            last_frame=self._last_frame(),
            reset=None if reset is None else references.load_reset(m, reset),
            linearity=None if linearity is None else references.load_linearity(m, linearity),
            rscd=None if rscd is None else rscd_plan(m, p.rscd, rscd, self.shape[0], self.ramps.first),
            dark=self._dark(),
        )

    def _last_frame(self) -> bool:
        if self._skipped("lastframe", "lastframe"):
            return False
        if self.file.shape[1] <= 2:
            skip(self.model, "lastframe", "Last frame", "Too few groups to apply correction")
            return False
        self.model.meta.cal_step.lastframe = "COMPLETE"
        return True

    def _dark(self) -> DarkReference | engine.DarkFile | None:
        """Dark, left on disk where it can be; sets the mean dark current."""
        self.average_dark = np.zeros(self.file.shape[2:], np.float32)
        file = self._reference("dark_current", "dark_sub", "dark")
        if file is None:
            return None
        step = self.pipeline.dark_current
        light = open_dark_lightly(file)
        if light is not None:
            model, ramps = light
            dark = self._dark_on_disk(model, ramps)
            self.average_dark = average_dark_current(step, model, self.file.shape[2:])
            model.close()
            if dark is not None:
                return dark
        with references.opened("dark", file, datamodels.DarkMIRIModel) as model:
            self.average_dark = average_dark_current(step, model, self.file.shape[2:])
            matched: DarkReference | None = step.matched_dark(self.model, model, self.file.shape[1])
            return matched

    def _dark_on_disk(self, model: DataModel, ramps: Any) -> engine.DarkFile | None:
        """The dark as it is, if it is of the exposure's pixels and timing and long enough; else None."""
        e, d = self.model.meta.exposure, model.meta.exposure
        same_timing = (d.nframes or 1, d.groupgap or 0) == (e.nframes or 1, e.groupgap or 0)
        same_pixels = ramps.shape[2:] == self.file.shape[2:]
        if not (same_timing and same_pixels and ramps.shape[1] >= self.file.shape[1]):
            return None
        flags = references.native(references.cut("dark", self.model, model, model.dq), np.uint32)
        merged = dark_reference(np.empty((1, 1, 1, 1), np.float32), flags, GroupTiming(1, 0))
        return engine.DarkFile(ramps, merged.dq, ramps.shape[0])

    def _record(self, result: engine.StreamResult, jump: JumpParams | None, factor: float | None) -> None:
        """Write the keywords of all steps into the metadata."""
        m = self.model
        if m.meta.cal_step.saturation == "COMPLETE":
            log.info("Detected %i saturated pixels", result.n_saturated)
        if m.meta.cal_step.rscd == "COMPLETE":
            record_rscd(m, *result.rscd)
        if jump is not None:
            record_jumps(m, result.all_unused, result.primary, 0)
        if factor is not None:
            m.meta.exposure.gain_factor = factor
        for name in self.pipeline.step_defs:
            step = getattr(self.pipeline, name)
            if name not in ("ramp_fit", "gain_scale") and step._reference_files_used:
                step.finalize_result(m, step._reference_files_used)

    def _models(self, result: engine.StreamResult) -> Streamed:
        slopes = without_outliers(result.slopes, self.pipeline.ramp_fit.outlier_threshold)
        rate, rateints = slope_models(self.model, slopes)
        for product in (rate, rateints):
            complete_slopes(product)
            step = self.pipeline.ramp_fit
            step.finalize_result(product, step._reference_files_used)
        return Streamed(rate, rateints, result.scratch)
