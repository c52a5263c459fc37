"""The record of a run: products that are there and unchanged, lines that broke off, checksums that are remembered."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from lyot.errors import OutputError
from lyot.records.freshness import KEYWORD, MEASURED, META, is_current, outdated, reduction_of
from lyot.records.manifest import Checksums, Manifest, Record, content_key, file_checksum, product_of, write_text


def record(task: str = "stage3/a", key: str = "k", products: tuple = (), kind: str = "stage3") -> Record:
    return Record(
        task, kind, task.partition("/")[2], key, [{"path": "in.fits", "checksum": "0"}], list(products), {"a": 1},
        {"lyot": "0"}, "", "2026-01-01T00:00:00", 1.0, 100.0,
    )  # fmt: skip


@pytest.fixture
def product(tmp_path):
    path = tmp_path / "stage3" / "a_i2d.fits"
    path.parent.mkdir()
    path.write_bytes(b"image")
    return path


def test_a_record_is_read_back_as_it_was(tmp_path, product):
    written = record(products=(product_of(product, tmp_path),))
    Manifest(tmp_path).add(written)
    (found,) = Manifest(tmp_path).records
    assert found == written and found.products[0].path == "stage3/a_i2d.fits"
    assert found.products[0].size == 5 and found.products[0].checksum == file_checksum(product)


def test_a_record_of_an_earlier_version_is_read(tmp_path, caplog):
    """It has a field that no record has any more."""
    Manifest(tmp_path).add(record())
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": {}}) + "\n")
    assert Manifest(tmp_path).records == (record(),) and not caplog.records


def test_the_last_record_of_a_task_counts_in_the_order_of_finishing(tmp_path):
    manifest = Manifest(tmp_path)
    for task, key in (("stage3/a", "1"), ("stage3/b", "2"), ("stage3/a", "3")):
        manifest.add(record(task, key))
    for seen in (manifest, Manifest(tmp_path)):
        assert [(r.task, r.key) for r in seen.records] == [("stage3/b", "2"), ("stage3/a", "3")]
        assert seen.record("stage3/a").key == "3" and seen.record("stage3/none") is None
    assert len((tmp_path / "manifest.jsonl").read_text().splitlines()) == 3


def test_current_means_the_key_and_the_products_as_they_were(tmp_path, product):
    manifest = Manifest(tmp_path)
    manifest.add(record(products=(product_of(product, tmp_path),)))
    assert manifest.is_current("stage3/a", "k")
    assert not manifest.is_current("stage3/a", "other") and not manifest.is_current("stage3/b", "k")
    os.utime(product, (1, 1))  # copied: another time, the same content
    assert manifest.is_current("stage3/a", "k")
    product.write_bytes(b"imagE")  # of the same size
    assert not manifest.is_current("stage3/a", "k")
    product.write_bytes(b"longer image")
    assert not manifest.is_current("stage3/a", "k")
    product.unlink()
    assert not manifest.is_current("stage3/a", "k")


def test_a_product_that_is_no_longer_made_is_removed_unless_somebody_changed_it(tmp_path, product):
    other = product.with_name("a_refined.fits")
    other.write_bytes(b"refined")
    manifest = Manifest(tmp_path)
    manifest.add(record(products=tuple(product_of(p, tmp_path) for p in (product, other))))
    manifest.add(record(key="2", products=(product_of(product, tmp_path),)))
    assert product.is_file() and not other.exists()
    other.write_bytes(b"refined")
    manifest.add(record(key="3", products=(product_of(product, tmp_path), product_of(other, tmp_path))))
    other.write_bytes(b"mine now")
    manifest.add(record(key="4", products=(product_of(product, tmp_path),)))
    assert other.read_bytes() == b"mine now"


def test_a_line_that_broke_off_is_passed_over_and_takes_no_other_with_it(tmp_path, caplog):
    Manifest(tmp_path).add(record())
    path = tmp_path / "manifest.jsonl"
    path.write_text(path.read_text() + '{"task": "stage3/b", "ki')
    with caplog.at_level(logging.WARNING, logger="lyot"):
        manifest = Manifest(tmp_path)
    assert "cannot be read and is ignored" in caplog.text
    manifest.add(record("stage3/c"))
    assert [r.task for r in Manifest(tmp_path).records] == ["stage3/a", "stage3/c"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for act in (lambda m: m.begin(), lambda m: m.add(record())):
        with pytest.raises(OutputError, match="cannot be written"):
            act(Manifest(tmp_path / "file"))
    Manifest(tmp_path).begin()
    assert (tmp_path / "manifest.jsonl").read_text() == ""


def test_text_is_complete_or_not_there(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "one")
    write_text(tmp_path / "deep" / "a.txt", "two")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text() == "two"


def test_checksums_are_remembered_by_size_and_time(tmp_path, monkeypatch):
    file, store = tmp_path / "a", tmp_path / "known.json"
    file.write_bytes(b"abc")
    first = Checksums(store)
    digest = first.of([file])[file]
    assert digest == "06b05ab6733a618578af5f94892f3950"  # of "abc", as xxh128sum prints it
    first.save()
    monkeypatch.setattr("lyot.records.manifest.file_checksum", lambda path: "read again")
    assert Checksums(store).of([file])[file] == digest
    file.write_bytes(b"abcd")
    assert Checksums(store).of([file])[file] == "read again"


def test_checksums_of_earlier_versions_are_made_again(tmp_path):
    """They were SHA-256: the size and the time of the file are right, the number is another."""
    file, store = tmp_path / "a", tmp_path / "known.json"
    file.write_bytes(b"abc")
    stat = file.stat()
    store.write_text(json.dumps({str(file): [stat.st_size, stat.st_mtime_ns, "b" * 64]}))
    assert Checksums(store).of([file]) == {file: file_checksum(file)}


def test_the_manifest_of_an_earlier_version_is_read(tmp_path, product):
    one = asdict(record(products=(product_of(product, tmp_path),)))
    for entry in (*one["inputs"], *one["products"]):
        entry["sha256"] = entry.pop("checksum")
    (tmp_path / "manifest.jsonl").write_text(json.dumps(one) + "\n")
    manifest = Manifest(tmp_path)
    assert manifest.is_current("stage3/a", "k")  # its size and time are as recorded
    assert manifest.record("stage3/a").inputs == [{"path": "in.fits", "checksum": "0"}]


def test_a_file_that_was_only_looked_at_is_not_read_until_it_is_asked_for(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    checksums = Checksums(tmp_path / "known.json")
    with monkeypatch.context() as patch:
        patch.setattr("lyot.records.manifest.file_checksum", lambda _path: pytest.fail("read"))
        checksums.look_at([file])
        assert checksums.unknown([file]) == [file] and checksums.is_input(file)
        assert not checksums.is_changed(file)
        checksums.add({str(file): "given"})
        assert checksums.of([file]) == {file: "given"} and checksums.unknown([file]) == []


def test_a_file_that_changed_since_it_was_looked_at(tmp_path):
    files = [tmp_path / name for name in ("unread", "read", "touched", "gone")]
    for file in files:
        file.write_bytes(b"abc")
    checksums = Checksums(tmp_path / "known.json")
    checksums.look_at(files)
    checksums.of(files[1:])
    for file in files[:2]:
        file.write_bytes(b"abcd")
    os.utime(files[2], ns=(1, 1))
    files[3].unlink()
    assert [checksums.is_changed(file) for file in files] == [True, True, False, False]
    assert not checksums.is_changed(tmp_path / "another")


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', '{"a": [1]}'])
def test_a_store_that_cannot_be_read_is_no_obstacle(tmp_path, caplog, text):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "known.json").write_text(text)
    with caplog.at_level(logging.WARNING, logger="lyot"):
        assert Checksums(tmp_path / "known.json").of([tmp_path / "a"])
    assert "recomputed" in caplog.text


CONTENT = st.dictionaries(
    st.text("abc", min_size=1),
    st.one_of(st.integers(-9, 9), st.floats(-9, 9), st.text("xyz"), st.booleans()),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(CONTENT, CONTENT)
def test_the_key_of_equal_content_is_equal_in_any_order(first, second):
    assert content_key(first) == content_key(dict(reversed(first.items())))
    assert content_key({"a": 5}) == content_key({"a": 5.0}) != content_key({"a": True})
    # JSON knows no numbers of its own: 1 and 1.0 are the same, as in a configuration file
    same = json.dumps(number(first), sort_keys=True) == json.dumps(number(second), sort_keys=True)
    assert (content_key(first) == content_key(second)) == same


def number(content):
    return {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in content.items()}


# What was measured, and on which reduction


def test_what_a_measurement_says_of_its_reduction(tmp_path):
    folder = tmp_path / "measure"
    folder.mkdir()
    table = Table({"a": [1.0]}, meta={META: "0123456789abcdef"})
    table.write(folder / "contrast.ecsv", format="ascii.ecsv")
    fits.PrimaryHDU(np.zeros((2, 2)), fits.Header({KEYWORD: "fedcba9876543210"})).writeto(folder / "stim_map.fits")
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(folder / "matched_filter.fits")
    assert reduction_of(folder / "contrast.ecsv") == "0123456789abcdef"
    assert reduction_of(folder / "matched_filter.fits") == ""
    assert outdated(tmp_path) == []  # no run: nothing to compare with
    manifest = Manifest(tmp_path)
    manifest.add(record(kind="stage1"))
    assert outdated(tmp_path) == []  # no reduction either
    manifest.add(replace(record("stage3/b"), key="0123456789abcdef0123"))
    assert outdated(tmp_path) == ["stim_map.fits"] and set(outdated(tmp_path)) <= set(MEASURED)
    assert is_current(folder / "contrast.ecsv", tmp_path)
    assert is_current(folder / "matched_filter.fits", tmp_path)  # it does not say
    assert is_current(folder / "none.fits", tmp_path)
