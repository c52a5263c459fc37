"""Find the exposures a user points to, and read what their headers say (no pixels, no jwst import).

`read_exposure` turns one FITS file into an `Exposure`; `find_exposures` expands files, folders and associations into
a list with one file per exposure. What role each plays is decided in `lyot.exposures.roles`.
"""

from __future__ import annotations

import json
import logging
import warnings
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lyot.errors import InputError, LyotError, MissingInputError
from lyot.exposures.exposure import STAGES, Exposure, Stage, is_acquisition_type
from lyot.exposures.names import exposure_root, names_background, segment_number
from lyot.exposures.segments import whole_or_segments

log = logging.getLogger(__name__)

REQUIRED = ("INSTRUME", "EXP_TYPE", "FILTER", "TARGPROP")
"""Primary-header keywords without which an exposure cannot be placed."""

_BLOCK = 2880


def _check_complete(hdus: Any, path: Path) -> None:
    """Raise if the file ends before its last array does."""
    size = path.stat().st_size
    for hdu in hdus:
        info = hdu.fileinfo()
        end = info["datLoc"] + info["datSpan"]
        if end > size:
            name = hdu.name or "primary"
            raise InputError(
                f"{path}: the file is truncated (it ends at byte {size}, extension {name} at {end}); "
                "download or copy it again."
            )


def _stage_of(path: Path, header: Any, science: Any) -> Stage:
    naxis = science.get("NAXIS", 0)
    unit = str(science.get("BUNIT", "")).strip()
    if header.get("S_KLIP") == "COMPLETE" or header.get("DATAMODL") in ("QuadModel",):
        raise InputError(f"{path}: this is a product of stage 3; give uncal, rateints or calints files.")
    if naxis == 4:
        if "COMPLETE" in (header.get("S_SATURA"), header.get("S_DQINIT")):
            raise InputError(f"{path}: this is a partly calibrated ramp; give the uncal or the rateints file.")
        return "uncal"
    if naxis == 3:
        calibrated = unit == "MJy/sr" or header.get("S_PHOTOM") == "COMPLETE"
        return "calints" if calibrated else "rateints"
    raise InputError(
        f"{path}: extension SCI has {naxis} axes; expected 4 (uncal) or 3 (rateints, calints), "
        "that is one image per integration."
    )


def _flag(value: Any) -> bool:
    return value is True or str(value).strip().upper() in ("T", "TRUE")


def _sky(header: Any) -> tuple[float, float] | None:
    ra, dec = header.get("TARG_RA"), header.get("TARG_DEC")
    if isinstance(ra, (int, float)) and isinstance(dec, (int, float)):
        return float(ra), float(dec)
    return None


def _number(header: Any, key: str, default: float = 0.0) -> float:
    value = header.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _exposure(path: Path, header: Any, science: Any) -> Exposure:
    missing = [key for key in REQUIRED if not str(header.get(key) or "").strip()]
    if missing:
        raise InputError(
            f"{path}: header keyword{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; "
            "expected the primary header of a JWST exposure as the archive delivers it."
        )
    text: dict[str, Any] = {
        name: str(header.get(key) or "").strip()
        for name, key in {
            "instrument": "INSTRUME", "exposure_type": "EXP_TYPE", "filter": "FILTER", "mask": "CORONMSK",
            "subarray": "SUBARRAY", "pupil": "PUPIL", "target": "TARGPROP", "program": "PROGRAM",
            "observation": "OBSERVTN", "visit_group": "VISITGRP",
        }.items()
    }  # fmt: skip
    acquisition = is_acquisition_type(text["exposure_type"])
    roll = science.get("ROLL_REF", header.get("ROLL_REF", science.get("PA_V3", header.get("PA_V3"))))
    segment, n_segments, integrations = _segment(path, header, science)
    told_background = _flag(header.get("BKGDTARG")) or "BACKGROUND" in (
        text["target"].upper() + str(header.get("PATTTYPE") or "").upper()
    )
    named_background = names_background(text["target"])
    return Exposure(
        path=path,
        root=exposure_root(path),
        stage="uncal" if acquisition else _stage_of(path, header, science),
        **text,
        is_psf=_flag(header.get("IS_PSF")),
        is_background=told_background or named_background,
        background_from_name=named_background and not told_background,
        roll=float(roll) if isinstance(roll, (int, float)) else None,
        n_integrations=int(_number(header, "NINTS", 1)),
        n_groups=int(_number(header, "NGROUPS", 1)),
        integration_time=_number(header, "EFFINTTM"),
        dither=int(_number(header, "PATT_NUM", 1)),
        n_dithers=int(_number(header, "NUMDTHPT", 1)),
        sky=_sky(header),
        background_done=header.get("S_BKDSUB") == "COMPLETE",
        size=path.stat().st_size,
        segment=segment,
        n_segments=n_segments,
        integrations=integrations,
        background_keyword=str(header.get("S_BKDSUB") or "").strip(),
    )


