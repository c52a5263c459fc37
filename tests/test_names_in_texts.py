"""Names of this package that the documentation and the notebooks mention exist."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "pipeline_demos").glob("*.ipynb")])

_DOTTED = re.compile(r"\blyot(?:\.[A-Za-z_]\w*)+")
_FROM = re.compile(r"^\s*from (lyot[\w.]*) import (?:\(([^)]*)\)|([^\n]*))", re.MULTILINE)

NOT_NAMES = re.compile(r"\.(toml|log|md|ipynb|fits|org|readthedocs)\b")
"""Files, which look like names."""


def text_of(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def names_of(text: str) -> set[str]:
    """Dotted names, and those behind ``from lyot... import``."""
    names = {name for name in _DOTTED.findall(text) if not NOT_NAMES.search(name)}
    for module, inside, beside in _FROM.findall(text):
        words = re.sub(r"#.*", "", inside or beside).split(",")
        names |= {f"{module}.{word.split()[0]}" for word in words if word.strip()}
    return names


def exists(name: str) -> bool:
    """Whether a module, or an attribute of one (of one of its objects), has this name."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[n:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_names_exist(path):
    unknown = sorted(name for name in names_of(text_of(path)) if not exists(name))
    assert not unknown, f"{path.name} mentions what is not there: {', '.join(unknown)}"


def test_a_name_that_is_gone_is_seen():
    text = "from lyot.analysis.measurements import open_run\n`lyot.dq.NOTHING` `lyot.dq` lyot.toml"
    gone = {name for name in names_of(text) if not exists(name)}
    assert gone == {"lyot.analysis.measurements.open_run", "lyot.dq.NOTHING"}
