"""``lyot fit-optics``: from calibrated dithers to a file of optics and a picture, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lyot import geometry
from lyot.instrument import coronagraph
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.optics.fitted import fitted_optics
from tests.cli.test_commands import called
from tests.steps.stage23_synthetic import exposure

C = coronagraph("F1550C")
QUICK = ("--pupil-pixels", "64", "--stop-cells", "16", "--highest-noll", "4", "--iterations", "12", "--radius", "1.6")
COMPANION = (5.0, 150.0)

pytestmark = pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.NoTypeWarning")


@pytest.fixture(scope="module")
def dithers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four dithers of a star, and another star with a companion."""
    folder = tmp_path_factory.mktemp("dithers")
    optics = OpticsParams(pupil_pixels=64, n_wavelengths=2, stop="effective")
    star = CoronagraphModel.build("F1550C", optics)
    beside = CoronagraphModel.build("F1550C", OpticsParams(pupil_pixels=64, n_wavelengths=2))
    rng = np.random.default_rng(5)
    unit = 0.1e-6 / C.pixel_area
    (folder / "star").mkdir()
    for k, (x, y) in enumerate([(0.0, 0.0), (0.01, 0.01), (-0.01, 0.01), (0.01, -0.01)]):
        image = unit * star.psf((x + 0.004, y - 0.002)) + rng.normal(scale=0.2, size=(2, *C.shape))
        model = exposure(image, name=f"jw0100200{k}001_calints.fits", star=C.reference_point)
        model.meta.dither.x_offset, model.meta.dither.y_offset = x, y
        model.meta.target.catalog_name = "HD 1"
        model.save(str(folder / "star" / model.meta.filename))
    pa_y = geometry.pa_of_detector_y(108.171, 4.83544897)
    offset = tuple(float(v) for v in geometry.detector_offset(*COMPANION, pa_y))
    image = 0.3 * unit * star.psf((0.004, -0.002)) + 0.05 * unit * beside.psf(offset)
    model = exposure(image + rng.normal(scale=0.2, size=(1, *C.shape)), name="jw01003001001_calints.fits",
                     star=C.reference_point)  # fmt: skip
    model.save(str(folder / "science.fits"))
    return folder


def test_a_fit_writes_optics_and_a_picture(dithers: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.npz"
    done = called(
        "fit-optics", dithers / "star", "--science", dithers / "science.fits", "--companion", "5,150", "--star-flux",
        "0.1,0.005", "--leave-out", "2", "--out", out, *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "excluded exposures:" in done.stdout and "of 169 pixels" in done.stdout
    flux = float(done.stdout.split("star ")[1].split(" mJy")[0])
    assert 20.0 < flux < 200.0  # of 100; a dozen iterations on a coarse pupil do not find it (measured 41)
    assert out.with_suffix(".png").stat().st_size > 20_000
    ours = fitted_optics(str(out))
    assert ours.filter == "F1550C" and "jw01002000001_calints.fits" in ours.origin
    model = CoronagraphModel.build("F1550C", OpticsParams(pupil_pixels=64, stop="effective", fitted_optics=str(out)))
    assert model.psf((0.0, 0.0)).shape == C.shape
    again = called("fit-optics", dithers / "star", "--out", out, *QUICK)
    assert again.returncode == 2 and "exists" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--companion", "5,150", "--science", "science.fits", "--leave-out", "9"), "leave_out: no exposure 9"),
        (("--leave-out", "one"), "--leave-out: expected numbers"),
        (("--star-flux", "-1,2"), "--star-flux: expected FLUX,ERROR in Jy"),
        (("--companion", "5"), "--companion 5: expected SEPARATION,PA"),
        (("--science", "science.fits"), "give separation and position angle of the companion"),
        (("--science", "science.fits", "--companion", "40,150"), "is not on the image"),
        (("--leave-out", "1,2,3"), "at least two dithers"),
        (("--out", "nowhere/x.npz"), "is not an existing folder"),
    ],
)
def test_wrong_input_is_one_sentence(
    dithers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(dithers / a) if a == "science.fits" else a for a in arguments]
    done = called("fit-optics", dithers / "star", *given, *QUICK)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("*"))


def test_exposures_of_two_stars_or_without_dithers_are_refused(dithers: Path, tmp_path: Path) -> None:
    one = next((dithers / "star").glob("*0001001*"), None) or sorted((dithers / "star").glob("*.fits"))[0]
    both = called("fit-optics", one, dithers / "science.fits", "--out", tmp_path / "x.npz", *QUICK)
    assert both.returncode == 2 and "XOFFSET and YOFFSET are the same" in both.stderr
    empty = called("fit-optics", tmp_path, "--out", tmp_path / "x.npz")
    assert empty.returncode == 2
