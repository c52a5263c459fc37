"""Stage 2 as a pipeline: slopes to calibrated images, with the background that coronagraphy needs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from jwst.pipeline.calwebb_image2 import Image2Pipeline as OfficialImage2Pipeline
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot.exposures.exposure import is_coronagraphic_type
from lyot.steps.mixin import LyotMixin
from lyot.steps.stage2_background import BackgroundStep, largest_read_variance
from lyot.steps.stage2_bad_pixels import BadPixelStep
from lyot.steps.stage3_templates import ERROR_EXTENSION, attach_background, background_of


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
        background, noise = background_of(model), self.bkg_subtract.noise
        if background is not None and noise is not None:
            factor = calibration_factor(noise, largest_read_variance(model))
            error = background_of(model, ERROR_EXTENSION)
            attach_background(model, background * factor, None if error is None else error * factor)
        if is_coronagraphic_type(model.meta.exposure.type) and not self.bad_pixels.skip:
            model = self.bad_pixels.run(model)
        return model


def calibration_factor(before: NDArray[np.floating], after: NDArray[np.floating] | None) -> NDArray[np.float64]:
    """Factor of each pixel from slopes to calibrated data: photometric scale over flat field, as they were applied.

    Parameters
    ----------
    before, after : (ny, nx) float ndarray
        Variance from reading the detector, before and after the calibration: it is only ever multiplied. `after` None
        if it was lost.

    Returns
    -------
    (ny, nx) float64 ndarray
        NaN where unknown.
    """
    if after is None:
        return np.full(before.shape, np.nan)
    good = (before > 0) & (after > 0)
    return np.sqrt(np.where(good, after, np.nan) / np.where(good, before, np.nan), dtype=np.float64)
