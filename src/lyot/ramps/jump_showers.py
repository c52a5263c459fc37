"""Large events on whole detector images: snowballs (near infrared) and showers (MIRI), as the official jump step does.

Both look for contiguous areas in the image of one group, describe each by the ellipse with the same second moments,
and flag an enlarged ellipse, in that group and some later ones. They need all pixels of a group at once, so they run
on whole arrays only. Flags are identical to stcal 1.20, with the libraries that it uses (scikit-image, scipy,
astropy). One oddity of the official step is kept: ``max_shower_amplitude`` has no effect there, 6 electrons per second
and group are used instead; pass ``amplitude`` to `flag_showers` to set it.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lyot import dq
from lyot.errors import warn
from lyot.ramps.jump_params import JumpParams

Flags = npt.NDArray[np.uint8]

OFFICIAL_SHOWER_AMPLITUDE = 6.0
MIN_SHOWER_DIFFS = 10
_UNUSABLE = dq.DO_NOT_USE | dq.SATURATED | dq.JUMP_DET


class Ellipse(NamedTuple):
    """An ellipse on the detector."""

    x: float
    """Column of the center, pixel."""
    y: float
    """Row of the center, pixel."""
    minor: float
    """Full minor axis, pixel."""
    major: float
    """Full major axis, pixel."""
    angle: float
    """Angle of the major axis from the column direction (+y towards +x), deg."""

    def contains(self, x: float, y: float) -> bool:
        """Whether a point is inside, as officially: there the major axis is taken along x at angle 0, not along y."""
        turn = np.radians(180 - self.angle)
        dx, dy = x - self.x, y - self.y
        u = dx * np.cos(turn) - dy * np.sin(turn)
        v = dx * np.sin(turn) + dy * np.cos(turn)
        long, short = max(self.major, self.minor) * 0.5, min(self.major, self.minor) * 0.5
        with np.errstate(divide="ignore", invalid="ignore"):
            return bool(np.float64(u**2) / long**2 + np.float64(v**2) / short**2 <= 1)


def find_ellipses(image: npt.NDArray[Any], min_area: float) -> list[Ellipse]:
    """Ellipses of the contiguous areas of an image (non-zero pixels of equal value) of at least `min_area` pixels."""
    from skimage import measure

    found = []
    for region in measure.regionprops(measure.label(image)):
        if region.area_filled < min_area:
            continue
        y, x = region.centroid
        axes = (region.axis_minor_length - 1, region.axis_major_length - 1)
        found.append(Ellipse(float(x), float(y), *axes, float(np.degrees(region.orientation))))
    return found


def ellipse_mask(
    ellipse: Ellipse, axes: tuple[float, float], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], npt.NDArray[np.bool_]]:
    """Cut-out of an image around an ellipse, and the mask of its inside; ``axes`` = (minor, major), full."""
    from skimage import draw

    column, row = round(ellipse.x), round(ellipse.y)
    radii = (round(axes[0] / 2), round(axes[1] / 2))
    reach = max(radii) + 2
    rows = slice(max(row - reach, 0), min(row + reach + 1, shape[0]))
    columns = slice(max(column - reach, 0), min(column + reach + 1, shape[1]))
    size = (rows.stop - rows.start, columns.stop - columns.start)
    mask = np.zeros(size, bool)
    if radii[0] and radii[1]:
        center = (row - rows.start, column - columns.start)
        mask[draw.ellipse(*center, radii[1], radii[0], size, np.radians(ellipse.angle))] = True
    return (rows, columns), mask


def _enlarged(ellipse: Ellipse, factor: float, widest: float) -> tuple[float, float]:
    """Axes grown by the amount that the factor adds to the minor one, rounded to whole half axes."""
    if ellipse.major < ellipse.minor:
        axes = (ellipse.minor + (factor - 1.0) * ellipse.major, ellipse.major * factor)
    else:
        axes = (ellipse.minor * factor, ellipse.major + (factor - 1.0) * ellipse.minor)
    return round(min(axes[0], widest) / 2) * 2, round(min(axes[1], widest) / 2) * 2


def _flag_ellipses(flags: Flags, groups: range, ellipses: list[Ellipse], factor: float, widest: float) -> None:
    """Flag enlarged ellipses as jumps in some groups of one integration (ngroups, ny, nx), except where saturated."""
    for ellipse in ellipses:
        where, mask = ellipse_mask(ellipse, _enlarged(ellipse, factor, widest), (flags.shape[1], flags.shape[2]))
        for group in groups:
            plane = flags[group][where]
            mask &= plane & dq.SATURATED == 0
            plane[mask] |= dq.JUMP_DET


def flag_snowballs(flags: Flags, *, params: JumpParams, group_time: float) -> int:
    """Flag snowballs in place.

    Parameters
    ----------
    flags : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags with jumps and saturation; JUMP_DET and SATURATED are added in place.
    params : JumpParams
        Parameters; see there.
    group_time : float
        Time between groups, s.

    Returns
    -------
    int
        Number of snowballs.
    """
    nints, ngroups, ny, nx = flags.shape
    cores = np.zeros((nints, ny, nx), np.uint8)
    widest = params.max_extended_radius * 2
    total = 0
    for integration in range(nints):
        cube = flags[integration]
        for group in range(1, ngroups):
            jumps = find_ellipses(cube[group] & dq.JUMP_DET, params.min_jump_area)
            snowballs = jumps
            if params.sat_required_snowball:
                saturated = _newly_saturated(cube, group, params.min_sat_area)
                following = _newly_saturated(cube, group + 1, params.min_sat_area) if group < ngroups - 1 else []
                snowballs = [j for j in jumps if _is_snowball(j, [*saturated, *following], ny, params.edge_size)]
                _grow_cores(cube, group, saturated, params, cores[integration])
            total += len(snowballs)
            _flag_ellipses(cube, range(group, group + 1), snowballs, params.expand_factor, widest)
    last = min(int(params.snowball_time_masked_next_int // group_time), ngroups)
    if params.mask_snowball_core_next_int and last >= 1:
        for integration in range(1, nints):
            flags[integration, 1:last] |= cores[integration - 1]
    return total


def _newly_saturated(cube: Flags, group: int, min_area: float) -> list[Ellipse]:
    """Areas that are saturated in a group and were not in the one before."""
    new = (cube[group] & dq.SATURATED) * (cube[group - 1] & dq.SATURATED == 0)
    return find_ellipses(new, min_area)


def _is_snowball(jump: Ellipse, cores: list[Ellipse], ny: int, edge: int) -> bool:
    """Whether a jump holds a saturated core, or is so near the edge that the core may be outside."""
    high = max(0, ny - edge)
    if jump.x < edge or jump.y < edge or jump.x > high or jump.y > high:
        return True
    return any(jump.contains(core.x, core.y) for core in cores)


def _grow_cores(cube: Flags, group: int, cores: list[Ellipse], params: JumpParams, kept: Flags) -> None:
    """Enlarge saturated cores from a group on; note the cores themselves in `kept`, for the next integration."""
    shape = (cube.shape[1], cube.shape[2])
    for core in cores:
        if not min(core.major, core.minor) > params.min_sat_radius_extend:
            continue
        widest = params.max_extended_radius * 2
        grown = (min(core.minor + params.sat_expand * 2, widest), min(core.major + params.sat_expand * 2, widest))
        where, mask = ellipse_mask(core, grown, shape)
        for plane in cube[group:]:
            plane[where][mask] = dq.SATURATED
        where, mask = ellipse_mask(core, (core.minor, core.major), shape)
        kept[where][mask] = dq.JUMP_DET


def flag_showers(
    electrons: npt.NDArray[np.float32],
    flags: Flags,
    pixel_flags: npt.NDArray[np.uint32],
    *,
    noise: npt.NDArray[np.float32],
    nframes: int,
    group_time: float,
    params: JumpParams,
    amplitude: float = OFFICIAL_SHOWER_AMPLITUDE,
) -> tuple[Flags, int]:
    """Flag the faint extended emission of showers.

    Parameters
    ----------
    electrons : (nints, ngroups, ny, nx) float32 ndarray
        Ramps, electrons; NaN where DO_NOT_USE or SATURATED.
    flags : (nints, ngroups, ny, nx) uint8 ndarray
        Group flags after the jump detection. Not changed.
    pixel_flags : (ny, nx) uint32 ndarray
        Pixel flags.
    noise : (ny, nx) float32 ndarray
        Read noise of a difference of two reads (CDS), electrons.
    nframes : int
        Frames averaged in a group.
    group_time : float
        Time between groups, s.
    params : JumpParams
        Parameters; see there.
    amplitude : float, optional
        Flags are taken back where they change the mean rate by more than this, electrons/s (see the module).

    Returns
    -------
    flags : (nints, ngroups, ny, nx) uint8 ndarray
        Flags with JUMP_DET added.
    count : int
        Number of showers.
    """
    nints, ngroups = flags.shape[:2]
    unused = int(np.count_nonzero(np.bitwise_and.reduce(flags, axis=(2, 3)) & dq.DO_NOT_USE))
    if nints * (ngroups - 1) - unused < MIN_SHOWER_DIFFS:
        warn("too few differences for the detection of showers")
        return flags, 0
    result = flags.copy()
    result[:, :, pixel_flags == dq.REFERENCE_PIXEL] = dq.DO_NOT_USE
    showers = _find_showers(electrons, flags, result, pixel_flags, (noise, nframes), params)
    later = int(params.time_masked_after_shower // group_time)
    for integration, group, ellipses in showers:
        groups = range(group, min(group + later + 1, ngroups))
        factor = params.extend_ellipse_expand_ratio
        _flag_ellipses(result[integration], groups, ellipses, factor, params.max_extended_radius * 2)
    for integration in range(nints):
        before = _mean_difference(electrons[integration], flags[integration])
        change = np.abs(before - _mean_difference(electrons[integration], result[integration]))
        undo = ~np.isfinite(change) | (change > amplitude * group_time)
        result[integration][:, undo] = flags[integration][:, undo]
    return result, sum(len(ellipses) for _, _, ellipses in showers)


def _find_showers(
    electrons: npt.NDArray[np.float32],
    flags: Flags,
    masked: Flags,
    pixel_flags: npt.NDArray[np.uint32],
    exposure: tuple[npt.NDArray[np.float32], int],
    params: JumpParams,
) -> list[tuple[int, int, list[Ellipse]]]:
    """(integration, group, ellipses) of extended emission; ``exposure`` = (noise, nframes)."""
    from astropy.convolution import Ring2DKernel
    from astropy.stats import sigma_clipped_stats

    noise, nframes = exposure
    nints, ngroups = flags.shape[:2]
    data = np.where(np.isin(flags, (1, 2, 3, 4, 5)), np.float32(np.nan), electrons)
    diffs = np.diff(data, axis=1)
    kernel = Ring2DKernel(params.extend_inner_radius, params.extend_outer_radius).array
    found = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if nints >= params.minimum_sigclip_groups:
            _, center, sigma = sigma_clipped_stats(diffs, sigma=5, axis=0)
        else:
            median = np.nanmedian(diffs, axis=(0, 1))
            center = np.broadcast_to(median, diffs.shape[1:])
            sigma = np.broadcast_to(np.sqrt(np.abs(median) + noise**2 / nframes), diffs.shape[1:])
        for integration in range(nints):
            usable = ~np.all(masked[integration] & dq.DO_NOT_USE, axis=(1, 2))
            for group in range(int(np.argmax(usable)) + 1, ngroups):
                ratio = np.abs(diffs[integration, group - 1] - center[group - 1]) / sigma[group - 1]
                ratio[(masked[integration, group] | pixel_flags) & _UNUSABLE != 0] = np.nan
                extended = _smooth(ratio, kernel) > params.extend_snr_threshold
                ellipses = find_ellipses(extended.astype(np.uint8), params.extend_min_area)
                if ellipses:
                    found.append((integration, group, ellipses))
    return found


def _smooth(image: npt.NDArray[Any], kernel: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Convolve an image, interpolating over NaN; they stay NaN. Outside the image is zero."""
    from scipy import signal

    good = np.isfinite(image)
    smooth = signal.oaconvolve(np.where(good, image, image.dtype.type(0)), kernel, mode="same")
    edge = kernel.shape[0] // 2
    padded = np.ones((good.shape[0] + kernel.shape[0] - 1, good.shape[1] + kernel.shape[1] - 1))
    padded[edge:-edge, edge:-edge] = good
    weight = signal.oaconvolve(padded, kernel, mode="valid")
    smooth /= weight
    smooth[~(good & (weight > 1e-3 * np.mean(kernel)))] = np.nan
    return np.asarray(smooth)


def _mean_difference(electrons: npt.NDArray[np.float32], flags: Flags) -> npt.NDArray[np.float32]:
    """Mean difference of the usable groups of one integration (ngroups, ny, nx), electrons per group."""
    data = np.where(flags & _UNUSABLE != 0, np.float32(np.nan), electrons)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)
        return np.asarray(np.nanmean(np.diff(data, axis=0), axis=0))
