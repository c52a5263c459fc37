"""The plug-in that counts lines and branches leaves alone what numba compiles, and fails below the least coverage."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

MODULE = """
    from numba import njit

    @njit
    def kernel(n):
        if n > 3:
            return 3
        return n

    def plain(n):
        if n > 3:
            return 3
        return kernel(n)
"""

RUN = """
    import pytest
    from tests import coverage_plugin

    coverage_plugin.SOURCE = {source!r}
    coverage_plugin.LEAST_LINES, coverage_plugin.LEAST_IN_ALL = {least}
    options = ["-p", "tests.coverage_plugin", "-p", "no:slipcover", "-p", "no:cacheprovider"]
    raise SystemExit(pytest.main([*options, "-c", {ini!r}, {test!r}]))
"""


def counted(folder: Path, least: tuple[float, float]) -> subprocess.CompletedProcess[str]:
    """Run a test of a small module beside it."""
    source = folder / "small"
    source.mkdir()
    (source / "__init__.py").touch()
    (source / "module.py").write_text(textwrap.dedent(MODULE))
    (folder / "test_it.py").write_text("from small.module import plain\n\n\ndef test_it():\n    assert plain(2) == 2\n")
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    values = {"source": str(source), "ini": str(folder / "pytest.ini"), "test": str(folder / "test_it.py")}
    script = textwrap.dedent(RUN).format(**values, least=least)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=300
    )


def test_compiled_code_is_not_counted_and_the_rest_is(tmp_path):
    done = counted(tmp_path, (60.0, 60.0))
    assert done.returncode == 0, done.stdout + done.stderr
    # import, def, the three lines of `plain` of which one is not reached; of its two branches one is
    assert "in all" in done.stdout and "5    80.0 %         2    50.0 %" in done.stdout


def test_too_little_coverage_fails(tmp_path):
    done = counted(tmp_path, (90.0, 60.0))
    assert done.returncode == 1
    assert "coverage of lines is 80.0 %, at least 90.0 % are asked for" in done.stdout
    assert "lines and branches is" not in done.stdout
