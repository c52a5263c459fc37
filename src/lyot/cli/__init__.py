"""The command line: thin, quick to start, renders what the library finds.

Each module of this package that has a mapping ``COMMANDS`` adds its commands. Heavy imports stay inside the commands,
and options are generated only for the one that is used, so that ``lyot --help`` answers at once. A `LyotError` ends the
program with its sentence and exit status 2.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import pkgutil
import signal
import sys
from typing import Annotated

import typer

from lyot.cli.options import with_options
from lyot.errors import LyotError
from lyot.version import __version__

EXIT_USER_ERROR = 2
"""Exit status when something that the user can mend is wrong."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lyot {__version__}")
        raise typer.Exit


def build_app(only: str | None = None, *, all_options: bool = True) -> typer.Typer:
    """The application with the commands of the modules of this package.

    Parameters
    ----------
    only : str, optional
        Name of a command; the others are left out.
    all_options : bool, optional
        Make the options that are generated from parameters, which imports their modules.
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
                app.command(name)(with_options(command, all_options=all_options))
    return app


def _asked_for(arguments: list[str]) -> str | None:
    """The command that is named on the command line, if there is one of that name."""
    name = next((a for a in arguments if not a.startswith("-")), "")
    known = {command.name for command in build_app(all_options=False).registered_commands}
    return name if name in known else None


def _terminate(number: int, _frame: object) -> None:
    """Leave in order when asked to end, so that workers stop and partial products go."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; the entry point of ``lyot``."""
    signal.signal(signal.SIGTERM, _terminate)
    atexit.register(gc.freeze)  # a last collection would go through all that was imported, for two seconds
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of another encoding shows ? for what it does not have
    try:
        command = _asked_for(sys.argv[1:])
        build_app(all_options=command is not None, only=command)()
    except LyotError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(EXIT_USER_ERROR) from None
    except BrokenPipeError:  # the reader, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
