"""Section ``[astrometry]``: other positions of a companion, and the motion of the star."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lyot.errors import ConfigError
from lyot.params import param

if TYPE_CHECKING:
    from lyot.measure.proper_motion import StarMotion


@dataclass(frozen=True)
class AstrometrySection:
    """Section ``[astrometry]``: other positions of a companion, and the motion of the star.

    Examples
    --------
    >>> from lyot.analysis import AstrometrySection
    >>> section = AstrometrySection(epochs=("2019.5,1.6,0.02,149.4,0.5",), pm_ra=300.0, pm_dec=-200.0, parallax=25.0)
    >>> section.epochs
    ('2019.5,1.6,0.02,149.4,0.5',)
    """

    epochs: tuple[str, ...] = param(
        (),
        help='positions of the companion at other epochs, "DATE,SEPARATION,ERROR,PA,ERROR" (arcsec, degrees; date as '
        "2015-05-30 or 2015.41)",
    )
    pm_ra: float | None = param(None, help="proper motion of the star in right ascension times cos(dec)", unit="mas/yr")
    pm_dec: float | None = param(None, help="proper motion of the star in declination", unit="mas/yr")
    pm_error: float = param(0.0, help="error of the proper motion per axis", unit="mas/yr", min=0.0)
    parallax: float | None = param(
        None, help="parallax of the star; default: from its distance", unit="mas", min=0.0, max=1000.0
    )
    parallax_error: float = param(0.0, help="error of the parallax", unit="mas", min=0.0)
    date: str | None = param(None, help="date of the images, as 2024-01-20 or 2024.05; default: from their headers")

    def check(self, where: str, distance: float | None) -> None:
        """Check that the epochs can be read and the star's motion is known.

        Parameters
        ----------
        where : str
            Start of error messages, e.g. ``[astrometry]``.
        distance : float or None
            Distance of the star, pc; used where no parallax is given.

        Raises
        ------
        ConfigError
            If an epoch or the date cannot be read, or there are epochs and no proper motion or no parallax.
        """
        for text in self.epochs:
            parse_epoch(text)
        if self.date is not None:
            parse_date(self.date, f"{where} date")
        if not self.epochs:
            return
        if self.pm_ra is None or self.pm_dec is None:
            raise ConfigError(
                f"{where}: epochs require the proper motion of the star; give pm_ra and pm_dec in mas/yr."
            )
        if self.parallax is None and distance is None:
            raise ConfigError(
                f"{where}: epochs require the parallax of the star; give it in mas, or [star] distance in pc."
            )

    def motion(self, sky: tuple[float, float], distance: float | None) -> StarMotion:
        """Position, proper motion and parallax of the star.

        Parameters
        ----------
        sky : (ra, dec)
            Position of the star, degrees, ICRS.
        distance : float or None
            Distance of the star, pc, for its parallax where none is given.

        Returns
        -------
        StarMotion
            Proper motion 0 where none is given and there are no epochs.

        Raises
        ------
        ConfigError
            See `check`.
        """
        from lyot.measure.proper_motion import StarMotion

        self.check("[astrometry]", distance)
        parallax = self.parallax if self.parallax is not None else 1e3 / (distance or np.inf)
        return StarMotion(
            sky[0], sky[1], self.pm_ra or 0.0, self.pm_dec or 0.0, parallax, self.pm_error, self.parallax_error
        )


@dataclass(frozen=True)
class Epoch:
    """A position of a companion: date in Julian years, arcsec, degrees east of north, one-sigma errors."""

    year: float
    separation: float
    separation_error: float
    position_angle: float
    position_angle_error: float


def parse_date(text: str, where: str) -> float:
    """A date as Julian year.

    Parameters
    ----------
    text : str
        ``2015-05-30`` (with or without a time), ``2015.41``, or a modified Julian date.
    where : str
        For the message.

    Returns
    -------
    float

    Raises
    ------
    ConfigError
        If it is none of these.
    """
    from astropy.time import Time

    try:
        if re.fullmatch(r"\s*[\d.]+\s*", text):
            number = float(text)
            if 1700 < number < 2200:
                return number
            if 15000 < number < 110000:
                return float(Time(number, format="mjd", scale="tdb").jyear)
            raise ValueError(text)
        return float(Time(text.strip(), scale="tdb").jyear)
    except ValueError:
        raise ConfigError(f"{where} {text}: expected a date such as 2015-05-30, 2015.41 or an MJD.") from None


EXAMPLE = "2015-05-30,7.11,0.03,307.3,0.2"


def parse_epoch(text: str) -> Epoch:
    """A position from ``DATE,SEPARATION,ERROR,PA,ERROR``.

    Parameters
    ----------
    text : str

    Returns
    -------
    Epoch

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    parts = text.split(",")
    wanted = f"epoch {text}: expected DATE,SEPARATION,ERROR,PA,ERROR in arcsec and degrees ({EXAMPLE})"
    if len(parts) != 5:
        raise ConfigError(f"{wanted}; found {len(parts)} values.")
    year = parse_date(parts[0], f"epoch {text}:")
    try:
        separation, error, angle, angle_error = (float(part) for part in parts[1:])
    except ValueError:
        raise ConfigError(f"{wanted}.") from None
    if not (0 < separation < 100 and error > 0 and abs(angle) <= 720 and angle_error > 0):
        raise ConfigError(f"{wanted}: a positive separation, and positive errors.")
    return Epoch(year, separation, error, angle, angle_error)
