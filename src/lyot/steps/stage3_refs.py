"""Stage 3, the references: stacked to one cube and registered to the science."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jwst.coron.align_refs_step import AlignRefsStep as OfficialAlignRefsStep
from jwst.coron.stack_refs_step import StackRefsStep as OfficialStackRefsStep
from numpy.typing import NDArray

from lyot import geometry
from lyot.errors import InputError
from lyot.params import from_step, param, spec_from
from lyot.stacks import nanmean
from lyot.steps.coronagraphs import boundary_tilt
from lyot.steps.extra_fits import add_table, read_table
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput, ModelsInput
from lyot.steps.quality import Finding, Usable, usable_frames
from lyot.steps.segments import join_segments, open_exposures
from lyot.steps.sequence_io import (
    REFERENCES_TABLE,
    STAR_TABLE,
    Frames,
    Geometry,
    as_list,
    check_same_setting,
    frames_of,
    geometry_of,
    model_name,
    open_exposure,
)
from lyot.steps.stage3_products import detector_cube, reference_table
from lyot.subtract.register import Registration, RegistrationParams, align, register
from lyot.subtract.sequence import common_windows

log = logging.getLogger(__name__)

MARGIN = 8
"""Pixels around what the registration looks at."""


class StackRefsStep(LyotMixin, OfficialStackRefsStep):  # type: ignore[misc]
    """Stack all integrations of all reference exposures into one cube (``psfstack``).

    Unlike the official step it takes exposures of different crops, and writes which exposure each plane is from.
    """

    class_alias = "stack_refs"

    def process(self, input_files: ModelsInput) -> DataModel:
        """Stack the references.

        Parameters
        ----------
        input_files : str, ModelContainer or list of CubeModel
            Reference exposures of one filter.

        Returns
        -------
        CubeModel
            All integrations, MJy/sr, (nrefs, ny, nx); metadata of the first exposure. Segments of one exposure count
            as one.
        """
        models: Sequence[DataModel] = self.prepare_output(input_files)
        if len(models) == 0:
            raise InputError("no reference exposure to stack; expected at least one member with exptype psf.")
        check_same_setting(models)
        models = join_segments(models)
        frames = [_without_unusable(usable_frames(m)) for m in models]
        windows = common_windows([f.data.shape[1:] for f in frames], [geometry_of(m).star for m in models])
        rows = [(i, model_name(models[i])) for i, f in enumerate(frames) for _ in f.data]
        parts = {
            name: [getattr(f, name)[:, *w] for f, w in zip(frames, windows, strict=True)]
            for name in ("data", "variance", "dq")
        }
        del frames  # so that each part is freed when it is stacked
        data, variance, flags = (np.concatenate(parts.pop(name)) for name in ("data", "variance", "dq"))
        result = detector_cube(models[0], data, variance, flags=flags)
        result.meta.wcsinfo.crpix1 -= windows[0][1].start
        result.meta.wcsinfo.crpix2 -= windows[0][0].start
        table = reference_table([(plane, exposure, name) for plane, (exposure, name) in enumerate(rows)])
        add_table(result, REFERENCES_TABLE, table)
        result.meta.cal_step.stack_psfs = "COMPLETE"
        log.info("stacked %d integrations of %d reference exposures", len(data), len(models))
        return result


def _without_unusable(usable: Usable) -> Frames:
    """Frames of a reference without the integrations that are left out."""
    keep = usable.quality.use
    f = usable.frames
    return f if keep.all() else Frames(f.name, f.data[keep], f.variance[keep], f.dq[keep])


@dataclass(frozen=True)
class AlignParams:
    """What is done with the measured shifts, beside `lyot.subtract.register.RegistrationParams`."""

    apply: str = param(
        "auto",
        help="shift the references to the science position: always, never, or auto (not behind a four-quadrant phase "
        "mask, where the shape of the stellar image depends on its position and a shift gives no improvement)",
        choices=("auto", "always", "never"),
    )
    fit_radius: float = param(
        4.0, help="radius around the star within which pixels are used for the registration", unit="arcsec", min=0.1
    )
    largest_shift: float = param(
        3.0, help="shift above which a reference frame is rejected; 0: none", unit="pixel", min=0.0
    )


class AlignRefsStep(LyotMixin, OfficialAlignRefsStep):  # type: ignore[misc]
    """Measure shift and brightness of each reference relative to the science, and shift them onto it (``psfalign``).

    The shifts and their errors are written to the table extension ``REFS`` of the product.
    """

    class_alias = "align_refs"

    findings: Sequence[Finding] = ()
    """References that were left out, after a run."""

    spec = spec_from(RegistrationParams) + spec_from(
        AlignParams,
        extra="""
        mode = option('lyot', 'official', default='lyot')  # registration of Lyot, or the official one
        """,
    )

    def process(self, target: ModelsInput, psf: ModelInput) -> DataModel:
        """Register the reference stack to the science.

        Parameters
        ----------
        target : str, CubeModel or list of CubeModel
            Science exposure; of several, the mean of the shifts relative to each is used.
        psf : str or CubeModel
            Reference stack (``psfstack``).

        Returns
        -------
        CubeModel
            The references as the subtraction takes them, MJy/sr, (nrefs, ny, nx).
        """
        if self.mode == "official":
            return super().process(target, psf)
        targets = open_exposures(as_list(target))
        stack = open_exposure(psf)
        shifting = self._shifting(stack)
        frames = frames_of(stack, dtype=np.float64 if shifting else np.float32)
        fits = [self._register(t, stack, frames.data) for t in targets]
        fits = self._not_astray(fits, stack, frames.data)
        shift = np.mean([f.shift for f in fits], axis=0)
        usable = np.isfinite(shift).all(axis=1)
        for plane in np.flatnonzero(~np.all([f.converged for f in fits], axis=0)):
            log.warning("registration of reference frame %d did not converge; the frame is not shifted", plane)
            usable[plane] = False
        keep = self._near_enough(read_table(stack, REFERENCES_TABLE), fits, shift)
        data, variance, flags = frames.data, frames.variance, frames.dq
        if shifting:
            moved = replace(fits[0], shift=np.where(usable[:, None], shift, 0.0))
            data = align(data, moved, pad=self.pad)
            variance = align(variance, moved, pad=self.pad, variance=True)
            variance = np.where(np.isfinite(data) & (variance > 0), variance, np.nan)
            flags = np.zeros_like(flags)
        result = detector_cube(stack, data[keep], variance[keep], flags=flags[keep])
        table = _shift_table(read_table(stack, REFERENCES_TABLE), fits, shifting, usable)[keep]
        table["PLANE"] = np.arange(len(table))
        add_table(result, REFERENCES_TABLE, table)
        star = read_table(stack, STAR_TABLE)
        if star is not None:
            add_table(result, STAR_TABLE, star)
        usable = usable & keep
        result.meta.cal_step.align_psfs = "COMPLETE"
        log.info(
            "median offset of the references from the science %.3f px (maximum %.3f px); %s",
            np.median(np.hypot(*shift[usable].T)) if usable.any() else np.nan,
            np.max(np.hypot(*shift[usable].T)) if usable.any() else np.nan,
            "shifted to the science position" if shifting else "not shifted",
        )
        return result

    def _not_astray(
        self, fits: Sequence[Registration], stack: DataModel, references: NDArray[np.floating[Any]]
    ) -> list[Registration]:
        """Registrations in which frames that look like the others of the stack are where those are.

        A companion brighter than what the mask leaves of the star attracts the fit of some frames, over many pixels.
        Among each other the references hold no companion: a frame that is near the frames that were found near the
        science is placed relative to them.
        """
        shift = np.mean([f.shift for f in fits], axis=0)
        with np.errstate(invalid="ignore"):
            near = np.hypot(*shift.T) <= (self.largest_shift or np.inf)
        lost = np.isfinite(shift).all(axis=1) & ~near
        if not near.any() or not lost.any():
            return list(fits)
        where = geometry_of(stack)
        among = self._register_to(references[near], where, references[lost], where).shift
        back = lost.copy()
        with np.errstate(invalid="ignore"):
            back[lost] = np.hypot(*among.T) <= self.largest_shift
        if not back.any():
            return list(fits)
        log.info(
            "%d reference frames were found up to %.1f px from the science, but are within %.2f px of the other "
            "references: they are placed relative to these (a bright companion can mislead the fit)",
            back.sum(), np.hypot(*shift[back].T).max(), np.hypot(*among[back[lost]].T).max(),
        )  # fmt: skip
        placed = []
        for fit in fits:
            moved = fit.shift.copy()
            moved[back] = fit.shift[near].mean(axis=0) + among[back[lost]]
            placed.append(replace(fit, shift=moved))
        return placed

    def _near_enough(
        self, planes: NDArray[Any] | None, fits: Sequence[Registration], shift: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Reference frames that are not shifted further than `largest_shift`; all, where none would be left.

        A reference star is placed behind the mask to a tenth of a pixel. A frame found pixels away is of another
        position or star, or its fit went astray: either way it does not look like the science.
        """
        findings = []
        with np.errstate(invalid="ignore"):
            distance = np.hypot(*shift.T)
            far = np.asarray(distance > self.largest_shift) if self.largest_shift > 0 else np.zeros(len(shift), bool)
        none_left = bool(far.all())
        for plane in np.flatnonzero(far):
            name = f"reference frame {plane}" if planes is None else _text(planes["FILENAME"][plane])
            action = "it is still used, as are the others" if none_left else "it is rejected"
            settled = "converged" if all(f.converged[plane] for f in fits) else "did not converge"
            text = (
                f"{name}: frame {plane} of the references is {distance[plane]:.1f} px from the science (the fit "
                f"{settled}); {action}."
            )
            log.warning("%s", text)
            findings.append(Finding("far reference", name, text, float(distance[plane])))
        self.findings = tuple(findings)
        return np.ones(len(far), bool) if none_left else ~far

    def _shifting(self, model: DataModel) -> bool:
        if self.apply != "auto":
            return bool(self.apply == "always")
        return boundary_tilt(model) is None

    def _register(self, target: DataModel, stack: DataModel, references: NDArray[np.floating[Any]]) -> Registration:
        science = usable_frames(target, dtype=np.float64).frames
        return self._register_to(science.data, geometry_of(target), references, geometry_of(stack))

    def _register_to(
        self, images: NDArray[np.floating[Any]], where: Geometry, references: NDArray[np.floating[Any]], other: Geometry
    ) -> Registration:
        """Register references to the mean of some images, by the pixels near the star."""
        a, b = common_windows([images.shape[1:], references.shape[1:]], [where.star, other.star])
        params = from_step(RegistrationParams, self)
        reach = self.fit_radius / float(np.min(where.pixel_scale)) + params.max_shift + MARGIN
        a, b = _near(a, where.star, reach), _near(b, other.star, reach)
        image = nanmean(images[:, a[0], a[1]])
        center = (where.star[0] - a[1].start, where.star[1] - a[0].start)
        radius = geometry.radius_map((image.shape[0], image.shape[1]), center) * float(np.mean(where.pixel_scale))
        weight = (radius <= self.fit_radius).astype(float)
        return register(references[:, b[0], b[1]], image, weight=weight, params=params)


