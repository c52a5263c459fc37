"""What a user can rely on: public names, pinned; a light import; docs that say what they take."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import lyot

NAMES = ["LyotError", "LyotWarning", "Run", "Subtracted", "__version__", "open", "reduce", "simulate", "subtract_star"]
RUN = ["companions", "contrast", "detections", "filter", "fit", "image", "inject", "out", "plot_contrast", "plot_image",
       "products", "refined", "rolls", "target"]  # fmt: skip
ROOMS = ["analysis", "archive", "calibrate", "exposures", "interface", "measure", "optics", "ramps", "records",
         "reduction", "reference_files", "report", "run", "simulator", "steps", "subtract",
         "testing", "tutorials"]  # fmt: skip


def test_public_names_are_pinned():
    assert sorted(lyot.__all__) == sorted(NAMES) == dir(lyot)
    assert sorted(n for n in dir(lyot.Run) if not n.startswith("_")) == RUN


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_names_its_public_functions(room):
    module = __import__(f"lyot.{room}", fromlist=["__all__"])
    assert list(module.__all__) == sorted(module.__all__)
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
