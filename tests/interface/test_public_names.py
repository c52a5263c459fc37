"""What a user can rely on: public names, pinned; a light import; docs that say what they take."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lyot
from tests.rooms import MODULES, ROOMS, public_names

NAMES = Path(__file__).with_name("public_names.txt")
"""The public names, one a line. To write it anew: ``python -m tests.interface.test_public_names``."""
RUN = ["companions", "contrast", "detections", "filter", "fit", "image", "inject", "out", "plot_contrast", "plot_image",
       "products", "refined", "rolls", "target"]  # fmt: skip


def test_public_names_are_pinned():
    """Users write these: a name that goes, or is renamed, breaks their scripts."""
    names, pinned = found_names(), NAMES.read_text().split()
    come, gone = sorted(set(names) - set(pinned)), sorted(set(pinned) - set(names))
    assert not come + gone, (
        f"public names that came: {', '.join(come) or 'none'}; that went: {', '.join(gone) or 'none'}. A change "
        f"of them belongs in changes/ (docs/maintain/deprecation.md says how a name goes) and in {NAMES.name}."
    )
    assert pinned == names, f"{NAMES.name} is not in order"
    assert dir(lyot) == sorted(lyot.__all__)
    assert sorted(n for n in dir(lyot.Run) if not n.startswith("_")) == RUN


def found_names() -> list[str]:
    return sorted(f"{room}.{name}" for room, names in public_names().items() for name in names)


@pytest.mark.parametrize("room", ["lyot", *ROOMS, *MODULES])
def test_every_room_names_what_is_public(room):
    module = importlib.import_module(room)
    assert sorted(module.__all__) == sorted(set(module.__all__))  # once each; ruff holds the order
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match="it has LyotError"):
        _ = lyot.reduction_of_everything


@pytest.mark.parametrize("function", [lyot.reduce, lyot.open, lyot.simulate, lyot.subtract_star])
def test_docstrings_name_every_parameter(function):
    text = inspect.getdoc(function)
    for name in inspect.signature(function).parameters:
        assert f"\n{name} :" in text or f"\n**{name}\n" in text, name
    assert "Returns\n" in text and "Examples\n" in text


def test_the_import_is_light():
    code = "import sys, lyot; sys.exit(bool({'numpy', 'jwst', 'astropy', 'scipy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pipelines_are_found_where_those_of_jwst_are():
    from lyot.steps import Coron3Pipeline, Detector1Pipeline, Image2Pipeline

    assert [p.__name__ for p in (Detector1Pipeline, Image2Pipeline, Coron3Pipeline)] == [
        "Detector1Pipeline", "Image2Pipeline", "Coron3Pipeline",
    ]  # fmt: skip


if __name__ == "__main__":
    NAMES.write_text("\n".join(found_names()) + "\n")
