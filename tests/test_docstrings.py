"""Docstrings of what a room makes public: every parameter described, arrays with their shape, what comes back.

Functions, and of the classes: what makes one, the fields of a dataclass, the methods and properties.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import functools
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.rooms import public_names

ARRAY = re.compile(r"NDArray|FloatArray|IntArray|BoolArray|ComplexArray|\bFloat(32)?\b|\bBool\b")
SHAPE = re.compile(r" : .*\(.*\)")
SHAPE_OF_ALL = re.compile(r"\(n\w+,|\(ny, nx\)")
UNIT = re.compile(
    r"arcsec|\bmas\b|degree|\bdeg\b|radian|pixel|Jy|\bDN|electron|\bmm?\b|\bum\b|nm\b|second|\bs\b|\bmag|steradian|year"
    r"|parsec|lambda/D|resolution element|unit|fraction|factor|ratio|relative|probability|S/N|sigma|contrast|count|%"
    r"|share|0 to 1|between 0 and 1|flux|mass|Quantity|Myr|\bMJD\b|\bpc\b|\bMB\b|\bgroups\b|date|FITS"
    r"|exponent|asymmetry parameter|weight|chi squared|\binch\b",
    re.I,
)
"""Units, and the words for what has none: ratios, probabilities, exponents and images of any unit."""


def public() -> Iterator[tuple[str, Any]]:
    """What `lyot` and each room have in ``__all__``, each once, with its name there."""
    seen = set()
    for room, names in public_names().items():
        for name in names:
            found = getattr(importlib.import_module(room), name)
            if (inspect.isfunction(found) or inspect.isclass(found)) and found not in seen:
                seen.add(found)
                assert vars(found).get("__doc__", found.__doc__), f"{room}.{name} has no docstring"
                yield f"{room}.{name}", found


def members() -> Iterator[tuple[str, Any]]:
    """Public attributes that the public classes and their bases here define.

    What replaces a method of jwst or stpipe is described there, except for ``process``.
    """
    seen = set()
    for name, cls in public():
        if not inspect.isclass(cls):
            continue
        official = {k for base in cls.__mro__ if not base.__module__.startswith("lyot") for k in vars(base)}
        for home in cls.__mro__:
            if home.__module__.startswith("lyot") and home not in seen:
                seen.add(home)
                at = name if home is cls else f"{home.__module__}.{home.__name__}"
                for attribute, found in vars(home).items():
                    if not attribute.startswith("_") and (attribute == "process" or attribute not in official):
                        yield f"{at}.{attribute}", found


def public_functions() -> Iterator[Any]:
    """Functions of ``lyot`` and of each room, and the methods of their classes."""
    for name, found in (*public(), *members()):
        function = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
        if inspect.isfunction(function):
            yield pytest.param(function, id=name)


def public_properties() -> Iterator[Any]:
    """Functions behind the properties of the public classes."""
    for name, found in members():
        if isinstance(found, property):
            yield pytest.param(found.fget, id=name)
        elif isinstance(found, functools.cached_property):
            yield pytest.param(found.func, id=name)


def public_classes(*, of_fields: bool) -> Iterator[Any]:
    """Public classes that are dataclasses, or those with a constructor that was written."""
    for name, found in public():
        if inspect.isclass(found) and (dataclasses.is_dataclass(found) if of_fields else _has_constructor(found)):
            yield pytest.param(found, id=name)


def _has_constructor(cls: type) -> bool:
    return not dataclasses.is_dataclass(cls) and "__init__" in vars(cls)


def section(text: str, title: str) -> str:
    """Lines of one section of a numpydoc docstring."""
    match = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)", text, re.M | re.S)
    return match[1] if match else ""


def entries(text: str, title: str) -> dict[str, str]:
    """What a section such as Parameters says of each name, from its heading on."""
    found = {}
    for entry in re.split(r"^(?=\S)", section(text, title), flags=re.M):
        for name in entry.partition("\n")[0].partition(" : ")[0].split(","):
            found[name.strip().lstrip("*")] = entry
    return {name: entry for name, entry in found.items() if name}


def described(text: str) -> dict[str, str]:
    """Headings of the section Parameters, by parameter."""
    return {name: entry.partition("\n")[0] for name, entry in entries(text, "Parameters").items()}


def strings_after_fields(cls: type) -> dict[str, str]:
    """The strings that follow fields in the source of a class."""
    found = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(found, ast.ClassDef)
    return {
        ast.unparse(field.target): str(text.value.value)
        for field, text in itertools.pairwise(found.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


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


@pytest.mark.parametrize("function", (*public_functions(), *public_properties()))
def test_the_summary_is_one_line_that_ends(function: Callable[..., Any]) -> None:
    first = (inspect.getdoc(function) or "").split("\n\n")[0]
    assert "\n" not in first and first.endswith("."), first


@pytest.mark.parametrize("function", public_properties())
def test_a_property_says_its_shape_or_unit(function: Callable[..., Any]) -> None:
    text, annotation = inspect.getdoc(function) or "", str(inspect.signature(function).return_annotation)
    check_value(annotation, text)


def check_value(annotation: str, text: str) -> None:
    if ARRAY.search(annotation):
        assert re.search(r"\(.*\)", text), f"expected a shape such as (ny, nx) in '{text}'"
    elif "float" in annotation:
        assert UNIT.search(text), f"no unit: '{text}'"


@pytest.mark.parametrize("cls", public_classes(of_fields=True))
def test_every_field_is_described(cls: type) -> None:
    """In the class docstring or in a string after the field; those of `param` have their help and unit."""
    known: dict[str, str] = {}
    summary = (inspect.getdoc(cls) or "").split("\n\n")[0]
    shape_of_all = summary if SHAPE_OF_ALL.search(summary) else ""
    for home in reversed([c for c in cls.__mro__ if dataclasses.is_dataclass(c)]):
        text = inspect.cleandoc(home.__doc__ or "")
        known |= entries(text, "Parameters") | entries(text, "Attributes") | strings_after_fields(home)
    for field in dataclasses.fields(cls):
        if field.name.startswith("_"):
            continue
        meta = field.metadata.get("lyot")
        text = f"{meta['help']} {meta['unit']}" if meta else known.get(field.name, "")
        assert text.strip(), f"not described: {field.name}"
        if not (meta and meta["unit"]):
            check_value(str(field.type), f"{text.removeprefix(field.name)} {shape_of_all}")


@pytest.mark.parametrize("cls", public_classes(of_fields=False))
def test_what_makes_an_object_is_described(cls: type) -> None:
    known = described(inspect.getdoc(cls) or "") | described(inspect.getdoc(cls.__init__) or "")
    assert set(known) == set(inspect.signature(cls).parameters)


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

    @dataclasses.dataclass
    class Lacking:
        """Result."""

        image: NDArray[np.float64]
        """Without a shape."""
        noise: float = 0.0

    with pytest.raises(AssertionError, match="expected a shape"):
        test_every_field_is_described(Lacking)
    Lacking.__dataclass_fields__.pop("image")
    with pytest.raises(AssertionError, match="not described: noise"):
        test_every_field_is_described(Lacking)


@pytest.mark.parametrize("module", ["lyot.interface.arrays", "lyot.interface.simulation", "lyot.interface.run"])
def test_the_examples_give_what_they_show(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
    assert found.attempted > 0 or module == "lyot.interface.run"
