"""Do the optics fitted to HD 218261 also describe another star of another program? HD 106906, its disk masked.

    LYOT_TEST_DATA=DIR python benchmarks/optics_disk_star.py [--out FILE]

HD 106906 (program 1277, F1140C, one exposure) has an edge-on debris disk at position angle 104.4 degrees: the pixels
within `WEDGE` of its axis are left out, and all beyond 1.6 arcsec. Flux, position and small errors of the wavefront (55
modes, with their prior) are fitted to the rest, for each kind of optics. The figure is what the fit leaves, rms beyond
the noise, over the rms of the star's light. A wider wedge shows what of it is disk. Nothing of this exposure but the
image of its companion 7 arcsec away was in the fit of the effective optics.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from astropy.io import fits

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.optics.small_errors import small_errors, wavefront_modes
from lyot.subtract.star_position import StarFitParams, fit_star

DISK_ANGLE = 104.4
"""Position angle of the disk, degrees (Kalas et al. 2015, ApJ 814, 32)."""

WEDGES = (0.0, 20.0, 35.0, 50.0)
"""Degrees on either side of the disk's axis that are left out."""


def main() -> None:
    """Fit, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "optics_disk_star.json")
    options = parser.parse_args()
    (path,) = (Path(os.environ["LYOT_TEST_DATA"]) / "miri_hd106906_f1140c").glob("jw01277019001_04101_*_calints.fits")
    c, params = coronagraph("F1140C"), StarFitParams()
    with fits.open(path) as hdus:
        frame = np.where(hdus["DQ"].data[0] & 1, np.nan, hdus["SCI"].data[0].astype(float))
        variance = hdus["ERR"].data[0].astype(float) ** 2
        header = hdus["SCI"].header
    center = (header["CRPIX1"] - 1.0, header["CRPIX2"] - 1.0)
    pa_y = geometry.pa_of_detector_y(header["ROLL_REF"], header["V3I_YANG"])
    dx, dy = geometry.offset_grid(frame.shape, center)
    dx, dy = dx * c.pixel_scale[0], dy * c.pixel_scale[1]
    r = np.hypot(dx, dy)
    axis = np.array(geometry.detector_offset(1.0, DISK_ANGLE, float(pa_y)), dtype=float)
    with np.errstate(invalid="ignore"):
        from_disk = np.degrees(np.arccos(np.clip(np.abs(dx * axis[0] + dy * axis[1]) / r, 0.0, 1.0)))
    known = np.isfinite(variance) & (variance > 0)
    if not known.any():  # these files have no errors: the noise of the field, 6 to 9 arcsec off
        ring = (r > 6) & (r < 9) & np.isfinite(frame)
        variance = np.full(frame.shape, (np.subtract(*np.percentile(frame[ring], [75, 25])) / 1.349) ** 2)
    record: dict[str, object] = {"what": "F1140C, HD 106906: rms left over rms of the star's light, inside 1.6 arcsec"}
    for stop in ("eroded", "geometric", "effective"):
        model = CoronagraphModel.build("F1140C", OpticsParams(stop=stop, n_wavelengths=3))
        rows = {}
        for wedge in WEDGES:
            used = (r < params.radius) & ((from_disk > wedge) | (wedge == 0))
            for modes in (0, 55):
                pupil = wavefront_modes(n=modes, npix=model.params.pupil_pixels) if modes else []
                fields = small_errors(model, (dx[used], dy[used]), pupil)
                fit = fit_star(frame[used][None], fields, variance=variance[used][None], params=params)
                rows[f"wedge {wedge:.0f} deg, {modes} modes"] = {
                    "residual": round(float(fit.residual[0]), 3),
                    "offset mas": np.round(fit.offset[0], 1).tolist(),
                    "flux mJy": round(float(fit.flux[0]) * c.pixel_area * 1e9, 1),
                    "pixels": int(used.sum()),
                }
        record[stop] = rows
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
