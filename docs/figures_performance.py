"""Draw the figure of docs/performance.md from benchmarks/results/whole.json, and print its tables.

Usage: ``python docs/figures_performance.py``, after ``python benchmarks/whole.py --work DIR``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
TASKS = {
    "command": "start, plan, imports", "stage1": "stage 1", "stage2": "stage 2", "stage3": "stage 3",
    "measure": "measuring", "report": "report",
}  # fmt: skip
COLORS = {
    "arithmetic": "#0b6e99", "reading": "#3d8361", "writing": "#8fbf9f", "validation": "#edae49", "start-up": "#d1495b",
    "checksums": "#f2c6a0", "figures": "#7b4ea3", "compiling": "#444444", "other": "#b9b9b4",
}  # fmt: skip


def say(text: object) -> None:
    """Write a line to the terminal."""
    sys.stdout.write(f"{text}\n")


def latest(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last record of each name, short runs first."""
    last = {record["name"]: record for record in records}
    return dict(sorted(last.items(), key=lambda item: float(item[1]["wall_s"])))


def draw(records: dict[str, dict[str, Any]], path: Path) -> None:
    """Seconds of CPU of each part of a run, by what they go into; one panel for each run sampled on the last day."""
    last = max(r["date"] for r in records.values() if "sampled" in r)
    sampled = {name: r["sampled"]["where"] for name, r in records.items() if "sampled" in r and r["date"] == last}
    figure, axes = plt.subplots(
        len(sampled), 1, figsize=(8.5, 0.6 + 1.9 * len(sampled)), layout="constrained", squeeze=False
    )
    for ax, (name, where) in zip(axes.ravel(), sampled.items(), strict=True):
        tasks = [task for task in TASKS if task in where]
        for row, task in enumerate(tasks):
            left = 0.0
            for kind, color in COLORS.items():
                seconds = where[task].get(kind, {}).get("cpu_s", 0.0)
                ax.barh(row, seconds, left=left, color=color, height=0.7, label=kind if row == 0 else None)
                left += seconds
        ax.set_yticks(range(len(tasks)), [TASKS[task] for task in tasks], fontsize=8)
        ax.invert_yaxis()
        ax.set_title(name, fontsize=9, loc="left")
        ax.tick_params(axis="x", labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("CPU time [s]", fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def whole_table(records: dict[str, dict[str, Any]]) -> None:
    """Time and memory of whole runs."""
    say("| run | wall, s | CPU, s | all processes, MB | largest process, MB | load before |\n|---|---|---|---|---|---|")
    for name, r in records.items():
        if "cpu_s" not in r:  # of some runs only the time was taken
            continue
        say(
            f"| {name} | {r['wall_s']} | {r['cpu_s']} | {r['peak_mb_all_processes']} | {r['peak_mb_largest_process']} "
            f"| {r['load_before'][0]} |"
        )


def where_table(records: dict[str, dict[str, Any]]) -> None:
    """CPU seconds by kind, all tasks of a run together."""
    say("\n| run | " + " | ".join(COLORS) + " |\n|---|" + "---|" * len(COLORS))
    for name, r in records.items():
        where = r.get("sampled", {}).get("where", {})
        sums = [sum(kinds.get(kind, {}).get("cpu_s", 0.0) for kinds in where.values()) for kind in COLORS]
        if where:
            say(f"| {name} | " + " | ".join(f"{value:.1f}" for value in sums) + " |")


def peers_table() -> None:
    """What other packages take for the same, from the results of the other benchmarks."""
    stage1 = json.loads((RESULTS / "stage1.json").read_text())
    full = next(r for r in reversed(stage1) if (r.get("ints"), r.get("groups")) == (60, 250) and "stock" in r)
    sequence = json.loads((RESULTS / "stage1_sequence.json").read_text())[-1]
    klip = json.loads((RESULTS / "stage3_klip.json").read_text())["times_slower_than_lyot"]
    register = json.loads((RESULTS / "stage3_register.json").read_text())["HD 106906 F1140C"]
    say("\n| what | other | Lyot | ratio |\n|---|---|---|---|")
    for name, r in (("stage 1, 60 x 250, wall, s", full), ("stage 1, sequence of 15 exposures, wall, s", sequence)):
        say(f"| {name} | jwst {r['stock']['wall_s']:.0f} | {r['lyot']['wall_s']:.1f} | {r['ratio_wall']:.0f} |")
    official, ours = register["official_ms"], register["lyot_ms"]
    say(f"| registration, ms per frame | jwst {official:.0f} | {ours:.1f} | {register['times_faster']:.0f} |")
    for name, ratio in klip.items():
        if name != "lyot":
            say(f"| KLIP | {name} | | {ratio:.1f} |")


def main() -> None:
    """Figure and tables."""
    records = latest(json.loads((RESULTS / "whole.json").read_text()))
    draw(records, HERE / "_static" / "performance_where.png")
    whole_table(records)
    where_table(records)
    peers_table()


if __name__ == "__main__":
    main()
