"""The report of a run: one HTML page that holds its images, opens from disk and needs no network."""

from __future__ import annotations

import json
import logging
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import jinja2
import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning
from markupsafe import Markup
from matplotlib import rc_context

from lyot.analysis.combined_image import is_candidate
from lyot.analysis.summary import read_fitted, read_limits
from lyot.errors import LyotError, MissingInputError
from lyot.exposures.given_roles import roles_of_members, with_given_roles
from lyot.exposures.names import COMPANIONS, CONTRAST, DETECTIONS, exposure_root
from lyot.exposures.read import one_per_exposure, read_exposure
from lyot.exposures.roles import Assigned, sort_roles
from lyot.records.manifest import CONFIGURATION, FILE_NAME, Manifest, Record, write_text
from lyot.report import checks, sections
from lyot.report.content import Picture, Section, Table
from lyot.report.damage import damaged_products
from lyot.report.flags import Flag, collect_flags
from lyot.report.marks import read_sources, read_table
from lyot.report.measured import (
    contrast_section,
    disk_section,
    fitted_text,
    limits_text,
    maps_section,
    motion_section,
    outdated_section,
)
from lyot.report.methods import Methods, methods_of
from lyot.report.products import combined_image, read_product
from lyot.report.provenance import calibration_table, changed_table, command_text, versions_text
from lyot.report.quality import read_notes
from lyot.report.ramps import ramps_picture
from lyot.report.rendering import render_pictures
from lyot.report.tables import (
    budget_table,
    companions_table,
    exposures_table,
    glow_table,
    parameter_tables,
    quality_table,
    references_table,
    rejected_table,
    sources_table,
    timings_table,
    values_of,
)
from lyot.report.viewer import Viewer, make_viewer, viewer_alt
from lyot.report.views import targets_of, view
from lyot.version import __version__
from lyot.written import plural, position_text, snr_text

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE = Path("report") / "index.html"


_INSTEAD = {
    "stage2": ("stage3", "exposures"), "glow-sticks": ("stage2",), "usable-data": ("exposures",),
    "detections": ("image",), "companions": ("sources", "image"), "contrast": ("image",),
    "registration": ("references",),
}  # fmt: skip
"""Sections that show something of a flag where its own is not there."""

_WITH_SOURCES = ("Stage 3", "KL modes")
"""Parts of the step-by-step account that mark the detections."""

_OF_SEARCH = ("Images of the detections",)
"""Results that depend on the search for sources alone."""

_TITLES: dict[Any, Any] = {"axes.titley": 1.0}
"""Titles of axes where they are anyway: looking for room for each takes a fifth of the drawing."""


@dataclass(frozen=True)
class Report:
    """All that the page of one science target shows.

    Attributes
    ----------
    title, subtitle, headline : str
    details : list of str
        Lines below the headline.
    flags : list of Flag
    viewer : Viewer or None
    results, steps : list of Section
        What was found; what each step did.
    made : list of Table
        Provenance.
    parameters : list of Table
    methods : Methods or None
    config, versions, command : str
    """

    title: str
    subtitle: str
    headline: str
    details: list[str]
    flags: list[Flag]
    viewer: Viewer | None
    results: list[Section]
    steps: list[Section]
    made: list[Table]
    parameters: list[Table]
    methods: Methods | None
    config: str
    versions: str
    command: str

    def link(self, flag: Flag) -> str:
        """Section that shows what a flag is about; empty if there is none."""
        wanted = [flag.anchor, *_INSTEAD.get(flag.anchor, ())]
        return next((anchor for anchor in wanted if anchor in self.anchors), "")

    @property
    def pictures(self) -> list[Picture]:
        """All figures, in the order of the page."""
        return [picture for section in (*self.results, *self.steps) for picture in section.pictures]

    @property
    def anchors(self) -> set[str]:
        """Names that a link can go to."""
        shown = (*self.results, *self.steps)
        found = {s.anchor for s in shown} | {t.anchor for s in shown for t in s.tables} | {t.anchor for t in self.made}
        return found | {"parameters"} | ({"image"} if self.viewer else set()) | ({"methods"} if self.methods else set())


