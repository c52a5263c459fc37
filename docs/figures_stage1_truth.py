"""Draw the figures of docs/stage1_truth.md from benchmarks/results/stage1_truth.json, and print its tables.

Usage: ``python docs/figures_stage1_truth.py``, after ``python benchmarks/stage1_truth.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
GROUP_TIME = 0.23968
OLS, EXACT, LIKELY = "none", "ramp_fit.exact_errors", "ramp_fit.algorithm = LIKELY"


def say(text: object) -> None:
    """Write a line to the terminal."""
    sys.stdout.write(f"{text}\n")


def option(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The row of one option."""
    return next(row for row in rows if row["option"] == name)


def draw_pulls(results: dict[str, Any], path: Path) -> None:
    """Distribution of the pulls, and their width against the rate with what the error formulas predict."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    edges = np.linspace(-5, 5, 81)
    middle = (edges[1:] + edges[:-1]) / 2
    colors = {OLS: "C0", EXACT: "C2", LIKELY: "C3"}
    for name, label in ((OLS, "OLS"), (EXACT, "OLS, exact errors"), (LIKELY, "LIKELY")):
        row = option(results["options"], name)
        density = np.array(row["histogram"]) / (row["clean"]["count"] * (edges[1] - edges[0]))
        left.step(middle, density, where="mid", color=colors[name], label=label)
    stock = results["stock"]
    density = np.array(stock["histogram"]) / (stock["clean"]["count"] * (edges[1] - edges[0]))
    left.plot(middle[::2], density[::2], ".", color="k", ms=4, label="official OLS")
    left.plot(middle, stats.norm.pdf(middle), "--", color="0.5", lw=1, label="Gaussian")
    left.set(yscale="log", ylim=(1e-5, 1), xlabel="(slope - truth) / error", ylabel="density")
    left.legend(fontsize=8)
    exposure_time = results["ngroups"] * GROUP_TIME
    for key, marker in (("options", "o"),):
        for name in (OLS, EXACT, LIKELY):
            bins = option(results[key], name)["by_signal"]
            rate = [np.sqrt(b["signal_dn"][0] * b["signal_dn"][1]) / exposure_time for b in bins]
            right.errorbar(
                rate,
                [b["std"] for b in bins],
                [b["std"] / np.sqrt(2 * b["count"]) for b in bins],
                fmt=marker,
                ms=4,
                color=colors[name],
            )
    formulas = results["error_formulas"]
    rates = [f["rate"] for f in formulas]
    right.plot(rates, [f["true"] / f["stated"] for f in formulas], color="C0", lw=1, label="OLS, expected")
    right.axhline(1.0, color="C3", lw=1, label="exact errors and LIKELY, expected")
    right.axhspan(0.97, 1.03, color="0.92", zorder=0)
    right.set(xscale="log", xlim=(0.3, 1500), ylim=(0.9, 1.15), xlabel="slope [DN/s]", ylabel="width of the pulls")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw_jumps(results: dict[str, Any], path: Path) -> None:
    """Completeness against deposited charge, and false alarms against the threshold."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    plain = [row for row in results["jumps"] if not row["neighbors"]]
    for k, row in enumerate(plain):
        ours, stock = row["lyot"], row["stock"]
        tested = np.array(ours["tested"])
        share = np.array(ours["found"]) / tested
        left.plot(ours["charge_e"], share, color=f"C{k}", label=f"{row['threshold']:g} sigma")
        left.plot(stock["charge_e"], np.array(stock["found"]) / tested, ".", color=f"C{k}", ms=7)
        left.plot(ours["charge_e"], np.array(ours["expected_found"]) / tested, ":", color=f"C{k}", lw=1)
    likely = results["likely_jumps"]
    left.plot(likely["charge_e"], np.array(likely["found"]) / np.array(likely["tested"]), "k--", lw=1.2, label="LIKELY")
    left.set(xscale="log", xlim=(20, 1000), xlabel="charge in the pixel [electrons]", ylabel="found")
    left.set_xticks([20, 50, 100, 200, 500, 1000], ["20", "50", "100", "200", "500", "1000"])
    left.set_xticks([], minor=True)
    left.legend(fontsize=8)
    thresholds = [row["threshold"] for row in plain]
    right.plot(thresholds, [row["lyot"]["false_per_million"] for row in plain], color="C0", label="Lyot")
    right.plot(thresholds, [row["stock"]["false_per_million"] for row in plain], "k.", label="official")
    right.plot(
        thresholds,
        [row["lyot"]["expected_false_per_million"] for row in plain],
        ":",
        color="0.4",
        label="Gaussian noise",
    )
    right.axhline(likely["false_per_million"], color="k", ls="--", lw=1.2, label="LIKELY")
    right.set(yscale="log", ylim=(1e-3, 1e4), xlabel="threshold [sigma]", ylabel="false alarms per million groups")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def print_slopes(results: dict[str, Any]) -> None:
    """Table of pulls by rate: ours, the official ones, LIKELY."""
    columns = [results["stock"], *(option(results["options"], name) for name in (OLS, EXACT, LIKELY))]
    formulas = results["error_formulas"]
    say("\n| slope, DN/s | official | OLS | expected of OLS | OLS, exact errors | LIKELY |\n|---|---|---|---|---|---|")
    exposure_time = results["ngroups"] * GROUP_TIME
    for k, first in enumerate(columns[0]["by_signal"]):
        low, high = (v / exposure_time for v in first["signal_dn"])
        nearest = min(formulas, key=lambda f: abs(np.log(f["rate"] / np.sqrt(low * high))))
        cells = [f"{c['by_signal'][k]['mean']:+.3f}, {c['by_signal'][k]['std']:.3f}" for c in columns]
        cells.insert(2, f"{nearest['true'] / nearest['stated']:.3f}")
        say(f"| {low:.1f} to {high:.1f} | " + " | ".join(cells) + " |")
    cells = [f"{c['clean']['mean']:+.4f}, {c['clean']['std']:.3f}" for c in columns]
    cells.insert(2, "")
    say("| all | " + " | ".join(cells) + " |")


