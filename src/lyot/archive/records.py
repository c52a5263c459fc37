"""Records of the archive: queries, exposures, files and listings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lyot.errors import ConfigError, unknown_name
from lyot.exposures.exposure import STAGES, Exposure, Stage

_PROGRAM: Final = re.compile(r"(?:jw)?0*([1-9]\d{0,4})", re.IGNORECASE)


def is_program(text: str) -> bool:
    """Whether a text names a JWST program, as ``1386``, ``01386`` or ``jw01386``.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool
        True for a number of up to five digits; whether there is such a program, only the archive knows.

    Examples
    --------
    >>> from lyot.archive import is_program
    >>> is_program("jw01386"), is_program("HIP 65426")
    (True, False)
    """
    return _PROGRAM.fullmatch(text.strip()) is not None


def program_number(text: str) -> str:
    """Program number as in the archive: five digits.

    Parameters
    ----------
    text : str
        As ``1386``, ``01386`` or ``jw01386``.

    Raises
    ------
    ConfigError
        If it is no program number.
    """
    match = _PROGRAM.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a program number; expected up to five digits, such as 1386.")
    return f"{int(match[1]):05d}"


def observation_number(text: str) -> str:
    """Observation number as in the archive: three digits; `ConfigError` if it is not a number."""
    if not re.fullmatch(r"0*\d{1,3}", text.strip()):
        raise ConfigError(f"{text!r} is not an observation number; expected up to three digits, such as 8.")
    return f"{int(text):03d}"


@dataclass(frozen=True)
class Query:
    """Query of the archive.

    Attributes
    ----------
    programs : tuple of str
        Programs, five digits. May be empty if a target is given.
    targets : tuple of str
        Names of science targets, as the proposer or a catalog writes them; empty for all.
    observations : tuple of str
        Observations, three digits; empty for all.
    filters : tuple of str
        Filters in capitals; empty for all.
    level : "uncal", "rateints" or "calints"
        Which product of each exposure.

    Examples
    --------
    >>> from lyot.archive import Query
    >>> str(Query(programs=("01386",), filters=("F1550C", "F1140C")))
    'program 1386, filters F1550C, F1140C'
    """

    programs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    observations: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    level: Stage = "uncal"

    def __str__(self) -> str:
        parts = []
        for word, values in (
            ("program", [str(int(p)) for p in self.programs]),
            ("target", self.targets),
            ("observation", [str(int(o)) for o in self.observations]),
            ("filter", self.filters),
        ):
            if values:
                parts.append(f"{word}{'s' if len(values) > 1 else ''} {', '.join(values)}")
        return ", ".join(parts)


def make_query(
    programs: Sequence[str] = (),
    *,
    targets: Sequence[str] = (),
    observations: Sequence[str] = (),
    filters: Sequence[str] = (),
    level: str = "uncal",
) -> Query:
    """Build a query from user input, checked; each list may contain comma-separated values.

    Parameters
    ----------
    programs, targets, observations, filters : sequence of str
        See `Query`.
    level : str
        One of `STAGES`.

    Returns
    -------
    Query

    Raises
    ------
    ConfigError
        If a value cannot be used, or neither a program nor a target is given.

    Examples
    --------
    >>> from lyot.archive import make_query
    >>> query = make_query(["1386", "jw02538"], filters=["f1550c,F1140C"])
    >>> query.programs, query.filters, query.level
    (('01386', '02538'), ('F1550C', 'F1140C'), 'uncal')
    """
    if level not in STAGES:
        raise unknown_name("level", level, STAGES, where="--level")
    query = Query(
        programs=tuple(dict.fromkeys(program_number(p) for p in _split(programs))),
        targets=tuple(dict.fromkeys(_split(targets))),
        observations=tuple(dict.fromkeys(observation_number(o) for o in _split(observations))),
        filters=tuple(dict.fromkeys(f.upper() for f in _split(filters))),
        level=level,
    )
    if not query.programs and not query.targets:
        raise ConfigError("Nothing to search for: give a program, such as 1386, or a target with --target.")
    return query


def _split(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an exposure in the archive.

    Attributes
    ----------
    exposure : Exposure
    name : str
        File name, checked to be no more than a name.
    uri : str
        What the archive calls it.
    size : int
        Bytes; 0 where the archive does not say.
    public : bool
        Anybody may have it; otherwise it is under exclusive access and needs a token.

    Examples
    --------
    >>> from lyot.archive import ArchiveFile
    >>> exposure = Exposure(root="jw01386008001_04101_00001_mirimage")
    >>> ArchiveFile(exposure, f"{exposure.root}_uncal.fits", "mast:JWST/product", size=300_000_000, public=True).root
    'jw01386008001_04101_00001_mirimage'
    """

    exposure: Exposure
    name: str
    uri: str
    size: int
    public: bool

    @property
    def root(self) -> str:
        """File name without the product suffix."""
        return self.name.removesuffix(".gz").removesuffix(".fits").rpartition("_")[0]


@dataclass(frozen=True)
class Listing:
    """Result of a query of the archive.

    Attributes
    ----------
    query : Query
    files : tuple of ArchiveFile
        Of the exposures that were asked for, one or (where an exposure is cut into segments) more of each.
    missing : tuple of Exposure
        Exposures of which the archive has no file at this level.

    Examples
    --------
    >>> from lyot.archive import ArchiveFile, Listing, Query
    >>> exposure = Exposure(root="a")
    >>> files = tuple(ArchiveFile(exposure, f"a-seg00{n}_uncal.fits", "mast:JWST", 2_000_000_000, True) for n in (1, 2))
    >>> Listing(Query(("01386",)), files).size
    4000000000
    """

    query: Query
    files: tuple[ArchiveFile, ...]
    missing: tuple[Exposure, ...] = field(default=())

    @property
    def size(self) -> int:
        """Total size of the files, bytes."""
        return sum(f.size for f in self.files)
