"""What import-linter cannot say: single modules of third-party packages, and how fast the command line answers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "lyot"


@pytest.mark.parametrize("room", ["optics", "ramps", "calibrate", "subtract", "measure"])
def test_array_rooms_read_no_files(room):
    for path in (SOURCE / room).rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) astropy\.io", text, re.M), f"{path} imports a file reader"
        assert "os.environ" not in text, f"{path} reads the environment"


def test_command_line_is_light():
    code = (
        "import sys, lyot.cli\n"
        "heavy = {'jwst', 'stdatamodels', 'numba', 'scipy', 'matplotlib', 'poppy', 'astropy'} & set(sys.modules)\n"
        "sys.exit(f'lyot.cli imports {sorted(heavy)}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
