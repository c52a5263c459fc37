"""One coronagraphic observing sequence as arrays: science frames of one or more rolls, and reference frames.

Bad pixels are NaN. Frames are on the detector, not rotated; all have the same shape and the same crop.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.geometry import number_rolls

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class CoronagraphicSequence:
    """Science and reference frames of one target in one filter, validated on construction.

    Attributes
    ----------
    science : (nframes, ny, nx) float ndarray
        Science frames (integrations, or one mean per exposure), MJy/sr; bad pixels NaN.
    exposure : (nframes,) int ndarray
        Index of the exposure (roll) of each frame, 0 to nexposures - 1.
    pa_y : (nexposures,) float ndarray
        Position angle of the detector's +y axis in each exposure, degrees east of north.
    star : (nexposures, 2) float ndarray
        Position (x, y) of the star in each exposure, 0-based pixels.
    pixel_scale : (x, y)
        arcsec per pixel.
    references : (nreferences, ny, nx) float ndarray
        Reference-star frames, any unit proportional to MJy/sr; bad pixels NaN. May have length 0.
    reference_exposure : (nreferences,) int ndarray
        Index of the exposure (dither) of each reference frame; default: each its own.
    science_variance, reference_variance : ndarray or None
        Variances of the pixels, (MJy/sr)^2, of the shape of the data.
    mask_center : (x, y) or None
        Crossing of the four-quadrant mask's boundaries, or center of the spot, 0-based pixels; None: the star's.
    throughput : (ny, nx) float ndarray or None
        Light kept of an off-axis point source at each pixel, relative to far off axis; NaN outside the field stop.
    templates : (ntemplates, ny, nx) float ndarray or None
        Patterns on the detector that are fitted and subtracted in every zone at every truncation, such as the mean
        background with its glow sticks, of which stage 2 leaves a part. Their noise should be small.
    template_variance : (ny, nx) float ndarray or None
        Variance of the first template, where it is what was subtracted from the science before: the science then holds
        its noise with the opposite sign, which `lyot.subtract.klip.NoisyTemplate` corrects for. NaN counts as 0.
    background_variance : (nexposures, ny, nx) float ndarray or None
        The part of `science_variance` that the subtracted background put there: the same in all integrations.
    boundary_tilt : float or None
        Tilt of the quadrant boundaries, degrees counter-clockwise from +x; None where there are none.

    Examples
    --------
    Two rolls of one integration each, and five frames of a reference star:

    >>> import numpy as np
    >>> from lyot.subtract import CoronagraphicSequence
    >>> sequence = CoronagraphicSequence(
    ...     science=np.ones((2, 41, 41)), exposure=[0, 1], pa_y=[108.2, 117.6], star=[[20, 20], [20, 20]],
    ...     pixel_scale=(0.11, 0.11), references=np.ones((5, 41, 41)),
    ... )
    >>> sequence.shape, sequence.n_exposures, sequence.n_references
    ((41, 41), 2, 5)
    """

    science: NDArray[np.floating[Any]]
    exposure: IntArray
    pa_y: FloatArray
    star: FloatArray
    pixel_scale: tuple[float, float]
    references: NDArray[np.floating[Any]] | None = None
    reference_exposure: IntArray | None = None
    science_variance: NDArray[np.floating[Any]] | None = None
    reference_variance: NDArray[np.floating[Any]] | None = None
    mask_center: tuple[float, float] | None = None
    throughput: FloatArray | None = None
    boundary_tilt: float | None = None
    templates: FloatArray | None = None
    background_variance: NDArray[np.floating[Any]] | None = None
    template_variance: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        science = _cube("science", self.science)
        references = np.empty((0, *science.shape[1:])) if self.references is None else self.references
        references = np.asarray(references)
        references = references if references.size == 0 and references.ndim == 3 else _cube("references", references)
        exposure = np.atleast_1d(np.asarray(self.exposure, dtype=np.intp))
        reference_exposure = (
            np.arange(len(references))
            if self.reference_exposure is None
            else np.atleast_1d(np.asarray(self.reference_exposure, dtype=np.intp))
        )
        values: dict[str, Any] = {
            "science": science,
            "references": references,
            "exposure": exposure,
            "reference_exposure": reference_exposure,
            "pa_y": np.atleast_1d(np.asarray(self.pa_y, dtype=float)),
            "star": np.atleast_2d(np.asarray(self.star, dtype=float)),
            "pixel_scale": _pair("pixel_scale", self.pixel_scale),
        }
        if self.mask_center is not None:
            values["mask_center"] = _pair("mask_center", self.mask_center)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of a frame."""
        return self.science.shape[1], self.science.shape[2]

    @property
    def n_exposures(self) -> int:
        """Number of science exposures (rolls)."""
        return len(self.pa_y)

    @property
    def roll(self) -> IntArray:
        """(n_exposures,) number of the roll of each exposure, from 0: repeats and dithers at one angle are one roll."""
        return np.array(number_rolls(self.pa_y), dtype=np.intp)

    @property
    def n_references(self) -> int:
        """Number of reference frames."""
        return 0 if self.references is None else len(self.references)

    def replace(self, **changes: Any) -> CoronagraphicSequence:
        """Return a copy with some attributes replaced, validated again.

        Parameters
        ----------
        **changes
            Attributes and their new values.

        Returns
        -------
        CoronagraphicSequence

        Raises
        ------
        InputError
            If the shapes no longer agree.

        Examples
        --------
        >>> import numpy as np
        >>> from lyot.subtract import CoronagraphicSequence
        >>> sequence = CoronagraphicSequence(np.ones((9, 9)), [0], [0.0], [[4, 4]], (0.11, 0.11))
        >>> sequence.replace(pa_y=[120.0]).pa_y.tolist(), sequence.pa_y.tolist()
        ([120.0], [0.0])
        """
        return dataclasses.replace(self, **changes)

    def _check_templates(self, shape: tuple[int, int]) -> None:
        if self.templates is not None and np.shape(self.templates)[1:] != shape:
            raise InputError(f"templates have shape {np.shape(self.templates)}; expected (n, {shape[0]}, {shape[1]}).")
        if self.template_variance is not None and np.shape(self.template_variance) != shape:
            raise InputError(f"template_variance has shape {np.shape(self.template_variance)}; expected {shape}.")

    def _check(self) -> None:
        assert self.references is not None and self.reference_exposure is not None
        n, shape = len(self.science), self.shape
        if self.references.shape[1:] != shape:
            raise InputError(
                f"references have frames of shape {self.references.shape[1:]}, science has {shape}; "
                "crop or pad them to the same subarray."
            )
        _same_length("exposure", len(self.exposure), "science", n)
        _same_length("reference_exposure", len(self.reference_exposure), "references", len(self.references))
        if self.exposure.min() < 0 or self.exposure.max() >= self.n_exposures:
            raise InputError(
                f"exposure holds {self.exposure.min()} to {self.exposure.max()}, but pa_y names {self.n_exposures} "
                "exposures; expected indices from 0."
            )
        if self.star.shape != (self.n_exposures, 2):
            raise InputError(f"star has shape {self.star.shape}; expected ({self.n_exposures}, 2), one (x, y) each.")
        for name, data in (("science_variance", self.science), ("reference_variance", self.references)):
            variance = getattr(self, name)
            if variance is not None and np.shape(variance) != data.shape:
                raise InputError(f"{name} has shape {np.shape(variance)}; expected {data.shape}, as the data.")
        self._check_templates(shape)
        common = self.background_variance
        if common is not None and np.shape(common) != (self.n_exposures, *shape):
            raise InputError(
                f"background_variance has shape {np.shape(common)}; expected {(self.n_exposures, *shape)}, one image "
                "for each exposure."
            )
        if self.throughput is not None and np.shape(self.throughput) != shape:
            raise InputError(f"throughput has shape {np.shape(self.throughput)}; expected {shape}, as a frame.")
        if not (np.all(np.isfinite(self.pa_y)) and np.all(np.isfinite(self.star))):
            raise InputError("pa_y and star must be finite for every exposure.")
        if not np.isfinite(self.science).any():
            raise InputError("science: all pixels of all frames are masked (NaN); nothing to reduce.")
        if self.references.size and not np.isfinite(self.references).any():
            raise InputError("references: all pixels of all frames are masked (NaN); omit or repair them.")


