"""Exposures that are assumed to be backgrounds because of their names, and the note about them."""

from __future__ import annotations

from collections.abc import Sequence

from lyot.exposures.exposure import Exposure
from lyot.exposures.names import names_offset, plain_name
from lyot.geometry import angular_distance

NEARBY = 1.0
"""A background field farther than this from a star is not taken for its own by position, degrees."""


def proposed_backgrounds(exposures: Sequence[Exposure]) -> dict[str, str]:
    """Why exposures whose headers call them no background are taken for one, by root.

    A name ending in BKG, BCKG, BKGD or SKY is enough. One that ends in OFFSET or BACK needs a star in the same
    configuration that has the rest of the name or is within a degree.
    """
    candidates = [e for e in exposures if e.is_coronagraphic and not e.given_role and not e.is_psf]
    stars = [e for e in exposures if _is_star(e)]
    reasons = {}
    for exposure in candidates:
        if exposure.is_background and exposure.background_from_name:
            reasons[exposure.root] = "its name ends like that of a background"
        elif not exposure.is_background and names_offset(exposure.target):
            reason = _reason(exposure, [s for s in stars if s.configuration == exposure.configuration])
            if reason:
                reasons[exposure.root] = reason
    return reasons


def _is_star(exposure: Exposure) -> bool:
    named = exposure.is_background or (names_offset(exposure.target) and not exposure.given_role)
    return exposure.is_coronagraphic and not named and exposure.given_role not in ("acquisition", "ignore")


def _reason(exposure: Exposure, stars: Sequence[Exposure]) -> str:
    """Why an exposure with an ambiguous name is the background of one of the stars; empty if it is not."""
    for star in stars:
        if plain_name(star.target) == plain_name(exposure.target):
            return "its name is that of the star with a suffix for background"
    near = [s for s in stars if s.sky and exposure.sky and angular_distance(s.sky, exposure.sky) < NEARBY]
    if not near:
        return ""
    star = min(near, key=lambda s: angular_distance(s.sky, exposure.sky))  # type: ignore[arg-type]
    distance = angular_distance(star.sky, exposure.sky)  # type: ignore[arg-type]
    return f"its name ends like that of a background, {60 * distance:.1f} arcmin from {star.target}"


def sentence(exposure: Exposure, star: Exposure | None, reason: str) -> str:
    """Describe which background is assumed, why, and how to override it."""
    owner = f"the background of {star.target}" if star is not None else "a background"
    return (
        f"{exposure.target} is used as {owner}, because {reason}; if this is wrong, use --role "
        f"'{exposure.target}=science'."
    )
