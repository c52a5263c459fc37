"""Stage 2 as a pipeline: slopes to calibrated images, with background subtraction for coronagraphy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from astropy.io import fits
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot.exposures.exposure import is_coronagraphic_type
from lyot.exposures.names import segment_number
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput
from lyot.steps.official import official_pipeline
from lyot.steps.segments import group_segments
from lyot.steps.sequence_io import model_name
from lyot.steps.stage2_background import BackgroundStep, calibrate_background
from lyot.steps.stage2_bad_pixels import BadPixelStep

log = logging.getLogger(__name__)

OfficialImage2Pipeline = official_pipeline("calwebb_image2", "Image2Pipeline")

CALIBRATED = "MJy/sr"
"""Unit of calibrated data."""


class Image2Pipeline(LyotMixin, OfficialImage2Pipeline):  # type: ignore[misc, valid-type]
    """Slopes (``rateints``) to calibrated integrations (``calints``): background, WCS, flat field, flux scale.

    Examples
    --------
    >>> from lyot.steps import Image2Pipeline
    >>> sorted(Image2Pipeline.step_defs)[:3]
    ['assign_wcs', 'bad_pixels', 'bkg_subtract']
    """

    class_alias = "calwebb_image2"

    step_defs: ClassVar[dict[str, type]] = {
        **OfficialImage2Pipeline.step_defs,
        "bkg_subtract": BackgroundStep,
        "bad_pixels": BadPixelStep,
    }

    def process(self, input_data: ModelInput) -> list[DataModel]:
        """Calibrate the exposures of a level-2 association, one product each.

        Parameters
        ----------
        input_data : str, association or CubeModel
            Slopes. Segments of one exposure may be products of one association: outlying pixels are then looked for
            in all their integrations together, as in an exposure that is in one file.

        Returns
        -------
        list of CubeModel or ImageModel
            Calibrated exposures.
        """
        results: list[DataModel] = super().process(input_data)
        segments = [m for m in results if segment_number(model_name(m)) and self._looks_for_bad_pixels(m)]
        for group in group_segments(segments):
            names = [m.meta.filename for m in group]
            for model, name in zip(self.bad_pixels.run(group), names, strict=True):
                model.meta.filename = name
                results = [model if model_name(m) == name else m for m in results]
        return results

    def _looks_for_bad_pixels(self, model: DataModel) -> bool:
        return is_coronagraphic_type(model.meta.exposure.type) and not self.bad_pixels.skip

    def process_exposure_product(
        self, exp_product: Mapping[str, Any], pool_name: str = " ", asn_file: str = " "
    ) -> DataModel:
        """Calibrate one exposure: the official steps in their order, then the bad pixels (for segments: see `process`).

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
        if self._is_calibrated(exp_product):
            return self._subtract_background_alone(exp_product, pool_name, asn_file)
        model = super().process_exposure_product(exp_product, pool_name, asn_file)
        calibrate_background(model)
        if self._looks_for_bad_pixels(model) and not segment_number(exp_product["name"]):
            model = self.bad_pixels.run(model)
        return model

    @staticmethod
    def _is_calibrated(exp_product: Mapping[str, Any]) -> bool:
        """Whether the science member is a file of calibrated data already (MJy/sr)."""
        science = next(m["expname"] for m in exp_product["members"] if m["exptype"].lower() == "science")
        if isinstance(science, JwstDataModel):
            return str(science.meta.bunit_data) == CALIBRATED
        if not Path(str(science)).is_file():
            return False
        with fits.open(str(science)) as hdus:
            return "SCI" in hdus and str(hdus["SCI"].header.get("BUNIT", "")).strip() == CALIBRATED

    def _subtract_background_alone(self, exp_product: Mapping[str, Any], pool_name: str, asn_file: str) -> DataModel:
        """Subtract backgrounds from an exposure that is calibrated already, then look for bad pixels."""
        members = [(m["exptype"].lower(), m["expname"]) for m in exp_product["members"]]
        model = self.prepare_output(next(name for kind, name in members if kind == "science"))
        log.info("%s is already calibrated: only its background is subtracted", model_name(model))
        model.meta.asn.pool_name, model.meta.asn.table_name = pool_name, asn_file
        model.meta.filename = self.make_output_path(basepath=self.output_file)
        backgrounds = [name for kind, name in members if kind == "background"]
        if backgrounds:
            self.bkg_subtract.suffix = "bsubints"
            model = self.bkg_subtract.run(model, backgrounds)
            calibrate_background(model)
        if self._looks_for_bad_pixels(model) and not segment_number(exp_product["name"]):
            model = self.bad_pixels.run(model)
        return model
