"""Every tolerance of the tests has its reason next to it, unless it is the rounding of floats."""

from __future__ import annotations

import ast
import textwrap
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

NAMES = {"rtol", "atol", "rel", "abs"}
ROUNDING = 2e-5
"""A tolerance up to here is rounding: of doubles after many operations, or of products stored in single precision."""

REACH = 4
"""A reason stands at most so many lines above the tolerance, or behind it."""


def _is_rounding(node: ast.AST) -> bool:
    """Whether a part of an expression is a number that is rounding, as in ``1e-9 * scale``."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value <= ROUNDING


def unexplained(source: str) -> Iterator[int]:
    """Lines of tolerances beyond rounding that have no comment next to them."""
    comments = {t.start[0] for t in tokenize.generate_tokens(StringIO(source).readline) if t.type == tokenize.COMMENT}
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        for keyword in call.keywords:
            value = keyword.value
            named = isinstance(value, ast.Name | ast.Attribute | ast.IfExp)
            if keyword.arg not in NAMES or named or any(_is_rounding(part) for part in ast.walk(value)):
                continue
            last = value.end_lineno or value.lineno
            if not comments & set(range(call.lineno - REACH, last + 2)):
                yield value.lineno


def test_a_tolerance_has_its_reason() -> None:
    folder = Path(__file__).parent
    bare = [
        f"{path.relative_to(folder)}:{line}"
        for path in sorted(folder.rglob("*.py"))
        for line in unexplained(path.read_text(encoding="utf-8"))
    ]
    assert not bare, f"no reason next to the tolerance: {', '.join(bare)}"


def test_one_without_is_seen() -> None:
    source = """
    def test():
        assert a == approx(b, rel=1e-9)
        assert a == approx(b, rel=0.1)




        # noise of 25 draws
        assert a == approx(b, rel=0.1)
    """
    assert list(unexplained(textwrap.dedent(source))) == [4]
