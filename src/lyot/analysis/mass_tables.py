"""Published tables of evolutionary models, recognized from their content.

- ATMO 2020 (Phillips et al. 2020, A&A 637, A38): files per mass or per age, or a folder of them; solar masses, Gyr,
  Vega magnitudes.
- BEX (Linder et al. 2019, A&A 623, A85): the authors' text or VizieR's; log10 of the age in years, Earth masses, Vega
  magnitudes.
- Sonora Bobcat (Marley et al. 2021, ApJ 920, 85): an evolution table, and a table of fluxes (log10 of mJy at 10 pc) or
  of magnitudes for its temperatures and gravities.
- Any other: columns age [Myr], mass [Jupiter masses] and absolute Vega magnitude, or the last two at one age.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator

from lyot.errors import InputError, LyotError, MissingInputError
from lyot.measure.mass import AgedModels, EvolutionModels
from lyot.written import in_ascii, with_error

log = logging.getLogger(__name__)

SOLAR_MASS = 1047.57
"""Nominal solar mass in Jupiter masses: ratio of GM, IAU 2015 resolution B3."""

EARTH_MASS = 1 / 317.83
"""Nominal Earth mass in Jupiter masses."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class _Columns:
    """A text table: names and numbers (n, columns), NaN where an entry is no number."""

    path: Path
    names: tuple[str, ...]
    values: FloatArray

    def of(self, name: str) -> FloatArray:
        return self.values[:, self.names.index(name)]

    def in_filter(self, wanted: str, what: str) -> FloatArray:
        """Magnitudes (or fluxes) in a filter; a sentence with those that are there if it is missing."""
        form = re.compile(rf"(?:.*[^A-Z0-9])?{re.escape(wanted.upper())}(?:MAG)?(?:[^A-Z0-9].*)?")
        found = [i for i, name in enumerate(self.names) if form.fullmatch(name.upper())]
        if found:
            return self.values[:, found[0]]
        known = [m[0] for name in self.names if (m := re.search(r"F\d{3,4}[WMNC]2?", name.upper()))]
        there = f"it has {', '.join(dict.fromkeys(known))}" if known else "it has no JWST filters"
        raise InputError(
            f"{self.path}: {what} without {wanted}; {there}. Give a table with {wanted}, or name another filter with "
            "mass_filter (--mass-filter)."
        )


def read_models(
    path: str | Path,
    filter_name: str,
    *,
    photometry: str | Path | None = None,
    zero_point: float | None = None,
) -> EvolutionModels:
    r"""Read evolutionary models in one filter.

    Parameters
    ----------
    path : path
        File or folder of files.
    filter_name : str
        Filter of the magnitudes, e.g. ``"F1140C"``.
    photometry : path, optional
        Sonora: table of fluxes or magnitudes for the temperatures and gravities of the evolution table.
    zero_point : float, optional
        Flux of magnitude 0 in the filter, Jy; needed for tables of fluxes.

    Returns
    -------
    EvolutionModels
        A table of mass and magnitude alone has one age, which stands for any: see `read_aged`.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it cannot be read, or has no magnitudes in the filter.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lyot.analysis import read_models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "models.txt")
    ...     _ = path.write_text("10 1 18\n10 5 14\n20 1 19\n20 5 15\n")  # age [Myr], mass [MJup], magnitude
    ...     models = read_models(path, "F1550C")
    >>> models.name, models.filter
    ('models (models.txt)', 'F1550C')
    """
    path = Path(path)
    texts = [(file, _text(file)) for file in _files(path)]
    kinds = {file: kind_of(text) for file, text in texts}
    kind = next((k for k in kinds.values() if k), "")
    if len(texts) > 1 and not kind:
        raise InputError(
            f"{path}: no file in this folder is a supported table of evolutionary models; expected ATMO 2020, BEX or "
            "Sonora."
        )
    if kind == "sonora":
        return _sonora(path, [t for t in texts if kinds[t[0]] == kind], filter_name, photometry, zero_point)
    if kind:
        reader = _atmo if kind == "atmo" else _bex
        parts = [reader(file, text, filter_name) for file, text in texts if kinds[file] == kind]
        ages, masses, magnitudes = (np.concatenate(part) for part in zip(*parts, strict=True))
        return _models(path, {"atmo": "ATMO 2020", "bex": "BEX"}[kind], filter_name, ages, masses, magnitudes)
    return _plain(*texts[0], filter_name)


