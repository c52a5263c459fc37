"""Where a tutorial takes its exposures from: what is there, the archive, or the simulator."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from lyot import archive
from lyot.errors import ConfigError, MissingInputError, UnknownNameError
from lyot.simulator import sequence as simulator
from lyot.simulator.plan import size_of
from lyot.tutorials import data


def truth(folder: Path, size: str, filter_name: str = "F1550C") -> None:
    numbers = {"science": list(size_of(size).science), "reference": list(size_of(size).reference)}
    (folder / "truth.json").write_text(json.dumps({"size": numbers, "instrument": {"filter": filter_name}}))


def test_what_is_there_is_taken(tmp_path: Path) -> None:
    for name in ("b_uncal.fits", "a_uncal.fits", "a_rateints.fits"):
        (tmp_path / name).write_bytes(bytes(2_000_000))
    found = data.get_inputs("uncal", tmp_path)
    assert [p.name for p in found.files] == ["a_uncal.fits", "b_uncal.fits"]
    assert str(found) == "2 exposures, 4 MB, already present"


def test_a_sequence_of_another_size_or_filter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a_uncal.fits").touch()
    truth(tmp_path, "small")
    assert data.get_inputs("uncal", tmp_path, size="small", filter="f1550c").origin == "earlier"
    for size, name in (("medium", "F1550C"), ("small", "F1140C")):
        with pytest.raises(ConfigError, match=f"holds a simulated F1550C sequence of .*not {name} at size {size}"):
            data.get_inputs("uncal", tmp_path, size=size, filter=name)


def test_products_of_the_stage_before_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"there is no \*_rateints\.fits; run the notebook of the stage before"):
        data.get_inputs("rateints", tmp_path, source="simulator")


def test_names_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="level"):
        data.get_inputs("rate", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="source"):
        data.get_inputs("uncal", tmp_path, source="web")


def test_only_the_full_size_asks_the_archive_and_only_if_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "has_network", lambda: True)
    assert data.wants_archive("full", "auto") and not data.wants_archive("small", "auto")
    assert data.wants_archive("small", "archive") and not data.wants_archive("full", "simulator")
    monkeypatch.setattr(data, "has_network", lambda: False)
    assert not data.wants_archive("full", "auto")


def test_a_port_that_listens_is_a_network_and_one_that_does_not_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = server.getsockname()[:2]
        assert data.has_network(host)
    assert not data.has_network(host)


def test_the_archive_is_asked_for_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def find(query: object) -> SimpleNamespace:
        asked.append(query)
        return SimpleNamespace(files=["one"], size=1e9)

    def download(files: list[str], folder: Path) -> None:
        assert files == ["one"]
        (folder / "jw01386_calints.fits").touch()

    monkeypatch.setattr(archive, "find", find)
    monkeypatch.setattr(archive, "download", download)
    found = data.get_inputs("calints", tmp_path, source="archive")
    assert found.origin == "archive" and [p.name for p in found.files] == ["jw01386_calints.fits"]
    assert asked == [archive.make_query(["1386"], filters=["F1550C"], level="calints")]
    monkeypatch.setattr(archive, "download", lambda files, folder: None)
    with pytest.raises(MissingInputError, match="the archive gave no rateints exposure of program 1386 in F1550C"):
        data.get_inputs("rateints", tmp_path, source="archive")


def test_a_simulation_that_breaks_off_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(folder: Path, **options: object) -> SimpleNamespace:
        assert (options["size"], options["filter"]) == ("small", "F1140C")
        folder.mkdir()
        (folder / "a_uncal.fits").write_text("new")
        (folder / "crds_cache").mkdir()
        (folder / "crds_cache" / "rules").write_text("new")
        if broken:
            raise KeyboardInterrupt
        return SimpleNamespace(path=folder)

    monkeypatch.setattr(simulator, "simulate_sequence", simulate)
    (tmp_path / "crds_cache").mkdir()
    (tmp_path / "crds_cache" / "old").touch()
    broken = True
    with pytest.raises(KeyboardInterrupt):
        data.get_inputs("uncal", tmp_path, filter="F1140C")
    assert [p.name for p in tmp_path.rglob("*")] == ["crds_cache", "old"]
    broken = False
    found = data.get_inputs("uncal", tmp_path, filter="F1140C")
    assert found.origin == "simulator" and [p.read_text() for p in found.files] == ["new"]
    # a folder that was there is taken over as a whole
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a_uncal.fits", "crds_cache", "rules"]
