"""Mass limits from a grid of evolution models that the user gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lyot.errors import InputError, MissingInputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MassGrid:
    """Mass against absolute magnitude at one age.

    Attributes
    ----------
    masses : (n,) float64 ndarray
        Jupiter masses.
    magnitudes : (n,) float64 ndarray
        Absolute Vega magnitudes in the filter, decreasing.
    """

    masses: FloatArray
    magnitudes: FloatArray

    def __post_init__(self) -> None:
        if len(self.masses) < 2 or len(self.masses) != len(self.magnitudes):
            raise InputError("mass grid: expected two or more masses, each with its magnitude.")
        if (np.diff(self.masses) <= 0).any() or (np.diff(self.magnitudes) >= 0).any():
            raise InputError("mass grid: expected masses that increase and magnitudes that decrease with mass.")

    @classmethod
    def read(cls, path: str | Path, *, age: float | None = None) -> MassGrid:
        """Read a text table with columns age [Myr], mass [MJup], magnitude (or mass and magnitude only).

        Parameters
        ----------
        path : path
            Lines that begin with # are comments.
        age : float, optional
            Myr; magnitudes are interpolated linearly in log age between the tabulated ages.

        Raises
        ------
        MissingInputError
            If there is no such file.
        InputError
            If it cannot be read, or the age is outside of it.
        """
        if not Path(path).is_file():
            raise MissingInputError(f"{path}: there is no such mass grid.")
        try:
            values = np.loadtxt(path, ndmin=2)
        except ValueError as error:
            raise InputError(f"{path}: expected numbers in columns age, mass, magnitude ({error}).") from error
        if values.shape[1] == 2:
            order = np.argsort(values[:, 0])
            return cls(values[order, 0], values[order, 1])
        if values.shape[1] != 3 or age is None:
            raise InputError(f"{path}: expected columns age [Myr], mass [MJup], magnitude, and an age to look up.")
        return cls(*_at_age(values, age, str(path)))

    def mass(self, magnitude: ArrayLike) -> FloatArray:
        """Mass at absolute magnitudes, interpolated in log mass; NaN outside the grid."""
        m = np.asarray(magnitude, float)
        value = np.exp(np.interp(-m, -self.magnitudes, np.log(self.masses), left=np.nan, right=np.nan))
        return np.asarray(value)


def _at_age(values: FloatArray, age: float, where: str) -> tuple[FloatArray, FloatArray]:
    ages = np.unique(values[:, 0])
    if not ages[0] <= age <= ages[-1]:
        raise InputError(f"{where}: the age {age} Myr is outside the grid, {ages[0]} to {ages[-1]} Myr.")
    masses = np.unique(values[:, 1])
    kept, magnitudes = [], []
    for mass in masses:
        track = values[values[:, 1] == mass]
        track = track[np.argsort(track[:, 0])]
        if track[0, 0] <= age <= track[-1, 0]:
            kept.append(mass)
            magnitudes.append(np.interp(np.log(age), np.log(track[:, 0]), track[:, 2]))
    return np.array(kept), np.array(magnitudes)
