"""What the tutorial notebooks share: tables that tell differences, short logs, a line of progress."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from lyot import dq
from lyot.errors import ConfigError, ReductionError
from lyot.run.execute import Event
from lyot.tutorials import notebook

pytest.importorskip("pandas")


def test_differences_are_counted_and_sized() -> None:
    ours = np.zeros(1000)
    ours[0] = np.nan
    official = ours.copy()
    official[1], official[2:20] = 3.0, 0.5
    table = notebook.difference_table({"data": ours, "dq": ours > 0}, {"data": official, "dq": ours > 0})
    assert table["different"].tolist() == [19, 0]
    # 10 of 1000 may differ by more than what is said of 99 %
    assert table.loc["data", "99 % differ by less than"] == "0.5"
    assert table.loc["data", "largest difference"] == "3"
    assert table.loc["dq", "largest difference"] == "0"


def test_flags_are_counted() -> None:
    flags = np.array([[0, dq.HOT | dq.DO_NOT_USE], [dq.DO_NOT_USE, 0]], np.uint32)
    table = notebook.flag_table(flags, np.zeros((2, 2), np.uint8), labels=["pixels", "groups"])
    assert table.to_dict() == {"pixels": {"DO_NOT_USE": 2, "HOT": 1}, "groups": {"DO_NOT_USE": 0, "HOT": 0}}


def test_parameters_are_those_of_the_specification() -> None:
    from lyot.steps.stage3_klip import KlipStep

    table = notebook.parameter_table(KlipStep, "strategy inner_radius").data
    assert table.index.tolist() == ["strategy", "inner_radius"]
    assert table["default"].tolist() == ["rdi", "0.0"]
    assert all(table["what it does"])
    assert {"strategy", "truncate"} <= set(notebook.parameter_table(KlipStep).data.index)


def test_log_goes_to_the_file_and_comes_back_short(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "step.log"
    with notebook.log_to(path):
        logging.getLogger("stpipe.step").info("Using GAIN reference file /a/long/way/gain.fits")
        logging.getLogger("jwst").info("Using GAIN reference file /a/long/way/gain.fits")
        logging.getLogger("lyot").warning("and/or 3/4: kept")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("paths in the association", stacklevel=1)
    assert "".join(capfd.readouterr()) == ""
    assert path.read_text().count("/a/long/way/gain.fits") == 2
    assert notebook.log_lines(path, "using", "kept") == "Using GAIN reference file gain.fits\nand/or 3/4: kept"
    assert "paths in the association" in notebook.log_lines(path)


def test_progress_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    shown: list[str] = []

    class Handle:
        update = staticmethod(lambda line: shown.append(repr(line)))

    monkeypatch.setattr(display, "display", lambda line, display_id: Handle())
    tell = notebook.show_progress()
    for event in (Event("planned", detail="3"), Event("current"), Event("started"), Event("finished")):
        tell(event)
    assert shown == ["0 of 3 tasks", "1 of 3 tasks", "2 of 3 tasks"]


def test_demo_needs_its_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of the tutorials"):
        notebook.open_demo(tmp_path)
    for name in ("uncal", "stage1"):
        (tmp_path / name).mkdir()
    with mpl.rc_context():
        demo = notebook.open_demo(tmp_path)
        assert mpl.rcParams["axes.titlesize"] == 9
    (demo.folder("stage3/output") / "old.fits").write_text("x")
    (demo.folder("stage3/output") / ".gitkeep").write_text("")
    assert [p.name for p in demo.empty("stage3/output").iterdir()] == [".gitkeep"]


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("pandas", lambda: notebook.flag_table(np.zeros((2, 2), dtype=np.uint32))),
        ("pandas", notebook.use_style),
        ("IPython", notebook.show_progress),
    ],
)
def test_without_the_extra_one_sentence_says_how_to_install_it(monkeypatch, package, use):
    for name in (package, f"{package}.display"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ReductionError, match=rf'require {package}, which is not installed; pip install "lyot\[note'):
        use()
