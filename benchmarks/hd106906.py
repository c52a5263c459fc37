"""The numbers of HD 106906 (F1140C, programs 1194 and 1277) in the documentation, from archival calints.

    LYOT_TEST_DATA=DIR python benchmarks/hd106906.py --work WORK

Reduces them with the defaults and measures detection, companion, limits, matched-filter map and parametric ring; then
without the template of the background: S/N, limits, and the ridge along the mask boundaries. Five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from boundaries import excess

from lyot.analysis.combined_image import read_detections
from lyot.analysis.summary import read_limits
from lyot.exposures.headers import star_pixel
from lyot.exposures.names import COMPANIONS, DETECTIONS, DISK, DISK_RING, MATCHED_FILTER, SNR_MAP
from lyot.geometry import radius_map
from lyot.run.config import build_config
from lyot.run.execute import run

RESULTS = Path(__file__).parent / "results" / "hd106906.json"
STAR = {"k_magnitude": 6.683, "spectral_type": "F5V", "distance": 103.0}
SEPARATIONS = (0.5, 1.0, 2.0, 5.0)
SCALE = 0.11


def table(out: Path, name: str) -> Table:
    """A table of the measurements."""
    return Table.read(out / "measure" / name, format="ascii.ecsv")


def planet(out: Path) -> dict[str, Any]:
    """Detection and fit of the planet, and the limits at a few separations."""
    found = read_detections(out / "measure" / DETECTIONS)
    row = table(out, COMPANIONS)[0]
    keys = ("separation", "position_angle", "flux", "contrast", "snr", "significance", "reduced_chi2", "flux_err_stat",
            "separation_err", "position_angle_err", "flux_err", "contrast_err")  # fmt: skip
    limits = read_limits(out / "measure", SEPARATIONS)[0]  # as `lyot run` prints them
    return {
        "sources": len(found), "detection S/N": float(found[0]["snr"]),
        "companion": {key: float(row[key]) for key in keys},
        "limits, uJy": {str(limit.separation): 1e6 * limit.flux for limit in limits},
    }  # fmt: skip


def peak_of_maps(out: Path) -> dict[str, float]:
    """Highest S/N near the planet in the map of apertures and in that of the matched filter, and the flux there."""
    result = {}
    for name, label in ((SNR_MAP, "apertures"), (MATCHED_FILTER, "matched filter")):
        with fits.open(out / "measure" / name) as hdus:
            image, header = hdus["SCI"].data.astype(float), hdus[0].header
            radius = SCALE * radius_map(image.shape, star_pixel(header, hdus["SCI"].header))
            near = np.where(np.abs(radius - 7.11) < 0.4, image, -np.inf)
            at = np.unravel_index(np.nanargmax(near), near.shape)
            result[f"S/N, {label}"] = float(image[at])
            if "FLUX" in hdus:
                result |= {"flux, uJy": 1e6 * float(hdus["FLUX"].data[at]),
                           "error, uJy": 1e6 * float(hdus["FLUX_ERR"].data[at])}  # fmt: skip
    return result


def ring(out: Path) -> dict[str, Any]:
    """Fitted parameters of the ring."""
    rows = table(out, DISK_RING)
    fitted = {str(r["parameter"]): [float(r["value"]), float(r["error"])] for r in rows if r["status"] != "fixed"}
    return fitted | {"reduced_chi2": float(table(out, DISK)[0]["reduced_chi2"])}


def main() -> None:
    """Reduce, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder")
    args = parser.parse_args()
    data = Path(os.environ["LYOT_TEST_DATA"]) / "miri_hd106906_f1140c"
    sections = {"star": STAR, "companion": {"posterior": False}}
    out, bare = args.work / "defaults", args.work / "no_template"
    run([data], out, build_config({**sections, "maps": {"measure": True}, "disk": {"ring": True}}))
    run([data], bare, build_config({**sections, "stage3": {"klip": {"use_templates": False}}}))
    ridges = {name: [excess(p) for p in sorted((o / "stage3").glob("*_psfsub.fits"))]
              for name, o in (("defaults", out), ("no template", bare))}  # fmt: skip
    record = {"defaults": planet(out) | {"maps": peak_of_maps(out), "ring": ring(out)}, "no template": planet(bare),
              "ridge along the boundaries, MJy/sr": ridges}  # fmt: skip
    text = json.dumps(record, indent=1, default=float)
    print(text)
    RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
