"""HD 106906 b from the archive's files through `lyot run`, and the commands that measure it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from benchmarks.boundaries import excess
from typer.testing import CliRunner

from lyot.analysis.finished_run import open_run
from lyot.analysis.measurements import known_sources, measure_contrast
from lyot.cli import build_app
from lyot.errors import ConfigError, MissingInputError

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.xdist_group("hd106906")]


@pytest.fixture(scope="module")
def out(hd106906_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(hd106906_run, tmp_path_factory.mktemp("hd") / "out"))


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_run_finds_b_alone(out):
    found = Table.read(out / "measure" / "detections.ecsv", format="ascii.ecsv")
    # b's own diffraction pattern is not a second source
    assert len(found) == 1
    assert found["separation"][0] == pytest.approx(7.11, abs=0.05)


def test_injections_go_through_the_reduction_of_the_product(out):
    run = open_run(out)
    path = next(p for p in (out / "stage3").glob("*_i2d.fits") if "roll" not in p.name)
    product = fits.getdata(path, "SCI")
    image = run.sequence.injector.image
    # float32 of the product
    np.testing.assert_allclose(image, product, rtol=1e-6, atol=1e-6)
    zero = run.sequence.injector.inject([(1.0, 2.0, 0.0)])
    assert zero.tobytes() == image.tobytes()


def test_nothing_is_left_along_the_boundaries_of_the_mask(out):
    """The references have 2.8 MJy/sr of background, dark along the boundaries, and the star has none."""
    (path,) = (out / "stage3").glob("*_psfsub.fits")
    value, error = excess(path)
    # 0.21 without a template; its own error is 0.02
    assert abs(value) < 3 * error < 0.1


@pytest.mark.usefixtures("quick_report")
def test_companion(out):
    text = invoke("companion", str(out), "--guess", "7.0,307", "--no-posterior")
    assert "flux calibration" in text
    row = Table.read(out / "measure" / "companions.ecsv", format="ascii.ecsv")[0]
    # published from the ground: 7.11 +- 0.03 arcsec, 307.3 +- 0.2 deg; two sigma of both errors together
    assert abs(row["separation"] - 7.11) < 2 * np.hypot(0.03, row["separation_err"])
    assert abs(row["position_angle"] - 307.3) < 2 * np.hypot(0.2, row["position_angle_err"])
    assert row["snr"] > 30
    assert row["flux_err"] > row["flux_err_stat"]
    assert np.isnan(row["contrast"])  # the star's flux was not given
    residual = fits.getdata(out / "measure" / "companions_residual.fits", "SCI")
    model = fits.getdata(out / "measure" / "companions_residual.fits", "MODEL")
    y, x = np.unravel_index(np.nanargmax(model), model.shape)
    assert np.nanmax(np.abs(residual[y - 4 : y + 5, x - 4 : x + 5])) < 0.15 * model[y, x]


@pytest.mark.usefixtures("quick_report")
def test_contrast(out):
    invoke("companion", str(out), "--guess", "7.0,307", "--no-posterior")
    text = invoke(
        "contrast", str(out), "--separations", "4", "--angles", "2", "--star-mag", "6.7", "--distance", "103",
        "--outer", "8",
    )  # fmt: skip
    assert "contrast.ecsv" in text
    table = Table.read(out / "measure" / "contrast.ecsv", format="ascii.ecsv")
    for name in ("separation", "separation_au", "contrast_raw", "contrast_5sigma", "flux_5sigma", "magnitude_5sigma"):
        assert np.isfinite(table[name]).all(), name
    assert (table["contrast_5sigma"] >= table["contrast_raw"]).all()
    # from the star's halo within 1 arcsec to the background at 8: more than a factor of ten
    assert table["contrast_5sigma"][-1] < 0.1 * table["contrast_5sigma"][0]
    assert table.meta["known_sources"] == 1
    assert fits.getdata(out / "measure" / "contrast_map.fits", "FLUX").ndim == 2
    run = open_run(out)
    sources, origin = known_sources(run)
    assert origin == "companions.ecsv"
    # the statistical error of the fit is 4 %, its total error 9 %
    assert sources[0][2] == pytest.approx(9.3e-5, rel=0.1)


def test_detect(out):
    text = invoke("detect", str(out), "--threshold", "6")
    assert text.count("separation") == 1
    assert "report:" in text  # written again


def test_errors(out, tmp_path):
    with pytest.raises(MissingInputError, match=r"no manifest\.jsonl"):
        open_run(tmp_path)
    with pytest.raises(ConfigError, match="SEPARATION,PA"):
        invoke("companion", str(out), "--guess", "nonsense")
    with pytest.raises(ConfigError, match="give one of"):
        invoke("contrast", str(out), "--star-mag", "5", "--star-flux", "1")


def test_contrast_without_the_star(out):
    from lyot.measure import ContrastParams

    table = measure_contrast(open_run(out), None, ContrastParams(separations=2, angles=1))
    assert np.isnan(table["contrast_5sigma"]).all()
    assert np.isfinite(table["flux_5sigma"]).all()