def _cube(name: str, data: Any) -> NDArray[np.floating[Any]]:
    cube = np.asarray(data)
    if cube.ndim == 2:
        cube = cube[np.newaxis]
    if cube.ndim != 3 or 0 in cube.shape:
        raise InputError(f"{name} has shape {cube.shape}; expected (frames, ny, nx), none of them 0.")
    if cube.dtype.kind != "f":
        cube = cube.astype(np.float64)
    return cube


def _pair(name: str, value: Any) -> tuple[float, float]:
    pair = np.ravel(np.asarray(value, dtype=float))
    if pair.shape != (2,) or not np.all(np.isfinite(pair)):
        raise InputError(f"{name}: expected two finite numbers (x, y), got {value!r}.")
    if name == "pixel_scale" and pair.min() <= 0:
        raise InputError(f"pixel_scale: expected positive arcsec per pixel, got {value!r}.")
    return float(pair[0]), float(pair[1])


def _same_length(name: str, got: int, other: str, expected: int) -> None:
    if got != expected:
        raise InputError(f"{name} has {got} entries, {other} has {expected} frames; expected one for each frame.")


def mean_by_group(
    data: NDArray[np.floating[Any]], group: IntArray, n_groups: int, *, variance: bool = False
) -> FloatArray:
    """Mean of the frames of each group, over those that are not NaN.

    Parameters
    ----------
    data : (nframes, ny, nx) float ndarray
        Frames, NaN where bad (any unit); or their variances.
    group : (nframes,) int ndarray
        Group of each frame.
    n_groups : int
        Number of groups.
    variance : bool, optional
        True if `data` are variances: the variance of the mean, sum / n^2, is returned.

    Returns
    -------
    (n_groups, ny, nx) float64 ndarray
        NaN where all frames of the group are.
    """
    out = np.full((n_groups, *data.shape[1:]), np.nan)
    for g in range(n_groups):
        index = np.flatnonzero(group == g)
        if len(index) == 1:
            out[g] = data[index[0]]
            continue
        total = np.zeros(data.shape[1:])
        count = np.zeros(data.shape[1:])
        for i in index:
            _add_good(np.ascontiguousarray(data[i], dtype=_single_or_double(data.dtype)), total, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[g] = total / (count**2 if variance else count)
    return out


def _single_or_double(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """The types that `_add_good` is compiled for, in the machine's byte order; neither changes a value."""
    return np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64


@nb.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def _add_good(frame: NDArray[np.floating[Any]], total: FloatArray, count: FloatArray) -> None:
    """Add the finite pixels of a frame to `total`, and 1 to `count` there; in place."""
    for r in range(frame.shape[0]):
        for c in range(frame.shape[1]):
            value = np.float64(frame[r, c])
            good = np.isfinite(value)
            total[r, c] += value if good else 0.0
            count[r, c] += 1.0 if good else 0.0


def common_windows(
    shapes: Sequence[tuple[int, ...]], stars: Sequence[tuple[float, float]]
) -> list[tuple[slice, slice]]:
    """Windows (y, x) of frames of any crop that show the same pixels about the star.

    The crops must differ by whole pixels; star positions that differ by a fraction of a pixel are left as they are
    (the frames are not shifted here).

    Parameters
    ----------
    shapes : sequence of (ny, nx)
        Shapes of the frames.
    stars : sequence of (x, y)
        Position of the star in each, 0-based pixels.

    Returns
    -------
    list of (y slice, x slice)

    Raises
    ------
    InputError
        If they have no common pixels.
    """
    left = min(round(s[0]) for s in stars)
    below = min(round(s[1]) for s in stars)
    right = min(shape[1] - round(s[0]) for shape, s in zip(shapes, stars, strict=True))
    above = min(shape[0] - round(s[1]) for shape, s in zip(shapes, stars, strict=True))
    if min(left + right, below + above) < 8:
        raise InputError(
            f"the frames have no common pixels about the star (shapes {sorted(set(shapes))}, CRPIX - 1 at {stars[0]} "
            "and others); check CRPIX in the files."
        )
    if len(set(shapes)) > 1:
        log.warning("frames with different crops %s: cropped to the common %d x %d pixels",
                    sorted(set(shapes)), below + above, left + right)  # fmt: skip
    windows = []
    for s in stars:
        x, y = round(s[0]), round(s[1])
        windows.append((slice(y - below, y + above), slice(x - left, x + right)))
    return windows
