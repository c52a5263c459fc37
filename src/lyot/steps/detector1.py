"""Stage 1 as a pipeline: raw ramps to slopes, with the official steps, order, parameters and products."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from lyot.params import from_step, param, spec_from
from lyot.ramps.options import RoleOptions
from lyot.steps import stage1_corrections as corrections
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput
from lyot.steps.official import official_pipeline
from lyot.steps.stage1_level1b import Level1bFile, inspect_level1b
from lyot.steps.stage1_samples import write_samples
from lyot.steps.stage1_slopes import JumpStep, RampFitStep
from lyot.steps.stage1_stream import Streamed, stream, why_not

log = logging.getLogger(__name__)

OfficialDetector1Pipeline = official_pipeline("calwebb_detector1", "Detector1Pipeline")


@dataclass(frozen=True)
class Detector1Params:
    """Parameters of the pipeline in addition to the official ones; only `segments` changes the result."""

    fuse: bool = param(True, help="process the exposure through all steps in one streaming pass if possible")
    threads: int = param(0, help="number of threads; 0: all cores", min=0)
    memory: float = param(200.0, help="memory for the ramps in process while streaming", unit="MB", min=10)
    sample_ramps: bool = param(
        False, help="also save the corrected ramps of a few pixels of one integration, while streaming"
    )
    segments: tuple[str, ...] = param(
        (), help="all files of a segmented exposure: median differences and photon noise are of the exposure"
    )


class Detector1Pipeline(LyotMixin, OfficialDetector1Pipeline):  # type: ignore[misc, valid-type]
    """Raw ramps (``uncal``) to slopes per integration (``rateints``) and per exposure (``rate``).

    When nothing asks for ramps in between, an exposure of MIRI is streamed from its file through all steps in one pass,
    in little memory; otherwise the steps run one after the other. The products are the same.

    Examples
    --------
    >>> from lyot.steps import Detector1Pipeline
    >>> pipeline = Detector1Pipeline(steps={"jump": {"rejection_threshold": 5.0}})
    >>> pipeline.jump.rejection_threshold
    5.0
    """

    spec = spec_from(Detector1Params) + spec_from(RoleOptions)

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
        "ramp_fit": RampFitStep,
        "gain_scale": corrections.GainScaleStep,
    }

    _usual_threshold: float | None = None

    def process(self, input_data: ModelInput) -> DataModel:
        """Run stage 1 on a file or a data model.

        Parameters
        ----------
        input_data : str, Path or RampModel
            Raw ramps (``uncal``), DN. Only a file can be streamed.

        Returns
        -------
        ImageModel
            The ``rate`` product, DN/s; ``rateints`` is saved besides.

        Raises
        ------
        InputError
            If the file cannot be used; nothing has been written then.
        """
        file = _level1b(input_data)
        self._apply_role(input_data)
        reason = self._why_step_by_step(file)
        if reason is None and file is not None:
            products = stream(self, file)
            if isinstance(products, Streamed):
                return self._finish(products)
            reason = products
        log.info("Stage 1 runs step by step: %s", reason)
        if self.segments:
            log.warning("Median differences and photon noise are those of this segment, not of the exposure")
        return super().process(input_data)

    def _apply_role(self, input_data: ModelInput) -> None:
        """Take the jump threshold for what the exposure is for, if one is set."""
        options = from_step(RoleOptions, self)
        if options == RoleOptions():
            return
        metadata, _ = self._get_crds_parameters(input_data)
        is_reference = bool(metadata.get("meta.exposure.psf_reference"))
        is_background = bool(metadata.get("meta.observation.bkgdtarg"))
        threshold = options.threshold(is_reference=is_reference, is_background=is_background)
        if self._usual_threshold is None:
            self._usual_threshold = self.jump.rejection_threshold
        self.jump.rejection_threshold = self._usual_threshold if threshold is None else threshold
        log.info("Jump threshold %g sigma for this type of exposure", self.jump.rejection_threshold)

    def _why_step_by_step(self, file: Level1bFile | None) -> str | None:
        if not self.fuse:
            return "fuse is off"
        return "the input is not a level-1b file" if file is None else why_not(self, file)

    def _finish(self, products: Streamed) -> DataModel:
        """Gain scale, and names of the products, as the official pipeline does."""
        self.gain_scale.suffix = "gain_scale"
        rate = self.gain_scale.run(products.rate)
        self.gain_scale.suffix = "gain_scaleints"
        with products.scratch.kept_small():
            rateints = self.gain_scale.run(products.rateints)
            saved = self.save_model(rateints, "rateints")
        if saved is not None and products.samples is not None:
            write_samples(Path(saved), products.samples)
        self.setup_output(rate)
        log.info("... ending calwebb_detector1")
        return rate


def _level1b(input_data: ModelInput) -> Level1bFile | None:
    """The file, looked at, if the input is the path of a FITS file that holds raw ramps."""
    if not isinstance(input_data, (str, Path)) or not str(input_data).endswith(".fits"):
        return None
    return inspect_level1b(input_data)
