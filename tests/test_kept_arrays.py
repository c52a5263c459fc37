"""Arrays that are kept on disk: the same bits, made again when what they follow from changes, never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lyot import kept_arrays
from lyot.instrument import coronagraph
from lyot.kept_arrays import remembered
from lyot.optics import pupil
from lyot.optics.params import OpticsParams
from lyot.optics.throughput import throughput_table


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LYOT_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


class Maker:
    """Makes an array and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self):
        self.made += 1
        return {"values": np.random.default_rng(3).normal(size=(4, 5)), "count": np.arange(3)}


def test_what_was_made_is_read_again_to_the_bit(cache):
    make = Maker()
    first, second = (remembered("thing", {"a": 1.5}, make, room=Path(__file__).parent) for _ in range(2))
    assert make.made == 1 and list(cache.glob("thing-*.npz"))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)
        assert second[name].dtype == array.dtype and not second[name].flags.writeable


def test_other_content_and_other_sources_are_other_arrays(cache, tmp_path):
    make, room = Maker(), tmp_path / "room"
    room.mkdir()
    (room / "a.py").write_text("x = 1\n")
    for content in ({"a": 1}, {"a": 2}, {"a": 1}):
        remembered("thing", content, make, room=room)
    assert make.made == 2
    (room / "a.py").write_text("x = 2\n")
    kept_arrays._sources.cache_clear()
    remembered("thing", {"a": 1}, make, room=room)
    assert make.made == 3


def test_a_damaged_file_is_made_again(cache):
    make = Maker()
    for damage in (b"", b"PK\x03\x04 broken", b"text"):
        remembered("thing", {}, make, room=Path(__file__).parent)
        (path,) = cache.glob("thing-*.npz")
        path.write_bytes(damage)
    assert remembered("thing", {}, make, room=Path(__file__).parent)["count"].tolist() == [0, 1, 2]
    assert make.made == 4


def test_where_nothing_can_be_kept_it_is_computed_each_time(tmp_path, monkeypatch):
    make = Maker()
    (tmp_path / "file").write_text("x")
    for place in ("", str(tmp_path / "file" / "below")):
        monkeypatch.setenv("LYOT_CACHE", place)
        for _ in range(2):
            assert remembered("thing", {}, make, room=Path(__file__).parent)["values"].shape == (4, 5)
    assert make.made == 4
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_was_not_used_for_longest_goes_first(cache, monkeypatch):
    monkeypatch.setattr(kept_arrays, "MOST", 2)
    for k in range(3):
        remembered(f"thing{k}", {}, Maker(), room=Path(__file__).parent)
        for path in cache.glob(f"thing{k}-*"):
            os.utime(path, (k, k))
    assert {p.name[:6] for p in cache.glob("*.npz")} == {"thing1", "thing2"}


def test_optics_from_disk_are_those_that_were_computed(cache, monkeypatch):
    """Pupil, stop and throughput, computed and then read."""

    def optics():
        pupil.jwst_pupil.cache_clear()
        drawn = pupil.jwst_pupil(64)
        table = throughput_table(coronagraph("F1550C"), OpticsParams(), step=1.5)
        x, y = np.meshgrid(np.linspace(-13, 13, 31), np.linspace(-13, 13, 31))
        return drawn.amplitude, drawn.segment, pupil.lyot_stop(64, transmission=0.6, shear=(0.01, 0.0)), table.at(x, y)

    computed = optics()
    assert len(list(cache.glob("*.npz"))) >= 3
    monkeypatch.setattr(pupil, "_fine_geometry", None)  # nothing is drawn any more
    for before, after in zip(computed, optics(), strict=True):
        np.testing.assert_array_equal(before, after)
