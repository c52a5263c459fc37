"""Integrations of an exposure that are used, and what is said of the others: in the log, in JSON, in the report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lyot import dq, geometry
from lyot.exposures.headers import DARK_BEYOND
from lyot.exposures.names import exposure_name
from lyot.steps.extra_fits import read_card
from lyot.steps.models import DataModel
from lyot.steps.sequence_io import Frames, frames_of, geometry_of, model_name
from lyot.subtract.quality import IntegrationQuality, estimate_variance, judge_integrations

log = logging.getLogger(__name__)

NEAR = 3.0
"""Radius within which the star's light is compared between integrations, arcsec."""


@dataclass(frozen=True)
class Finding:
    """Something about the input that a person should know.

    Attributes
    ----------
    code : str
        Kind: ``starless``, ``masked``, ``uneven``, ``no errors``, ``one group``, ``far reference``, ``empty``,
        ``short dark``.
    file : str
        File it is about.
    text : str
        One sentence with the figure.
    figure : float
        The figure that it was judged by.
    """

    code: str
    file: str
    text: str
    figure: float


@dataclass(frozen=True)
class Usable:
    """An exposure as it is used: its frames, what they are like, and what was found."""

    frames: Frames
    quality: IntegrationQuality
    findings: tuple[Finding, ...]


def usable_frames(model: DataModel, *, dtype: type[np.floating[Any]] = np.float32) -> Usable:
    """Read the integrations of a calibrated exposure, NaN where an integration is left out; errors where it has none.

    Parameters
    ----------
    model : CubeModel or ImageModel
        Calibrated exposure. Not changed.
    dtype : floating type, optional
        Of data and variance.
    """
    frames = frames_of(model, dtype=dtype)
    findings: list[Finding] = []
    if not np.isfinite(frames.variance).any() and np.isfinite(frames.data).any():
        frames = replace(frames, variance=estimate_variance(frames.data).astype(dtype))
        findings.append(_no_errors(frames))
    where = geometry_of(model)
    shape = (frames.data.shape[1], frames.data.shape[2])
    near = geometry.radius_map(shape, where.star) * float(np.mean(where.pixel_scale)) < NEAR
    quality = judge_integrations(frames.data, near, frames.variance)
    findings += _about_integrations(frames.name, quality)
    if not quality.use.all():
        out = ~quality.use[:, None, None]
        frames = replace(
            frames,
            data=np.where(out, np.asarray(np.nan, dtype), frames.data),
            variance=np.where(out, np.asarray(np.nan, dtype), frames.variance),
            dq=np.where(out, frames.dq | np.uint32(dq.DO_NOT_USE), frames.dq),
        )
    if model.meta.exposure.ngroups == 1:
        findings.append(_one_group(frames))
    beyond = read_card(model, DARK_BEYOND)
    if beyond:
        findings.append(_short_dark(frames.name, int(beyond), model))
    return Usable(frames, quality, tuple(findings))


def _no_errors(frames: Frames) -> Finding:
    typical = float(np.sqrt(np.nanmedian(frames.variance)))
    source = "the scatter of its integrations" if len(frames.data) > 1 else "the scatter of neighboring pixels"
    text = (
        f"{frames.name}: ERR is 0 or NaN everywhere; errors are estimated from {source} (median {typical:.3g} MJy/sr)."
    )
    return Finding("no errors", frames.name, text, typical)


def _short_dark(name: str, beyond: int, model: DataModel) -> Finding:
    e = model.meta.exposure
    total = (e.ngroups or 1) * ((e.nframes or 1) + (e.groupgap or 0)) - (e.groupgap or 0)
    text = (
        f"{name}: the dark reference covers {total - beyond} of the {total} frames of the ramps; the rest is "
        "extrapolated, which can leave bands (fewer with stage1.dark_current.extrapolation = 'fit')."
    )
    return Finding("short dark", name, text, float(beyond))


def _one_group(frames: Frames) -> Finding:
    level = float(np.nanmedian(frames.data)) if np.isfinite(frames.data).any() else float("nan")
    text = (
        f"{frames.name}: ramps with one group (NGROUPS = 1) have no slope; the values (median {level:.3g} MJy/sr) "
        "include the detector offset."
    )
    return Finding("one group", frames.name, text, level)


def _about_integrations(name: str, quality: IntegrationQuality) -> list[Finding]:
    found = []
    for i, (light, flagged) in enumerate(zip(quality.brightness, quality.flagged, strict=True)):
        which = f"{name}: integration {i + 1}"
        if quality.starless[i]:
            text = f"{which} has {100 * light:.0f} % of the stellar flux of the others; it is rejected."
            found.append(Finding("starless", name, text, float(light)))
        elif quality.masked[i]:
            text = f"{which} has {100 * flagged:.0f} % of its pixels flagged, far more than the others; it is rejected."
            found.append(Finding("masked", name, text, float(flagged)))
        elif quality.uneven[i]:
            text = (
                f"{which} has {100 * flagged:.0f} % of its pixels flagged, more than the others; the remaining "
                "pixels are used."
            )
            found.append(Finding("uneven", name, text, float(flagged)))
    return found


def without_one_group(references: Sequence[DataModel]) -> list[DataModel]:
    """Reference exposures without those of one group, as long as others remain."""
    kept = [m for m in references if m.meta.exposure.ngroups != 1]
    return kept or list(references)


def is_empty(model: DataModel) -> bool:
    """Whether an exposure has no data: no pixel is good and other than 0."""
    data = frames_of(model, dtype=np.float32).data
    return not bool((np.isfinite(data) & (data != 0)).any())


def without_empty(references: list[DataModel]) -> list[Finding]:
    """Take exposures without data out of a list of references; returns what is to be said of them."""
    empty = [m for m in references if is_empty(m)]
    references[:] = [m for m in references if not any(m is e for e in empty)]
    return [
        Finding("empty", model_name(m), f"{model_name(m)}: all pixels are flagged, NaN or 0; it is rejected.", 1.0)
        for m in empty
    ]


def assess(models: Sequence[DataModel], role: str) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Rows of the JSON about exposures, and findings.

    Parameters
    ----------
    models : sequence of CubeModel
        Calibrated exposures, segments joined.
    role : str
        For the rows: science or psf. The flagged fraction is of all pixels of the frame.
    """
    rows: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for model in models:
        usable = usable_frames(model)
        quality = usable.quality
        frames = usable.frames if quality.use.all() else frames_of(model, dtype=np.float32)
        flagged = 1.0 - np.isfinite(frames.data).mean(axis=(1, 2))
        rows.append(
            {
                "file": model_name(model),
                "exposure": exposure_name(Path(model_name(model)).stem),
                "role": role,
                "flagged": [round(float(f), 5) for f in flagged],
                "brightness": [None if not np.isfinite(b) else round(float(b), 4) for b in quality.brightness],
                "used": [bool(u) for u in quality.use],
            }
        )
        findings += usable.findings
    return rows, findings


def as_json(rows: Sequence[dict[str, Any]], findings: Sequence[Finding]) -> dict[str, Any]:
    """Contents of ``<product>_quality.json``."""
    plain = [asdict(f) for f in findings]
    for item in plain:
        item["figure"] = item["figure"] if np.isfinite(item["figure"]) else None
    return {"warnings": plain, "exposures": list(rows)}
