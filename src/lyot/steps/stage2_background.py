"""Stage 2, background: `BackgroundStep` subtracts dedicated background exposures and reports the residual glow."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jwst.background.background_step import BackgroundStep as OfficialBackgroundStep
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from lyot import dq, geometry
from lyot.calibrate.background import (
    BackgroundExposure,
    BackgroundParams,
    BackgroundResult,
    subtract_background,
)
from lyot.calibrate.background_combine import calibration_factor, place
from lyot.calibrate.glow_sticks import GlowStrip, glow_excess, glow_strips
from lyot.errors import InputError
from lyot.exposures.exposure import is_coronagraphic_type
from lyot.params import from_step, spec_from
from lyot.stacks import nanmean
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.extra_fits import add_cards
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput
from lyot.steps.segments import group_segments, integration_numbers, integrations_of_exposure, join
from lyot.steps.sequence_io import check_same_setting, model_name, open_exposure, own_array, pixel_scale_of
from lyot.steps.stage1_common import first_integration_of
from lyot.steps.stage3_templates import ERROR_EXTENSION, NOISE_EXTENSION, attach_background, background_of
from lyot.written import in_ascii, with_error

log = logging.getLogger(__name__)


class BackgroundStep(LyotMixin, OfficialBackgroundStep):  # type: ignore[misc]
    """Subtract dedicated background exposures from a coronagraphic exposure (``bsubints``).

    With the default method the subtracted background is the official sigma-clipped mean. Unlike the official step the
    noise of the background goes into VAR_RNOISE and ERR, and the flags of the background stay out of the science,
    except where no background exposure has a good pixel (DO_NOT_USE); ``propagate_dq`` brings them back.
    Exposures that are not coronagraphic go to the official step.
    """

    class_alias = "bkg_subtract"

    spec = spec_from(
        BackgroundParams,
        extra="""
        propagate_dq = boolean(default=False)  # set the flags of the backgrounds in all integrations (official step)
        propagate_error = boolean(default=True)  # add the variance of the background to VAR_RNOISE and ERR
        keep_background = boolean(default=True)  # keep the mean background in the product, for stage 3
        report = boolean(default=True)  # write <name>_background.json with the residual of the glow sticks
        """,
    )

    def process(self, step_input: ModelInput, input_bkg_list: Any = None) -> DataModel:
        """Subtract the background.

        Parameters
        ----------
        step_input : str, association or CubeModel
            Science integrations (``rateints``).
        input_bkg_list : list of str or CubeModel, optional
            Background exposures.

        Returns
        -------
        CubeModel
            Science minus background.
        """
        model, members = self._asn_get_data(self.load_as_level2_asn(step_input))
        if not is_coronagraphic_type(model.meta.exposure.type):
            return super().process(step_input, input_bkg_list)
        names = _background_list(members["background"] or input_bkg_list or self.bkg_list)
        if not names:
            log.warning("no background exposure given; the step is skipped")
            model.meta.cal_step.bkg_subtract = "SKIPPED"
            return model
        backgrounds = _read_backgrounds(names, model)
        science = masked_cube(model)
        params = from_step(BackgroundParams, self)
        region = fit_region(model, science.shape[1:], params.exclusion_radius)
        strips = strips_of(model, science.shape[1:], params.exclusion_radius)
        result = subtract_background(
            science, backgrounds.exposures, params, fit_region=region, strips=strips,
            first_integration=first_integration_of(model), n_integrations=integrations_of_exposure(model),
        )  # fmt: skip
        self._write_back(model, result)
        if self.propagate_dq:
            _or_flags(model, backgrounds.flags)
        if self.keep_background:
            error = np.sqrt(result.image_variance) if self.propagate_error else None
            attach_background(model, result.image, error)
            note_read_noise(model)
        if self.save_combined_background:
            self.save_model(combined_background(model, result), suffix=self.bkg_suffix, force=True)
        model.meta.cal_step.bkg_subtract = "COMPLETE"
        facts = background_facts(model, result, backgrounds.names)
        facts["glow_sticks"] = glow_facts(science, result, strips)
        self._report(model, facts)
        return model

    def _write_back(self, model: DataModel, result: BackgroundResult) -> None:
        """Put the subtracted integrations, the errors and the flags into the model."""
        shape = model.data.shape
        lost = np.isnan(result.data).reshape(shape) & np.isfinite(model.data)
        model.data = result.data.reshape(shape).astype(np.float32)
        if lost.any():
            model.dq[lost] |= dq.DO_NOT_USE
        if self.propagate_error:
            added = np.nan_to_num(result.variance.astype(np.float32)).reshape(shape)
            model.err = np.sqrt(model.err**2 + added)
            if model.hasattr("var_rnoise") and np.shape(model.var_rnoise) == shape:
                model.var_rnoise = model.var_rnoise + added

    def _report(self, model: DataModel, facts: dict[str, Any]) -> None:
        """Write the facts to the log, the header and (where products are saved) a JSON file."""
        facts["method"] = self.method
        cards: list[tuple[str, Any, str]] = [
            ("BKGMETH", self.method, "Method of the background subtraction"),
            ("BKGNINT", facts["n_integrations"], "Background integrations used"),
            ("BKGFIRST", facts["first_integration_matched"], "First integration matched separately"),
        ]
        log.info("background of %d integrations subtracted (%s)", facts["n_integrations"], self.method)
        for i, strip in enumerate(facts["glow_sticks"], start=1):
            log.info(
                "glow stick %s: %s %s before, %s after", strip["name"], in_ascii(with_error(*strip["before"])),
                facts["unit"], in_ascii(with_error(*strip["after"])),
            )  # fmt: skip
            cards += [
                (f"GLOWN{i}", strip["name"], "arm of the glow sticks"),
                (f"GLOWB{i}", strip["before"][0], f"[{facts['unit']}] excess before the subtraction"),
                (f"GLOWA{i}", strip["after"][0], f"[{facts['unit']}] excess after the subtraction"),
                (f"GLOWE{i}", strip["after"][1], f"[{facts['unit']}] error of the excess after"),
            ]
        add_cards(model, cards)
        if self.report and self._is_saving():
            path = Path(self.make_output_path(basepath=model.meta.filename, suffix="background", ext=".json"))
            path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def _is_saving(self) -> bool:
        return bool(self.save_results or (self.parent is not None and self.parent.save_results))


def _background_list(given: Any) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, str):
        given = given.split(",")
    return [g for g in given if not (isinstance(g, str) and not g.strip())]


@dataclass(frozen=True)
class _Backgrounds:
    """What is used of the background exposures: names, arrays, and flags of each pixel in any integration."""

    names: list[str]
    exposures: list[BackgroundExposure]
    flags: list[NDArray[np.uint32]]


def _read_backgrounds(sources: Sequence[ModelInput], science: DataModel) -> _Backgrounds:
    """Read background exposures; each file is closed, and its arrays freed, as soon as it is read.

    Raises
    ------
    InputError
        For exposures of another filter or mask, or segments that overlap.
    """
    opened = [open_exposure(source) for source in sources]
    own = {id(model) for model, source in zip(opened, sources, strict=True) if model is not source}
    check_same_setting([science, *opened])
    groups = group_segments(opened)
    del opened  # of the models only those in `groups` are left
    found = _Backgrounds([], [], [])
    while groups:
        segments = groups.pop(0)
        joined = join(segments)
        numbers = tuple(n for segment in segments for n in integration_numbers(segment))
        found.names.append(model_name(joined))
        found.exposures.append(replace(background_exposure(joined, science), numbers=numbers))
        flags = np.asarray(joined.dq)
        found.flags.append(np.bitwise_or.reduce(flags, axis=0) if flags.ndim == 3 else flags.copy())
        for segment in segments:
            if id(segment) in own:
                segment.close()
        del joined, segment, segments, flags
    return found


def masked_cube(model: DataModel) -> NDArray[np.float32]:
    """Integrations of a slope model as (nints, ny, nx) float32, as in the file, with DO_NOT_USE as NaN."""
    data = np.array(model.data, dtype=np.float32)
    if data.ndim not in (2, 3):
        raise InputError(f"{model_name(model)}: expected slopes with 2 or 3 axes, got shape {data.shape}.")
    if np.shape(model.dq) == data.shape:
        data[(model.dq & dq.DO_NOT_USE) > 0] = np.nan
    return data if data.ndim == 3 else data[None]


def background_exposure(background: DataModel, science: DataModel) -> BackgroundExposure:
    """Read a background exposure onto the pixels of the science exposure.

    Different crops of the detector are matched by CRPIX where both frames have it, else by SUBSTRT.

    Raises
    ------
    InputError
        If the two do not overlap.
    """
    data = masked_cube(background)
    err = np.asarray(background.err, dtype=np.float64)
    err = err if err.ndim == 3 else err[None]
    variance = err**2 if err.shape == data.shape else None
    shape = (science.data.shape[-2], science.data.shape[-1])
    shift = pixel_offset(background, science)
    if shift == (0, 0) and data.shape[1:] == shape:
        return BackgroundExposure(data, variance)
    log.warning("the crop of %s differs from that of %s: shifted by (x, y) = %s", model_name(background),
                model_name(science), shift)  # fmt: skip
    placed = place(data, shape, shift)
    if not np.isfinite(placed).any():
        raise InputError(f"{model_name(background)} and {model_name(science)} show no common detector pixels.")
    return BackgroundExposure(placed, None if variance is None else place(variance, shape, shift))


def pixel_offset(background: DataModel, science: DataModel) -> tuple[int, int]:
    """Position (x, y) of the background's first pixel on the pixels of the science."""

    def difference(a: Any, b: Any) -> int | None:
        return None if a is None or b is None else round(float(a) - float(b))

    own, other = science.meta.wcsinfo, background.meta.wcsinfo
    x, y = difference(own.crpix1, other.crpix1), difference(own.crpix2, other.crpix2)
    if x is None or y is None:
        own, other = science.meta.subarray, background.meta.subarray
        x, y = difference(other.xstart, own.xstart), difference(other.ystart, own.ystart)
    return x or 0, y or 0


