"""The commands that measure a finished run, with the values they print, write, and put into the report."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from lyot.cli import build_app
from lyot.cli.run import reduce_and_report
from lyot.errors import ConfigError, InputError, MissingInputError
from lyot.records.manifest import Manifest
from lyot.report import write_report
from lyot.report.marks import read_sources, read_table
from lyot.report.measured import contrast_section, disk_section, maps_section, outdated_section
from lyot.report.sections import detection_map, stage3_subtraction
from lyot.run.config import build_config, config_of_run
from lyot.written import flux_text, with_error
from tests.cli.test_commands import called
from tests.finished import PLANET, RUN, SETTINGS

SEPARATION, ANGLE, FLUX = PLANET


def invoke(command: str, *arguments: object) -> str:
    """Output of a command; errors are raised as they are."""
    result = CliRunner().invoke(build_app(only=command), [command, *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def page_of(out) -> str:
    return (out / "report" / "index.html").read_text()


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.S)


def companion_line(text: str) -> dict[str, tuple[float, float]]:
    """Values and errors of the first companion that is printed."""
    number = r"(-?[\d.]+(?:e-?\d+)?) \+- ([\d.]+(?:e-?\d+)?)"
    names = {"separation": f'separation {number}"', "position_angle": f"PA {number} deg", "flux": f"flux {number} uJy"}
    found = {}
    for name, pattern in names.items():
        match = re.search(pattern, text)
        assert match, text
        found[name] = (float(match[1]), float(match[2]))
    return found


def test_companion(finished):
    text = invoke("companion", finished, "--no-posterior", "--star-flux", "0.1", "--error-north", "0.1")
    found = companion_line(text)
    for name, truth in (("separation", SEPARATION), ("position_angle", ANGLE), ("flux", 1e6 * FLUX)):
        value, error = found[name]
        assert abs(value - truth) < 3 * error, name  # total errors, one sigma
    table = Table.read(finished / "measure" / "companions.ecsv", format="ascii.ecsv")
    assert "contrast (" in text and "star center" in text
    # the options given last are those of the parameters: 0.1 deg of the orientation of the detector
    budget = Table.read(finished / "measure" / "error_budget.ecsv", format="ascii.ecsv")
    assert budget["position_angle"][list(budget["term"]).index("north")] == 0.1
    page = page_of(finished)
    assert "Error budget" in page and "Companions" in page
    for name in ("separation", "position_angle"):
        value = with_error(table[name][0], table[f"{name}_err"][0])
        assert page.count(value) >= 2 and value.replace("±", "+-") in text  # table, headline and terminal alike


@pytest.mark.usefixtures("quick_report")
def test_companion_at_a_given_place_that_is_empty(finished):
    text = invoke("companion", finished, "--no-posterior", "--guess", "2.5,20")
    assert "contrasts are unknown because the flux of the star was not given" in text
    assert "contrast  nan" not in text and "star flux  " not in text  # no budget of what is unknown
    row = Table.read(finished / "measure" / "companions.ecsv", format="ascii.ecsv")[0]
    assert row["separation"] == pytest.approx(2.5, abs=0.4)  # it may move by a resolution element to a peak of noise
    assert ("not detected, flux below" in text) == (row["flux_upper_limit"] > 0)


@pytest.mark.usefixtures("quick_report")
def test_contrast(finished):
    text = invoke("contrast", finished, "--star-flux", "0.1", "--distance", "40", "--separations", "3",
                  "--angles", "4", "--outer", "3")  # fmt: skip
    table = Table.read(finished / "measure" / "contrast.ecsv", format="ascii.ecsv")
    assert len(table) == 3 and table["separation_au"][-1] == pytest.approx(40 * 3.0, rel=1e-6)
    np.testing.assert_allclose(table["contrast_5sigma"], table["flux_5sigma"] / 0.1)
    for row in table:
        flux = flux_text(row["flux_5sigma"]).replace("µ", "u")
        assert re.search(rf"{row['separation']:.3f} +{flux} +{row['contrast_5sigma']:.1e}", text), text
    # the planet was detected, so it is subtracted first and is no noise of its ring
    assert table.meta["known_sources"] == 1 and table["flux_5sigma"][1] < FLUX
    assert "Contrast as a function of separation" in page_of(finished) and "Contrast" in headings(page_of(finished))


@pytest.mark.usefixtures("quick_report")
def test_contrast_without_the_star_says_what_to_give(finished):
    text = invoke("contrast", finished, "--separations", "2", "--angles", "2", "--outer", "2.5")
    assert "give --star-flux" in text and text.count("  -\n") == 2 and "nan" not in text
    assert np.isfinite(Table.read(finished / "measure" / "contrast.ecsv", format="ascii.ecsv")["flux_5sigma"]).all()
    section = contrast_section(finished)
    assert section is not None and section.pictures  # the flux is drawn instead


@pytest.mark.usefixtures("quick_report")
def test_detect_with_maps_and_completeness(finished):
    text = invoke("detect", finished, "--maps", "--completeness", "5e-5", "--map-outer-radius", "3")
    row = read_sources(finished)[0]
    assert f'separation {row["separation"].value:.3f}", PA {row["position_angle"].value:.2f} deg' in text
    assert row["separation"].value == pytest.approx(SEPARATION, abs=0.03)  # a quarter of a pixel
    with fits.open(finished / "measure" / "matched_filter.fits") as hdus:
        assert hdus["COMPLETE"].header["CFLUX"] == 5e-5
        complete = hdus["COMPLETE"].data
        assert 0 <= np.nanmin(complete) < np.nanmax(complete) <= 1
    section = maps_section(finished)
    assert (
        "50.0 µJy" in section.text and "STIM" in section.pictures[0].alt and "completeness" in section.pictures[0].alt
    )
    assert "50.0 µJy" in page_of(finished) and "Maps" in headings(page_of(finished))


@pytest.mark.usefixtures("quick_report")
def test_detect_says_when_nothing_is_there(finished):
    text = invoke("detect", finished, "--threshold", "10000")
    assert "no source above the threshold" in text
    assert "No source detected above the threshold" in page_of(finished)


@pytest.mark.usefixtures("quick_report")
def test_a_warning_is_one_line(finished):
    shown = called("detect", finished, "--max-sources", "1", "--all-truncations")
    assert shown.returncode == 0, shown.stderr
    first, second = shown.stderr.splitlines()
    assert first == "Warning: the search ends at 1 sources (max_sources); there may be more"
    assert second.startswith("Warning: no source was compared between rolls, because all truncations were searched")


@pytest.mark.usefixtures("quick_report")
def test_detect_in_all_truncations(finished):
    text = invoke("detect", finished, "--all-truncations")
    assert re.search(r"separation 1\.[56]\d+", text)  # 1.6 arcsec


def write_ring(path, *, scale: float | None = 0.11) -> float:
    """A model of a disk; returns its flux in Jy."""
    y, x = np.indices((61, 61)) - 30.0
    ring = np.exp(-0.5 * ((np.hypot(x, y / 0.6) - 16) / 2.0) ** 2)
    ring[ring < 1e-4 * ring.max()] = 0.0  # the image of a source is made wherever there is light
    ring *= 1e-3 / ring.sum()
    hdu = fits.PrimaryHDU(ring)
    if scale is not None:
        hdu.header["PIXELSCL"] = scale
    hdu.writeto(path)
    return float(ring.sum())


@pytest.mark.usefixtures("quick_report")
def test_disk(finished, tmp_path):
    flux = write_ring(tmp_path / "ring.fits")
    text = invoke("disk", finished, tmp_path / "ring.fits", "--pa", "40", "--outer", "3")
    row = Table.read(finished / "measure" / "disk.ecsv", format="ascii.ecsv")[0]
    assert row["flux"] == pytest.approx(row["scale"] * flux, rel=1e-6)
    # there is no disk of 1 mJy; a planet of 0.1 mJy in the ring is a tenth of it at most
    assert abs(row["scale"]) < 0.3
    assert f"scale {with_error(row['scale'], row['scale_err']).replace('±', '+-')}" in text
    section = disk_section(finished)
    assert f"{with_error(row['scale'], row['scale_err'])}" in section.text
    assert "Disk" in headings(page_of(finished))


@pytest.mark.usefixtures("quick_report")
def test_disk_with_a_ring_and_two_models(finished, tmp_path):
    """There is no disk: the planet is what the ring finds, and the models are compared all the same."""
    for name in ("one.fits", "two.fits"):
        write_ring(tmp_path / name)
    text = invoke("disk", finished, tmp_path / "one.fits", tmp_path / "two.fits", "--ring", "--radius", "1.6",
                  "--inclination", "20", "--fit", "radius", "--inner", "1", "--outer", "2.6",
                  "--no-search")  # fmt: skip
    assert re.search(r"disk (one|two|ring)\S*: .*, best", text) and re.search(
        r"  radius [\d.]+ \+- [\d.]+ arcsec", text
    )
    table = Table.read(finished / "measure" / "disk.ecsv", format="ascii.ecsv")
    assert list(table["model"]) == ["one.fits", "two.fits", "ring"]
    assert table["chi2"][0] == pytest.approx(table["chi2"][1]) and len(set(table["pixels"])) == 1
    ring = {r["parameter"]: r for r in Table.read(finished / "measure" / "disk_ring.ecsv", format="ascii.ecsv")}
    assert ring["flux"]["status"] == "fitted" and ring["inclination"]["value"] == "20"
    section = disk_section(finished)
    assert "Best: " in section.text and "Ring: radius" in section.text and "reduced chi2" in section.text
    assert "Disk" in headings(page_of(finished))
    again = invoke("disk", finished, tmp_path / "one.fits", "--outer", "2.6")
    assert "best:" not in again and "Ring:" not in disk_section(finished).text


def test_nothing_to_fit(finished_once):
    with pytest.raises(InputError, match="--ring"):
        invoke("disk", finished_once)


def write_models(path) -> None:
    """Absolute magnitudes that fade with age and brighten with mass; at 40 pc the run's planet has 5 Jupiter masses."""
    magnitude = -2.5 * np.log10(FLUX / 15.96) - 5 * np.log10(4.0)  # F1550C
    lines = [
        f"{age} {mass} {magnitude + 2.5 * np.log10(age / 10) - 5 * np.log10(mass / 5)}"
        for age in (5, 10, 20, 40)
        for mass in (0.01, 0.1, 1, 10, 100)
    ]
    path.write_text("\n".join(lines))


