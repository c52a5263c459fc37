"""Stage 2 as a pipeline: slopes to calibrated images, with the background that coronagraphy needs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from jwst.pipeline.calwebb_image2 import Image2Pipeline as OfficialImage2Pipeline
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot.steps.mixin import LyotMixin
from lyot.steps.stage2_background import CORONAGRAPHIC, BackgroundStep
from lyot.steps.stage2_bad_pixels import BadPixelStep
from lyot.steps.stage3_templates import attach_background, background_of


class Image2Pipeline(LyotMixin, OfficialImage2Pipeline):  # type: ignore[misc]
    """Slopes (``rateints``) to calibrated integrations (``calints``): background, WCS, flat field, flux scale."""

    class_alias = "calwebb_image2"

    step_defs: ClassVar[dict[str, type]] = {
        **OfficialImage2Pipeline.step_defs,
        "bkg_subtract": BackgroundStep,
        "bad_pixels": BadPixelStep,
    }

    def process_exposure_product(self, exp_product: Any, pool_name: str = " ", asn_file: str = " ") -> JwstDataModel:
        """Calibrate one exposure: the official steps in their order, then the bad pixels.

        Parameters
        ----------
        exp_product : dict
            Product of a level-2 association: one science member and its backgrounds.
        pool_name, asn_file : str
            For the record in the header.

        Returns
        -------
        CubeModel or ImageModel
            Calibrated exposure.
        """
        model = super().process_exposure_product(exp_product, pool_name, asn_file)
        background = background_of(model)
        if background is not None:
            attach_background(model, self._calibrated(background, model))
        if str(model.meta.exposure.type) in CORONAGRAPHIC and not self.bad_pixels.skip:
            model = self.bad_pixels.run(model)
        return model

    def _calibrated(self, background: NDArray[np.float64], like: JwstDataModel) -> NDArray[np.float64]:
        """The mean background through the same flat field and photometric scale as the exposure."""
        image: JwstDataModel = datamodels.ImageModel(
            data=background.astype(np.float32),
            dq=np.zeros(background.shape, np.uint32),
            **{name: np.zeros(background.shape, np.float32) for name in ("err", "var_poisson", "var_rnoise")},
        )
        image.update(like)
        for step in (self.flat_field, self.photom):
            if not step.skip:
                image = step.process(image)
        return np.asarray(image.data, dtype=np.float64)
