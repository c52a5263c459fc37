"""What a report is made of: sections with text, pictures and tables.

A `Picture` keeps its figure and the numbers that it shows until they are written: into the page, and by
`lyot report --figures` as files.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from astropy.table import Table as AstroTable
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MplFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike, NDArray
from PIL import Image

DPI = 110
WIDEST = 1400
"""Width of a figure in the page, pixels."""
LARGE = 700_000
"""Bytes of a figure above which its colors are reduced."""

PANEL = 3.1
"""Side of one panel, inches."""

WCS_KEYWORDS = (
    "RADESYS", "WCSAXES", "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "CDELT1",
    "CDELT2", "PC1_1", "PC1_2", "PC2_1", "PC2_2",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One cell of a table; numbers are set to the right."""

    text: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """One table of the page."""

    title: str
    anchor: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text: str = field(default="")


def cell(value: Any, digits: int = 3) -> Cell:
    """Format one value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell("" if value is None else str(value))
    return Cell(f"{value:.{digits}f}" if isinstance(value, float) else str(value), True)


@dataclass(frozen=True)
class Layer:
    """One image that a picture shows.

    Attributes
    ----------
    title : str
        As above the panel.
    image : (ny, nx) float ndarray
    unit : str
    header : mapping
        Keywords of the product; the coordinates of a north-up image are kept.
    north_up : bool
        Whether `header` holds the coordinates of `image` on the sky.
    """

    title: str
    image: NDArray[np.floating]
    unit: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    north_up: bool = False


def data_table(columns: Mapping[str, tuple[ArrayLike, str, str]]) -> AstroTable:
    """The numbers of a picture as a table.

    Parameters
    ----------
    columns : mapping of str to (array_like, str, str)
        Values, unit (empty: dimensionless, or text) and description, by the name of the column.
    """
    table = AstroTable({name: np.asarray(values) for name, (values, _, _) in columns.items()})
    for name, (_, unit, text) in columns.items():
        table[name].description = text
        if unit:
            table[name].unit = unit
    return table


@dataclass(frozen=True)
class Picture:
    """One figure with its caption and a text for those who cannot see it.

    Attributes
    ----------
    name : str
        Stem of its files.
    figure : matplotlib Figure
    caption, alt : str
    layers : sequence of Layer
        Images that it shows.
    table : astropy Table or None
        Numbers that it shows.
    """

    name: str
    figure: MplFigure
    caption: str
    alt: str
    layers: Sequence[Layer] = ()
    table: AstroTable | None = None

    @cached_property
    def png(self) -> str:
        """The figure as PNG of at most `WIDEST` pixels, base64; with 256 colors if it is `LARGE`, as noise is."""
        whole = self.rendered("png", min(DPI, WIDEST / float(self.figure.get_size_inches()[0])))
        return base64.b64encode(whole).decode("ascii") if len(whole) < LARGE else self._few_colors(whole)

    @cached_property
    def thumbnail(self) -> str:
        """The figure as PNG of 200 pixels per inch with 64 colors, base64."""
        return self._few_colors(self.rendered("png", 200.0, tight=False), 64)

    @staticmethod
    def _few_colors(whole: bytes, colors: int = 256) -> str:
        with Image.open(io.BytesIO(whole)) as image:
            small = image.convert("RGB").quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        small.save(buffer, format="png", optimize=True)
        return base64.b64encode(buffer.getvalue()).decode("ascii")

    @property
    def rows(self) -> int:
        """Number of rows of panels."""
        specs = [ax.get_subplotspec() for ax in self.figure.axes if ax.axison]
        return max((spec.rowspan.stop for spec in specs if spec is not None), default=1)

    def rendered(self, kind: str, dpi: float, *, tight: bool = True) -> bytes:
        """The figure as a file of a kind, ``png`` or ``pdf``; `tight`: without the margins around what is drawn."""
        FigureCanvasAgg(self.figure)
        buffer = io.BytesIO()
        about = {"Software": "lyot"} if kind == "png" else {"Creator": "lyot"}
        self.figure.savefig(buffer, format=kind, dpi=dpi, bbox_inches="tight" if tight else None, metadata=about)
        return buffer.getvalue()


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes
    ----------
    title, anchor, text : str
    pictures : tuple of Picture
    tables : tuple of Table
        Shown below the pictures.
    short : str
        Title in the list of contents; that of the section if empty.
    """

    title: str
    anchor: str
    text: str
    pictures: tuple[Picture, ...] = field(default=())
    tables: tuple[Table, ...] = field(default=())
    short: str = ""

    @property
    def link(self) -> str:
        """Title in the list of contents."""
        return self.short or self.title


def grid(n: int, columns: int = 3, *, tall: float = 1.12) -> tuple[MplFigure, list[Axes]]:
    """Make a figure of n panels in rows of `columns`; `tall`: height of a row in units of `PANEL`."""
    columns = min(columns, max(n, 1))
    rows = -(-n // columns)
    # the layout does not see the labels of the color bars
    layout = ConstrainedLayoutEngine(wspace=0.1, hspace=0.03)
    figure = MplFigure(figsize=(PANEL * 1.38 * columns, PANEL * tall * rows), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes[n:]:
        ax.set_axis_off()
    return figure, axes[:n]
