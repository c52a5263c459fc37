"""What the documentation tells people to type exists: commands, options, parameters, files; and nothing is left out."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import tomllib
import typing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lyot.cli import build_app
from lyot.run.config import SECTIONS, apply_settings, build_config
from tests.browser import browser, program

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "pipeline_demos" / "README.md"])
COMMAND = re.compile(r"^\s*(?:\$ )?((?:lyot|strun) .*)$", re.M)
WRONG = ("rejection_treshold=5", "stage3.truncate=20", "truncate=5.5")
"""Settings that are shown with the error that they give."""
VERSION = re.compile(r"\d+(\.\d+)+(\.dev\d+)?")
SECTION = re.compile(r"\bstage[123](?:\.(?!md\b|py\b|json\b|STEP\b)\w+)+")


def options_of(name: str) -> set[str]:
    """Spellings of the options of a command."""
    callback = build_app(name).registered_commands[0].callback
    hints = typing.get_type_hints(callback, include_extras=True)
    found = {"--help", "-h"}
    for parameter in inspect.signature(callback).parameters.values():
        info = hints[parameter.name].__metadata__[0]
        given = [x for x in (info.default, *(info.param_decls or ())) if isinstance(x, str) and x.startswith("-")]
        found |= {part for each in given or [f"--{parameter.name.replace('_', '-')}"] for part in each.split("/")}
    return found


@pytest.fixture(scope="module")
def commands() -> dict[str, set[str]]:
    return {command.name: options_of(command.name) for command in build_app(all_options=False).registered_commands}


def lines_of(path: Path) -> list[str]:
    """Commands in the code blocks of a page, and those that stand in backquotes in its text."""
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))  # lines that go on
    blocks = "".join(re.findall(r"^(?:```.*\n(?:.*\n)*?```|(?: {4}.*\n)+)", text, re.M))
    return [*COMMAND.findall(blocks), *(t for t in re.findall(r"`([^`\n]+)`", text) if re.match(r"(lyot|strun) ", t))]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_options_and_settings_exist(path: Path, commands: dict[str, set[str]]) -> None:
    for line in lines_of(path):
        words = shlex.split(line.replace("...", "").split(" #")[0].split("   ")[0])
        if words[0] == "strun":
            from lyot.steps.integration import get_steps

            assert words[1].startswith("calwebb_") or words[1] in {alias for _, alias, _ in get_steps()}, line
            continue
        if len(words) < 2 or words[1] in ("--version", "--help", "COMMAND") or VERSION.fullmatch(words[1]):
            continue
        assert words[1] in commands, line
        for number, word in enumerate(words):
            if word.startswith("-") and not re.match(r"-[\d.]", word):
                assert word.split("=")[0] in commands[words[1]], f"{line}: no option {word}"
            if word in ("--set", "-s") and not line.endswith(WRONG):
                build_config(apply_settings({}, [words[number + 1]]))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_parameters_named_in_the_text_exist(path: Path) -> None:
    from lyot.run.pipelines import step_parameters

    names = {stage: step_parameters(stage) for stage in ("stage1", "stage2", "stage3")}
    for found in SECTION.findall(path.read_text(encoding="utf-8")):
        stage, *rest = found.split(".")
        steps = names[stage]
        pipeline = {p.name for p in steps[""]}
        known = rest[0] in steps or rest[0] in pipeline or found == "stage3.truncate"  # shown with its error
        assert known, f"{path.name}: {found}"
        if rest[0] in steps and len(rest) == 2 and not rest[1].startswith(("override_", "rejection_treshold")):
            assert rest[1] in {p.name for p in steps[rest[0]]}, f"{path.name}: {found}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_configurations_are_accepted(path: Path) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
        table = tomllib.loads(block)
        if set(table) <= set(SECTIONS) and not {"flux", "name"} & set(table.get("star", {})):  # else a scene
            build_config(table)


def test_every_command_and_every_section_has_its_place(commands: dict[str, set[str]]) -> None:
    page = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\{lyot-command\} ([\w-]+)", page)) == set(commands)
    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^### `\[(\w+)\]`", page, re.M)) | set(re.findall(r"\{lyot-stage\} (\w+)", page))
    assert shown == set(SECTIONS)


def test_every_public_package_is_in_the_reference() -> None:
    packages = {p.parent.name for p in (ROOT / "src" / "lyot").glob("*/__init__.py")}
    public = {p for p in packages if getattr(importlib.import_module(f"lyot.{p}"), "__all__", None)}
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\.\./api/lyot\.([\w.]+)$", page, re.M))
    # the names of `interface` are those of lyot; the command line has pages of its own
    assert public - {"interface", "cli"} <= shown
    assert all(importlib.import_module(f"lyot.{name}") for name in shown)


def test_pictures_exist_and_stay_small() -> None:
    total = sum(p.stat().st_size for p in (DOCS / "_static").iterdir())
    assert total < 4e6
    for path in PAGES:
        for name in re.findall(r"(?:\]\(|image\} |figure\} )(\S+\.(?:png|webp|svg))", path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), f"{path.name}: {name}"


HEADER = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 30.0, "CRPIX2": 30.0, "CRVAL1": 200.0, "CRVAL2": -50.0,
          "CDELT1": -3e-5, "CDELT2": 3e-5}  # fmt: skip


def written_tables() -> dict[str, Table]:
    """Tables of the measurements as the code writes them, with every optional column, from made-up numbers."""
    from lyot.analysis import disks, proper_motion, tables
    from lyot.analysis.combined_image import CombinedImage, detection_table
    from lyot.exposures import names
    from lyot.instrument import coronagraph
    from lyot.measure.detected import Detection
    from lyot.measure.photometry import Star
    from lyot.measure.ring import RingParams
    from lyot.measure.systematics import ErrorTerm

    one, none = np.ones(3), np.zeros(3)
    c = coronagraph("F1550C")
    run = SimpleNamespace(sequence=SimpleNamespace(coronagraph=c, sky=(200.0, -50.0)))
    mass = SimpleNamespace(mass=one, error=one, from_flux=one, from_age=one)
    masses = SimpleNamespace(
        mass=lambda _: one, range=lambda _: (one, one), with_error=lambda *_: mass, error=1.0, age=15.0,
        models=SimpleNamespace(name="models", filter=c.filter),
    )  # fmt: skip
    curve = SimpleNamespace(separation=one, flux_raw=one, flux_limit=one, flux_low=one, flux_high=one, throughput=one,
                            noise=one, elements=np.ones(3, int), threshold=one)  # fmt: skip
    source = SimpleNamespace(flux=1.0, east=1.0, north=1.0, separation=1.4, position_angle=45.0, snr=9.0,
                             significance=7.0, flux_error=0.1, separation_error=0.1, position_angle_error=1.0,
                             upper_limit=np.nan, samples=None, noise_scale=1.0, reduced_chi2=1.0,
                             ambiguous=False)  # fmt: skip
    budgets = [[ErrorTerm("total", 0.1, 0.1, 0.1, 1.0)]] * 3
    companions = tables.companion_table([source] * 3, budgets, run, Star(1.0))
    tables.add_masses(companions, masses, 100.0)
    image = CombinedImage(none, fits.Header(HEADER), fits.Header(), (30.0, 30.0), 0.11, 4.4)
    peak = Detection(30.0, 30.0, 0.5, 90.0, 12.0, 6.0, 10.0, 1.0, 9, 1)
    fit = SimpleNamespace(scale=1.0, error=0.1, snr=10.0, chi2=1.0, reduced_chi2=1.0, background=0.0, region=one,
                          correlation=1.0)  # fmt: skip
    ring = SimpleNamespace(
        ring=RingParams(), names=("flux",), errors=one[:1], covariance=np.ones((1, 1)), at_limit=(), fit=fit
    )
    positions = SimpleNamespace(years=one, separation=one, separation_error=one, position_angle=one,
                                position_angle_error=one)  # fmt: skip
    test = SimpleNamespace(background=np.ones((3, 2)), common=np.ones((3, 2)))
    return {
        names.DETECTIONS: detection_table([peak], image),
        names.CONTRAST: tables.contrast_table(curve, run, Star(1.0), distance=100.0, masses=masses),
        names.COMPANIONS: companions,
        names.ERROR_BUDGET: tables.budget_table(budgets),
        names.PROPER_MOTION: proper_motion.motion_table(1, test, positions),
        names.DISK: disks._disk_table(["model"], [fit], [1.0], [0.0]),
        names.DISK_RING: disks.ring_table(ring),
    }


def test_every_column_is_described() -> None:
    from lyot.analysis.columns import COLUMNS
    from lyot.exposures import names

    page = (DOCS / "reference" / "products.md").read_text(encoding="utf-8")
    shown = re.findall(r"^### `(\w+\.ecsv)`\n(?:(?!##).*\n)*?```\{lyot-columns\} (\S+)", page, re.M)
    tables = {value for value in vars(names).values() if isinstance(value, str) and value.endswith(".ecsv")}
    written = written_tables()
    assert set(shown) == {(name, name) for name in tables} and set(COLUMNS) == set(written) == tables
    for file, table in written.items():
        described = {name: (str(table[name].unit or ""), table[name].description) for name in table.colnames}
        assert described == COLUMNS[file], file
        assert all(text for _, text in described.values()), file


def test_tables_of_the_data_models_are_described() -> None:
    from stdatamodels.jwst import datamodels

    from lyot.exposures.columns import COLUMNS, OFFICIAL

    page = (DOCS / "reference" / "products.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### ([A-Z_]+)$", page, re.M))
    assert headings == {*COLUMNS, *OFFICIAL, "HDRTAB", "ASDF"}
    with datamodels.CubeModel() as model:
        assert tuple(OFFICIAL["INT_TIMES"]) == model.get_dtype("int_times").names
    assert all(text for columns in OFFICIAL.values() for _, text in columns.values())


def test_every_image_of_the_measurements_is_described() -> None:
    from lyot.exposures import names

    page = (DOCS / "reference" / "products.md").read_text(encoding="utf-8").split("## Images of the measurements")[1]
    files = {value for value in vars(names).values() if isinstance(value, str) and value.endswith(".fits")}
    assert set(re.findall(r"^\| `(\w+\.fits)`", page, re.M)) == files


def test_search_results_have_excerpts_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    search = importlib.import_module("offline_search")
    pages = {"howto/mast": "the planet <b>& its star</b>", "index": "first page"}
    env = SimpleNamespace(
        found_docs=set(pages), get_doctree=lambda name: SimpleNamespace(astext=lambda: f"\n {pages[name]}\n\n")
    )
    app = SimpleNamespace(env=env, outdir=tmp_path, builder=SimpleNamespace(format="html"))
    (tmp_path / "_static").mkdir()
    search.write_texts(app, None)
    assert search.FILE in (DOCS / "_templates" / "search.html").read_text(encoding="utf-8")
    if program("chromium") is None:
        pytest.skip("no Chromium")
    html = f"<script src='{search.FILE}'></script><p id=said>waiting</p>"
    (tmp_path / "search.html").write_text(html, encoding="utf-8")
    with browser(tmp_path / "settings") as page:
        page.open(tmp_path / "search.html")
        page.js("fetch('./howto/mast.html').then(r => r.text()).then(t => { said.textContent = t; })")
        page.wait("document.getElementById('said').textContent !== 'waiting'", 10)
        said = page.js("document.getElementById('said').textContent")
    assert said == '<div role="main">the planet &lt;b&gt;&amp; its star&lt;/b&gt;</div>'
