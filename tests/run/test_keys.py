"""Keys of tasks: they follow the content of files, read when the key is asked for, and those of the tasks before."""

from __future__ import annotations

import pytest

from lyot.records.manifest import Checksums
from lyot.run.keys import Keys


@pytest.fixture
def files(tmp_path):
    for name in ("ramps", "gain"):
        (tmp_path / name).write_text(name)
    return tmp_path


def keys_of(folder):
    ramps, gain = folder / "ramps", folder / "gain"
    checksums = Checksums(folder / "store.json")
    checksums.look_at([ramps, gain])
    keys = Keys(checksums, checksums.of([gain]))
    keys.add("stage1/a", {"threshold": 4}, [gain], [("uncal", ramps)])
    keys.add("stage2/a", {}, [], [("science", "stage1/a")])
    return keys


def test_a_key_follows_the_content_of_the_inputs_of_all_tasks_before(files):
    before = keys_of(files)
    first = before.of("stage2/a"), before.of("stage1/a")
    assert (keys_of(files).of("stage2/a"), keys_of(files).of("stage1/a")) == first
    (files / "ramps").write_text("others")
    again = keys_of(files)
    assert again.of("stage2/a") != first[0] and again.of("stage1/a") != first[1]
    assert before.of("stage2/a") == first[0]  # made once


def test_a_file_that_a_parameter_names_counts_as_it_was_when_the_plan_was_made(files):
    """It may change while a task runs; the record must not say that the product is made from the new one."""
    keys, expected = keys_of(files), keys_of(files).of("stage1/a")
    (files / "gain").write_text("another gain")
    assert keys.of("stage1/a") == expected != keys_of(files).of("stage1/a")
