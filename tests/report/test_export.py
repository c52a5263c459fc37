"""`lyot report`: the page again, as PDF, and the figures as files."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from lyot.cli import build_app
from lyot.errors import InputError, OutputError, ReductionError
from lyot.report import export
from lyot.report.content import Layer, Picture, grid
from lyot.report.page import reports_of
from lyot.run.config import build_config, config_of_run
from lyot.run.plan import make_plan
from tests.browser import program
from tests.report.test_report import run_folder  # noqa: F401 - a fixture
from tests.run.exposures import write_sequence

CURVE = "separation,contrast\n0.5,1e-3\n1,1e-4\n"


def invoke(*arguments):
    return CliRunner().invoke(build_app("report"), ["report", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.usefixtures("quick_report")
def test_figures_come_with_their_data_and_are_not_replaced_unasked(run_folder, tmp_path):  # noqa: F811
    folder = tmp_path / "figures"
    result = invoke(run_folder, "--figures", folder)
    assert "files in" in result.output
    assert (folder / "contrast.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "contrast.pdf").read_bytes().startswith(b"%PDF")
    table = Table.read(folder / "contrast.ecsv", format="ascii.ecsv")
    assert table["contrast_5sigma"].tolist() == [1e-3, 2e-4]
    assert (folder / "methods.txt").is_file() and "@article{Soummer2012" in (folder / "methods.bib").read_text()
    with pytest.raises(OutputError, match=r"methods\.bib: already exists \(and 1 more\); use --overwrite"):
        invoke(run_folder, "--figures", folder)
    export.check_free(folder.iterdir(), overwrite=True)


def test_images_keep_their_coordinates():
    figure, _ = grid(1)
    header = {"CRVAL1": 184.5, "CTYPE1": "RA---TAN", "FILTER": "F1550C", "BSCALE": 2.0}
    layers = [
        Layer("combined image", np.ones((3, 4)), "MJy/sr", header, True),
        Layer("in pixels", np.ones((3, 4)), "log10 of µJy"),
    ]
    content = export._data_of(Picture("x", figure, "", "", layers))["x.fits"]
    with fits.HDUList.fromstring(content) as hdus:
        assert hdus[0].header["FILTER"] == "F1550C"
        assert hdus["COMBINED IMAGE"].header["CRVAL1"] == 184.5 and hdus["COMBINED IMAGE"].header["BUNIT"] == "MJy/sr"
        assert "CRVAL1" not in hdus["IN PIXELS"].header
        assert hdus["IN PIXELS"].header["BUNIT"] == "log10 of uJy"  # headers are ASCII


@pytest.mark.usefixtures("quick_report")
@pytest.mark.skipif(program("chromium") is None, reason="no Chromium: nothing prints the page")
def test_the_page_is_printed(run_folder):  # noqa: F811
    assert "PDF: " in invoke(run_folder, "--pdf").output
    pdf = run_folder / "report" / "report.pdf"
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 10_000
    with pytest.raises(OutputError, match=r"report\.pdf: already exists"):
        invoke(run_folder, "--pdf")


@pytest.fixture
def no_browser(monkeypatch):
    monkeypatch.setattr(export, "find_browser", lambda: None)


@pytest.mark.usefixtures("quick_report", "no_browser")
def test_without_a_browser_and_weasyprint_one_sentence_names_both(run_folder, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "weasyprint", None)  # importing it raises ImportError
    with pytest.raises(
        ReductionError, match=r'neither Chromium .* nor WeasyPrint .* pip install "lyot\[report\]", or print '
    ):
        export.write_pdf(run_folder)


@pytest.mark.usefixtures("quick_report", "no_browser")
def test_weasyprint_without_its_libraries_is_one_sentence(run_folder, monkeypatch, tmp_path):  # noqa: F811
    (tmp_path / "weasyprint.py").write_text("raise OSError('cannot load library\\nlibpango')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    with pytest.raises(
        ReductionError, match=r"not work on this system \(cannot load library libpango\); install Pango"
    ):
        export.write_pdf(run_folder)


@pytest.mark.usefixtures("quick_report", "no_browser")
def test_without_a_browser_weasyprint_prints_the_page(run_folder, monkeypatch):  # noqa: F811
    asked = []

    class HTML:
        def __init__(self, filename):
            asked.append(filename)

        def write_pdf(self):
            if len(asked) > 1:
                raise ValueError("too wide")
            return b"%PDF-1.7"

    monkeypatch.setitem(sys.modules, "weasyprint", SimpleNamespace(HTML=HTML))
    assert "PDF: " in invoke(run_folder, "--pdf").output
    assert (run_folder / "report" / "report.pdf").read_bytes() == b"%PDF-1.7"
    assert asked == [str(run_folder / "report" / "index.html")]
    with pytest.raises(ReductionError, match=r"index\.html: WeasyPrint could not print the page \(too wide\)"):
        export.write_pdf(run_folder, overwrite=True)


@pytest.mark.usefixtures("quick_report")
def test_a_published_curve_is_drawn_and_kept_with_the_run(run_folder, tmp_path):  # noqa: F811
    path = tmp_path / "them.csv"
    path.write_text(CURVE)
    invoke(run_folder, "--compare-contrast", path)
    page = (run_folder / "report" / "index.html").read_text()
    assert "Dotted: them, for comparison." in page
    assert config_of_run(run_folder).report.compare_contrast == (str(path),)
    before = (run_folder / "lyot.toml").read_text()
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="its columns are a, b"):
        invoke(run_folder, "--compare-contrast", path)
    assert (run_folder / "lyot.toml").read_text() == before


@pytest.mark.usefixtures("quick_report")
def test_a_published_curve_without_the_star_is_not_drawn_in_silence(run_folder, tmp_path, caplog):  # noqa: F811
    path = run_folder / "measure" / "contrast.ecsv"
    table = Table.read(path, format="ascii.ecsv")
    for name in [n for n in table.colnames if n.startswith("contrast")]:
        table[name] = np.nan
    table["flux_5sigma"] = np.full(len(table), 1e-4)
    table.write(path, format="ascii.ecsv", overwrite=True)
    curve = tmp_path / "them.csv"
    curve.write_text(CURVE)
    invoke(run_folder, "--compare-contrast", curve)
    said = "them: published contrasts are not shown, because the flux of the star"
    assert said in caplog.text and said in (run_folder / "report" / "index.html").read_text()


def test_a_wrong_curve_is_refused_while_planning_and_unused_backgrounds_are_said(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    plan = make_plan([data], tmp_path / "out", build_config({"run": {"stages": "3"}}))
    said = [note for note in plan.notes if "not used" in note]
    assert said and said[0].startswith(
        "2 background exposures are not used, because the exposures of their stars are already background-subtracted"
    )
    (tmp_path / "curve.csv").write_text("a,b\n1,2\n")
    config = build_config({"run": {"stages": "3"}, "report": {"compare_contrast": [str(tmp_path / "curve.csv")]}})
    with pytest.raises(InputError, match="its columns are a, b"):
        make_plan([data], tmp_path / "out", config)


def test_every_column_of_the_numbers_of_a_figure_is_described(finished):
    tables = {p.name: p.table for _, report in reports_of(finished) for p in report.pictures if p.table is not None}
    assert {"registration", "residual_noise", "flagged_fraction"} <= set(tables)
    for name, table in tables.items():
        assert [c for c in table.colnames if not table[c].description] == [], name
    assert str(tables["residual_noise"]["roll_1_scatter"].unit) == "MJy / sr"