def star_pixel(model: DataModel) -> tuple[float, float] | None:
    """0-based position (x, y) of the star: CRPIX - 1, else the aperture's reference point; None if unknown."""
    wcs = model.meta.wcsinfo
    if wcs.crpix1 is not None and wcs.crpix2 is not None:
        return float(wcs.crpix1) - 1, float(wcs.crpix2) - 1
    known = coronagraph_of(model)
    return None if known is None else known.reference_point


def fit_region(model: DataModel, shape: tuple[int, ...], radius: float) -> NDArray[np.bool_]:
    """Pixels at least `radius` arcsec from the star: (ny, nx) bool."""
    star = star_pixel(model)
    if star is None:
        return np.ones(shape, bool)
    scale = float(np.mean(pixel_scale_of(model)))
    return np.asarray(geometry.radius_map((shape[0], shape[1]), star) * scale >= radius)


def note_read_noise(model: DataModel) -> None:
    """Put the read noise that an exposure has into its file, for `calibrate_background`."""
    noise = largest_read_variance(model)
    if noise is not None:
        model.instance["extra_fits"][NOISE_EXTENSION] = {"data": noise}


def calibrate_background(model: DataModel) -> None:
    """Bring the mean background in the file of an exposure to the unit that its data have by now.

    Flat field and photometric scale of each pixel are found from its read noise, then and now.
    """
    background, noise = background_of(model), background_of(model, NOISE_EXTENSION)
    if background is None or noise is None:
        return
    factor = calibration_factor(noise, largest_read_variance(model))
    error = background_of(model, ERROR_EXTENSION)
    attach_background(model, background * factor, None if error is None else error * factor)


