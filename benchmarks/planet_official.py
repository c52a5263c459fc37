"""The official stage 3 in a process of its own, and where star and planet are in what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from planet_ruler import Place

FloatArray = NDArray[np.float64]

CALL = """
import json, sys
from jwst.pipeline import Coron3Pipeline
Coron3Pipeline.call(sys.argv[1], save_results=True, output_dir=sys.argv[2], steps=json.loads(sys.argv[3]))
"""


def write_association(folder: Path, science: Sequence[Path], references: Sequence[Path]) -> Path:
    """Write the level-3 association of a sequence; members are named by their full paths."""
    folder.mkdir(parents=True, exist_ok=True)
    members = [{"expname": str(p.resolve()), "exptype": "science"} for p in science]
    members += [{"expname": str(p.resolve()), "exptype": "psf"} for p in references]
    table = {
        "asn_type": "coron3", "asn_rule": "DMS_Level3_Base", "asn_pool": "none", "asn_id": "a3001",
        "program": "01386", "target": "t001", "products": [{"name": "official", "members": members}],
    }  # fmt: skip
    path = folder / "asn.json"
    path.write_text(json.dumps(table))
    return path


def run_official(
    folder: Path,
    science: Sequence[Path],
    references: Sequence[Path],
    crds: Mapping[str, str],
    steps: Mapping[str, Mapping[str, object]] | None = None,
) -> Path:
    """Run the official Coron3Pipeline with its defaults (or `steps`) and return the i2d; reuses one that is there."""
    product = folder / "official_i2d.fits"
    if product.exists():
        return product
    association = write_association(folder, science, references)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CRDS_")} | dict(crds)
    command = [sys.executable, "-c", CALL, str(association), str(folder), json.dumps(steps or {})]
    with (folder / "log.txt").open("w") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True)
    return product


def read_official(product: Path, exposure: Path, offset: tuple[float, float], fwhm: float) -> tuple[FloatArray, Place]:
    """Image of an official i2d, and where star and planet are in it.

    The positions go through the coordinates of the exposure itself: detector pixel to sky, sky to pixel of the i2d. So
    they are right even where a cropping tool left the coordinates of the uncropped frame in the file.

    Parameters
    ----------
    product, exposure : Path
        The i2d, and a science exposure with its gwcs.
    offset : (east, north)
        Of the planet from the star, arcsec.
    fwhm : float
        lambda/D, arcsec.
    """
    from stdatamodels.jwst import datamodels

    from lyot import geometry

    with datamodels.open(exposure) as model:
        info = model.meta.wcsinfo
        star, wcs = (info.crpix1 - 1, info.crpix2 - 1), model.meta.wcs
        pa_y = geometry.pa_of_detector_y(info.roll_ref, info.v3yangle)
        scale = [3600 * np.hypot(*[getattr(info, f"cd{j}_{i}") or np.nan for j in (1, 2)]) for i in (1, 2)]
        if not np.all(np.isfinite(scale)):
            from lyot.instrument import coronagraph

            scale = list(coronagraph(model.meta.instrument.filter).pixel_scale)
        separation, angle = geometry.separation_and_pa(*offset)
        dx, dy = geometry.detector_offset(separation, angle, pa_y)
        sky = [wcs(*star), wcs(star[0] + float(dx) / scale[0], star[1] + float(dy) / scale[1])]
    with datamodels.open(product) as model:
        image = np.array(model.data, dtype=np.float64)
        places = [tuple(float(v) for v in model.meta.wcs.invert(*s)) for s in sky]
        side = float(np.sqrt(model.meta.photometry.pixelarea_arcsecsq or scale[0] * scale[1]))
    return image, Place(places[0], places[1], fwhm / side)
