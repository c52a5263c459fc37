"""K magnitude, spectral type and parallax of a star from SIMBAD, through astroquery."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from lyot.errors import ArchiveError, InputError

log = logging.getLogger(__name__)

_INSTEAD = "give the flux of the star, its magnitude in the filter, or K magnitude and spectral type instead"


@dataclass(frozen=True)
class SimbadStar:
    """Data of a star in SIMBAD.

    Attributes
    ----------
    name : str
        Main identifier.
    k_magnitude, k_error : float
        Vega magnitude in K and its error; the error is NaN where SIMBAD has none.
    spectral_type : str
    parallax : float
        mas; NaN where SIMBAD has none.
    reference : str
        Bibcode of the K magnitude; may be empty.
    """

    name: str
    k_magnitude: float
    k_error: float
    spectral_type: str
    parallax: float
    reference: str


def look_up_star(name: str) -> SimbadStar:
    """Look up the K magnitude and the spectral type of a star in SIMBAD.

    Parameters
    ----------
    name : str
        Any identifier; hyphens and underscores may stand for spaces, as in the names of proposals.

    Returns
    -------
    SimbadStar

    Raises
    ------
    ArchiveError
        If SIMBAD cannot be reached.
    InputError
        If it does not know the name, or has no K magnitude or spectral type of it.
    """
    plain = " ".join(name.split())
    names = dict.fromkeys((plain, " ".join(plain.replace("-", " ").replace("_", " ").split())))
    quoted = ", ".join("'" + n.replace("'", "''") + "'" for n in names)
    rows = _ask(
        "SELECT main_id, sp_type, plx_value, flux, flux_err, flux.bibcode AS reference "
        "FROM basic JOIN ident ON ident.oidref = basic.oid "
        "LEFT JOIN flux ON flux.oidref = basic.oid AND flux.filter = 'K' "
        f"WHERE ident.id IN ({quoted})"
    )
    if rows is None or not len(rows):
        raise InputError(f"SIMBAD has no star {plain}; check the name, or {_INSTEAD}.")
    row = rows[0]
    k, kind = _number(row["flux"]), _text(row["sp_type"])
    missing = [what for what, is_there in (("K magnitude", np.isfinite(k)), ("spectral type", bool(kind)))
               if not is_there]  # fmt: skip
    if missing:
        raise InputError(f"SIMBAD has no {' and no '.join(missing)} for {_text(row['main_id'])}; {_INSTEAD}.")
    return SimbadStar(
        _text(row["main_id"]), k, _number(row["flux_err"]), kind, _number(row["plx_value"]), _text(row["reference"])
    )


def _ask(query: str) -> Any:
    """Rows that SIMBAD answers."""
    from astroquery.simbad import Simbad

    try:
        return Simbad().query_tap(query)
    except Exception as error:
        log.info("SIMBAD: %s", error)
        raise ArchiveError(f"SIMBAD cannot be reached ({type(error).__name__}); {_INSTEAD}.") from error


def _number(value: Any) -> float:
    return float("nan") if value is None or np.ma.is_masked(value) else float(value)


def _text(value: Any) -> str:
    return "" if value is None or np.ma.is_masked(value) else " ".join(str(value).split())
