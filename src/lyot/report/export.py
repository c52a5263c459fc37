"""The report as PDF, and its figures as files with the numbers that they show."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from lyot.errors import OutputError, ReductionError, output_error
from lyot.report.content import WCS_KEYWORDS, Layer, Picture
from lyot.report.page import PAGE, Report, checked_run, reports_of

BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip
"""Programs that print a page."""

FIGURE_DPI = 200
PATIENCE = 180
"""Time that a browser gets to print a page, s."""

KEPT = ("TELESCOP", "INSTRUME", "FILTER", "CORONMSK", "TARGPROP", "PROGRAM", "OBSERVTN", "KLMODES", "LYOT_VER")
"""Keywords that the images of a figure keep."""


def write_figures(out: str | Path, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write every figure of a report as PNG and PDF, with its data as ECSV or FITS.

    The region file for ds9, the methods paragraph and its BibTeX are written next to them.

    Parameters
    ----------
    out : path
        Folder that ``lyot run`` wrote to.
    folder : path
        Where the files go; with several targets, into a folder below it for each.
    overwrite : bool, optional
        Replace files that are there.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    MissingInputError
        If `out` holds no run.
    OutputError
        If a file is there and `overwrite` is off, or one cannot be written.
    """
    files: dict[Path, bytes] = {}
    for below, report in reports_of(out):
        for name, content in _files_of(report).items():
            files[Path(folder) / below / name] = content
    check_free(files, overwrite=overwrite)
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise output_error(path, error) from error
    return list(files)


def check_free(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raise `OutputError` if one of the files is there and may not be replaced."""
    there = sorted(path for path in paths if path.exists())
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise OutputError(f"{there[0]}: already exists{more}; use --overwrite to replace existing files.")


def _files_of(report: Report) -> dict[str, bytes]:
    """Names and contents of all files of a report."""
    files: dict[str, bytes] = {}
    for picture in report.pictures:
        for kind in ("png", "pdf"):
            files[f"{picture.name}.{kind}"] = picture.rendered(kind, FIGURE_DPI)
        files |= _data_of(picture)
    if report.viewer is not None:
        regions = report.viewer.regions.partition(",")[2]
        files["detections.reg"] = urllib.parse.unquote(regions).encode()
    if report.methods is not None:
        text = f"{report.methods.text}\n\n{report.methods.latex}\n"
        files |= {"methods.txt": text.encode(), "methods.bib": f"{report.methods.bibtex}\n".encode()}
    return files


def _data_of(picture: Picture) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        if picture.layers:
            path = Path(folder) / "data.fits"
            fits.HDUList([_primary(picture.layers[0]), *map(_extension, picture.layers)]).writeto(path)
            files[f"{picture.name}.fits"] = path.read_bytes()
        if picture.table is not None:
            path = Path(folder) / "data.ecsv"
            Table(picture.table).write(path, format="ascii.ecsv")
            files[f"{picture.name}.ecsv"] = path.read_bytes()
    return files


def _primary(layer: Layer) -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU()
    for key in KEPT:
        if key in layer.header:
            hdu.header[key] = layer.header[key]
    return hdu


def _extension(layer: Layer) -> fits.ImageHDU:
    """An image of a figure, with its coordinates where north is up."""
    name = layer.title.encode("ascii", "ignore").decode().upper()[:60]
    hdu = fits.ImageHDU(np.asarray(layer.image, dtype=np.float32), name=name)
    if layer.unit:
        hdu.header["BUNIT"] = layer.unit.replace("µ", "u").encode("ascii", "ignore").decode()
    for key in WCS_KEYWORDS if layer.north_up else ():
        if key in layer.header:
            hdu.header[key] = layer.header[key]
    return hdu


def pages_of(out: str | Path) -> list[Path]:
    """Pages of a run, that of the list of targets left out."""
    folder = (checked_run(out) / PAGE).parent
    below = sorted(folder.glob(f"*/{PAGE.name}"))
    return below or [folder / PAGE.name]


def write_pdf(out: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Print the pages of a run to ``report.pdf`` next to each: by a browser, otherwise by WeasyPrint.

    Parameters
    ----------
    out : path
        Folder that ``lyot run`` wrote to; its pages are there.
    overwrite : bool, optional
        Replace a PDF that is there.

    Raises
    ------
    OutputError
        If a PDF is there and `overwrite` is off.
    ReductionError
        If nothing can print here, or the printing fails.
    """
    pages = pages_of(out)
    targets = [page.with_name("report.pdf") for page in pages]
    check_free(targets, overwrite=overwrite)
    browser = find_browser()
    weasyprint = _weasyprint(pages[0]) if browser is None else None
    for page, target in zip(pages, targets, strict=True):
        if browser is not None:
            _print(browser, page, target)
        else:
            _print_by_weasyprint(weasyprint, page, target)
    return targets


def find_browser() -> str | None:
    """Path of a Chromium or a relative of it; None if there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def _print(browser: str, page: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lyot-print-", ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "report.pdf"
        command = [
            browser, "--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
            f"--user-data-dir={folder}/settings", "--no-pdf-header-footer", f"--print-to-pdf={made}",
            *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),  # root needs it
            page.absolute().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ReductionError(f"{page}: {Path(browser).name} could not print the page ({error}).") from error
        if not made.is_file():
            said = " ".join(done.stderr.split())[-200:]
            raise ReductionError(f"{page}: {Path(browser).name} could not print the page ({said}).")
        try:
            shutil.move(made, target)
        except OSError as error:
            raise output_error(target, error) from error


def _weasyprint(page: Path) -> Any:
    """The package, or one sentence that says what is missing for a PDF of `page`."""
    otherwise = f"or print {page} from your browser."
    try:
        import weasyprint
    except ImportError as error:
        raise ReductionError(
            "no PDF: neither Chromium (or Chrome) nor WeasyPrint is installed; install Chromium, or "
            f'pip install "lyot[report]", {otherwise}'
        ) from error
    except OSError as error:  # it is there, and a library of the system that it draws with is not
        said = " ".join(str(error).split())[:120]
        raise ReductionError(
            f"no PDF: WeasyPrint does not work on this system ({said}); install Pango, or Chromium, {otherwise}"
        ) from error
    return weasyprint


def _print_by_weasyprint(weasyprint: Any, page: Path, target: Path) -> None:
    try:
        content = weasyprint.HTML(filename=str(page)).write_pdf()
    except Exception as error:  # it raises anything for a layout that it does not master
        raise ReductionError(f"{page}: WeasyPrint could not print the page ({error}).") from error
    try:
        target.write_bytes(content)
    except OSError as error:
        raise output_error(target, error) from error
