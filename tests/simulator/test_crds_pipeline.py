"""The official pipeline, stages 1 to 3, on simulated files with the offline cache and no network.

The pipeline runs in processes of its own, whose sockets refuse to connect and note that they were asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from stdatamodels.jwst import datamodels

from lyot import dq
from lyot.geometry import pa_of_detector_y, position_angle
from lyot.simulator.crds_cache import write_crds_cache
from lyot.simulator.detector import DetectorModel
from tests.simulator.crds_support import tiny_detector, write_uncal

pytestmark = pytest.mark.slow

BACKGROUND = 1500.0
"""Level of the sky, DN/s."""

GROUPS = 16

NO_NETWORK = """
import os, socket

def refuse(*args, **kwargs):
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(repr(args) + "\\n")
    raise OSError("the network is closed")

socket.socket.connect = refuse
socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
"""

STAGES = """
from jwst.pipeline import Coron3Pipeline, Detector1Pipeline, Image2Pipeline
for name in ("ref", "bg", "lyot"):
    Detector1Pipeline.call(FILES[name], save_results=True)
for name in ("sci", "ref"):
    Image2Pipeline.call(f"{name}_asn.json", save_results=True)
Image2Pipeline.call(FILES["lyot"].replace("uncal", "rateints"), save_results=True)
Coron3Pipeline.call("coron3_asn.json", save_results=True)
"""


def gauss(shape, center, sigma=3.0):
    y, x = np.indices(shape)
    return np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))


class Sequence:
    """A science, a reference and a background exposure, reduced by the official pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.detector, self.lyot = tiny_detector("F1550C"), tiny_detector("F2300C")
        detectors = {"F1550C": self.detector, "F2300C": self.lyot}
        self.cache = write_crds_cache(folder / "crds_cache", detectors, ngroups=GROUPS)
        self.star = 6000.0 * gauss(self.detector.shape, self.detector.coronagraph.reference_point)
        flat = np.full(self.detector.shape, BACKGROUND)

        def write(role: str, scene: np.ndarray, detector: DetectorModel = self.detector) -> Path:
            return write_uncal(folder, detector, scene, role, ngroups=GROUPS)

        self.files = {
            "sci": write("science", self.star + flat),
            "ref": write("reference", 0.8 * self.star + flat),
            "bg": write("science_background", flat),
            "lyot": write("science", flat, self.lyot),
        }
        self.inputs = {name: path.read_bytes() for name, path in self.files.items()}
        self.cached = self.cache_state()
        self._associations()

    def cache_state(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in sorted(self.cache.path.rglob("*"))}

    def product(self, name: str, suffix: str) -> Path:
        return self.folder / self.files[name].name.replace("uncal", suffix)

    def _associations(self) -> None:
        common = {"asn_pool": "none", "asn_id": "a3001", "program": "01386", "target": "hip65426"}
        for name in ("sci", "ref"):
            members = [
                {"expname": self.product(name, "rateints").name, "exptype": "science"},
                {"expname": self.product("bg", "rateints").name, "exptype": "background"},
            ]
            product = {"name": self.files[name].name.removesuffix("_uncal.fits"), "members": members}
            asn = {"asn_type": "image2", "asn_rule": "DMSLevel2bBase", "products": [product], **common}
            (self.folder / f"{name}_asn.json").write_text(json.dumps(asn))
        members = [
            {"expname": self.product("sci", "calints").name, "exptype": "science"},
            {"expname": self.product("ref", "calints").name, "exptype": "psf"},
        ]
        product = {"name": "jw01386-a3001_t001_miri_f1550c", "members": members}
        asn = {"asn_type": "coron3", "asn_rule": "DMS_Level3_Base", "products": [product], **common}
        (self.folder / "coron3_asn.json").write_text(json.dumps(asn))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        guard = self.folder / "guard"
        guard.mkdir(exist_ok=True)
        (guard / "sitecustomize.py").write_text(NO_NETWORK)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
        environment |= self.cache.environment()
        environment |= {"PYTHONPATH": str(guard), "NETWORK_LOG": str(self.folder / "network.log")}
        return subprocess.run(
            command, cwd=self.folder, env=environment, text=True, capture_output=True, timeout=300, check=False
        )


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    sequence = Sequence(tmp_path_factory.mktemp("sequence"))
    strun = Path(sys.executable).with_name("strun")
    sequence.stage1 = sequence.run(str(strun), "calwebb_detector1", sequence.files["sci"].name)
    names = {name: path.name for name, path in sequence.files.items()}
    sequence.rest = sequence.run(sys.executable, "-c", f"FILES = {names!r}\n{STAGES}")
    return sequence


def test_strun_gives_the_slopes_that_were_put_in(sequence):
    assert sequence.stage1.returncode == 0, sequence.stage1.stderr[-2000:]
    d = sequence.detector
    with datamodels.open(sequence.product("sci", "rateints")) as model:
        good = (model.dq & dq.DO_NOT_USE) == 0
        assert good.mean() > 0.97
        ratio = model.data / ((sequence.star + BACKGROUND) * d.flat)
        assert model.meta.ref_file.crds.context_used == sequence.cache.context
        for step in ("dq_init", "saturation", "reset", "linearity", "rscd", "dark_sub", "jump", "ramp_fit"):
            assert getattr(model.meta.cal_step, step) == "COMPLETE", step
    # rounding to whole DN: 0.29 DN on a ramp of 11 groups of at least 360 DN each gives 1e-4 (1 sigma); the correction
    # for linearity alone changes these slopes by 1 to 4 %
    assert np.abs(ratio[good] - 1).max() < 1e-3
    assert np.abs(np.median(ratio[good]) - 1) < 1e-4


