"""Whole sequences on disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from lyot.errors import ConfigError, OutputError, UnknownNameError
from lyot.simulator import sequence as module
from lyot.simulator.plan import Size
from lyot.simulator.scene import Scene, read_scene
from lyot.simulator.sequence import SimulatedSequence, simulate_sequence
from lyot.simulator.truth import read_truth
from tests.simulator.simulate_support import QUICK, TINY


def simulate(out: Path, **kwargs) -> SimulatedSequence:  # type: ignore[no-untyped-def]
    options = {"size": TINY, "seed": 5, "optics": QUICK, "crds_cache": False, **kwargs}
    return simulate_sequence(out, **options)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSequence:
    return simulate(tmp_path_factory.mktemp("sequence") / "out", jobs=1, scene="bright_planet")


def test_files_are_there_and_nothing_else(made: SimulatedSequence) -> None:
    names = {p.name for p in made.path.iterdir()}
    assert len(made.uncal) == 15
    assert names == {p.name for p in made.uncal} | {
        "truth.json", "truth_slopes.fits", "truth_cosmic_rays.fits", "scene.toml",
    }  # fmt: skip
    assert [p.name for p in made.path.parent.iterdir()] == ["out"]
    assert read_scene(made.scene).companions[0].contrast == pytest.approx(8e-3)


def test_official_readers_open_the_files(made: SimulatedSequence) -> None:
    for path, exposure in list(zip(made.uncal, made.exposures, strict=True))[7:14:3]:
        with datamodels.open(path) as model:
            assert isinstance(model, datamodels.Level1bModel)
            assert model.data.shape == exposure.shape
            assert model.data.dtype == np.uint16
            assert model.meta.exposure.type == "MIR_4QPM"
            assert model.meta.wcsinfo.roll_ref == exposure.roll
            assert model.meta.exposure.nints == exposure.nints
            assert bool(model.meta.observation.bkgdtarg) == exposure.is_background
            assert model.refout.shape == (exposure.nints, exposure.ngroups, 56, 288)
            assert len(model.int_times) == exposure.nints
            assert len(model.group) == exposure.nints * exposure.ngroups
            model.validate()
        with datamodels.RampModel(path) as ramp:
            assert ramp.data.shape == exposure.shape


def test_fits_structure_is_sound(made: SimulatedSequence) -> None:
    for path in made.uncal[:1] + made.uncal[9:12]:
        assert path.stat().st_size % 2880 == 0
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert [h.name for h in hdus] == ["PRIMARY", "SCI", "REFOUT", "GROUP", "INT_TIMES", "ASDF"]
            assert hdus["SCI"].data.dtype == np.uint16
            # the bias, and the signal of the first groups on top of it
            assert np.median(hdus["SCI"].data) == pytest.approx(8000, abs=600)


def test_tables_of_times_hold_the_times(made: SimulatedSequence) -> None:
    for path in made.uncal[9:11]:
        with fits.open(path) as hdus:
            header, times, groups = hdus[0].header, hdus["INT_TIMES"].data, hdus["GROUP"].data
            n, ngroups = header["NINTS"], header["NGROUPS"]
            np.testing.assert_array_equal(times["integration_number"], np.arange(1, n + 1))
            start, end = times["int_start_MJD_UTC"], times["int_end_MJD_UTC"]
            assert start[0] == pytest.approx(header["EXPSTART"], abs=1e-6)
            # to a tenth of a second, as MJD resolves microseconds
            np.testing.assert_allclose((end - start) * 86400, ngroups * header["TGROUP"], atol=0.1)
            np.testing.assert_array_equal(groups["integration_number"], np.repeat(np.arange(1, n + 1), ngroups))
            np.testing.assert_array_equal(groups["group_number"], np.tile(np.arange(1, ngroups + 1), n))


def test_same_seed_same_bytes_whatever_the_threads(made: SimulatedSequence, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", jobs=3, scene="bright_planet")
    assert digests(again.path) == digests(made.path)


def test_another_seed_gives_other_data(made: SimulatedSequence, tmp_path: Path) -> None:
    other = simulate(tmp_path / "other", seed=6, scene="bright_planet")
    a, b = digests(made.path), digests(other.path)
    assert a["scene.toml"] == b["scene.toml"]
    assert all(a[p.name] != b[p.name] for p in made.uncal)


def test_truth_tells_what_is_in_the_files(made: SimulatedSequence) -> None:
    truth = read_truth(made.path)
    assert truth["seed"] == 5
    assert [e["file"] for e in truth["exposures"]] == [p.name for p in made.uncal]
    roles = [e["role"] for e in truth["exposures"]]
    assert roles == ["reference"] * 9 + ["science"] * 2 + ["science_background"] * 2 + ["reference_background"] * 2
    planet = truth["sky"]["companions"][0]
    assert planet["contrast"] == pytest.approx(planet["flux_jy"] / truth["sky"]["star"]["flux_jy"])
    assert np.hypot(planet["east_arcsec"], planet["north_arcsec"]) == pytest.approx(0.8176)
    with fits.open(made.path / "truth_slopes.fits") as slopes, fits.open(made.path / "truth_cosmic_rays.fits") as hits:
        for record, path in zip(truth["exposures"], made.uncal, strict=True):
            slope = slopes[record["slope_extension"]].data
            table = hits[record["slope_extension"]].data
            assert len(table) == record["cosmic_rays"]["charged_pixels"]
            data = fits.getdata(path, "SCI").astype(float)
            frame = truth["instrument"]["frame_time_s"]
            late = (data[0, -2] - data[0, 2]) / ((data.shape[1] - 4) * frame)
            last = data.shape[1] - 2
            decay = 0.6 * 0.95 * 45.0 * (np.exp(-last / 5) - np.exp(-2 / 5))  # of the reset anomaly, first integration
            # dark, 0.06 DN/s, and non-linearity, under 1 % of the slope, are left
            assert np.median(late - slope) == pytest.approx(decay / ((last - 2) * frame), abs=1.0)


def test_progress_goes_from_start_to_end(tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    simulate(tmp_path / "out", size=Size((1, 5), (1, 5)), progress=lambda f, m: seen.append((f, m)))
    fractions = [f for f, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len({m for _, m in seen}) > 14


def test_cache_is_written_beside(tmp_path: Path) -> None:
    made = simulate(tmp_path / "out", size=Size((1, 5), (1, 5)), crds_cache=True)
    assert made.crds is not None
    assert made.crds.path == tmp_path / "out" / "crds_cache"
    assert (made.crds.path / "config" / "jwst" / "server_config").exists()
    assert made.crds.environment()["CRDS_CONTEXT"].endswith(".pmap")


def test_lyot_spot_sequence(tmp_path: Path) -> None:
    made = simulate(tmp_path / "out", filter="F2300C", size=Size((1, 5), (1, 5)))
    with datamodels.open(made.uncal[9]) as model:
        assert model.meta.exposure.type == "MIR_LYOT"
        assert model.data.shape == (1, 5, 304, 320)
        assert model.meta.subarray.name == "MASKLYOT"


def test_existing_folders_are_kept_unless_asked(made: SimulatedSequence, tmp_path: Path) -> None:
    before = digests(made.path)
    with pytest.raises(OutputError, match="overwrite"):
        simulate(made.path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="no simulated sequence"):
        simulate(foreign, overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        simulate(tmp_path / "file")
    assert digests(made.path) == before
    assert (foreign / "mine.txt").read_text() == "keep"
    empty = tmp_path / "empty"
    empty.mkdir()
    first = simulate(empty, size=Size((1, 5), (1, 5)))
    second = simulate(empty, size=Size((1, 6), (1, 5)), overwrite=True)
    assert first.path == second.path
    assert fits.getval(second.uncal[9], "NGROUPS") == 6


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"filter": "F1550W"}, UnknownNameError, "F1550C"),
        ({"size": "smal"}, UnknownNameError, "small"),
        ({"seed": -1}, ConfigError, "seed"),
        ({"jobs": 0}, ConfigError, "jobs"),
        ({"scene": "bright"}, UnknownNameError, "bright_planet"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(tmp_path: Path, change: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        simulate(tmp_path / "out", **change)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1e6})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="GB required"):
        simulate(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match="no space left on the disk"):
        simulate(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be written: .*choose another folder"):
        simulate(tmp_path / "file" / "out")


def test_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stop(fraction: float, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "out", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_integrations() -> None:
    """Only two integrations exist at a time: the buffers alternate."""
    from concurrent.futures import ThreadPoolExecutor

    from lyot.instrument import coronagraph
    from lyot.simulator.cosmic_rays import CosmicRays
    from lyot.simulator.detector import build_detector
    from lyot.simulator.exposure import RampMaker
    from tests.simulator.simulate_support import plan

    exposure = plan(size=Size((6, 5), (1, 5)), scene=Scene())[9]
    detector = build_detector(coronagraph("F1550C"), 1)
    maker = RampMaker(exposure, np.zeros(detector.shape), detector, seed=1, cosmic_rays=CosmicRays(0.0))
    with ThreadPoolExecutor(1) as pool:
        addresses = {part.science.ctypes.data for part in maker.integrations(pool)}
    assert len(addresses) == 2
