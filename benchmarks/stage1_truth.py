"""Stage 1 against the truth of simulated exposures: slopes, errors and cosmic rays, ours beside the official pipeline.

    python benchmarks/stage1_truth.py [--ints 6 --groups 100] [--scratch FOLDER] [--out results/stage1_truth.json]

Simulates one science exposure of F1550C (and others of brighter stars), runs both `Detector1Pipeline` on it, and
compares slopes, errors and jump flags with what was put in. Then every option that is off by default is switched on
alone. ``--only`` measures some parts anew and keeps the rest of the file. The figures and tables of
docs/stage1_truth.md come from the file that is written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage, stats

from lyot import dq
from lyot.instrument import coronagraph
from lyot.optics import OpticsParams
from lyot.reference_files.environment import resolve_crds
from lyot.simulator.cosmic_rays import CosmicRays
from lyot.simulator.crds_cache import write_crds_cache
from lyot.simulator.detector import DetectorModel, build_detector
from lyot.simulator.exposure import RampMaker, light_slope
from lyot.simulator.level1b import Level1bWriter
from lyot.simulator.light import LightMaker
from lyot.simulator.plan import Size, plan_sequence
from lyot.simulator.scene import Scene

HERE = Path(__file__).resolve().parent
FILTER = "F1550C"
SEED = 3
THRESHOLDS = (3.0, 4.0, 5.0)
ENERGIES = np.array([20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 150, 200, 300, 600, 2000, 100000.0])
"""Edges of the bins of deposited charge, electrons."""
PARTS = ("slopes", "jumps", "bright", "depth")
BRIGHT = 4000.0
"""Signal of a ramp, DN, from which on a pixel counts as bright."""


@dataclass(frozen=True)
class Simulated:
    """One exposure and what was put in.

    Attributes
    ----------
    file : Path
        Level-1b file.
    slope : (ny, nx) float64 ndarray
        Signal of the light, DN/s.
    charge : (nints, ngroups, ny, nx) float32 ndarray
        Charge of cosmic rays that arrives in a group, electrons.
    detector : DetectorModel
        Gain, noise, bad pixels.
    group_time : float
        s.
    """

    file: Path
    slope: NDArray[np.float64]
    charge: NDArray[np.float32]
    detector: DetectorModel
    group_time: float

    @property
    def ramp_signal(self) -> NDArray[np.float64]:
        """Signal that the light leaves in a whole ramp, DN (ny, nx)."""
        return np.asarray(self.slope * self.group_time * self.charge.shape[1])


def simulate(
    folder: Path, role: str, size: tuple[int, int], *, scene: Scene | None = None, optics: OpticsParams | None = None
) -> Simulated:
    """Write one exposure of a sequence, and its calibration cache into ``folder / "crds_cache"``.

    Parameters
    ----------
    folder : Path
        Must be there.
    role : str
        As in `lyot.simulator.plan.Exposure`.
    size : (nints, ngroups)
        Of the exposure.
    scene, optics
        As in `lyot.simulator.sequence.simulate_sequence`.
    """
    table, scene = coronagraph(FILTER), scene or Scene()
    exposure = next(e for e in plan_sequence(table, Size(size, size), scene, SEED) if e.role == role)
    detector = build_detector(table, SEED, brighter_fatter=scene.detector.brighter_fatter)
    write_crds_cache(folder / "crds_cache", {FILTER: detector}, ngroups=size[1])
    slope = light_slope(LightMaker.build(scene, FILTER, SEED, params=optics).light(exposure).image, detector)
    rays = CosmicRays(scene.detector.cosmic_ray_rate)
    maker = RampMaker(exposure, slope, detector, seed=SEED, cosmic_rays=rays)
    charge = np.zeros(exposure.shape, np.float32)
    with Level1bWriter(folder / exposure.filename, exposure, scene, seed=SEED) as writer, ThreadPoolExecutor(2) as pool:
        for part in maker.integrations(pool):
            writer.write(part.number, part.science, part.reference_output)
            hits = part.hits
            np.add.at(charge, (hits["integration"], hits["group"], hits["y"], hits["x"]), hits["electrons"])
    return Simulated(folder / exposure.filename, slope, charge, detector, table.frame_time)


def reduce(kind: str, exposure: Simulated, out: Path, steps: dict[str, Any], **options: Any) -> dict[str, Path]:
    """Run a pipeline (``"lyot"`` or ``"stock"``) on an exposure; returns its products by suffix."""
    if kind == "lyot":
        from lyot.steps.detector1 import Detector1Pipeline
    else:
        from jwst.pipeline import Detector1Pipeline
    out.mkdir(parents=True, exist_ok=True)
    Detector1Pipeline.call(str(exposure.file), steps=steps, save_results=True, output_dir=str(out), **options)
    name = exposure.file.name.removesuffix("_uncal.fits")
    return {s: out / f"{name}_{s}.fits" for s in ("rate", "rateints", "ramp") if (out / f"{name}_{s}.fits").exists()}


def read(path: Path, *names: str) -> list[NDArray[Any]]:
    """Extensions of a product."""
    with fits.open(path) as hdus:
        return [np.array(hdus[name].data) for name in names]


def summary(pull: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Mean with its error, median, standard deviation and robust width of pulls."""
    p = pull[np.isfinite(pull)].astype(float)
    if p.size == 0:
        return {"count": 0}
    median = float(np.median(p))
    return {
        "count": int(p.size),
        "mean": float(p.mean()),
        "mean_error": float(p.std() / np.sqrt(p.size)),
        "median": median,
        "std": float(p.std()),
        "robust_width": float(1.4826 * np.median(np.abs(p - median))),
        "beyond_3": float(np.mean(np.abs(p) > 3)),
        "beyond_5": float(np.mean(np.abs(p) > 5)),
    }


