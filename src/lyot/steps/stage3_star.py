"""Stage 3, where the star is behind the mask: `LocateStarStep`.

The position is kept as an offset from the mask's reference point (CRPIX - 1) for each science exposure, in a table of
the reference stack (``STARPOS``), from which everything that builds a sequence of these exposures takes it: the
subtraction, and later the measurements.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jwst.stpipe import Step
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot import geometry
from lyot.errors import ConfigError, InputError, LyotError
from lyot.instrument import Coronagraph
from lyot.measure.systematics import STAR_CENTER
from lyot.params import from_step, param, spec_from
from lyot.steps.acquisition import acquisition_for, offset_from_acquisition, open_acquisition
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.extra_fits import Card, add_table, read_table
from lyot.steps.mixin import LyotMixin
from lyot.steps.quality import usable_frames
from lyot.steps.segments import open_exposures
from lyot.steps.sequence_io import STAR_TABLE, build_sequence, geometry_of, model_name, open_exposure
from lyot.steps.stage3_refs import REFERENCES_TABLE
from lyot.subtract.sequence import mean_by_group
from lyot.subtract.star_position import StarFit, StarFitParams, fit_star

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

REFERENCE_ERROR = 1e3 * STAR_CENTER
"""Error of the reference point as the star's position, per axis, mas."""

WAYS = ("reference", "acquisition", "model", "auto")
KEYWORDS = {"reference": "CRPIX", "acquisition": "ACQUISITION", "model": "MODEL", "given": "GIVEN"}
"""What STARFROM says."""


@dataclass(frozen=True)
class StarPositionParams:
    """Where the star is taken to be."""

    position: str = param(
        "reference",
        help="star behind the mask: at the mask's reference point, from target acquisition, from the fit of the model "
        "of the optics, auto (model, else acquisition, else reference), or x,y in 0-based pixels of the first exposure",
    )
    acquisition: tuple[str, ...] = param((), help="target-acquisition images (FITS), any order")
    reference_error: float = param(
        REFERENCE_ERROR, help="error of the reference point as the star's position, per axis", unit="mas", min=0.0
    )
    acquisition_error: float = param(
        10.0,
        help="error of a position from target acquisition beside the centroid's: pointing, distortion, filter's shift",
        unit="mas",
        min=0.0,
    )
    n_modes: int = param(55, help="modes of the wavefront in the fit of the model", min=0, max=69)

    def given(self) -> tuple[float, float] | None:
        """The position if it is two numbers.

        Raises
        ------
        ConfigError
            If it is neither a known word nor two numbers.
        """
        if self.position in WAYS:
            return None
        try:
            x, y = (float(v) for v in self.position.split(","))
        except ValueError:
            x = y = np.nan
        if not np.isfinite(x + y):
            raise ConfigError(
                f'locate_star.position: expected {", ".join(WAYS)}, or "x,y" in pixels; got {self.position!r}.'
            )
        return x, y


@dataclass(frozen=True)
class StarPosition:
    """Where the star is in each science exposure.

    Attributes
    ----------
    offset : (n, 2) float64 ndarray
        (dx, dy) from the mask's reference point along the detector's axes, mas.
    error : (n, 2) float64 ndarray
        One sigma, mas.
    source : str
        reference, acquisition, model or given.
    note : str
        Why it is not what was asked for; empty if it is.
    """

    offset: FloatArray
    error: FloatArray
    source: str
    note: str = ""

    def of(self, exposure: int) -> StarPosition:
        """The position in one exposure."""
        return replace(self, offset=self.offset[[exposure]], error=self.error[[exposure]])

    def cards(self) -> list[Card]:
        """FITS cards of a product: the mean over the exposures, and the largest error, as most of it is common."""
        offset, error = self.offset.mean(axis=0), self.error.max(axis=0)
        cards: list[Card] = [
            ("STARFROM", KEYWORDS[self.source], "Star's place: mask's CRPIX, ACQUISITION, MODEL or GIVEN"),
            ("STARDX", round(float(offset[0]), 3), "[mas] star from mask reference point, detector x"),
            ("STARDY", round(float(offset[1]), 3), "[mas] star from mask reference point, detector y"),
            ("STARERRX", round(float(error[0]), 3), "[mas] error of STARDX"),
            ("STARERRY", round(float(error[1]), 3), "[mas] error of STARDY"),
        ]
        note = " ".join(self.note.encode("ascii", "replace").decode().split())  # a path may hold any letter
        return cards + ([("STARNOTE", note[:68], "")] if note else [])


FARTHEST_GIVEN = 2.0
"""A position given farther than this from the mask's reference point is taken for a mistake, arcsec."""


def at_reference_point(n: int, *, error: float = REFERENCE_ERROR, note: str = "") -> StarPosition:
    """The star at the mask's reference point in `n` exposures."""
    return StarPosition(np.zeros((n, 2)), np.full((n, 2), error), "reference", note)


