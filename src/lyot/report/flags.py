"""What a person should look at before using a result: one list in plain words, each with its meaning and a link.

Collected from what the run wrote about its input, from the headers and tables of the products, and from the logs of
the tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import QTable

from lyot.analysis.combined_image import is_candidate
from lyot.analysis.summary import LIMITS_AT, merged, unchecked_sources
from lyot.errors import InputError
from lyot.exposures.headers import STAR_ERRORS
from lyot.exposures.names import (
    COMPANIONS,
    CONTRAST,
    DETECTIONS,
    DISK,
    DISK_RING,
    ERROR_BUDGET,
    MATCHED_FILTER,
    PROPER_MOTION,
    exposure_root,
)
from lyot.records.freshness import is_current, outdated
from lyot.records.manifest import Manifest, Record
from lyot.records.manifest import Product as ManifestProduct
from lyot.records.tables import read_ecsv
from lyot.report.damage import changed_size
from lyot.report.glow import glow_sticks
from lyot.report.marks import finite, marked_sources, on_which_roll, read_table
from lyot.report.products import Product, products
from lyot.report.quality import read_notes, read_quality
from lyot.report.references import first_table
from lyot.report.sky import distance_to_lines, mask_boundaries
from lyot.written import chi2_text, error_text, plural, probability_text, with_error

FLAGGED = 0.10
"""Fraction of flagged pixels of an exposure above which it is named."""

UNCERTAIN = 20.0
"""Error of the star's position above which it is named, mas."""

RESIDUAL = 3.0
"""Glow that is left after the background subtraction, in its errors, above which it is named."""


@dataclass(frozen=True)
class Flag:
    """One thing that needs a person's eye.

    Attributes
    ----------
    text : str
        What was found, in a sentence.
    meaning : str
        What it means for the result, in a sentence.
    anchor : str
        Section that shows it.
    """

    text: str
    meaning: str
    anchor: str


_CODES = {
    "far reference": (
        "The speckle pattern depends on the position of the star behind the mask: that of a reference star far from "
        "the position of the science star does not match it.",
        "references",
    ),
    "no errors": (
        "The errors were estimated from the data; error bars and weights depend on this estimate.",
        "usable-data",
    ),
    "one group": (
        "A ramp with one group has no slope: the values of this exposure are not count rates.",
        "usable-data",
    ),
    "starless": (
        "The star may have moved off the mask, or the exposure may have ended early; the other integrations are used.",
        "usable-data",
    ),
    "empty": ("An exposure without data is not used; the other references are.", "usable-data"),
    "short dark": (
        "The dark current of the last groups is a guess: slopes may have an offset and bands that repeat in all "
        "integrations.",
        "usable-data",
    ),
    "masked": ("A mostly flagged integration would only add noise; the other integrations are used.", "usable-data"),
    "uneven": ("Check whether a cosmic-ray shower or saturation hit this integration near the star.", "usable-data"),
}
"""Meaning and section of the warnings of stage 3 by their code."""

_LOG = re.compile(r"^\S+ \S+ WARNING (lyot\.\S+): (.*)$")
_FILE = re.compile(r"^(?:\S*/)?([\w.+-]+\.fits): ")

