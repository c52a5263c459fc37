"""References before the work: from a cache without a network, and one sentence when the server is out of reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyot.errors import ArchiveError
from lyot.reference_files.environment import resolve_crds
from lyot.reference_files.prefetch import prefetch
from lyot.simulator.crds_cache import write_crds_cache, write_empty_cache
from tests.run.exposures import write_exposure
from tests.simulator.crds_support import tiny_detector


def test_cache_without_network_serves(tmp_path: Path) -> None:
    cache = write_empty_cache(tmp_path / "crds_cache")
    file = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_calints.fits")
    seen: list[tuple[int, int]] = []
    with resolve_crds(cache.path).applied():
        result = prefetch([file], on_progress=lambda *n: seen.append(n))
    assert result.context == cache.context
    assert result.cache == cache.path
    assert result.references == ()  # the rules say N/A for every kind
    assert seen == [(1, 1)]


def test_references_of_an_exposure(tmp_path: Path) -> None:
    cache = write_crds_cache(tmp_path / "crds_cache", {"F1550C": tiny_detector()}, ngroups=5)
    keywords = {"DATE-OBS": "2022-07-17", "TIME-OBS": "03:00:00.000", "READPATT": "FASTR1"}
    file = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_uncal.fits", **keywords)
    with resolve_crds(cache.path).applied():
        result = prefetch([file])
    assert result.context == cache.context
    kinds = {name.split("_")[2] for name in result.references}
    assert {"mask", "gain", "readnoise", "saturation", "linearity", "dark", "flat", "photom", "psfmask"} <= kinds
    assert all((cache.path / "references" / "jwst" / "miri" / name).is_file() for name in result.references)


def test_server_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_exposure(tmp_path / "jw01386008001_04101_00001_mirimage_calints.fits")
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "cache"))
    # port 1 of this machine: nobody listens
    monkeypatch.setenv("CRDS_SERVER_URL", "https://localhost:1")
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)
    with resolve_crds().applied(), pytest.raises(ArchiveError, match="server https://localhost:1 cannot be reached"):
        prefetch([file])
