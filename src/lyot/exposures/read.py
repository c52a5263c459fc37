"""Find the exposures a user points to, and read what their headers say (no pixels, no jwst import).

`read_exposure` turns one FITS file into an `Exposure`; `find_exposures` expands files, folders and associations into
a list with one file per exposure. What role each plays is decided in `lyot.exposures.roles`.
"""

from __future__ import annotations

import filecmp
import gzip
import json
import logging
import math
import os
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lyot.errors import InputError, LyotError, MissingInputError, NotCoronagraphicError
from lyot.exposures.exposure import STAGES, Exposure, Stage, is_acquisition_type, is_coronagraphic_type
from lyot.exposures.names import exposure_root, names_background, plain_letters, segment_number
from lyot.exposures.segments import whole_or_segments
from lyot.geometry import angular_distance

log = logging.getLogger(__name__)

REQUIRED = ("INSTRUME", "EXP_TYPE", "FILTER", "TARGPROP")
"""Primary-header keywords without which an exposure cannot be placed."""

_BLOCK = 2880

PADDING = 10 * _BLOCK
"""More bytes than this after the last extension are no padding."""

_POINTING = ("CRPIX1", "CRPIX2", "ROLL_REF", "V3I_YANG")
"""Keywords without which stage 3 cannot say where the star and the north are."""

_LATER = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2", "CDELT1", "CDELT2", "V3I_YANG",
          "VPARITY", "ROLL_REF", "RA_REF", "DEC_REF", "PIXAR_A2", "BUNIT", "FILENAME")  # fmt: skip
"""Keywords that are not needed to place an exposure, but later."""

AVERAGED = ("cal", "rate")
"""Products with the mean of all integrations; with ``ints`` after it, it is the name of those with each."""

SAME_MOMENT = 0.1
"""Exposures that begin within this time are one, seconds: less than a frame takes, more than the header's rounding."""

SAME_PLACE = 1 / 60
"""Targets whose names differ in signs only are one if they are within this angle, degrees."""

_ASDF_SOURCE = re.compile(rb"source:\s*['\"]?fits:([A-Za-z0-9_]+),(\d+)")
"""How the metadata in the extension ASDF name the extensions that hold their arrays."""


def _check_headers(hdus: Any, path: Path) -> None:
    """Raise if there is an extension of whose header astropy could make no sense: it has no array then."""
    if not all(hasattr(hdu, "fileinfo") and hasattr(type(hdu), "data") for hdu in hdus):  # the class: nothing is read
        raise InputError(f"{path}: the header of an extension is damaged; download or copy the file again.")


def _check_complete(hdus: Any, path: Path, *, compressed: bool) -> None:
    """Raise if the file ends before its last array does, or goes on with what is no extension.

    A download that was broken off is short, or of its full length with zeros for what did not come: the extensions end
    early, and the rest would be missing without a word.
    """
    end, name = 0, ""
    for hdu in hdus:
        info = hdu.fileinfo()
        end, name = info["datLoc"] + info["datSpan"], hdu.name or "primary"
        if not compressed and end > path.stat().st_size:
            break
    size = _unpacked_size(path, end) if compressed else path.stat().st_size
    if end > size:
        raise InputError(
            f"{path}: the file is truncated (it ends at byte {size}, extension {name} should end at byte {end}); "
            "download or copy it again."
        )
    if size - end > PADDING:
        raise InputError(
            f"{path}: the file is incomplete (no extension can be read after {name}, which ends at byte {end} of "
            f"{size}); download or copy it again."
        )


def _unpacked_size(path: Path, expected: int) -> int:
    """Size of what is packed in a gzip file, bytes; all of it is read only if the size at its end is unexpected."""
    with path.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        if int.from_bytes(stream.read(4), "little") == expected % 2**32:
            return expected
    size = 0
    with gzip.open(path) as unpacked:
        try:
            while chunk := unpacked.read(1 << 16):
                size += len(chunk)
        except EOFError:
            return min(size, expected - 1)  # whatever the extensions say, something is missing
    return size


def _stage_of(path: Path, header: Any, science: Any) -> Stage:
    naxis = science.get("NAXIS", 0)
    unit = str(science.get("BUNIT", "")).strip()
    if header.get("S_KLIP") == "COMPLETE" or header.get("DATAMODL") in ("QuadModel",):
        raise InputError(f"{path}: stage 3 product; give uncal, rateints or calints files.")
    if naxis == 4:
        if "COMPLETE" in (header.get("S_SATURA"), header.get("S_DQINIT")):
            raise InputError(f"{path}: partly calibrated ramps; give the uncal or the rateints file.")
        return "uncal"
    if naxis == 3:
        calibrated = unit == "MJy/sr" or header.get("S_PHOTOM") == "COMPLETE"
        return "calints" if calibrated else "rateints"
    raise InputError(
        f"{path}: extension SCI has {naxis} axes; expected 4 (uncal) or 3 (rateints, calints: one image per "
        "integration)."
    )


