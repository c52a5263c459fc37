"""The stage 1 steps before jump detection, as drop-in replacements of the official ones.

Parameters, keywords, suffixes and results are those of jwst 3.0; the arithmetic is that of `lyot.ramps`. Exposures that
`lyot.ramps` is not made for (see `is_plain_miri`) go to the official algorithm.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jwst.dark_current.dark_current_step import DarkCurrentStep as OfficialDarkCurrentStep
from jwst.dq_init.dq_init_step import DQInitStep as OfficialDQInitStep
from jwst.firstframe.firstframe_step import FirstFrameStep as OfficialFirstFrameStep
from jwst.gain_scale.gain_scale_step import GainScaleStep as OfficialGainScaleStep
from jwst.lastframe.lastframe_step import LastFrameStep as OfficialLastFrameStep
from jwst.linearity.linearity_step import LinearityStep as OfficialLinearityStep
from jwst.reset.reset_step import ResetStep as OfficialResetStep
from jwst.rscd.rscd_step import RscdStep as OfficialRscdStep
from jwst.saturation.saturation_step import SaturationStep as OfficialSaturationStep
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot.exposures.headers import dark_beyond_card
from lyot.params import from_step, spec_from
from lyot.ramps.dark import DarkReference, GroupTiming, match_dark, subtract_dark
from lyot.ramps.dq_init import Flags, initialize_flags
from lyot.ramps.firstlast import MIN_GROUPS_FIRST, MIN_GROUPS_LAST, FirstFrameParams, flag_first_group, flag_last_group
from lyot.ramps.gain_scale import scale_slopes
from lyot.ramps.linearity import linearize
from lyot.ramps.options import DarkOptions, RscdOptions
from lyot.ramps.reset import subtract_reset
from lyot.ramps.rscd import MIN_GROUPS, RscdTally, flag_rscd, integration_skips, rscd_skips
from lyot.ramps.saturation import SaturationParams, flag_saturation
from lyot.steps import stage1_reference_files as references
from lyot.steps.extra_fits import add_cards
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput
from lyot.steps.official import deferred
from lyot.steps.stage1_common import (
    first_integration_of,
    group_flags_of,
    is_plain_miri,
    pixel_flags_of,
    ramps_of,
    skip,
)

with deferred("jwst.refpix.reference_pixels", "jwst.refpix.irs2_subtract_reference"):  # half a second, with scipy.stats
    from jwst.refpix.refpix_step import RefPixStep as OfficialRefPixStep

log = logging.getLogger(__name__)


class DQInitStep(LyotMixin, OfficialDQInitStep):  # type: ignore[misc]
    """Put the bad-pixel mask into the flags."""

    def process(self, step_input: ModelInput) -> DataModel:
        """Add the mask reference to PIXELDQ, and its DO_NOT_USE to GROUPDQ.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            With the flags of the bad-pixel mask.
        """
        model = self.prepare_output(step_input, open_as_ramp=True)
        if not is_plain_miri(model):
            return super().process(model)
        file = self.get_reference_file(model, "mask")
        log.info("Using MASK reference file %s", file)
        if file == "N/A":
            return skip(model, "dq_init", "DQ initialization", "No MASK reference file found")
        mask = references.load_mask(model, file, self.user_supplied_dq)
        flags = Flags(pixel_flags_of(model), group_flags_of(model))
        initialize_flags(flags.pixel_dq, flags.group_dq, mask, out=flags)
        model.meta.cal_step.dq_init = "COMPLETE"
        return model


class SaturationStep(LyotMixin, OfficialSaturationStep):  # type: ignore[misc]
    """Flag saturated groups, their neighbors, and groups at the A/D floor.

    Examples
    --------
    >>> from lyot.steps import SaturationStep
    >>> SaturationStep(n_pix_grow_sat=2).n_pix_grow_sat
    2
    """

    spec = spec_from(SaturationParams)

    def process(self, step_input: ModelInput) -> DataModel:
        """Flag GROUPDQ with SATURATED, AD_FLOOR and DO_NOT_USE.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            With flagged groups.
        """
        model = self.prepare_output(step_input, open_as_ramp=True)
        if not is_plain_miri(model):
            return super().process(model)
        file = self.get_reference_file(model, "saturation")
        bias = self.get_reference_file(model, "superbias")
        log.info("Using SATURATION reference file %s", file)
        log.info("Using SUPERBIAS reference file %s", bias)
        if file == "N/A":
            return skip(model, "saturation", "Saturation", "No SATURATION reference file found")
        reference = references.load_saturation(model, file)
        groups = group_flags_of(model)
        result = flag_saturation(ramps_of(model), groups, reference, from_step(SaturationParams, self), out=groups)
        log.info("Detected %i saturated pixels", result.n_saturated)
        log.info("Detected %i A/D floor pixels", result.n_floor)
        model.pixeldq = pixel_flags_of(model) | reference.dq
        model.meta.cal_step.saturation = "COMPLETE"
        return model


class FirstFrameStep(LyotMixin, OfficialFirstFrameStep):  # type: ignore[misc]
    """Flag the first group (deprecated, skipped by default: RSCD does it)."""

    spec = spec_from(FirstFrameParams)

    def process(self, step_input: ModelInput) -> DataModel:
        """Set DO_NOT_USE in the first group of each ramp.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            With flagged groups; the step is skipped for ramps of too few groups.
        """
        message = (
            "'FirstFrameStep' has been deprecated since 2.0.0 and will be removed in a future release. "
            "Flagging the first group has been added to the RSCD step."
        )
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        log.warning(message)
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if not model.meta.instrument.detector.upper().startswith("MIR"):
            return skip(model, "firstframe", "First frame", "First Frame Correction is only for MIRI data")
        if model.data.shape[1] < MIN_GROUPS_FIRST:
            return skip(model, "firstframe", "First frame", "Too few groups to apply correction")
        flags = Flags(pixel_flags_of(model), group_flags_of(model))
        flag_first_group(flags.pixel_dq, flags.group_dq, from_step(FirstFrameParams, self), out=flags)
        model.meta.cal_step.firstframe = "COMPLETE"
        return model


class LastFrameStep(LyotMixin, OfficialLastFrameStep):  # type: ignore[misc]
    """Flag the last group."""

    def process(self, step_input: ModelInput) -> DataModel:
        """Set DO_NOT_USE in the last group of each ramp.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            With flagged groups; the step is skipped for ramps of too few groups.
        """
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if not model.meta.instrument.detector.upper().startswith("MIR"):
            return skip(model, "lastframe", "Last frame", "Last Frame Correction is only for MIRI data")
        if model.data.shape[1] < MIN_GROUPS_LAST:
            return skip(model, "lastframe", "Last frame", "Too few groups to apply correction")
        groups = group_flags_of(model)
        flag_last_group(groups, out=groups)
        model.meta.cal_step.lastframe = "COMPLETE"
        return model


class ResetStep(LyotMixin, OfficialResetStep):  # type: ignore[misc]
    """Subtract the reset anomaly."""

    def process(self, step_input: ModelInput) -> DataModel:
        """Subtract the reset reference from the first groups.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            Without the reset anomaly.
        """
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if not is_plain_miri(model):
            return super().process(model)
        file = self.get_reference_file(model, "reset")
        log.info("Using RESET reference file %s", file)
        if file == "N/A":
            return skip(model, "reset", "Reset", "No RESET reference file found")
        reference = references.load_reset(model, file)
        ramps = ramps_of(model)
        subtract_reset(ramps, reference, first_integration=first_integration_of(model), out=ramps)
        model.pixeldq = pixel_flags_of(model) | reference.dq
        model.meta.cal_step.reset = "COMPLETE"
        return model


class LinearityStep(LyotMixin, OfficialLinearityStep):  # type: ignore[misc]
    """Correct the non-linear response."""

    def process(self, step_input: ModelInput) -> DataModel:
        """Apply each pixel's polynomial to its unsaturated groups.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            Linear ramps.
        """
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if not is_plain_miri(model):
            return super().process(model)
        file = self.get_reference_file(model, "linearity")
        log.info("Using Linearity reference file %s", file)
        if file == "N/A":
            return skip(model, "linearity", "Linearity", "No Linearity reference file found")
        reference = references.load_linearity(model, file)
        ramps = ramps_of(model)
        linearize(ramps, group_flags_of(model), reference, out=ramps)
        model.pixeldq = pixel_flags_of(model) | reference.dq
        model.meta.cal_step.linearity = "COMPLETE"
        return model


class RscdStep(LyotMixin, OfficialRscdStep):  # type: ignore[misc]
    """Flag the first groups of an integration, which are affected by the reset, DO_NOT_USE.

    Examples
    --------
    >>> from lyot.steps import RscdStep
    >>> RscdStep().class_alias
    'rscd'
    """

    spec = spec_from(RscdOptions)

    def process(self, step_input: ModelInput) -> DataModel:
        """Set DO_NOT_USE in the first groups, fewer where a pixel saturates early.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            With flagged groups.
        """
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if not is_plain_miri(model):
            return super().process(model)
        file = self.get_reference_file(model, "rscd")
        log.info("Using RSCD reference file %s", file)
        if file == "N/A":
            return skip(model, "rscd", "RSCD", "No RSCD reference file found")
        skips = rscd_plan(model, self, file, model.data.shape[0])
        if skips is None:
            return model
        flags = Flags(pixel_flags_of(model), group_flags_of(model))
        first = first_integration_of(model)
        result = flag_rscd(flags.pixel_dq, flags.group_dq, skips, first_integration=first, out=flags)
        record_rscd(model, result.first, result.later)
        return model


def rscd_plan(model: DataModel, step: Any, file: str | Path, n_integrations: int, first: int | None = None) -> Any:
    """Groups to flag in each integration, or None, with the step marked skipped and the reason logged.

    `first`: number of the first integration, if it is not that of the model's file.
    """
    exposure = model.meta.exposure
    skips = references.load_rscd(model, file)
    if skips is None:
        skip(model, "rscd", "RSCD", "READPATT, SUBARRAY combination not found in ref file")
        return None
    if exposure.ngroups < MIN_GROUPS:
        skip(model, "rscd", "RSCD", "Too few groups to apply RSCD correction")
        return None
    log.info("# groups from RSCD reference file for int 1 to flag: %d", skips[0])
    log.info("# groups from RSCD reference file for int 2 and higher to flag: %d", skips[1])
    extra = from_step(RscdOptions, step).extra_groups
    if extra:
        log.info("%d additional groups are set to DO_NOT_USE (extra_groups)", extra)
        skips = (max(skips[0], 1) + extra, skips[1] + extra)
    limited = rscd_skips(*skips, exposure.ngroups, exposure.nints)
    return integration_skips(
        limited,
        n_integrations,
        first_integration=first or first_integration_of(model),
        exposure_integrations=exposure.nints,
    )


def record_rscd(model: DataModel, first: RscdTally | None, later: RscdTally | None) -> None:
    """Write the tallies of RSCD, for the first and the later integrations, into the model's keywords."""
    for tally, which in ((first, "int1"), (later, "int2p")):
        if tally is None or (which == "int2p" and model.meta.exposure.nints <= 1):
            continue
        log.info("Number of usable bright pixels with rscd flag groups not set to DO_NOT_USE: %d", tally.n_lowered)
        setattr(model.meta.rscd, f"keep_bright_firstgroup_{which}", tally.n_none)
        setattr(model.meta.rscd, f"keep_groups_saturation_{which}", tally.n_lowered)
        setattr(model.meta.rscd, f"ngroups_skip_{which}", tally.skip)
    model.meta.cal_step.rscd = "COMPLETE"


