"""Malformed files by the hundred: one sentence or success, never a traceback, never a product that is half there.

``LYOT_FUZZ=2000`` tries that many; 200 by default.
"""

from __future__ import annotations

import gzip
import os
import warnings

import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from lyot.errors import LyotError
from lyot.exposures.inputs import read_inputs
from lyot.exposures.read import read_exposure
from lyot.geometry import angular_distance
from lyot.run.config import build_config
from lyot.run.execute import run
from lyot.run.plan import make_plan
from lyot.run.worker import PARTIAL
from lyot.steps.sequence_io import frames_of, geometry_of, open_exposure
from tests.exposures.malformed import good_file, malformed

TRIES = int(os.environ.get("LYOT_FUZZ", "200"))
PARTS = 4
"""Tests that share the tries, so that they run at the same time."""

WHOLE = max(3, TRIES // 100)
"""Files that go through the whole of stage 3."""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def good():
    return good_file()


@pytest.fixture(scope="module")
def reference():
    return good_file(target="OTHER", is_psf=True)


def one_sentence(action, *arguments):
    """What an action returns, or None where it refused in one sentence; anything else it raises is a failure."""
    try:
        return action(*arguments)
    except LyotError as error:
        text = str(error)
        assert text and "\n" not in text
        assert text.endswith((".", "?")), text
        return None


def _opened(path):
    with open_exposure(str(path)) as model:
        frames = one_sentence(frames_of, model)
        assert frames is None or frames.data.shape == frames.variance.shape == frames.dq.shape
        one_sentence(geometry_of, model)


def _plan(folder):
    return make_plan([folder], folder.parent / "out", build_config({"run": {"stages": "3"}}))


@pytest.mark.parametrize("part", range(PARTS))
def test_a_malformed_file_is_refused_in_one_sentence_or_read(part, good, reference, tmp_path):
    path = tmp_path / "data" / "jw01001001001_04101_00001_mirimage_calints.fits"
    path.parent.mkdir()
    (path.parent / "jw01001003001_04101_00001_mirimage_calints.fits").write_bytes(reference)
    refused = 0
    for seed in range(part, TRIES, PARTS):
        path.write_bytes(malformed(good, seed))
        try:
            found = one_sentence(read_exposure, path)
            refused += found is None
            one_sentence(_opened, path)
            if seed % 3 == 0:  # planning takes longest
                one_sentence(_plan, path.parent)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    assert not (tmp_path / "out").exists()
    # most faults are in what is read of the headers and arrays, and many only change a value that may be anything
    assert 0.2 < refused * PARTS / TRIES < 0.8


def test_the_good_file_is_good(good, reference, tmp_path):
    for name, data in (("jw01001001001_1_calints.fits", good), ("jw01001003001_1_calints.fits", reference)):
        (tmp_path / name).write_bytes(data)
    assert len(read_inputs([tmp_path]).exposures) == 2
    assert {task.kind for task in _plan(tmp_path).tasks} == {"stage3", "measure"}


@pytest.mark.parametrize("seed", range(WHOLE))
def test_stage_3_leaves_whole_products_or_none(seed, good, reference, tmp_path, monkeypatch):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    folder, out = tmp_path / "data", tmp_path / "out"
    folder.mkdir()
    (folder / "jw01001001001_04101_00001_mirimage_calints.fits").write_bytes(malformed(good, 10_000 + seed))
    (folder / "jw01001003001_04101_00001_mirimage_calints.fits").write_bytes(reference)
    config = build_config({"run": {"stages": "3"}, "stage3": {"refine": {"skip": True}}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = one_sentence(lambda: run([folder], out, config, inline=True))
    assert not (out / PARTIAL).exists()
    recorded = {p.path for r in result.records for p in r.products} if result is not None else set()
    for path in out.rglob("*.fits"):
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert all(hdu.data is not None for hdu in hdus[1:])
        assert result is None or path.relative_to(out).as_posix() in recorded


def test_faults_that_many_tries_found(good, tmp_path):
    """Each let an error of a library through."""
    path = tmp_path / "a_calints.fits"
    at = good.rindex(b"XTENSION", 0, good.index(b"EXTNAME = 'ERR"))
    path.write_bytes(good[:at] + b"XTENSION= 12h34m56s".ljust(80) + good[at + 80 :])
    with pytest.raises(LyotError, match="the header of an extension is damaged"):
        read_exposure(path)
    for name in (path, tmp_path / "b_calints.fits.gz"):  # the header of ASDF begins with no keyword at all
        at = good.rindex(b"XTENSION", 0, good.index(b"EXTNAME = 'ASDF"))
        broken = good[:at] + b"=8Q?" * 20 + good[at + 80 :]
        name.write_bytes(gzip.compress(broken) if name.suffix == ".gz" else broken)
        with pytest.raises(LyotError, match="the header of an extension is damaged"):
            read_exposure(name)
    path.write_bytes(good.replace(b"datatype: float32", b"datatype: flaat32"))
    with pytest.raises(LyotError, match=r"not a readable JWST exposure \(.*\)\.$"):
        open_exposure(str(path))
    # the metadata are no YAML any more: of a kind of error that is no ValueError
    path.write_bytes(good.replace(b"datatype: float32", b"@atatype: float32"))
    with pytest.raises(LyotError, match=r"not a readable JWST exposure \(.*\)\.$"):
        open_exposure(str(path))
    # over a pole the same place: the square of the half chord came out as -1e-16, by rounding
    assert angular_distance((10.0, 135.0), (190.0, 45.0)) == 0.0
    assert angular_distance((10.0, 147.0), (190.0, 33.0)) == 0.0
    with datamodels.JwstDataModel() as model, pytest.raises(LyotError, match="unknown type of JWST product"):
        geometry_of(model)
