"""Surroundings that users have: an ASCII locale, a home and an installation that cannot be written."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import lyot
from lyot import kernel_cache
from tests.exposures.malformed import good_file

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24


def obey_permissions() -> None:
    """Take from root, in a new process, the right to write where permissions forbid it."""
    if os.getuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
        raise OSError("root cannot be made to obey permissions here")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a process whose home and whose copy of lyot cannot be written."""
    library, home = tmp_path / "lib", tmp_path / "home"
    shutil.copytree(Path(lyot.__file__).parent, library / "lyot", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    folders = [library, home, *(p for p in library.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    temporary = tempfile.mkdtemp(prefix="lyot-test-")
    yield {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(library), "TMPDIR": temporary, **ASCII}
    shutil.rmtree(temporary)
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.slow
def test_a_run_in_an_ascii_locale_with_nothing_writable_but_the_output(read_only, tmp_path):
    data = tmp_path / "Daten für β Pic"
    data.mkdir()
    for number, target, is_psf in ((1, "STAR", False), (3, "OTHER", True)):
        name = f"jw0100100{number}001_04101_00001_mirimage_calints.fits"
        (data / name).write_bytes(good_file(shape=(90, 100), target=target, is_psf=is_psf))
    command = [sys.executable, "-m", "lyot", "run", data, "--out", tmp_path / "out", "--stages", "3", "--jobs", "1",
               "--set", "stage3.refine.skip=true"]  # fmt: skip
    result = subprocess.run(
        command, env={**read_only, "STPIPE_DISABLE_CRDS_STEPPARS": "true"}, cwd=tmp_path, capture_output=True,
        check=False, preexec_fn=obey_permissions,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "home" / ".cache").exists()
    page = (tmp_path / "out" / "report" / "index.html").read_bytes().decode("utf-8")
    assert "±" in page
    (association,) = (json.loads(path.read_bytes()) for path in (tmp_path / "out" / "asn").iterdir())
    member = association["products"][0]["members"][0]["expname"]
    assert member.encode("ascii", "surrogateescape").decode("utf-8").startswith(str(data))


def test_the_writable_places_are_left_alone_where_they_are(monkeypatch, tmp_path):
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "restored at the end")
        monkeypatch.delenv(name)
    kernel_cache.provide_writable(tmp_path)  # nothing is forbidden
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(kernel_cache, "_writable", lambda folder: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    kernel_cache.provide_writable(tmp_path)
    place = Path(os.environ["NUMBA_CACHE_DIR"])
    assert place.parent.parent == tmp_path / "tmp" and place.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    place.parent.chmod(0o777)  # others could have put code there
    kernel_cache.provide_writable(tmp_path)
    assert Path(os.environ["NUMBA_CACHE_DIR"]).parent != place.parent


def test_text_is_written_and_read_with_its_encoding_named():
    """Without it, the locale decides, and an ASCII locale fails at the first name with an accent."""
    unnamed = re.compile(r"\.(read_text\(\)|write_text\((?!.*encoding=)[^\n]*\)|open\(\"[wa]\"\))\s*$", re.MULTILINE)
    for path in Path(lyot.__file__).parent.rglob("*.py"):
        assert not unnamed.search(path.read_text(encoding="utf-8")), path
