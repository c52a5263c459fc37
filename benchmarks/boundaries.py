"""Is there a trench, or a ridge, along the boundaries of the four-quadrant mask in star-subtracted exposures?

Prints for each ``psfsub`` of a run the median of the pixels within 2 pixels of a boundary, between 3 and 7 arcsec from
the star, less the median of the field between the boundaries at the same separations, with its error; MJy/sr.

    python benchmarks/boundaries.py reduced [reduced ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits

from lyot.instrument import CORONAGRAPHS

NEAR, INNER, OUTER = 2.0, 3.0, 7.0
FAR = 8.0
"""The field between begins so many pixels from a boundary."""


def excess(path: Path) -> tuple[float, float]:
    """Median along the boundaries less that of the field between, and its error, MJy/sr."""
    with fits.open(path) as hdus:
        cube, header, science = hdus["SCI"].data.astype(float), hdus[0].header, hdus["SCI"].header
        cube[(hdus["DQ"].data & 1) > 0] = np.nan
    count = np.isfinite(cube).sum(axis=0)
    image = np.where(count > 0, np.nansum(cube, axis=0) / np.maximum(count, 1), np.nan)
    known = CORONAGRAPHS[header["FILTER"]]
    y, x = np.indices(image.shape, dtype=float)
    dx, dy = x - (science["CRPIX1"] - 1), y - (science["CRPIX2"] - 1)
    t = np.radians(known.boundary_tilt)
    u, v = dx * np.cos(t) + dy * np.sin(t), -dx * np.sin(t) + dy * np.cos(t)
    nearest = np.minimum(np.abs(u), np.abs(v))
    r = np.hypot(dx * known.pixel_scale[0], dy * known.pixel_scale[1])
    ring = (r > INNER) & (r < OUTER) & np.isfinite(image)
    along, between = image[ring & (nearest < NEAR)], image[ring & (nearest > FAR)]
    # of a median of normal noise: 1.2533 sigma / sqrt(n); the spread from the quartiles, as sources may be there
    error = [1.2533 * np.subtract(*np.percentile(v, [75, 25])) / 1.349 / np.sqrt(len(v)) for v in (along, between)]
    return float(np.median(along) - np.median(between)), float(np.hypot(*error))


def main() -> None:
    """Print a line for each star-subtracted exposure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="output folders of lyot run")
    for run in parser.parse_args().runs:
        for path in sorted((run / "stage3").glob("*_psfsub.fits")):
            value, error = excess(path)
            print(f"{run}  {path.name[:25]}  {value:+.3f} +- {error:.3f} MJy/sr")


if __name__ == "__main__":
    main()
