"""Whether calibrated exposures still hold their background: from the keyword S_BKDSUB and from their level.

Products of the archive, and of users, come in unlike states: science background-subtracted and references not, the
reverse, or without the keyword. The level of an exposure far from its star, compared with that of its background
exposures, tells; the keyword decides where the level does not.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lyot.errors import InputError
from lyot.exposures.exposure import Exposure
from lyot.exposures.roles import NOT_REDUCED, Assigned, Role, with_role
from lyot.instrument import modeled_coronagraph

log = logging.getLogger(__name__)

SUBTRACTED_BELOW = 0.35
"""Level, in units of the background's, below which an exposure counts as subtracted; a bright star's halo is in it."""

PRESENT_ABOVE = 0.65
"""Level, in units of the background's, above which an exposure counts as not subtracted."""

TYPICAL = {"F1065C": 11.0, "F1140C": 15.0, "F1550C": 42.0, "F2300C": 280.0}
"""Background by filter where no background exposure tells, MJy/sr; in flight it varies by a factor of two."""

FAR = 5.0
"""Radius beyond which the level is measured, arcsec."""

CURE = (
    "set S_BKDSUB in its header to COMPLETE (subtracted) or SKIPPED (not), or run.calints_background to "
    "'subtracted' or 'present' for all"
)