def _flag(value: Any) -> bool:
    return value is True or str(value).strip().upper() in ("T", "TRUE")


def _sky(header: Any) -> tuple[float, float] | None:
    ra, dec = header.get("TARG_RA"), header.get("TARG_DEC")
    return (float(ra), float(dec)) if _is_number(ra) and _is_number(dec) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(header: Any, key: str, default: float = 0.0) -> float:
    value = header.get(key)
    return float(value) if _is_number(value) else default


def _exposure(path: Path, header: Any, science: Any) -> Exposure:
    """The exposure that headers describe.

    Keywords that a later stage reads are looked at here, so that a card that cannot be read is found in time. What is
    no coronagraphic exposure and lacks something is said to be that.
    """
    for key in _LATER:
        _ = science.get(key), header.get(key)
    kind, instrument = (str(header.get(key) or "").strip() for key in ("EXP_TYPE", "INSTRUME"))
    if instrument == "FGS" or kind.startswith("FGS"):
        raise NotCoronagraphicError(f"{path}: guide-star file ({kind or instrument}), which cannot be reduced.")
    try:
        return _placed_exposure(path, header, science)
    except InputError:
        if not kind or is_coronagraphic_type(kind) or is_acquisition_type(kind):
            raise
        raise NotCoronagraphicError(
            f"{path}: not a coronagraphic exposure (EXP_TYPE {kind}); it cannot be reduced."
        ) from None


def _placed_exposure(path: Path, header: Any, science: Any) -> Exposure:
    missing = [key for key in REQUIRED if not str(header.get(key) or "").strip()]
    if missing:
        raise InputError(
            f"{path}: header keyword{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; expected the "
            "complete primary header of a JWST exposure, as from MAST."
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
        roll=float(roll) if _is_number(roll) else None,
        n_integrations=int(_number(header, "NINTS", 1)),
        n_groups=int(_number(header, "NGROUPS", 1)),
        integration_time=_number(header, "EFFINTTM"),
        dither=int(_number(header, "PATT_NUM", 1)),
        n_dithers=int(_number(header, "NUMDTHPT", 1)),
        sky=_sky(header),
        size=path.stat().st_size,
        segment=segment,
        n_segments=n_segments,
        integrations=integrations,
        background_keyword=str(header.get("S_BKDSUB") or "").strip(),
        time=_number(header, "EXPSTART") or None,
    )


