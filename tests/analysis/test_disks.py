"""Disks put into the finished run: models compared, a ring fitted, and the basis that they are fitted in."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table

from lyot.analysis.disks import RING, basis_for_disks, fit_disks, measure_disks, models_of, read_disk
from lyot.analysis.finished_run import find_finished, open_run
from lyot.analysis.parameters import DiskSection
from lyot.errors import ConfigError, InputError, MissingInputError
from lyot.exposures.names import DISK, DISK_RESIDUAL, DISK_RING, DISK_RING_MODEL
from lyot.measure.disks import DiskModel, DiskParams, disk_signal
from lyot.measure.ring import RingParams, ring_image
from lyot.measure.ring_fit import RingFitParams
from lyot.run.config import build_config

TRUTH = RingParams(radius=2.2, profile="gaussian", width=0.25, inclination=55.0, major_axis=20.0)
FLUX = 4e-3
START = RingFitParams(
    radius=2.0,
    profile="gaussian",
    width=0.25,
    inclination=55.0,
    major_axis=12.0,
    fit=("radius", "major_axis"),
    search=False,
)
REGION = DiskParams(inner_radius=1.0, outer_radius=3.2, spacing=0.9)
"""Images of a source at fewer places than by default, in the disk that is put in as well: less than half the time."""


def ring(parameters: RingParams, scale: float) -> DiskModel:
    """A ring whose image ends where its light does: the image of a source is made wherever there is light."""
    model = ring_image(parameters, 3.3, scale)
    faint = model.image < 1e-4 * model.image.max()
    return dataclasses.replace(model, image=np.where(faint, 0.0, model.image))


@pytest.fixture(scope="module")
def opened(finished_once):
    """The finished run with a ring of 4 mJy in its exposures, as mask and PSF leave it."""
    run = open_run(finished_once)
    injector = run.sequence.injector
    model = ring(TRUTH, 0.06)
    signal = disk_signal(injector, model, run.sequence.detector, run.sequence.fwhm, REGION)
    disk = dataclasses.replace(injector, science=injector.science + FLUX * signal)
    return dataclasses.replace(run, reduction=dataclasses.replace(run.reduction, injector=disk))


@pytest.fixture
def run(opened, tmp_path):
    return dataclasses.replace(opened, tables=tmp_path)


@pytest.fixture(scope="module")
def models():
    """The disk as it is, and one that lies across it."""
    wrong = dataclasses.replace(TRUTH, major_axis=110.0)
    return {"right.fits": ring(TRUTH, 0.08), "wrong.fits": ring(wrong, 0.08)}


@pytest.fixture(scope="module")
def measured(opened, models, tmp_path_factory):
    run = dataclasses.replace(opened, tables=tmp_path_factory.mktemp("tables"))
    return run, measure_disks(run, models, START, REGION)


def test_the_right_model_is_named_best(measured):
    _, found = measured
    assert found.names == ("right.fits", "wrong.fits", RING)
    table = found.table
    assert table["delta_bic"][1] > 10 > table["delta_bic"][0]  # 10 is decisive
    assert found.names[found.best] != "wrong.fits" and table["best"].sum() == 1
    assert table["chi2"][1] > 1.3 * table["chi2"][0]
    assert len(set(table["pixels"])) == 1  # they compare
    # the planet of 0.1 mJy lies in the ring: 3 % of it
    assert table["flux"][0] == pytest.approx(FLUX, abs=3 * table["flux_err"][0] + 0.03 * FLUX)


def test_the_ring_is_recovered(measured):
    _, found = measured
    values, errors = (dict(zip(found.ring.names, v, strict=True)) for v in (found.ring.values, found.ring.errors))
    assert values["radius"] == pytest.approx(2.2, abs=0.05)  # half a pixel
    assert values["major_axis"] == pytest.approx(20.0, abs=2.0)
    assert values["flux"] == pytest.approx(FLUX, abs=3 * errors["flux"] + 0.03 * FLUX)
    assert found.table["flux_err"][2] >= 0.999 * errors["flux"]


def test_what_is_written(measured):
    run, found = measured
    table = QTable.read(run.tables / DISK, format="ascii.ecsv")
    assert list(table["model"]) == list(found.names) and table.meta["best_model"] == found.names[found.best]
    assert table.meta["strategy"] == "rdi"
    with fits.open(run.tables / DISK_RESIDUAL) as hdus:
        names = [h.name for h in hdus[1:]]
        assert names == ["SCI", "MODEL", "IMAGE", *(f"{kind}{k}" for k in (1, 2, 3) for kind in ("RESID", "MODEL"))]
        best = found.fits[found.best]
        # float32 of the product, of an image of the order of 100 MJy/sr
        np.testing.assert_allclose(hdus["SCI"].data, best.residual, rtol=1e-5, atol=1e-4)
        assert hdus["RESID2"].header["DMODEL"] == "wrong.fits"
        assert hdus["RESID2"].header["DCHI2"] == pytest.approx(found.fits[1].reduced_chi2)
        assert hdus["SCI"].header["DSCALE"] == pytest.approx(best.scale)
    ring = Table.read(run.tables / DISK_RING, format="ascii.ecsv")
    rows = {row["parameter"]: row for row in ring}
    assert float(rows["radius"]["value"]) == pytest.approx(found.ring.ring.radius, rel=1e-5)
    assert rows["radius"]["status"] == "fitted" and rows["inclination"]["status"] == "fixed"
    assert np.isnan(rows["inclination"]["error"]) and rows["radius"]["error"] > 0
    assert ring.meta["covariance_of"] == ["flux", "radius", "major_axis"]
    model = read_disk(run.tables / DISK_RING_MODEL)
    assert model.image.sum() == pytest.approx(found.ring.values[0], rel=1e-5)
    assert not list(run.tables.glob("*.part"))


def test_one_model_alone_is_fitted_as_before(run, models):
    one = fit_disks(run, {"right.fits": models["right.fits"]}, None, REGION)
    assert one.best == 0 and one.ring is None and one.table["delta_bic"][0] == 0
    # the planet in the ring, as above
    assert one.table["flux"][0] == pytest.approx(FLUX, abs=3 * one.table["flux_err"][0] + 0.03 * FLUX)
    with pytest.raises(InputError, match="nothing to fit"):
        fit_disks(run, {})


# The basis


def test_disks_are_fitted_in_a_reduction_of_the_references_alone(finished_once, caplog):
    finished = find_finished(finished_once)
    assert basis_for_disks(finished) is None and not caplog.records  # it is one already
    with caplog.at_level(logging.WARNING):
        assert basis_for_disks(finished, rolls=True) is None
    assert "rolls has no effect" in caplog.text
    caplog.clear()
    klip = {**finished.parameters["klip"], "strategy": "adi+rdi"}
    rolls = dataclasses.replace(finished, parameters={**finished.parameters, "klip": klip})
    assert basis_for_disks(rolls) == "rdi" and basis_for_disks(rolls, rolls=True) is None
    alone = dataclasses.replace(rolls, psfalign=None)
    with caplog.at_level(logging.WARNING):
        assert basis_for_disks(alone) is None
    assert "may be wrong by 20 %" in caplog.text


def test_a_run_with_rolls_in_its_basis_is_opened_without_them(finished_once):
    finished = find_finished(finished_once)
    klip = {**finished.parameters["klip"], "strategy": "adi+rdi"}
    rolls = dataclasses.replace(finished, parameters={**finished.parameters, "klip": klip})
    as_it_is, alone = open_run(rolls), open_run(rolls, strategy=basis_for_disks(rolls))
    assert as_it_is.strategy == "adi+rdi" and as_it_is.sequence.injector.reduce_many is None
    assert alone.strategy == "rdi" and alone.sequence.injector.reduce_many is not None
    np.testing.assert_array_equal(alone.sequence.injector.image, open_run(finished).sequence.injector.image)


# The section


def test_the_section_is_checked_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be fitted"):
        build_config({"disk": {"ring": True, "fit": ["color"]}})
    with pytest.raises(ConfigError, match="X,Y in pixels"):
        build_config({"disk": {"center": "middle"}})
    section = build_config({"disk": {"ring": True, "light": "scattered", "fit": ["g", "radius"], "g": 0.3}}).disk
    assert section.wanted and section.start() == RingParams(light="scattered", g=0.3)
    assert not build_config({}).disk.wanted
    with pytest.raises(MissingInputError, match=r"none\.fits"):
        models_of(DiskSection(models=(str(tmp_path / "none.fits"),)))
    (tmp_path / "a").mkdir()
    same = (str(tmp_path / "x.fits"), str(tmp_path / "a" / "x.fits"))
    with pytest.raises(InputError, match="two disk models"):
        models_of(DiskSection(models=same))
