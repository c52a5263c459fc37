"""The tutorial notebooks, executed in a clean copy of their folder; they assert what they state.

They are run one after the other, each with what those before it left behind, as a person works through them. With
`LYOT_NOTEBOOKS=alone` each runs in a clean copy of its own, which takes three times as long.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.rooms import public_names

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

DEMOS = Path(__file__).resolve().parents[1] / "pipeline_demos"

NOTEBOOKS = {
    "calwebb_detector1-single_file": "stage1/output-steps/*/*.fits",
    "calwebb_detector1-all_exposures": "stage1/output/*_rateints.fits",
    "calwebb_image2-single_exposure": "stage2/output-single/*_calints.fits",
    "calwebb_image2-all_exposures": "stage2/output-asn_all/*_calints.fits",
    "calwebb_coron3": "stage3/output/*_i2d.fits",
    "full_pipeline": "full_pipeline_output/stage3/*_i2d.fits",
}
"""Each notebook and what it must leave behind."""

FOLDERS = (
    "uncal", "stage1/output", "stage1/output-steps", "stage2/input", "stage2/output-steps", "stage2/output-single",
    "stage2/output-asn_all", "stage3/input", "stage3/output", "full_pipeline_output/stage1",
    "full_pipeline_output/stage2", "full_pipeline_output/stage3",
)  # fmt: skip

SECONDS = 1500
"""For one cell: a notebook takes under two minutes on two idle cores, ten times as long where others use them too."""


def clean_copy(destination: Path) -> Path:
    """The tutorials as in a fresh clone: notebooks and empty folders."""
    for folder in FOLDERS:
        (destination / folder).mkdir(parents=True)
    for notebook in DEMOS.glob("*.ipynb"):
        shutil.copy(notebook, destination)
    return destination


def execute(notebook: Path) -> object:
    """Run a notebook in its folder; raises `CellExecutionError` where a cell fails."""
    content = nbformat.read(notebook, as_version=4)
    client = nbclient.NotebookClient(
        content, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(notebook.parent)}}
    )
    return client.execute()


def printed(content: object) -> str:
    """Everything that the cells wrote to standard error."""
    outputs = [o for cell in content.cells if cell.cell_type == "code" for o in cell.outputs]  # type: ignore[attr-defined]
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == "stderr")


def test_all_are_there() -> None:
    found = {p.stem for p in DEMOS.glob("*.ipynb")}
    assert {*NOTEBOOKS, "real_data"} == found
    for folder in FOLDERS:
        assert (DEMOS / folder / ".gitkeep").is_file(), folder


@pytest.mark.parametrize("path", sorted(DEMOS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_is_stripped_and_valid(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(content))
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
        elif cell["cell_type"] == "markdown":  # text, not the comments of a script: every line would be a heading
            lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
            assert sum(line.startswith("#") for line in lines) <= 2, lines[:3]


@pytest.mark.parametrize("path", sorted(DEMOS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_uses_only_public_names(path: Path) -> None:
    public = public_names()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    nodes = list(ast.walk(ast.parse("\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"))))
    used, modules = set(), {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "lyot":
            for alias in node.names:
                if (name := f"{node.module}.{alias.name}") in public:  # a module: what is taken from it counts
                    modules[alias.asname or alias.name] = name
                else:
                    used.add((node.module, alias.name))
        elif isinstance(node, ast.Import):
            assert not [a.name for a in node.names if a.name.split(".")[0] == "lyot"]
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            used.add((modules[node.value.id], node.attr))
    assert used
    assert not [f"{module}.{name}" for module, name in used if name not in public.get(module, ())]


@pytest.fixture(scope="session")
def shared_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy of the folder that the notebooks are run in one after the other."""
    return clean_copy(tmp_path_factory.mktemp("notebooks") / "demos")


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("notebooks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs(name: str, shared_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL", "MPLBACKEND"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LYOT_DEMO_SIZE", "small")
    alone = os.environ.get("LYOT_NOTEBOOKS") == "alone"
    tree = clean_copy(tmp_path / "demos") if alone else shared_tree
    content = execute(tree / f"{name}.ipynb")
    assert list(tree.glob(NOTEBOOKS[name]))
    assert "Traceback" not in printed(content)
    figures = [o for c in content.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]  # type: ignore[attr-defined]
    assert len(figures) >= 3


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_real_data(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("LYOT_TEST_DATA", os.fspath(test_data))
    tree = clean_copy(tmp_path / "demos")
    content = execute(tree / "real_data.ipynb")
    assert "Traceback" not in printed(content)
