"""Stage 1 as a pipeline: raw ramps to slopes, with the official steps, order, parameters and products."""

from __future__ import annotations

from jwst.pipeline.calwebb_detector1 import Detector1Pipeline as OfficialDetector1Pipeline

from lyot.steps import stage1_corrections as corrections
from lyot.steps.mixin import LyotMixin
from lyot.steps.stage1_slopes import JumpStep


class Detector1Pipeline(LyotMixin, OfficialDetector1Pipeline):  # type: ignore[misc]
    """Raw ramps (``uncal``) to slopes per integration (``rateints``) and per exposure (``rate``)."""

    step_defs = {  # noqa: RUF012 - stpipe reads a plain dict
        **OfficialDetector1Pipeline.step_defs,
        "dq_init": corrections.DQInitStep,
        "saturation": corrections.SaturationStep,
        "firstframe": corrections.FirstFrameStep,
        "lastframe": corrections.LastFrameStep,
        "reset": corrections.ResetStep,
        "linearity": corrections.LinearityStep,
        "rscd": corrections.RscdStep,
        "dark_current": corrections.DarkCurrentStep,
        "refpix": corrections.RefPixStep,
        "jump": JumpStep,
        "gain_scale": corrections.GainScaleStep,
    }
