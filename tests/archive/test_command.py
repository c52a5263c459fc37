"""``lyot download`` as a user meets it, against the local archive."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from lyot import cli
from lyot.archive import Connection
from lyot.errors import ArchiveError, ConfigError

from .server import Archive, Fault


@pytest.fixture
def call(connection: Connection, monkeypatch: pytest.MonkeyPatch):
    """Run the command in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    app = cli.build_app()

    def run(*arguments: object) -> Result:
        command = [] if arguments[0] == "run" else ["download"]
        return CliRunner().invoke(app, [*command, *map(str, arguments)])

    return run


def test_dry_run_shows_roles_and_fetches_nothing(call, archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("1386", "--filter", "F1550C", "--target", "HIP 65426", "--out", out, "--dry-run")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for role, number in (
        ("science, roll 1", 1), ("science, roll 2", 1), ("reference  ", 9), ("science background", 2),
        ("reference background", 2), ("target acquisition", 2),
    ):  # fmt: skip
        assert sum(line.startswith(role) for line in lines) == number, (role, result.output)
    assert "15 files to download" in result.output
    assert result.output.count("not selected") == 2
    assert "proposed" not in result.output  # nothing is lacking
    assert not out.exists()
    assert not archive.seen("retrieve_product")


def test_fetch_then_nothing_to_do(call, tmp_path: Path) -> None:
    arguments = ("1386", "--filter", "F1550C", "--target", "HIP 65426", "--out", tmp_path, "--acquisition")
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert "17 files downloaded, 0 already present" in result.output
    assert len(list(tmp_path.glob("*_uncal.fits"))) == 17
    result = call(*arguments)
    assert "0 files downloaded, 17 already present" in result.output


def test_observations_and_level_are_those_asked_for(call, archive: Archive, tmp_path: Path) -> None:
    result = call("1386", "--observation", "9", "--level", "calints", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert [p.name for p in tmp_path.glob("*.fits")] == ["jw01386009001_04101_00001_mirimage_calints.fits"]
    result = call("1386", "--observation", "8", "--observation", "9", "--out", tmp_path / "two", "--dry-run")
    assert "2 files to download" in result.output
    assert "--level: unknown level 'cal'" in str(call("1386", "--level", "cal", "--out", tmp_path).exception)


def test_lacking_background_is_proposed(call, archive: Archive, tmp_path: Path) -> None:
    archive.add("jw03333001001_04101_00001", targprop="Alpha", date_beg="2022-07-20T00:00:00")
    result = call("3333", "--out", tmp_path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "lyot download 1386 --observation 7" in result.output
    assert "proposed as reference: program 1386, observation 7 (HIP-65219, 9 exposures): 3 days" in result.output
    assert "proposed as background: program 1386, observation 30" in result.output
    assert "lyot download 1386 --observation 30" in result.output


def test_errors_are_ours(call, archive: Archive, tmp_path: Path) -> None:
    assert isinstance(call("--out", tmp_path).exception, ConfigError)
    assert isinstance(call("9999", "--out", tmp_path).exception, ArchiveError)
    archive.faults = {"column_list": [Fault(state=404)]}
    assert isinstance(call("1386", "--out", tmp_path).exception, ArchiveError)


def test_run_takes_a_program(call, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "cache"))
    monkeypatch.setenv("CRDS_SERVER_URL", "https://localhost:1")  # nobody listens
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)
    result = call("run", "1386", "--filter", "F1550C", "--target", "HIP 65426", "--out", tmp_path / "out")
    assert len(list((tmp_path / "out" / "uncal").glob("*_uncal.fits"))) == 15  # fetched before references are sought
    assert isinstance(result.exception, ArchiveError)
    assert "https://localhost:1 cannot be reached" in str(result.exception)
    assert isinstance(call("run", "9999", "--out", tmp_path / "none").exception, ArchiveError)


def test_run_asks_before_it_fetches_too_much(call, archive: Archive, tmp_path: Path) -> None:
    result = call("run", "1386", "--out", tmp_path)
    assert "choose one with --filter" in str(result.exception)
    result = call("run", "1386", "--filter", "F1550C", "--out", tmp_path)
    assert "several science targets, HD-141569A, HIP-65426; choose one with --target" in str(result.exception)
    assert not archive.seen("retrieve_product")
