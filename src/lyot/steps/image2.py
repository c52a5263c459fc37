"""Stage 2 as a pipeline: slopes to calibrated images, with the background that coronagraphy needs."""

from __future__ import annotations

from typing import ClassVar

from jwst.pipeline.calwebb_image2 import Image2Pipeline as OfficialImage2Pipeline

from lyot.steps.mixin import LyotMixin
from lyot.steps.stage2_background import BackgroundStep


class Image2Pipeline(LyotMixin, OfficialImage2Pipeline):  # type: ignore[misc]
    """Slopes (``rateints``) to calibrated integrations (``calints``): background, WCS, flat field, flux scale."""

    class_alias = "calwebb_image2"

    step_defs: ClassVar[dict[str, type]] = {
        **OfficialImage2Pipeline.step_defs,
        "bkg_subtract": BackgroundStep,
    }