def clean_slopes(exposure: Simulated, flags: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Slopes (nints, ny, nx) that nothing but noise touched.

    No flag but JUMP_DET (false alarms are part of what is measured), and no cosmic ray in the pixel's integration.
    """
    return ((flags & ~np.uint32(dq.JUMP_DET)) == 0) & ~(exposure.charge > 0).any(axis=1)


def slope_figures(exposure: Simulated, rateints: Path, rate: Path) -> dict[str, Any]:
    """Pulls of clean slopes, by signal; of slopes that a cosmic ray hit; of the exposure's mean; and the noise."""
    data, err, flags = read(rateints, "SCI", "ERR", "DQ")
    pull = (data - exposure.slope) / err
    clean = clean_slopes(exposure, flags) & np.isfinite(pull)
    usable = ((flags & dq.DO_NOT_USE) == 0) & np.isfinite(pull)
    hit = usable & (exposure.charge > 0).any(axis=1)
    strong = usable & (exposure.charge > 1000).any(axis=1)
    signal = np.broadcast_to(exposure.ramp_signal, data.shape)
    edges = np.quantile(signal[clean], [0, 0.25, 0.5, 0.75, 0.95, 1.0])
    bins = [clean & (signal >= a) & (signal <= b) for a, b in itertools.pairwise(edges)]
    mean, mean_err, mean_flags = read(rate, "SCI", "ERR", "DQ")
    all_clean = ((flags & ~np.uint32(dq.JUMP_DET)) == 0) & np.isfinite(pull)
    mean_pull = ((mean - exposure.slope) / mean_err)[((mean_flags & dq.DO_NOT_USE) == 0) & all_clean.any(axis=0)]
    return {
        "clean": summary(pull[clean]),
        "bright": summary(pull[clean & (signal > BRIGHT)]),
        "by_signal": [
            {"signal_dn": [float(a), float(b)], **summary(pull[q])}
            for a, b, q in zip(edges[:-1], edges[1:], bins, strict=True)
        ],
        "by_integration": [summary(pull[i][clean[i]]) for i in range(len(pull)) if clean[i].any()],
        "hit": summary(pull[hit]),
        "hit_strong": summary(pull[strong]),
        "rate": summary(mean_pull),
        "median_error": float(np.median(err[clean])),
        "scatter": float(1.4826 * np.median(np.abs(data - exposure.slope)[clean])),
        "rate_scatter": float(1.4826 * np.nanmedian(np.abs(mean - exposure.slope)[all_clean.any(axis=0)])),
        "lost_slopes": float(1 - usable.mean()),
        "histogram": np.histogram(pull[clean], bins=np.linspace(-5, 5, 81))[0].tolist(),
    }


def usable_groups(exposure: Simulated, ramp: Path) -> NDArray[np.bool_]:
    """Groups (nints, ngroups, ny, nx) whose difference from the group before can be tested, from uncut ramps."""
    group_flags, pixel_flags = read(ramp, "GROUPDQ", "PIXELDQ")
    good = (group_flags == 0) & ((pixel_flags & dq.DO_NOT_USE) == 0)
    good[:, 1:] &= good[:, :-1].copy()
    good[:, 0] = False
    return np.asarray(good)


def jump_figures(
    exposure: Simulated, flags: NDArray[np.uint8], usable: NDArray[np.bool_], *, threshold: float | None
) -> dict[str, Any]:
    """Completeness by deposited charge, and flags without a cosmic ray, per million groups tested.

    With a threshold, what a two-point test finds whose noise is known exactly is given beside.
    """
    found = (flags & np.uint8(dq.JUMP_DET)) > 0
    at = np.nonzero((exposure.charge > 0) & usable)
    charge, seen = exposure.charge[at].astype(float), found[at]
    bins = np.digitize(charge, ENERGIES) - 1
    count = np.bincount(bins, minlength=len(ENERGIES) - 1)[: len(ENERGIES) - 1]
    hits = np.bincount(bins, weights=seen, minlength=len(ENERGIES) - 1)[: len(ENERGIES) - 1]
    quiet = usable & ~(exposure.charge > 0)
    result: dict[str, Any] = {
        "charge_e": [float(np.median(charge[bins == k])) for k in range(len(count))],
        "tested": count.tolist(),
        "found": hits.astype(int).tolist(),
        "completeness": float(seen.mean()),
        "completeness_above_200e": float(seen[charge > 200].mean()),
        "false_per_million": 1e6 * float((found & quiet).sum()) / float(quiet.sum()),
        "flags": int(found.sum()),
    }
    if threshold is not None:
        d = exposure.detector
        noise = np.hypot(d.read_noise * d.gain, np.sqrt((exposure.slope + d.dark_rate) * d.gain * exposure.group_time))
        chance = stats.norm.cdf(charge / noise[at[2:]] - threshold)
        expected = np.bincount(bins, weights=chance, minlength=len(ENERGIES) - 1)[: len(ENERGIES) - 1]
        result["expected_found"] = expected.tolist()
        result["expected_false_per_million"] = 2e6 * float(stats.norm.sf(threshold))
    return result


def jumps(exposure: Simulated, ramp: Path, usable: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Jump steps of both at several thresholds without flags for neighbors, and with them at the default."""
    from jwst.jump import JumpStep as StockStep

    from lyot.steps.stage1_slopes import JumpStep

    rows = []
    for threshold, neighbors in [*((t, False) for t in THRESHOLDS), (4.0, True)]:
        row: dict[str, Any] = {"threshold": threshold, "neighbors": neighbors}
        flags = {}
        for kind, step in (("lyot", JumpStep), ("stock", StockStep)):
            model = step.call(str(ramp), rejection_threshold=threshold, flag_4_neighbors=neighbors)
            flags[kind] = np.array(model.groupdq)
            model.close()
            row[kind] = jump_figures(exposure, flags[kind], usable, threshold=None if neighbors else threshold)
        row["flags_that_differ"] = int((flags["lyot"] != flags["stock"]).sum())
        rows.append(row)
    return rows


def likely_jumps(exposure: Simulated, ramp: Path, usable: NDArray[np.bool_]) -> dict[str, Any]:
    """The jumps that the LIKELY fit finds by itself."""
    from lyot.ramps.ramp_fit import RampFitParams, fit_ramps
    from lyot.ramps.slopes import GroupTimes

    data, groups, pixels = read(ramp, "SCI", "GROUPDQ", "PIXELDQ")
    d, time = exposure.detector, exposure.group_time
    result = fit_ramps(
        data.astype(np.float32),
        groups,
        pixels,
        gain=d.gain,
        read_noise=d.read_noise,
        times=GroupTimes(time, time),
        params=RampFitParams(algorithm="LIKELY"),
    )
    assert result is not None
    return jump_figures(exposure, result.groupdq, usable, threshold=None)


def weights_power(snr: float) -> float:
    """Power of the optimal weighting at a signal to noise (Fixsen et al. 2000), as the official fit chooses it."""
    limits = ((5, 0.0), (10, 0.4), (20, 1.0), (50, 3.0), (100, 6.0))
    return next((power for limit, power in limits if snr < limit), 10.0)


def stated_over_true(
    rate: float, *, gain: float, read_noise: float, group_time: float, groups: int
) -> dict[str, float]:
    """What the errors of a fit should be, by propagation, for one pixel; DN/s.

    Parameters
    ----------
    rate : float
        DN/s.
    gain, read_noise : float
        e/DN; DN of a difference of two reads.
    group_time, groups
        s; number of groups fitted.

    Returns
    -------
    dict
        ``stated``: by the official formulas (read noise of equal weights, photon noise of the two ends). ``true``: of
        the weights that the official fit uses. ``best``: of generalised least squares, the least possible.
    """
    signal = rate * group_time * (groups - 1)
    power = weights_power(signal / np.sqrt(signal / gain + read_noise**2))
    k = np.arange(groups)
    weight = np.abs(2 * k / (groups - 1) - 1.0) ** power
    time = k * group_time
    centered = time - np.average(time, weights=weight)
    c = weight * centered / np.sum(weight * centered**2)
    photons = rate * group_time / gain
    true = read_noise**2 / 2 * np.sum(c**2) + photons * np.sum(np.cumsum(c[::-1])[:-1] ** 2)
    stated = rate / (gain * group_time * (groups - 1))
    stated += 6 * read_noise**2 / (groups**3 - groups) / group_time**2
    difference = np.diff(np.eye(groups), axis=0)
    covariance = difference @ difference.T * read_noise**2 / 2 + np.eye(groups - 1) * photons
    ones = np.full(groups - 1, group_time)
    best = 1 / (ones @ np.linalg.solve(covariance, ones))
    return {"rate": rate, "power": power, "stated": stated**0.5, "true": float(true**0.5), "best": float(best**0.5)}


LIKELY = {"algorithm": "LIKELY"}
OPTIONS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("none", {}, {}),
    ("rscd.extra_groups = 8", {"rscd": {"extra_groups": 8}}, {}),
    ("ramp_fit.drop_first_integration", {"ramp_fit": {"drop_first_integration": True}}, {}),
    ("ramp_fit.outlier_threshold = 4", {"ramp_fit": {"outlier_threshold": 4.0}}, {}),
    ("jump_threshold_science = 3", {}, {"jump_threshold_science": 3.0}),
    ("jump_threshold_science = 6", {}, {"jump_threshold_science": 6.0}),
    (
        "jump.minimum_sigclip_groups = 2, only_use_ints = false",
        {"jump": {"minimum_sigclip_groups": 2, "only_use_ints": False}},
        {},
    ),
    ('jump.median_over = "integration"', {"jump": {"median_over": "integration"}}, {}),
    ("jump.skip", {"jump": {"skip": True}}, {}),
    ("ramp_fit.exact_errors", {"ramp_fit": {"exact_errors": True}}, {}),
    (
        "ramp_fit.exact_errors, drop_first_integration",
        {"ramp_fit": {"exact_errors": True, "drop_first_integration": True}},
        {},
    ),
    ("ramp_fit.algorithm = LIKELY", {"ramp_fit": LIKELY}, {}),
    ("ramp_fit.algorithm = LIKELY, jump.skip", {"ramp_fit": LIKELY, "jump": {"skip": True}}, {}),
)
"""Name, steps and pipeline parameters of what is switched on alone."""


def options_table(exposure: Simulated, out: Path, names: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Slope figures with each option alone, and the share of slopes that it changes."""
    rows: list[dict[str, Any]] = []
    base: NDArray[Any] | None = None
    for k, (name, steps, options) in enumerate(OPTIONS):
        if k and names and name not in names:
            continue
        products = reduce("lyot", exposure, out / f"option{k}", steps, **options)
        (data,) = read(products["rateints"], "SCI")
        base = data if base is None else base
        changed = float(np.mean((data != base) & ~(np.isnan(data) & np.isnan(base))))
        rows.append(
            {"option": name, "changed": changed, **slope_figures(exposure, products["rateints"], products["rate"])}
        )
    return rows


def star_scene(factor: float, *, brighter_fatter: float = 0.0) -> Scene:
    """HIP 65426 with a star brighter by a factor."""
    scene = Scene()
    star = replace(scene.star, flux=factor * scene.star_flux(FILTER))
    return replace(scene, star=star, detector=replace(scene.detector, brighter_fatter=brighter_fatter))


def depth_matching(root: Path, size: tuple[int, int], optics: OpticsParams | None = None) -> list[dict[str, Any]]:
    """Relative error at the peaks of the star's image by the brighter-fatter effect, with and without depth matching.

    Both stars are 80 times brighter than HIP 65426 and its reference, so that the effect stands above the noise.
    """
    scene = star_scene(80.0, brighter_fatter=0.3)
    folders = [root / role for role in ("science", "reference")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    science, reference = (simulate(f, f.name, size, scene=scene, optics=optics) for f in folders)
    use_cache(root / "science")
    depth = reduce("lyot", science, root / "out", {})["rateints"]
    highest = ndimage.maximum_filter(science.slope, 3) == science.slope
    peaks = highest & (science.ramp_signal > 0.3 * science.ramp_signal.max())
    rows = []
    for name, exposure, steps in (
        ("science", science, {}),
        ("reference", reference, {}),
        ("reference, ramp_fit.depth_map", reference, {"depth_map": str(depth)}),
    ):
        rate, err = read(reduce("lyot", exposure, root / "out" / name[:9], {"ramp_fit": steps})["rate"], "SCI", "ERR")
        relative = (rate / exposure.slope - 1)[peaks]
        rows.append(
            {
                "what": name,
                "ramp_signal_dn": float(np.median(exposure.ramp_signal[peaks])),
                "relative_error": float(np.nanmean(relative)),
                "relative_noise": float(np.nanmedian((err / exposure.slope)[peaks])),
                "pixels": int(np.isfinite(relative).sum()),
            }
        )
    return rows


def use_cache(folder: Path) -> None:
    """Take references from the cache of a simulated exposure."""
    resolve_crds(search=[folder]).apply()


def group_residuals(exposure: Simulated, ramp: Path) -> list[list[float]]:
    """Mean of the corrected ramps minus the light, DN, by integration and group: what the corrections leave behind."""
    data, pixel_flags = read(ramp, "SCI", "PIXELDQ")
    good = pixel_flags == 0
    times = np.arange(1, data.shape[1] + 1) * exposure.group_time
    rows = []
    for i in range(len(data)):
        clean = good & ~(exposure.charge[i] > 0).any(axis=0)
        mean = np.array([frame[clean].mean(dtype=float) for frame in data[i]]) - times * exposure.slope[clean].mean()
        middle = mean[len(mean) // 3 : -1].mean()
        rows.append([float(v) for v in mean - middle])
    return rows


def measure_slopes(exposure: Simulated, root: Path) -> dict[str, Any]:
    """Slopes of both pipelines, and of ours with every option."""
    stock = reduce("stock", exposure, root / "stock", {})
    d = exposure.detector
    detector = {"gain": float(np.median(d.gain)), "read_noise": float(np.median(d.read_noise))}
    groups = exposure.charge.shape[1] - d.rscd_skip[1] - 1
    return {
        "hits_per_slope": float((exposure.charge > 0).any(axis=1).mean()),
        "stock": slope_figures(exposure, stock["rateints"], stock["rate"]),
        "options": options_table(exposure, root / "options"),
        "error_formulas": [
            stated_over_true(float(r), **detector, group_time=exposure.group_time, groups=groups)
            for r in np.geomspace(0.3, 3000, 60)
        ],
    }


def measure_jumps(exposure: Simulated, root: Path) -> dict[str, Any]:
    """Flags of both jump steps, and of LIKELY, on the same ramps."""
    ramp = reduce("lyot", exposure, root / "ramp", {"jump": {"skip": True}}, save_calibrated_ramp=True)["ramp"]
    usable = usable_groups(exposure, ramp)
    return {
        "group_residuals": group_residuals(exposure, ramp),
        "likely_jumps": likely_jumps(exposure, ramp, usable),
        "jumps": jumps(exposure, ramp, usable),
    }


def measure_bright(root: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Options that matter where the signal is large: a star 150 times brighter."""
    root.mkdir(parents=True, exist_ok=True)
    exposure = simulate(root, "science", size, scene=star_scene(150.0))
    use_cache(root)
    names = ("rscd.extra_groups = 8", "ramp_fit.drop_first_integration", "ramp_fit.algorithm = LIKELY")
    return {"bright_options": options_table(exposure, root / "options", names)}


def measure(root: Path, size: tuple[int, int], parts: tuple[str, ...]) -> dict[str, Any]:
    """Measure some parts, in a folder for the files."""
    result: dict[str, Any] = {"filter": FILTER, "seed": SEED, "nints": size[0], "ngroups": size[1]}
    if {"slopes", "jumps"} & set(parts):
        folder = root / "science"
        folder.mkdir(parents=True, exist_ok=True)
        exposure = simulate(folder, "science", size)
        use_cache(folder)
        if "slopes" in parts:
            result |= measure_slopes(exposure, folder)
        if "jumps" in parts:
            result |= measure_jumps(exposure, folder)
    if "bright" in parts:
        result |= measure_bright(root / "bright", size)
    if "depth" in parts:
        result["depth_matching"] = depth_matching(root / "depth", (4, size[1]))
    return result


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ints", type=int, default=6)
    parser.add_argument("--groups", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--scratch", type=Path, help="folder for the files (kept); a temporary one by default")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "stage1_truth.json")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="stage1_truth_") as temporary:
        result = measure(args.scratch or Path(temporary), (args.ints, args.groups), tuple(args.only))
    before = json.loads(args.out.read_text()) if args.out.exists() and len(args.only) < len(PARTS) else {}
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(before | result, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
