"""Stage 1 as a pipeline: raw ramps to slopes, with the official steps, order, parameters and products."""

from __future__ import annotations

from jwst.pipeline.calwebb_detector1 import Detector1Pipeline as OfficialDetector1Pipeline

from lyot.steps.mixin import LyotMixin


class Detector1Pipeline(LyotMixin, OfficialDetector1Pipeline):  # type: ignore[misc]
    """Raw ramps (``uncal``) to slopes per integration (``rateints``) and per exposure (``rate``)."""
