"""Reading data models into the arrays of stage 3, and the headers of its products.

Files as users have them are read leniently where nothing is lost by it: cropped files whose ``VAR_*`` or ``INT_TIMES``
still belong to the uncropped frame are used with ``ERR`` alone, and the position of the star comes from the header's
``CRPIX`` (which cropping tools move) rather than from the gwcs (which they leave behind).
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jwst.datamodels import ModelContainer
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot import dq, geometry
from lyot.errors import InputError, LyotError, logged_warnings
from lyot.steps.coronagraphs import boundary_tilt, coronagraph_of
from lyot.steps.extra_fits import read_table
from lyot.steps.models import DataModel, ModelInput, ModelsInput, close_file
from lyot.steps.stage3_templates import background_template, background_variance, template_variance
from lyot.subtract.sequence import CoronagraphicSequence, common_windows

log = logging.getLogger(__name__)

_told: set[tuple[str, tuple[int, ...]]] = set()
"""Files with arrays of another shape than their data, of which that was said: each has several such arrays."""

_level: ContextVar[int] = ContextVar("level", default=logging.WARNING)


@contextlib.contextmanager
def known_input() -> Iterator[None]:
    """Say in the log alone what is wrong with exposures or parameters: they were used before, and it was said then."""
    token = _level.set(logging.INFO)
    try:
        with logged_warnings(log, logging.INFO):
            yield
    finally:
        _level.reset(token)


STAR_TABLE = "STARPOS"
"""Table of a reference stack that tells the star's offset from the mask in each science exposure, mas."""

REFERENCES_TABLE = "REFS"
"""Extension of ``psfstack`` and ``psfalign`` that tells which exposure each plane is from."""

POINTING_TOLERANCE = 2.0
"""Largest believable distance between the target's coordinates and the pointing of the reference point, arcsec."""


@dataclass(frozen=True)
class Frames:
    """The integrations of one exposure.

    Attributes
    ----------
    name : str
        File name, for messages.
    data : (nints, ny, nx) float ndarray
        Integrations in the file's unit; DO_NOT_USE and non-finite pixels are NaN.
    variance : (nints, ny, nx) float ndarray
        ERR squared; NaN where `data` is NaN or ERR is not a positive number.
    dq : (nints, ny, nx) uint32 ndarray
        Data-quality flags as in the file.
    """

    name: str
    data: NDArray[np.floating[Any]]
    variance: NDArray[np.floating[Any]]
    dq: NDArray[np.uint32]


@dataclass(frozen=True)
class Geometry:
    """Where the star is in an exposure and how the detector lies on the sky.

    Attributes
    ----------
    star : (x, y)
        0-based pixel position of the mask's reference point, CRPIX - 1, at which the star is unless `STAR_TABLE` says
        otherwise.
    pa_y : float
        Position angle of the detector's +y axis, degrees east of north.
    pixel_scale : (x, y)
        arcsec per pixel.
    sky : (ra, dec)
        ICRS position of the star at the epoch of the exposure, degrees.
    """

    star: tuple[float, float]
    pa_y: float
    pixel_scale: tuple[float, float]
    sky: tuple[float, float]


def model_name(model: DataModel) -> str:
    """File name of a model for messages."""
    return Path(str(model.meta.filename or "in-memory exposure")).name


def own_array(model: DataModel, name: str) -> NDArray[Any] | None:
    """An array of a model if the model holds one of the shape of its data; None (and a log line) otherwise.

    Never creates a default array in the model, as plain attribute access would.
    """
    try:
        array = model.getarray_noinit(name)
    except AttributeError:
        return None
    if array is None or np.ndim(array) == 0:
        return None
    if np.shape(array) != np.shape(model.data):
        key = (model_name(model), np.shape(array))
        if key not in _told:
            _told.add(key)
            log.log(
                _level.get(), "%s: %s and other arrays have shape %s, the data %s; these arrays are not used.",
                model_name(model), name.upper(), np.shape(array), np.shape(model.data),
            )  # fmt: skip
        return None
    return np.asarray(array)


