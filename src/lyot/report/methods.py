"""The methods paragraph of a paper, filled from what a run did, with its citations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from lyot.exposures.headers import BACKGROUND_IMAGE, PARAMETERS_TABLE
from lyot.exposures.names import COMPANIONS, CONTRAST, DISK, MATCHED_FILTER, STIM_MAP, find_products
from lyot.exposures.roles import Assigned, Role, with_role
from lyot.instrument import modeled_coronagraph
from lyot.records.freshness import is_current
from lyot.records.manifest import Manifest, Record
from lyot.report.citations import CITATIONS, Citation, software
from lyot.report.marks import read_table
from lyot.report.products import combined_image
from lyot.report.provenance import Calibration, given_calibrations
from lyot.report.references import first_table
from lyot.subtract.zones import MIRI_EDGES
from lyot.written import flux_text, plural


@dataclass(frozen=True)
class Methods:
    r"""The paragraph and what it cites.

    Attributes
    ----------
    text : str
        Sentences; citations in parentheses.
    latex : str
        The same with ``\citep``.
    citations : tuple of Citation
        In the order in which they are cited.
    """

    text: str
    latex: str
    citations: tuple[Citation, ...]

    @property
    def bibtex(self) -> str:
        """All entries."""
        return "\n\n".join(citation.bibtex for citation in self.citations)


def _is_modeled(assigned: Sequence[Assigned]) -> bool:
    """Whether there is a model of the coronagraph."""
    science = [a.exposure for a in with_role(assigned, Role.SCIENCE)]
    return bool(science) and modeled_coronagraph(science[0].instrument, science[0].filter) is not None


_CITED = re.compile(r" ?\[([\w, ]+)\]")


def methods_of(out: Path, assigned: Sequence[Assigned]) -> Methods | None:
    """The methods paragraph of a run; None if no stage is recorded.

    Parameters
    ----------
    out : Path
    assigned : sequence of Assigned
        Its exposures with their roles.
    """
    records = Manifest(out).records
    if not records:
        return None
    kinds = {r.kind: r for r in records}
    given = given_calibrations(assigned)
    sentences = [
        *_observations(assigned), *_calibration(kinds, given), *_subtraction(kinds, out, assigned),
        *_measurements(out),
        "We used Astropy [Astropy2022].",
    ]  # fmt: skip
    last = records[-1].versions
    known = {
        **CITATIONS,
        "lyot": software("lyot", last.get("lyot", "")),
        "jwst": software("jwst", last.get("jwst", "")),
    }
    marked = " ".join(sentences)
    keys = list(dict.fromkeys(k.strip() for group in _CITED.findall(marked) for k in group.split(",")))

    def plain(match: re.Match[str]) -> str:
        return f" ({'; '.join(known[k.strip()].short for k in match[1].split(','))})"

    latex = re.sub(r"([%&#_])", r"\\\1", _CITED.sub(lambda m: f" \\citep{{{m[1].replace(' ', '')}}}", marked))
    latex = latex.replace("µ", "$\\mu$").replace("λ", "$\\lambda$").replace("è", "{\\`e}")
    return Methods(_CITED.sub(plain, marked), latex, tuple(known[k] for k in keys))


_INSTRUMENTS = {"NIRCAM": "NIRCam"}


def _observations(assigned: Sequence[Assigned]) -> list[str]:
    science = [a.exposure for a in with_role(assigned, Role.SCIENCE)]
    if not science:
        return []
    first = science[0]
    mask = modeled_coronagraph(first.instrument, first.filter)
    rolls = len({a.roll_number for a in assigned if a.roll_number})
    cite = "" if mask is None else " [Rouan2000, Boccaletti2022]" if mask.kind == "4QPM" else " [Boccaletti2022]"
    what = {"4QPM": "four-quadrant phase mask", "LYOT": "Lyot spot"}.get("" if mask is None else mask.kind, "mask")
    seconds = sum(e.n_integrations * e.integration_time for e in science)
    instrument = _INSTRUMENTS.get(first.instrument, first.instrument)
    lines = [
        f"{first.target} was observed with JWST/{instrument} in {first.filter} with the {what} {first.mask}{cite} at "
        f"{plural(rolls, 'roll angle')} (program "
        f"{first.program.lstrip('0')}{f', {seconds:.0f} s in total' if seconds else ''})."
    ]
    stars = [a.exposure for a in with_role(assigned, Role.REFERENCE)]
    if stars:
        names = list(dict.fromkeys(e.target for e in stars if e.target))
        time = sum(e.n_integrations * e.integration_time for e in stars)
        count = plural(len(stars), "exposure") + (f" ({time:.0f} s)" if time else "")
        listed = " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
        start = "The reference stars" if len(names) > 1 else "The reference star"
        were = "were" if len(names) > 1 else "was"
        lines.append(f"{start} {listed}".rstrip() + f" {were} observed in {count}.")
    return lines


def _calibration(kinds: Mapping[str, Record], given: Sequence[Calibration]) -> list[str]:
    lines = []
    last = list(kinds.values())[-1]
    lyot, jwst = last.versions.get("lyot", "?"), last.versions.get("jwst", "?")
    context = last.crds_context if last.crds_context not in ("", "none") else ""
    start = (
        "raw ramps" if "stage1" in kinds else "slopes" if "stage2" in kinds and not given else "calibrated exposures"
    )
    lines.append(
        f"The data were reduced from {start} with Lyot {lyot} [lyot], whose steps follow the JWST calibration "
        f"pipeline, version {jwst} [jwst]{f', with CRDS context {context}' if context else ''}."
    )
    for calibration in given:
        lines.append(
            f"{plural(calibration.count, 'exposure')} had been calibrated with version "
            f"{calibration.version or '(not stated)'} of that pipeline and CRDS context "
            f"{calibration.context or '(not stated)'}."
        )
    if "stage1" in kinds:
        jump = kinds["stage1"].parameters.get("jump", {}).get("rejection_threshold")
        fit = kinds["stage1"].parameters.get("ramp_fit", {}).get("algorithm", "")
        how = "maximum likelihood" if fit == "LIKELY" else "weighted least squares (weights from signal and read noise)"
        lines.append(f"Jumps due to cosmic rays were flagged at {jump:g} sigma, and slopes were fitted by {how}."
                     if isinstance(jump, int | float) else f"Slopes were fitted by {how}.")  # fmt: skip
    background = kinds["stage2"].parameters.get("bkg_subtract", {}) if "stage2" in kinds else {}
    if background and not background.get("skip"):
        lines.append(
            _BACKGROUND.get(
                str(background.get("method")), "The background was subtracted using dedicated background exposures."
            )
        )
    return lines


_BACKGROUND = {
    "clipped_mean": "The background, including the glow sticks along the mask boundaries, was subtracted using the "
    "sigma-clipped mean of dedicated background exposures.",
    "mean": "The background, including the glow sticks, was subtracted using the mean of dedicated background "
    "exposures.",
    "median": "The background, including the glow sticks, was subtracted using the median of dedicated background "
    "exposures.",
    "scaled": "The background, including the glow sticks, was subtracted using dedicated background exposures "
    "scaled to each integration.",
    "scaled_glow": "The background was subtracted using dedicated background exposures scaled to each integration, "
    "with a separate scale factor for each glow stick.",
    "pca": "The background was modeled in each integration with principal components of dedicated background exposures "
    "and subtracted.",
    "integration_matched": "The background was subtracted integration by integration, using the mean of the "
    "corresponding integrations of dedicated background exposures.",
}

_METHODS = {
    "klip": "by a projection onto the first {modes} [Soummer2012]",
    "classical": "by a scaled mean image (classical PSF subtraction)",
    "loci": "by locally optimized combinations of images [Lafreniere2007]",
    "nmf": "by non-negative matrix factorization with {modes} [Ren2018]",
}

_MODE = {"nmf": "component", "official": "mode"}
"""What the modes of a method are called, where they are not Karhunen-Loève modes."""

_FRAMES = {
    "rdi": "the images of the reference star",
    "adi": "the images of the other roll [Marois2006]",
    "adi+rdi": "the images of the reference star and of the other roll [Marois2006]",
    "roll": "the image of the other roll (roll subtraction)",
}


def _subtraction(kinds: Mapping[str, Record], out: Path, assigned: Sequence[Assigned]) -> list[str]:
    if "stage3" not in kinds:
        return []
    modeled = _is_modeled(assigned)
    stage = kinds["stage3"].parameters
    klip = {**stage.get("klip", {}), **_used_parameters(out)}
    if "official" in (stage.get("", {}).get("mode"), klip.get("mode")):
        return ["The star was subtracted with the klip step of the JWST calibration pipeline, "
                f"{_modes(out, klip, 'official')} [Soummer2012, jwst], and the exposures were combined by its "
                "resample step."]  # fmt: skip
    method = str(klip.get("method", "klip"))
    method = method if method in _METHODS else "klip"
    modes = _modes(out, klip, method).removeprefix("1 " if method == "klip" else "")  # the first mode, the first 2
    how = _METHODS[method].format(modes=modes)
    frames = _FRAMES.get(str(klip.get("strategy", "rdi")), _FRAMES["rdi"])
    lines = [
        f"The star was modeled in each exposure from {frames}{_shifted(out)}, {how}, and subtracted; bad pixels were "
        "excluded from the fit."
    ]
    lines += _fit(klip, out, assigned)
    weights = {"throughput": "their variance and the throughput of the mask", "variance": "their variance"}
    if not modeled:
        weights["throughput"] = weights["variance"]
    weighted = weights.get(str(klip.get("roll_weights")), "")
    if len(find_products(out / "stage3", "psfsub")) > 1:
        by = f", weighted by {weighted}" if weighted else ""
        lines.append(f"The rolls were rotated to north up with a single interpolation and averaged{by}.")
    else:
        lines.append("The image was rotated to north up with a single interpolation.")
    if find_products(out / "stage3", "refined"):
        lines.append(
            "In a second pass, detected sources were masked in the fit of the star, and small wavefront drifts were "
            "included in the fit."
        )  # fmt: skip
    return lines


def _shifted(out: Path) -> str:
    """How the references were laid onto the science, as part of a sentence."""
    planes = first_table(out / "stage3", "psfalign", "REFS")
    if planes is None or "APPLIED" not in planes:
        return ""
    if planes["APPLIED"].any():
        return ", registered to the science images"
    largest = float(np.nanmax(np.hypot(planes["DX"], planes["DY"]))) if np.isfinite(planes["DX"]).any() else np.nan
    used = f", used at their original positions behind the mask (offsets up to {largest:.2f} pixel)"
    return used if np.isfinite(largest) else ""


def _used_parameters(out: Path) -> dict[str, Any]:
    """Parameters of the subtraction as the product has them, where those chosen from the data are fixed."""
    table = first_table(out / "stage3", "psfsub", PARAMETERS_TABLE)
    if table is None:
        return {}
    names, values = ([v.decode() if isinstance(v, bytes) else str(v) for v in table[key]] for key in ("NAME", "VALUE"))
    return {name.strip(): json.loads(value) for name, value in zip(names, values, strict=True)}


def _fit(klip: Mapping[str, Any], out: Path, assigned: Sequence[Assigned]) -> list[str]:
    """Where the fit was performed, and what was fitted besides the star; all by the values that took effect."""
    edges = klip.get("zone_edges")
    if edges is None:
        edges = MIRI_EDGES if _has_annuli(klip, assigned) else ()
    outer = klip.get("outer_radius") or np.inf
    edges = [edge for edge in sorted(edges) if float(klip.get("inner_radius") or 0.0) < edge < outer]
    sectors = int(klip.get("sectors") or 1)
    parts = [
        *([f"in annuli with boundaries at {_listed(f'{edge:g}' for edge in edges)} arcsec"] if edges else []),
        *([f"in {sectors} sectors of each annulus except the innermost"] if sectors > 1 else []),
        *(["in each quadrant of the mask"] if klip.get("quadrants") else []),
    ]
    lines = [f"The fit was performed separately {_listed(parts)}."] if parts else []
    also = [
        *(["a constant"] if klip.get("subtract_mean", True) else []),
        *([_background_fitted(out, assigned)] if _fits_background(out) and klip.get("method") != "nmf" else []),
    ]
    if also:
        were = "were" if len(also) > 1 else "was"
        each = " in each of these regions" if parts else ""
        also[0] = also[0][0].upper() + also[0][1:]
        lines.append(f"{_listed(also)} {were} fitted along with the star{each}.")
    return lines


def _listed(items: Iterable[str]) -> str:
    """Items as a list in a sentence: ``a, b and c``."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def _has_annuli(klip: Mapping[str, Any], assigned: Sequence[Assigned]) -> bool:
    """Whether the annuli are `MIRI_EDGES` by default: where the mask is known (see `lyot.subtract.zones`)."""
    science = [a.exposure for a in with_role(assigned, Role.SCIENCE)]
    mask = modeled_coronagraph(science[0].instrument, science[0].filter) if science else None
    return mask is not None and (mask.kind == "4QPM" or bool(klip.get("use_throughput", True)))


