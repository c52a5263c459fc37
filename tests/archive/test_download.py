"""Transfers: whole files come, through every fault; nothing twice, nothing outside the folder, no token anywhere."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lyot.archive import Connection, MastClient, connection_from_environment, download, find, make_query, to_fetch
from lyot.archive import transfer as transfer_module
from lyot.archive.records import ArchiveFile, Listing
from lyot.archive.transfer import CancelledError, Transfer, destination, fetch, is_whole
from lyot.errors import ArchiveError, ConfigError, OutputError
from lyot.exposures.exposure import Exposure

from .server import TOKEN, Archive, Fault

ROLL = "jw01386009001_04101_00001_mirimage_uncal.fits"
URI = f"jw01386009001_04101_00001/{ROLL}"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces small enough that a cut leaves some of our small files on the disk."""
    monkeypatch.setattr(transfer_module, "CHUNK", 10000)


@pytest.fixture
def listing(client: MastClient) -> Listing:
    """The F1550C sequence of HIP 65426."""
    return find(make_query(["1386"], targets=["HIP 65426"], filters=["F1550C"]), client)


def _one(listing: Listing) -> list[ArchiveFile]:
    return [f for f in listing.files if f.name == ROLL]


def _transfers(archive: Archive, name: str = ROLL) -> list[dict[str, str]]:
    """Headers of the requests for one file."""
    return [headers for path, headers, _ in archive.seen("retrieve_product") if name in path]


def _same_as_archive(paths: Sequence[Path], archive: Archive) -> bool:
    content = {uri.rpartition("/")[2]: body for uri, body in archive.content.items()}
    return all(p.read_bytes() == content[p.name] for p in paths)


