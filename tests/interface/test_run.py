"""The run object: what a person types in a notebook."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import NDData, StdDevUncertainty

import lyot
from lyot.errors import InputError, MissingInputError
from tests.finished import PLANET


@pytest.fixture
def run(finished):
    return lyot.open(finished)


def test_facts(run):
    assert (run.target, run.filter, run.rolls) == ("STAR", "F1550C", 2)
    assert "target STAR" in repr(run)
    assert "detected sources 1; the first at separation 1.5" in repr(run)  # 0.01 arcsec inside 1.6
    assert "<td" in run._repr_html_() and "F1550C" in run._repr_html_()


def test_image_has_unit_uncertainty_mask_and_coordinates(run):
    image = run.image
    assert isinstance(image, NDData) and image.unit == u.MJy / u.sr
    assert isinstance(image.uncertainty, StdDevUncertainty)
    good = ~image.mask
    assert np.isfinite(image.data[good]).all() and np.isnan(image.data[~good]).all()
    assert np.isfinite(image.uncertainty.array[good]).mean() > 0.99
    # the star's pixel is where the coordinates say that the star is
    x, y = image.meta["star"]
    sky = image.wcs.pixel_to_world(x, y)
    assert (sky.ra.deg, sky.dec.deg) == pytest.approx((201.15, -51.5046), abs=1e-7)
    assert run.refined is not None and run.refined.data.shape == image.data.shape


def test_detections_find_the_planet(run):
    found = run.detections  # highest S/N first; speckles of this simple star may follow
    # S/N of some tens: a few hundredths of a resolution element of 0.5 arcsec
    assert found["separation"].to_value("arcsec")[0] == pytest.approx(PLANET[0], abs=0.03)
    assert found["position_angle"].to_value("deg")[0] == pytest.approx(PLANET[1], abs=1.0)


def test_companions_are_measured_on_demand_and_kept(run, finished):
    assert not (finished / "measure" / "companions.ecsv").exists()
    row = run.companions[0]
    assert (finished / "measure" / "companions.ecsv").is_file()
    for name, truth, unit in zip(
        ("separation", "position_angle", "flux"), PLANET, ("arcsec", "deg", "Jy"), strict=True
    ):
        value, error = (row[n].to_value(unit) for n in (name, f"{name}_err"))
        assert abs(value - truth) < 3 * error, name  # total errors
    again = lyot.open(finished).companions
    assert again["flux"][0].value == pytest.approx(row["flux"].value, rel=1e-7)  # written with eight digits


def test_contrast_has_units_and_is_kept(run, finished):
    table = run.contrast
    assert table["separation"].unit == u.arcsec and table["flux_5sigma"].unit == u.Jy
    assert len(table) == 3 and (table["flux_5sigma"] > 0 * u.Jy).all()
    assert np.isnan(table["contrast_5sigma"]).all()  # nobody said how bright the star is
    assert (finished / "measure" / "contrast.ecsv").is_file()


@pytest.mark.parametrize("values", [
    {"flux": 5e-5, "separation": 2.4, "position_angle": 10.0},
    {"flux": 50 * u.uJy, "separation": 2400 * u.mas, "position_angle": 10 * u.deg},
])  # fmt: skip
def test_an_injected_planet_is_measured_as_it_was_put_in(run, finished, values):
    injected = run.inject(**values)
    row = injected.fit(separation=2.4, position_angle=10.0)[0]
    assert abs(row["flux"].to_value("Jy") - 5e-5) < 3 * row["flux_err"].to_value("Jy")
    assert abs(row["separation"].to_value("arcsec") - 2.4) < 3 * row["separation_err"].to_value("arcsec")
    assert len(injected.detections) == len(run.detections) + 1
    assert not (finished / "measure" / "companions.ecsv").exists()  # nothing of it is written


def test_zero_flux_gives_the_same_image(run):
    same = run.inject(flux=0.0, separation=2.0, position_angle=50.0)
    injector = run._opened.sequence.injector
    assert same.image.data.tobytes() == injector.image.tobytes()


def test_plots_take_and_return_axes(run):
    _, axes = plt.subplots(1, 2)
    assert run.plot_image(axes[0]) is axes[0]
    assert run.plot_contrast(axes[1]) is axes[1]
    assert axes[1].get_yscale() == "log" and axes[1].lines and "[Jy]" in axes[1].get_ylabel()
    # to the edge of a pixel of 0.11 arcsec, and the star within one
    assert axes[0].images and run.plot_image(radius=2 * u.arcsec).get_xlim()[1] == pytest.approx(2.0, abs=0.2)
    plt.close("all")


@pytest.mark.parametrize(("values", "words"), [
    ({"flux": "bright", "separation": 1, "position_angle": 0}, "flux: expected one number"),
    ({"flux": 1 * u.m, "separation": 1, "position_angle": 0}, "flux: expected one number"),
    ({"flux": 1e-5, "separation": np.nan, "position_angle": 0}, "separation: expected a finite number"),
])  # fmt: skip
def test_what_cannot_be_injected(run, values, words):
    with pytest.raises(InputError, match=words):
        run.inject(**values)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(MissingInputError, match="output folder of lyot run"):
        lyot.open(tmp_path)


def test_reduce_goes_to_the_image(finished_once, tmp_path):
    data = finished_once.parent / "data"
    with pytest.raises(InputError, match="include stage 3"):
        lyot.reduce(data, tmp_path / "out", stages="2")
