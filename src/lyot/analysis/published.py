"""Published contrast curves, for comparison with that of a run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

from lyot.errors import InputError, MissingInputError

CONTRASTS = ("contrast", "contrast_5sigma")
"""Columns with the contrast."""

MAGNITUDES = ("delta_mag", "delta_magnitude")
"""Columns with the contrast in magnitudes."""

EXPECTED = (
    "expected a table (ECSV, or CSV with a line of names) with the columns separation [arcsec] and contrast, "
    "contrast_5sigma or delta_mag"
)


@dataclass(frozen=True)
class PublishedCurve:
    """A contrast curve.

    Attributes
    ----------
    label : str
        ``label`` of the table's metadata, else the name of the file.
    separation : (n,) float64 ndarray
        arcsec, increasing.
    contrast : (n,) float64 ndarray
        Flux relative to the star's.
    """

    label: str
    separation: NDArray[np.float64]
    contrast: NDArray[np.float64]


def read_published(path: Path) -> PublishedCurve:
    r"""Read a contrast curve.

    Parameters
    ----------
    path : Path
        ECSV, or CSV with a line of names: ``separation`` (arcsec unless it has another unit), and ``contrast``,
        ``contrast_5sigma`` or ``delta_mag``.

    Returns
    -------
    PublishedCurve

    Raises
    ------
    MissingInputError
        If it is not there.
    InputError
        If it is no such table; one sentence says what is wrong.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lyot.analysis import read_published
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "smith2023.csv")
    ...     _ = path.write_text("separation,contrast\n0.5,1e-3\n1.0,2e-4\n", encoding="utf-8")
    ...     curve = read_published(path)
    >>> curve.label, curve.contrast.tolist()
    ('smith2023', [0.001, 0.0002])
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; correct report.compare_contrast, or set it to [] for none.")
    table = _read(path)
    name = next((n for n in (*CONTRASTS, *MAGNITUDES) if n in table.colnames), None)
    if "separation" not in table.colnames or name is None:
        raise InputError(f"{path}: its columns are {', '.join(table.colnames)}; {EXPECTED}.")
    separation, value = _numbers(table, "separation", path), _numbers(table, name, path)
    if table["separation"].unit is not None:
        try:
            separation = np.asarray((separation * u.Unit(table["separation"].unit)).to_value(u.arcsec))
        except (u.UnitConversionError, ValueError):
            raise InputError(
                f"{path}: the unit of separation is {table['separation'].unit}; expected an angle, such as arcsec."
            ) from None
    contrast = 10 ** (-0.4 * value) if name in MAGNITUDES else value
    good = np.isfinite(separation) & np.isfinite(contrast) & (separation > 0)
    if good.sum() < 2 or (contrast[good] <= 0).any() or (contrast[good] > 1).any():
        raise InputError(
            f"{path}: {name} must be {'positive magnitudes' if name in MAGNITUDES else 'between 0 and 1'} at two or "
            "more separations; check column and unit."
        )
    order = np.argsort(separation[good])
    return PublishedCurve(str(table.meta.get("label", path.stem)), separation[good][order], contrast[good][order])


def _read(path: Path) -> Table:
    kind = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "ascii.csv"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that astropy does not know, of columns that are not read
            return Table.read(path, format=kind, encoding="utf-8")
    except (ValueError, OSError, KeyError, TypeError, IndexError) as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as a table ({text}); {EXPECTED}.") from None


def _numbers(table: Table, name: str, path: Path) -> NDArray[np.float64]:
    try:
        return np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan)
    except (ValueError, TypeError):
        raise InputError(f"{path}: the column {name} is not numeric; {EXPECTED}.") from None