@pytest.mark.usefixtures("quick_report")
def test_masses_of_companion_and_limits(finished, tmp_path):
    write_models(tmp_path / "models.txt")
    options = ["--distance", "40", "--masses", tmp_path / "models.txt", "--age", "10", "--age-error", "2"]
    text = invoke("companion", finished, "--no-posterior", *options)
    row = Table.read(finished / "measure" / "companions.ecsv", format="ascii.ecsv")[0]
    assert row["mass"] == pytest.approx(5 * np.sqrt(row["flux"] / FLUX), rel=1e-6)  # the models' law
    assert row["mass_err_age"] == pytest.approx(5 * 0.5 * 0.2 * np.sqrt(row["flux"] / FLUX), rel=0.02)
    assert row["mass_err"] == pytest.approx(np.hypot(row["mass_err_age"], row["mass_err_flux"]))
    assert f"mass {with_error(row['mass'], row['mass_err']).replace('±', '+-')} MJup" in text
    text = invoke("contrast", finished, *options, "--separations", "3", "--angles", "2", "--outer", "3")
    table = Table.read(finished / "measure" / "contrast.ecsv", format="ascii.ecsv")
    expected = 5 * np.sqrt(table["flux_5sigma"] / FLUX)
    np.testing.assert_allclose(table["mass_5sigma"], expected, rtol=1e-6)
    np.testing.assert_allclose(table["mass_5sigma_low"], expected * np.sqrt(0.8), rtol=1e-6)
    np.testing.assert_allclose(table["mass_5sigma_high"], expected * np.sqrt(1.2), rtol=1e-6)
    assert f"{table['mass_5sigma'][0]:.3g} ({table['mass_5sigma_low'][0]:.3g} to" in text
    assert table.meta["age_error_myr"] == 2.0
    page = page_of(finished)
    assert "mass [Jupiter masses]" in page and "Mass as a function of separation" in page
    assert config_of_run(finished).star.distance == 40  # kept with the run
    with pytest.raises(ConfigError, match="distance"):
        config_of_run(finished, {"contrast": {"masses": "x"}, "star": {"distance": None}})
    with pytest.raises(InputError, match="outside the models, 5 to 40 Myr"):
        invoke("contrast", finished, *options[:4], "--age", "1000")


