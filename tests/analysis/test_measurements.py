"""Measurements of a finished run against what was put into it: companion, contrast, maps, disk, detections."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS

from lyot.analysis import measurements
from lyot.analysis.disks import measure_disks
from lyot.analysis.finished_run import find_finished, open_run, read_truncations
from lyot.analysis.maps import measure_maps, measure_stim
from lyot.analysis.measured_sequence import OFFICIAL, cannot_repeat, open_reduction
from lyot.analysis.measurements import (
    detected,
    fit_run,
    known_sources,
    measure_companions,
    measure_contrast,
    measure_detections,
    search_sources,
    write_no_companion,
)
from lyot.analysis.tables import write_table
from lyot.errors import InputError, MissingInputError, OutputError, ReductionError
from lyot.exposures.names import (
    COMPANIONS,
    COMPANIONS_RESIDUAL,
    CONTRAST,
    CONTRAST_MAP,
    DISK,
    DISK_RESIDUAL,
    ERROR_BUDGET,
    MATCHED_FILTER,
    STIM_MAP,
)
from lyot.instrument import coronagraph
from lyot.measure.companion import CompanionParams
from lyot.measure.contrast import ContrastParams
from lyot.measure.detection import DetectionParams
from lyot.measure.disks import DiskModel, DiskParams
from lyot.measure.mass import AgedModels, EvolutionModels
from lyot.measure.matched_filter import MatchedFilterParams
from lyot.measure.photometry import Star
from tests.finished import PLANET

SEPARATION, ANGLE, FLUX = PLANET
STAR = Star(flux=0.1, error=0.02, source="given")
QUICK = ContrastParams(separations=3, angles=8, outer_radius=3.0)
FIT = CompanionParams(posterior=False)


@pytest.fixture(scope="module")
def opened(finished_once):
    """The finished run, opened once; what is measured goes elsewhere."""
    return open_run(finished_once)


@pytest.fixture
def run(opened, tmp_path):
    return dataclasses.replace(opened, tables=tmp_path)


def offset(separation: float, angle: float) -> np.ndarray:
    return separation * np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])


# Opening


def test_the_run_is_opened_with_the_reduction_of_the_product(run, finished_once):
    assert run.reason == "" and run.sequence.coronagraph.filter == "F1550C"
    product = fits.getdata(run.finished.i2d, "SCI")
    # float32 of the product, of the order of 400 MJy/sr before the subtraction
    np.testing.assert_allclose(run.sequence.injector.image, product, rtol=1e-6, atol=1e-5)
    assert run.sequence.sky == pytest.approx((201.15, -51.5046), abs=1e-9)
    assert run.sequence.modes == fits.getheader(run.finished.i2d)["KLMODES"]
    assert len(run.finished.calints) == len(run.finished.psfsub) == len(run.finished.rolls) == 2
    assert run.image.coverage.max() == 2
    images, modes = read_truncations(run.finished.klcube)
    assert images.shape == (len(modes), *product.shape) and run.sequence.modes in modes
    np.testing.assert_array_equal(images[modes.index(run.sequence.modes)], product.astype(float))


def test_another_truncation_is_opened_as_the_cube_has_it(finished_once):
    images, modes = read_truncations(find_finished(finished_once).klcube)
    other = open_run(finished_once, modes=modes[0])
    assert other.sequence.modes == modes[0]
    np.testing.assert_allclose(other.sequence.injector.image, images[0], rtol=1e-6, atol=1e-5)  # float32 of the cube
    with pytest.raises(InputError, match="37"):
        open_run(finished_once, modes=37)


def test_a_subtraction_of_the_official_algorithm_cannot_be_repeated(run):
    science, parameters = run.finished.calints, {"mode": "official"}
    assert cannot_repeat(science, parameters) == OFFICIAL
    with pytest.raises(InputError, match="official algorithm"):
        open_reduction(science, run.finished.psfalign, parameters)


def test_what_is_gone_is_named(finished):
    finished_run = find_finished(finished)
    finished_run.calints[0].rename(finished / "elsewhere.fits")
    with pytest.raises(MissingInputError, match=finished_run.calints[0].name):
        find_finished(finished)
    with pytest.raises(MissingInputError, match="no reduction recorded in"):
        find_finished(finished, i2d=finished / "other_i2d.fits")


# Detections


def test_the_planet_alone_is_detected(run):
    found = measure_detections(run, DetectionParams())
    assert len(found) == 1
    # a source of S/N above 100 on a grid of 0.11 arcsec; its image is no Gaussian
    assert found[0].separation == pytest.approx(SEPARATION, abs=0.03)
    assert found[0].position_angle == pytest.approx(ANGLE, abs=1.0)
    table = QTable.read(run.tables / "detections.ecsv", format="ascii.ecsv")
    assert table["separation"].unit == u.arcsec and table.meta["target"] == "STAR"
    assert table.meta["kl_modes"] == run.sequence.modes and table.meta["filter"] == "F1550C"
    with fits.open(run.tables / "snr_map.fits") as hdus:
        assert [h.name for h in hdus[1:]] == ["SCI", "SIGNAL", "NOISE"]
        y, x = round(found[0].y), round(found[0].x)
        near = hdus["SCI"].data[y - 2 : y + 3, x - 2 : x + 3]
        assert np.nanmax(near) == pytest.approx(np.nanmax(hdus["SCI"].data), rel=1e-6)  # float32
        # the sky of the table is that of the map
        ra, dec = WCS(hdus["SCI"].header).pixel_to_world_values(found[0].x, found[0].y)
        assert (table["ra"][0].value, table["dec"][0].value) == pytest.approx(
            (float(ra), float(dec)), abs=1e-8
        )  # 11 digits


def test_detections_are_written_again_over_old_ones(run):
    measure_detections(run)
    measure_detections(run, DetectionParams(threshold=1e4))
    assert len(Table.read(run.tables / "detections.ecsv", format="ascii.ecsv")) == 0
    with pytest.raises(InputError, match="no source was detected"):
        detected(run)


def test_the_last_digits_are_not_written(tmp_path):
    """They depend on the number of threads, and what is made from the table would be made again."""
    places = {"separation": 7.1070134697, "ra": 184.468381059358, "shape": 0.87098023, "false_alarm": 1.40088365e-29}
    for path, noise in (("one", 0.0), ("two", 1e-11)):
        table = Table(
            {name: [value * (1 + noise)] for name, value in places.items()} | {"n": [3], "status": ["source"]}
        )
        table["shape"] *= 1 + 1e4 * noise
        write_table(table, tmp_path / path)
        assert table["separation"][0] == places["separation"] * (1 + noise)  # the table itself is left alone
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()
    read = Table.read(tmp_path / "one", format="ascii.ecsv")
    assert list(read[0]) == [7.1070135, 184.46838106, 0.871, 1.401e-29, 3, "source"]


def test_a_search_of_all_truncations_says_in_how_many_it_was_found(run):
    found = search_sources(run, all_truncations=True)
    _, modes = read_truncations(run.finished.klcube)
    first = found.detections[0]
    assert 2 <= first.images <= len(modes) and first.truncation in modes
    assert first.separation == pytest.approx(SEPARATION, abs=0.05)  # of the best of them, a half of a pixel


def test_without_the_reduction_the_image_is_searched_all_the_same(run):
    found = search_sources(dataclasses.replace(run, reduction=None, reason="there is no model"))
    # half a pixel of 0.11 arcsec
    assert found.detections[0].separation == pytest.approx(SEPARATION, abs=0.05)
    with pytest.raises(InputError, match="there is no model"):
        _ = dataclasses.replace(run, reduction=None, reason="there is no model").sequence


# Companions


@pytest.fixture(scope="module")
def companions(opened, tmp_path_factory):
    """The planet fitted, with its tables."""
    run = dataclasses.replace(opened, tables=tmp_path_factory.mktemp("companions"))
    table, budgets = measure_companions(run, [(1.58, 150.0)], STAR, FIT)
    return run, table, budgets


def test_the_planet_is_measured_within_its_errors(companions):
    _, table, _ = companions
    (row,) = table
    for name, truth in (("separation", SEPARATION), ("position_angle", ANGLE), ("flux", FLUX)):
        assert abs(row[name] - truth) < 3 * row[f"{name}_err"], name  # total errors, one sigma each
        assert row[f"{name}_err"] >= row[f"{name}_err_stat"] > 0
    assert abs(row["contrast"] - FLUX / STAR.flux) < 3 * row["contrast_err"]
    assert row["flux_err"] < 0.2 * FLUX and row["snr"] > 20
    zero = coronagraph("F1550C").vega_zero_point
    assert row["magnitude"] == pytest.approx(-2.5 * np.log10(row["flux"] / zero), abs=1e-9)
    np.testing.assert_allclose((row["delta_ra"], row["delta_dec"]), offset(row["separation"], row["position_angle"]))
    # its place on the sky is that of the star and this offset, to the curvature of a few arcsec
    cos = np.cos(np.radians(-51.5046))
    assert row["ra"] == pytest.approx(201.15 + row["delta_ra"] / 3600 / cos, abs=1e-9)
    assert row["dec"] == pytest.approx(-51.5046 + row["delta_dec"] / 3600, abs=1e-9)


def test_the_error_budget_adds_up(companions):
    run, table, budgets = companions
    (terms,) = budgets
    for name in ("flux", "separation", "position_angle"):
        parts = np.hypot.reduce([getattr(t, name) for t in terms[:-1]])
        assert getattr(terms[-1], name) == pytest.approx(parts, rel=1e-9), name
    assert table["flux_err"][0] == pytest.approx(terms[-1].flux * table["flux"][0], rel=1e-9)
    written = Table.read(run.tables / ERROR_BUDGET, format="ascii.ecsv")
    assert list(written["term"]) == [t.name for t in terms] and written["term"][-1] == "total"
    assert set(written["companion"]) == {1}


def test_the_star_s_position_is_in_the_budget(companions):
    """The error of the star in the headers, 7 mas per axis where the mask's reference point was taken."""
    _, _, (terms,) = companions
    star = [t for t in terms if "star" in t.name or "center" in t.name]
    # written with four digits
    assert star and max(t.separation for t in star) == pytest.approx(7e-3, abs=1e-4)