def test_everything_comes_in_parallel(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    archive.faults = {"retrieve_product": [Fault(wait=0.1)] * 4}
    seen: dict[str, list[int]] = {}
    result = download(
        listing.files,
        tmp_path / "new" / "folder",
        connection=connection,
        at_once=3,
        on_progress=lambda file, done: seen.setdefault(file.name, []).append(done),
    )
    assert len(result.fetched) == len(listing.files) == 17
    assert _same_as_archive(result.files, archive)
    assert archive.most_at_once == 3
    assert all(seen[f.name][-1] == f.size and sorted(seen[f.name]) == seen[f.name] for f in listing.files)
    assert not list(result.folder.glob(".*"))
    record = [json.loads(line) for line in (result.folder / "downloads.jsonl").read_text().splitlines()]
    assert {(r["file"], r["size"]) for r in record} == {(f.name, f.size) for f in listing.files}


def test_what_is_there_is_not_fetched_again(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    download(listing.files, tmp_path, connection=connection)
    before = len(archive.seen("retrieve_product"))
    again = download(listing.files, tmp_path, connection=connection)
    assert len(archive.seen("retrieve_product")) == before
    assert not again.fetched
    assert len(again.current) == 17

    (tmp_path / ROLL).write_bytes(archive.content[URI][:-2880])  # a copy that ended early
    assert [f.name for f in to_fetch(listing.files, tmp_path)] == [ROLL]
    assert [p.name for p in download(listing.files, tmp_path, connection=connection).fetched] == [ROLL]
    assert _same_as_archive([tmp_path / ROLL], archive)


def test_broken_transfer_goes_on_where_it_was(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    archive.faults = {ROLL: [Fault(cut_after=50000), Fault(state=500), Fault(cut_after=20000)]}
    result = download(_one(listing), tmp_path, connection=connection)
    assert _same_as_archive(result.files, archive)
    assert [h.get("Range") for h in _transfers(archive)] == [None, "bytes=50000-", "bytes=50000-", "bytes=70000-"]


def test_next_run_goes_on_where_the_last_ended(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    archive.faults = {ROLL: [Fault(cut_after=50000), *[Fault(state=503)] * 3]}
    with pytest.raises(ArchiveError, match=r"failed 3 times .*503.*repeat the command to resume"):
        download(_one(listing), tmp_path, connection=connection)
    assert not (tmp_path / ROLL).exists()
    result = download(_one(listing), tmp_path, connection=connection)
    assert _same_as_archive(result.files, archive)
    assert _transfers(archive)[-1]["Range"] == "bytes=50000-"
    assert not list(tmp_path.glob(".*"))


def test_changed_file_is_not_stitched_together(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    archive.faults = {ROLL: [Fault(cut_after=50000), *[Fault(state=503)] * 3]}
    with pytest.raises(ArchiveError):
        download(_one(listing), tmp_path, connection=connection)
    other = archive.content["jw01386008001_04101_00001/jw01386008001_04101_00001_mirimage_uncal.fits"]
    assert len(other) == len(archive.content[URI])
    assert other != archive.content[URI]
    archive.content[URI] = other  # calibrated anew meanwhile, to the same size
    archive.etags[URI] = '"second"'
    result = download(_one(listing), tmp_path, connection=connection)
    assert result.files[0].read_bytes() == other


def test_server_that_knows_no_parts(listing: Listing, connection: Connection, archive: Archive, tmp_path: Path) -> None:
    archive.ranges = False
    archive.faults = {ROLL: [Fault(cut_after=50000)]}
    result = download(_one(listing), tmp_path, connection=connection)
    assert _same_as_archive(result.files, archive)


def test_leftover_that_is_too_long(listing: Listing, connection: Connection, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / f".{ROLL}.part").write_bytes(b"x" * (len(archive.content[URI]) + 1))
    result = download(_one(listing), tmp_path, connection=connection)
    assert _same_as_archive(result.files, archive)


def test_leftover_of_the_right_size_but_wrong_form(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / f".{ROLL}.part").write_bytes(b"x" * len(archive.content[URI]))
    result = download(_one(listing), tmp_path, connection=connection)
    assert _same_as_archive(result.files, archive)


@pytest.mark.parametrize("size", ["right", "unknown"])
def test_page_instead_of_a_file_is_refused(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path, size: str
) -> None:
    page = b"<html>please log in</html>"
    archive.content[URI] = page
    file = replace(_one(listing)[0], size=len(page) if size == "right" else 0)
    with pytest.raises(ArchiveError, match="it is not a FITS file"):
        download([file], tmp_path, connection=connection)
    assert not (tmp_path / ROLL).exists()


def test_file_of_another_size_than_listed(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    file = replace(_one(listing)[0], size=len(archive.content[URI]) + 2880)
    with pytest.raises(ArchiveError, match=r"\d+ of \d+ bytes received|does not match"):
        download([file], tmp_path, connection=connection)
    assert not (tmp_path / ROLL).exists()


def test_stalled_transfer(listing: Listing, connection: Connection, archive: Archive, tmp_path: Path) -> None:
    archive.faults = {ROLL: [Fault(wait=0.6)]}
    result = download(_one(listing), tmp_path, connection=replace(connection, timeout=0.2))
    assert _same_as_archive(result.files, archive)
    assert len(_transfers(archive)) == 2


def test_one_failure_does_not_keep_the_others(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    del archive.content[URI]
    with pytest.raises(ArchiveError, match=f"{ROLL}: the archive lists this file but does not have it"):
        download(listing.files, tmp_path, connection=connection)
    assert len(list(tmp_path.glob("*.fits"))) == 16


def test_exclusive_access_without_token(
    client: MastClient, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    archive.add("jw05555001001_04101_00001", access="RESTRICTED")
    archive.add("jw05555001001_04101_00002")
    listing = find(make_query(["5555"]), client)
    assert [f.public for f in listing.files] == [False, True]
    with pytest.raises(ArchiveError, match=r"1 of 2 files is under exclusive access.*MAST_API_TOKEN"):
        download(listing.files, tmp_path, connection=connection)
    assert [p.name for p in tmp_path.glob("*.fits")] == [listing.files[1].name]
    assert not _transfers(archive, listing.files[0].name)  # it was not even asked for


def test_all_exclusive_leaves_no_folder(
    client: MastClient, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    archive.add("jw05555001001_04101_00001", access="RESTRICTED")
    listing = find(make_query(["5555"]), client)
    out = tmp_path / "new" / "folder"
    with pytest.raises(ArchiveError, match="under exclusive access"):
        download(listing.files, out, connection=connection)
    assert list(tmp_path.iterdir()) == []


def test_access_ended_since_the_listing(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    for product in archive.products:
        product["access"] = "RESTRICTED"
    with pytest.raises(ArchiveError, match="set MAST_API_TOKEN"):
        download(_one(listing), tmp_path, connection=connection)
    with pytest.raises(ArchiveError, match="does not accept the token"):
        download(_one(listing), tmp_path, connection=replace(connection, token="wrong"))


def test_token_opens_and_is_nowhere(
    archive: Archive,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    archive.add("jw05555001001_04101_00001", access="RESTRICTED")
    archive.faults = {"retrieve_product": [Fault(state=500), Fault(cut_after=1000)], "column_list": [Fault(state=503)]}
    monkeypatch.setenv("MAST_API_TOKEN", TOKEN)
    monkeypatch.setenv("LYOT_MAST_SERVER", address)
    connection = connection_from_environment(pause=0.01)
    assert connection.token == TOKEN
    logging.getLogger("astroquery").setLevel(logging.DEBUG)
    try:
        with caplog.at_level(logging.DEBUG):
            listing = find(make_query(["5555"]), MastClient(connection))
            result = download(listing.files, tmp_path, connection=connection)
            logging.getLogger("lyot").info("%r %s", connection, connection)
            archive.content.clear()
            with pytest.raises(ArchiveError) as caught:
                download(listing.files, tmp_path / "again", connection=connection)
    finally:
        logging.getLogger("astroquery").setLevel(logging.INFO)
    assert _transfers(archive, "jw05555")[0]["Authorization"] == f"token {TOKEN}"
    assert not any(TOKEN in str(headers) for path, headers, _ in archive.requests if "retrieve_product" not in path)
    written = "".join(p.read_text() for p in tmp_path.rglob("*.jsonl"))
    assert result.files
    assert "jw05555001001" in written
    shown = "".join(capfd.readouterr())
    for text in (written, caplog.text, shown, str(caught.value), repr(connection), str(connection)):
        assert TOKEN not in text


def test_token_is_not_sent_in_the_open() -> None:
    with pytest.raises(ConfigError, match=r"not sent to http://example\.org unencrypted"):
        Connection(server="http://example.org", token=TOKEN)
    with pytest.raises(ConfigError, match="not an http or https address"):
        Connection(server="ftp://example.org")


@pytest.mark.parametrize("name", ["../evil.fits", "/tmp/evil.fits", "a/b.fits", "..", "", "a\\b.fits"])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    file = ArchiveFile(Exposure(root="jw01386009001_04101_00001"), name, "x", 10, True)
    folder = tmp_path / "out"
    with pytest.raises(ArchiveError, match="would be outside"):
        destination(folder, name)
    with pytest.raises(ArchiveError, match="would be outside"):
        download([file], folder, connection=Connection())
    assert not list(tmp_path.iterdir())


def test_links_are_not_followed(listing: Listing, connection: Connection, archive: Archive, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / f".{ROLL}.part").symlink_to(elsewhere)
    with pytest.raises(OutputError, match="cannot be written"):
        download(_one(listing), folder, connection=connection)
    assert elsewhere.read_text() == "precious"
    (folder / f".{ROLL}.part").unlink()
    (folder / ROLL).symlink_to(elsewhere)
    download(_one(listing), folder, connection=connection)
    assert elsewhere.read_text() == "precious"
    assert _same_as_archive([folder / ROLL], archive)


def test_full_disk_is_told_before(listing: Listing, connection: Connection, archive: Archive, tmp_path: Path) -> None:
    huge = replace(_one(listing)[0], size=10**18)
    with pytest.raises(OutputError, match=r"GB required, .* GB free; choose another folder with --out"):
        download([huge], tmp_path, connection=connection)
    assert not archive.seen("retrieve_product")


def test_folder_that_is_a_file(listing: Listing, connection: Connection, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written: .*choose another folder"):
        download(_one(listing), tmp_path / "out", connection=connection)


def test_interruption_keeps_what_came(
    listing: Listing, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    def interrupt(file: ArchiveFile, done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(_one(listing), tmp_path, connection=connection, on_progress=interrupt)
    assert not (tmp_path / ROLL).exists()
    stop = threading.Event()
    stop.set()
    transfer = Transfer(connection, stop, lambda file, done: None)
    with pytest.raises(CancelledError, match="stopped"):
        fetch(_one(listing)[0], MastClient(connection).url(URI), tmp_path, transfer)
    assert _same_as_archive(download(_one(listing), tmp_path, connection=connection).files, archive)


def _compressed(archive: Archive, client: MastClient) -> tuple[ArchiveFile, str]:
    """An exposure that the archive holds as a compressed file of unknown size."""
    dataset = "jw05555001001_04101_00001"
    archive.add(dataset)
    uri = f"{dataset}/{dataset}_mirimage_uncal.fits"
    name = f"{uri}.gz".rpartition("/")[2]
    archive.add_file(dataset, name, uri=f"{uri}.gz")
    archive.content[f"{uri}.gz"] = gzip.compress(archive.content[uri])
    file = next(f for f in find(make_query(["5555"]), client).files if f.name == name)
    return replace(file, size=0), f"{uri}.gz"


def test_compressed_file_comes_whole(
    client: MastClient, connection: Connection, archive: Archive, tmp_path: Path
) -> None:
    file, uri = _compressed(archive, client)
    archive.faults = {file.name: [Fault(cut_after=20000)]}
    result = download([file], tmp_path, connection=connection)
    assert result.files[0].read_bytes() == archive.content[uri]
    assert not download([file], tmp_path, connection=connection).fetched


@pytest.mark.parametrize("harm", ["cut", "bit", "page", "inside", "no fits"])
def test_damaged_compressed_file_is_not_taken(
    client: MastClient, connection: Connection, archive: Archive, tmp_path: Path, harm: str
) -> None:
    file, uri = _compressed(archive, client)
    body = archive.content[uri]
    plain = gzip.decompress(body)
    archive.content[uri], said = {
        "cut": (body[: -len(body) // 3], "it is truncated"),  # far behind the headers
        "bit": (body[:-8] + bytes([body[-8] ^ 1]) + body[-7:], "it is damaged"),  # check sum
        "page": (b"<html>busy</html>", "it is not a compressed file"),
        "inside": (gzip.compress(plain[:-1000]), "does not end at a FITS block boundary"),
        "no fits": (gzip.compress(plain[2880:]), "not a FITS file"),
    }[harm]
    with pytest.raises(ArchiveError, match=said):
        download([file], tmp_path, connection=connection)
    assert not (tmp_path / file.name).exists()
    (tmp_path / file.name).write_bytes(archive.content[uri])
    assert not is_whole(tmp_path / file.name, 0)


def test_is_whole(tmp_path: Path, archive: Archive) -> None:
    path = tmp_path / ROLL
    body = archive.content[URI]
    assert not is_whole(path, 0)
    path.write_bytes(body)
    assert is_whole(path, len(body))
    assert is_whole(path, 0)
    assert not is_whole(path, len(body) + 2880)
    path.write_bytes(body[: 2880 * 5])
    assert not is_whole(path, 0)
    path.write_bytes(b"SIMPLE  =" + b"x" * (2880 - 9))
    assert not is_whole(path, 0)
