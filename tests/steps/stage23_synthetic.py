"""Small synthetic exposures for the steps of stages 2 and 3: models in memory with the archive's keywords."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from stdatamodels.jwst import datamodels

from lyot.geometry import detector_offset, pa_of_detector_y
from lyot.instrument import coronagraph

F1550C = coronagraph("F1550C")
SHAPE = (90, 100)
STAR = (48.3, 44.6)
RA, DEC = 201.15, -51.5046
NOISE = 0.3


def point(shape: tuple[int, int], x: float, y: float, *, fwhm: float = 4.4) -> np.ndarray:
    yy, xx = np.indices(shape)
    return np.exp(-4 * np.log(2) * ((xx - x) ** 2 + (yy - y) ** 2) / fwhm**2)


def speckles(shape: tuple[int, int], star: tuple[float, float], phase: float) -> np.ndarray:
    """A star behind a coronagraph: a halo with speckles that change a little with `phase`."""
    yy, xx = np.indices(shape, dtype=float)
    dx, dy = xx - star[0], yy - star[1]
    r = np.hypot(dx, dy)
    texture = np.cos(1.3 * dx + phase) * np.cos(1.1 * dy - 0.7 * phase) + 0.5 * np.sin(0.9 * dx - 1.2 * dy + 2 * phase)
    return 400 * np.exp(-r / 7.0) * (1.2 + 0.5 * texture)


def planet_pixel(separation: float, pa: float, roll: float, star: tuple[float, float] = STAR) -> tuple[float, float]:
    """Pixel (x, y) of a planet given in arcsec and degrees."""
    dx, dy = detector_offset(separation, pa, pa_of_detector_y(roll, 4.83544897))
    return star[0] + float(dx) / F1550C.pixel_scale[0], star[1] + float(dy) / F1550C.pixel_scale[1]


def exposure(
    images: np.ndarray,
    *,
    name: str,
    roll: float = 108.171,
    star: tuple[float, float] = STAR,
    noise: float = NOISE,
    filter_name: str = "F1550C",
) -> datamodels.CubeModel:
    """A CubeModel with the keywords that stages 2 and 3 read."""
    model = datamodels.CubeModel(
        data=images.astype(np.float32),
        err=np.full(images.shape, noise, np.float32),
        dq=np.zeros(images.shape, np.uint32),
    )
    model.var_poisson = np.full(images.shape, noise**2 / 2, np.float32)
    model.var_rnoise = np.full(images.shape, noise**2 / 2, np.float32)
    meta = model.meta
    meta.filename = name
    meta.instrument.name, meta.instrument.detector = "MIRI", "MIRIMAGE"
    meta.instrument.filter, meta.instrument.coronagraph = filter_name, "4QPM_1550"
    meta.exposure.type = "MIR_4QPM"
    meta.exposure.start_time = 59790.0
    meta.exposure.effective_exposure_time = 100.0
    meta.subarray.name = "MASK1550"
    meta.subarray.xstart, meta.subarray.ystart = 1, 463
    meta.subarray.xsize, meta.subarray.ysize = images.shape[2], images.shape[1]
    meta.bunit_data = "MJy/sr"
    meta.target.ra, meta.target.dec = RA, DEC
    wcs = meta.wcsinfo
    wcs.crpix1, wcs.crpix2 = star[0] + 1, star[1] + 1
    wcs.crval1, wcs.crval2, wcs.ra_ref, wcs.dec_ref = RA, DEC, RA, DEC
    wcs.roll_ref, wcs.v3yangle, wcs.vparity = roll, 4.83544897, -1
    return model


def sequence(
    rng: np.random.Generator,
    *,
    planet: tuple[float, float, float] = (1.6, 149.4, 12.0),
    rolls: tuple[float, ...] = (108.171, 117.55),
    n_references: int = 6,
    nints: int = 3,
) -> tuple[list[datamodels.CubeModel], list[datamodels.CubeModel]]:
    """Science exposures with a planet (arcsec, deg, peak) and reference exposures without."""
    science, references = [], []
    for e, roll in enumerate(rolls):
        scene = speckles(SHAPE, STAR, 0.02 * e) + planet[2] * point(SHAPE, *planet_pixel(planet[0], planet[1], roll))
        images = rng.normal(scene, NOISE, (nints, *SHAPE))
        science.append(exposure(images, name=f"jw0100100{e + 1}001_calints.fits", roll=roll))
    for i in range(n_references):
        images = rng.normal(2.2 * speckles(SHAPE, STAR, 0.05 * (i - 2.5)), NOISE, (2, *SHAPE))
        references.append(exposure(images, name=f"jw01002001001_0000{i + 1}_calints.fits", roll=115.0))
    return science, references


def write_association(
    folder: Path, science: list[datamodels.CubeModel], references: list[datamodels.CubeModel], name: str = "target"
) -> Path:
    """Save the exposures and a level-3 association of them."""
    members = []
    for models, role in ((science, "science"), (references, "psf")):
        for model in models:
            path = folder / str(model.meta.filename)
            model.save(path)
            members.append({"expname": path.name, "exptype": role})
    asn = {"asn_type": "coron3", "asn_rule": "DMS_Level3_Base", "program": "01001", "asn_id": "a3001",
           "asn_pool": "none", "target": "t001", "products": [{"name": name, "members": members}]}  # fmt: skip
    path = folder / "coron3_asn.json"
    path.write_text(json.dumps(asn))
    return path
