"""Which sources a product depends on: all that its pipeline imports, and no others."""

import subprocess
import sys

import pytest

import lyot
from lyot.run.code_digest import ENTRY, modules_of, source_digest


def _names(kind):
    return {p.relative_to(p.parents[1]).as_posix() for p in modules_of(ENTRY[kind])}


def test_each_stage_depends_on_its_own_rooms():
    first, second, third = (_names(k) for k in ("stage1", "stage2", "stage3"))
    assert {"ramps/engine.py", "ramps/_jump_kernels.py", "steps/stage1_stream.py", "lyot/params.py"} <= first
    assert "calibrate/background.py" in second
    assert {"subtract/klip.py", "optics/model.py", "steps/stage3_klip.py"} <= third
    assert not any(name.startswith(("cli/", "report/", "simulator/", "archive/")) for name in first | second | third)
    assert not any(name.startswith(("subtract/", "measure/", "calibrate/")) for name in first)


@pytest.mark.parametrize("kind", ["stage1", "stage3"])
def test_all_that_python_itself_loads_is_among_them(kind):
    ours = "(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'lyot')"
    code = f"import sys, {ENTRY[kind]}; print(*{ours})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # where compiled kernels lie changes no product
    loaded = {path for path in answer.stdout.split() if not path.endswith("kernel_cache.py")}
    assert loaded and loaded <= {str(p) for p in modules_of(ENTRY[kind])}


def test_a_changed_source_changes_what_depends_on_it(tmp_path, monkeypatch):
    import shutil
    from pathlib import Path

    from lyot.run import code_digest as sources

    copy = tmp_path / "lyot"
    shutil.copytree(Path(lyot.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "_ROOT", copy)

    def digests():
        source_digest.cache_clear()
        return {kind: source_digest(kind) for kind in ENTRY}

    try:
        before = digests()
        with (copy / "subtract" / "klip.py").open("a") as stream:
            stream.write("# changed\n")
        after = digests()
    finally:
        source_digest.cache_clear()
    assert before["stage1"] == after["stage1"]
    assert before["stage3"] != after["stage3"] and before["measure"] != after["measure"]