def largest_read_variance(model: DataModel) -> NDArray[np.float32] | None:
    """Largest VAR_RNOISE of each pixel over the integrations: (ny, nx), 0 where unknown; None without VAR_RNOISE."""
    variance = own_array(model, "var_rnoise")
    if variance is None:
        return None
    stack = variance if variance.ndim == 3 else variance[np.newaxis]
    return np.asarray(np.nan_to_num(stack).max(axis=0), dtype=np.float32)


def _or_flags(model: DataModel, backgrounds: Sequence[NDArray[np.uint32]]) -> None:
    for flags in backgrounds:
        if flags.shape == model.dq.shape[-2:]:
            model.dq |= flags


def combined_background(model: DataModel, result: BackgroundResult) -> datamodels.ImageModel:
    """The combined background as an image (``combinedbackground``)."""
    bad = np.where(np.isfinite(result.image), 0, dq.DO_NOT_USE).astype(np.uint32)
    image = datamodels.ImageModel(
        data=result.image.astype(np.float32), err=np.sqrt(result.image_variance).astype(np.float32), dq=bad
    )
    image.update(model)
    return image


def strips_of(model: DataModel, shape: tuple[int, ...], exclusion_radius: float) -> tuple[GlowStrip, ...]:
    """The glow sticks on the pixels of an exposure; none for other instruments than MIRI."""
    known, star = coronagraph_of(model), star_pixel(model)
    if known is None or star is None:
        return ()
    return glow_strips(known, (shape[0], shape[1]), star, exclusion_radius=exclusion_radius)


def glow_facts(
    before: NDArray[np.floating], result: BackgroundResult, strips: Sequence[GlowStrip]
) -> list[dict[str, Any]]:
    """Excess of each glow stick before and after, with errors, from the means over the integrations."""
    if not strips:
        return []
    first, second = (glow_excess(nanmean(cube), strips) for cube in (before, result.data))
    return [
        {"name": a.name, "before": [a.value, a.error], "after": [b.value, b.error], "n_pixels": b.n_pixels}
        for a, b in zip(first, second, strict=True)
        if np.isfinite(a.value) and np.isfinite(b.value)
    ]


def background_facts(model: DataModel, result: BackgroundResult, names: Sequence[str]) -> dict[str, Any]:
    """What is reported about a background subtraction (the contents of the JSON beside the product)."""
    return {
        "exposure": model_name(model),
        "backgrounds": list(names),
        "unit": str(model.meta.bunit_data or "DN/s"),
        "n_integrations": result.n_integrations,
        "level": _number(np.nanmedian(result.image)),
        "scale": [_number(s) for s in result.scale],
        "offset": [_number(c) for c in result.offset],
        "glow_scale": [_number(g) for g in result.glow],
        "first_integration_matched": result.first_matched,
        "first_minus_later": [_number(result.first_difference), _number(result.first_difference_error)],
        "rejected_pixels": result.rejected_pixels,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