def _fits_background(out: Path) -> bool:
    """Whether a background was fitted as a template."""
    return any(bool(fits.getheader(path).get("BKGTMPL")) for path in find_products(out / "stage3", "psfsub"))


def _background_fitted(out: Path, assigned: Sequence[Assigned]) -> str:
    """Which background was fitted: that of stage 2 if the calibrated science exposures have it."""
    science = [a.exposure for a in with_role(assigned, Role.SCIENCE)]
    given = [exposure.path for exposure in science if exposure.stage == "calints"]
    paths = [*find_products(out / "stage3", "crfints"), *(p for p in given if p.is_file())]
    paths += [p for e in science if (p := out / "stage2" / f"{e.root}_calints.fits").is_file()]
    for path in paths:
        with fits.open(path) as hdus:
            if BACKGROUND_IMAGE in hdus:
                return "the mean background that was subtracted in stage 2"
    return "the pattern that a uniform background has behind the mask"


def _modes(out: Path, klip: Mapping[str, Any], method: str) -> str:
    """Number of modes of the main product with their name, such as ``9 Karhunen-Loève modes``."""
    path = combined_image(out)
    found = (None if path is None else fits.getheader(path).get("KLMODES")) or klip.get("recommended")
    name = _MODE.get(method, "Karhunen-Loève mode")
    return plural(int(found), name) if found else f"K {name}s"


