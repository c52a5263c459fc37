"""Stage 3, where the star is behind the mask: `LocateStarStep`.

The position is kept as an offset from the mask's reference point (CRPIX - 1) for each science exposure, in a table
(``STARPOS``) of the reference stack, or of the science exposures themselves where there are no references. Everything
that builds a sequence of these exposures takes it from there: the subtraction, and later the measurements.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jwst.stpipe import Step
from numpy.typing import NDArray

from lyot.errors import ConfigError, InputError, LyotError
from lyot.exposures.acquisition import acquisition_for, offset_from_acquisition, open_acquisition
from lyot.exposures.headers import STAR_SOURCES, Card, star_offset_cards
from lyot.instrument import Coronagraph
from lyot.params import from_step, spec_from
from lyot.reduction.star import (
    FARTHEST_GIVEN,
    StarPosition,
    StarPositionParams,
    at_reference_point,
    fit_sequence,
)
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.extra_fits import add_cards, add_table
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput, ModelsInput
from lyot.steps.sequence_io import STAR_TABLE, geometry_of, model_name, open_exposure, star_rows
from lyot.steps.stage3_inputs import exposures_of, sequence_with_references
from lyot.written import in_ascii, with_error

log = logging.getLogger(__name__)


class LocateStarStep(LyotMixin, Step):  # type: ignore[misc]
    """Find the star behind the mask, and write its position into the table ``STARPOS`` of the reference stack.

    Without a stack the table goes into the science exposures.

    Examples
    --------
    >>> from lyot.steps import LocateStarStep
    >>> LocateStarStep(position="model").position
    'model'
    """

    class_alias = "locate_star"

    spec = spec_from(StarPositionParams, extra="suffix = string(default='locatestar')")

    def process(self, targets: ModelsInput, stack: ModelInput | None = None) -> DataModel | list[DataModel]:
        """Find the star.

        Parameters
        ----------
        targets : str, CubeModel, or list of CubeModel
            Science exposures, calibrated: a file, several, or a level-3 association (of which the science is taken).
        stack : str or CubeModel, optional
            References as they were taken (``psfstack``), not registered.

        Returns
        -------
        CubeModel or list of CubeModel
            The stack; without one the science exposures. The table ``STARPOS`` has a row for each science exposure.
        """
        models = exposures_of(targets)
        references = None if stack is None else open_exposure(stack)
        found = locate_star(models, references, from_step(StarPositionParams, self))
        if references is not None:
            add_table(references, STAR_TABLE, star_table(models, found))
            return references
        for e, model in enumerate(models):
            add_table(model, STAR_TABLE, star_table([model], found.of(e)))
            add_cards(model, star_cards(found.of(e)))
        return models[0] if len(models) == 1 else models

    def save_model(self, model: DataModel, suffix: str | None = None, idx: Any = None, **keywords: Any) -> Any:
        """Save a product; each of several exposures under its own name."""
        if idx is not None and not self.output_file and not keywords.get("output_file"):
            return super().save_model(model, suffix=suffix, output_file=model_name(model), **keywords)
        return super().save_model(model, suffix=suffix, idx=idx, **keywords)


def locate_star(targets: Sequence[DataModel], stack: DataModel | None, params: StarPositionParams) -> StarPosition:
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
                f"reference point at {where.star[0]:.1f},{where.star[1]:.1f}; expected a position behind the mask."
            )
        found = StarPosition(np.tile(offset, (len(targets), 1)), np.zeros((len(targets), 2)), "given")
    else:
        found = _by(targets, stack, params)
    for model, offset, error in zip(targets, found.offset, found.error, strict=True):
        place = (in_ascii(with_error(float(v), float(e))) for v, e in zip(offset, error, strict=True))
        log.info("%s: star from %s, x %s mas, y %s mas from the reference point of the mask",
                 model_name(model), found.source, *place)  # fmt: skip
    return found


def _by(targets: Sequence[DataModel], stack: DataModel | None, params: StarPositionParams) -> StarPosition:
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
        log.log(level, "the star is assumed to be at the reference point of the mask (%s)", note)
    return at_reference_point(n, _instrument(targets), error=params.reference_error, note=note)


def _instrument(models: Sequence[DataModel]) -> str:
    return str(models[0].meta.instrument.name)


def _coronagraph(model: DataModel) -> Coronagraph:
    known = coronagraph_of(model)
    if known is None:
        raise InputError("only the MIRI coronagraphs have a model.")
    return known


def _from_acquisition(targets: Sequence[DataModel], params: StarPositionParams) -> StarPosition:
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
                f"{image.name}: its star would be {np.hypot(*offset):.1f} arcsec from the mask center; check the "
                "pointing."
            )
        offsets.append(1e3 * offset)
        errors.append(np.full(2, np.hypot(1e3 * error, params.acquisition_error)))
    return StarPosition(np.array(offsets), np.array(errors), "acquisition")


def _header(model: DataModel) -> dict[str, Any]:
    """The keywords of an exposure that its acquisition is matched and compared with."""
    wcs, sub, obs = model.meta.wcsinfo, model.meta.subarray, model.meta.observation
    return {
        "RA_REF": wcs.ra_ref, "DEC_REF": wcs.dec_ref, "ROLL_REF": wcs.roll_ref, "V2_REF": wcs.v2_ref,
        "V3_REF": wcs.v3_ref, "V3I_YANG": wcs.v3yangle, "SUBSTRT1": sub.xstart, "SUBSTRT2": sub.ystart,
        "PROGRAM": obs.program_number, "OBSERVTN": obs.observation_number, "VISIT": obs.visit_number,
        "EXPSTART": model.meta.exposure.start_time,
    }  # fmt: skip


def _from_model(targets: Sequence[DataModel], stack: DataModel | None, params: StarPositionParams) -> StarPosition:
    sequence = sequence_with_references(targets, stack).sequence
    fit = fit_sequence(sequence, _coronagraph(targets[0]), n_modes=params.n_modes, optics=params.model_optics())
    if not fit.believed:
        raise InputError(f"{fit.reason}.")
    n = len(targets)
    return StarPosition(fit.offset[:n], fit.error[:n], "model")


def note_offsets(targets: Sequence[DataModel]) -> None:
    """Say in the log what is done about offsets commanded in XOFFSET and YOFFSET: nothing, on purpose.

    Before 2022-11-16 they moved the star onto the mask, whose place in the instrument's aperture file was not yet
    right. The star was behind the mask then as it is now.
    """
    for model in targets:
        x, y = commanded_offset(model)
        if max(abs(x), abs(y)) > 1e-3:
            log.info("%s: XOFFSET, YOFFSET = %.3f, %.3f arcsec moved the star to the mask and are not applied again",
                     model_name(model), x, y)  # fmt: skip


def commanded_offset(model: DataModel) -> tuple[float, float]:
    """XOFFSET and YOFFSET of an exposure, arcsec; 0 where it has none."""
    dither = model.meta.dither
    return float(dither.x_offset or 0.0), float(dither.y_offset or 0.0)


def star_table(targets: Sequence[DataModel], found: StarPosition) -> NDArray[Any]:
    """The position as a table: file, offset and error (mas), where it comes from and why, a row for each exposure."""
    names = [model_name(m) for m in targets]
    width = max(map(len, names))
    note = found.note.encode("ascii", "replace").decode()  # a path may hold any letter
    rows = [
        (name, *offset, *error, STAR_SOURCES[found.source], note)
        for name, offset, error in zip(names, found.offset, found.error, strict=True)
    ]
    columns = [("FILENAME", f"S{width}"), ("DX", "f8"), ("DY", "f8"), ("DXERR", "f8"), ("DYERR", "f8"), ("FROM", "S12")]
    columns.append(("NOTE", f"S{max(len(note), 1)}"))
    return np.array(rows, dtype=columns)


def star_cards(position: StarPosition) -> list[Card]:
    """FITS cards of a product: the mean over the exposures, and the largest error, as most of it is common."""
    offset, error = position.offset.mean(axis=0), position.error.max(axis=0)
    return star_offset_cards(STAR_SOURCES[position.source], offset, error, position.note)


def star_position(targets: Sequence[DataModel], stack: DataModel | None) -> StarPosition:
    """The position that `LocateStarStep` wrote into the stack or the science exposures; else the reference point.

    Parameters
    ----------
    targets : sequence of CubeModel
        Science exposures, or their star-subtracted products.
    stack : CubeModel or None
        References.
    """
    rows = star_rows(targets, [] if stack is None else [stack])
    if rows is None:
        return at_reference_point(len(targets), _instrument(targets))

    def text(name: str) -> str:
        value = rows[name][0] if name in (rows.dtype.names or ()) else ""
        return (value.decode() if isinstance(value, bytes) else str(value)).strip()

    sources = {word: source for source, word in STAR_SOURCES.items()}
    offset, error = (
        np.stack([rows[x], rows[y]], axis=1).astype(np.float64) for x, y in (("DX", "DY"), ("DXERR", "DYERR"))
    )
    return StarPosition(offset, error, sources.get(text("FROM"), "reference"), text("NOTE"))
