"""Tables are parsed once, and again when they change."""

import os

import pytest
from astropy.table import Table

from lyot.records import tables


def test_a_table_is_parsed_once_and_again_when_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.ecsv"
    Table({"x": [1.0, 2.0]}, meta={"reduction": "abc"}).write(path)
    first = tables.read_ecsv(path)
    first["x"][0] = 9.0  # a copy
    with monkeypatch.context() as patch:
        patch.setattr(Table, "read", None)
        again = tables.read_ecsv(path)
    assert list(again["x"]) == [1.0, 2.0] and again.meta["reduction"] == "abc"
    Table({"x": [3.0]}).write(path, overwrite=True)
    os.utime(path, ns=(1, 1))
    assert list(tables.read_ecsv(path)["x"]) == [3.0]
    path.unlink()
    with pytest.raises(OSError):
        tables.read_ecsv(path)
