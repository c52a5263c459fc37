"""Which reduction a measurement repeats, where a folder holds several."""

from dataclasses import replace

import pytest

from lyot.analysis import finished_run as measured
from lyot.errors import InputError, MissingInputError
from lyot.records.manifest import Manifest, Product, Record


@pytest.fixture
def folder(tmp_path):
    manifest = Manifest(tmp_path)
    record = Record("stage3/a", "stage3", "a", "key", [], [Product("stage3/a_i2d.fits", 1, 1, "0")], {}, {}, "",
                    "2026-01-01T00:00:00", 1.0, 1.0, association="asn/a.json")  # fmt: skip
    manifest.add(record)
    other = [Product("stage3/b_i2d.fits", 1, 1, "0")]
    manifest.add(replace(record, task="stage3/b", name="b", products=other, association="asn/b.json"))
    return tmp_path


def test_that_of_the_image_else_the_last(folder):
    manifest = Manifest(folder)
    assert measured._last_stage3(manifest, None, None).name == "b"
    assert measured._last_stage3(manifest, folder / "stage3" / "a_i2d.fits", None).name == "a"
    manifest.add(manifest.record("stage3/a"))  # done again
    assert measured._last_stage3(Manifest(folder), None, None).name == "a"


def test_an_association_that_is_gone(folder):
    with pytest.raises(MissingInputError, match=r"asn/b\.json: the association of stage 3 cannot be read"):
        measured.open_run(folder)


@pytest.mark.parametrize("where", ["", "klip"])
def test_the_official_algorithm_is_not_taken_for_ours(folder, where):
    """Stage 3 as a whole hands its mode to the step only when it runs; the record has what was asked for."""
    parameters = {"": {"mode": "lyot"}, "klip": {"mode": "lyot", "truncate": [9]}}
    folders = {"out": folder, "name": "a", "key": "key", "calints": (), "i2d": folder / "stage3" / "a_i2d.fits"}
    assert measured.FinishedRun(**folders, parameters=parameters).klip_parameters == parameters["klip"]
    official = {**parameters, where: {**parameters[where], "mode": "official"}}
    finished = measured.FinishedRun(**folders, parameters=official)
    assert "official algorithm" in measured.cannot_repeat([], finished.klip_parameters)
    with pytest.raises(InputError, match="official algorithm"):
        measured.open_reduction([], None, finished.klip_parameters)