@pytest.mark.usefixtures("quick_report")
def test_a_companion_against_an_earlier_position(finished):
    motion = ["--pm-ra", "300", "--pm-dec", "-200", "--parallax", "25"]
    text = invoke("companion", finished, "--no-posterior", "--epoch", "2019.5,1.6,0.02,149.4,0.5", *motion)
    assert re.search(r"companion 1: common proper motion, chi2 \d{3,} for a background star, ", text)
    table = Table.read(finished / "measure" / "proper_motion.ecsv", format="ascii.ecsv")
    # the star has moved by 0.36 arcsec a year for 3.07 years
    assert table["separation"][0] == pytest.approx(SEPARATION, abs=0.03)
    assert len(table) == 2 and table.meta["chi2_background"] > 100 > table.meta["chi2_common"]
    page = page_of(finished)
    assert "Proper motion" in headings(page) and "common proper motion" in page
    with pytest.raises(ConfigError, match="pm_ra"):
        invoke("companion", finished, "--epoch", "2019.5,1.6,0.02,149.4,0.5")
    with pytest.raises(ConfigError, match="DATE,SEPARATION,ERROR,PA,ERROR"):
        invoke("companion", finished, "--epoch", "1.6,149.4", *motion)


def test_disk_without_a_scale(finished, tmp_path):
    write_ring(tmp_path / "ring.fits", scale=None)
    with pytest.raises(InputError, match="--pixel-scale"):
        invoke("disk", finished, tmp_path / "ring.fits")
    with pytest.raises(MissingInputError, match=r"none\.fits"):
        invoke("disk", finished, tmp_path / "none.fits")