def print_options(rows: list[dict[str, Any]]) -> None:
    """Table of what each option does."""
    say("\n| option | changed | pulls | width | error | scatter | scatter of rate | hit: mean | hit: > 5 | lost |")
    say("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        clean, hit = row["clean"], row["hit"]
        say(
            f"| {row['option']} | {100 * row['changed']:.2f} % | {clean['mean']:+.4f} | {clean['std']:.3f} "
            f"| {row['median_error']:.3f} | {row['scatter']:.3f} | {row['rate_scatter']:.3f} "
            f"| {hit['mean']:+.2f} | {100 * hit['beyond_5']:.1f} % | {100 * row['lost_slopes']:.2f} % |"
        )


def print_jumps(results: dict[str, Any]) -> None:
    """Table of completeness and false alarms."""
    say("\n| threshold | found of all | found above 200 e | expected | false per million | expected | differ |")
    say("|---|---|---|---|---|---|---|")
    for row in results["jumps"]:
        ours = row["lyot"]
        expected = f"{sum(ours['expected_found']) / sum(ours['tested']):.3f}" if "expected_found" in ours else ""
        chance = f"{ours['expected_false_per_million']:.1f}" if "expected_found" in ours else ""
        name = f"{row['threshold']:g}" + (", neighbors" if row["neighbors"] else "")
        say(
            f"| {name} | {ours['completeness']:.3f} | {ours['completeness_above_200e']:.4f} | {expected} "
            f"| {ours['false_per_million']:.1f} | {chance} | {row['flags_that_differ']} |"
        )
    likely = results["likely_jumps"]
    say(
        f"| LIKELY | {likely['completeness']:.3f} | {likely['completeness_above_200e']:.4f} | "
        f"| {likely['false_per_million']:.1f} | | |"
    )


def main() -> None:
    """Draw both figures and print the tables."""
    results = json.loads((RESULTS / "stage1_truth.json").read_text(encoding="utf-8"))
    print_slopes(results)
    print_options(results["options"])
    print_options(results["bright_options"])
    print_jumps(results)
    for row in results["depth_matching"]:
        say(row)
    draw_pulls(results, HERE / "_static" / "stage1_truth_slopes.png")
    draw_jumps(results, HERE / "_static" / "stage1_truth_jumps.png")


if __name__ == "__main__":
    main()