def _text(value: Any) -> str:
    return (value.decode() if isinstance(value, bytes) else str(value)).strip()


def _near(window: tuple[slice, slice], star: tuple[float, float], reach: float) -> tuple[slice, slice]:
    """Part of a window (y, x) that is within `reach` pixels of the star in both directions, the same for any crop."""
    y, x = (
        slice(max(part.start, round(at) - int(reach)), min(part.stop, round(at) + int(reach) + 1))
        for part, at in zip(window, star[::-1], strict=True)
    )
    return y, x


def _shift_table(
    planes: NDArray[Any] | None, fits: Sequence[Registration], shifted: bool, usable: NDArray[np.bool_]
) -> NDArray[Any]:
    """Table of the reference planes with their measured shifts (pixels), brightness ratio and errors."""
    n = len(usable)
    rows = np.zeros(n, dtype=[*_plane_columns(planes), *((name, "f8") for name in _SHIFT_COLUMNS), ("APPLIED", "?")])
    rows["PLANE"], rows["EXPOSURE"] = np.arange(n), np.arange(n)
    if planes is not None and len(planes) == n:
        for name in ("EXPOSURE", "FILENAME"):
            rows[name] = planes[name]
    shift = np.mean([f.shift for f in fits], axis=0)
    error = np.sqrt(np.mean([f.uncertainty**2 for f in fits], axis=0) / len(fits))
    rows["DX"], rows["DY"] = shift.T
    rows["SCALE"] = np.mean([f.scale for f in fits], axis=0)
    rows["E_DX"], rows["E_DY"], rows["E_SCALE"] = error.T
    rows["APPLIED"] = shifted & usable
    return rows


_SHIFT_COLUMNS = ("DX", "DY", "SCALE", "E_DX", "E_DY", "E_SCALE")


def _plane_columns(planes: NDArray[Any] | None) -> list[tuple[str, str]]:
    width = 1 if planes is None else planes["FILENAME"].dtype.itemsize
    return [("PLANE", "i4"), ("EXPOSURE", "i4"), ("FILENAME", f"S{width}")]