def test_little_is_left_of_the_planet(companions):
    run, _, _ = companions
    with fits.open(run.tables / COMPANIONS_RESIDUAL) as hdus:
        residual, model = hdus["SCI"].data, hdus["MODEL"].data
        assert hdus["SCI"].header["BUNIT"] == "MJy/sr" and hdus[0].header["KLMODES"] == run.sequence.modes
    np.testing.assert_allclose(residual + model, run.sequence.injector.image, rtol=1e-5, atol=1e-4)  # float32
    y, x = np.unravel_index(np.nanargmax(model), model.shape)
    near = (slice(y - 3, y + 4), slice(x - 3, x + 4))
    # noise of six integrations of 0.3, and 1 percent of the planet
    assert np.nanstd(residual[near]) < 0.5 * 0.3 + 0.01 * model[y, x] < 0.3 * np.nanstd(model[near])


def test_known_sources_are_the_companions_before_the_detections(companions, run):
    fitted, table, _ = companions
    sources, origin = known_sources(fitted)
    assert origin == COMPANIONS
    np.testing.assert_allclose(sources[0][:2], offset(table["separation"][0], table["position_angle"][0]))
    assert sources[0][2] == pytest.approx(table["flux"][0], rel=1e-7)  # written with 8 digits
    assert known_sources(run) == ([], "")
    measure_detections(run)
    (source,), origin = known_sources(run)
    assert origin == "detections.ecsv"
    # from the apertures alone, without a fit: noise, and a fraction of a pixel
    assert source[2] == pytest.approx(FLUX, rel=0.1)


