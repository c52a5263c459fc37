"""The command line: thin, quick to start, renders what the library tells.

Each module of this package that has a function ``register(app)`` adds its commands; heavy imports stay inside the
commands, so that ``lyot --help`` answers at once. A `LyotError` ends the program with its sentence and exit status 2.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
from typing import Annotated

import typer

import lyot
from lyot.errors import LyotError

EXIT_USER_ERROR = 2
"""Exit status when something that the user can mend is wrong."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lyot {lyot.__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The application with the commands of all modules of this package."""
    app = typer.Typer(
        name="lyot",
        help="JWST/MIRI coronagraphy from raw ramps to a measured planet.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
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
        register = getattr(importlib.import_module(f"{__name__}.{module}"), "register", None)
        if register is not None:
            register(app)
    return app


def _terminate(number: int, frame: object) -> None:
    """Leave in order when asked to end, so that workers stop and partial products go."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; the entry point of ``lyot``."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        build_app()()
    except LyotError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(EXIT_USER_ERROR) from None
    except BrokenPipeError:  # the reader, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