def read_aged(
    path: str | Path,
    filter_name: str,
    age: float | None,
    error: float = 0.0,
    *,
    photometry: str | Path | None = None,
    zero_point: float | None = None,
) -> AgedModels:
    r"""Evolutionary models in one filter, with an age.

    Parameters
    ----------
    path : path
        File or folder of files, see `read_models`.
    filter_name : str
    age : float or None
        Myr; not needed for models of one age.
    error : float, optional
        One sigma, Myr.
    photometry : path, optional
        Sonora: table of fluxes or magnitudes.
    zero_point : float, optional
        Flux of magnitude 0 in the filter, Jy.

    Returns
    -------
    AgedModels

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it cannot be read, has no magnitudes in the filter, or does not reach to the age.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lyot.analysis import read_aged
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "models.txt")
    ...     _ = path.write_text("10 1 18\n10 5 14\n20 1 19\n20 5 15\n")  # age [Myr], mass [MJup], magnitude
    ...     models = read_aged(path, "F1550C", age=15.0, error=2.0)
    >>> models.age, models.error
    (15.0, 2.0)
    """
    models = read_models(path, filter_name, photometry=photometry, zero_point=zero_point)
    found = AgedModels(models, age_of(models, age, path), 0.0 if models.name == ANY_AGE else error)
    models.at(found.age)  # refuses an age outside of the models before anything is measured
    young, old = models.age_range(found.age, found.error)
    if (young, old) != (found.age - found.error, found.age + found.error):
        log.warning(
            "%s: the age range %s Myr extends beyond the models; the age error is computed from %g to %g Myr",
            path, in_ascii(with_error(found.age, found.error)), young, old,
        )  # fmt: skip
    return found


def age_of(models: EvolutionModels, age: float | None, path: str | Path) -> float:
    """The age to look up, Myr; for models of one age that age is the default.

    Parameters
    ----------
    models : EvolutionModels
    age : float or None
    path : path
        For the message.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If the models have several ages and none was given.
    """
    ages = np.unique(models.ages)
    if len(ages) == 1 and (age is None or models.name == ANY_AGE):
        return float(ages[0])
    if age is None:
        raise InputError(
            f"{path}: models of {ages[0]:g} to {ages[-1]:g} Myr; give the age with [contrast] age (--age)."
        )
    return age


ANY_AGE = "mass and magnitude"
"""Name of models from a table without an age."""


def kind_of(text: str) -> str:
    """Whose models a text is: ``atmo``, ``bex``, ``sonora``; empty for any other.

    Parameters
    ----------
    text : str
        The file, or its beginning.

    Returns
    -------
    str
    """
    head = text[:20000]
    if re.search(r"log\(Age/yr\)[^\n]*Mass/Mearth", head) or re.search(r"logAge[^\n]*\n[^\n]*Mass[^\n]*Mgeo", head):
        return "bex"
    if re.search(r"^#?\s*Mass\s+Age\s+Teff\b", head, re.M):
        return "atmo"
    if _sonora_header(head.splitlines()) is not None:
        return "sonora"
    return ""


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        if not found:
            raise InputError(f"{path}: empty folder; expected tables of evolutionary models.")
        return found
    if not path.is_file():
        raise MissingInputError(f"{path}: no such table of evolutionary models; check the path.")
    return [path]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read as text: {error}; expected a table of evolutionary models."
        ) from error


def _numbers(line: str) -> list[float] | None:
    """Numbers of a line, whose signs for notes (*) are dropped; None if a word is none."""
    try:
        return [float(word.rstrip("*")) for word in line.replace("|", " ").split()]
    except ValueError:
        return None


def _table(path: Path, names: Sequence[str], lines: Iterable[str], what: str) -> _Columns:
    """The lines of numbers of a table; lines of other lengths than its columns are headers and counts."""
    rows = [r for line in lines if (r := _numbers(line)) is not None and len(r) == len(names)]
    if not rows:
        raise InputError(
            f"{path}: {what} with {len(names)} named columns, but no line with this number of values; check the file."
        )
    return _Columns(path, tuple(names), np.array(rows))


def _models(
    path: Path, name: str, filter_name: str, ages: FloatArray, masses: FloatArray, magnitudes: FloatArray
) -> EvolutionModels:
    """Models without those that have no magnitude: NaN, or the 0 and 99 that tables write for it."""
    good = np.isfinite(magnitudes) & (magnitudes != 0) & (magnitudes < 90) & (ages > 0) & (masses > 0)
    try:
        return EvolutionModels(ages[good], masses[good], magnitudes[good], f"{name} ({path.name})", filter_name)
    except LyotError as error:
        raise InputError(f"{path}: {error}") from error


# ATMO 2020


