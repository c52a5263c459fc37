"""Exceptions and warnings of Lyot.

Every error that a user can cause is a `LyotError`, says in one sentence what was wrong, where, and what to do, and
also inherits the builtin that fits, so that plain ``except ValueError`` works. The command line prints the sentence
without a traceback; anything that is not a `LyotError` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "ArchiveError",
    "ConfigError",
    "InputError",
    "LyotError",
    "LyotWarning",
    "MissingInputError",
    "NotCoronagraphicError",
    "OutputError",
    "ReductionError",
    "ReferenceFileError",
    "UnknownNameError",
]


class LyotError(Exception):
    """Base class of all errors that Lyot raises deliberately.

    Examples
    --------
    >>> import lyot
    >>> try:
    ...     lyot.open("no such folder")
    ... except lyot.LyotError as error:
    ...     print(type(error).__name__)
    MissingInputError
    """


class InputError(LyotError, ValueError):
    """Invalid input file or array: wrong shape, dtype, units or keywords, or truncated data.

    Examples
    --------
    >>> from lyot.errors import InputError
    >>> from lyot.measure import Star
    >>> try:
    ...     Star(flux=-1.0)
    ... except InputError as error:
    ...     print(error)
    star: expected a positive flux in Jy and an error, got -1.0 and 0.0.
    """


class NotCoronagraphicError(InputError):
    """A valid file that is not a coronagraphic exposure: guide-star data, another observing mode, another product."""


class MissingInputError(InputError, FileNotFoundError):
    """A file that was given, or that the reduction requires, does not exist.

    Examples
    --------
    >>> from lyot.errors import MissingInputError
    >>> from lyot.exposures import read_exposure
    >>> try:
    ...     read_exposure("not_there_uncal.fits")
    ... except FileNotFoundError as error:
    ...     print(isinstance(error, MissingInputError))
    True
    """


class ConfigError(LyotError, ValueError):
    """Invalid value in a configuration file or option.

    Examples
    --------
    >>> from lyot.errors import ConfigError
    >>> from lyot.run import build_config
    >>> try:
    ...     build_config({"measure": {"threshold": "high"}})
    ... except ConfigError as error:
    ...     print(error)
    [measure] threshold: expected a number, got 'high'.
    """


class UnknownNameError(ConfigError, KeyError):
    """Unknown name of a parameter, step, filter, ...; the message suggests similar names.

    Examples
    --------
    >>> from lyot.errors import UnknownNameError
    >>> from lyot.run import build_config
    >>> try:
    ...     build_config({"measure": {"treshold": 5}})
    ... except UnknownNameError as error:
    ...     print(error)
    [measure]: unknown parameter 'treshold'; did you mean 'threshold' or 'roll_threshold' or 'shape_threshold'?
    """

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0]) if self.args else ""


class ReferenceFileError(LyotError, LookupError):
    """A calibration reference file is missing or does not fit the exposure."""


class OutputError(LyotError, OSError):
    """A product cannot be written: no permission, no space, or it exists and must not be overwritten."""


class ReductionError(LyotError, RuntimeError):
    """The requested reduction is not possible with these data (no references, all pixels masked, ...)."""


class ArchiveError(LyotError, ConnectionError):
    """The archive or the reference-file server cannot be reached or refused the request."""


class LyotWarning(UserWarning):
    """Warning about a result: excluded data, or a fit that was not possible.

    Examples
    --------
    >>> import warnings
    >>> import lyot
    >>> from lyot.errors import warn
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", lyot.LyotWarning)
    ...     warn("one integration is excluded")
    >>> str(caught[0].message)
    'one integration is excluded'
    """


class RenamedWarning(LyotWarning, DeprecationWarning):
    """Warning about a deprecated name; names the one that replaces it."""


def warn(message: str, *, stacklevel: int = 2) -> None:
    """Issue a `LyotWarning`; steps turn it into a line of their log.

    Parameters
    ----------
    message : str
        One sentence.
    stacklevel : int, optional
        Frames above the caller that the warning points to, as in `warnings.warn`.
    """
    warnings.warn(message, LyotWarning, stacklevel=stacklevel + 1)


def warn_deprecated(message: str, *, stacklevel: int = 2) -> None:
    """Issue a `RenamedWarning`, which is a `DeprecationWarning`; the command line prints it as one line.

    Parameters
    ----------
    message : str
        One sentence.
    stacklevel : int, optional
        Frames above the caller that the warning points to, as in `warnings.warn`.
    """
    warnings.warn(message, RenamedWarning, stacklevel=stacklevel + 1)


def logged_warnings(log: logging.Logger, level: int = logging.WARNING) -> contextlib.AbstractContextManager[None]:
    """Send each `LyotWarning` to a log, every time it occurs, instead of to the terminal."""
    return handled_warnings(lambda message: log.log(level, "%s", message))


@contextlib.contextmanager
def handled_warnings(handle: Callable[[str], object]) -> Iterator[None]:
    """Give the message of each `LyotWarning`, every time it occurs, to a function."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", LyotWarning)
        show = warnings.showwarning

        def handled(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, LyotWarning):
                handle(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = handled
        yield


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str = "") -> UnknownNameError:
    """Build the error for an unknown name, with similar known names.

    Parameters
    ----------
    kind : str
        What the name stands for, e.g. ``"parameter"`` or ``"filter"``.
    name : str
        The name that is not known.
    known : iterable of str
        The names that are.
    where : str, optional
        Where the name was found, e.g. ``"lyot.toml"``.

    Returns
    -------
    UnknownNameError
        To be raised by the caller.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(names)}."
    place = f"{where}: " if where else ""
    return UnknownNameError(f"{place}unknown {kind} {name!r}; {hint}")


_ELSEWHERE = "choose another folder"

_WRITE_CURES = {
    errno.ENOSPC: f"no space left on the disk; free some space or {_ELSEWHERE}",
    errno.EDQUOT: f"the disk quota is exceeded; free some space or {_ELSEWHERE}",
    errno.EFBIG: f"the file would exceed the file-size limit; raise the limit or {_ELSEWHERE}",
    errno.EACCES: f"no write permission; {_ELSEWHERE}",
    errno.EPERM: f"no write permission; {_ELSEWHERE}",
    errno.EROFS: f"the file system is read-only; {_ELSEWHERE}",
    errno.ENOENT: f"no file or folder can be created at this path; {_ELSEWHERE}",
    errno.ENOTDIR: f"a part of this path is a file, not a folder; {_ELSEWHERE}",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def output_error(path: Path | str, error: OSError) -> OutputError:
    """One-sentence error for a failed write: what failed, why, and the remedy.

    Parameters
    ----------
    path : path
        What was to be written.
    error : OSError
        How it failed.

    Returns
    -------
    OutputError
        To be raised by the caller.
    """
    reason = _WRITE_CURES.get(error.errno or 0, f"{error.strerror or error}; {_ELSEWHERE}")
    return OutputError(f"{path}: cannot be written: {reason}.")
