"""Cached kernels go when any source of their room changes."""

import subprocess
import sys

from lyot.kernel_cache import refresh


def room(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    (cache / "a.f-1.py311.nbi").write_bytes(b"index")
    (cache / "a.f-1.py311.1.nbc").write_bytes(b"code")
    return cache


def test_unknown_cache_is_removed_once(tmp_path):
    cache = room(tmp_path)
    assert refresh(tmp_path)
    assert not list(cache.glob("*.nb?"))
    (cache / "a.f-1.py311.nbi").write_bytes(b"index")
    assert not refresh(tmp_path)
    assert list(cache.glob("*.nbi"))


def test_changed_source_removes_the_cache(tmp_path):
    cache = room(tmp_path)
    refresh(tmp_path)
    (cache / "a.f-1.py311.nbi").write_bytes(b"index")
    (tmp_path / "b.py").write_text("SAMPLE = 32\n")
    assert refresh(tmp_path)
    assert not list(cache.glob("*.nbi"))


def test_a_caller_does_not_keep_an_old_callee(tmp_path):
    """The defect itself: numba alone would answer 1 after the callee has changed."""
    package = tmp_path / "room"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom lyot.kernel_cache import refresh\nrefresh(Path(__file__).parent)\n"
    )
    (package / "caller.py").write_text(
        "from numba import njit\nfrom room.callee import f\n\n@njit(cache=True)\ndef g():\n    return f()\n"
    )
    answers = []
    for value in (1, 2):
        (package / "callee.py").write_text(
            f"from numba import njit\n\n@njit(cache=True)\ndef f():\n    return {value}\n"
        )
        run = [sys.executable, "-c", "from room.caller import g; print(g())"]
        answers.append(int(subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout))
    assert answers == [1, 2]
