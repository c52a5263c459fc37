"""A local archive with the sequence of HIP 65426, and how to reach it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lyot.archive import Connection, MastClient

from .server import Archive, program_1386, serve


@pytest.fixture
def archive() -> Archive:
    """What the local server holds; a test may change it."""
    archive = Archive()
    program_1386(archive)
    return archive


@pytest.fixture
def address(archive: Archive) -> Iterator[str]:
    """Address of the running server."""
    with serve(archive) as address:
        yield address


@pytest.fixture
def connection(address: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection without token that does not wait long."""
    monkeypatch.delenv("MAST_API_TOKEN", raising=False)
    monkeypatch.setenv("LYOT_MAST_SERVER", address)
    return Connection(server=address, timeout=5.0, tries=3, pause=0.01)


@pytest.fixture
def client(connection: Connection) -> MastClient:
    """Asks the local server."""
    return MastClient(connection)
