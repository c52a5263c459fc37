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
        if path.name != "stpsf_adaptor.py":  # another program, which is told by the environment where its data are
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
    """Pairs (module, name) of every ``from lyot... import name`` in a file, wherever it stands.

    Of ``import lyot.room.module`` the name is the last part.
    """
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.rpartition(".")[::2] for alias in node.names]
    return [(module, name) for module, name in found if module.partition(".")[0] == "lyot"]


def _private_attributes(path: Path) -> list[tuple[str, str]]:
    """Pairs (module, attribute) of ``module._attribute`` in a file, of modules that it imports from here."""
    modules, tree = _modules(), ast.parse(path.read_text())
    local = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            local |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return [
        (local[n.value.id], n.attr) for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and local.get(n.value.id) in modules
        and n.attr.startswith("_") and not n.attr.startswith("__")
    ]  # fmt: skip


def test_no_module_depends_on_itself():
    """Imports inside functions and for type checking count too."""
    modules = _modules()
    graph = {}
    for name, path in modules.items():
        found = {f"{m}.{n}" if f"{m}.{n}" in modules else m for m, n in _imports(path)}
        graph[name] = found - {name, "lyot"}  # the face names every room, lazily
    graph.pop("lyot")
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)  # a cycle raises CycleError


def test_every_room_has_its_tests_and_no_other_folder_is_there():
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    folders = {path.parent.name for path in Path(__file__).parent.glob("*/__init__.py")}
    assert folders == rooms
    for room in rooms:
        assert list(Path(__file__).parent.glob(f"{room}/test_*.py")), f"{room} has no tests"


def test_no_private_name_is_imported_from_another_room():
    def room(module: str) -> str:
        return module.split(".")[1] if "." in module else ""

    for name, path in _modules().items():
        for module, attribute in (*_imports(path), *_private_attributes(path)):
            private = any(part.startswith("_") for part in module.split("."))
            private |= attribute.startswith("_") and not attribute.startswith("__")
            assert not private or room(module) == room(name), f"{name} imports {module}.{attribute}"