def _atmo(path: Path, text: str, filter_name: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    header = re.search(r"^#?\s*(Mass\s+Age\s+Teff\b[^\n]*)", text, re.M)
    assert header is not None  # kind_of
    names = re.sub(r"\s*[\[(][^\])]*[\])]", "", header[1]).split()  # without units
    what = "tracks of ATMO 2020"
    table = _table(path, names, (line for line in text.splitlines() if not line.startswith("#")), what)
    return table.of("Age") * 1e3, table.of("Mass") * SOLAR_MASS, table.in_filter(filter_name, what)


# BEX


def _bex(path: Path, text: str, filter_name: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    what = "models of BEX (Linder et al. 2019)"
    header = re.search(r"^#*\s*(1:\s*log\(Age/yr\)[^\n]*)", text, re.M)
    if header is not None:
        names = [re.sub(r"^\s*\d+:\s*", "", part).strip() for part in header[1].split(",")]
    else:  # the description that VizieR writes
        names = re.findall(r"^#\s*(\S+)\s+[FEI]\d+(?:\.\d+)?\s", text, re.M)
    table = _table(path, names, (line for line in text.splitlines() if not line.startswith("#")), what)
    return 10 ** (table.values[:, 0] - 6), table.values[:, 1] * EARTH_MASS, table.in_filter(filter_name, what)


# Sonora

_SONORA = {
    "log_age": r"log\s*age", "age": r"age\s*\(Gyr\)", "mass": r"M/Msun|\bMass\b", "teff": r"Teff",
    "logg": r"log\s*\(?g(?![a-z])", "luminosity": r"log\s*\(?L", "radius": r"R/Rsun|\bRadius\b",
    "inertia": r"log\s*\(?I",
}  # fmt: skip
"""Headings of the evolution tables."""


def _sonora_header(lines: Sequence[str]) -> tuple[str, ...] | None:
    """Names of the columns of an evolution table, from its first lines; None if it is none."""
    for line in lines[:6]:
        places = {name: m.start() for name, form in _SONORA.items() if (m := re.search(form, line))}
        if {"mass", "teff", "logg"} <= places.keys() and ("age" in places or "log_age" in places):
            return tuple(sorted(places, key=places.__getitem__))
    return None


def _sonora(
    path: Path,
    texts: Sequence[tuple[Path, str]],
    filter_name: str,
    photometry: str | Path | None,
    zero_point: float | None,
) -> EvolutionModels:
    if photometry is None:
        raise InputError(
            f"{path}: the Sonora evolution tables have no magnitudes; give a table of fluxes or magnitudes of the "
            "same models with mass_photometry (--mass-photometry), such as flux_table_JWST."
        )
    tables = []
    for file, text in texts:
        lines = text.splitlines()
        names = _sonora_header(lines)
        assert names is not None  # kind_of
        tables.append(_table(file, names, lines, "a Sonora evolution table"))
    teff, logg, mass = (np.concatenate([t.of(name) for t in tables]) for name in ("teff", "logg", "mass"))
    ages = np.concatenate([t.of("age") * 1e3 if "age" in t.names else 10 ** (t.of("log_age") - 6) for t in tables])
    magnitudes = _sonora_magnitudes(Path(photometry), filter_name, zero_point)(np.log(teff), logg)
    return _models(path, "Sonora", filter_name, ages, mass * SOLAR_MASS, magnitudes)


def _sonora_magnitudes(path: Path, filter_name: str, zero_point: float | None) -> LinearNDInterpolator:
    """Absolute magnitude against log temperature and log gravity."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a single Sonora table of fluxes or magnitudes.")
    (file,) = _files(path)
    lines = _text(file).splitlines()
    what = "a Sonora table of fluxes or magnitudes"
    heading = next((line for line in lines[:20] if re.search(r"Teff\s+log\s*g\b", line)), None)
    if heading is None:
        raise InputError(f"{path}: expected {what}, with a line of column names that begins with Teff and log g.")
    names = re.sub(r"log\s+(g|Kzz)\b", r"log_\1", heading).replace("|", " ").strip().lstrip("#").split()
    table = _table(file, names, lines, what)
    values = table.in_filter(filter_name, what)
    if table.of("Teff").size < 3:
        raise InputError(f"{path}: expected {what} with three or more models.")
    above = " ".join(lines[: lines.index(heading)]).lower()
    if "flux" in above or "mjy" in above or float(np.nanmedian(values)) < 8.0:
        if zero_point is None:
            raise InputError(
                f"{path}: the table contains fluxes; the Vega zero point of {filter_name} is unknown; use a table of "
                "magnitudes."
            )
        values = -2.5 * (values - 3.0 - np.log10(zero_point))
    points = np.column_stack([np.log(table.of("Teff")), table.of("log_g")])
    return LinearNDInterpolator(points, values, rescale=True)


# Any other


def _plain(path: Path, text: str, filter_name: str) -> EvolutionModels:
    lines = [line.partition("#")[0] for line in text.splitlines()]
    rows = [(_numbers(line), line) for line in lines if line.strip()]
    wrong = next((line for numbers, line in rows if numbers is None), None)
    widths = {len(numbers) for numbers, _ in rows if numbers is not None}
    expected = (
        "expected columns age [Myr], mass [MJup], absolute magnitude (or the last two), or a published table of ATMO "
        "2020, BEX or Sonora"
    )
    if wrong is not None:
        raise InputError(f"{path}: {expected}; found {wrong.strip()[:60]!r}.")
    if widths not in ({2}, {3}):
        raise InputError(f"{path}: {expected}; found {' and '.join(map(str, sorted(widths))) or 'no'} columns.")
    values = np.array([numbers for numbers, _ in rows])
    if widths == {2}:
        return EvolutionModels(np.ones(len(values)), values[:, 0], values[:, 1], ANY_AGE, filter_name)
    return _models(path, "models", filter_name, values[:, 0], values[:, 1], values[:, 2])