def test_image2_gives_brightness_without_background(sequence):
    assert sequence.rest.returncode == 0, sequence.rest.stderr[-2000:]
    d, c = sequence.detector, sequence.detector.coronagraph
    with datamodels.open(sequence.product("sci", "calints")) as model:
        good = (model.dq & dq.DO_NOT_USE) == 0
        expected = sequence.star * d.photmjsr
        # 1e-4 of (star + background), the rounding above, and once more for the background exposure
        tolerance = 5e-4 * (sequence.star + 2 * BACKGROUND) * d.photmjsr
        assert np.all(np.abs(model.data - expected)[good] < np.broadcast_to(tolerance, good.shape)[good])
        assert model.meta.photometry.pixelarea_steradians == pytest.approx(c.pixel_area, rel=1e-6)
        assert model.meta.photometry.conversion_megajanskys == pytest.approx(d.photmjsr, rel=1e-6)
        assert model.area.shape == c.shape
        assert model.meta.cal_step.bkg_subtract == "COMPLETE"
        assert model.meta.cal_step.flat_field == "COMPLETE"


def test_the_lyot_spot_gets_its_own_calibration(sequence):
    d = sequence.lyot
    with datamodels.open(sequence.product("lyot", "calints")) as model:
        assert model.meta.exposure.type == "MIR_LYOT"
        good = (model.dq & dq.DO_NOT_USE) == 0
        assert good.mean() > 0.9
        # rounding, 0.29 DN on 11 groups of 490 DN, five times over
        np.testing.assert_allclose(model.data[good], BACKGROUND * d.photmjsr, rtol=5e-4)
        info = model.meta.wcsinfo
        # inverse of the distortion polynomial of the reference file: 0.01 pixel
        assert model.meta.wcs.invert(info.ra_ref, info.dec_ref) == pytest.approx(
            d.coronagraph.reference_point, abs=0.01
        )


@pytest.mark.parametrize("name", ["sci", "lyot"])
def test_world_coordinates_agree_with_the_simulated_geometry(sequence, name):
    c = {"sci": sequence.detector, "lyot": sequence.lyot}[name].coronagraph
    with datamodels.open(sequence.product(name, "calints")) as model:
        wcs, info = model.meta.wcs, model.meta.wcsinfo
        x, y = wcs.invert(info.ra_ref, info.dec_ref)
        # rounding of coordinates of 200 deg is 1e-9 pixels; at the reference point the distortion is zero
        assert np.hypot(x - c.reference_point[0], y - c.reference_point[1]) < 1e-6
        assert (info.crpix1 - 1, info.crpix2 - 1) == pytest.approx(c.reference_point, abs=0.01)
        # a source off the star: position angle and separation as geometry.py has them
        dx, dy = 3 * c.pixel_scale[0], 8 * c.pixel_scale[1]
        ra, dec = wcs(c.reference_point[0] + 3, c.reference_point[1] + 8)
        pa = float(position_angle(dx, dy, pa_of_detector_y(info.roll_ref, info.v3yangle)))
    star, source = SkyCoord(info.ra_ref, info.dec_ref, unit="deg"), SkyCoord(ra, dec, unit="deg")
    # rounding of the coordinates, 1e-14 of 200 deg, on 0.9 arcsec
    assert star.separation(source).arcsec == pytest.approx(np.hypot(dx, dy), rel=1e-5)
    assert star.position_angle(source).deg == pytest.approx(pa, abs=1e-3)


def test_coron3_removes_the_star(sequence):
    assert sequence.rest.returncode == 0, sequence.rest.stderr[-2000:]
    folder = sequence.folder
    with datamodels.open(next(folder.glob("*_psfalign.fits"))) as model:
        assert model.meta.ref_file.psfmask.name == "crds://jwst_miri_psfmask_0001.fits"
    with datamodels.open(next(folder.glob("*_psfsub.fits"))) as model:
        mask = sequence.star > 100
        left = np.nanstd(model.data[:, mask]) / np.nanstd(sequence.star[mask] * sequence.detector.photmjsr)
    # the reference is the star itself, 0.8 times as bright: what is left comes from filled bad pixels and interpolation
    assert left < 0.05
    assert (folder / "jw01386-a3001_t001_miri_f1550c_i2d.fits").is_file()
    assert (folder / "jw01386-a3001_t001_miri_f1550c_psfstack.fits").is_file()


def test_inputs_and_cache_untouched_and_network_never_asked(sequence):
    for name, path in sequence.files.items():
        assert path.read_bytes() == sequence.inputs[name]
    assert sequence.cache_state() == sequence.cached
    log = sequence.folder / "network.log"
    assert not log.exists(), log.read_text()
    for run in (sequence.stage1, sequence.rest):
        assert "CRDS - ERROR" not in run.stderr + run.stdout
        assert "Results used CRDS context: " + sequence.cache.context in run.stderr + run.stdout


def test_without_a_cache_the_guard_is_real(sequence, tmp_path):
    """The same process without the server's configuration ends: the runs above did not go past the cache."""
    code = "import crds; crds.get_context_name('jwst')"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CRDS_")}
    environment |= {
        "CRDS_PATH": str(tmp_path),
        "CRDS_SERVER_URL": "https://jwst-crds.stsci.edu",
        "PYTHONPATH": str(sequence.folder / "guard"),
        "NETWORK_LOG": str(tmp_path / "network.log"),
    }
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False, timeout=120)
    assert ended.returncode != 0
    assert (tmp_path / "network.log").exists()
