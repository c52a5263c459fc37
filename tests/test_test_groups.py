"""The tests' own machinery: what takes long to make is made in one of the processes only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
import os
from pathlib import Path
import pytest

@pytest.fixture(scope="module")
def made():
    with Path("made").open("a") as file:
        file.write("once, with OMP_NUM_THREADS " + os.environ["OMP_NUM_THREADS"] + "\\n")

@pytest.mark.parametrize("number", range(8))
def test_it(made, number):
    pass
"""


def test_tests_that_share_a_fixture_go_to_one_process(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_shared.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert "8 passed" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "made").read_text() == "once, with OMP_NUM_THREADS 1\n"