def frames_of(model: DataModel, *, name: str | None = None, dtype: type[np.floating[Any]] = np.float64) -> Frames:
    """Read the integrations of a ``calints`` (or ``cal``) model.

    Parameters
    ----------
    model : CubeModel or ImageModel
        Calibrated exposure. Not changed.
    name : str, optional
        Name for messages; the model's file name by default.
    dtype : floating type, optional
        Of data and variance; float32, as in the files, halves the memory.

    Returns
    -------
    Frames
        Arrays, with bad pixels NaN.

    Raises
    ------
    InputError
        If there is no image or its dimensions are not 2 or 3.
    """
    name = name or model_name(model)
    data = getattr(model, "data", None)
    shape = () if data is None else np.shape(data)
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"{name}: expected calibrated integrations (SCI with 2 or 3 axes), got shape {shape}.")
    cube = np.array(data, dtype=dtype)
    flags = own_array(model, "dq")
    flags = np.zeros(cube.shape, np.uint32) if flags is None else flags.astype(np.uint32)
    err = own_array(model, "err")
    for part in ("var_poisson", "var_rnoise", "var_flat"):
        own_array(model, part)  # only to tell the user what is left out; ERR holds their sum
    with np.errstate(invalid="ignore"):
        variance = np.full(cube.shape, np.nan, dtype) if err is None else np.asarray(err, dtype) ** 2
        bad = ((flags & dq.DO_NOT_USE) > 0) | ~np.isfinite(cube)
        variance[bad | ~(variance > 0)] = np.nan
    cube[bad] = np.nan
    if cube.ndim == 2:
        cube, variance, flags = cube[None], variance[None], flags[None]
    return Frames(name, cube, variance, flags)


def _required(value: Any, name: str, keyword: str) -> float:
    if value is None:
        raise InputError(f"{name}: the keyword {keyword} is missing; expected the WCS keywords of the archive.")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise InputError(f"{name}: the keyword {keyword} is {value!r}; expected a number.")
    return float(value)


def _numbers(*values: Any) -> tuple[float, ...] | None:
    """Values of keywords as numbers; None if one is missing or not finite, as those of broken headers."""
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not np.isfinite(v) for v in values):
        return None
    return tuple(float(v) for v in values)


def _place(ra: Any, dec: Any) -> tuple[float, float] | None:
    """A position on the sky, degrees; None if it is missing or none."""
    found = _numbers(ra, dec)
    return (found[0], found[1]) if found is not None and abs(found[1]) <= 90 else None


def geometry_of(model: DataModel) -> Geometry:
    """Read star position, orientation, scale and sky position of an exposure from its header.

    Raises
    ------
    InputError
        Naming the file and the keyword that is missing.
    """
    name, wcs = model_name(model), getattr(model.meta, "wcsinfo", None)
    if wcs is None:
        raise InputError(
            f"{name}: unknown type of JWST product (DATAMODL) without WCS keywords; give calibrated exposures "
            "(calints)."
        )
    star = (_required(wcs.crpix1, name, "CRPIX1") - 1, _required(wcs.crpix2, name, "CRPIX2") - 1)
    pa_y = geometry.pa_of_detector_y(
        _required(wcs.roll_ref, name, "ROLL_REF"), _required(wcs.v3yangle, name, "V3I_YANG")
    )
    return Geometry(star, pa_y, pixel_scale_of(model), sky_position(model))


def pixel_scale_of(model: DataModel) -> tuple[float, float]:
    """Pixel scale (x, y) in arcsec: from the CD matrix, CDELT, the instrument table, or the nominal pixel area."""
    wcs = model.meta.wcsinfo
    matrix = _numbers(*(getattr(wcs, key, None) for key in ("cd1_1", "cd1_2", "cd2_1", "cd2_2")))
    if matrix is not None:
        scale = geometry.scale_of_matrix(np.reshape(matrix, (2, 2)))
        if min(scale) > 0:
            return scale
    known = coronagraph_of(model)
    if known is not None:
        return known.pixel_scale
    steps = _numbers(wcs.cdelt1, wcs.cdelt2)
    if steps is not None and 0 not in steps:
        return 3600 * abs(steps[0]), 3600 * abs(steps[1])
    area = _numbers(model.meta.photometry.pixelarea_arcsecsq)
    if area is not None and area[0] > 0:
        return float(np.sqrt(area[0])), float(np.sqrt(area[0]))
    raise InputError(f"{model_name(model)}: no pixel scale; expected CD1_1 ... CD2_2 or PIXAR_A2 in the header.")


def sky_position(model: DataModel) -> tuple[float, float]:
    """ICRS position (ra, dec) of the star at the epoch of the exposure, degrees.

    TARG_RA and TARG_DEC hold it in the archive's files, but not in all reprocessed ones (the proper motion may be
    missing). Of that position and the proposer's moved by the proper motion, the one nearer to the pointing of the
    reference point is taken; if neither is within `POINTING_TOLERANCE`, the pointing itself.
    """
    target, wcs = model.meta.target, model.meta.wcsinfo
    candidates = (_place(target.ra, target.dec), _moved_proposer_position(model))
    known = [c for c in candidates if c is not None]
    found = _place(wcs.ra_ref, wcs.dec_ref)
    if found is None:
        if not known:
            raise InputError(
                f"{model_name(model)}: no sky position; expected RA_REF and DEC_REF, or TARG_RA and TARG_DEC, in "
                "degrees in the header."
            )
        return known[0]
    pointing: tuple[float, float] = found

    def distance(position: tuple[float, float]) -> float:
        return 3600 * geometry.angular_distance(position, pointing)

    best = min(known, key=distance, default=pointing)
    if distance(best) > POINTING_TOLERANCE:
        log.warning(
            "%s: the target coordinates are %.1f arcsec from the pointing; the pointing is used as the position of "
            "the star.",
            model_name(model), distance(best),
        )  # fmt: skip
        return pointing
    return best


