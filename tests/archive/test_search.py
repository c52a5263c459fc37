"""Queries: what is asked for comes, whole sequences, all pages, and every failure is one sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lyot.archive import Connection, MastClient, find, is_program, make_query
from lyot.archive import mast as mast_module
from lyot.errors import ArchiveError, ConfigError, UnknownNameError

from .server import Archive, Fault, serve


def _datasets(listing) -> set[str]:
    return {f.exposure.root for f in listing.files}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1386", True), ("01386", True), ("jw01386", True), ("0", False), ("123456", False), ("data", False),
     ("1386.fits", False), ("../1386", False), ("", False), ("-5", False)],
)  # fmt: skip
def test_is_program(text: str, expected: bool) -> None:
    assert is_program(text) is expected


def test_query_is_checked() -> None:
    query = make_query(["1386, 1277", "01386"], filters=["f1550c,F1140C"], observations=["8"], level="calints")
    assert query.programs == ("01386", "01277")
    assert query.filters == ("F1550C", "F1140C")
    assert query.observations == ("008",)
    assert str(query) == "programs 1386, 1277, observation 8, filters F1550C, F1140C"
    with pytest.raises(UnknownNameError, match="level"):
        make_query(["1386"], level="cal")
    with pytest.raises(ConfigError, match="not a program number"):
        make_query(["HIP65426"])
    with pytest.raises(ConfigError, match="--target"):
        make_query()


def test_sequence_of_a_filter(client: MastClient) -> None:
    listing = find(make_query(["1386"], filters=["F1550C"]), client)
    exposures = {f.exposure.root: f.exposure for f in listing.files}
    # 2 rolls, 9 references, 4 backgrounds, the other star, 2 acquisitions in the visit of the first roll
    assert len(exposures) == 18
    assert not any(e.filter == "F1140C" for e in exposures.values())
    assert sum(e.is_psf for e in exposures.values()) == 9
    assert sum(e.is_background for e in exposures.values()) == 4
    assert sum(e.is_acquisition for e in exposures.values()) == 2
    roll = exposures["jw01386008001_04101_00001"]
    assert (roll.target, roll.mask, roll.subarray) == ("HIP-65426", "4QPM_1550", "MASK1550")
    assert (roll.roll, roll.n_integrations, roll.n_groups, roll.sky) == (108.17, 60, 250, (201.15, -51.504))
    # 2022-07-17T03:00 is MJD 59777.125
    assert roll.time == pytest.approx(59777.125, abs=1e-9)
    assert all(f.name.endswith("_uncal.fits") and f.public and f.size > 0 for f in listing.files)
    assert not listing.missing


def test_target_brings_its_references_and_backgrounds(client: MastClient) -> None:
    listing = find(make_query(targets=["hip 65426"], filters=["F1550C"], level="rateints"), client)
    targets = {f.exposure.target for f in listing.files}
    assert targets == {"HIP-65426", "HIP-65219", "HIP-65426-BACKGROUND", "HIP-65219-BACKGROUND"}
    assert all(f.name.endswith(("_rateints.fits", "_rate.fits")) for f in listing.files)
    assert len(listing.files) == 17  # all of the sequence but the other star


def test_target_by_its_other_name(client: MastClient, archive: Archive) -> None:
    archive.positions["HD 116434"] = (201.1501, -51.5041)
    by_position = find(make_query(targets=["HD 116434"], filters=["F1550C"]), client)
    by_name = find(make_query(targets=["HIP65426"], filters=["F1550C"]), client)
    assert by_position.files == by_name.files
    in_program = find(make_query(["1386"], targets=["HD 116434"], filters=["F1550C"]), client)
    assert in_program.files == by_name.files


def test_a_similar_name_is_another_star(client: MastClient, archive: Archive) -> None:
    archive.add("jw02222001001_04101_00001", targprop="HIP-654261")
    listing = find(make_query(targets=["HIP 65426"]), client)
    assert not any(f.exposure.program == "02222" for f in listing.files)


def test_observations_and_levels(client: MastClient) -> None:
    listing = find(make_query(["1386"], observations=["9"], level="calints"), client)
    assert [f.name for f in listing.files] == ["jw01386009001_04101_00001_mirimage_calints.fits"]


def test_segments_of_one_exposure(client: MastClient, archive: Archive) -> None:
    dataset = "jw01386009001_04101_00001"
    for n in (1, 2):
        archive.add_file(dataset, f"{dataset}-seg{n:03d}_mirimage_uncal.fits")
    listing = find(make_query(["1386"], observations=["9"]), client)
    assert len(listing.files) == 3
    assert listing.files[0].root == f"{dataset}-seg001_mirimage"


def test_thousands_of_rows_come_in_pages(client: MastClient, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.rows.clear()
    archive.products.clear()
    template = Archive()
    template.add("jw01386001001_04101_00001", sizes=1)
    for n in range(4000):
        dataset = f"jw01386{n // 1000 + 1:03d}001_04101_{n % 1000 + 1:05d}"
        archive.rows.append(dict(template.rows[0], fileSetName=dataset))
        archive.products.append(dict(template.products[0], dataset=dataset, filename=f"{dataset}_mirimage_uncal.fits"))
    monkeypatch.setattr(mast_module, "PAGE", 1000)
    listing = find(make_query(["1386"]), client)
    assert len(listing.files) == 4000
    offsets = [json.loads(body)["offset"] for _, _, body in archive.seen("/search/jwst/api/v0.1/search")]
    assert offsets == [0, 1000, 2000, 3000, 4000]  # the last page is full, so one more is asked for
    assert all(len(json.loads(b)["dataset_ids"]) <= 500 for _, _, b in archive.seen("post_list_products"))


def test_datasets_left_out_of_an_answer_are_asked_for_again(client: MastClient, archive: Archive) -> None:
    archive.forget_once = {"jw01386009001_04101_00001"}
    listing = find(make_query(["1386"], filters=["F1550C"]), client)
    assert "jw01386009001_04101_00001" in _datasets(listing)
    assert not listing.missing


def test_exposure_without_a_file_is_told(client: MastClient, archive: Archive) -> None:
    archive.products = [p for p in archive.products if p["dataset"] != "jw01386009001_04101_00001"]
    listing = find(make_query(["1386"], filters=["F1550C"]), client)
    assert [e.root for e in listing.missing] == ["jw01386009001_04101_00001"]


def test_nothing_found(client: MastClient) -> None:
    with pytest.raises(ArchiveError, match="no coronagraphic exposures for program 9999"):
        find(make_query(["9999"]), client)
    with pytest.raises(ArchiveError, match="available are filters F1140C, F1550C"):
        find(make_query(["1386"], filters=["F2300C"]), client)
    with pytest.raises(ArchiveError, match="target Nobody"):
        find(make_query(targets=["Nobody"]), client)
    with pytest.raises(ArchiveError, match=r"target Vega; .* targets HD-141569A, HIP-65219, .* and observations"):
        find(make_query(["1386"], targets=["Vega"]), client)


def test_columns_that_the_archive_may_lack(archive: Archive, connection: Connection) -> None:
    needed = {name for field in mast_module.REQUIRED for name in mast_module.FIELDS[field]}
    archive.columns = {name: kind for name, kind in archive.columns.items() if name in needed}
    listing = find(make_query(["1386"], filters=["F1550C"]), MastClient(connection))
    assert len(listing.files) == 18
    assert {f.exposure.n_groups for f in listing.files} == {1}
    del archive.columns["exp_type"]
    with pytest.raises(ArchiveError, match="no longer has the column exp_type"):
        find(make_query(["1386"]), MastClient(connection))


@pytest.mark.parametrize(
    ("written", "meant"),
    [("t", True), ("T", True), ("True", True), (True, True), (1, True), ("Y", True),
     ("f", False), ("F", False), (False, False), (0, False), ("", False), (None, False), ("NULL", False)],
)  # fmt: skip
def test_true_and_false_however_written(
    client: MastClient, archive: Archive, written: str | float | None, meant: bool
) -> None:
    archive.add("jw05555001001_04101_00001", is_psf=written, bkgdtarg=written)
    exposure = find(make_query(["5555"]), client).files[0].exposure
    assert (exposure.is_psf, exposure.is_background) == (meant, meant)


def test_busy_archive_is_asked_again(client: MastClient, archive: Archive) -> None:
    archive.faults = {
        "column_list": [Fault(state=503, headers={"Retry-After": "0"})],
        "/jwst/api/v0.1/search": [Fault(state=500), Fault(cut_after=100)],
        "post_list_products": [Fault(state=502)],
    }
    assert len(find(make_query(["1386"], filters=["F1550C"]), client).files) == 18


def test_archive_that_stays_broken(client: MastClient, archive: Archive) -> None:
    archive.faults = {"/jwst/api/v0.1/search": [Fault(state=500)] * 9}
    with pytest.raises(ArchiveError, match="could not process the query for its exposures"):
        find(make_query(["1386"]), client)
    assert len(archive.seen("/jwst/api/v0.1/search")) == 3  # the connection's number of tries


def test_answer_that_is_no_answer(client: MastClient, archive: Archive, connection: Connection) -> None:
    archive.faults = {"column_list": [Fault(state=403)]}
    with pytest.raises(ArchiveError, match="returned status 403"):
        find(make_query(["1386"]), client)
    del archive.columns["exp_type"]
    with pytest.raises(ArchiveError, match="no longer has the column exp_type"):
        find(make_query(["1386"]), MastClient(connection))


def test_slow_archive(connection: Connection, archive: Archive) -> None:
    archive.faults = {"column_list": [Fault(wait=0.6)]}
    client = MastClient(replace(connection, timeout=0.2))
    assert len(find(make_query(["1386"], filters=["F1550C"]), client).files) == 18


def test_archive_out_of_reach() -> None:
    with serve(Archive()) as address:
        pass  # the server has gone: nobody listens
    client = MastClient(Connection(server=address, timeout=1.0, tries=2, pause=0.01))
    with pytest.raises(ArchiveError, match="cannot be reached; check the network"):
        find(make_query(["1386"]), client)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd_uncal.fits", "/tmp/x_uncal.fits", "..\\x_uncal.fits", "x;rm_uncal.fits", ".hidden_uncal.fits"],
)
def test_names_that_are_no_names_are_refused(client: MastClient, archive: Archive, name: str) -> None:
    archive.add_file("jw01386009001_04101_00001", name, uri="jw01386009001_04101_00001/evil")
    with pytest.raises(ArchiveError, match="not a valid file name"):
        find(make_query(["1386"], filters=["F1550C"]), client)