def _inputs(records: Iterable[Record]) -> list[Path]:
    """Input files that came from outside the run (they alone have a checksum) and are still there."""
    given = (Path(item["path"]) for record in records for item in record.inputs if item["checksum"])
    return sorted({path for path in given if path.is_absolute() and path.is_file()})


def answer(out: Path, table: QTable | None) -> tuple[str, list[str]]:
    """The headline of the page: the brightest companion as it was fitted, else the brightest source; then limits."""
    folder = out / "measure"
    if table is None and not (folder / DETECTIONS).is_file():
        return "This run has no measurements.", ["Run stage 3 to search for sources."]
    # each by itself: a damaged table of limits does not take away the companion
    there = read_table(out, COMPANIONS) is not None
    fitted = [c for c in read_fitted(folder) if not np.isfinite(c.upper_limit)] if there else []
    limits = limits_text(*read_limits(folder)) if read_table(out, CONTRAST) is not None else ""
    more = [limits] if limits else []
    if table is None and not fitted:
        return "The table of detections cannot be read.", more
    if fitted:
        brightest = max(fitted, key=lambda c: (not c.candidate, c.flux))
        left = max(len(fitted), 0 if table is None else len(table)) - 1
        return fitted_text(brightest), [*([f"{plural(left, 'further source')} below."] if left else []), *more]
    assert table is not None
    if not len(table):
        return "No source detected above the threshold.", more
    signal = values_of(table, "signal") if "signal" in table.colnames else -np.arange(len(table), dtype=float)
    unsure = is_candidate(table)
    brightest_row = max(range(len(table)), key=lambda row: (not unsure[row], signal[row]))
    sep = values_of(table, "separation", "arcsec")[brightest_row]
    pa = values_of(table, "position_angle", "deg")[brightest_row]
    snr = values_of(table, "snr")[brightest_row]
    more = [*([f"{plural(len(table) - 1, 'further source')} below."] if len(table) > 1 else []), *more]
    what = "Brightest source" if not unsure[brightest_row] else "Candidate, which may be noise"
    return f"{what}: separation {position_text(sep, pa)}, S/N {snr_text(snr)}", more


def _title(assigned: Sequence[Assigned]) -> tuple[str, str]:
    science = [a.exposure for a in assigned if a.roll_number]
    if not science:
        return "Lyot reduction", ""
    first = science[0]
    rolls = len({a.roll_number for a in assigned if a.roll_number})
    subtitle = f"{first.instrument} {first.mask}, program {first.program}, {plural(rolls, 'roll')}"
    return f"{first.target} in {first.filter}", subtitle


@contextmanager
def _each_target(out: Path) -> Iterator[list[tuple[Path, Path]]]:
    """Folders that each look like a run with one target, and where its page goes, relative to that of the pages."""
    targets = targets_of(Manifest(out).records)
    if not targets:
        yield [(out, Path())]
        return
    with ExitStack() as stack:
        yield [(stack.enter_context(view(out, name, folder)), Path(folder)) for name, folder in targets.items()]


def write_report(out: str | Path, early: Mapping[str, Section | None] | None = None) -> Path:
    """Write ``report/index.html`` of a run; with several targets, a page for each and a list of them.

    Parameters
    ----------
    out : path
        Folder that ``lyot run`` wrote to.
    early : mapping of str to Section or None, optional
        Sections that were drawn before, see `early_sections`.

    Returns
    -------
    Path
        The page, or the list of pages.

    Raises
    ------
    MissingInputError
        If the folder holds no run.
    OutputError
        If the page cannot be written.
    """
    out = checked_run(out)
    path = out / PAGE
    with _each_target(out) as targets:
        entries = []
        for alone, below in targets:
            report = make_report(alone, early if alone == out else None)
            write_text(path.parent / below / path.name, render_page(report))
            link = f"{below}/{path.name}"
            entries.append((link, replace(report, viewer=None, results=[], steps=[]), _thumbnail(alone)))
    if len(targets) > 1 or targets[0][1] != Path():
        write_text(path, _list_of_pages(sorted(entries, key=lambda entry: entry[0])))
    return path