def test_sources_of_an_earlier_reduction_are_left_out(companions, run, caplog):
    fitted, _, _ = companions
    table = Table.read(fitted.tables / COMPANIONS, format="ascii.ecsv")
    table.meta["reduction"] = "another"
    table.write(run.tables / COMPANIONS, format="ascii.ecsv")
    with caplog.at_level(logging.WARNING, logger="lyot"):
        assert known_sources(run) == ([], "")
    assert "earlier reduction" in caplog.text


def test_a_place_without_a_planet_gets_a_limit(run):
    found = fit_run(run, [(2.4, 20.0)], params=CompanionParams(posterior=False, steps=50)).table[0]
    assert abs(found["flux"]) < 3 * found["flux_err"] or found["snr"] < 5
    assert np.isnan(found["contrast"])  # the star's flux is not known
    assert not (run.tables / COMPANIONS).exists()  # a fit writes nothing


def test_nothing_was_detected_is_a_table_too(run):
    write_no_companion(run)
    table = Table.read(run.tables / COMPANIONS, format="ascii.ecsv")
    assert len(table) == 0 and table.meta["note"] == "no source was detected"


def test_a_table_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_no_companion(dataclasses.replace(run, tables=tmp_path / "file"))
    with pytest.raises(OutputError, match="file"):
        measure_stim_into(run, tmp_path / "file")


