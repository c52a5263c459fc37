"""The report, made from a small run folder written by hand."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lyot import dq
from lyot.analysis.summary import read_fitted
from lyot.cli.results import companion_line
from lyot.errors import MissingInputError
from lyot.exposures.names import DETECTIONS, SNR_MAP
from lyot.records.manifest import Manifest, Record, product_of
from lyot.report import figures, sections, write_report
from lyot.report import page as page_module
from lyot.report.damage import damaged_products
from lyot.report.measured import MAPS, fitted_text
from lyot.report.products import read_product, view_of
from lyot.report.references import budget_rows, reference_rows
from lyot.report.tables import companions_table
from lyot.report.viewer import make_viewer
from tests.run.exposures import write_exposure

SCALE = 0.11


def sky_header(north_up=True):
    header = fits.Header()
    header["CRPIX1"], header["CRPIX2"] = 31.0, 29.0
    header["CDELT1"] = header["CDELT2"] = SCALE / 3600
    header["PC1_1"], header["PC2_2"] = -1.0, 1.0
    header["BUNIT"] = "MJy/sr"
    if not north_up:
        header["ROLL_REF"], header["V3I_YANG"] = 100.0, 4.8
    return header


def write(path, data, header, extra=(), dq_plane=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    primary = fits.PrimaryHDU()
    primary.header["TARGPROP"], primary.header["OBSERVTN"] = "HIP-65426 <b>", "008"
    hdus = [primary, fits.ImageHDU(np.asarray(data, np.float32), header, name="SCI")]
    if dq_plane is not None:
        hdus.append(fits.ImageHDU(dq_plane.astype(np.uint32), name="DQ"))
    fits.HDUList([*hdus, *extra]).writeto(path)


@pytest.fixture
def run_folder(tmp_path):
    rng = np.random.default_rng(1)
    cube = rng.normal(size=(3, 60, 60))
    modes = fits.BinTableHDU.from_columns([fits.Column("MODES", "J", array=[1, 4, 9])], name="KLMODES")
    write(tmp_path / "stage3" / "x_klcube.fits", cube, sky_header(), [modes])
    write(tmp_path / "stage3" / "x_i2d.fits", cube[2], sky_header())
    write(tmp_path / "stage3" / "jw1_a3001_psfsub.fits", cube, sky_header(north_up=False))
    write(tmp_path / "stage2" / "jw1_calints.fits", cube, sky_header(north_up=False))
    write(tmp_path / "stage1" / "jw1_rate.fits", cube[0], sky_header(north_up=False))
    write(tmp_path / "measure" / "snr_map.fits", cube[2], sky_header())
    table = QTable(
        {
            "separation": [0.82, 2.0] * u.arcsec,
            "position_angle": [149.4, 20.0] * u.deg,
            "snr": [7.3, 5.1],
        }
    )
    table.write(tmp_path / "measure" / "detections.ecsv", format="ascii.ecsv")
    companions = QTable(
        {
            "separation": [0.8176] * u.arcsec,
            "separation_err": [0.011] * u.arcsec,
            "position_angle": [149.4] * u.deg,
            "position_angle_err": [0.7] * u.deg,
            "contrast": [6.1e-4],
            "contrast_err": [4e-5],
            "flux": [np.nan] * u.Jy,
            "snr": [15.2],
        }
    )
    companions.write(tmp_path / "measure" / "companions.ecsv", format="ascii.ecsv")
    curve = QTable({"separation": [0.5, 1.0] * u.arcsec, "contrast_5sigma": [1e-3, 2e-4], "contrast_raw": [5e-4, 1e-4]})
    curve.write(tmp_path / "measure" / "contrast.ecsv", format="ascii.ecsv")
    strips = {"glow_sticks": [{"name": "left", "before": [1.04, 0.05], "after": [0.001, 0.05], "n_pixels": 9}]}
    (tmp_path / "stage2" / "jw1_background.json").write_text(json.dumps(strips))
    (tmp_path / "lyot.toml").write_text("[stage1.jump]\nrejection_threshold = 5\n")
    parameters = {"jump": {"rejection_threshold": 5.0, "note": "<script>alert(1)</script>"}}
    manifest = Manifest(tmp_path)
    for kind in ("stage1", "stage2", "stage3", "measure"):
        manifest.add(
            Record(
                f"{kind}/jw1", kind, "jw1", "key", [{"path": "/nowhere/jw1_uncal.fits", "checksum": "0"}], [],
                parameters, {"lyot": "0.1.0", "jwst": "3.0.0"}, "jwst_0001.pmap", "2026-01-01T00:00:00", 1.5, 300.0,
            )
        )  # fmt: skip
    return tmp_path


def test_report_holds_everything(run_folder):
    page = write_report(run_folder).read_text()
    assert 'Companion: separation 0.818 ± 0.011"' in page.replace("&#34;", '"')
    assert "position angle 149.40 ± 0.70 deg" in page
    for heading in (
        "Detections",
        "Images of the detections",
        "different numbers of modes",
        "Stage 1",
        "Stage 2",
        "Time and memory",
    ):
        assert heading in page
    assert "1, 4, 9 KL modes" in page
    assert "0.818 ± 0.011" in page and "149.40 ± 0.70" in page and "(6.10 ± 0.40)e-04" in page
    assert "Contrast as a function of separation" in page
    assert "1.040 ± 0.050" in page and "0.001 ± 0.050" in page
    assert "rejection_threshold" in page and "jwst_0001.pmap" in page


def test_all_sources_are_shown_and_what_is_none_is_named(run_folder):
    path = run_folder / "measure" / "detections.ecsv"
    n = 6
    table = QTable(
        {
            "separation": np.linspace(0.8, 2.4, n) * u.arcsec,
            "position_angle": np.linspace(10, 310, n) * u.deg,
            "snr": np.linspace(12.0, 6.0, n),
            "significance": np.linspace(8.0, 5.0, n),
            "false_alarm": np.full(n, 1e-5),
            "signal": [10.0, 20.0, 90.0, 5.0, 4.0, 300.0],
            "status": ["source"] * 5 + ["rejected"],
            "reason": [""] * 5 + ["sharper than a point source"],
        }
    )
    table.write(path, format="ascii.ecsv", overwrite=True)
    (run_folder / "measure" / "companions.ecsv").unlink()  # not fitted: the headline is a detection
    page = write_report(run_folder).read_text().replace("&#34;", '"')
    assert 'Brightest source: separation 1.440"' in page  # that of the largest signal, not of the highest S/N
    assert "5 sources above the threshold" in page
    assert "Rejected peaks" in page and "sharper than a point source" in page
    figure = Figure()
    ax = figure.subplots()
    sections.mark_sources(ax, page_module.read_sources(run_folder), 0.2)
    assert [t.get_text() for t in ax.texts] == ["1", "2", "3", "4", "5"]


def test_report_is_self_contained_and_escapes_what_files_say(run_folder):
    page = re.sub(r"<script.*?</script>", "", write_report(run_folder).read_text(), flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|data:text/plain|#)[^"]*"', page)
    assert "alert(1)" in page and "<script>" not in page  # a parameter that says so
    assert "HIP-65426 <b>" not in page


@pytest.mark.parametrize("searched", [False, True])
def test_what_is_drawn_before_the_measurements_is_what_would_be_drawn_after(run_folder, monkeypatch, searched):
    monkeypatch.setattr(page_module, "make_viewer", lambda *_: None)
    measured, away = run_folder / "measure", run_folder / "away"
    away.mkdir()
    late = [path for path in measured.iterdir() if not searched or path.name not in (DETECTIONS, SNR_MAP)]
    assert late
    for path in late:
        path.rename(away / path.name)
    early = page_module.early_sections(run_folder, searched=searched)
    for path in away.iterdir():
        path.rename(measured / path.name)
    steps, marked = {"Stage 1", "Stage 2", "Usable data"}, {"Stage 3", "KL modes", "Images of the detections"}
    assert set(early) == marked if searched else steps <= set(early) and not marked & set(early)
    drawn = [picture for section in early.values() if section is not None for picture in section.pictures]
    assert drawn and all("png" in picture.__dict__ for picture in drawn)
    report, other = page_module.make_report(run_folder, early), page_module.make_report(run_folder)
    said = [[(s.title, s.text, s.tables) for s in (*r.results, *r.steps)] for r in (report, other)]
    assert said[0] == said[1]
    shown = [{p.name: (p.caption, p.png) for p in r.pictures} for r in (report, other)]
    assert shown[0] == shown[1] and all(picture.name in shown[0] for picture in drawn)


def test_no_figure_is_drawn_early_that_is_not_wanted_any_more(run_folder):
    asked = iter([True, False])
    early = page_module.early_sections(run_folder, lambda: next(asked))
    drawn = [p for s in early.values() if s is not None for p in s.pictures if "png" in p.__dict__]
    assert len(drawn) <= 1 and next(asked, None) is None


def test_a_broken_product_is_not_drawn_early_and_the_report_says_so(run_folder):
    (path,) = (run_folder / "stage1").glob("*_rate.fits")
    path.write_bytes(path.read_bytes()[:2000])
    early = page_module.early_sections(run_folder)
    assert "Stage 1" not in early and "Stage 2" in early
    flags = page_module.make_report(run_folder, early).flags
    assert any(flag.text.startswith("Stage 1 could not be shown") for flag in flags)


@pytest.mark.usefixtures("quick_report")
def test_report_is_overwritten_not_half_written(run_folder):
    first = write_report(run_folder)
    again = write_report(run_folder)
    assert first == again
    assert [p.name for p in first.parent.iterdir()] == ["index.html"]


@pytest.mark.usefixtures("quick_report")
def test_reference_star_and_error_budget(run_folder):
    planes = np.zeros(
        4, [("PLANE", "i4"), ("EXPOSURE", "i4"), ("FILENAME", "S30"), ("DX", "f8"), ("DY", "f8"), ("SCALE", "f8"),
            ("E_DX", "f8"), ("E_DY", "f8"), ("E_SCALE", "f8"), ("APPLIED", "?")],
    )  # fmt: skip
    planes["E_DX"] = 0.0123  # used where there is no scatter
    planes["EXPOSURE"] = [0, 0, 1, 1]
    planes["FILENAME"] = [b"jw7_1_calints.fits"] * 2 + [b"jw7_2_calints.fits"] * 2
    planes["DX"], planes["SCALE"] = [0.1, 0.3, -0.5, np.nan], 4.0
    ranks = np.zeros(4, [("EXPOSURE", "i4"), ("SIMILAR", "f8"), ("KEPT", "?"), ("WORTH", "f8")])
    ranks["SIMILAR"], ranks["KEPT"], ranks["WORTH"] = [0.6, 0.8, 0.7, 0.7], [1, 1, 1, 0], [0.02, 0.02, -0.01, -0.01]
    cube = np.zeros((4, 8, 8))
    write(
        run_folder / "stage3" / "jw1_a3001_psfalign.fits", cube, sky_header(), [fits.BinTableHDU(planes, name="REFS")]
    )
    with fits.open(run_folder / "stage3" / "jw1_a3001_psfsub.fits", mode="append") as hdus:
        hdus.append(fits.BinTableHDU(ranks, name="REFRANK"))
    assert reference_rows(run_folder) == [
        ("jw7_1", "2 of 2", "0.20 ± 0.14", "0", "4.00", "no", "0.70 ± 0.14", "2.00"),
        ("jw7_2", "1 of 2", "-0.500 ± 0.012", "0", "4.00", "no", "0.700", "-1.00"),
    ]
    budget = QTable({"companion": [1, 1, 1], "term": ["statistical", "star flux", "total"], "flux": [0.035, 0.0, 0.055],
                     "contrast": [0.035, 0.01, np.nan], "separation": [0.01, 0.0, 0.0131] * u.arcsec,
                     "position_angle": [0.7, 0.0, 0.9] * u.deg})  # fmt: skip
    budget.write(run_folder / "measure" / "error_budget.ecsv", format="ascii.ecsv")
    columns, rows = budget_rows(run_folder)
    assert columns[2:4] == ("flux [%]", "contrast [%]") and rows[2] == ("1", "total", "5.5", "", "0.013", "0.90")
    path = run_folder / "measure" / "companions.ecsv"
    companions = QTable.read(path)
    companions["contrast"] = np.nan  # the flux of the star is unknown
    companions.write(path, overwrite=True)
    columns, rows = budget_rows(run_folder)
    assert "contrast [%]" not in columns and rows == [
        ("1", "statistical", "3.5", "0.010", "0.70"), ("1", "total", "5.5", "0.013", "0.90")
    ]  # fmt: skip
    page = write_report(run_folder).read_text()
    assert "contrast [%]" not in page
    for text in ("Reference star", "jw7_2", "Error budget", "statistical", "0.013"):
        assert text in page


@pytest.mark.usefixtures("quick_report")
def test_exposures_fetched_into_the_folder_of_the_run_are_shown(run_folder):
    raw = write_exposure(run_folder / "uncal" / "jw01386008001_04101_00001_mirimage_uncal.fits")
    product = write_exposure(run_folder / "stage2" / "jw01386009001_04101_00001_mirimage_calints.fits", "calints")
    manifest = Manifest(run_folder)
    last = manifest.records[-1]
    spectrum = run_folder / "sed.fits"
    fits.PrimaryHDU().writeto(spectrum)
    inputs = [(raw, "0"), (spectrum, "1"), (product, "")]  # what the run made itself has no checksum there
    manifest.add(replace(last, inputs=[{"path": str(path), "checksum": digest} for path, digest in inputs]))
    (table,) = re.findall(r'id="exposures">.*?</table>', write_report(run_folder).read_text(), flags=re.DOTALL)
    assert "jw01386008001" in table and "jw01386009001" not in table


def test_report_without_detection(run_folder):
    (run_folder / "measure" / "detections.ecsv").unlink()
    assert "This run has no measurements" in write_report(run_folder).read_text()


def test_report_of_a_folder_without_run(tmp_path):
    with pytest.raises(MissingInputError, match=r"manifest\.jsonl"):
        write_report(tmp_path)


def test_product_reads_orientation_and_flags(tmp_path):
    data = np.ones((2, 10, 12))
    data[1] = 3.0
    flags = np.zeros((2, 10, 12), np.uint32)
    flags[1, 4, 5] = dq.DO_NOT_USE
    flags[:, 0, 0] = dq.DO_NOT_USE
    flags[:, 2, 2] = dq.JUMP_DET
    write(tmp_path / "a_psfsub.fits", data, sky_header(north_up=False), dq_plane=flags)
    product = read_product(tmp_path / "a_psfsub.fits")
    assert product.image[4, 5] == 1.0
    assert np.isnan(product.image[0, 0])
    assert product.image[2, 2] == 2.0
    assert product.view.center == (30.0, 28.0)
    assert product.view.pa_y == pytest.approx(104.8)
    assert product.view.pixel_scale == pytest.approx((SCALE, SCALE))


def test_view_from_cd_matrix():
    h = {"CD1_1": -1.0684508e-05, "CD1_2": 2.8785487e-05, "CD2_1": 2.8698684e-05, "CD2_2": 1.0777406e-05}
    # of the real MIRI file: 0.1102 and 0.1107 arcsec
    assert view_of(h, (10, 10), north_up=False).pixel_scale == pytest.approx((0.11025, 0.11065), abs=5e-5)


def test_compass_points_north_and_east():
    ax = Figure().subplots()
    view = figures.View((5.0, 5.0), (1.0, 1.0), 0.0)
    figures.draw_image(ax, np.zeros((11, 11)), view=view)
    where = {t.get_text(): t.get_position() for t in ax.texts}
    assert where["N"][1] > where["E"][1] and where["E"][0] < where["N"][0]


@pytest.mark.parametrize(
    ("width", "limits"), [(1.0, (-5.0, 3000.0)), (1.0, (-300.0, 300.0)), (100.0, (-3.0, 4.0)), (1e-3, (5.0, 9.0))]
)
def test_labels_of_a_stretched_color_bar_do_not_overlap(width, limits):
    figure = Figure(figsize=(2.7, 2.4))  # the smallest panel that we draw
    FigureCanvasAgg(figure)
    drawn = figures.draw_image(figure.subplots(), np.zeros((11, 11)), asinh=width, limits=limits)
    figure.canvas.draw()
    labels = [t for t in drawn.colorbar.ax.get_yticklabels() if t.get_text()]
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
    assert len(boxes) >= 2
    assert all(above.y0 > below.y1 for below, above in itertools.pairwise(boxes))
    ticks = figures.asinh_ticks(drawn.norm)
    assert all(limits[0] <= t <= limits[1] for t in ticks)
    if limits[0] == -limits[1]:
        assert ticks == [-t for t in reversed(ticks)] and 0.0 in ticks


def test_mark_source_goes_to_the_position_angle():
    ax = Figure().subplots()
    figures.mark_source(ax, 2.0, 90.0, label="b")
    x, y = ax.lines[0].get_data()
    assert np.mean(x[:-1]) == pytest.approx(-2.0, abs=1e-6) and np.mean(y[:-1]) == pytest.approx(0.0, abs=1e-6)
    assert ax.texts[0].get_position()[0] < x.min() and ax.texts[0].get_ha() == "right"  # away from the star


def test_other_figures_draw():
    figure = Figure()
    axes = figure.subplots(3)
    flags = np.zeros((5, 5), int)
    flags[1, 1] = dq.JUMP_DET
    figures.draw_dq(axes[0], flags, ["JUMP_DET", "SATURATED"])
    assert "JUMP_DET (1)" in [t.get_text() for t in axes[0].get_legend().get_texts()]
    figures.draw_ramp(axes[1], np.arange(5.0), 0.24, groupdq=np.array([0, 0, dq.JUMP_DET, 0, 0]))
    figures.draw_contrast(axes[2], {"5 sigma": ([0.5, 1.0], [1e-3, 1e-4])}, companions=[(0.82, 6e-4, "b")])
    assert all(ax.has_data() for ax in axes)


def test_limits_of_blank_images():
    assert figures.color_limits(np.full((3, 3), np.nan)) == (0.0, 1.0)
    assert figures.symmetric_limits(np.zeros((3, 3))) == (-1.0, 1.0)


@pytest.mark.parametrize(("separation", "half_width"), [(2.0, 6.0), (7.1, 1.15 * 7.1)])
def test_maps_are_drawn_wide_enough_for_every_source(run_folder, separation, half_width):
    """The planet of HD 106906 at 7.1 arcsec lay outside of the picture."""
    from lyot.report.measured import maps_section

    table = QTable({"separation": [separation] * u.arcsec, "position_angle": [307.4] * u.deg, "snr": [39.7]})
    table.write(run_folder / "measure" / "detections.ecsv", format="ascii.ecsv", overwrite=True)
    header, n = sky_header(), 200
    header["CRPIX1"] = header["CRPIX2"] = n / 2
    layer = fits.ImageHDU(np.ones((n, n), np.float32), header, name="SCI")
    fits.HDUList([fits.PrimaryHDU(), layer]).writeto(run_folder / "measure" / "matched_filter.fits")
    axes = maps_section(run_folder).pictures[0].figure.axes[0]
    assert np.abs(axes.get_xlim()) == pytest.approx([half_width, half_width])


@pytest.mark.usefixtures("quick_report")
def test_maps_are_shown_where_they_are(run_folder):
    from lyot.report.measured import maps_section

    assert maps_section(run_folder) is None
    rng = np.random.default_rng(2)
    path = run_folder / "measure" / "matched_filter.fits"
    header = sky_header()
    header["CFLUX"] = 2e-5
    layers = [fits.ImageHDU(np.abs(rng.normal(size=(60, 60))).astype(np.float32), header, name=n)
              for n in ("SCI", "LIMIT", "COMPLETE")]  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), *layers]).writeto(path)
    section = maps_section(run_folder)
    assert "20.0 µJy" in section.text
    assert "completeness" in section.pictures[0].alt and "STIM" not in section.pictures[0].alt
    assert 'id="maps"' in write_report(run_folder).read_text()


@pytest.mark.usefixtures("quick_report")
def test_measurements_of_an_earlier_reduction_are_not_shown(run_folder):
    for name in ("contrast.ecsv", "companions.ecsv"):
        path = run_folder / "measure" / name
        table = QTable.read(path, format="ascii.ecsv")
        table.meta["reduction"] = "another" if name == "contrast.ecsv" else "key"
        table.write(path, format="ascii.ecsv", overwrite=True)
    page = write_report(run_folder).read_text()
    assert "Contrast as a function of separation" not in page
    assert "earlier reduction" in page and "contrast.ecsv" in page
    assert "0.818 ± 0.011" in page  # of the reduction that is there


def test_the_second_pass_shown_is_that_of_the_image(run_folder):
    """A folder may hold reductions in several filters, and not all found a source."""
    from lyot.report.sections import detection_map

    table = np.array([(0.8, 5.2, 11)], dtype=[("SEPARATION", "f8"), ("SNR", "f8"), ("PLACES", "i4")])
    protected = [fits.BinTableHDU(table, name="PROTECTED")]
    write(run_folder / "stage3" / "another_refined.fits", np.zeros((60, 60)), sky_header(), protected)
    section = detection_map(run_folder, None)
    assert section is not None and "second pass" not in section.text
    write(run_folder / "stage3" / "x_refined.fits", np.zeros((60, 60)), sky_header(), protected)
    section = detection_map(run_folder, None)
    assert (
        section is not None
        and '5.2 sigma at separation 0.800", relative to 11 control positions masked in the same way' in section.text
    )


@pytest.mark.usefixtures("quick_report")
def test_a_measurement_that_failed_is_a_warning_until_it_is_made(run_folder):
    failed = Record(
        "measure/contrast", "measure", "contrast", "key", [], [], {}, {}, "", "2026-01-01T00:00:00", 0.0, 0.0,
        failure="no detection limit could be measured.",
    )  # fmt: skip
    Manifest(run_folder).add(failed)
    assert "no detection limit could be measured." not in write_report(run_folder).read_text()  # made by its command
    (run_folder / "measure" / "contrast.ecsv").unlink()
    assert "no detection limit could be measured." in write_report(run_folder).read_text()


def record_product(out, path):
    """Put a product into the manifest, as the run that wrote it did."""
    products = [product_of(path, out)]
    record = Record("stage3/y", "stage3", "y", "key", [], products, {}, {}, "", "2026-01-01T00:00:00", 1.0, 1.0)
    Manifest(out).add(record)


@pytest.mark.usefixtures("quick_report")
def test_a_broken_product_costs_its_part_only(run_folder):
    path = run_folder / "stage3" / "x_i2d.fits"
    record_product(run_folder, path)
    path.write_bytes(path.read_bytes()[:9000])
    page = write_report(run_folder).read_text()
    said = "The interactive image could not be shown, because a file is damaged: stage3/x_i2d.fits is truncated (9000 "
    assert said in page and "Run lyot run again with the same output folder" in page
    assert "buffer" not in page.partition("<main")[0]
    assert "Companions" in page and "Contrast as a function of separation" in page


@pytest.mark.usefixtures("quick_report")
def test_damage_is_named_by_file_in_words(run_folder):
    first, path = "stage3/x_klcube.fits", run_folder / "stage3" / "x_klcube.fits"
    record_product(run_folder, path)
    assert damaged_products(run_folder) == []
    content = path.read_bytes()
    path.write_bytes(content[:2880] + b"\0" * (len(content) - 2880))  # of the right size, with lost blocks
    assert damaged_products(run_folder) == [f"{first} has damaged content"]
    path.write_bytes(content + b"more")
    assert damaged_products(run_folder)[0].startswith(f"{first} was changed after the run (")
    path.unlink()
    assert damaged_products(run_folder) == [f"{first} is missing"]


def test_a_defect_of_ours_is_not_called_a_damaged_file(run_folder):
    guard = page_module._Guard(run_folder)

    def broken():
        raise KeyError("SCI")

    assert guard("Stage 1", broken, otherwise=3) == 3
    (flag,) = guard.flags
    assert flag.text == "Stage 1 could not be shown, although all products are complete (KeyError: 'SCI')."
    assert "report it" in flag.meaning


def test_the_readout_is_below_the_image_and_figures_of_one_row_are_low_in_print(run_folder):
    page = write_report(run_folder).read_text()
    left = page.partition('id="viewer-image"')[2].partition('id="viewer-controls"')[0]
    assert 'id="viewer-canvas"' in left and 'id="viewer-readout"' in left
    assert '<figure class="low">' in page and ".low img { max-height" in page.partition("@media print")[2]


def test_a_run_that_ended_after_stage_1(tmp_path):
    write(tmp_path / "stage1" / "jw1_rate.fits", np.ones((20, 24)), sky_header(north_up=False))
    Manifest(tmp_path).add(
        Record("stage1/jw1", "stage1", "jw1", "key", [], [], {}, {}, "jwst_0001.pmap", "2026-01-01T00:00:00", 1.5, 9.0)
    )
    page = write_report(tmp_path).read_text()
    assert "This run has no measurements." in page and "1 exposure." in page and "1 task, 2 s of computing time" in page
    assert "could not be shown" not in page and 'id="viewer"' not in page


def test_separations_without_a_limit_are_said():
    from lyot.analysis.summary import Limit
    from lyot.report.measured import limits_text

    limits = (Limit(0.5, np.nan, np.nan), Limit(1.0, 2e-5, np.nan))
    assert limits_text(limits, 5.0) == 'Limits at 5 sigma: 20.0 µJy at 1"; not measurable at 0.5".'
    assert limits_text(limits[:1], 5.0) == ""


@pytest.mark.parametrize(
    ("main", "titles", "words"),
    [
        (1, ["1 KL mode, as used", "9 KL modes", "maximum minus minimum"],
         "minimum number of KL modes (the number of the main product), maximum number, and their difference."),
        (4, ["1 KL mode", "4 KL modes, as used", "9 KL modes", "maximum minus minimum"],
         "minimum number of KL modes, the number of the main product, maximum number, and the difference"),
        (9, ["1 KL mode", "9 KL modes, as used", "maximum minus minimum"],
         "minimum number of KL modes, maximum number (the number of the main product), and their difference."),
    ],
)  # fmt: skip
def test_the_caption_of_the_truncations_names_the_panels_that_are_there(run_folder, main, titles, words):
    fits.setval(run_folder / "stage3" / "x_klcube.fits", "KLMODES", value=main, ext=1)
    (picture,) = sections.stage3_truncations(run_folder, None).pictures
    assert [layer.title for layer in picture.layers] == titles
    assert words in picture.caption


def test_a_single_truncation_has_no_difference(run_folder):
    path = run_folder / "stage3" / "x_klcube.fits"
    path.unlink()
    modes = fits.BinTableHDU.from_columns([fits.Column("MODES", "J", array=[1])], name="KLMODES")
    write(path, np.ones((1, 60, 60)), sky_header(), [modes])
    (picture,) = sections.stage3_truncations(run_folder, None).pictures
    assert [layer.title for layer in picture.layers] == ["1 KL mode, as used"]
    assert picture.caption.endswith("combined. The cube contains 1 KL mode.")


def test_fluxes_and_errors_are_written_in_one_way(run_folder):
    path = run_folder / "measure" / "companions.ecsv"
    table = QTable(
        {
            "separation": [7.1081384, 1.2] * u.arcsec, "separation_err": [0.010353709, np.nan] * u.arcsec,
            "position_angle": [307.43364, 10.0] * u.deg, "position_angle_err": [0.08620454, 0.5] * u.deg,
            "contrast": [np.nan, 2e-3], "flux": [9.6937685e-5, 1.524e-3] * u.Jy,
            "flux_err": [8.5438117e-6, 3.1e-5] * u.Jy, "snr": [56.082, 40.0], "magnitude": [13.714196, 10.7],
            "magnitude_err": [0.0956937, 0.2], "mass": [10.98, 3.2], "mass_err": [1.23, 0.1],
        }
    )  # fmt: skip
    table.write(path, overwrite=True)
    rows = companions_table(run_folder).rows
    assert [cell.text for cell in rows[0]] == [
        "C1", "7.108 ± 0.010", "307.434 ± 0.086", "", "96.9 ± 8.5 µJy", "13.714 ± 0.096", "56.1", "11.0 ± 1.2"
    ]  # fmt: skip
    assert [cell.text for cell in rows[1]][4:6] == ["1.524 ± 0.031 mJy", "10.70 ± 0.20"]
    brightest = fitted_text(read_fitted(run_folder / "measure")[1])
    assert "flux 1.524 ± 0.031 mJy" in brightest  # as in the table
    assert "flux 1.524 +- 0.031 mJy" in companion_line(read_fitted(run_folder / "measure")[1])  # as in the terminal
    assert not [layer.label for layer in MAPS if "uJy" in layer.label]


@pytest.mark.usefixtures("quick_report")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("contrast.ecsv", "", "is not a readable table"),
        ("contrast.ecsv", "# %ECSV 1.0\n# ---\n# datatype:\n# - {na", "is not a readable table"),
        ("contrast.ecsv", None, "has no rows"),
        ("detections.ecsv", "", "is not a readable table"),
        ("error_budget.ecsv", "nothing", "is not a readable table"),
    ],
)
def test_a_damaged_table_takes_nothing_else_away(run_folder, name, content, words):
    path = run_folder / "measure" / name
    if content is None:
        QTable.read(path)[:0].write(path, overwrite=True)
    else:
        path.write_text(content)
    (run_folder / "notes.json").write_text('["a remark about the input"]')
    report = page_module.make_report(run_folder)
    assert report.headline.startswith('Companion: separation 0.818 ± 0.011"')
    assert report.methods is not None and "Position and flux of each companion" in report.methods.text
    (flag,) = [flag for flag in report.flags if str(path) in flag.text]
    assert words in flag.text and ".." not in flag.text
    assert not [flag for flag in report.flags if "could not be shown" in flag.text]
    assert "Companions" in [section.title for section in report.results]
    assert any("a remark about the input" in flag.text for flag in report.flags)


def test_what_a_page_refers_to_is_there(run_folder):
    page = re.sub(r"<script.*?</script>", "", write_report(run_folder).read_text(), flags=re.DOTALL)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for attribute in ("aria-labelledby", "aria-describedby", "for"):
        assert set(re.findall(rf'\s{attribute}="([^"]+)"', page)) <= set(ids)
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    known = {"label", "labelledby", "live", "pressed", "hidden", "describedby"}
    assert set(re.findall(r"\saria-(\w+)=", page)) <= known  # a misspelled attribute has no effect
    assert 'aria-labelledby="flags"' in page


def test_the_viewer_shows_the_planet_that_was_injected_at_the_limit(run_folder):
    def made():
        viewer = make_viewer(run_folder, None, 3.0)
        return viewer, page_module.render_page(replace(page_module.make_report(run_folder), viewer=viewer))

    viewer, page = made()
    assert not viewer.injected and "Injected planet" not in page and 'data-mark="compass"' in page
    assert all(name in viewer.body for name in ("ScaleBar", "OpenHead", '"N"', '"E"'))
    header = sky_header()
    header["INJSEP"], header["INJPA"], header["INJFLUX"], header["INJSIGMA"] = 1.0, 200.0, 1.86e-4, 5.0
    primary = fits.PrimaryHDU()
    image = fits.ImageHDU(np.ones((60, 60), np.float32), header, name="INJECTED")
    fits.HDUList([primary, image]).writeto(run_folder / "measure" / "contrast_map.fits")
    viewer, page = made()
    assert [title for _, title in viewer.groups["Injected planet"]] == ["planet at the limit"]
    assert "186 µJy, the 5-sigma limit, at separation 1.00″, PA 200°" in page
    primary.header["REDUCTN"] = "another"  # of an earlier reduction
    fits.HDUList([primary, image]).writeto(run_folder / "measure" / "contrast_map.fits", overwrite=True)
    assert not made()[0].injected