def _segment(path: Path, header: Any, science: Any) -> tuple[int, int, tuple[int, int]]:
    """The last three fields of `Exposure`, which say which integrations a file holds."""
    held = int(science.get(f"NAXIS{science.get('NAXIS', 0)}", 1) or 1) if science.get("NAXIS", 0) > 2 else 1
    total = int(_number(header, "EXSEGTOT", 1))
    segment = segment_number(path.name) or (int(_number(header, "EXSEGNUM", 1)) if total > 1 else 0)
    first = int(_number(header, "INTSTART"))
    if segment > 1 and first < 1:
        raise InputError(
            f"{path}: segment {segment} without INTSTART; set INTSTART and INTEND to the integrations of the exposure "
            "that it holds."
        )
    first = max(first, 1)
    return segment, max(total, segment), (first, first + held - 1)


def read_exposure(path: str | Path) -> Exposure:
    """Read the headers of one exposure.

    Parameters
    ----------
    path : str or Path
        A FITS file: uncal, rateints or calints of a coronagraphic exposure, or a target acquisition.

    Returns
    -------
    Exposure

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it is no FITS file, is truncated, lacks a keyword, or is another kind of product; one sentence says which.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    path = Path(path).absolute()
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file.")
    try:
        with path.open("rb") as stream:
            start = stream.read(30)
        if not start.startswith((b"SIMPLE  =", b"\x1f\x8b")):
            raise InputError(f"{path}: not a FITS file (it does not begin with SIMPLE =).")
        if path.stat().st_size < _BLOCK and not start.startswith(b"\x1f\x8b"):
            raise InputError(f"{path}: the file is truncated (shorter than one FITS block); download or copy it again.")
        with warnings.catch_warnings(), fits.open(path, memmap=True, lazy_load_hdus=True) as hdus:
            warnings.simplefilter("ignore", AstropyUserWarning)  # truncation, which is checked here
            header = hdus[0].header
            if not start.startswith(b"\x1f\x8b"):
                _check_complete(hdus, path)
            science = hdus["SCI"].header if "SCI" in hdus else None
    except PermissionError:
        raise InputError(f"{path}: no permission to read this file.") from None
    except LyotError:
        raise
    except (OSError, EOFError, zlib.error, fits.VerifyError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a readable FITS file ({error}).") from error
    if science is None:
        raise InputError(f"{path}: there is no extension SCI; expected a JWST exposure.")
    return _exposure(path, header, science)


def _members_of(path: Path) -> list[Path]:
    """Files named in an association, relative to its folder."""
    try:
        association = json.loads(path.read_text())
        products = association["products"]
        names = [member["expname"] for product in products for member in product["members"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not an association file (JSON with products and members): {error}.") from error
    files = [path.parent / name for name in names]
    for file in files:
        if not file.is_file():
            raise MissingInputError(f"{path}: its member {file.name} is not in {file.parent}.")
    return files


def _in_folder(folder: Path) -> list[Path]:
    """Exposure files below a folder; what is hidden (partial products) or a calibration cache is left out."""
    files = [f for stage in STAGES for f in folder.rglob(f"*_{stage}.fits")]
    return [f for f in files if not any(p.startswith(".") or p == "crds_cache" for p in f.relative_to(folder).parts)]


def expand_paths(inputs: Iterable[str | Path]) -> list[Path]:
    """Expand files, folders and associations into exposure files, sorted, each once.

    Parameters
    ----------
    inputs : iterable of str or Path
        FITS files, folders (searched with their subfolders for ``*_uncal.fits``, ``*_rateints.fits`` and
        ``*_calints.fits``), association files (``.json``).

    Raises
    ------
    MissingInputError
        If something named is not there, or a folder holds no exposure.
    """
    files: dict[Path, None] = {}
    for item in inputs:
        path = Path(item).absolute()
        if path.is_dir():
            found = sorted(_in_folder(path))
            if not found:
                raise MissingInputError(f"{path}: no *_uncal.fits, *_rateints.fits or *_calints.fits in this folder.")
        elif not path.exists():
            raise MissingInputError(f"{path}: no such file or folder.")
        else:
            found = _members_of(path) if path.suffix == ".json" else [path]
        files.update(dict.fromkeys(found))
    return list(files)


def one_per_exposure(exposures: Sequence[Exposure], *, preference: Sequence[Stage] = STAGES) -> list[Exposure]:
    """Keep one file per exposure: the product that comes first in `preference`.

    Parameters
    ----------
    exposures : sequence of Exposure
    preference : sequence of {"uncal", "rateints", "calints"}, optional
        Kinds in the order of preference; by default the rawest is kept.
    """
    chosen: dict[str, Exposure] = {}
    for exposure in exposures:
        other = chosen.get(exposure.root)
        if other is not None and other.stage == exposure.stage and other.path != exposure.path:
            log.warning("%s is there twice; %s is used, %s is not", exposure.root, other.path, exposure.path)
        if other is None or preference.index(exposure.stage) < preference.index(other.stage):
            chosen[exposure.root] = exposure
    kept = whole_or_segments(list(chosen.values()), preference)
    return sorted(kept, key=lambda e: (e.name, e.segment))


def find_exposures(inputs: Iterable[str | Path], *, preference: Sequence[Stage] = STAGES) -> list[Exposure]:
    """Read all exposures that files, folders and associations name, one file per exposure.

    Parameters
    ----------
    inputs : iterable of str or Path
        See `expand_paths`.
    preference : sequence of {"uncal", "rateints", "calints"}, optional
        See `one_per_exposure`.

    Raises
    ------
    InputError
        On the first file that cannot be used.
    """
    exposures = [read_exposure(path) for path in expand_paths(inputs)]
    return one_per_exposure(exposures, preference=preference)