def measure_stim_into(run, folder):
    from lyot.analysis.tables import write_images

    write_images(run, folder / "a.fits", {"SCI": run.image.data}, {"SCI": ""})


# Contrast


@pytest.fixture(scope="module")
def limits(companions):
    """The contrast curve, with the planet known and subtracted."""
    run, _, _ = companions
    masses = AgedModels(EvolutionModels(np.ones(2), np.array([1.0, 10.0]), np.array([20.0, 10.0])), 1.0)
    return run, measure_contrast(run, STAR, QUICK, distance=50.0, masses=masses)


def test_the_contrast_curve(limits):
    run, table = limits
    assert len(table) == 3 and (np.diff(table["separation"]) > 0).all()
    assert table["separation"][-1] == pytest.approx(3.0, abs=1e-6)
    np.testing.assert_allclose(table["separation_au"], 50 * table["separation"])
    np.testing.assert_allclose(table["contrast_5sigma"], table["flux_5sigma"] / STAR.flux)
    np.testing.assert_allclose(table["delta_mag"], -2.5 * np.log10(table["contrast_5sigma"]))
    assert (table["contrast_5sigma"] > table["contrast_raw"]).all()  # losses and few samples
    assert (table["contrast_5sigma_low"] <= table["contrast_5sigma_high"]).all()
    assert table["flux_5sigma"][-1] < table["flux_5sigma"][0]  # the mask and the star's halo
    assert ((table["throughput"] > 0) & (table["throughput"] < 1.1)).all()
    assert table.meta["known_sources"] == 1 and table.meta["known_sources_from"] == COMPANIONS
    # three separations of eight angles, but for places next to the planet and on a boundary of the mask
    assert table.meta["star_flux_jy"] == STAR.flux and 20 <= table.meta["injections"] <= 24
    # log mass is a straight line of the absolute magnitude between the two of the grid
    absolute = np.asarray(table["magnitude_5sigma"]) - 5 * np.log10(50.0 / 10)
    expected = np.where(absolute >= 10, 10 ** ((20.0 - absolute) / 10), np.nan)  # brighter than the grid: not known
    np.testing.assert_allclose(table["mass_5sigma"], expected)
    written = QTable.read(run.tables / CONTRAST, format="ascii.ecsv")
    assert written["flux_5sigma"].unit == u.Jy and written["separation_au"].unit == u.AU
    np.testing.assert_allclose(written["flux_5sigma"].value, table["flux_5sigma"])


def test_a_source_at_the_limit_is_seen_at_five_sigma(limits):
    """The limit means what it says: a source of that flux has the S/N of the threshold, on the average."""
    from lyot.measure.noise import snr_map

    run, table = limits
    row = table[1]
    injector = run.sequence.injector
    found = []
    known = known_sources(run)[0]
    clean = injector.image - sum(f * np.nan_to_num(injector.forward(e, n)) for e, n, f in known)
    for angle in np.arange(11.0, 371.0, 22.5):
        east, north = offset(float(row["separation"]), angle)
        image = clean + float(row["flux_5sigma"]) * np.nan_to_num(injector.forward(east, north))
        x, y = injector.pixel(east, north)
        found.append(snr_map(image, injector.center, run.sequence.fwhm).snr[round(y), round(x)])
    # behind the four-quadrant mask a third of the angles lose light; the noise of sixteen apertures over the median
    assert np.median(found) == pytest.approx(float(row["threshold"]), rel=0.25)


