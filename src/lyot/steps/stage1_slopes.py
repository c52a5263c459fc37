"""Jump detection and ramp fitting as drop-in replacements of the official steps, for all instruments."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot import dq
from lyot.errors import ConfigError, ReferenceFileError
from lyot.exposures.headers import DARK_BEYOND, dark_beyond_card
from lyot.params import from_step, spec_from
from lyot.ramps.depth_matching import depth_of_slopes, truncate_to_depth
from lyot.ramps.jump import all_do_not_use, detect_jumps
from lyot.ramps.jump_params import JumpParams
from lyot.ramps.options import FitLimits, FitOptions, reject_integrations
from lyot.ramps.ramp_fit import LIKELY_MIN_GROUPS, RampFitParams, fit_ramps
from lyot.ramps.slopes import GroupTimes, RampFitResult, SlopeImage
from lyot.ramps.threads import usable_threads
from lyot.steps import stage1_reference_files as references
from lyot.steps.extra_fits import add_cards, read_card
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput
from lyot.steps.official import deferred
from lyot.steps.stage1_common import first_integration_of, group_flags_of, pixel_flags_of, ramps_of, skip

with deferred("scipy.signal"):  # half a second, with scipy.stats; only the official search for jumps needs it
    from jwst.jump.jump_step import JumpStep as OfficialJumpStep
    from jwst.ramp_fitting.ramp_fit_step import RampFitStep as OfficialRampFitStep

log = logging.getLogger(__name__)

MIN_GROUPS_JUMP = 3
"""Fewest groups in a ramp for jump detection."""


class JumpStep(LyotMixin, OfficialJumpStep):  # type: ignore[misc]
    """Flag the jumps of cosmic rays by two-point differences.

    Examples
    --------
    >>> from lyot.steps import JumpStep
    >>> JumpStep(rejection_threshold=5.0).rejection_threshold
    5.0
    """

    spec = spec_from(JumpParams)

    def process(self, step_input: ModelInput) -> DataModel:
        """Set JUMP_DET in GROUPDQ.

        Parameters
        ----------
        step_input : str or RampModel
            Corrected ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        RampModel
            With flagged jumps; the step is skipped for ramps of one or two groups.
        """
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if unevenly_sampled(model):
            log.info("Unevenly sampled ramps: the official jump detection is used")
            return super().process(model)
        if model.data.shape[1] < MIN_GROUPS_JUMP:
            return skip(model, "jump", "Jump", "Cannot apply jump detection when NGROUPS<=2;")
        log.info("CR rejection threshold = %g sigma", self.rejection_threshold)
        gain, _ = references.load_gain(model, self._file(model, "gain"))
        read_noise = references.load_read_noise(model, self._file(model, "readnoise"))
        result = detect_jumps(
            ramps_of(model),
            group_flags_of(model),
            pixel_flags_of(model),
            gain=gain,
            read_noise=read_noise,
            group_time=model.meta.exposure.group_time,
            nframes=model.meta.exposure.nframes or 1,
            params=from_step(JumpParams, self),
            threads=threads_of(self),
        )
        model.groupdq, model.pixeldq = result.groupdq, result.pixeldq
        record_jumps(model, all_do_not_use(result.groupdq), result.primary, result.extended)
        model.meta.cal_step.jump = "COMPLETE"
        return model

    def _file(self, model: DataModel, kind: str) -> Any:
        file = self.get_reference_file(model, kind)
        log.info("Using %s reference file: %s", kind.upper(), file)
        return file


def record_jumps(model: DataModel, all_unused: NDArray[np.bool_], primary: int, extended: int) -> None:
    """Write the rates of cosmic rays into the model's keywords.

    Parameters
    ----------
    model : RampModel
        Exposure.
    all_unused : (nints, ngroups) bool ndarray
        Groups that are DO_NOT_USE in every pixel.
    primary, extended : int
        Numbers of jumps and of large events.
    """
    nints, ngroups = all_unused.shape
    groups = nints * ngroups - int(all_unused.sum()) - nints
    if groups >= 1:
        sub = model.meta.subarray
        pixel_time = (model.meta.exposure.group_time * groups) * (sub.ysize * sub.xsize)
        model.meta.exposure.primary_cosmic_rays = 1000 * primary / pixel_time
        model.meta.exposure.extended_emission_events = 1e6 * extended / pixel_time


def threads_of(step: Any) -> int:
    """Threads of the pipeline that a step is in; every core for a step by itself."""
    return usable_threads(step.search_attr("threads", default=0))


def unevenly_sampled(model: DataModel) -> bool:
    """Whether the groups of an exposure are unevenly spaced in time."""
    read_times = getattr(model.meta.exposure, "read_times", None)
    return read_times is not None and len(read_times) > 0


class RampFitStep(LyotMixin, OfficialRampFitStep):  # type: ignore[misc]
    """Fit a slope to each ramp."""

    spec = spec_from(RampFitParams) + spec_from(FitOptions)

    def process(self, step_input: ModelInput) -> tuple[DataModel | None, DataModel | None]:
        """Fit the ramps.

        Parameters
        ----------
        step_input : str or RampModel
            Corrected ramps (nints, ngroups, ny, nx), DN.

        Returns
        -------
        rate : ImageModel or None
            Slopes of the exposure, DN/s; None, as for `rateints`, if there is nothing to fit.
        rateints : CubeModel or None
            Slopes of each integration, DN/s.
        """
        model = self.prepare_output(step_input, open_as_type=datamodels.RampModel)
        if self.save_opt or unevenly_sampled(model) or model.meta.exposure.zero_frame:
            log.info("Optional results, zero frames and unevenly sampled ramps: the official ramp fit is used")
            return super().process(model)
        gain, factor = references.load_gain(model, self._file(model, "gain"))
        read_noise = references.load_read_noise(model, self._file(model, "readnoise"))
        if factor is not None:
            model.meta.exposure.gain_factor = factor
        params = from_step(RampFitParams, self)
        if params.algorithm == "LIKELY" and model.data.shape[1] < LIKELY_MIN_GROUPS:
            log.info("LIKELY needs %d groups at least; OLS_C is used", LIKELY_MIN_GROUPS)
        log.info("Using algorithm = %s", params.algorithm)
        limits = fit_limits(model, from_step(FitOptions, self))
        groups = limit_groups(model, limits)
        e = model.meta.exposure
        miri = str(model.meta.instrument.name).upper() == "MIRI"
        result = fit_ramps(
            ramps_of(model),
            groups,
            pixel_flags_of(model),
            gain=gain,
            read_noise=read_noise,
            times=GroupTimes(
                e.group_time, e.frame_time, nframes=e.nframes or 1, groupgap=e.groupgap or 0, drop_leading=miri
            ),
            dark=model.average_dark_current if model.hasattr("average_dark_current") else None,
            params=params,
            dropped=int(limits.drop_first),
            threads=threads_of(self),
        )
        if result is None:
            return None, None
        result = without_outliers(result, self.outlier_threshold)
        rate, rateints = slope_models(model, result)
        for product in (rate, rateints):
            complete_slopes(product)
        return (datamodels.IFUImageModel(rate) if self._is_ifu(model) else rate), rateints

    def _file(self, model: DataModel, kind: str) -> Any:
        file = self.get_reference_file(model, kind)
        log.info("Using %s reference file: %s", kind.upper(), file)
        return file

    @staticmethod
    def _is_ifu(model: DataModel) -> bool:
        lamp = model.meta.exposure.type in ("NRS_AUTOWAVE", "NRS_LAMP") and model.meta.instrument.lamp_mode == "IFU"
        return lamp or model.meta.exposure.type in ("NRS_IFU", "MIR_MRS")


def fit_limits(model: DataModel, options: FitOptions, first: int | None = None) -> FitLimits:
    """What the options of the fit mean for an exposure; reads the depth map.

    `first`: number of the first integration of the ramps, if they are not those of the model's file alone.
    """
    drop = options.drop_first_integration and (first or first_integration_of(model)) == 1
    if drop and model.meta.exposure.nints == 1:
        raise ConfigError("drop_first_integration: the exposure has only one integration; turn this parameter off.")
    depth = None if options.depth_map is None else load_depth(options.depth_map)
    return FitLimits(drop, depth, options.depth_min_groups)


def load_depth(file: str) -> NDArray[np.float32]:
    """Depth (ny, nx) float32, DN, that the exposure of a ``rate`` or ``rateints`` file reaches."""
    try:
        with datamodels.open(file) as model:
            e = model.meta.exposure
            return depth_of_slopes(np.array(model.data, np.float64), e.group_time, e.ngroups)
    except (OSError, AttributeError, TypeError) as error:
        raise ReferenceFileError(f"{file}: cannot be read as a rate product (ramp_fit.depth_map): {error}") from error


def limit_groups(model: DataModel, limits: FitLimits) -> NDArray[np.uint8]:
    """The model's group flags, with what `limits` give up marked DO_NOT_USE; a copy if anything is."""
    flags = group_flags_of(model)
    if limits.depth is not None:
        flags = truncate_to_depth(ramps_of(model), flags, limits.depth, min_groups=limits.min_groups)
    if limits.drop_first:
        flags = flags.copy()
        flags[0] |= dq.DO_NOT_USE
    return flags