@pytest.mark.parametrize(("command", "options", "words"), [
    ("companion", ["--guess", "nonsense"], "SEPARATION,PA"),
    ("companion", ["--guess", "-1,20"], "positive separation"),
    ("contrast", ["--star-mag", "5", "--star-flux", "1"], "give one of"),
    ("contrast", ["--separations", "1"], "separations"),
    ("detect", ["--threshold", "-1"], "threshold"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_sentence(finished_once, command, options, words):
    with pytest.raises(ConfigError, match=words):
        invoke(command, finished_once, *options)


def test_a_folder_without_a_run(tmp_path):
    for command in ("companion", "contrast", "detect"):
        with pytest.raises(MissingInputError):
            invoke(command, tmp_path)


# Several targets


@pytest.fixture
def two_targets(finished):
    """The run as if another star, whose products are those of the first, had been reduced after it."""
    manifest = Manifest(finished)
    stage3, measured = (next(r for r in manifest.records if r.kind == kind) for kind in ("stage3", "measure"))
    another = stage3.name.replace("_star_", "_other_")
    manifest.add(replace(stage3, task=f"stage3/{another}", name=another))
    tables = finished / "measure"
    shutil.copytree(tables, tables / "other")
    shutil.copytree(tables, tables / "star", ignore=shutil.ignore_patterns("other"))
    for name, folder in ((stage3.name, "star"), (another, "other")):
        products = [replace(p, path=f"measure/{folder}/{Path(p.path).name}") for p in measured.products]
        manifest.add(replace(measured, task=f"measure/{name}", name=name, products=products))
    return finished


@pytest.mark.parametrize(("options", "measured"), [((), "other"), (("--target", "star"), "star")])
@pytest.mark.usefixtures("quick_report")
def test_one_of_several_targets_is_measured(two_targets, options, measured):
    before = {name: (two_targets / "measure" / name / "detections.ecsv").read_text() for name in ("star", "other")}
    said = invoke("detect", two_targets, "--threshold", "10000", *options)
    assert f"target: {measured}\n" in said
    after = {name: (two_targets / "measure" / name / "detections.ecsv").read_text() for name in before}
    assert [name for name in before if after[name] != before[name]] == [measured]
    assert "No source detected above the threshold" in (two_targets / "report" / measured / "index.html").read_text()
    page = (two_targets / "report" / "index.html").read_text()
    assert " style=" not in page and len(page) < 2 * 40_000
    alts = re.findall(r'<a href="(\w+)/index.html"[^>]*><img alt="([^"]+)" src="data:image/png;base64,', page)
    assert [name for name, _ in alts] == ["other", "star"]
    numbers = {
        name: int(re.search(r": Combined image, \d+\.\d arcsec wide, north up, (\d+) det", alt)[1])
        for name, alt in alts
    }
    assert numbers[measured] == 0 and sum(numbers.values()) > 0


@pytest.mark.parametrize("command", ["companion", "contrast", "detect", "disk"])
def test_a_target_that_is_not_there_is_refused(finished, tmp_path, command):
    write_ring(tmp_path / "ring.fits")
    more = [tmp_path / "ring.fits"] if command == "disk" else []
    with pytest.raises(MissingInputError, match="no reduction of HD-9"):
        invoke(command, finished, *more, "--target", "HD-9")


# The run and its report


def test_a_finished_run_is_up_to_date_and_its_report_is_written(finished_once, finished, capsys):
    data = finished_once.parent / "data"
    result = reduce_and_report([data], finished, build_config({"run": {**RUN, "jobs": 1}, **SETTINGS}))
    text = capsys.readouterr().out
    assert result.done == 0 and "everything is up to date" in text
    assert re.search(r'source at separation 1\.[56]\d+", PA 1(49|50)\.\d+ deg, S/N \d+', text)
    page = page_of(finished)
    assert "Brightest source: separation" in page and "STAR in F1550C" in page
    for heading in ("Images of the detections", "Stage 3: star subtraction", "Time and memory"):
        assert heading in headings(page)
    assert "science, roll 1" in page and "reference" in page and "jw01001001001" in page
    # pictures are in the page, each with a text for those who cannot see it
    pictures = re.findall(r'<img[^>]*alt="([^"]+)"[^>]*src="data:image/png;base64,[A-Za-z0-9+/=]{1000}', page)
    pictures += re.findall(r'<img[^>]*src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}"[^>]*alt="([^"]+)"', page)
    assert len(pictures) >= 4


@pytest.mark.usefixtures("quick_report")
def test_what_a_run_says_of_its_input_is_in_the_report(finished_once, finished, tmp_path):
    """It was printed and gone: nobody who was given the page knew of a file that had been left out."""
    broken = tmp_path / "more" / "b_calints.fits"
    broken.parent.mkdir()
    broken.write_text("hello")
    config = build_config({"run": {**RUN, "jobs": 1}, **SETTINGS})
    inputs = [finished_once.parent / "data", broken.parent]
    result = reduce_and_report(inputs, finished, config)
    assert (result.done, result.new_notes) == (0, True)
    assert f"not used: {broken}: not a FITS file (it does not begin with SIMPLE =)." in page_of(finished)
    assert not reduce_and_report(inputs, finished, config).is_news


def test_sections_of_a_finished_run(finished):
    shown = detection_map(finished, read_sources(finished))
    assert shown is not None and "1 source above the threshold." in shown.text
    assert "control positions masked in the same way" in shown.text  # of the second pass
    subtracted = stage3_subtraction(finished, read_sources(finished))
    assert subtracted is not None and subtracted.text == "2 science exposures."
    assert contrast_section(finished) is None and maps_section(finished) is None and disk_section(finished) is None


@pytest.mark.usefixtures("quick_report")
def test_what_was_measured_on_an_earlier_reduction_is_named_and_not_shown(finished):
    invoke("contrast", finished, "--separations", "2", "--angles", "2", "--outer", "2.5")
    table = Table.read(finished / "measure" / "contrast.ecsv", format="ascii.ecsv")
    table.meta["reduction"] = "another"
    table.write(finished / "measure" / "contrast.ecsv", format="ascii.ecsv", overwrite=True)
    assert contrast_section(finished) is None and read_table(finished, "contrast.ecsv") is None
    assert "contrast.ecsv" in outdated_section(finished).text
    page = write_report(finished).read_text()
    assert "Outdated measurements" in headings(page) and "Contrast" not in headings(page)


def test_a_run_fits_what_it_finds_and_the_star_is_told_once(finished_once, finished, capsys):
    config = build_config({"run": {"stages": "3", "jobs": 1}, **SETTINGS, "star": {"flux": 0.1}})
    result = reduce_and_report([finished_once.parent / "data"], finished, config)
    text = capsys.readouterr().out
    assert result.done == 2 and not result.failed  # the reduction is there: companions and limits
    found = companion_line(text)
    for name, truth in (("separation", SEPARATION), ("position_angle", ANGLE), ("flux", 1e6 * FLUX)):
        value, error = found[name]
        assert abs(value - truth) < 3 * error, name  # total errors, one sigma
    assert "5-sigma limits: 0.5" in text and "(contrast " in text and "source at separation" not in text
    assert "Companion: separation" in page_of(finished) and "Limits at 5 sigma" in page_of(finished)
    # the commands that follow know the star
    assert config_of_run(finished).star.flux == 0.1
    assert "contrast (" in invoke("companion", finished, "--no-posterior", "--star-flux", "0.2")
    assert config_of_run(finished).star.flux == 0.2
    assert config_of_run(finished).contrast.outer_radius == 3.0  # and the rest stays
