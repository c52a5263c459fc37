"""What the parameters in the "when to change" tables of the documentation do: each is changed alone in a whole run.

    make demo && LYOT_TEST_DATA=DIR python benchmarks/when_to_change.py --demo demo --work WORK [--only WORD ...]

The demo from its raw ramps, and HD 106906 (F1140C) from its calints where LYOT_TEST_DATA points to them. Of each run:
S/N and significance of the planet, its fitted flux, the scatter of the combined image from 1 to 2 and from 3 to 5
arcsec, the worst residual glow stick, and of stage 1 the scatter between the integrations relative to the stated errors
and the flagged pixels. Stages that do not depend on the change are not repeated. 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from lyot.analysis.combined_image import read_detections
from lyot.errors import LyotError
from lyot.exposures.headers import star_pixel
from lyot.exposures.names import COMPANIONS, DETECTIONS
from lyot.geometry import radius_map
from lyot.run.config import apply_settings, build_config
from lyot.run.execute import run

RESULTS = Path(__file__).parent / "results" / "when_to_change.json"
BASE: dict[str, Any] = {
    "contrast": {"measure": False}, "companion": {"posterior": False}, "stage3": {"refine": {"skip": True}},
}  # fmt: skip
SCALE = 0.11
EXPECTED = {"demo": (0.818, 149.4), "hd106906": (7.11, 307.3)}
"""Separation (arcsec) and position angle (deg) of the planets."""

STAGE_3 = (
    "stage3.klip.truncate=3", "stage3.klip.truncate=1", "stage3.klip.zone_edges=[]",
    "stage3.klip.noise_correction=false", "stage3.klip.subtract_mean=false",
    "stage3.klip.use_templates=false", "stage3.klip.science_frames=integration",
    "stage3.klip.choose=auto", "stage3.klip.reference_weights=similarity stage3.klip.truncate=3",
)  # fmt: skip
OTHERS = (
    "stage3.klip.strategy=adi", "stage3.klip.strategy=adi+rdi", "stage2.bkg_subtract.method=scaled",
    "stage2.bkg_subtract.method=scaled_glow", "stage2.bkg_subtract.first_integration=same",
    "stage2.bkg_subtract.reject_sources=false", "stage2.bad_pixels.action=repair",
    "stage1.ramp_fit.drop_first_integration=true", "stage1.rscd.extra_groups=2", "stage1.jump.rejection_threshold=3",
    "stage1.jump.rejection_threshold=6", "stage1.ramp_fit.exact_errors=true", "stage1.ramp_fit.algorithm=LIKELY",
    "stage1.jump.median_over=integration", "stage1.saturation.n_pix_grow_sat=0", "stage1.fuse=false",
)  # fmt: skip
CHANGES = [
    *(("demo", change) for change in ("", *STAGE_3, *OTHERS)),
    *(("hd106906", change) for change in ("", *STAGE_3)),
]
"""Data and change; stage 3 first, which is quick."""


def inputs(name: str, demo: Path) -> Path | None:
    """Folder with the exposures; None where they are not available."""
    if name == "demo":
        return demo / "observations"
    data = os.environ.get("LYOT_TEST_DATA")
    return Path(data) / "miri_hd106906_f1140c" if data else None


def planet(out: Path, place: tuple[float, float]) -> dict[str, Any]:
    """The detection and the fit next to a position."""

    def near(row: Any) -> bool:
        angle = np.radians(float(row["position_angle"]) - place[1])
        return bool(abs(float(row["separation"]) * np.exp(1j * angle) - place[0]) < 0.2)

    found = [row for row in read_detections(out / "measure" / DETECTIONS) if near(row)]
    fitted = [row for row in Table.read(out / "measure" / COMPANIONS, format="ascii.ecsv") if near(row)]
    result: dict[str, Any] = {"sources": len(read_detections(out / "measure" / DETECTIONS))}
    if found:
        result |= {"snr": float(found[0]["snr"]), "significance": float(found[0]["significance"])}
    if fitted:
        result |= {"flux_ujy": 1e6 * float(fitted[0]["flux"]), "flux_err_ujy": 1e6 * float(fitted[0]["flux_err_stat"])}
    return result


def image_scatter(out: Path) -> dict[str, float]:
    """Robust scatter of the combined image in two annuli, MJy/sr."""
    (i2d,) = (p for p in (out / "stage3").glob("*_i2d.fits") if "_roll" not in p.name)
    with fits.open(i2d) as hdus:
        image = hdus["SCI"].data.astype(float)
        radius = SCALE * radius_map(image.shape, star_pixel(hdus[0].header, hdus["SCI"].header))
    result = {}
    for low, high in ((1, 2), (3, 5)):
        values = image[(radius >= low) & (radius < high) & np.isfinite(image)]
        result[f"scatter_{low}_{high}"] = float(1.4826 * np.median(np.abs(values - np.median(values))))
    return result


def stage_1(out: Path) -> dict[str, float]:
    """Scatter between the integrations of the first roll over the stated errors, and flagged pixels."""
    paths = sorted((out / "stage1").glob("jw01386008*_rateints.fits"))
    if not paths:
        return {}
    with fits.open(paths[0]) as hdus:
        data, error, dq = (hdus[name].data for name in ("SCI", "ERR", "DQ"))
    good = ((dq & 1) == 0) & np.isfinite(data)
    some = good.sum(axis=0) > 1
    data, error, good = data[:, some], error[:, some], good[:, some]
    pulls = np.where(good, (data - np.nanmedian(data, axis=0)) / error, np.nan)
    spread = 1.4826 * np.nanmedian(np.abs(pulls)) / np.sqrt(1 - 1 / len(data))
    first = np.nanmedian(np.where(good[0], data[0] - np.nanmean(data[1:], axis=0), np.nan))
    return {"pull": float(spread), "first_minus_others": float(first), "unusable_percent": float(100 * (~good).mean()),
            "jump_percent": float(100 * ((dq & 4) > 0).mean())}  # fmt: skip


def glow(out: Path) -> dict[str, float]:
    """The residual glow stick of the science exposures that differs most from zero, in units of its error."""
    worst = [abs(s["after"][0] / s["after"][1]) for path in (out / "stage2").glob("jw013860[08]*_background.json")
             for s in json.loads(path.read_text(encoding="utf-8")).get("glow_sticks", [])]  # fmt: skip
    return {"worst_glow_sigma": float(max(worst))} if worst else {}


def main() -> None:
    """Repeat and print."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="output folder of make demo")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder")
    parser.add_argument("--only", nargs="*", default=[], help="words of which a change must contain one")
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name, change in CHANGES:
        folder = inputs(name, args.demo)
        if folder is None or (args.only and change and not any(word in change for word in args.only)):
            continue
        began, out = time.monotonic(), args.work / name
        try:
            run([folder], out, build_config(apply_settings(BASE, change.split())), inline=True)
        except LyotError as error:
            found: dict[str, Any] = {"error": str(error)}
        else:
            found = planet(out, EXPECTED[name]) | image_scatter(out) | stage_1(out) | glow(out)
        found["seconds"] = time.monotonic() - began
        found = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in found.items()}
        results.setdefault(name, {})[change or "defaults"] = found
        print(f"{name} {change or 'defaults'}: {found}", flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