def without_outliers(result: RampFitResult, threshold: float | None) -> RampFitResult:
    """Slopes with integrations that stand out given up, if a threshold is set."""
    return result if threshold is None else reject_integrations(result, threshold)


def slope_info(slopes: SlopeImage) -> dict[str, NDArray[Any]]:
    """Arrays of slopes under the names that the official products are filled from."""
    return {
        "slope": slopes.slope,
        "dq": slopes.dq,
        "var_poisson": slopes.var_poisson,
        "var_rnoise": slopes.var_rnoise,
        "err": slopes.err,
    }


def slope_models(model: DataModel, slopes: RampFitResult) -> tuple[DataModel, DataModel]:
    """The ``rate`` and ``rateints`` products of an exposure; they hold the very arrays of `slopes`.

    The official functions make empty arrays of the products' size first: as much memory again. Nor is each keyword
    checked against the schema as it is set, which takes longer than the fit of a small exposure; all are when the
    product is saved.
    """
    products = []
    for kind, image in ((datamodels.ImageModel, slopes.rate), (datamodels.CubeModel, slopes.rateints)):
        product = kind(validate_on_assignment=False)
        product.update(model)
        for name, values in slope_info(image).items():
            setattr(product, "data" if name == "slope" else name, values)
        beyond = read_card(model, DARK_BEYOND)
        if beyond:  # `update` takes over only what the schema names
            add_cards(product, [dark_beyond_card(beyond)])
        products.append(product)
    rate, rateints = products
    rateints.int_times = model.int_times
    if model.meta.exposure.ngroups == 1:
        log.warning(
            "%s: ramps with one group (NGROUPS = 1) have no slope; the values (median %.4g DN/s) include the "
            "detector offset",
            model.meta.filename, float(np.nanmedian(rate.data)) if np.isfinite(rate.data).any() else np.nan,
        )  # fmt: skip
    return rate, rateints


def complete_slopes(product: DataModel) -> None:
    """Write units and status of a slope product."""
    product.meta.bunit_data = product.meta.bunit_err = "DN/s"
    product.meta.cal_step.ramp_fit = "COMPLETE"
