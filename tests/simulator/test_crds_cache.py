"""The cache is one that the reference system accepts, and refuses what cannot be."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from lyot.errors import InputError, OutputError
from lyot.reference_files.environment import resolve_crds
from lyot.simulator import crds_mappings
from lyot.simulator.crds_cache import write_crds_cache, write_empty_cache
from tests.simulator.crds_support import tiny_detector

FILTERS = ("F1065C", "F1140C", "F1550C", "F2300C")


@pytest.fixture(scope="module")
def detectors():
    return {name: tiny_detector(name) for name in FILTERS}


@pytest.fixture(scope="module")
def cache(detectors, tmp_path_factory):
    return write_crds_cache(tmp_path_factory.mktemp("cache") / "crds_cache", detectors, ngroups=6)


def parameters(c):
    return {
        "meta.instrument.name": "MIRI",
        "meta.telescope": "JWST",
        "meta.instrument.detector": "MIRIMAGE",
        "meta.instrument.filter": c.filter,
        "meta.instrument.coronagraph": c.mask,
        "meta.exposure.type": c.exposure_type,
        "meta.exposure.readpatt": "FASTR1",
        "meta.subarray.name": c.subarray,
        "meta.observation.date": "2022-07-17",
        "meta.observation.time": "10:00:00.000",
    }


def test_every_filter_gets_its_own_files(cache, detectors):
    import crds

    kinds = list(crds_mappings.PARKEYS)
    seen = {}
    with resolve_crds(cache.path).applied():
        for name, detector in detectors.items():
            found = crds.getreferences(parameters(detector.coronagraph), reftypes=kinds, observatory="jwst")
            assert set(found) == set(kinds)
            assert all((cache.path / "references").resolve() in _parents(path) for path in found.values())
            seen[name] = found
    for kind in ("dark", "flat", "distortion", "psfmask", "photom", "area", "gain"):
        assert len({seen[name][kind] for name in FILTERS}) == 4, kind
    for kind in ("rscd", "filteroffset"):
        assert len({seen[name][kind] for name in FILTERS}) == 1, kind


def test_looking_up_writes_nothing_into_the_cache(cache, detectors):
    import crds

    before = sorted(cache.path.rglob("*"))
    with resolve_crds(cache.path).applied():
        query = parameters(detectors["F1550C"].coronagraph)
        crds.getreferences(query, reftypes=["dark", "ipc", "pars-klipstep"], observatory="jwst")
    assert sorted(cache.path.rglob("*")) == before


def _parents(path):
    return Path(path).resolve().parents


def test_two_caches_in_one_process(cache, detectors, tmp_path):
    import crds

    other = write_crds_cache(tmp_path / "other", {"F1550C": detectors["F1550C"]}, ngroups=4)
    query = parameters(detectors["F1550C"].coronagraph)
    for one in (cache, other, cache):
        with resolve_crds(one.path).applied():
            assert crds.get_context_name("jwst") == one.context
            path = crds.getreferences(query, reftypes=["gain"], observatory="jwst")["gain"]
            assert path.startswith(str(one.path.resolve()))


def test_types_that_official_steps_ask_for_are_all_known():
    import jwst.pipeline
    import jwst.step

    asked = set()
    for module in (jwst.step, jwst.pipeline):
        for name in module.__all__:
            step = getattr(module, name)
            types = getattr(step, "reference_file_types", [])
            asked |= set(types) if isinstance(types, list) else set()
            asked.add(step.get_config_reftype())
    assert asked - set(crds_mappings.REFERENCE_TYPES) == set()


def test_empty_cache_answers_na(tmp_path):
    import crds

    cache = write_empty_cache(tmp_path / "empty")
    with resolve_crds(cache.path).applied():
        for instrument, detector in (("MIRI", "MIRIMAGE"), ("NIRCAM", "NRCALONG")):
            query = {"meta.instrument.name": instrument, "meta.instrument.detector": detector, "meta.telescope": "JWST"}
            found = crds.getreferences(query, reftypes=["psfmask", "pars-klipstep"], observatory="jwst")
            assert all("n/a" in value.lower() for value in found.values())


def test_checksums_of_the_rules(cache):
    texts = [path.read_text() for path in sorted((cache.path / "mappings" / "jwst").iterdir())]
    assert len(texts) == 2 + len(crds_mappings.PARKEYS)
    for text in texts:
        rest = "".join(line for line in text.splitlines(keepends=True) if "sha1sum" not in line)
        assert re.search(r"'sha1sum' : '(\w{40})'", text)[1] == hashlib.sha1(rest.encode()).hexdigest()


def test_same_detector_same_cache_other_detector_other_context(detectors, tmp_path):
    one = {"F1550C": detectors["F1550C"]}
    a, b = write_crds_cache(tmp_path / "a", one, ngroups=4), write_crds_cache(tmp_path / "b", one, ngroups=4)
    assert a.context == b.context
    for path in a.path.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (b.path / path.relative_to(a.path)).read_bytes()
    other = write_crds_cache(tmp_path / "c", {"F1550C": tiny_detector(seed=4)}, ngroups=4)
    assert other.context != a.context


def test_a_cache_of_ours_is_replaced_other_folders_are_not(detectors, tmp_path):
    one = {"F1550C": detectors["F1550C"]}
    first = write_crds_cache(tmp_path / "crds_cache", one, ngroups=4)
    second = write_crds_cache(tmp_path / "crds_cache", one, ngroups=5)
    assert first.context != second.context
    assert len(list((tmp_path / "crds_cache" / "mappings" / "jwst").glob("*.pmap"))) == 1
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("do not touch")
    with pytest.raises(OutputError, match="mine exists and is not a calibration cache"):
        write_crds_cache(mine, one, ngroups=4)
    assert (mine / "thesis.txt").read_text() == "do not touch"


def test_a_failure_leaves_nothing_half_written(detectors, tmp_path, monkeypatch):
    from astropy.io import fits

    def full(*_args, **_keys):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", full)
    with pytest.raises(OutputError, match="no space left on the disk"):
        write_crds_cache(tmp_path / "crds_cache", {"F1550C": detectors["F1550C"]}, ngroups=4)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_refused(detectors, tmp_path):
    root = tmp_path / "crds_cache"
    with pytest.raises(InputError, match="at least one detector"):
        write_crds_cache(root, {}, ngroups=4)
    with pytest.raises(InputError, match="given for F1140C is that of F1550C"):
        write_crds_cache(root, {"F1140C": detectors["F1550C"]}, ngroups=4)
    with pytest.raises(InputError, match="ngroups >= 2"):
        write_crds_cache(root, {"F1550C": detectors["F1550C"]}, ngroups=1)
    with pytest.raises(InputError, match=r"shape \(3, 3\)"):
        write_crds_cache(root, {"F1550C": detectors["F1550C"]}, ngroups=4, psf_masks={"F1550C": np.ones((3, 3))})
    with pytest.raises(InputError, match="for which there is no detector"):
        write_crds_cache(root, {"F1550C": detectors["F1550C"]}, ngroups=4, psf_masks={"F1140C": np.ones((3, 3))})
    assert not root.exists()


def test_environment_names_cache_and_context(cache):
    assert cache.environment() == {"CRDS_PATH": str(cache.path.resolve()), "CRDS_CONTEXT": cache.context}