def _segment(path: Path, header: Any, science: Any) -> tuple[int, int, tuple[int, int]]:
    """The last three fields of `Exposure`, which say which integrations a file holds."""
    held = int(science.get(f"NAXIS{science.get('NAXIS', 0)}", 1) or 1) if science.get("NAXIS", 0) > 2 else 1
    total = int(_number(header, "EXSEGTOT", 1))
    segment = segment_number(path.name) or (int(_number(header, "EXSEGNUM", 1)) if total > 1 else 0)
    first = int(_number(header, "INTSTART"))
    if segment > 1 and first < 1:
        raise InputError(
            f"{path}: segment {segment} without INTSTART; set INTSTART and INTEND to its first and last integration "
            "in the exposure."
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
        raise MissingInputError(f"{path}: no such file; check the path.")
    foreign = "".join(dict.fromkeys(c for c in path.name if not " " <= c <= "~"))
    if foreign:
        raise InputError(
            f"{path}: the file name contains {foreign!r}, which FITS headers cannot hold, where the names of products "
            "are; rename the file."
        )
    if not path.name.endswith((".fits", ".fits.gz")):
        raise InputError(f"{path}: the name of an exposure file must end in .fits or .fits.gz; rename the file.")
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
            _check_headers(hdus, path)
            _check_complete(hdus, path, compressed=start.startswith(b"\x1f\x8b"))
            science = hdus["SCI"].header if "SCI" in hdus else None
            _check_extensions(hdus, path)
            rebuilt = "ASDF" not in hdus
    except PermissionError:
        raise InputError(f"{path}: no permission to read this file; change its permissions.") from None
    except LyotError:
        raise
    except (OSError, EOFError, zlib.error, fits.VerifyError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a readable FITS file ({error}).") from error
    if science is None:
        raise InputError(f"{path}: no SCI extension; expected a JWST exposure.")
    try:
        exposure = _exposure(path, header, science)
        if not rebuilt:
            return exposure
        return _with_pointing(exposure, header, science)
    except fits.VerifyError as error:
        found = re.search(r"\((\S+)\)", str(error))
        keyword = f"keyword {found[1]}" if found else "a keyword"
        raise InputError(
            f"{path}: {keyword} in the header cannot be read: invalid FITS value; rewrite it as a number or as a "
            "quoted string."
        ) from error


def _with_pointing(exposure: Exposure, header: Any, science: Any) -> Exposure:
    """The exposure, if its headers alone (there is no ASDF extension) say how its image lies on the sky."""
    if exposure.stage == "uncal" or exposure.is_background or not exposure.is_coronagraphic:
        return exposure
    missing = [key for key in _POINTING if not _is_number(science.get(key, header.get(key)))]
    if missing:
        raise InputError(
            f"{exposure.path}: header keyword{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing in the "
            "extension SCI, and no ASDF extension; the image cannot be turned to north without them: copy them from "
            "the file of the archive."
        )
    return exposure


def _check_extensions(hdus: Any, path: Path) -> None:
    """Raise if the metadata in the extension ASDF name an extension that is not there: no model could be opened."""
    if "ASDF" not in hdus or hdus["ASDF"].data is None:
        return
    named = {(name.decode(), int(version)) for name, version in _ASDF_SOURCE.findall(hdus["ASDF"].data.tobytes())}
    missing = sorted(name for name, version in named if (name, version) not in hdus)
    if missing:
        raise InputError(
            f"{path}: extension{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing, but listed in the "
            "metadata of the file (ASDF extension); download the file again, or also remove the ASDF extension."
        )


def _members_of(path: Path) -> list[Path]:
    """Files named in an association, relative to its folder."""
    try:
        association = json.loads(path.read_text(encoding="utf-8"))
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
    return _files_below(folder, STAGES)


def _files_below(folder: Path, kinds: Sequence[str]) -> list[Path]:
    """Files of some kinds of product below a folder, compressed ones and those in linked folders too."""
    ends = tuple(f"_{kind}.fits{packed}" for kind in kinds for packed in ("", ".gz"))
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = str(Path(place).resolve())
        if real in seen:  # a link to a folder above or beside
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "crds_cache")
        found += [Path(place) / f for f in files if f.lower().endswith(ends) and not f.startswith(".")]
    return found


def averaged_files(folder: Path) -> list[str]:
    """Sentences about ``_cal`` and ``_rate`` files below a folder of which no file has all integrations.

    One about all those of a kind; empty if there are none.
    """
    whole = {exposure_root(path) for path in _in_folder(folder)}
    lines = []
    for kind in AVERAGED:
        lonely = sorted(path for path in _files_below(folder, (kind,)) if exposure_root(path) not in whole)
        whole |= {exposure_root(path) for path in lonely}  # said once of an exposure
        if lonely:
            lines.append(
                f"{lonely[0]}: is the mean of all integrations{_and_more(len(lonely) - 1, kind)}; give the "
                f"*_{kind}ints.fits, which has one image per integration."
            )
    return lines


def _and_more(count: int, kind: str) -> str:
    if not count:
        return ""
    return f", and so {'are' if count > 1 else 'is'} {count} other *_{kind}.fits file{'s' if count > 1 else ''}"


def expand_paths(inputs: Iterable[str | Path]) -> list[Path]:
    """Expand files, folders and associations into exposure files, sorted, each once.

    Parameters
    ----------
    inputs : iterable of str or Path
        FITS files, folders (searched with their subfolders, linked ones too, for ``*_uncal.fits``, ``*_rateints.fits``
        and ``*_calints.fits``, also compressed as ``.fits.gz``), association files (``.json``).

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
                averaged = "".join(f" {line}" for line in averaged_files(path))
                raise MissingInputError(
                    f"{path}: no *_uncal.fits, *_rateints.fits or *_calints.fits in this folder.{averaged}"
                )
        elif not path.exists():
            raise MissingInputError(f"{path}: no such file or folder; check the path.")
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
        if other is None or preference.index(exposure.stage) < preference.index(other.stage):
            chosen[exposure.root] = exposure
    kept = whole_or_segments(list(chosen.values()), preference)
    return sorted(kept, key=lambda e: (e.name, e.segment))


def second_files(exposures: Sequence[Exposure]) -> list[str]:
    """One sentence for each file that has the name and the stage of one before it, which is used in its place."""
    first: dict[tuple[str, Stage], Exposure] = {}
    lines = []
    for exposure in exposures:
        other = first.setdefault((exposure.root, exposure.stage), exposure)
        if other.path != exposure.path:
            lines.append(
                f"{exposure.path}: has the name of the same exposure as {other.path}, which is used; rename it if it "
                "is a different exposure."
            )
    return lines


def without_copies(exposures: Sequence[Exposure]) -> tuple[list[Exposure], list[str]]:
    """Exposures without those whose file is a copy of another's, bit for bit, and one sentence for each copy.

    An exposure that is there twice, under two names, would count twice. The name of the archive is preferred.
    """
    kept: list[Exposure] = []
    alike: dict[tuple[int, bytes], list[Exposure]] = {}
    lines = []
    for exposure in sorted(exposures, key=lambda e: not e.root.startswith("jw")):
        with exposure.path.open("rb") as stream:  # the primary header: exposures differ there
            others = alike.setdefault((exposure.size, stream.read(10 * _BLOCK)), [])
        twin = next((e for e in others if filecmp.cmp(e.path, exposure.path, shallow=False)), None)
        if twin is not None:
            lines.append(f"{exposure.path}: is a copy of {twin.path}, which is used.")
            continue
        others.append(exposure)
        kept.append(exposure)
    return [e for e in exposures if e in kept], lines


def once_each(exposures: Sequence[Exposure], preference: Sequence[Stage]) -> tuple[list[Exposure], list[str]]:
    """Exposures without those that another file holds too, under another name, and one sentence for each of them.

    A detector takes one exposure at a time: files that begin at the same moment, with the same integration and the same
    settings, are products of one exposure, such as a copy that was calibrated again. The product that comes first in
    `preference` is kept; of the same product, the one with the name of the archive. Where exposures of unlike settings
    begin at the same moment (made by a simulator), the time tells nothing, and all are kept.
    """
    kept: list[Exposure] = []
    lines = []
    for exposure in sorted(exposures, key=lambda e: (preference.index(e.stage), not e.root.startswith("jw"))):
        together = [e for e in kept if _at_the_same_time(e, exposure)]
        if any(_settings(e) != _settings(exposure) for e in together):
            return list(exposures), []
        twin = next((e for e in together if e.integrations[0] == exposure.integrations[0]), None)
        if twin is None:
            kept.append(exposure)
            continue
        lines.append(
            f"{exposure.path}: is the same exposure as {twin.path}, which is used (the same EXPSTART and settings); to "
            "use this file, leave the other out of the input."
        )
    return [e for e in exposures if e in kept], lines


def _at_the_same_time(a: Exposure, b: Exposure) -> bool:
    """Whether two exposures begin at the same moment; False where the time of one is not known."""
    return a.time is not None and b.time is not None and 86400 * abs(a.time - b.time) < SAME_MOMENT


def _settings(e: Exposure) -> tuple[object, ...]:
    """What all products of an exposure have in common."""
    return (
        e.instrument, e.exposure_type, e.configuration, plain_letters(e.target), e.observation, e.roll, e.dither,
        e.n_groups, e.n_integrations,
    )  # fmt: skip


def one_spelling(exposures: Sequence[Exposure]) -> tuple[list[Exposure], list[str]]:
    """Exposures in which a target has one name, and a sentence for each name that is replaced.

    ``HIP 65426`` and ``HIP-65426`` are one star: names that differ only in case, blanks and signs, at one place on the
    sky. The most frequent is kept.
    """
    count = Counter(e.target for e in exposures)
    names = sorted(count, key=lambda name: (-count[name], name))
    places = {e.target: e.sky for e in reversed(exposures)}
    instead: dict[str, str] = {}
    for i, name in enumerate(names):
        other = next((n for n in names[:i] if n not in instead and _is_same(n, name, places)), None)
        if other is not None:
            instead[name] = other
    lines = [f"{name} is taken for {other}, as their names and positions agree." for name, other in instead.items()]
    return [replace(e, target=instead.get(e.target, e.target)) for e in exposures], lines


def _is_same(a: str, b: str, places: Mapping[str, tuple[float, float] | None]) -> bool:
    """Whether two names of targets are one: no letter or digit differs, and the positions do not contradict it."""
    if not plain_letters(a) or plain_letters(a) != plain_letters(b):
        return False
    one, other = places[a], places[b]
    return one is None or other is None or angular_distance(one, other) < SAME_PLACE


def find_exposures(inputs: Iterable[str | Path], *, preference: Sequence[Stage] = STAGES) -> list[Exposure]:
    """Read all exposures that files, folders and associations name, one file per exposure.

    Parameters
    ----------
    inputs : iterable of str or Path
        See `expand_paths`.
    preference : sequence of {"uncal", "rateints", "calints"}, optional
        See `one_per_exposure`.

    Returns
    -------
    list of Exposure

    Raises
    ------
    InputError
        On the first file that cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> from lyot.exposures import find_exposures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         find_exposures([folder])
    ...     except ValueError as error:
    ...         print(str(error).partition(": ")[2])
    no *_uncal.fits, *_rateints.fits or *_calints.fits in this folder.
    """
    exposures = [read_exposure(path) for path in expand_paths(inputs)]
    for line in second_files(exposures):
        log.warning("%s", line)
    return one_per_exposure(exposures, preference=preference)