class DarkCurrentStep(LyotMixin, OfficialDarkCurrentStep):  # type: ignore[misc]
    """Subtract the dark ramp."""

    spec = spec_from(DarkOptions)

    def process(self, step_input: ModelInput) -> DataModel:
        """Subtract the dark, matched to the exposure's groups; save it if `dark_output` names a file.

        Parameters
        ----------
        step_input : str or RampModel
            Ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            Without the dark.
        """
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if str(model.meta.instrument.name).upper() != "MIRI":
            return super().process(model)
        file = self.get_reference_file(model, "dark")
        log.info("Using DARK reference file %s", file)
        if file == "N/A":
            return skip(model, "dark_sub", "Dark current", "No DARK reference file found")
        with references.opened("dark", file, datamodels.DarkMIRIModel) as dark_model:
            model.average_dark_current = average_dark_current(self, dark_model, model.data.shape[-2:])
            dark = self.matched_dark(model, dark_model, model.data.shape[1])
            if dark is not None and self.dark_output is not None:
                self.save_dark(dark, dark_model)
        if dark is None:
            return model
        ramps = ramps_of(model)
        subtract_dark(ramps, dark, first_integration=first_integration_of(model), out=ramps)
        model.pixeldq = pixel_flags_of(model) | dark.dq
        model.meta.cal_step.dark_sub = "COMPLETE"
        return model

    def matched_dark(self, model: DataModel, dark_model: DataModel, n_groups: int) -> DarkReference | None:
        """Match the dark to the groups of an exposure.

        Parameters
        ----------
        model : RampModel
            The exposure.
        dark_model : DarkMIRIModel
            The reference.
        n_groups : int
            Of the exposure.

        Returns
        -------
        DarkReference or None
            None if the groups do not match; the step is then marked as skipped.
        """
        timing = GroupTiming(model.meta.exposure.nframes or 1, model.meta.exposure.groupgap or 0)
        dark = references.dark_of(model, dark_model)
        matched = match_dark(dark, n_groups, timing, extrapolation=self.extrapolation)
        beyond = timing.frames(n_groups) - dark.timing.frames(dark.data.shape[1])
        if beyond > 0 and matched is not None:
            add_cards(model, [dark_beyond_card(beyond)])
        if matched is None:
            reason = "The dark's groups hold more frames (NFRAMES, GROUPGAP) than the exposure's."
            skip(model, "dark_sub", "Dark current", reason)
        return matched

    def save_dark(self, dark: DarkReference, dark_model: DataModel) -> None:
        """Write the subtracted dark to the file given by `dark_output`.

        Parameters
        ----------
        dark : DarkReference
            As subtracted.
        dark_model : DarkMIRIModel
            The reference, for its keywords.
        """
        out = datamodels.DarkMIRIModel(data=dark.data.astype(np.float32))
        out.update(dark_model)
        out.dq = np.broadcast_to(dark.dq, (dark.data.shape[0], 1, *dark.dq.shape)).copy()
        out.meta.exposure.nframes = dark.timing.nframes
        out.meta.exposure.ngroups = dark.data.shape[1]
        out.meta.exposure.groupgap = dark.timing.groupgap
        out.save(self.make_output_path(basepath=self.dark_output, suffix=False))
        out.close()


