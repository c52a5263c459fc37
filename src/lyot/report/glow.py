"""The glow sticks before and after the background subtraction, from the files beside the products of stage 2."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GlowStick:
    """Mean brightness of a strip of glow in an exposure, above its surroundings.

    Attributes
    ----------
    exposure, name, unit : str
    before, before_error, after, after_error : float
        Before and after the subtraction.
    """

    exposure: str
    name: str
    unit: str
    before: float
    before_error: float
    after: float
    after_error: float


def glow_sticks(out: Path) -> list[GlowStick]:
    """Strips of all exposures of a run, in the order of their names; empty without background subtraction."""
    found = []
    for path in sorted((out / "stage2").glob("*_background.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        name, unit = path.name.removesuffix("_background.json"), str(content.get("unit", "DN/s"))
        for strip in content.get("glow_sticks", []):
            found.append(GlowStick(name, str(strip["name"]), unit, *strip["before"], *strip["after"]))
    return found
