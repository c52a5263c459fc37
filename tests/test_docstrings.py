"""Docstrings of what a room makes public: every parameter described, arrays with their shape, what comes back."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lyot

ROOMS = ["analysis", "archive", "calibrate", "exposures", "interface", "measure", "optics", "ramps", "records",
         "reduction", "reference_files", "report", "run", "simulator", "steps", "subtract", "testing",
         "tutorials"]  # fmt: skip
ARRAY = re.compile(r"NDArray|FloatArray|IntArray|BoolArray|\bFloat\b|\bBool\b")
SHAPE = re.compile(r" : .*\(.*\)")
UNIT = re.compile(
    r"arcsec|\bmas\b|degree|\bdeg\b|radian|pixel|Jy|\bDN|electron|\bmm?\b|\bum\b|nm\b|second|\bs\b|\bmag|steradian|year"
    r"|parsec|lambda/D|resolution element|unit|fraction|factor|ratio|relative|probability|S/N|sigma|contrast|count|%"
    r"|share|0 to 1|between 0 and 1|flux|mass|Quantity|Myr|date|FITS",
    re.I,
)
"""Units, and the words for what has none: ratios, probabilities and images of any unit."""


def public_functions() -> Iterator[Any]:
    """Functions of ``lyot`` and of each room, and the methods of their classes that a docstring describes."""
    for module in (lyot, *(importlib.import_module(f"lyot.{room}") for room in ROOMS)):
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isfunction(found):
                yield pytest.param(found, id=f"{module.__name__}.{name}")
            elif inspect.isclass(found):
                assert inspect.getdoc(found), f"{module.__name__}.{name} has no docstring"


def section(text: str, title: str) -> str:
    """Lines of one section of a numpydoc docstring."""
    match = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)", text, re.M | re.S)
    return match[1] if match else ""


def described(text: str) -> dict[str, str]:
    """Headings of the section Parameters, by parameter."""
    found = {}
    for line in re.findall(r"^(\S.*)$", section(text, "Parameters"), re.M):
        for name in line.partition(" : ")[0].split(","):
            found[name.strip().lstrip("*")] = line
    return found


@pytest.mark.parametrize("function", public_functions())
def test_every_parameter_is_described_and_arrays_have_a_shape(function: Callable[..., Any]) -> None:
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    known = described(text)
    names = [n for n in signature.parameters if n not in ("self", "cls")]
    assert set(known) >= set(names), f"not described: {set(names) - set(known)}"
    if "lyot.testing" not in function.__module__:  # hypothesis writes other signatures
        assert set(known) <= set(names), f"described, and no parameters: {set(known) - set(names)}"
    for name, parameter in signature.parameters.items():
        if ARRAY.search(str(parameter.annotation)) and "Sequence[NDArray" not in str(parameter.annotation):
            assert SHAPE.search(known[name]), f"{name}: expected a shape such as (ny, nx) in '{known[name]}'"
    if signature.return_annotation not in (None, "None"):
        returned = section(text, "Returns") or section(text, "Yields")
        assert returned.strip(), "no section Returns"
        if re.match(r"NDArray|FloatArray", str(signature.return_annotation)):
            assert re.search(r"\(.*\)", returned), f"Returns: expected a shape in '{returned.strip()}'"


@pytest.mark.parametrize("function", public_functions())
def test_every_float_has_a_unit(function: Callable[..., Any]) -> None:
    """In its own entry, or by the words that say that it has none; the array to write to has that of the data."""
    for entry in re.split(r"^(?=\S)", section(inspect.getdoc(function) or "", "Parameters"), flags=re.M):
        name, _, kind = entry.partition("\n")[0].partition(" : ")
        if "float" in kind and name != "out":
            assert UNIT.search(entry.partition(" : ")[2]), f"no unit: {entry}"


@pytest.mark.parametrize("function", public_functions())
def test_the_summary_is_one_line_that_ends(function: Callable[..., Any]) -> None:
    first = (inspect.getdoc(function) or "").split("\n\n")[0]
    assert "\n" not in first and first.endswith("."), first


def test_a_docstring_that_lacks_something_is_seen() -> None:
    """The check itself."""

    def bad(image: FloatArray) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Do it.

        Parameters
        ----------
        image : ndarray
        """

    with pytest.raises(AssertionError, match="expected a shape"):
        test_every_parameter_is_described_and_arrays_have_a_shape(bad)
    assert described(inspect.getdoc(bad)) == {"image": "image : ndarray"}

    def unitless(depth: float) -> None:
        """Do it.

        Parameters
        ----------
        depth : float
            How deep.
        """

    with pytest.raises(AssertionError, match="no unit: depth"):
        test_every_float_has_a_unit(unitless)


@pytest.mark.parametrize("module", ["lyot.interface.arrays", "lyot.interface.simulation", "lyot.interface.run"])
def test_the_examples_give_what_they_show(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
    assert found.attempted > 0 or module == "lyot.interface.run"
