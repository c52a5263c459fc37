"""What the pieces of `measure_truth.py` say together: numbers, tables for the documentation, and a figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import measure_truth
import numpy as np
from measure_truth import BOUNDARY, CLOSE, LEVELS, PA_Y, model
from numpy.typing import NDArray

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.measure.detected import false_alarm_probability
from lyot.measure.systematics import SystematicParams, position_error, throughput_error


def summary(folder: Path) -> dict[str, Any]:
    """Numbers of all pieces that were run."""
    out: dict[str, Any] = {}
    rows = _rows(folder, "pulls")
    if rows:
        out["pulls"] = {"injections": len(rows), "sequences": len({r["seed"] for r in rows}),
                        "ambiguous": sum(r["ambiguous"] for r in rows), **_pulls_of(rows),
                        "seconds_median": float(np.median([r["seconds"] for r in rows]))}  # fmt: skip
        thrown = [least_throughput(r) for r in rows]
        parts = {
            **{f"{a}-{b} arcsec": [r for r in rows if a <= r["separation"] < b]
               for a, b in ((0.3, 0.8), (0.8, 1.2), (1.2, 2.0), (2.0, 5.0))},
            **{f"S/N {a}-{b}": [r for r in rows if a <= r["snr"] < b] for a, b in ((0, 5), (5, 15), (15, 999))},
            f"light below {BOUNDARY}": [r for r, t in zip(rows, thrown, strict=True) if t < BOUNDARY],
            f"light above {BOUNDARY}": [r for r, t in zip(rows, thrown, strict=True) if t >= BOUNDARY],
        }  # fmt: skip
        out["pulls"]["parts"] = {name: {"n": len(mine), **_pulls_of(mine)} for name, mine in parts.items() if mine[2:]}
    rows = _rows(folder, "alarms")
    if rows:
        out["alarms"] = [
            {"level": level, "sequences": len(mine), "peaks": sum(r["found"] for r in mine),
             "expected": sum(-np.log1p(-false_alarm_probability(level, r["elements"])) for r in mine),
             "with_one_or_more": sum(r["found"] > 0 for r in mine),
             "with_one_or_more_expected": sum(false_alarm_probability(level, r["elements"]) for r in mine)}
            for level in LEVELS for mine in [[r for r in rows if r["level"] == level]]
        ]  # fmt: skip
        p = np.array([r["least"] for r in rows if r["level"] == LEVELS[0]])
        out["alarm_probability"] = {f"least_below_{t}": float((p < t).mean()) for t in (0.5, 0.2, 0.1, 0.05)}
    rows = [r for r in _rows(folder, "completeness") if np.isfinite(r["significance"])]
    if rows:
        out["completeness"] = {
            name: {"planets": len(mine), "at_5_sigma": float(np.mean([r["significance"] >= 5 for r in mine])),
                   "in_map": float(np.mean([r["in_map"] >= 5 for r in mine])),
                   "by_search": float(np.mean([r["found"] for r in mine]))}
            for name, low, high in (("all", 0, 9), (f"inside {CLOSE}", 0, CLOSE), (f"beyond {CLOSE}", CLOSE, 9))
            for mine in [[r for r in rows if low <= r["separation"] < high]] if mine
        }  # fmt: skip
    return out


def _pulls_of(rows: list[dict[str, float]]) -> dict[str, float]:
    flux, fit, error, snr = (np.array([r[k] for r in rows]) for k in ("flux", "fitted", "error", "snr"))
    weights = snr**2 / (1 + (0.02 * snr) ** 2)
    out = {"flux_bias_weighted": float(np.sum(weights * (fit / flux - 1)) / weights.sum())}
    if all("kept" in r for r in rows):
        params = SystematicParams()
        modeled = np.array([throughput_error(r["kept"], params) for r in rows])
        total = np.sqrt(error**2 + (fit * modeled) ** 2 + (fit * np.array([r["shape"] for r in rows])) ** 2)
        stated = (fit - flux) / total
        out |= {"total_pull_mean": float(stated.mean()), "total_pull_std": float(stated.std(ddof=1)),
                "total_beyond_3": int((np.abs(stated) > 3).sum()), "total_error_median": float(np.median(total / fit)),
                "flux_scatter": _mad(fit / flux - 1)}  # fmt: skip
        resolution = coronagraph(measure_truth.FILTER).lambda_over_d
        moved = resolution * np.array([position_error(r["kept"], params) for r in rows])
        for n in ("radial", "tangential"):
            p = np.array([r[n] for r in rows]) / np.hypot([r[f"{n}_error"] for r in rows], moved)
            out |= {f"total_{n}_std": float(p.std(ddof=1)), f"total_{n}_beyond_3": int((np.abs(p) > 3).sum())}
    pulls_of = {"flux": (fit - flux) / error}
    pulls_of |= {n: np.array([r[n] / r[f"{n}_error"] for r in rows]) for n in ("radial", "tangential")}
    for name, p in pulls_of.items():
        out |= {f"{name}_pull_mean": float(p.mean()), f"{name}_pull_std": float(p.std(ddof=1)),
                f"{name}_pull_mad": _mad(p), f"{name}_beyond_3": int((np.abs(p) > 3).sum())}  # fmt: skip
    return out


def least_throughput(row: dict[str, float]) -> float:
    """Light that the mask leaves of a planet in the worse of the two rolls."""
    if "least" in row:
        return row["least"]
    offsets = [geometry.detector_offset(row["separation"], row["angle"], pa_y) for pa_y in PA_Y]
    return min(model().throughput_at((float(x), float(y))) for x, y in offsets)


def tables(numbers: dict[str, Any]) -> str:
    """The summary as tables for the documentation."""
    lines = []
    if "pulls" in numbers:
        p = numbers["pulls"]
        lines += [f"| {p['injections']} planets in {p['sequences']} sequences | number | flux: bias | pull: mean "
                  "| width (MAD) | separation: mean | width | across: mean | width |", "|" + "---|" * 9]  # fmt: skip
        for name, part in {"all": {"n": p["injections"], **p}, **p["parts"]}.items():
            lines.append(
                f"| {name} | {part['n']} | {100 * part['flux_bias_weighted']:+.2f} % | {part['flux_pull_mean']:+.2f} "
                f"| {part['flux_pull_std']:.2f} ({part['flux_pull_mad']:.2f}) | {part['radial_pull_mean']:+.2f} "
                f"| {part['radial_pull_std']:.2f} | {part['tangential_pull_mean']:+.2f} "
                f"| {part['tangential_pull_std']:.2f} |"
            )
        if "total_pull_mean" in p:
            lines += ["", "| with the errors of throughput and shape | number | pull: mean | width | beyond 3 "
                      "| median stated error | separation: width | beyond 3 | across: width | beyond 3 |",
                      "|" + "---|" * 10]  # fmt: skip
            for name, part in {"all": {"n": p["injections"], **p}, **p["parts"]}.items():
                lines.append(
                    f"| {name} | {part['n']} | {part['total_pull_mean']:+.2f} | {part['total_pull_std']:.2f} "
                    f"| {part['total_beyond_3']} | {100 * part['total_error_median']:.0f} % "
                    f"| {part['total_radial_std']:.2f} | {part['total_radial_beyond_3']} "
                    f"| {part['total_tangential_std']:.2f} | {part['total_tangential_beyond_3']} |"
                )
    if "completeness" in numbers:
        lines += ["", "| planets at the 5-sigma curve | number | 5 sigmas at their place | by the search "
                  "| in the plain S/N map |", "|" + "---|" * 5]  # fmt: skip
        for name, c in numbers["completeness"].items():
            values = [c["at_5_sigma"], c["by_search"], c["in_map"]]
            errors = [100 * np.sqrt(v * (1 - v) / c["planets"]) for v in values]
            shown = " | ".join(f"{100 * v:.0f} +- {e:.0f} %" for v, e in zip(values, errors, strict=True))
            lines.append(f"| {name} | {c['planets']} | {shown} |")
    if "alarms" in numbers:
        rows = numbers["alarms"]
        lines += ["", f"| {rows[0]['sequences']} planet-free sequences | " + " | ".join(str(r["level"]) for r in rows),
                  "|" + "---|" * (1 + len(rows))]  # fmt: skip
        for name, key in (("peaks found", "peaks"), ("expected", "expected"),
                          ("sequences with one or more", "with_one_or_more"),
                          ("expected", "with_one_or_more_expected")):  # fmt: skip
            lines.append(f"| {name} | " + " | ".join(f"{r[key]:.4g}" for r in rows) + " |")
    return "\n".join(lines)


def _mad(values: NDArray[np.float64]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _rows(folder: Path, what: str) -> list[dict[str, float]]:
    return [row for path in sorted(folder.glob(f"{what}_*.json")) for row in json.loads(path.read_text())]


def figure(folder: Path, path: Path) -> None:
    """Pulls of flux and position, and the ratio of fitted to true flux."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = _rows(folder, "pulls")
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    t = np.linspace(-4, 4, 200)
    pulls_of = {
        "flux": [(r["fitted"] - r["flux"]) / r["error"] for r in rows],
        "separation": [r["radial"] / r["radial_error"] for r in rows],
        "across": [r["tangential"] / r["tangential_error"] for r in rows],
    }
    for name, values in pulls_of.items():
        axes[0].hist(values, bins=np.linspace(-4, 4, 25), histtype="step", density=True, label=name)
    axes[0].plot(t, np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi), "k:", lw=1, label="unit Gaussian")
    axes[0].set_xlabel("(fitted - true) / error")
    axes[0].legend(fontsize=7, frameon=False)
    snr = np.array([r["snr"] for r in rows])
    ratio = np.array([r["fitted"] / r["flux"] for r in rows])
    axes[1].errorbar(snr, ratio, [r["error"] / r["flux"] for r in rows], fmt=".", ms=3, lw=0.5)
    axes[1].set(xscale="log", xlabel="S/N", ylabel="fitted / true flux", ylim=(0.5, 1.5))
    axes[1].axhline(1.0, color="k", lw=0.5)
    axes[2].plot([r["separation"] for r in rows], pulls_of["flux"], ".", ms=4)
    axes[2].set(xlabel="separation [arcsec]", ylabel="flux pull", ylim=(-5, 5))
    axes[2].axhline(0.0, color="k", lw=0.5)
    fig.tight_layout()
    fig.savefig(path, dpi=110)