_SAID = (
    (
        re.compile(r"VAR_\w+ .*shape"),
        "The file was cropped after the calibration. Its variances cannot be used; errors are taken from ERR, or "
        "from the scatter of the data.",
        "usable-data",
    ),
    (
        re.compile(r"registration"),
        "The reference is used at its original position. Compare its offset with those of the others.",
        "registration",
    ),
    (
        re.compile(r"second pass"),
        "Only the first pass was run: sources were not masked in the fit of the star, which increases their "
        "over-subtraction.",
        "detections",
    ),
    (re.compile(r"background"), "Sky background or glow sticks may remain in the images.", "stage2"),
    (
        re.compile(r"fits nearly as well"),
        "Near a mask boundary two positions can explain the image; inspect both rolls.",
        "companions",
    ),
    (
        re.compile(r"outside contrast\.outer_radius"),
        "No limit was measured at the separation of the outermost source.",
        "contrast",
    ),
    (
        re.compile(r"outside maps\.outer_radius"),
        "The outermost source is outside of the maps.",
        "maps",
    ),
    (
        re.compile(r"coordinates are"),
        "Positions relative to the star are not affected; absolute coordinates are based on the telescope pointing.",
        "image",
    ),
    (re.compile(r"subtracts itself|disk"), "The flux of extended light is a lower limit.", "disk"),
    (re.compile(r"crop|shifted by"), "Check that the files cover the same part of the detector.", "stage3"),
    (
        re.compile(r"max_sources"),
        "Increase measure.max_sources, or check for extended emission or residual speckles.",
        "detections",
    ),
)
"""Meaning and section of the warnings in the logs."""

_ROUTINE = re.compile(r"default array|step will be skipped|checksums|contains path information|ASDF; its metadata")
"""Lines of the logs that say nothing of the result."""


def collect_flags(out: Path, sources: QTable | None) -> list[Flag]:
    """Everything that needs a person's eye, what concerns the result first.

    Parameters
    ----------
    out : Path
        Folder of the run.
    sources : QTable or None
        Detections.
    """
    science = list(products(out, "stage3", "psfsub"))
    found = [
        *_not_measured(out), *_missing(out), *_damaged(out), *_outdated(out), *_candidates(out, sources),
        *_unchecked(out), *_on_boundaries(out, sources, science), *_rejected(out, sources), *_limits(out),
        *_star_position(science), *_companions(out), *_input_notes(out), *_quality(out), *_references(out),
        *_glow(out),
    ]  # fmt: skip
    said = [*(flag.text for flag in found), *read_notes(out), *(str(w["text"]) for w in read_quality(out)["warnings"])]
    found += _from_logs(out, said)
    return list(dict.fromkeys(found))


def _not_measured(out: Path) -> Iterable[Flag]:
    for record in Manifest(out).records:
        if record.failure and not _made_since(out, record):
            what = record.name.partition("_")[0]
            anchor = {"companions": "sources", "contrast": "image", "disk": "image"}.get(what, "image")
            yield Flag(
                f"Not measured ({what}): {record.failure}",
                "The image is complete without it; details are in the log of the task in the folder logs.",
                anchor,
            )


def _missing(out: Path) -> Iterable[Flag]:
    """Products that are gone or were cut since the run wrote them; those of measurements may have been made again."""
    products = [p for record in Manifest(out).records for p in record.products]
    gone = [p.path for p in products if _gone(out, p)]
    cut = [changed_size(out, p) for p in products if _cut(out, p)]
    for what, named in (("missing", gone), ("damaged", cut)):
        shown = "; ".join(named[:3]) + (f"; and {len(named) - 3} more" if len(named) > 3 else "")
        if named:
            yield Flag(
                f"{plural(len(named), 'product')} {'is' if len(named) == 1 else 'are'} {what}: {shown}.",
                "The parts of the report that need them are omitted or wrong. Run lyot run again with the same output "
                "folder; it redoes them.",
                "timings",
            )


def _gone(out: Path, product: ManifestProduct) -> bool:
    return product.path.startswith(("stage3/", "measure/")) and not (out / product.path).is_file()


def _cut(out: Path, product: ManifestProduct) -> bool:
    path = out / product.path
    return product.path.startswith("stage3/") and path.is_file() and bool(changed_size(out, product))


def _made_since(out: Path, record: Record) -> bool:
    """Whether a measurement that failed in the run was made by its command afterwards."""
    names = {"companions": COMPANIONS, "contrast": CONTRAST, "maps": MATCHED_FILTER, "disk": DISK}
    path = out / "measure" / names.get(record.name.partition("_")[0], DETECTIONS)
    return path.is_file() and is_current(path, out)