def reports_of(out: str | Path) -> Iterator[tuple[Path, Report]]:
    """The report of each target of a run, with its folder below that of the figures (``.`` for one target)."""
    with _each_target(checked_run(out)) as targets:
        for alone, below in targets:
            yield below, make_report(alone)


def checked_run(out: str | Path) -> Path:
    """The folder, if it is that of a run.

    Raises
    ------
    MissingInputError
        If it is none.
    """
    if not (Path(out) / FILE_NAME).is_file():
        raise MissingInputError(f"{out}: no {FILE_NAME} in this folder; give the output folder of lyot run.")
    return Path(out)


@rc_context(_TITLES)
def _thumbnail(out: Path) -> Picture | None:
    """The small image of a target; None if there is no image, or it cannot be read, as its own page says."""
    guard = _Guard(out)
    return guard("The image", lambda: sections.thumbnail(out, read_sources(out)), otherwise=None)


def _list_of_pages(entries: Sequence[tuple[str, Report, Picture | None]]) -> str:
    """Page that leads to those of the targets: link, the report behind it, and its image."""
    return _template("targets.html").render(entries=entries, version=__version__)


class _Guard:
    """Makes the parts of a report, each by itself: one that a broken file prevents is named, the others are made."""

    def __init__(self, out: Path) -> None:
        self.flags: list[Flag] = []
        self._out = out

    @cached_property
    def _damaged(self) -> list[str]:
        return damaged_products(self._out)

    def __call__(self, what: str, make: Callable[..., T], *arguments: Any, otherwise: T) -> T:
        """What `make` returns; `otherwise` if it cannot read what it needs."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)  # of a truncated file, which is said here
                return make(*arguments)
        except (OSError, KeyError, ValueError, TypeError, IndexError, fits.VerifyError) as error:
            log.info("%s is omitted from the report", what, exc_info=True)
            self.flags.append(self._flag(what, error))
            return otherwise

    def _flag(self, what: str, error: Exception) -> Flag:
        """What is not shown and why: the products that are damaged, or what was met in products that are not."""
        if self._damaged:
            more = f"; and {len(self._damaged) - 3} more" if len(self._damaged) > 3 else ""
            text = f"{what} could not be shown, because a file is damaged: {'; '.join(self._damaged[:3])}{more}."
            return Flag(text, "Run lyot run again with the same output folder; it redoes damaged products.", "timings")
        reason = " ".join(str(error).split())[:200].rstrip(".")
        reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        text = f"{what} could not be shown, although all products are complete ({reason})."
        return Flag(text, "This is probably a defect of Lyot; please report it with this sentence.", "timings")

    def all_of(
        self,
        parts: Sequence[tuple[str, Callable[[], Section | None]]],
        early: Mapping[str, Section | None] = MappingProxyType({}),
    ) -> list[Section]:
        """The sections that there is material for; those in `early` are taken as they are."""
        made = (early[title] if title in early else self(title, make, otherwise=None) for title, make in parts)
        return [section for section in made if section is not None]


@rc_context(_TITLES)
def make_report(out: Path, early: Mapping[str, Section | None] | None = None) -> Report:
    """Everything that is shown of a run with one product.

    Parameters
    ----------
    out : Path
        Folder of the run.
    early : mapping of str to Section or None, optional
        Sections that were drawn before, see `early_sections`.
    """
    guard = _Guard(out)
    records = Manifest(out).records
    sources = guard("Detections", read_sources, out, otherwise=None)
    assigned = _assigned(out, records)
    title, subtitle = _title(assigned)
    unread: tuple[str, list[str]] = ("The result could not be read.", [])
    headline, details = guard("The result", answer, out, sources, otherwise=unread)
    config = out / CONFIGURATION
    calibrated = guard("Calibration", calibration_table, assigned, otherwise=None)
    changed = guard("Changed parameters", changed_table, out, records, otherwise=None)
    viewer = guard("The interactive image", _viewer, out, sources, otherwise=None)
    results = guard.all_of(_results(out, sources), early or {})
    steps = guard.all_of(_steps(out, assigned, sources), early or {})
    methods = guard("The methods paragraph", methods_of, out, assigned, otherwise=None)
    none: list[Flag] = []
    flags = guard("The list of flags", collect_flags, out, sources, otherwise=none)
    return Report(
        title=title, subtitle=subtitle, headline=headline, details=details, flags=[*guard.flags, *flags],
        viewer=viewer, results=results, steps=steps,
        made=[t for t in (calibrated, changed, timings_table(records)) if t],
        parameters=parameter_tables(records), methods=methods,
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        versions=versions_text(records, calibrated=calibrated is not None), command=command_text(out, assigned),
    )  # fmt: skip


@rc_context(_TITLES)
def early_sections(
    out: Path, wanted: Callable[[], bool] = lambda: True, *, searched: bool = False
) -> dict[str, Section | None]:
    """Sections that can be made before all is measured, with their figures drawn.

    Parameters
    ----------
    out : Path
        Folder of the run, whose products are complete.
    wanted : callable, optional
        Asked before each figure whether to go on.
    searched : bool, optional
        Make those that depend on the search for sources, which has been made, and on no other measurement; by default
        those that depend on none.

    Returns
    -------
    dict of str to Section or None
        By title, for `write_report`. Sections that a broken file prevents are not in it; the report tells why. Empty
        for a run with several targets.
    """
    found: dict[str, Section | None] = {}
    with _each_target(out) as targets:
        if [alone for alone, _ in targets] != [out]:
            return found
        for title, make in _early_parts(out, searched=searched):
            guard = _Guard(out)
            section = guard(title, make, otherwise=None)
            if guard.flags:
                continue
            for picture in () if section is None else section.pictures:
                if not wanted():
                    return found
                _ = picture.png  # drawn now, and kept
            found[title] = section
    return found


def _early_parts(out: Path, *, searched: bool) -> Parts:
    """The sections of `early_sections`."""
    if not searched:
        steps = _steps(out, _assigned(out, Manifest(out).records), None)
        return [(title, make) for title, make in steps if title not in _WITH_SOURCES]
    sources = _Guard(out)("Detections", read_sources, out, otherwise=None)
    parts = [*_results(out, sources), *_steps(out, [], sources)]
    return [(title, make) for title, make in parts if title in (*_OF_SEARCH, *_WITH_SOURCES)]


def _viewer(out: Path, sources: QTable | None) -> Viewer | None:
    path = combined_image(out)
    return None if path is None else make_viewer(out, sources, sections.radius_of(read_product(path), sources))


def _with_tables(title: str, anchor: str, *tables: Table | None, short: str = "") -> Section | None:
    """A section of tables; None without any. The text of the first is that of the section."""
    found = tuple(t for t in tables if t is not None)
    return Section(title, anchor, "", tables=found, short=short) if found else None


Parts = list[tuple[str, Callable[[], Section | None]]]
"""Sections by their titles, to be made."""


def _results(out: Path, sources: QTable | None) -> Parts:
    """What was found."""
    return [
        ("Images of the detections", lambda: sections.detection_map(out, sources)),
        ("Companions", lambda: _with_tables("Companions", "companions", companions_table(out), budget_table(out))),
        ("Detections", lambda: _with_tables("Detections", "sources", sources_table(sources), rejected_table(out))),
        ("Contrast", lambda: contrast_section(out)),
        ("Proper motion", lambda: motion_section(out)),
        ("Disk", lambda: disk_section(out)),
        ("Maps", lambda: maps_section(out)),
        ("Measured before", lambda: outdated_section(out)),
    ]


def _extended(
    section: Section | None, title: str, anchor: str, *pictures: Picture | None, **more: Any
) -> Section | None:
    """A section with more pictures and tables, made where it is not there and there is something to show."""
    kept = tuple(p for p in pictures if p is not None)
    tables = tuple(t for t in more.get("tables", ()) if t is not None)
    if section is None:
        return Section(title, anchor, "", kept, tables, more.get("short", "")) if kept or tables else None
    return Section(section.title, section.anchor, section.text, (*section.pictures, *kept),
                   (*section.tables, *tables), section.short)  # fmt: skip


def _steps(out: Path, assigned: Sequence[Assigned], sources: QTable | None) -> Parts:
    """What each step did, in the order of the reduction."""

    def one(title: str, anchor: str, picture: Callable[[Path], Picture | None], table: Callable[[Path], Table | None],
            section: Section | None = None, short: str = "") -> Section | None:  # fmt: skip
        return _extended(section, title, anchor, picture(out), tables=(table(out),), short=short)

    return [
        ("Exposures", lambda: _with_tables("Exposures", "exposures", exposures_table(assigned, read_notes(out)))),
        ("Stage 1", lambda: one("Stage 1: ramps to slopes", "stage1", ramps_picture, lambda _: None,
                                sections.stage1(out), "Slopes")),
        ("Stage 2", lambda: one("Stage 2: calibration and background", "stage2", checks.background_picture,
                                lambda _: None, sections.stage2(out), "Calibration")),
        ("Glow sticks", lambda: one("Glow sticks", "glow-sticks", checks.glow_picture, glow_table)),
        ("Usable data", lambda: one("Usable data", "usable-data", checks.flagged_picture, quality_table)),
        ("Registration", lambda: one("Registration", "registration", checks.registration_picture, lambda _: None)),
        ("Reference star", lambda: one("Reference star", "references", checks.modes_picture, references_table)),
        ("Stage 3", lambda: sections.stage3_subtraction(out, sources)),
        ("KL modes", lambda: sections.stage3_truncations(out, sources)),
        ("Noise", lambda: one("Residuals and expected noise", "noise", checks.noise_picture, lambda _: None,
                              short="Noise")),
    ]  # fmt: skip


def render_page(report: Report) -> str:
    """The page as HTML."""
    render_pictures(report.pictures)
    viewer = report.viewer
    return _template("page.html").render(
        report=report,
        parts={} if viewer is None else {"resources": Markup(viewer.resources), "body": Markup(viewer.body),
                                         "alt": Markup(viewer_alt(viewer))},
        version=__version__,
    )  # fmt: skip


def _assigned(out: Path, records: Sequence[Record]) -> list[Assigned]:
    """The exposures that went in, with their roles; other files, such as a spectrum of the star, are passed over."""
    exposures = []
    for path in _inputs(records):
        try:
            exposures.append(read_exposure(path))
        except LyotError as error:
            log.info("not in the table of exposures: %s", error)
    chosen = with_given_roles(one_per_exposure(exposures), _given_roles(out), strict=False)
    return sort_roles(chosen)


def _given_roles(out: Path) -> dict[str, str]:
    """Roles that were given by hand, and those that the exposures have in stage 3."""
    roles: dict[str, str] = {}
    config = out / CONFIGURATION
    if config.is_file():
        roles |= tomllib.loads(config.read_text(encoding="utf-8")).get("roles", {})
    for path in sorted((out / "asn").glob("*_coron3_asn.json")):
        members = roles_of_members(json.loads(path.read_text(encoding="utf-8")))
        roles |= {exposure_root(Path(name)): role for name, role in members.items()}
    return roles


def _template(name: str) -> jinja2.Template:
    """A page of this package, with the style that all share."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)
