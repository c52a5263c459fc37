"""What the parameters in the "when to change" tables of the documentation do: each is changed alone in a whole run.

    make demo && LYOT_TEST_DATA=DIR python benchmarks/when_to_change.py --demo demo --work WORK [--only WORD ...]

The demo from its raw ramps, and HD 106906 (F1140C) from its calints where LYOT_TEST_DATA points to them. Of each run:
S/N and significance of the planet, its fitted flux, the scatter of the combined image from 1 to 2 and from 3 to 5
arcsec, the worst residual glow stick, and of stage 1 the scatter between the integrations relative to the stated errors
and the flagged pixels. Stages that do not depend on the change are not repeated. Then the measurements of the finished
runs, and of a simulated disk, with changed parameters: limits (uJy), fits, maps (median limits, uJy) and rings. About
half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from lyot.analysis.combined_image import read_detections
from lyot.analysis.disks import basis_for_disks, measure_disks
from lyot.analysis.finished_run import MeasuredRun, find_finished, open_run
from lyot.analysis.maps import measure_maps
from lyot.analysis.measurements import measure_companions, measure_contrast, measure_detections
from lyot.analysis.parameters import parse_position
from lyot.dq import OUTLIER
from lyot.errors import LyotError
from lyot.exposures.headers import star_pixel
from lyot.exposures.names import COMPANIONS, DETECTIONS, MATCHED_FILTER
from lyot.geometry import radius_map, sky_offset
from lyot.measure.matched_filter import MatchedFilter
from lyot.run.config import apply_settings, build_config, config_of_run
from lyot.run.execute import run
from lyot.simulator.sequence import simulate_sequence

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
    "stage1.jump.flag_4_neighbors=false", "stage1.ramp_fit.outlier_threshold=4", "stage1.memory=20 stage1.threads=1",
)  # fmt: skip
POSITION = (
    "stage3.locate_star.position=model", "stage3.locate_star.position=model stage3.locate_star.optics=geometric",
    "stage3.locate_star.position=107.0,105.24", "stage3.align_refs.apply=always", "stage3.flag_outliers.threshold=4",
    "stage3.flag_outliers.threshold=12", "stage3.flag_outliers.sharpness=0.15", "stage3.combine.save_rolls=false",
)  # fmt: skip
CHANGES = [
    *(("demo", change) for change in ("", *STAGE_3, *POSITION[:1], *OTHERS)),
    *(("hd106906", change) for change in ("", *STAGE_3, *POSITION)),
]
"""Data and change; stage 3 first, which is quick."""
RING = (
    "disk disk.profile=gaussian disk.width=0.127 disk.aspect=0 disk.radius=1.4 disk.inclination=65 disk.major_axis=55"
)
"""The ring of the simulated disk (1.705 mJy, 1.5 arcsec, 70 deg, 60 deg), with other starting values."""
NEAR = "disk disk.search=false disk.radius=0.4 disk.inclination=85 disk.major_axis=105"
"""The disk of HD 106906, from good starting values."""
SEARCH = ("detect", "detect measure.threshold=3.5 measure.min_significance=2.5")
CONTRASTS = ("contrast", *(f"contrast contrast.angles={n}" for n in (4, 16, 32)), "contrast contrast.noise=ring")
MAPS = (
    "maps maps.completeness_flux=5e-5", "maps maps.fine_spacing=0.5", "maps maps.outer_radius=3",
    "maps maps.threshold=3.5", "maps maps.max_sources=0",
)  # fmt: skip
MEASURED = [
    *(("demo", command) for command in (
        *SEARCH, *CONTRASTS,
        "companion@0.82,149", "companion@0.82,149 companion.search_radius=0.3", "companion@1.1,170",
        "companion@1.3,180", "companion@1.3,180 companion.search_radius=2",
        "companion@0.82,149 systematics.throughput=0.1",
        *MAPS,
    )),
    *(("hd106906", command) for command in (
        *SEARCH, *CONTRASTS,
        "companion@7.11,307.3", "companion@7.5,309", "companion@7.5,309 companion.search_radius=3",
        *MAPS, "disk", "disk disk.search=false", NEAR, f"{NEAR} disk.inner_radius=0.6",
        f"{NEAR} disk.outer_radius=2", f'{NEAR} disk.fit=["radius","major_axis"]',
    )),
    *(("disk", command) for command in (
        RING, *(f"{RING} disk.search=false{more}" for more in (
            "", " disk.inner_radius=1", " disk.outer_radius=2", ' disk.fit=["radius","major_axis"]',
            ' disk.fit=["radius","inclination","major_axis","width","offset_major","offset_minor"]',
        )),
    )),
    *(("disk_adi", f"{RING} disk.search=false{more}") for more in ("", " disk.rolls=true")),
]  # fmt: skip
"""Data and measurement of the finished run, for `companion` with its guess."""
RUNS = {"disk_adi": "stage3.klip.strategy=adi+rdi"}
"""Changes of the runs that are measured; the others have the defaults."""


def inputs(name: str, demo: Path, work: Path) -> Path | None:
    """Folder with the exposures; None where they are not available."""
    if name == "demo":
        return demo / "observations"
    if name.startswith("disk"):
        folder = work / "disk_observations"
        if not folder.is_dir():
            simulate_sequence(folder, scene="disk", size="small")
        return folder
    data = os.environ.get("LYOT_TEST_DATA")
    return Path(data) / "miri_hd106906_f1140c" if data else None


@lru_cache(maxsize=1)
def opened_run(out: Path, *, rolls: bool) -> MeasuredRun:
    """A finished run; without `rolls` in the reduction in which disks are fitted."""
    finished = find_finished(out)
    return open_run(finished, strategy=basis_for_disks(finished, rolls=rolls))


def measured(out: Path, command: str, place: tuple[float, float] | None) -> dict[str, Any]:
    """Measure a finished run with changed parameters, as the commands do, and read what was written."""
    words = command.split()
    what, _, guess = words[0].partition("@")
    config = config_of_run(out, apply_settings({}, words[1:]))
    opened = opened_run(out, rolls=what != "disk" or config.disk.rolls)
    if what == "contrast":
        curve = measure_contrast(opened, params=config.contrast)
        return {f"{key}_{r}": float(1e6 * np.interp(r, curve["separation"], curve[key])) for r in (0.65, 0.82, 1, 2)
                for key in ("flux_5sigma", "flux_5sigma_low", "flux_5sigma_high")}  # fmt: skip
    if what == "companion":
        fitted, _ = measure_companions(
            opened, [parse_position(guess, command)], None, config.companion, systematics=config.systematics
        )
        keys = ("separation", "separation_err", "position_angle", "flux", "flux_err", "flux_err_stat", "reduced_chi2")
        return {key: float(fitted[0][key]) * (1e6 if "flux" in key else 1) for key in keys}
    if what == "disk":
        found = measure_disks(opened, {}, config.disk, config.disk)
        row, ring = found.table[0], found.ring
        result: dict[str, Any] = {
            k: float(row[k]) for k in ("flux", "flux_err", "reduced_chi2", "pixels", "correlation")
        }
        if ring is not None:
            result |= {
                n: [float(f"{v:.4g}"), float(f"{e:.2g}") if np.isfinite(e) else None]
                for n, v, e in zip(ring.names, ring.values, ring.errors, strict=True)
            }
            result["evaluations"] = ring.evaluations
        return result
    if what == "maps":
        return maps(measure_maps(opened, config.maps, completeness_flux=config.maps.completeness_flux), opened, place)
    measure_detections(opened, config.measure)
    sources = read_detections(out / "measure" / DETECTIONS)
    return {"accepted": len(sources), "candidates": sum(r["status"] == "candidate" for r in sources),
            "false_alarm": [float(f"{r['false_alarm']:.2g}") for r in sources]}  # fmt: skip


def maps(found: MatchedFilter, opened: MeasuredRun, place: tuple[float, float] | None) -> dict[str, Any]:
    """S/N of the planet in the map, sources in MODEL, and the median limit (and completeness) at a few separations."""
    injector = opened.sequence.injector
    radius = injector.pixel_scale * radius_map(found.snr.shape, injector.center)
    with fits.open(opened.tables / MATCHED_FILTER) as hdus:
        result: dict[str, Any] = {"in_model": int(hdus["MODEL"].header["NSOURCE"])}
        if "COMPLETE" in hdus:
            result["complete_2"] = float(np.nanmedian(hdus["COMPLETE"].data[np.abs(radius - 2) < 0.1]))
    limit = found.limit(5.0)
    result |= {f"limit_{r}": float(1e6 * np.nanmedian(limit[np.abs(radius - r) < 0.1])) for r in (0.82, 2)}
    result["outer"] = float(radius[np.isfinite(found.snr)].max())
    if place is not None:
        x, y = injector.pixel(*(float(v) for v in sky_offset(*place)))
        rows, columns = np.indices(found.snr.shape)
        near = np.hypot(columns - x, rows - y) * injector.pixel_scale < 0.3
        if np.isfinite(found.snr[near]).any():
            result["snr"] = float(np.nanmax(found.snr[near]))
    return result


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


def stage_3(out: Path) -> dict[str, Any]:
    """Position of the star in the first roll, mas from the reference point, and pixels flagged as outliers."""
    result: dict[str, Any] = {"outliers": 0}
    for path in (out / "stage3").glob("*_crfints.fits"):
        result["outliers"] += int(((fits.getdata(path, "DQ") & OUTLIER) > 0).sum())
    header = fits.getheader(sorted((out / "stage3").glob("*_psfsub.fits"))[0])
    result |= {key.lower(): header[key] for key in ("STARDX", "STARDY", "STARFROM", "STARNOTE") if key in header}
    return result


def main() -> None:
    """Repeat and print."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="output folder of make demo")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder")
    parser.add_argument("--only", nargs="*", default=[], help="words of which a change must contain one")
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}

    def wanted(change: str) -> bool:
        return not args.only or any(word in change for word in args.only)

    def record(name: str, change: str, found: dict[str, Any], began: float) -> None:
        found["seconds"] = time.monotonic() - began
        found = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in found.items() if v == v}  # not NaN
        results.setdefault(name, {})[change or "defaults"] = found
        print(f"{name} {change or 'defaults'}: {found}", flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    def reduce(name: str, change: str) -> bool:
        folder, began, out = inputs(name, args.demo, args.work), time.monotonic(), args.work / name
        if folder is None:
            return False
        try:
            run([folder], out, build_config(apply_settings(BASE, change.split())), inline=True)
        except LyotError as error:
            found: dict[str, Any] = {"error": str(error)}
        else:
            found = (planet(out, EXPECTED[name]) if name in EXPECTED else {}) | image_scatter(out) | stage_1(out)
            found |= glow(out) | stage_3(out)
        record(name, change, found, began)
        return True

    for name in dict.fromkeys(name for name, _ in (*CHANGES, *MEASURED)):
        changes = [change for of, change in CHANGES if of == name and change and wanted(change)]
        commands = [command for of, command in MEASURED if of == name and wanted(command)]
        if not (changes or commands) or not reduce(name, RUNS.get(name, "")):
            continue
        for command in commands:
            began = time.monotonic()
            try:
                found = measured(args.work / name, command, EXPECTED.get(name))
            except LyotError as error:
                found = {"error": str(error)}
            record(name, command, found, began)
        for change in changes:
            reduce(name, change)


if __name__ == "__main__":
    main()
