"""Names of products, of segments, and of targets.

The archive cuts exposures of more than about 2 GB into segments (``-seg001``). Each has its own products at stages 1
and 2, named after it; INTSTART and INTEND of a segment number its integrations within the exposure, from 1.
"""

from __future__ import annotations

import glob
import re
from pathlib import Path

_BACKGROUND_WORD = re.compile(r"[-_ ]*(BACKGROUND|BCKGRND|BCKG|BKGD|BKG|BGND|SKY)[-_ ]*\d*$", re.IGNORECASE)
_OFFSET_WORD = re.compile(r"(^|[-_ ]+)(OFFSET|BACK)[-_ ]*\d*$", re.IGNORECASE)


def plain_letters(name: str) -> str:
    """A target's name without blanks, hyphens and case: ``HIP 65426`` and ``HIP-65426`` are one star."""
    return "".join(c for c in name.upper() if c.isalnum())


def plain_name(name: str) -> str:
    """A target's name in capitals, without blanks, signs and a trailing word for background."""
    return re.sub(r"[^A-Z0-9]", "", _OFFSET_WORD.sub("", _BACKGROUND_WORD.sub("", name.strip())).upper())


def names_offset(name: str) -> bool:
    """Whether a target's name ends with a word that backgrounds have and others too: ``HD-1-OFFSET``, ``HD-1 BACK``."""
    return _OFFSET_WORD.search(name.strip()) is not None


def names_background(name: str) -> bool:
    """Whether a target's name ends with a word for background: ``HD-1-BACKGROUND``, ``HD-1-BKG``, ``SKY-2``."""
    found = _BACKGROUND_WORD.search(name.strip())
    return found is not None and (found.start() == 0 or not found[0][0].isalnum())


_SUFFIX = re.compile(
    r"_(uncal|rateints|calints|ramp|rate|cal|crfints|i2d|psfsub|psfalign|psfstack|bsubints|samples|klcube|refined)$",
    re.IGNORECASE,
)

_FITS = re.compile(r"(\.fits)?(\.gz)?$", re.IGNORECASE)

SAMPLES = "samples"
"""Suffix of the ramps of a few pixels that stage 1 keeps for the report."""

QUALITY = "quality"
"""Suffix of the JSON next to the products of stage 3: warnings about the input, and its flagged fractions."""

ROLL_IMAGE = re.compile(r"_roll\d+_i2d\.fits$")
"""Ends of the names of the north-up images of single rolls."""

NORTH_UP = ("i2d", "klcube", "refined")
"""Suffixes of the products of stage 3 that have north up."""

DETECTIONS = "detections.ecsv"
SNR_MAP = "snr_map.fits"
CONTRAST = "contrast.ecsv"
CONTRAST_MAP = "contrast_map.fits"
COMPANIONS = "companions.ecsv"
COMPANIONS_RESIDUAL = "companions_residual.fits"
ERROR_BUDGET = "error_budget.ecsv"
PROPER_MOTION = "proper_motion.ecsv"
DISK = "disk.ecsv"
DISK_RESIDUAL = "disk_residual.fits"
DISK_RING = "disk_ring.ecsv"
DISK_RING_MODEL = "disk_ring.fits"
MATCHED_FILTER = "matched_filter.fits"
STIM_MAP = "stim_map.fits"
"""What is measured in a finished run: files in the folder ``measure``, or below it in that of a target."""

INJECTED = "INJECTED"
"""Extension of `CONTRAST_MAP`: the combined image of a reduction with a planet at the limit."""


def exposure_root(path: str | Path) -> str:
    """File name without ``.fits`` and without the product suffix (``_uncal``, ``_rateints``, ...)."""
    return _SUFFIX.sub("", _FITS.sub("", Path(path).name))


def may_be_ramps(path: str | Path) -> bool:
    """Whether a file is not called like slopes or calibrated integrations; what it is, its header tells."""
    return not _FITS.sub("", Path(path).name).endswith(("_rateints", "_calints"))


def is_product(path: str | Path, suffix: str) -> bool:
    """Whether a file is the product with a suffix; images of single rolls are none of the ``i2d``."""
    name = Path(path).name
    return name.endswith(f"_{suffix}.fits") and not ROLL_IMAGE.search(name)


def find_products(folder: Path, suffix: str) -> list[Path]:
    """Products with a suffix in the folder of a stage, by name; images of single rolls are none of the ``i2d``."""
    return [path for path in sorted(folder.glob(f"*_{suffix}.fits")) if is_product(path, suffix)]


def product_beside(path: Path, suffix: str) -> Path:
    """Place of the product with another suffix of the same exposure or association, in the same folder."""
    return path.with_name(f"{exposure_root(path)}_{suffix}.fits")


def roll_images(combined: Path) -> list[Path]:
    """North-up images of the single rolls of a combined image (``i2d``), in the order of the rolls."""
    return sorted(
        p for p in combined.parent.glob(f"{glob.escape(exposure_root(combined))}_roll*") if ROLL_IMAGE.search(p.name)
    )


def quality_files(folder: Path) -> list[Path]:
    """JSON files about the input of stage 3 in its folder."""
    return sorted(folder.glob(f"*_{QUALITY}.json"))


def is_north_up(path: Path) -> bool:
    """Whether a product has north up, from its name."""
    return path.stem.endswith(tuple(f"_{suffix}" for suffix in NORTH_UP))


def roll_suffix(index: int) -> str:
    """Suffix of the north-up image of a roll, `index` from 0."""
    return f"roll{index + 1:02d}_i2d"


_SEGMENT = re.compile(r"-seg(\d+)")


def segment_number(name: str) -> int:
    """Number of the segment that a file name (or its root) belongs to, from 1; 0 for a whole exposure."""
    found = _SEGMENT.search(name)
    return int(found[1]) if found else 0


def exposure_name(name: str) -> str:
    """File name (or its root) without the segment: the same for all segments of an exposure."""
    return _SEGMENT.sub("", name, count=1)