def _measurements(out: Path) -> list[str]:
    lines = []
    if (out / "measure" / "detections.ecsv").is_file():
        lines.append(
            "Point sources were searched for with apertures of one λ/D; the noise was estimated from neighboring "
            "separations and from the residuals of the references, with small-sample statistics [Mawet2014]."
        )
    companions = read_table(out, COMPANIONS)
    if companions is not None:
        text = (
            "Position and flux of each companion were fitted with forward models: PSFs computed with the mask and "
            "the Lyot stop and passed through the same reduction as the data"
        )
        sampled = "flux_posterior_low" in companions.colnames and np.isfinite(
            np.asarray(companions["flux_posterior_low"], dtype=float)
        ).any()  # fmt: skip
        lines.append(text + ("; the posterior was sampled with emcee [ForemanMackey2013]." if sampled else "."))
    contrast = read_table(out, CONTRAST)
    if contrast is not None:
        star = contrast.meta.get("star_flux_jy")
        relative = ""
        if star is not None:
            source = contrast.meta.get("star_flux_source", "given")
            relative = f" Contrasts are relative to a stellar flux of {flux_text(float(star))} ({source})."
        lines.append(
            f"Detection limits ({contrast.meta.get('sigma', 5):g} sigma) were calibrated by injecting sources at "
            "several position angles per separation and repeating the reduction, with small-sample statistics "
            f"[Mawet2014].{relative}"
        )
    if _has(out, MATCHED_FILTER):
        lines.append(
            "Maps of the limits were computed with a matched filter whose templates are images of sources after the "
            "reduction."
        )  # fmt: skip
    if _has(out, STIM_MAP):
        lines.append("The STIM map follows [Pairet2019].")
    if _has(out, DISK):
        lines.append("Disk models were fitted after propagation through mask, PSF and reduction.")
    return lines


def _has(out: Path, name: str) -> bool:
    path = out / "measure" / name
    return path.is_file() and is_current(path, out)