def _outdated(out: Path) -> Iterable[Flag]:
    names = outdated(out)
    if names:
        yield Flag(
            f"Not shown, because measured on an earlier reduction: {', '.join(names)}.",
            "Repeat the measurement with lyot contrast, lyot companion, lyot detect --maps or lyot disk.",
            "outdated",
        )


def _damaged(out: Path) -> Iterable[Flag]:
    """Tables that cannot be read, each by its path; what they hold is in no other part of the report."""
    commands = {
        DETECTIONS: "lyot detect", CONTRAST: "lyot contrast", COMPANIONS: "lyot companion",
        ERROR_BUDGET: "lyot companion", PROPER_MOTION: "lyot companion", DISK: "lyot disk", DISK_RING: "lyot disk",
    }  # fmt: skip
    for name, command in commands.items():
        path = out / "measure" / name
        try:
            table = read_ecsv(path) if path.is_file() else None
        except InputError as error:
            reason = str(error).partition("table (")[2].rpartition(")")[0]
            yield Flag(
                f"{path} is not a readable table and is not shown: {reason}.",
                f"The file is damaged; repeat the measurement with {command}.", "image",
            )  # fmt: skip
        else:
            if table is not None and not len(table) and name == CONTRAST:
                yield Flag(f"{path} has no rows: there are no limits.", f"Repeat {command}.", "image")


def _candidates(out: Path, sources: QTable | None) -> Iterable[Flag]:
    """Detections that noise alone may have made."""
    if sources is None:
        return
    marks = [m for m in marked_sources(out, sources) if m.kind == "detection"]
    for marked, row, unsure in zip(marks, sources, is_candidate(sources), strict=True):
        if unsure:
            yield Flag(
                f"Detection {marked.name} ({marked.note}) is a candidate: false-alarm probability "
                f"{probability_text(float(row['false_alarm']))}.",
                "Noise alone may produce such a peak somewhere in the image; check that it is present in each roll.",
                "detections",
            )


def _unchecked(out: Path) -> Iterable[Flag]:
    """Sources that only one of several rolls can show."""
    for sentence in unchecked_sources(out / "measure"):
        yield Flag(
            f"{sentence[0].upper()}{sentence[1:]}",
            "Look at the image of this roll alone: a remnant of a cosmic ray is sharper than a point source.",
            "image",
        )


def _on_boundaries(out: Path, sources: QTable | None, science: Sequence[Product]) -> Iterable[Flag]:
    """Sources within lambda/D of a boundary of the mask, in which rolls."""
    near = _resolution(out)
    every = marked_sources(out, sources)
    companions = [m for m in every if m.kind == "companion"]
    for marked in every:
        if marked.kind == "detection" and any(
            np.hypot(marked.east - c.east, marked.north - c.north) < near for c in companions
        ):
            continue  # it is named as the companion that was fitted to it
        hit = [on_which_roll(science, k).partition(" (")[0] for k, item in enumerate(science)
               if distance_to_lines(marked.east, marked.north, mask_boundaries(item.header)) < near]  # fmt: skip
        if marked.kind == "rejected" or not hit:
            continue
        where = " and ".join(dict.fromkeys(hit))
        name = f"Companion {marked.name}" if marked.kind == "companion" else f"Detection {marked.name}"
        yield Flag(
            f"{name} ({marked.note}) lies within one λ/D of a mask boundary in {where}.",
            "The mask attenuates it strongly at this position, and its flux depends on the throughput model; "
            "compare the rolls in the interactive image.", "image",
        )  # fmt: skip


def _resolution(out: Path) -> float:
    """Size of a resolution element as the detections were searched with, arcsec."""
    for name in (DETECTIONS, CONTRAST, COMPANIONS):
        table = read_table(out, name)
        if table is not None and "fwhm_arcsec" in table.meta:
            return float(table.meta["fwhm_arcsec"])
    return 0.4