def test_the_contrast_map(limits):
    run, table = limits
    with fits.open(run.tables / CONTRAST_MAP) as hdus:
        contrast, flux = hdus["SCI"].data, hdus["FLUX"].data
        assert hdus["FLUX"].header["BUNIT"] == "Jy" and hdus["SCI"].header.get("BUNIT", "") == ""
    good = np.isfinite(flux)
    np.testing.assert_allclose(contrast[good], flux[good] / STAR.flux, rtol=1e-5)  # float32 both
    places = [run.sequence.injector.pixel(*offset(float(table["separation"][1]), a)) for a in np.arange(0, 360, 15)]
    ring = np.array([flux[round(float(y)), round(float(x))] for x, y in places])
    # eight injected angles against all: between the percentiles of the curve
    assert table["flux_5sigma_low"][1] / 1.3 < np.nanmedian(ring) < table["flux_5sigma_high"][1] * 1.3


def test_a_planet_at_the_limit_is_shown_away_from_the_boundaries_and_from_the_known_planet(limits):
    run, table = limits
    with fits.open(run.tables / CONTRAST_MAP) as hdus:
        image, header = hdus["INJECTED"].data, hdus["INJECTED"].header
    assert header["BUNIT"] == "MJy/sr" and header["INJSEP"] == 1.0
    assert table["flux_5sigma"].min() < header["INJFLUX"] < table["flux_5sigma"].max()
    injector = run.sequence.injector
    east, north = offset(header["INJSEP"], header["INJPA"])
    planet = header["INJFLUX"] * np.nan_to_num(injector.forward(east, north))
    # the reduction is linear in the science: the image differs by the forward model, float32
    np.testing.assert_allclose(np.nan_to_num(image - injector.image), planet, atol=1e-5 * np.nanmax(image))
    x, y = injector.pixel(east, north)
    clear = [run.sequence.throughput[round(float(v)), round(float(u))] for u, v in
             (injector.pixel(*offset(1.0, angle)) for angle in range(0, 360, 10))]  # fmt: skip
    assert run.sequence.throughput[round(float(y)), round(float(x))] > np.median(clear)
    known_east, known_north = offset(SEPARATION, ANGLE)
    assert np.hypot(east - known_east, north - known_north) > 0.8  # two resolution elements


# Maps


def test_the_matched_filter_measures_the_planet(run):
    maps = measure_maps(run, MatchedFilterParams(outer_radius=3.0), completeness_flux=FLUX)
    with fits.open(run.tables / MATCHED_FILTER) as hdus:
        assert [h.name for h in hdus[1:]] == ["SCI", "FLUX", "FLUX_ERR", "LIMIT", "MODEL", "COMPLETE"]
        header, model = hdus["MODEL"].header, hdus["MODEL"].data
        complete, limit = hdus["COMPLETE"].data, hdus["LIMIT"].data
        assert hdus["SCI"].header["LEVEL"] == 5.0 and hdus["COMPLETE"].header["CFLUX"] == FLUX
    x, y = run.sequence.injector.pixel(*offset(SEPARATION, ANGLE))
    assert header["NSOURCE"] >= 1
    # a fifth of a pixel, and a tenth of the flux: without the fit's error budget
    assert np.hypot(header["SRCX1"] - 1 - x, header["SRCY1"] - 1 - y) < 0.3
    assert header["SRCF1"] == pytest.approx(FLUX, rel=0.1)
    at = np.unravel_index(np.nanargmax(model), model.shape)
    assert np.hypot(at[1] - x, at[0] - y) < 1.0
    assert np.nanmax(maps.snr) == maps.snr[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].max()
    known = np.isfinite(complete)
    assert known.any() and (complete[known] >= 0).all() and (complete[known] <= 1).all()
    # half of the sources at the limit are found; brighter ones more
    brighter = known & (limit < FLUX)
    assert brighter.any() and (complete[brighter] >= 0.5 - 1e-6).all()
    assert (complete[known & (limit > FLUX)] <= 0.5 + 1e-6).all()