@dataclass(frozen=True)
class BackgroundStates:
    """State of the background in the calibrated exposures of a run.

    Attributes
    ----------
    backgrounds : dict of str to tuple of Path
        Background calints that are subtracted from each star exposure (root) that needs it.
    lines : tuple of str
        One sentence each about what is done, or cannot be.
    """

    backgrounds: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def background_level(path: Path) -> float:
    """Median level of a calibrated exposure at least `FAR` from its star, MJy/sr; NaN if no pixel is good."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            data = np.array(hdus["SCI"].data, dtype=np.float64)
            flags = hdus["DQ"].data if "DQ" in hdus else None
            if flags is not None and flags.shape == data.shape:
                data[(flags & 1) > 0] = np.nan
            header, name = hdus["SCI"].header, hdus[0].header.get("FILTER")
            instrument = hdus[0].header.get("INSTRUME")
            center = [header.get(key) for key in ("CRPIX1", "CRPIX2")]
    except (OSError, KeyError, TypeError, ValueError, fits.VerifyError) as error:
        raise InputError(
            f"{path}: the image data cannot be read ({error}); download or copy the file again."
        ) from error
    cube = data.reshape(-1, *data.shape[-2:])
    known = modeled_coronagraph(str(instrument), str(name))
    if known is not None and all(isinstance(value, (int, float)) and abs(value) < 1e6 for value in center):
        y, x = np.indices(cube.shape[1:])
        radius = np.hypot(x - center[0] + 1, y - center[1] + 1) * float(np.mean(known.pixel_scale))
        if (radius > FAR).any():
            cube = cube[:, radius > FAR]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: NaN, as meant
        return float(np.nanmedian(cube))


def background_states(assigned: Sequence[Assigned], *, given: str = "auto", subtract: bool = True) -> BackgroundStates:
    """Find the calibrated star exposures that still hold their background, and the backgrounds to subtract from them.

    Parameters
    ----------
    assigned : sequence of Assigned
        Exposures of one filter.
    given : {"auto", "subtracted", "present"}, optional
        ``run.calints_background``: the state of all of them, or found out.
    subtract : bool, optional
        ``run.background``: False leaves everything as it is.

    Raises
    ------
    InputError
        If the state of an exposure cannot be told, or exposures in unlike states cannot be made alike.
    """
    stars = [
        a for a in with_role(assigned, Role.SCIENCE, Role.REFERENCE)
        if a.exposure.stage == "calints" and a.exposure.instrument == "MIRI"
    ]  # fmt: skip
    if not stars:
        return BackgroundStates()
    exposures = {a.exposure.root: a.exposure for a in assigned}
    calibrated = {a.exposure.root: tuple(exposures[b] for b in a.backgrounds if b in exposures
                                         and exposures[b].stage == "calints") for a in stars}  # fmt: skip
    own_levels = {e.root: background_level(e.path) for e in {b for found in calibrated.values() for b in found}}
    states = []
    for star in stars:
        backs = [own_levels[b.root] for b in calibrated[star.exposure.root] if np.isfinite(own_levels[b.root])]
        states.append(_state(star.exposure, float(np.median(backs)) if backs else None, given))
    holding = [(a, s) for a, s in zip(stars, states, strict=True) if s.present]
    needy = {a.exposure.root: tuple(b.path for b in calibrated[a.exposure.root]) for a, _ in holding}
    if not subtract:
        needy = dict.fromkeys(needy, ())
    _check_alike(stars, states, needy, _subtracted_slopes(assigned) if subtract else None)
    lines = [*_empty(stars, states), *_lines(holding, needy)]
    return BackgroundStates({root: paths for root, paths in needy.items() if paths}, tuple(lines))


@dataclass(frozen=True)
class _State:
    """Whether an exposure holds its background, and its level, MJy/sr."""

    present: bool
    level: float


def _state(exposure: Exposure, background: float | None, given: str) -> _State:
    """State of one exposure; `background` is the level of its background exposures, None if there are none."""
    level = background_level(exposure.path)
    if not np.isfinite(level):
        return _State(False, level)  # there is nothing to subtract from
    if given != "auto":
        return _State(given == "present", level)
    typical = TYPICAL.get(exposure.filter)
    if background is not None and typical is not None and background < 0.2 * typical:
        log.warning(
            "%s: the level of its background exposures is only %.1f MJy/sr, as if they had been subtracted from "
            "themselves; it is not used for comparison", exposure.root, background)  # fmt: skip
        background = None
    keyword = exposure.background_keyword
    if background is None:
        if keyword:
            return _State(keyword != "COMPLETE", level)
        return _State(typical is not None and level > SUBTRACTED_BELOW * typical, level)
    ratio = level / background
    if ratio < SUBTRACTED_BELOW:
        return _State(False, level)
    if keyword == "COMPLETE" and ratio > PRESENT_ABOVE:
        raise InputError(
            f"{exposure.path}: S_BKDSUB is COMPLETE, but the level of the image, {level:.1f} MJy/sr, is that of the "
            f"background ({background:.1f}); {CURE}."
        )
    if keyword or ratio > PRESENT_ABOVE:
        return _State(keyword != "COMPLETE", level)
    raise InputError(
        f"{exposure.path}: it cannot be determined whether the background was subtracted (level {level:.1f} MJy/sr, "
        f"of the background exposures {background:.1f} MJy/sr, no S_BKDSUB); {CURE}."
    )


def _subtracted_slopes(assigned: Sequence[Assigned]) -> Exposure | None:
    """A star exposure that stage 2 is going to subtract the background from, if there is one."""
    stars = with_role(assigned, Role.SCIENCE, Role.REFERENCE)
    return next((a.exposure for a in stars if a.exposure.stage != "calints" and a.backgrounds), None)


def _check_alike(
    stars: Sequence[Assigned],
    states: Sequence[_State],
    needy: dict[str, tuple[Path, ...]],
    other: Exposure | None,
) -> None:
    """Refuse exposures that would be used with their background next to others (`other` is one) without."""
    pairs = list(zip(stars, states, strict=True))
    left = [(a, s) for a, s in pairs if s.present and not needy[a.exposure.root]]
    clean = [a.exposure for a, s in pairs if not s.present or needy[a.exposure.root]]
    clean += [] if other is None else [other]
    if left and clean:
        one, state = left[0]
        raise InputError(
            f"{one.exposure.path}: still contains its background (level {state.level:.1f} MJy/sr), in contrast to "
            f"{clean[0].path.name}, and there are no background calints; add them, start from rateints with their "
            f"backgrounds, or, if the background was subtracted, {CURE}."
        )


def _empty(stars: Sequence[Assigned], states: Sequence[_State]) -> list[str]:
    """A sentence about exposures without any good pixel far from the star."""
    names = [a.exposure.path.name for a, s in zip(stars, states, strict=True) if not np.isfinite(s.level)]
    if not names:
        return []
    more = f" and {len(names) - 1} other{'s' if len(names) > 2 else ''}" if len(names) > 1 else ""
    verb = "have" if len(names) > 1 else "has"
    return [f"{names[0]}{more} {verb} no good pixel beyond {FAR:g} arcsec (all NaN or flagged)."]


def _lines(holding: Sequence[tuple[Assigned, _State]], needy: dict[str, tuple[Path, ...]]) -> list[str]:
    lines = []
    for role, word in ((Role.SCIENCE, "science target"), (Role.REFERENCE, "reference star")):
        mine = [(a, s) for a, s in holding if a.role is role]
        if not mine:
            continue
        level = float(np.median([s.level for _, s in mine]))
        number = len({b for a, _ in mine for b in needy[a.exposure.root]})
        about = f"the calints of the {word} still contain their background (level {level:.1f} MJy/sr)"
        if number:
            borrowed = " of the other star" if all(a.borrowed for a, _ in mine) else ""
            lines.append(f"{about}: {number} background calints{borrowed} are subtracted.")
        else:
            lines.append(
                f"{about} and there are no background calints to subtract: the glow sticks will remain in its images."
            )
    return lines


def state_advice(assigned: Sequence[Assigned]) -> list[str]:
    """Advice on the background in calibrated exposures, one sentence per filter."""
    lines: list[str] = []
    for name in sorted({a.exposure.filter for a in assigned if a.role not in NOT_REDUCED}):
        try:
            lines += background_states([a for a in assigned if a.exposure.filter == name]).lines
        except InputError as error:
            lines.append(str(error))
    return lines