class LocateStarStep(LyotMixin, Step):  # type: ignore[misc]
    """Find the star behind the mask, and write it into the table ``STARPOS`` of the reference stack."""

    class_alias = "locate_star"

    spec = spec_from(StarPositionParams)

    found: StarPosition | None = None
    """The position, after a run."""

    def process(self, targets: Any, stack: Any) -> JwstDataModel | None:
        """Find the star.

        Parameters
        ----------
        targets : list of CubeModel
            Science exposures, calibrated.
        stack : CubeModel or None
            References as they were taken, not registered.

        Returns
        -------
        CubeModel or None
            The stack.
        """
        models = open_exposures(targets)
        references = None if stack is None else open_exposure(stack)
        self.found = locate_star(models, references, from_step(StarPositionParams, self))
        return references


def locate_star(
    targets: Sequence[JwstDataModel], stack: JwstDataModel | None, params: StarPositionParams
) -> StarPosition:
    """Star position in science exposures; falls back to the reference point, and says why.

    Parameters
    ----------
    targets : sequence of CubeModel
    stack : CubeModel or None
        References, for the fit of the model.
    params : StarPositionParams

    Raises
    ------
    ConfigError
        If the parameters make no sense.
    """
    note_offsets(targets)
    given = params.given()
    if given is not None:
        where = geometry_of(targets[0])
        scale = np.array(where.pixel_scale)
        offset = 1e3 * (np.array(given) - np.array(where.star)) * scale
        if np.hypot(*offset) > 1e3 * FARTHEST_GIVEN:
            raise ConfigError(
                f"locate_star.position: {params.position} is {1e-3 * np.hypot(*offset):.1f} arcsec from the mask's "
                f"reference point at {where.star[0]:.1f},{where.star[1]:.1f}; expected a star behind the mask."
            )
        found = StarPosition(np.tile(offset, (len(targets), 1)), np.zeros((len(targets), 2)), "given")
    else:
        found = _by(targets, stack, params)
    for model, offset, error in zip(targets, found.offset, found.error, strict=True):
        log.info("%s: star from %s, (%.1f, %.1f) +- (%.1f, %.1f) mas from the mask's reference point",
                 model_name(model), found.source, *offset, *error)  # fmt: skip
    return found


def _by(targets: Sequence[JwstDataModel], stack: JwstDataModel | None, params: StarPositionParams) -> StarPosition:
    ways = {"reference": (), "acquisition": ("acquisition",), "model": ("model",), "auto": ("model", "acquisition")}
    reasons = []
    for way in ways[params.position]:
        try:
            return _from_model(targets, stack, params) if way == "model" else _from_acquisition(targets, params)
        except ConfigError:
            raise
        except LyotError as error:
            reasons.append(f"{way}: {str(error).rstrip('.')}")
    n = len(targets)
    note = "; ".join(reasons)
    if note:
        level = logging.INFO if params.position == "auto" else logging.WARNING
        log.log(level, "the star is taken to be at the mask's reference point (%s)", note)
    return at_reference_point(n, error=params.reference_error, note=note)


def _coronagraph(model: JwstDataModel) -> Coronagraph:
    known = coronagraph_of(model)
    if known is None:
        raise InputError("there is a model of MIRI's coronagraphs only.")
    return known


def _from_acquisition(targets: Sequence[JwstDataModel], params: StarPositionParams) -> StarPosition:
    if not params.acquisition:
        raise InputError("no target-acquisition images were given.")
    images = [open_acquisition(path) for path in params.acquisition]
    offsets, errors = [], []
    for model in targets:
        header = _header(model)
        image = acquisition_for(images, header)
        if image is None:
            raise InputError(f"{model_name(model)}: no acquisition image (MIR_TACQ) of its visit was given.")
        offset, error = offset_from_acquisition(image, header, _coronagraph(model))
        if np.hypot(*offset) > 1.0:
            raise InputError(
                f"{image.name}: its star would be {np.hypot(*offset):.1f} arcsec off the mask; check the pointing."
            )
        offsets.append(1e3 * offset)
        errors.append(np.full(2, np.hypot(1e3 * error, params.acquisition_error)))
    return StarPosition(np.array(offsets), np.array(errors), "acquisition")


def _header(model: JwstDataModel) -> dict[str, Any]:
    """The keywords of an exposure that its acquisition is matched and compared with."""
    wcs, sub, obs = model.meta.wcsinfo, model.meta.subarray, model.meta.observation
    return {
        "RA_REF": wcs.ra_ref, "DEC_REF": wcs.dec_ref, "ROLL_REF": wcs.roll_ref, "V2_REF": wcs.v2_ref,
        "V3_REF": wcs.v3_ref, "V3I_YANG": wcs.v3yangle, "SUBSTRT1": sub.xstart, "SUBSTRT2": sub.ystart,
        "PROGRAM": obs.program_number, "OBSERVTN": obs.observation_number, "VISIT": obs.visit_number,
        "EXPSTART": model.meta.exposure.start_time,
    }  # fmt: skip