def _moved_proposer_position(model: DataModel) -> tuple[float, float] | None:
    """Proposer's position moved by the proper motion (arcsec/yr, of epoch 2000 unless told) to the exposure."""
    target = model.meta.target
    start = model.meta.exposure.start_time
    values = _numbers(target.proposer_ra, target.proposer_dec, target.proper_motion_ra, target.proper_motion_dec, start)
    if values is None:
        return None
    ra, dec, motion_ra, motion_dec, start = values
    try:
        epoch = float(str(target.proper_motion_epoch or "2000")[:4])
    except ValueError:
        epoch = 2000.0
    years = 2000.0 + (start - 51544.5) / 365.25 - epoch
    dec += motion_dec * years / 3600
    return _place(ra + motion_ra * years / 3600 / np.cos(np.radians(dec)), dec)


def check_same_setting(models: Sequence[DataModel]) -> None:
    """Refuse exposures of different filters or masks.

    Raises
    ------
    InputError
        Naming the two files and what differs.
    """
    first = models[0]
    for model in models[1:]:
        for keyword, attribute in (("FILTER", "filter"), ("CORONMSK", "coronagraph")):
            a, b = (getattr(m.meta.instrument, attribute) for m in (first, model))
            if a and b and a != b:
                raise InputError(
                    f"{model_name(model)} has {keyword} {b}, but {model_name(first)} has {a}; "
                    "reduce one filter and mask at a time."
                )


@dataclass(frozen=True)
class SequenceInput:
    """A sequence and what is needed to write its products.

    Attributes
    ----------
    sequence : CoronagraphicSequence
        The arrays, all on the common pixels.
    geometries : tuple of Geometry
        Of the science exposures, in the uncut frames.
    windows : tuple of (y slice, x slice)
        Pixels of each science exposure that the sequence holds.
    measured_template : bool
        Whether the template of the background is the mean background of stage 2.
    """

    sequence: CoronagraphicSequence
    geometries: tuple[Geometry, ...]
    windows: tuple[tuple[slice, slice], ...]
    measured_template: bool = False


def build_sequence(
    targets: Sequence[DataModel],
    references: Sequence[DataModel],
    *,
    throughput: NDArray[np.float64] | None = None,
    uniform_background: NDArray[np.float64] | None = None,
    frames: Sequence[Frames] | None = None,
) -> SequenceInput:
    """Make the arrays of stage 3 from science and reference exposures.

    Frames of different crops are cut to the pixels they have in common, told by the position of the star (CRPIX). The
    mean background that stage 2 left in the science files becomes a template, or else the pattern of a uniform one.

    Parameters
    ----------
    targets, references : sequence of CubeModel
        Calibrated exposures; references may be empty, and may be one stack.
    throughput : (ny, nx) float64 ndarray, optional
        Off-axis throughput on the pixels of the first science exposure.
    uniform_background : (ny, nx) float64 ndarray, optional
        Pattern of a uniform background on the same pixels.
    frames : sequence of Frames, optional
        Integrations of the science exposures as they are used; as in the files by default.

    Raises
    ------
    InputError
        For mixed filters, missing keywords or frames without common pixels.
    """
    if not targets:
        raise InputError("no science exposure; expected at least one member with exptype science.")
    check_same_setting([*targets, *references])
    geometries = [geometry_of(m) for m in targets]
    science = [frames_of(m, dtype=np.float32) for m in targets] if frames is None else list(frames)
    refs = [frames_of(m, dtype=np.float32) for m in references]
    stars = [g.star for g in geometries] + [geometry_of(m).star for m in references]
    windows = common_windows([f.data.shape[1:] for f in (*science, *refs)], stars)
    n = len(targets)
    measured = background_template(targets, windows[:n])
    uniform = None if uniform_background is None else uniform_background[np.newaxis, *windows[0]]
    center = [(g.star[0] - w[1].start, g.star[1] - w[0].start) for g, w in zip(geometries, windows, strict=False)]
    star = np.array(center) + star_offsets(targets, references) / np.array(geometries[0].pixel_scale)
    exposure = np.repeat(np.arange(n), [len(f.data) for f in science])
    reference_exposure = np.repeat(np.arange(len(refs)), [len(f.data) for f in refs]) if refs else None
    sequence = CoronagraphicSequence(
        science=_stack(science, windows[:n], "data"),
        exposure=exposure,
        pa_y=np.array([g.pa_y for g in geometries]),
        star=star,
        pixel_scale=geometries[0].pixel_scale,
        references=_stack(refs, windows[n:], "data") if refs else None,
        reference_exposure=reference_exposure,
        science_variance=_variance(science, windows[:n]),
        reference_variance=_variance(refs, windows[n:]) if refs else None,
        mask_center=center[0],  # CRPIX marks the mask
        throughput=None if throughput is None else throughput[windows[0]],
        boundary_tilt=boundary_tilt(targets[0]),
        templates=uniform if measured is None else measured,
        template_variance=template_variance(targets, windows[:n]),
        background_variance=background_variance(targets, windows[:n]),
    )
    return SequenceInput(sequence, tuple(geometries), tuple(windows[:n]), measured is not None)