def _limits(out: Path) -> Iterable[Flag]:
    table = read_table(out, CONTRAST)
    if table is None or "flux_5sigma" not in table.colnames:
        return
    separation, flux = (np.asarray(table[name], dtype=float) for name in ("separation", "flux_5sigma"))
    good = np.isfinite(flux)
    if table.meta.get("star_flux_jy") is None:
        yield Flag(
            "The flux of the star is unknown: limits and companions are given as fluxes, without contrasts.",
            "Give --star-flux, --star-mag, --star-kmag with --star-sptype, --star-simbad, --star-sed or --star-ta to "
            "lyot contrast.",
            "contrast",
        )
    if good.any() and separation[good].max() < LIMITS_AT[-1]:
        yield Flag(
            f'Limits end at {separation[good].max():.2f}".',
            "There are no limits at larger separations; the outer limit is set by contrast.outer_radius and the field.",
            "contrast",
        )
    if not good.all():
        lost = ", ".join(f'{s:.2f}"' for s in separation[~good][:6])
        reason = str(table.meta.get("no_limit_because", "no injected source was recovered at this separation"))
        yield Flag(
            f"No limit at {lost}: {reason}.",
            "Sources of any brightness may be missed at these separations.",
            "contrast",
        )


def _star_position(science: Sequence[Product]) -> Iterable[Flag]:
    for number, item in enumerate(science):
        roll = on_which_roll(science, number).partition(" (")[0]
        note = str(item.header.get("STARNOTE", "")).strip()
        errors = [float(item.header.get(key) or 0.0) for key in STAR_ERRORS]
        if note:
            yield Flag(
                f"The star position in {roll} was not determined with the configured method: {note}.", _STAR, "stage3"
            )
        elif max(errors) > UNCERTAIN:
            yield Flag(f"The star position in {roll} has an error of {error_text(max(errors))} mas.", _STAR, "stage3")


_STAR = "Separations, position angles, and the throughput near the star depend on it; see stage3.locate_star."


def _companions(out: Path) -> Iterable[Flag]:
    table = read_table(out, COMPANIONS)
    for row in range(len(table) if table is not None else 0):
        chi2 = finite(table, row, "reduced_chi2")
        if chi2 is not None and chi2 > 2.0:
            yield Flag(
                f"Companion C{row + 1}: the model fits poorly (reduced chi2 {chi2_text(chi2)}).",
                "The source may be extended, blended, or a residual of the star; its errors are increased accordingly.",
                "companions",
            )


_NOTES = (
    (
        re.compile(r"background|glow|S_BKDSUB"),
        "Check the calibrated images for residual sky background and glow sticks.",
        "stage2",
    ),
    (re.compile(r"stellar flux|star's flux"), "Contrasts are relative to this flux.", "contrast"),
    (re.compile(r"not measured"), "The image is complete without it.", "image"),
    (
        re.compile(r"\breferences?\b|rolls?\b"),
        "The quality of the subtraction depends on the reference images.",
        "references",
    ),
)
"""Meaning and section of the remarks about the input."""


def _input_notes(out: Path) -> Iterable[Flag]:
    otherwise = ("Check that the exposures have the expected roles.", "exposures")
    for note in merged(read_notes(out)):
        meaning, anchor = next(((m, a) for pattern, m, a in _NOTES if pattern.search(note)), otherwise)
        yield Flag(f"Input: {note}", meaning, anchor)


def _rejected(out: Path, sources: QTable | None) -> Iterable[Flag]:
    """Peaks above the threshold that are no point sources."""
    peaks = [m for m in marked_sources(out, sources) if m.kind == "rejected"]
    if peaks:
        yield Flag(
            f"{plural(len(peaks), 'peak')} above the threshold {'was' if len(peaks) == 1 else 'were'} not classified "
            f"as {'a point source' if len(peaks) == 1 else 'point sources'}: {'; '.join(m.note for m in peaks[:4])}.",
            "Extended emission, or a residual of the star; the reasons are in the table.",
            "rejected",
        )


