"""The last results are kept for the same content, however that came about, and for no other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lyot.last_results import LastResults


@dataclass(frozen=True)
class Params:
    modes: tuple[int, ...]


def content(**changed: object) -> tuple[object, ...]:
    values = {"modes": (3,), "array": np.arange(12.0).reshape(3, 4), "name": "rdi", "none": None} | changed
    return Params(values["modes"]), values["array"], values["name"], values["none"]


@pytest.mark.parametrize("changed", [
    {"modes": (4,)}, {"array": np.arange(12.0).reshape(4, 3)}, {"array": np.arange(12.0).reshape(3, 4) + 1e-15},
    {"array": np.arange(12.0, dtype=np.float32).reshape(3, 4)}, {"array": np.arange(12.0).reshape(4, 3).T},
    {"name": "adi"}, {"none": np.zeros(2)},
])  # fmt: skip
def test_only_the_same_content_gives_the_same_result(changed):
    last: LastResults[object] = LastResults()
    first = last.of(content(), object)
    assert last.of(content(), object) is first
    other = last.of(content(**changed), object)
    assert other is not first
    assert last.of(content(), object) not in (first, other)  # the last alone is kept


def test_a_part_of_an_array_is_its_values_and_an_array_that_is_kept_cannot_be_changed():
    last: LastResults[np.ndarray] = LastResults()
    whole = np.arange(20.0).reshape(4, 5)
    kept = last.of(whole[:2], lambda: np.ones(3))
    assert last.of(whole[:2].copy(), lambda: np.zeros(3)) is kept
    whole[0, 0] = 7.0
    assert last.of(whole[:2], lambda: np.zeros(3)) is not kept
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 2.0


def test_so_many_results_are_kept():
    last: LastResults[int] = LastResults(2)
    assert [last.of(k, lambda k=k: 10 * k) for k in (1, 2, 1)] == [10, 20, 10]
    assert [last.of(k, lambda: -1) for k in (3, 2, 1)] == [-1, 20, -1]


def test_nothing_is_kept_of_a_computation_that_fails():
    last: LastResults[float] = LastResults()
    with pytest.raises(ZeroDivisionError):
        last.of(1, lambda: 1 / 0)
    assert last.of(1, lambda: 5.0) == 5.0
