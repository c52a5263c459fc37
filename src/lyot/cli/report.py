"""``lyot report``: the report of a finished run once more, as PDF, and its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import Group, Sections, options


@options(Group("report", "lyot.analysis.parameters:ReportSection"))
def report(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    sections: Sections,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print the page to report.pdf.")] = False,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Folder for all figures as PNG and PDF, with their data.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing PDF and figures.")] = False,
) -> None:
    """Rewrite the report of a finished run, also as PDF and files.

    The page is always regenerated from the products of the run. --pdf needs Chromium (or Chrome) or
    WeasyPrint (pip install "lyot[report]").
    Figures are written as PNG and PDF, with their data as ECSV or FITS, a ds9 region file, and the methods paragraph.
    """
    from lyot.report import write_report
    from lyot.report.export import check_free, write_figures, write_pdf
    from lyot.report.page import checked_run
    from lyot.run.config import config_of_run, keep_section

    checked_run(out)
    if pdf:
        check_free((out / "report").rglob("report.pdf"), overwrite=overwrite)
    if figures is not None:
        check_free(figures.rglob("methods.*"), overwrite=overwrite)  # which are always there
    if sections["report"]:
        found = config_of_run(out, sections).report
        found.curves()  # a file that cannot be used is refused before anything is written
        keep_section(out, "report", found)
    written = [write_report(out)]
    typer.echo(f"report: {written[0]}")
    if pdf:
        for path in write_pdf(out, overwrite=overwrite):
            typer.echo(f"PDF: {path}")
    if figures is not None:
        typer.echo(f"{len(write_figures(out, figures, overwrite=overwrite))} files in {figures}")


COMMANDS = {"report": report}