def _references(out: Path) -> Iterable[Flag]:
    """Reference exposures of which nothing was used."""
    planes = first_table(out / "stage3", "psfalign", "REFS")
    ranks = first_table(out / "stage3", "psfsub", "REFRANK")
    if planes is None or ranks is None or len(ranks["KEPT"]) != len(planes["EXPOSURE"]):
        return
    exposures = np.unique(planes["EXPOSURE"])
    lost = [e for e in exposures if not ranks["KEPT"][planes["EXPOSURE"] == e].any()]
    if lost:
        names = [planes["FILENAME"][planes["EXPOSURE"] == e][0] for e in lost]
        text = ", ".join(exposure_root(n.decode() if isinstance(n, bytes) else str(n)) for n in names)
        yield Flag(f"{len(lost)} of {len(exposures)} reference exposures rejected: {text}.",
                   "Their similarity to the science images is much lower than that of the others "
                   "(stage3.klip.reject_references).",
                   "references")  # fmt: skip


def _quality(out: Path) -> Iterable[Flag]:
    quality = read_quality(out)
    codes: dict[str, list[str]] = {}
    for warning in quality["warnings"]:
        codes.setdefault(warning["code"], []).append(str(warning["text"]))
    for code, given in codes.items():
        meaning, anchor = _CODES.get(code, ("See the table of usable data.", "usable-data"))
        yield from (Flag(text, meaning, anchor) for text in merged(given))
    for item in quality["exposures"]:
        worst = max((f for f in item["flagged"] if f is not None), default=0.0)
        if worst > FLAGGED:
            name = exposure_root(str(item["exposure"]))
            yield Flag(f"{name}: up to {100 * worst:.0f} % of the pixels of an integration are flagged (limit "
                       f"{100 * FLAGGED:.0f} %).", "Many flagged pixels near the star leave gaps in the subtraction.",
                       "usable-data")  # fmt: skip


def _glow(out: Path) -> Iterable[Flag]:
    """Glow sticks that are still there after the subtraction, all exposures in one sentence."""
    left = [s for s in glow_sticks(out) if s.after_error > 0 and abs(s.after) > RESIDUAL * s.after_error]
    if left:
        worst = max(left, key=lambda s: abs(s.after) / s.after_error)
        names = len({s.exposure for s in left})
        yield Flag(
            f"Glow sticks remain after the background subtraction in {plural(names, 'exposure')}; worst: "
            f"{with_error(worst.after, worst.after_error)} {worst.unit} in {worst.exposure} ({worst.name} strip).",
            "Residual glow along the mask boundaries mimics extended emission; see the images of stage 2.",
            "glow-sticks",
        )  # fmt: skip


def _from_logs(out: Path, said: Sequence[str]) -> list[Flag]:
    """Warnings of our own code that only the logs have, those that differ in the file or in figures as one."""
    about: list[str] = []
    groups: dict[str, list[str]] = {}
    for path in sorted((out / "logs").glob("*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _LOG.match(line)
            if not found or _ROUTINE.search(found[2]) or any(found[2] in text for text in said):
                continue
            if _FILE.match(found[2]):
                about.append(f"{found[2].rstrip('.')}.")
            else:
                groups.setdefault(re.sub(r"\d+(\.\d+)?", "#", found[2]), []).append(found[2].rstrip("."))
    lines = merged(about)
    for texts in groups.values():
        again = f" ({len(texts)} times)" if len(texts) > 1 else ""
        lines.append(f"{texts[0][0].upper()}{texts[0][1:]}{again}.")
    otherwise = ("From the log of a task, in the folder logs.", "exposures")
    return [Flag(text, *next(((m, a) for pattern, m, a in _SAID if pattern.search(text)), otherwise)) for text in lines]
