"""Quantities at the edge: a number in the documented unit, or an astropy Quantity of any equivalent unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from astropy import units as u

from lyot.errors import ConfigError, InputError
from lyot.params import ParameterInfo

Value = float | u.Quantity

_NO_UNIT: dict[str, u.UnitBase] = {"lambda/D": u.one, "sigma": u.one, "pixel": u.pix}
"""Units of parameters that astropy does not know or takes for others: its D is the debye."""

_MAGNITUDES = ("magnitude", "k_magnitude")
"""Parameters that are named for their unit."""

_SCALES = ("pixel_scale",)
"""Parameters in arcsec that may be given in arcsec per pixel."""


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
        plain = float(_converted(value, unit, name)) if isinstance(value, u.Quantity) else float(value)
    except (u.UnitConversionError, TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected one number in {u.Unit(unit)}, or a quantity of that kind, got {value!r}."
        ) from error
    if not np.isfinite(plain):
        raise InputError(f"{name}: expected a finite number, got {value!r}.")
    return plain


def plain_parameters(values: Mapping[str, Any], infos: Iterable[ParameterInfo], *, where: str = "") -> dict[str, Any]:
    """Values of parameters with each Quantity as plain number in the unit of its parameter.

    Parameters
    ----------
    values : mapping
        By parameter; lists may hold quantities too. What is no Quantity, or no parameter, stays as it is.
    infos : iterable of ParameterInfo
        Declarations of the parameters.
    where : str, optional
        Prefix of messages, e.g. ``"[star] "``.

    Raises
    ------
    ConfigError
        If a unit does not convert to that of the parameter.
    """
    units = {info.name: info.unit for info in infos}

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [plain(name, one) for one in value] if any(isinstance(v, u.Quantity) for v in value) else value
        if not isinstance(value, u.Quantity):
            return value
        unit = u.mag if name in _MAGNITUDES else _unit(units[name])
        try:
            return _converted(value, unit, name).tolist()  # a number, or a list of them
        except u.UnitConversionError:
            expected = f"a plain number or a quantity in {unit}" if unit != u.one else "a number without unit"
            raise ConfigError(f"{where}{name}: expected {expected}, got {value}.") from None

    return {name: plain(name, value) if name in units else value for name, value in values.items()}


def _unit(text: str) -> u.UnitBase:
    """The unit of a parameter as it is written in its declaration."""
    return _NO_UNIT[text] if text in _NO_UNIT else u.Unit(text)


def _converted(value: u.Quantity, unit: u.UnitBase | str, name: str) -> Any:
    """A Quantity in a unit; a scale may be per pixel."""
    if name in _SCALES and value.unit.is_equivalent(u.arcsec / u.pix):
        value = value * u.pix
    return np.asarray(value.to_value(unit))