def average_dark_current(step: Any, dark_model: DataModel, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Mean dark current (ny, nx) float32, electrons/s, for the photon noise of the fit.

    From the step's parameter, else from the dark's image, else from its keyword, else zero.
    """
    if step.average_dark_current is not None:
        log.info("Using Poisson noise from average dark current %s e-/sec", step.average_dark_current)
        return np.full(shape, step.average_dark_current, np.float32)
    image = dark_model.average_dark_current
    if image is None or np.sum(image) == 0.0:
        return np.full(shape, dark_model.meta.exposure.average_dark_current or 0.0, np.float32)
    if image.shape != tuple(shape):
        log.warning("DarkModel average_dark_current does not match shape of data.")
        log.warning("Dark current from reference file cannot be applied.")
        return np.zeros(shape, np.float32)
    return references.native(image, np.float32)


class RefPixStep(LyotMixin, OfficialRefPixStep):  # type: ignore[misc]
    """Reference pixels: the official step, which leaves subarrays alone."""


class GainScaleStep(LyotMixin, OfficialGainScaleStep):  # type: ignore[misc]
    """Scale slopes taken with a non-standard gain setting."""

    def process(self, step_input: ModelInput) -> DataModel:
        """Multiply slopes and errors by the gain factor, if there is one.

        Parameters
        ----------
        step_input : str, ImageModel or CubeModel
            Slopes (ny, nx) or (nints, ny, nx), DN/s.

        Returns
        -------
        ImageModel or CubeModel
            Rescaled; the step is skipped where there is no factor.
        """
        model = self.prepare_output(step_input)
        factor = model.meta.exposure.gain_factor
        if factor is None:
            file = self.get_reference_file(model, "gain")
            if file != "N/A":
                log.info("Using GAIN reference file: %s", file)
                with references.opened("gain", file, datamodels.GainModel) as gain_model:
                    factor = gain_model.meta.exposure.gain_factor
        if factor is None:
            log.info("GAINFACT not found in gain reference file")
            log.info("Step will be skipped")
            model.meta.cal_step.gain_scale = "SKIPPED"
            return model
        log.info("Rescaling by %s", factor)
        scaled = scale_slopes(model.data, model.err, model.var_poisson, model.var_rnoise, factor)
        model.data, model.err = scaled.slope, scaled.error
        model.var_poisson, model.var_rnoise = scaled.variance_poisson, scaled.variance_read
        model.meta.exposure.gain_factor = factor
        model.meta.cal_step.gain_scale = "COMPLETE"
        return model
