"""Names of products, and of targets."""

from __future__ import annotations

import re
from pathlib import Path

_BACKGROUND_WORD = re.compile(r"[-_ ]*(BACKGROUND|BCKGRND|BKGD|BKG|BGND|SKY)[-_ ]*\d*$", re.IGNORECASE)


def plain_name(name: str) -> str:
    """A target's name in capitals, without blanks, signs and a trailing word for background."""
    return re.sub(r"[^A-Z0-9]", "", _BACKGROUND_WORD.sub("", name.strip()).upper())


_SUFFIX = re.compile(r"_(uncal|rateints|calints|ramp|rate|cal|crfints|i2d|psfsub|psfalign|psfstack|bsubints)$")

ROLL_IMAGE = re.compile(r"_roll\d+_i2d\.fits$")
"""Ends of the names of the north-up images of single rolls."""

NORTH_UP = ("i2d", "klcube", "refined")
"""Suffixes of the products of stage 3 that have north up."""


def exposure_root(path: Path) -> str:
    """File name without ``.fits`` and without the product suffix (``_uncal``, ``_rateints``, ...)."""
    return _SUFFIX.sub("", path.name.removesuffix(".gz").removesuffix(".fits"))


def is_product(path: str | Path, suffix: str) -> bool:
    """Whether a file is the product with a suffix; images of single rolls are none of the ``i2d``."""
    name = Path(path).name
    return name.endswith(f"_{suffix}.fits") and not ROLL_IMAGE.search(name)


def is_north_up(path: Path) -> bool:
    """Whether a product has north up, from its name."""
    return path.stem.endswith(tuple(f"_{suffix}" for suffix in NORTH_UP))


def roll_suffix(index: int) -> str:
    """Suffix of the north-up image of a roll, `index` from 0."""
    return f"roll{index + 1:02d}_i2d"
