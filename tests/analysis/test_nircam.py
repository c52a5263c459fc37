"""NIRCam with a round mask, measured with images of off-axis sources by STPSF; shown on a stand-in for it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lyot.errors import ConfigError
from lyot.exposures.names import COMPANIONS, CONTRAST, CONTRAST_MAP, DETECTIONS
from lyot.geometry import detector_offset, pa_of_detector_y
from lyot.report import write_report
from lyot.run.config import build_config
from lyot.run.execute import run
from tests.optics.stpsf_standin import SIGMA, install, transmission, write_data
from tests.steps.stage23_synthetic import NOISE, exposure, speckles

SHAPE, STAR, SIDE = (101, 101), (50.0, 49.0), 0.0629
ROLLS = (63.757, 73.766)
PEAK = 60.0
"""Of a remnant of a cosmic ray, MJy/sr."""

PLANETS = ((1.9, 100.0, 4e-5), (0.8, 230.0, 1.5e-4))
"""Separation (arcsec), position angle (deg), flux (Jy): beside the mask, and where it takes a third of the light."""


def planets(roll: float) -> np.ndarray:
    """Images of the planets, MJy/sr, by the formula of the stand-in."""
    y, x = np.indices(SHAPE)
    image = np.zeros(SHAPE)
    area = (SIDE / 206264.806) ** 2
    for separation, angle, flux in PLANETS:
        dx, dy = detector_offset(separation, angle, pa_of_detector_y(roll, 0.5))
        sub = (np.arange(5) - 2) / 5  # a pixel integrates
        for v in sub:
            for u in sub:
                r2 = ((x + u - STAR[0]) * SIDE - float(dx)) ** 2 + ((y + v - STAR[1]) * SIDE - float(dy)) ** 2
                image += np.exp(-0.5 * r2 / SIGMA**2) / 25 * SIDE**2 / (2 * np.pi * SIGMA**2) * (
                    1e-6 * flux / area * transmission("MASK335R", separation)
                )  # fmt: skip
    return image


def write_sequence(folder: Path) -> Path:
    """Two rolls and six references, with the archive's keywords of NIRCam."""
    rng, number = np.random.default_rng(5), 0
    folder.mkdir()

    def save(images: np.ndarray, roll: float, *, is_psf: bool, dither: int = 1) -> None:
        nonlocal number
        number += not is_psf or dither == 1
        name = f"jw0118400{number}001_03106_0000{dither}_nrcalong_calints.fits"
        model = exposure(images, name=name, roll=roll, star=STAR, filter_name="F444W")
        meta = model.meta
        meta.instrument.name, meta.instrument.detector, meta.instrument.channel = "NIRCAM", "NRCALONG", "LONG"
        meta.instrument.module, meta.instrument.pupil, meta.instrument.coronagraph = "A", "MASKRND", "MASKA335R"
        meta.exposure.type, meta.subarray.name = "NRC_CORON", "SUB320A335R"
        meta.subarray.xstart = meta.subarray.ystart = 1
        meta.wcsinfo.v3yangle = 0.5
        meta.photometry.pixelarea_arcsecsq = SIDE**2
        meta.photometry.pixelarea_steradians = (SIDE / 206264.806) ** 2
        meta.target.proposer_name = "REF" if is_psf else "STAR"
        meta.observation.program_number, meta.observation.observation_number = "01184", f"{number:03d}"
        meta.exposure.psf_reference = is_psf
        meta.exposure.nints, meta.exposure.ngroups = len(images), 10
        meta.dither.position_number, meta.dither.total_points = dither, 6 if is_psf else 1
        meta.cal_step.photom = "COMPLETE"
        model.save(str(folder / name))

    for e, roll in enumerate(ROLLS):
        save(rng.normal(speckles(SHAPE, STAR, 0.02 * e) + planets(roll), NOISE, (3, *SHAPE)), roll, is_psf=False)
    for i in range(6):
        images = rng.normal(2.2 * speckles(SHAPE, STAR, 0.05 * (i - 2.5)), NOISE, (2, *SHAPE))
        save(images, 115.0, is_psf=True, dither=i + 1)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence(tmp_path_factory.mktemp("nircam") / "data")


SETTINGS = {
    "run": {"stages": "3"}, "companion": {"posterior": False}, "star": {"flux": 1.0},
    "contrast": {"separations": 3, "angles": 4, "outer_radius": 2.5},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_without_stpsf_a_peak_in_one_roll_is_rejected(data: Path, tmp_path: Path) -> None:
    """Remnants of a cosmic ray in all integrations of the first roll, as wide as a point source."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    y, x = np.indices(SHAPE)
    first = next(folder.glob("jw01184001001*"))
    with fits.open(first, mode="update") as hdus:
        hdus["SCI"].data += (PEAK * np.exp(-0.5 * ((x - 85) ** 2 + (y - 40) ** 2) / 1.3**2)).astype(np.float32)
    run([folder], tmp_path / "out", build_config({"run": {"stages": "3"}}), inline=True)
    found = Table.read(tmp_path / "out" / "measure" / DETECTIONS, format="ascii.ecsv")
    at_ray = found[np.abs(found["separation"] - np.hypot(35, 9) * SIDE) < 0.1]
    assert [(row["status"], row["reason"], row["rolls"]) for row in at_ray] == [("rejected", "in one roll only", 2)]
    planet = min(found, key=lambda row: abs(row["separation"] - PLANETS[0][0]))
    assert planet["status"] == "source" and planet["rolls"] == 2


# of the official association reader, and of data models without a type, in the process that runs the tests
@pytest.mark.filterwarnings("ignore")
def test_companions_and_contrast_with_stpsf(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, write_data(tmp_path / "stpsf"))
    result = run([data], tmp_path / "out", build_config(SETTINGS), inline=True)
    assert not result.failed and not any("not measured" in note for note in result.plan.notes)
    folder = tmp_path / "out" / "measure"
    assert len(Table.read(folder / DETECTIONS, format="ascii.ecsv")) >= 2
    fitted = Table.read(folder / COMPANIONS, format="ascii.ecsv")
    for separation, angle, flux in PLANETS:
        row = min(fitted, key=lambda r: abs(r["separation"] - separation))
        # the transmission between the radii at which images are made: 0.5 %, and three statistical errors
        assert abs(row["flux"] - flux) < 0.005 * flux + 3 * row["flux_err_stat"]
        assert abs(row["separation"] - separation) < 0.004 + 3 * row["separation_err_stat"]  # half a sample: 8 mas
        assert abs(row["position_angle"] - angle) < 0.3 + 3 * row["position_angle_err_stat"]
    curve = Table.read(folder / CONTRAST, format="ascii.ecsv")
    # at 0.2 arcsec the mask takes 93 % of the light, and there is no limit
    assert np.isfinite(curve["flux_5sigma"][1:]).all() and np.diff(curve["flux_5sigma"][1:])[0] < 0
    assert np.isnan(curve["magnitude_5sigma"]).all()  # the zero point is not known
    assert (folder / CONTRAST_MAP).is_file()
    text = write_report(tmp_path / "out").read_text(encoding="utf-8")
    assert "nan" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.S | re.I).lower().split()


def test_a_magnitude_of_the_star_requires_a_zero_point(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, write_data(tmp_path / "stpsf"))
    settings = {**SETTINGS, "star": {"magnitude": 4.5}}
    with pytest.raises(ConfigError, match="zero point of NIRCAM F444W is not known; give the flux of the star in Jy"):
        run([data], tmp_path / "out", build_config(settings), inline=True)
