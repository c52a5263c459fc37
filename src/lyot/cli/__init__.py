"""The command line: thin, quick to start, renders what the library finds.

Each module of this package that has a mapping ``COMMANDS`` adds its commands. Heavy imports stay inside the commands,
and options are generated only for the one that is used, so that ``lyot --help`` answers at once. A `LyotError` ends the
program with its sentence and exit status 2.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import importlib
import io
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from lyot.cli.options import with_options, with_words
from lyot.errors import LyotError, handled_warnings
from lyot.processes import ENDING, provide_streams, without_collections
from lyot.version import __version__

__all__ = ["build_app", "main"]

EXIT_USER_ERROR = 2
"""Exit status when something that the user can mend is wrong."""

_INTERRUPTED = {128 + number: number.name for number in (signal.SIGINT, *ENDING)}
"""Exit status and name of the signals at which the program leaves in order."""

_RESUMING = ("run", "demo", "download")
"""Commands that go on from what is finished."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lyot {__version__}")
        raise typer.Exit


def build_app(only: str | None = None, *, all_options: bool = True) -> typer.Typer:
    """The application with the commands of the modules of this package.

    Parameters
    ----------
    only : str, optional
        Name of a command; the others are omitted.
    all_options : bool, optional
        Generate the options from the parameters, which imports their modules.

    Returns
    -------
    typer.Typer

    Examples
    --------
    >>> from lyot.cli import build_app
    >>> sorted(command.name for command in build_app(all_options=False).registered_commands)[:3]
    ['companion', 'config', 'contrast']
    """
    app = typer.Typer(
        name="lyot",
        help="JWST/MIRI coronagraphy from raw ramps to a measured planet.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # square brackets in a help text are meant
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
        ] = False,
    ) -> None:
        """JWST/MIRI coronagraphy from raw ramps to a measured planet."""

    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        for name, command in getattr(importlib.import_module(f"{__name__}.{module}"), "COMMANDS", {}).items():
            if only is None or name == only:
                app.command(name)(with_words(with_options(command, all_options=all_options)))
    return app


def _asked_for(arguments: list[str]) -> str | None:
    """The command that is named on the command line, if there is one of that name."""
    name = next((a for a in arguments if not a.startswith("-")), "")
    known = {command.name for command in build_app(all_options=False).registered_commands}
    return name if name in known else None


def _terminate(number: int, _frame: object) -> None:
    """Leave in order when asked to end, so that workers stop and partial products go."""
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    """Print to the standard error, if there still is one: a terminal that was closed has gone."""
    with contextlib.suppress(OSError):
        typer.echo(text, err=True)


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """A function that says each text the first time only: what a command repeats is not told again."""
    said: set[str] = set()

    def first(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return first


def _write_nowhere() -> None:
    """Let what is still to be printed go nowhere, as it cannot be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def main() -> None:
    """Run the command line; the entry point of ``lyot``."""
    provide_streams()
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _terminate)
    atexit.register(gc.freeze)  # a last collection would go through all that was imported, for two seconds
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of another encoding shows ? for what it does not have
    command = None
    try:
        command = _asked_for(sys.argv[1:])
        with handled_warnings(_once(lambda message: _say(f"Warning: {message}"))):
            with without_collections():
                app = build_app(all_options=command is not None, only=command)
            app()
    except LyotError as error:
        _say(f"Error: {error}")
        raise SystemExit(EXIT_USER_ERROR) from None
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        _say(f"Error: cannot write the standard output or a file: {error.strerror}.")
        _write_nowhere()
        raise SystemExit(EXIT_USER_ERROR) from None
    except (KeyboardInterrupt, SystemExit) as end:
        status = end.code if isinstance(end, SystemExit) else 128 + signal.SIGINT
        if status in _INTERRUPTED:
            resume = " Run the same command again to resume." if command in _RESUMING else ""
            _say(f"Interrupted by {_INTERRUPTED[status]}.{resume}")
        raise SystemExit(status) from None
