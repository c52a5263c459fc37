"""Masses from evolutionary models: absolute magnitude as a function of mass and age, and masses with errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lyot.errors import InputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MassGrid:
    """Mass as a function of absolute magnitude at one age.

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

    def mass(self, magnitude: ArrayLike) -> FloatArray:
        """Mass at absolute magnitudes, interpolated in log mass; NaN outside the grid.

        Parameters
        ----------
        magnitude : (...) array_like
            Absolute Vega magnitudes.

        Returns
        -------
        (...) float64 ndarray
            Jupiter masses.
        """
        m = np.asarray(magnitude, float)
        value = np.exp(np.interp(-m, -self.magnitudes, np.log(self.masses), left=np.nan, right=np.nan))
        return np.asarray(value)


@dataclass(frozen=True)
class MassWithError:
    """Masses and their one-sigma errors, (n,) float64 ndarrays in Jupiter masses; NaN outside the models.

    Attributes
    ----------
    mass : float64 ndarray
    error : float64 ndarray
        Of flux and age together.
    from_flux, from_age : float64 ndarray
        The two parts: half of the difference between the masses one sigma to both sides, or the whole to one side where
        the models end on the other.
    """

    mass: FloatArray
    error: FloatArray
    from_flux: FloatArray
    from_age: FloatArray


@dataclass(frozen=True)
class EvolutionModels:
    """Absolute magnitudes of objects as a function of mass and age, in any order.

    Attributes
    ----------
    ages : (n,) float64 ndarray
        Myr.
    masses : (n,) float64 ndarray
        Jupiter masses.
    magnitudes : (n,) float64 ndarray
        Absolute Vega magnitudes in one filter; not NaN.
    name : str
        Of the models, for messages and tables.
    filter : str
        Of the magnitudes.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import EvolutionModels
    >>> models = EvolutionModels(
    ...     ages=np.array([10.0, 10.0, 100.0, 100.0]), masses=np.array([5.0, 10.0, 5.0, 10.0]),
    ...     magnitudes=np.array([12.0, 10.0, 16.0, 14.0]),
    ... )
    >>> models.at(10.0).mass([10.0, 12.0, 20.0]).round(6).tolist()
    [10.0, 5.0, nan]
    >>> models.age_range(20.0, 15.0)
    (10.0, 35.0)
    """

    ages: FloatArray
    masses: FloatArray
    magnitudes: FloatArray
    name: str = "evolution models"
    filter: str = ""

    def __post_init__(self) -> None:
        if not len(self.ages) == len(self.masses) == len(self.magnitudes) >= 2:
            raise InputError(f"{self.name}: expected two or more models, each with age, mass and magnitude.")
        if not all(np.isfinite(v).all() for v in (self.ages, self.masses, self.magnitudes)):
            raise InputError(f"{self.name}: expected finite ages, masses and magnitudes.")
        if (self.ages <= 0).any() or (self.masses <= 0).any():
            raise InputError(f"{self.name}: expected positive ages and masses.")

    def at(self, age: float) -> MassGrid:
        """Mass as a function of magnitude at an age, interpolated linearly in log age.

        Where heavier objects are fainter (deuterium burning), the lightest object of a brightness counts.

        Parameters
        ----------
        age : float
            Myr.

        Returns
        -------
        MassGrid

        Raises
        ------
        InputError
            If the age is outside the models, or fewer than two masses have models there.
        """
        first, last = float(self.ages.min()), float(self.ages.max())
        if not first <= age <= last:
            raise InputError(
                f"{self.name}: the age {age:g} Myr is outside the models, {first:g} to {last:g} Myr; "
                "give another age or table."
            )
        tracks, isochrones = self._along_tracks(age), self._between_isochrones(age)
        masses, magnitudes = max(tracks, isochrones, key=lambda found: len(found[0]))
        if len(masses) < 2:
            raise InputError(f"{self.name}: fewer than two masses have models at {age:g} Myr; give the whole table.")
        brightest = np.minimum.accumulate(magnitudes)
        kept = np.concatenate([[True], magnitudes[1:] < brightest[:-1]])
        if kept.sum() < 2:
            raise InputError(f"{self.name}: the brightness at {age:g} Myr does not grow with mass.")
        return MassGrid(masses[kept], magnitudes[kept])

    def _along_tracks(self, age: float) -> tuple[FloatArray, FloatArray]:
        """Magnitudes at an age, of the masses whose models reach over it."""
        kept, magnitudes = [], []
        for mass in np.unique(self.masses):
            of_mass = np.flatnonzero(self.masses == mass)
            of_mass = of_mass[np.argsort(self.ages[of_mass], kind="stable")]
            ages = self.ages[of_mass]
            if ages[0] <= age <= ages[-1]:
                kept.append(mass)
                magnitudes.append(np.interp(np.log(age), np.log(ages), self.magnitudes[of_mass]))
        return np.array(kept), np.array(magnitudes)

    def _between_isochrones(self, age: float) -> tuple[FloatArray, FloatArray]:
        """Magnitudes at an age between the two nearest of the tabulated ages, at the masses of both."""
        ages = np.unique(self.ages)
        below, above = ages[ages <= age][-1], ages[ages >= age][0]
        sides = []
        for each in (below, above):
            of_age = np.flatnonzero(self.ages == each)
            of_age = of_age[np.argsort(self.masses[of_age], kind="stable")]
            sides.append((np.log(self.masses[of_age]), self.magnitudes[of_age]))
        low, high = (f(s[0][k] for s in sides) for f, k in ((max, 0), (min, -1)))
        at = np.unique(np.concatenate([s[0] for s in sides]))
        at = at[(at >= low) & (at <= high)]
        first, second = (np.interp(at, *side) for side in sides)
        weight = 0.0 if above == below else np.log(age / below) / np.log(above / below)
        return np.exp(at), np.asarray(first + weight * (second - first))

    def age_range(self, age: float, error: float) -> tuple[float, float]:
        """Age minus and plus its error, limited to the ages of the models.

        Parameters
        ----------
        age, error : float
            Age and its one-sigma error, Myr.

        Returns
        -------
        young, old : float
            Myr.
        """
        return max(age - error, float(self.ages.min())), min(age + error, float(self.ages.max()))


