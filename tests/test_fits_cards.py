"""Keywords that Lyot writes: each has a comment, and none is cut at 80 characters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.units import Unit
from stdatamodels.jwst import datamodels

from lyot.analysis.finished_run import open_run
from lyot.analysis.measurements import measure_contrast
from lyot.errors import InputError
from lyot.exposures.columns import COLUMNS
from lyot.exposures.headers import star_offset_cards
from lyot.instrument import CORONAGRAPHS
from lyot.measure import ContrastParams, Star
from lyot.simulator.cosmic_rays import HIT_DTYPE
from lyot.simulator.headers import primary_header, science_cards
from lyot.simulator.level1b import _image_header
from lyot.simulator.plan import plan_sequence
from lyot.simulator.scene import Scene
from lyot.simulator.truth import _HIT_COLUMNS, _hits_table
from lyot.steps.extra_fits import add_table, read_table
from lyot.steps.stage2_background import BackgroundStep

STRUCTURE = {
    "XTENSION",
    "SIMPLE",
    "BITPIX",
    "NAXIS",
    "NAXIS1",
    "NAXIS2",
    "NAXIS3",
    "EXTEND",
    "PCOUNT",
    "GCOUNT",
    "TFIELDS",
}
"""Written by astropy, with comments of its own."""

OURS = {
    "BKGFIRST", "BKGMETH", "BKGNINT", "BKGTMPL", "CFLUX", "FWHM", "INJFLUX", "INJPA", "INJSEP", "INJSIGMA", "KLMODES",
    "LEVEL", "NBADSPAC", "NBADTIME", "NOUTLIER", "NPROTECT", "NWARN", "PIXELSCL", "PROTRAD", "REDUCTN", "STARDX",
    "STARDY", "STARERRX", "STARERRY", "STARFROM", "STARX", "STARY", "WFDRIFT",
}  # fmt: skip
"""Keywords of the products that are not the archive's."""


def check(cards: Iterable[tuple[str, object, str]], *, but: tuple[str, ...] = ()) -> None:
    """That cards have comments, which are still there when they are read back."""
    for keyword, value, comment in cards:
        assert comment or keyword in but, f"{keyword} has no comment"
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # astropy: card is too long, comment will be truncated
            image = str(fits.Card(keyword, value, comment))
            assert fits.Card.fromstring(image).comment == comment, keyword


@pytest.mark.parametrize("name", CORONAGRAPHS)
def test_simulated_files(name: str) -> None:
    scene = Scene()
    long_name = replace(scene, star=replace(scene.star, name="2MASS J12073346-3932539 A"))
    for use in (scene, long_name):
        for exposure in plan_sequence(CORONAGRAPHS[name], "small", use, 1):
            check(primary_header(exposure, use, seed=1).cards)
            check(science_cards(exposure, use))
    check(_image_header("SCI", (5, 25, 224, 288)).cards)


def test_star_position() -> None:
    text = "the target acquisition image is saturated; the reference point of the mask is used"
    check(star_offset_cards("ACQUISITION", (-1234.567, 1234.567), (7.0, 7.0), text), but=("STARNOTE",))  # a sentence


def test_background() -> None:
    step, model = BackgroundStep(), fits.Header()
    arm = {"name": "right", "before": (1.0562345678901234, 0.05), "after": (-0.0195123456789012, 0.0494123456789012)}
    facts = {"n_integrations": 10, "first_integration_matched": False, "glow_sticks": [arm], "unit": "MJy/sr"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lyot.steps.stage2_background.add_cards", lambda _, cards: model.extend(cards))
        patch.setattr(BackgroundStep, "_is_saving", lambda _: False)
        step._report(None, facts)
    check(model.cards)
    assert model.comments["GLOWB1"].startswith("[MJy/sr]")


@pytest.mark.slow
def test_products_of_a_run(finished: Path) -> None:
    measure_contrast(open_run(finished), Star(0.03), ContrastParams(separations=2, angles=2, outer_radius=2.0))
    seen, tables = set(), set()
    for path in sorted(finished.rglob("*.fits")):
        with fits.open(path) as hdus:
            for hdu in hdus:
                ours = [card for card in hdu.header.cards if card.keyword in OURS]
                check(tuple(card) for card in ours)
                # what fills its 80 characters was cut
                assert not [card.keyword for card in ours if len(card.image.rstrip()) == 80]
                seen |= {card.keyword for card in ours}
                if isinstance(hdu, fits.BinTableHDU) and hdu.name not in OFFICIAL_TABLES:
                    check_columns(hdu, COLUMNS[hdu.name])
                    tables.add(hdu.name)
                if path.parent.name == "measure":  # all of which is written here, but for the WCS by astropy
                    assert not [c.keyword for c in hdu.header.cards if not c.comment and c.keyword not in STRUCTURE]
    assert {"KLMODES", "STARFROM", "STARX", "PROTRAD", "REDUCTN", "FWHM", "INJFLUX"} <= seen
    assert tables == COLUMNS.keys() - {"SAMPLES"}  # which stage 1 writes


OFFICIAL_TABLES = {"ASDF", "HDRTAB", "INT_TIMES"}
"""Tables with the columns of the official pipeline."""


def check_columns(table: fits.BinTableHDU, known: dict[str, tuple[str, str]]) -> None:
    """That every column has its unit, and its meaning in TCOMMn."""
    for n, column in enumerate(table.columns, 1):
        unit, text = known[column.name]
        assert (column.unit or "") == unit, column.name
        assert table.header[f"TCOMM{n}"] == text, column.name
        check([(f"TCOMM{n}", text, "")], but=(f"TCOMM{n}",))


@pytest.mark.parametrize("extension", COLUMNS)
def test_table_of_a_product(extension: str, tmp_path: Path) -> None:
    kinds = {"FILENAME": "S9", "NOTE": "S9", "FROM": "S9", "NAME": "S9", "VALUE": "S9", "APPLIED": "?", "KEPT": "?",
             "MAIN": "?", "RAMP": ("f4", 5)}  # fmt: skip
    rows = np.zeros(2, [(name, kinds.get(name, "f8")) for name in COLUMNS[extension]])
    for name in {"APPLIED", "KEPT", "MAIN"} & COLUMNS[extension].keys():
        rows[name] = [True, False]
    model = datamodels.ImageModel(np.zeros((2, 2), np.float32))
    add_table(model, extension, rows)
    assert (read_table(model, extension) == rows).all()
    assert read_table(model, extension).dtype == rows.dtype
    for name in ("once.fits", "again.fits"):  # a product that is read and written keeps them
        model.save(tmp_path / name)
        with fits.open(tmp_path / name) as hdus:
            check_columns(hdus[extension], COLUMNS[extension])
        model = datamodels.open(tmp_path / name)
        assert (read_table(model, extension) == rows).all()
    model.close()


def test_units_of_columns() -> None:
    for columns in COLUMNS.values():
        for unit, text in columns.values():
            assert text
            Unit(unit)


def test_table_without_description() -> None:
    model = datamodels.ImageModel(np.zeros((2, 2), np.float32))
    with pytest.raises(InputError, match=r"^REFS: no unit and description of COLOR\.$"):
        add_table(model, "REFS", np.zeros(1, [("PLANE", "i4"), ("COLOR", "f8")]))


def test_table_of_cosmic_rays() -> None:
    check_columns(_hits_table(np.zeros(2, HIT_DTYPE), "JW01386"), _HIT_COLUMNS)
