"""Simulated dithers compared with the real ones of HD 218261 (F1140C): radial profile, and noise after KLIP.

    LYOT_TEST_DATA=DIR python benchmarks/optics_on_sky.py [--out FILE]

For each kind of optics the star is imaged at the nine commanded dithers with the pointing of the fit, with drifts of
the wavefront and jitter as the simulator has them from exposure to exposure, and noise as the real frames have far
from the star. Ratios of rms, simulated over real, in annuli: of the images less their background, and of what KLIP
leaves of each dither with the eight others as references (seven modes).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import sigma_clip
from numpy.typing import NDArray
from optics_fit import load

from lyot.instrument import coronagraph
from lyot.optics import CoronagraphModel, OpticsParams, drifted
from lyot.simulator.scene import Optics, Pointing

FloatArray = NDArray[np.float64]

EDGES = (0.2, 0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.5, 3.0)
FLUX = {"effective": 0.2085, "geometric": 0.240, "eroded": 0.240}
"""Jy; the effective optics have the flux that was fitted with them."""
POINTING = (0.0123, 0.0056)
"""arcsec along x and y, of the fit to all dithers."""


def noise_of(folder: Path) -> float:
    """Noise per pixel of a frame, MJy/sr: of differences of dithers 6 to 9 arcsec from the star."""
    images = [fits.getdata(p, "SCI")[0].astype(float) for p in sorted(folder.glob("jw01194015001_04101_*.fits"))]
    y, x = np.indices(images[0].shape)
    r = 0.1107 * np.hypot(x - 106.75, y - 105.24)
    ring = (r > 6.0) & (r < 9.0)
    parts = [(a - b)[ring] for a, b in itertools.pairwise(images)]
    # bad pixels apart, the noise has wings beyond a normal one: the rms within five sigmas counts
    values = [sigma_clip(p[np.isfinite(p)], sigma=5.0, masked=False).std() / np.sqrt(2) for p in parts]
    return float(np.median(values))


def simulated(
    stop: str, dither: FloatArray, shape: tuple[int, int], center: tuple[float, float], noise: float
) -> FloatArray:
    """Nine frames, MJy/sr."""
    c, rng = coronagraph("F1140C"), np.random.default_rng(20260727)
    model = CoronagraphModel.build("F1140C", OpticsParams(stop=stop))
    own = model.wavefront
    frames = []
    for offset in dither * 1e-3:
        at = np.array(POINTING) + offset + Pointing().jitter * rng.standard_normal(2)
        wavefront = drifted(own, Optics().drift_exposure, rng)
        image = model.psf((float(at[0]), float(at[1])), shape=shape, center=center, wavefront=wavefront)
        frames.append(FLUX[stop] * 1e-6 / c.pixel_area * image + noise * rng.standard_normal(shape))
    return np.array(frames)


def klip_residuals(frames: FloatArray, zones: list[NDArray[np.bool_]]) -> list[float]:
    """Rms of what is left of each frame, zone by zone, with the others as references."""
    out = []
    for zone in zones:
        data = frames[:, zone]
        data = np.where(np.isfinite(data), data, 0.0)
        data = data - data.mean(axis=1, keepdims=True)
        left = []
        for k in range(len(data)):
            basis = np.linalg.svd(np.delete(data, k, axis=0), full_matrices=False)[2][:7]
            left.append(data[k] - (data[k] @ basis.T) @ basis)
        out.append(float(np.sqrt(np.mean(np.square(left)))))
    return out


def main() -> None:
    """Compare, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "optics_on_sky.json")
    options = parser.parse_args()
    folder = Path(os.environ["LYOT_TEST_DATA"]) / "miri_hd106906_f1140c"
    star, _ = load(folder)
    r = np.hypot(star.dx, star.dy)
    zones = [(r >= a) & (r < b) for a, b in itertools.pairwise(EDGES)]
    # the background is what the frames hold 2.9 arcsec off: of the star's light little is left there
    real = star.frames - np.nanmedian(star.frames[:, r > 2.9], axis=1)[:, None, None]
    noise = noise_of(folder)
    ny, nx = r.shape
    center = (
        float(-star.dx[0, 0] / (star.dx[0, 1] - star.dx[0, 0])),
        float(-star.dy[0, 0] / (star.dy[1, 0] - star.dy[0, 0])),
    )
    true = [float(np.sqrt(np.nanmean(real[:, z] ** 2))) for z in zones]
    left = klip_residuals(real, zones)
    record: dict[str, object] = {
        "annuli arcsec": list(EDGES), "noise MJy/sr": round(noise, 3),
        "real rms MJy/sr": np.round(true, 2).tolist(), "real after KLIP": np.round(left, 3).tolist(),
    }  # fmt: skip
    for stop in ("eroded", "geometric", "effective"):
        frames = simulated(stop, star.dither, (ny, nx), center, noise)
        frames = frames - np.median(frames[:, r > 2.9], axis=1)[:, None, None]
        ratio = [float(np.sqrt(np.mean(frames[:, z] ** 2))) / t for z, t in zip(zones, true, strict=True)]
        after = [a / b for a, b in zip(klip_residuals(frames, zones), left, strict=True)]
        record[stop] = {
            "rms, simulated over real": np.round(ratio, 3).tolist(),
            "after KLIP": np.round(after, 3).tolist(),
        }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
