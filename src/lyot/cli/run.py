"""``lyot run`` and ``lyot config``: the whole reduction, and the template of its configuration."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyot.cli.options import ROLE, STAR, Group, Sections, options
from lyot.cli.results import show_results, show_warnings
from lyot.processes import without_collections

if TYPE_CHECKING:
    from lyot.report.content import Section
    from lyot.run.config import Config
    from lyot.run.execute import Event, RunResult

log = logging.getLogger(__name__)

NOT_MEASURED = 3
"""Exit status when the image was made and a measurement failed."""


def reduce_and_report(inputs: list[Path], out: Path, config: Config, *, overwrite: bool = False) -> RunResult:
    """Run the reduction with its progress shown, then write the report; prints what was found and where."""
    from lyot.cli.progress import Lines, starting
    from lyot.records.manifest import FILE_NAME

    if config.run.scheduler is None and (overwrite or not (out / FILE_NAME).is_file()):
        from lyot.exposures.names import may_be_ramps
        from lyot.exposures.read import expand_paths
        from lyot.run.executors import start_importing

        files = expand_paths(inputs)  # a file that is missing is reported before the imports, which take seconds
        start_importing(here=starting(), stage1=any(may_be_ramps(path) for path in files))
    from lyot.interface.progress import progress_display

    early = _EarlyReport(out)
    with _notes_once(), progress_display(Lines()) as listener, contextlib.closing(early):
        from lyot.run.execute import run as run_pipeline  # takes seconds, so that something is shown before

        def listen(event: Event) -> None:
            early.listen(event)
            listener(event)

        result = run_pipeline(inputs, out, config, overwrite=overwrite, on_event=listen)
        early.finish()
    if result.done or result.failed:
        from lyot.written import plural

        typer.echo(f"{plural(result.done, 'task')} done, {result.current} up to date; products in {result.out}")
    else:
        typer.echo(f"everything is up to date; products in {result.out}")
    show_results(result)
    show_warnings(result)
    _write_report(result, early)
    return result


@contextlib.contextmanager
def _notes_once() -> Iterator[None]:
    """Hold back what the plan logs of the input: it is printed with the result, and here only if there is none."""
    held: list[str] = []

    def hold(record: logging.LogRecord) -> bool:
        is_note = getattr(record, "is_note", False)
        if is_note:
            held.append(record.getMessage())
        return not is_note

    logger = logging.getLogger("lyot.run.plan")
    logger.addFilter(hold)
    try:
        yield
    except BaseException:
        for line in dict.fromkeys(held):
            typer.echo(f"Note: {line}", err=True)
        raise
    finally:
        logger.removeFilter(hold)


class _EarlyReport:
    """What of the report can be done while the workers are busy and this process has nothing else to do.

    First the modules that it needs are imported; once the products are complete, the figures of the steps are drawn,
    while a worker measures, and after the search for sources those that mark them.

    Attributes
    ----------
    sections : dict of str to Section or None
        Sections that were drawn; none if no measurement was made.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._unfinished: set[str] = set()
        self.sections: dict[str, Section | None] = {}
        self._drawing = concurrent.futures.ThreadPoolExecutor(1)  # figures are drawn by one thread at a time
        self._begun: set[bool] = set()
        self._measuring = self._searched = False
        self._wanted = True

    def listen(self, event: Event) -> None:
        """Take note of what happens in the run."""
        from lyot.run.measure_task import is_search

        if event.kind == "planned" and event.plan is not None:
            self._unfinished = {task.id for task in event.plan.tasks if task.kind != "measure"}
            threading.Thread(target=self._import, daemon=True).start()
        elif event.task is not None and event.kind in ("finished", "current"):
            self._unfinished.discard(event.task.id)
            self._searched |= event.task.kind == "measure" and is_search(event.task)
        is_new = event.kind == "started" and event.task is not None and event.task.kind == "measure"
        self._measuring |= is_new and not self._unfinished
        for searched in (False, True)[: 1 + self._searched] if self._measuring else ():
            if searched not in self._begun:
                self._begun.add(searched)
                self._drawing.submit(self._draw, searched=searched)

    def finish(self) -> None:
        """Wait for what is being drawn."""
        self._drawing.shutdown()

    def close(self) -> None:
        """Draw nothing more: the interpreter must not end while a figure is drawn, in C++ that it would abort."""
        self._wanted = False
        self._drawing.shutdown(cancel_futures=True)

    def _import(self) -> None:
        with without_collections():
            for module in ("lyot.report.page", "bokeh.embed", "bokeh.plotting"):
                importlib.import_module(module)

    def _draw(self, *, searched: bool) -> None:
        from lyot.report.page import early_sections

        try:
            self.sections |= early_sections(self._out, lambda: self._wanted, searched=searched)
        except Exception:  # they are made again with the rest, which says what is wrong
            log.info("the account of the steps could not be drawn early", exc_info=True)