def _from_model(
    targets: Sequence[JwstDataModel], stack: JwstDataModel | None, params: StarPositionParams
) -> StarPosition:
    fit = fit_exposures(targets, stack, n_modes=params.n_modes)
    if not fit.believed:
        raise InputError(f"{fit.reason}.")
    n = len(targets)
    return StarPosition(fit.offset[:n], fit.error[:n], "model")


def fit_exposures(
    targets: Sequence[JwstDataModel],
    stack: JwstDataModel | None,
    *,
    n_modes: int = 55,
    params: StarFitParams | None = None,
) -> StarFit:
    """Fit the model of the optics to science exposures and, where there are any, references.

    Raises
    ------
    InputError
        Where there is no model, or behind the Lyot spot, which hides the star.
    """
    from lyot.optics import CoronagraphModel, OpticsParams
    from lyot.optics.small_errors import small_errors, wavefront_modes

    p = params or StarFitParams()
    known = _coronagraph(targets[0])
    if known.kind != "4QPM":
        raise InputError("the Lyot spot hides the star.")
    used = [usable_frames(t).frames for t in targets]
    sequence = build_sequence(targets, [] if stack is None else [stack], frames=used).sequence
    center = sequence.mask_center
    assert center is not None and sequence.references is not None and sequence.reference_exposure is not None
    dx, dy = geometry.offset_grid(sequence.shape, center)
    dx, dy = dx * known.pixel_scale[0], dy * known.pixel_scale[1]
    near = np.hypot(dx, dy) < p.radius
    table = None if stack is None else read_table(stack, REFERENCES_TABLE)
    usable = table is not None and len(table) == sequence.n_references
    group = np.asarray(table["EXPOSURE"], np.intp) if usable and table is not None else sequence.reference_exposure
    _, group = np.unique(group, return_inverse=True)
    cubes = [(sequence.science, sequence.science_variance, sequence.exposure, sequence.n_exposures)]
    if sequence.n_references:
        cubes.append((sequence.references, sequence.reference_variance, group, int(group.max()) + 1))
    frames = np.concatenate([mean_by_group(data[:, near][:, None], g, n)[:, 0] for data, _, g, n in cubes])
    known_noise = all(v is not None for _, v, _, _ in cubes)
    variance = (
        np.concatenate([mean_by_group(v[:, near][:, None], g, n, variance=True)[:, 0]
                        for _, v, g, n in cubes if v is not None])
        if known_noise else None
    )  # fmt: skip
    model = CoronagraphModel.build(known, OpticsParams(n_wavelengths=3))
    modes = wavefront_modes(n=n_modes, npix=model.params.pupil_pixels) if n_modes else []
    fields = small_errors(model, (dx[near], dy[near]), modes)
    background = None if sequence.templates is None else sequence.templates[0][near]
    return fit_star(frames, fields, variance=variance, background=background, params=p)


def note_offsets(targets: Sequence[JwstDataModel]) -> None:
    """Say in the log what is done about offsets commanded in XOFFSET and YOFFSET: nothing, on purpose.

    Before 2022-11-16 they moved the star onto the mask, whose place in the instrument's aperture file was not yet
    right. The star was behind the mask then as it is now.
    """
    for model in targets:
        x, y = commanded_offset(model)
        if max(abs(x), abs(y)) > 1e-3:
            log.info("%s: XOFFSET, YOFFSET = %.3f, %.3f arcsec put the star onto the mask and are not applied again",
                     model_name(model), x, y)  # fmt: skip


def commanded_offset(model: JwstDataModel) -> tuple[float, float]:
    """XOFFSET and YOFFSET of an exposure, arcsec; 0 where it has none."""
    dither = model.meta.dither
    return float(dither.x_offset or 0.0), float(dither.y_offset or 0.0)


def star_table(targets: Sequence[JwstDataModel], found: StarPosition) -> NDArray[Any]:
    """The position as a table: file, offset and error (mas) and where it comes from, a row for each exposure."""
    names = [model_name(m) for m in targets]
    width = max(map(len, names))
    rows = [
        (name, *offset, *error, KEYWORDS[found.source])
        for name, offset, error in zip(names, found.offset, found.error, strict=True)
    ]
    columns = [("FILENAME", f"S{width}"), ("DX", "f8"), ("DY", "f8"), ("DXERR", "f8"), ("DYERR", "f8"), ("FROM", "S12")]
    return np.array(rows, dtype=columns)


def keep_star(stack: JwstDataModel | None, targets: Sequence[JwstDataModel], found: StarPosition) -> StarPosition:
    """Write the position into the reference stack, and return the one that the reduction uses.

    Without references there is nothing to keep it in for later measurements: it is then the reference point.
    """
    if stack is not None:
        add_table(stack, STAR_TABLE, star_table(targets, found))
        return found
    if found.source == "reference":
        return found
    note = f"{found.source}: there are no references to keep the position with"
    log.warning("the star is taken to be at the mask's reference point (%s)", note)
    return at_reference_point(len(targets), note=note)
