"""Quantities at the edge: a number in the documented unit, or an astropy Quantity of any equivalent unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u

from lyot.errors import InputError

Value = float | u.Quantity


def number(value: Any, unit: u.UnitBase | str, name: str) -> float:
    """The value as a plain number in `unit`.

    Parameters
    ----------
    value : float or Quantity
        A plain number is in `unit` already.
    unit : Unit or str
    name : str
        Of the argument, for messages.

    Raises
    ------
    InputError
        If it is no finite number, or of another kind of unit.
    """
    try:
        plain = float(value.to_value(unit)) if isinstance(value, u.Quantity) else float(value)
    except (u.UnitConversionError, TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected one number in {u.Unit(unit)}, or a quantity of that kind, got {value!r}."
        ) from error
    if not np.isfinite(plain):
        raise InputError(f"{name}: expected a finite number, got {value!r}.")
    return plain