def _write_report(result: RunResult, early: _EarlyReport) -> None:
    """Write the report if anything is new or it is not there."""
    from lyot import report

    page = result.out / "report" / "index.html"
    if result.is_news or not page.is_file():
        page = report.write_report(result.out, early.sections)
    typer.echo(f"report: {page}")


@options(
    Group("run", "lyot.run.config:RunParams",
          aliases={"jobs": ("-j",), "crds_path": ("--crds!",), "crds_context": ("--context!",)}),
    Group("contrast", "lyot.analysis.parameters:ContrastSection", only=("measure",),
          aliases={"measure": ("--contrast!",)}),
    Group("maps", "lyot.analysis.parameters:MapsSection", only=("measure",), aliases={"measure": ("--maps!",)}),
    Group("disk", "lyot.analysis.parameters:DiskSection", only=("models", "ring"),
          aliases={"models": ("--disk!",), "ring": ("--disk-ring!",)}),
    Group("report", "lyot.analysis.parameters:ReportSection"),
    STAR,
)  # fmt: skip
def run(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Exposure files, folders or associations at any stage (uncal, rateints, calints), or program numbers "
            "to download from MAST."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")],
    sections: Sections,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file (TOML).")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", help="Value of one parameter, e.g. stage1.jump.rejection_threshold=5; may be repeated."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Redo everything, even if up to date.")] = False,
    role: Annotated[list[str] | None, ROLE] = None,
    companion: Annotated[
        list[str] | None,
        typer.Option(
            help="Position SEPARATION,PA (arcsec, degrees) of a companion to fit in addition to the detections; may be "
            "repeated."
        ),
    ] = None,
) -> None:
    """Reduce exposures, measure sources and limits, write a report.

    The exposures are calibrated, the star is subtracted, and the rolls are combined. Sources are fitted and the
    contrast curve is measured (not with --no-measure). A repeated run redoes only tasks that are unfinished, or
    whose inputs, parameters or software versions changed. Exit status 3: the image was written, but a measurement
    failed.
    """
    from lyot.cli.progress import starting

    with starting():
        from lyot.archive.records import is_program
        from lyot.exposures.given_roles import roles_section
        from lyot.run.config import load_config

    programs = [str(p) for p in inputs if not p.exists() and is_program(str(p))]
    if programs:
        from lyot.cli.download import fetch_programs, prepare_references

        wanted = sections["run"]
        targets = wanted.get("target", [])
        fetched = fetch_programs(
            programs, out, filter_name=wanted.get("filter"), targets=targets, stages=wanted.get("stages")
        )
        cache = wanted.get("crds_path")
        crds, context = prepare_references(fetched, Path(cache) if cache else None, wanted.get("crds_context"))
        wanted |= {"crds_path": str(crds), "crds_context": context}
        inputs = [p for p in inputs if str(p) not in programs]
        if not inputs and targets:  # only these targets' was fetched, under the proposer's names for them
            wanted["target"] = [] if len(targets) == 1 and targets[0].lower() != "all" else ["all"]
        inputs += fetched
    more: Sections = {"roles": {**roles_section(role)}, **companion_section(companion)}
    configuration = load_config(config, settings or (), sections={**sections, **more})
    result = reduce_and_report(inputs, out, configuration, overwrite=overwrite)
    if result.failed:
        raise typer.Exit(NOT_MEASURED)


def companion_section(given: list[str] | None) -> dict[str, dict[str, object]]:
    """The section ``[companion]`` from the options."""
    from lyot.errors import ConfigError

    if not given:
        return {}
    detected = [text for text in given if text.upper() == "DETECTED"]
    if detected and len(given) > 1:
        raise ConfigError("--companion: give either positions or DETECTED, not both.")
    return {"companion": {"measure": True} if detected else {"positions": given}}


def config(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output file. Default: the terminal.")] = None,
) -> None:
    """Print a configuration file with all parameters.

    Each parameter of each step is listed with its default and a description.
    """
    from lyot.errors import OutputError
    from lyot.records.manifest import write_text
    from lyot.run.config import template

    if out is None:
        typer.echo(template(), nl=False)
        return
    if out.exists():
        raise OutputError(f"{out}: already exists; choose another --out.")
    write_text(out, template())


COMMANDS = {"run": run, "config": config}
