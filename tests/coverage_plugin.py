"""Line and branch coverage of the package: `pytest -p tests.coverage_plugin`, as `make test` runs it.

Below Python 3.12 coverage.py traces every function call, those inside `jwst` too, and doubles the time of the tests
that run its steps. SlipCover puts probes into the code of the package alone. It does not know numba, which cannot
compile a probe: functions that numba compiles keep their code and are not counted (they run as machine code, which no
coverage tool sees). Nor are processes that the tests start: the command line, the workers of a run, notebooks.
"""

from __future__ import annotations

import ast
import json
import re
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slipcover
import slipcover.branch

SOURCE = Path(__file__).resolve().parents[1] / "src" / "lyot"
OMITTED = ["*/lyot/optics/stpsf_adaptor.py"]  # needs stpsf and its gigabytes of data
KERNEL = r"@(nb\.|numba\.)?(njit|jit|vectorize|overload)\b"
EXCLUDED = ["^" + KERNEL, "if TYPE_CHECKING:", "^    @overload"]

#: With the real data the tests reach 96.7 % of the lines, and 95.5 % of lines and branches together.
LEAST_LINES = 94.0
LEAST_IN_ALL = 92.0

#: Probes are never taken out again: to look for them costs more than they do.
NEVER = 2**31 - 1


def _kernels(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The functions of a module that numba compiles."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(
            re.match(KERNEL, "@" + ast.unparse(decorator)) for decorator in node.decorator_list
        ):
            yield node


def _mark_branches(tree: ast.Module, mark: Any = slipcover.branch.preinstrument) -> ast.Module:
    """SlipCover's marks at the branches of a module, except in the functions that numba compiles."""
    kernels = list(_kernels(tree))
    bodies = [kernel.body for kernel in kernels]
    for kernel in kernels:
        kernel.body = [ast.copy_location(ast.Pass(), kernel)]
    marked: ast.Module = mark(tree)
    for kernel, body in zip(kernels, bodies, strict=True):
        kernel.body = body
    return marked


class Probes(slipcover.Slipcover):  # type: ignore[misc, unused-ignore]
    """SlipCover that leaves alone what numba compiles."""

    def __init__(self, source: list[str] | None = None) -> None:
        super().__init__(branch=True, source=source, omit=OMITTED, d_miss_threshold=NEVER, exclude_also=EXCLUDED)
        self._kernel_lines: set[int] = set()

    def instrument(self, co: types.CodeType, parent: types.CodeType | None = None) -> types.CodeType:
        """Put probes into a module and the functions in it; called for each of them by itself."""
        if parent is None:
            tree = ast.parse(Path(co.co_filename).read_bytes())
            self._kernel_lines = {kernel.decorator_list[0].lineno for kernel in _kernels(tree)}
        elif parent.co_name == "<module>" and co.co_firstlineno in self._kernel_lines:
            return co
        instrumented: types.CodeType = super().instrument(co, parent)
        return instrumented


class Coverage:
    """The coverage of one process, merged in the one that started the others.

    Parameters
    ----------
    config : pytest.Config
        Of the process.
    probes : Probes
        Those that were put into what this process has imported.
    """

    def __init__(self, config: pytest.Config, probes: Probes) -> None:
        self._config = config
        self._probes = probes
        self._of_workers: list[dict[str, Any]] = []
        self._merged: dict[str, Any] = {}

    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a process of pytest-xdist has counted."""
        if "coverage" in node.workeroutput:
            self._of_workers.append(json.loads(node.workeroutput["coverage"]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand on what was counted here, or judge all of it."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["coverage"] = json.dumps(self._probes.get_coverage())
            return
        self._probes.source = [str(SOURCE)]  # files that nothing imports count, too
        self._merged = self._probes.get_coverage()
        for counted in self._of_workers:
            slipcover.merge_coverage(self._merged, counted)
        if session.exitstatus == pytest.ExitCode.OK and self._shortfalls():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _shortfalls(self) -> list[str]:
        """What is below the least that is asked for, a sentence each."""
        summary = self._merged["summary"]
        lines = 100 * summary["covered_lines"] / (summary["covered_lines"] + summary["missing_lines"])
        return [
            f"coverage of {what} is {percent:.1f} %, at least {least:.1f} % are asked for"
            for what, percent, least in (
                ("lines", lines, LEAST_LINES),
                ("lines and branches", summary["percent_covered"], LEAST_IN_ALL),
            )
            if percent < least
        ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the coverage of each room; the lines that are missing go to a file."""
        if not self._merged:
            return
        rooms: dict[str, Counter[str]] = {}
        for name, counted in self._merged["files"].items():
            inside = Path(name).resolve().relative_to(SOURCE)
            room = inside.parts[0] if len(inside.parts) > 1 else "(lyot)"
            rooms.setdefault(room, Counter()).update(counted["summary"])
        terminalreporter.section("coverage of src/lyot, without what numba compiles")
        terminalreporter.line(f"{'room':<18}{'lines':>8}{'covered':>10}{'branches':>10}{'covered':>10}")
        for room, counts in [*sorted(rooms.items()), ("in all", Counter(self._merged["summary"]))]:
            cells = ""
            for kind in ("lines", "branches"):
                total = counts[f"covered_{kind}"] + counts[f"missing_{kind}"]
                share = f"{100 * counts[f'covered_{kind}'] / total:.1f} %" if total else "-"
                cells += f"{total:>{8 if kind == 'lines' else 10}}{share:>10}"
            terminalreporter.line(f"{room:<18}{cells}")
        if cache := getattr(self._config, "cache", None):
            path = cache.mkdir("coverage") / "coverage.txt"
            with path.open("w", encoding="utf-8") as file:
                slipcover.print_coverage(self._merged, outfile=file, skip_covered=True)
            terminalreporter.line(f"Lines and branches that no test reaches: {path}")
        for sentence in self._shortfalls():
            terminalreporter.line(f"FAILED: {sentence}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Count in this process what is imported from now on; `conftest.py` and the tests are not imported yet."""
    probes = Probes()
    slipcover.branch.preinstrument = _mark_branches
    slipcover.ImportManager(probes, slipcover.FileMatcher(sources=[str(SOURCE)], omit=OMITTED)).__enter__()
    early_config.pluginmanager.register(Coverage(early_config, probes), "lyot-coverage")
