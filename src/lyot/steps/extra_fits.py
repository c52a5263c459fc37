"""Cards and tables of a product that no schema of the data models knows, written and read back through its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from lyot.exposures.columns import plain, with_units
from lyot.exposures.headers import Card
from lyot.steps.models import DataModel


def add_cards(model: DataModel, cards: Sequence[Card], *, extension: str = "PRIMARY") -> None:
    """Add FITS header cards (keyword, value, comment) that no schema knows; cards of the same keyword are replaced."""
    parts = model.instance.setdefault("extra_fits", {}).setdefault(extension, {})
    names = {card[0] for card in cards}
    kept = [list(card) for card in parts.get("header", []) if card[0] not in names]
    parts["header"] = kept + [list(card) for card in cards]


def read_card(model: DataModel, keyword: str, default: Any = None, *, extension: str = "PRIMARY") -> Any:
    """Read back the value of a card written with `add_cards`; `default` if there is none."""
    cards = model.instance.get("extra_fits", {}).get(extension, {}).get("header", [])
    return next((card[1] for card in cards if card[0] == keyword), default)


def add_table(model: DataModel, extension: str, table: NDArray[Any]) -> None:
    """Add a binary table extension (structured array) that no schema knows, with the units and comments of its columns.

    Raises
    ------
    InputError
        If a column is not in `lyot.exposures.columns.COLUMNS`.
    """
    rows, cards = with_units(extension, table)
    model.instance.setdefault("extra_fits", {})[extension] = {"header": [list(card) for card in cards], "data": rows}


def read_table(model: DataModel, extension: str) -> NDArray[Any] | None:
    """Read back a table written with `add_table`; None if there is none."""
    found = model.instance.get("extra_fits", {}).get(extension, {}).get("data")
    return None if found is None else plain(found)
