"""Fit the optics to HD 218261 behind the F1140C mask and to HD 106906 b, from several starts; old stop beside new.

    LYOT_TEST_DATA=DIR python benchmarks/optics_fit.py [--out DIR] [--only KIND] [--starts N] [--keep FILE]

The data are nine small-grid dithers of HD 218261 (program 1194) and HD 106906 (program 1277), F1140C, in
DIR/miri_hd106906_f1140c. Dithers 1, 3, 5, 7, 9 are fitted, 2, 4, 6, 8 are predicted at the commanded dithers. `--keep`
writes the fit to all nine dithers as the one that Lyot comes with.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lyot.instrument import coronagraph
from lyot.optics.fitting import CompanionFrame, OpticsFit, OpticsFitParams, StarFrames, fit_optics
from lyot.optics.stops import FITTED_SHAPE, StopShape

FloatArray = NDArray[np.float64]

STAR_FLUX = (0.240, 0.012)
"""HD 218261, Jy, from its K magnitude and spectral type; HD 106906 has 64 mJy in the same way."""

STAR_RATIO = 0.2646
"""Flux of HD 106906 over that of HD 218261, from the scale that subtracts one from the other best."""

COMPANION_PIXEL = (161, 71)
COMPANION_NOISE = 0.30  # MJy/sr, of the difference image around the companion
HALF = 28  # pixels around the star

STARTS = {
    "drawing that fits best": FITTED_SHAPE,
    "wide center and bars": StopShape(2.72, 0.75, 0.4, 0.4),
    "no bar on top": StopShape(2.9, 0.9, 0.2, 0.2),
}


def load(folder: Path) -> tuple[StarFrames, CompanionFrame]:
    """The dithers of the star, and the companion without its star."""
    c = coronagraph("F1140C")
    frames, offsets, whole, center = [], [], [], (0.0, 0.0)
    for path in sorted(folder.glob("jw01194015001_04101_*.fits")):
        with fits.open(path) as hdus:
            image = np.where(hdus["DQ"].data[0] & 1, np.nan, hdus["SCI"].data[0].astype(float))
            header = hdus["SCI"].header
            center = (header["CRPIX1"] - 1.0, header["CRPIX2"] - 1.0)
            offsets.append((hdus[0].header["XOFFSET"], hdus[0].header["YOFFSET"]))
            whole.append(image)
    x0, y0 = round(center[0]) - HALF, round(center[1]) - HALF
    box = np.s_[y0 : y0 + 2 * HALF + 1, x0 : x0 + 2 * HALF + 1]
    frames = np.array([image[box] for image in whole])
    y, x = np.mgrid[box]
    dx, dy = (x - center[0]) * c.pixel_scale[0], (y - center[1]) * c.pixel_scale[1]
    dither = 1e3 * (np.array(offsets) - np.array(offsets)[0])
    with fits.open(next(iter(folder.glob("jw01277019001_*calints.fits")))) as hdus:
        science = hdus["SCI"].data[0].astype(float)
    rest = science - STAR_RATIO * np.mean(whole, axis=0)
    bx, by = COMPANION_PIXEL
    box = np.s_[by - 6 : by + 7, bx - 6 : bx + 7]
    y, x = np.mgrid[box]
    companion = CompanionFrame(
        rest[box],
        (x - center[0]) * c.pixel_scale[0],
        (y - center[1]) * c.pixel_scale[1],
        ((bx + 0.2 - center[0]) * c.pixel_scale[0], (by - center[1]) * c.pixel_scale[1]),
        COMPANION_NOISE,
    )
    return StarFrames(frames, dx, dy, dither, STAR_FLUX), companion


def figures(fit: OpticsFit) -> dict[str, object]:
    """What is written of a fit."""
    out: dict[str, object] = {
        "fitted": {k: round(v, 4) for k, v in asdict(fit.fitted).items()},
        "left out": {k: round(v, 4) for k, v in asdict(fit.left_out).items()},
        "companion chi2": round(fit.companion_chi2, 1),
        "companion pixels": fit.companion_pixels,
        "star mJy": round(1e3 * fit.flux, 1),
        "open fraction": round(fit.open_fraction, 3),
        "rejection": round(fit.rejection, 1),
        "wavefront nm": round(fit.wavefront_rms, 1),
        "pointing mas": fit.pointing.round(2).tolist(),
        "center mas": [round(1e3 * v, 1) for v in fit.optics.center],
        "phase error": round(fit.optics.phase_error, 4),
        "leak": [round(fit.optics.leak.real, 4), round(fit.optics.leak.imag, 4)],
        "charge diffusion arcsec": round(fit.optics.charge_diffusion, 4),
        "background MJy/sr": fit.background.round(2).tolist(),
        "seconds": round(fit.seconds, 1),
        "evaluations": fit.evaluations,
    }
    if fit.shape is not None:
        out["lengths m"] = {k: round(v, 3) for k, v in asdict(fit.shape).items()}
    return out


def main() -> None:
    """Fit from each start, and all dithers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--only", choices=("eroded", "geometric", "free"))
    parser.add_argument("--starts", type=int, default=len(STARTS))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    c = coronagraph("F1140C")
    star, companion = load(Path(os.environ["LYOT_TEST_DATA"]) / "miri_hd106906_f1140c")
    left, record, maps = (1, 3, 5, 7), {}, []
    for kind, weight in (("eroded", 40.0), ("geometric", 40.0), ("free", 3.0)):
        if options.only not in (None, kind):
            continue
        for name, shape in list(STARTS.items())[: 1 if kind == "eroded" else options.starts]:
            params = OpticsFitParams(stop=kind, companion_weight=weight)
            fit = fit_optics(c, star, companion=companion, leave_out=left, shape=shape, params=params)
            record[f"{kind}, from {name}"] = figures(fit)
            print(kind, name, json.dumps(figures(fit)), flush=True)
            if kind == "free":
                maps.append(fit.optics.stop(96))
    if len(maps) > 1:
        spread = np.std(maps, axis=0)
        record["free maps between starts, rms"] = round(float(np.sqrt((spread**2).mean())), 4)
    if options.keep is not None:
        fit = fit_optics(
            c, star, companion=companion, params=OpticsFitParams(stop="free"),
            origin="HD 218261 (program 1194, nine dithers, F1140C) and HD 106906 b (program 1277)",
        )  # fmt: skip
        record["free, all dithers (kept)"] = figures(fit)
        fit.optics.save(options.keep)
        print("kept", json.dumps(figures(fit)), flush=True)
    path = options.out / "optics_fit.json"
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
