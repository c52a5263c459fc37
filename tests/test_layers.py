"""What import-linter cannot say: cycles of modules, private names, readers in array rooms, a light command line."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "lyot"


@pytest.mark.parametrize("room", ["optics", "ramps", "calibrate", "subtract", "measure", "reduction"])
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


def _modules() -> dict[str, Path]:
    names = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def _imports(path: Path) -> list[tuple[str, str]]:
    """Pairs (module, name) of every ``from lyot... import name`` in a file, wherever it stands."""
    nodes = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom))
    return [(n.module, a.name) for n in nodes if (n.module or "").startswith("lyot") for a in n.names]


def test_no_module_depends_on_itself():
    """Imports inside functions and for type checking count too."""
    modules = _modules()
    graph = {}
    for name, path in modules.items():
        found = {f"{m}.{n}" if f"{m}.{n}" in modules else m for m, n in _imports(path)}
        graph[name] = found - {name, "lyot"}  # the face names every room, lazily
    graph.pop("lyot")
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)  # a cycle raises CycleError


def test_no_private_name_is_imported_from_another_room():
    def room(module: str) -> str:
        return module.split(".")[1] if "." in module else ""

    for name, path in _modules().items():
        for module, attribute in _imports(path):
            private = any(part.startswith("_") for part in module.split("."))
            private |= attribute.startswith("_") and not attribute.startswith("__")
            assert not private or room(module) == room(name), f"{name} imports {module}.{attribute}"