def test_the_stim_map_shows_the_planet(run):
    found = measure_stim(run, outer_radius=3.0)
    assert found.frames == 6
    x, y = (round(float(v)) for v in run.sequence.injector.pixel(*offset(SEPARATION, ANGLE)))
    assert np.nanmax(found.stim[y - 2 : y + 3, x - 2 : x + 3]) > found.threshold
    measure_maps(run, MatchedFilterParams(outer_radius=2.0))
    with fits.open(run.tables / STIM_MAP) as hdus:
        assert hdus["SCI"].header["NFRAMES"] == 6 and hdus["SCI"].header["THRESH"] > 0


def test_without_the_integrations_there_is_no_stim_map(run):
    bare = dataclasses.replace(run, finished=dataclasses.replace(run.finished, psfsub=()))
    with pytest.raises(ReductionError, match="psfsub"):
        measure_stim(bare)
    measure_maps(bare, MatchedFilterParams(outer_radius=2.0))
    assert (run.tables / MATCHED_FILTER).is_file() and not (run.tables / STIM_MAP).exists()


# Disk


def test_a_disk_that_is_put_in_is_measured(opened, run):
    """A ring through mask, PSF and reduction, added to the image: its scale comes back within its error."""
    y, x = np.indices((61, 61)) - 30.0
    ring = np.exp(-0.5 * ((np.hypot(x, y / 0.6) - 16) / 2.0) ** 2)
    ring *= 2e-3 / ring.sum()
    model = DiskModel(ring, 0.11, 40.0)
    (empty,) = measure_disks(run, {"model": model}, params=DiskParams(outer_radius=3.0)).fits
    assert abs(empty.scale) < 0.3  # no disk is there; the planet and residuals of the star are no ring
    with fits.open(run.tables / DISK_RESIDUAL) as hdus:
        assert [h.name for h in hdus[1:]] == ["SCI", "MODEL", "IMAGE"]
        np.testing.assert_allclose(hdus["IMAGE"].data, run.sequence.injector.image, rtol=1e-5, atol=1e-4)
        assert hdus["SCI"].header["DSCALE"] == pytest.approx(empty.scale, rel=1e-9)
    table = QTable.read(run.tables / DISK, format="ascii.ecsv")
    assert table["flux"][0].to_value("Jy") == pytest.approx(empty.scale * 2e-3, rel=1e-7)  # written with 8 digits
    assert table["scale_err"][0] == pytest.approx(empty.error, rel=1e-7) and table.meta["filter"] == "F1550C"


def test_limits_reach_beyond_the_outermost_source(caplog):
    far, near = [(4.0, -5.7, 1e-4)], [(0.4, -0.7, 1e-4)]
    assert measurements.range_to_measure(None, 5.0, near, "contrast.outer_radius") == 5.0
    assert measurements.range_to_measure(None, 5.0, far, "contrast.outer_radius") > np.hypot(4.0, 5.7)
    assert not caplog.records
    assert measurements.range_to_measure(5.0, 5.0, far, "contrast.outer_radius") == 5.0  # as asked, and said
    assert "the source at 6.96 arcsec is outside contrast.outer_radius, 5.00 arcsec" in caplog.text


def test_maps_reach_beyond_the_outermost_source(run, monkeypatch):
    """The map of HD 106906 ended at 5 arcsec, and its planet at 7.1 was not on it."""
    asked = []

    def no_images(_injector, _fwhm, params, **_more):
        asked.append(params.outer_radius)
        raise InputError("enough")

    monkeypatch.setattr("lyot.analysis.maps.source_images", no_images)
    monkeypatch.setattr("lyot.analysis.maps.known_sources", lambda _run: ([(4.0, -5.7, 1e-4)], "detections.ecsv"))
    for given in (None, 3.0):
        with pytest.raises(InputError, match="enough"):
            measure_maps(run, MatchedFilterParams(outer_radius=given))
    assert asked == [pytest.approx(1.15 * np.hypot(4.0, 5.7)), 3.0]