@dataclass(frozen=True)
class AgedModels:
    """Evolutionary models with an age.

    Attributes
    ----------
    models : EvolutionModels
    age, error : float
        Myr, one sigma.
    """

    models: EvolutionModels
    age: float
    error: float = 0.0

    def mass(self, magnitude: ArrayLike) -> FloatArray:
        """Mass at absolute magnitudes, Jupiter masses; NaN outside the models.

        Parameters
        ----------
        magnitude : (...) array_like
            Absolute Vega magnitudes.

        Returns
        -------
        (...) float64 ndarray
        """
        return self.models.at(self.age).mass(magnitude)

    def range(self, magnitude: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Masses at the age minus and plus one sigma.

        Parameters
        ----------
        magnitude : (...) array_like
            Absolute Vega magnitudes.

        Returns
        -------
        low, high : (...) float64 ndarray
            Jupiter masses, NaN outside the models.
        """
        young, old = (self.models.at(age) for age in self.models.age_range(self.age, self.error))
        return young.mass(magnitude), old.mass(magnitude)

    def with_error(self, magnitude: ArrayLike, magnitude_error: ArrayLike) -> MassWithError:
        """Masses with errors from the errors of brightness and age.

        Parameters
        ----------
        magnitude, magnitude_error : (n,) array_like
            Absolute Vega magnitudes and their one-sigma errors.

        Returns
        -------
        MassWithError
        """
        m = np.atleast_1d(np.asarray(magnitude, float))
        error = np.atleast_1d(np.asarray(magnitude_error, float))
        grid = self.models.at(self.age)
        mass = grid.mass(m)
        from_flux = half_difference(grid.mass(m + error), mass, grid.mass(m - error))
        from_age = np.zeros(mass.shape)
        if self.error > 0:
            young, old = self.range(m)
            from_age = half_difference(young, mass, old)
        return MassWithError(mass, np.asarray(np.hypot(from_flux, from_age)), from_flux, from_age)


def half_difference(low: FloatArray, middle: FloatArray, high: FloatArray) -> FloatArray:
    """Half of the difference between two sides, or the whole to one where the other is NaN.

    Parameters
    ----------
    low, middle, high : (n,) float64 ndarray

    Returns
    -------
    (n,) float64 ndarray
        NaN where the middle or both sides are.
    """
    both = np.abs(high - low) / 2
    one = np.where(np.isfinite(high), np.abs(high - middle), np.abs(middle - low))
    return np.asarray(np.where(np.isfinite(both), both, one))
