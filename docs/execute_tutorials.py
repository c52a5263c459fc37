"""Execute the tutorial notebooks in a clean copy of their folder; ``make docs`` renders what this leaves.

Usage: ``python docs/execute_tutorials.py [NAME ...]``, by default the six that need no data. ``real_data`` needs the
observations that LYOT_TEST_DATA points to, or a network. Outputs are written to ``docs/_build/tutorials``.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path

import nbclient
import nbformat

log = logging.getLogger("tutorials")
DOCS = Path(__file__).resolve().parent
DEMOS = DOCS.parent / "pipeline_demos"
OUT = DOCS / "_build" / "tutorials"
WORK = DOCS / "_build" / "tutorials_work"
NAMES = (
    "calwebb_detector1-single_file", "calwebb_detector1-all_exposures", "calwebb_image2-single_exposure",
    "calwebb_image2-all_exposures", "calwebb_coron3", "full_pipeline",
)  # fmt: skip
"""In the order in which a person works through them; each uses what those before it left behind."""


def main() -> None:
    """Execute and write."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    names = sys.argv[1:] or NAMES
    for variable in ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL", "MPLBACKEND"):
        os.environ.pop(variable, None)
    os.environ.setdefault("LYOT_DEMO_SIZE", "small")
    for folder in DEMOS.rglob(".gitkeep"):
        (WORK / folder.parent.relative_to(DEMOS)).mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names:
        began = time.monotonic()
        shutil.copy(DEMOS / f"{name}.ipynb", WORK)
        content = nbformat.read(WORK / f"{name}.ipynb", as_version=4)
        nbclient.NotebookClient(
            content, timeout=3600, kernel_name="python3", resources={"metadata": {"path": str(WORK)}}
        ).execute()
        text = nbformat.writes(content).replace(str(WORK), DEMOS.name)  # not where it was executed
        (OUT / f"{name}.ipynb").write_text(text, encoding="utf-8")
        log.info("%s: %.0f s", name, time.monotonic() - began)
    shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