def star_rows(targets: Sequence[DataModel], references: Sequence[DataModel]) -> NDArray[Any] | None:
    """Rows of the tables `STAR_TABLE` that belong to science exposures, one for each; None where nothing tells.

    The table of a reference stack goes before those of the science exposures themselves.
    """
    for stack in references:
        table = read_table(stack, STAR_TABLE)
        if table is None:
            continue
        rows = {(n.decode() if isinstance(n, bytes) else str(n)).strip(): i for i, n in enumerate(table["FILENAME"])}
        index = [rows.get(model_name(m), i if len(table) == len(targets) else None) for i, m in enumerate(targets)]
        if None in index:
            log.warning(
                "%s: %s lists other exposures; the star is assumed to be at CRPIX", model_name(stack), STAR_TABLE
            )
            return None
        return np.asarray(table[np.array(index, dtype=np.intp)])
    own = [table for table in (read_table(model, STAR_TABLE) for model in targets) if table is not None and len(table)]
    return np.concatenate([table[:1] for table in own]) if own and len(own) == len(targets) else None


def star_offsets(targets: Sequence[DataModel], references: Sequence[DataModel]) -> NDArray[np.float64]:
    """Offset (dx, dy) of the star from the mask's reference point in each science exposure, arcsec: (n, 2).

    See `star_rows`; 0 where no table tells.
    """
    rows = star_rows(targets, references)
    if rows is None:
        return np.zeros((len(targets), 2))
    return np.asarray(1e-3 * np.stack([rows["DX"], rows["DY"]], axis=1).astype(np.float64))


def _stack(frames: Sequence[Frames], windows: Sequence[tuple[slice, slice]], name: str) -> NDArray[np.floating[Any]]:
    parts = [getattr(f, name)[:, w[0], w[1]] for f, w in zip(frames, windows, strict=True)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # a stack of references is not copied again


def _variance(frames: Sequence[Frames], windows: Sequence[tuple[slice, slice]]) -> NDArray[np.floating[Any]] | None:
    """Variances of all frames; None if any exposure has none at all."""
    if any(not np.isfinite(f.variance).any() for f in frames):
        return None
    return _stack(frames, windows, "variance")


def open_exposure(source: ModelInput) -> DataModel:
    """Open a file as a data model and close the file, with one clear sentence where that fails.

    Raises
    ------
    InputError
        If the file is no readable exposure.
    """
    if isinstance(source, JwstDataModel):
        return source
    try:
        model: DataModel = datamodels.open(source)
        close_file(model)
        return model
    except (LyotError, MemoryError):
        raise
    except Exception as error:  # whatever the readers of FITS, YAML and ASDF, and the schemas, raise for a broken file
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{source}: not a readable JWST exposure ({reason}).") from error


def forget_variances(models: Sequence[DataModel]) -> None:
    """Free the variances apart of exposures, half of their memory; ERR, their sum, is what stage 3 uses.

    Parameters
    ----------
    models : sequence of CubeModel
        Opened for the caller alone; without ``VAR_*`` afterwards.
    """
    for model in models:
        for name in ("var_poisson", "var_rnoise", "var_flat"):
            if model.hasattr(name):
                delattr(model, name)
    gc.collect()  # what astropy read of a file is in cycles of references


def several(value: ModelsInput) -> Sequence[ModelInput] | None:
    """A step's input as it is if it is several exposures; None for a file name or one model."""
    if isinstance(value, (Sequence, ModelContainer)) and not isinstance(value, str):
        return cast("Sequence[ModelInput]", value)
    return None


def as_list(value: ModelsInput) -> Sequence[ModelInput]:
    """A step's input as a list: several exposures as they are, one alone in a list."""
    many = several(value)
    return [cast("ModelInput", value)] if many is None else many
