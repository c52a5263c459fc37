"""Every registered step by itself, from its inputs on disk: through `Step.call` and through ``strun``.

Both write a product; the two products must hold the same bits, and each is checked against what the step says it does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from jwst.stpipe import Step
from scipy import ndimage
from stdatamodels.jwst import datamodels
from stpipe.utilities import import_class

from lyot import dq
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.integration import get_steps
from tests.ramps.cubes import GROUP_TIME, Scenario, ramps
from tests.ramps.cubes import references as reference_arrays
from tests.steps.stage1_synthetic import offline, write_exposure, write_references
from tests.steps.stage23_synthetic import NOISE, SHAPE, STAR, exposure, planet_pixel, sequence, write_association

# the official classes warn of deprecations, of paths in associations and of NaN; that is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore")

SCENARIO = Scenario(nints=3, ngroups=14, seed=41, rays=0.04)
RAW = "jw01386008001_04101_00001_mirimage"
SCIENCE = tuple(f"jw0100100{roll}001" for roll in (1, 2))
PLANET = (1.6, 149.4, 12.0)
GIVEN = (STAR[0] + 0.2, STAR[1] - 0.1)
POSITION = f"{GIVEN[0]},{GIVEN[1]}"
STAR_CARDS = ("KLMODES", "STARFROM", "STARDX", "STARDY", "STARX", "STARY")
CHAIN = ("dq_init", "saturation", "lastframe", "reset", "linearity", "rscd", "dark_current", "jump", "ramp_fit")
"""Stage 1 in the order of the pipeline, without what it leaves out for these exposures."""


@dataclass(frozen=True)
class Bench:
    """A folder of inputs, and the parameters that name the reference files among them."""

    folder: Path
    overrides: dict[str, dict[str, str]]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str, extension: str = "SCI") -> np.ndarray:
        return np.array(fits.getdata(self.folder / name, extension))


@dataclass(frozen=True)
class Case:
    """How a step is run by itself, and what its products must be (given the bench and the products' paths)."""

    inputs: tuple[str, ...]
    check: Callable[[Bench, list[Path]], None]
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)


def alias_class(alias: str) -> type:
    return import_class(next(path for path, name, _ in get_steps() if name == alias))


def save_stage1(folder: Path) -> dict[str, dict[str, str]]:
    """A raw exposure, its reference files, and the product of each step as the input of the next."""
    overrides = write_references(folder, SCENARIO)
    product = write_exposure(folder / f"{RAW}_uncal.fits", SCENARIO)
    for name in CHAIN:
        model = alias_class(f"lyot_{name}").call(str(product), **overrides.get(name, {}))
        model = model[1] if isinstance(model, tuple) else model
        product = folder / f"{RAW}_after_{name}.fits"
        model.save(product)
    gain = datamodels.GainModel(overrides["gain_scale"]["override_gain"])
    gain.meta.exposure.gain_factor = 2.0
    gain.save(folder / "gain_of_two.fits")
    return overrides


def save_stage2(folder: Path) -> None:
    """Slopes with a background of 15, background exposures, a flat field of a slope, and an outlying pixel."""
    rng = np.random.default_rng(2)
    for name, n in (("jw01001001001", 3), ("jw01001030001", 4), ("jw01001031001", 4)):
        model = exposure(rng.normal(15.0, 0.1, (n, *SHAPE)), name=f"{name}_rateints.fits", noise=0.1)
        model.meta.bunit_data = "DN/s"
        model.var_flat = np.zeros(model.data.shape, np.float32)
        if name == "jw01001001001":
            model.data[:, 40, 50] += 7.0
        model.save(folder / f"{name}_rateints.fits")
    flat = datamodels.FlatModel(data=flat_field())
    flat.meta.instrument.name = "MIRI"
    flat.meta.subarray.xstart, flat.meta.subarray.ystart = 1, 463
    flat.meta.subarray.xsize, flat.meta.subarray.ysize = SHAPE[::-1]
    flat.save(folder / "flat.fits")
    members = [("jw01001001001", "science"), ("jw01001030001", "background"), ("jw01001031001", "background")]
    table = {"asn_type": "image2", "asn_rule": "DMSLevel2bBase", "asn_pool": "none", "asn_id": "a3001", "program": "1",
             "target": "t", "products": [{"name": "jw01001001001", "members": [
                 {"expname": f"{name}_rateints.fits", "exptype": kind} for name, kind in members]}]}  # fmt: skip
    (folder / "image2_asn.json").write_text(json.dumps(table))
    cube = rng.normal(1.0, 0.2, (6, *SHAPE))
    cube[2, 10, 10] += 10
    exposure(cube, name="jw01001009001_calints.fits", noise=0.2).save(folder / "jw01001009001_calints.fits")


def flat_field() -> np.ndarray:
    return (1.0 + 0.1 * np.indices(SHAPE)[1] / SHAPE[1]).astype(np.float32)


def save_stage3(folder: Path) -> None:
    """A sequence with a planet, and everything that the pipeline makes of it, as inputs of its single steps."""
    science, references = sequence(np.random.default_rng(1), planet=PLANET)
    association = write_association(folder, science, references)
    steps = {"klip": {"use_throughput": False}, "locate_star": {"position": POSITION}}
    Coron3Pipeline.call(str(association), output_dir=str(folder), save_results=True, steps=steps)
    table = json.loads(association.read_text())
    members = table["products"][0]["members"]
    for name, kept in (
        ("references", [m | {"exptype": "science"} for m in members if m["exptype"] == "psf"]),
        ("subtracted", [{"expname": f"{name}_a3001_psfsub.fits", "exptype": "science"} for name in SCIENCE]),
    ):
        table["products"][0] |= {"name": name, "members": kept}
        (folder / f"{name}_asn.json").write_text(json.dumps(table))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("alone")
    with offline(folder):
        overrides = save_stage1(folder)
        save_stage2(folder)
        save_stage3(folder)
        yield Bench(folder, overrides)


# What the steps say that they do


def after(step: str) -> str:
    return f"{RAW}_after_{step}.fits"


def card(path: Path, keyword: str) -> Any:
    return fits.getheader(path)[keyword]


def flagged(flags: np.ndarray, bit: int) -> np.ndarray:
    return (flags & bit) > 0


def check_dq_init(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    np.testing.assert_array_equal(fits.getdata(product, "PIXELDQ"), reference_arrays(SCENARIO).mask)
    assert fits.getdata(product, "PIXELDQ").any() and card(product, "S_DQINIT") == "COMPLETE"
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), ramps(SCENARIO))


def check_saturation(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    reference = reference_arrays(SCENARIO)
    checked = np.isfinite(reference.saturation) & ~flagged(reference.saturation_dq, dq.NO_SAT_CHECK)
    above = ramps(SCENARIO) >= np.where(checked, reference.saturation, np.inf)
    found = flagged(fits.getdata(product, "GROUPDQ"), dq.SATURATED)
    assert above.any() and found[above].all()
    # the flags spread to the neighbors and last to the end of the ramp, and to nothing else
    wide = ndimage.maximum_filter(np.maximum.accumulate(above, axis=1), size=(1, 1, 3, 3))
    assert not found[~wide].any()
    assert card(product, "S_SATURA") == "COMPLETE"


def check_one_group(group: int, keyword: str) -> Callable[[Bench, list[Path]], None]:
    """Only `group` gets DO_NOT_USE, in all pixels that do not saturate; nothing else changes."""

    def check(bench: Bench, products: list[Path]) -> None:
        (product,) = products
        before, found = bench.read(after("saturation"), "GROUPDQ"), fits.getdata(product, "GROUPDQ")
        expected = before.copy()
        expected[:, group] |= dq.DO_NOT_USE
        faint = ~flagged(before, dq.SATURATED).any(axis=(0, 1))  # the first group is kept where it is the only good one
        np.testing.assert_array_equal(found[:, :, faint], expected[:, :, faint])
        others = np.delete(np.arange(SCENARIO.ngroups), group)
        np.testing.assert_array_equal(found[:, others], before[:, others])
        assert (found != before).any() and card(product, keyword) == "COMPLETE"

    return check


def check_reset(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    taken = bench.read(after("lastframe")) - fits.getdata(product, "SCI")
    expected = np.zeros(taken.shape)
    reset = np.nan_to_num(reference_arrays(SCENARIO).reset)
    expected[:2, :8], expected[2, :8] = reset, reset[-1]  # later integrations take the last plane
    np.testing.assert_allclose(taken, expected, atol=4e-3)  # half a unit of float32 at 65 000 DN
    assert np.abs(expected).max() > 10 and card(product, "S_RESET") == "COMPLETE"


def check_linearity(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    reference = reference_arrays(SCENARIO)
    measured, found = bench.read(after("reset")).astype(float), fits.getdata(product, "SCI")
    good = np.isfinite(reference.coefficients).all(axis=0) & (reference.coefficients[1] != 0)
    good &= ~flagged(reference.linearity_dq, dq.NO_LIN_CORR)
    saturated = flagged(bench.read(after("reset"), "GROUPDQ"), dq.SATURATED)
    expected = sum(reference.coefficients[k] * measured**k for k in range(4))
    use = good & ~saturated
    np.testing.assert_allclose(found[use], expected[use], rtol=1e-6)  # ten roundings of float32
    np.testing.assert_array_equal(found[saturated], measured[saturated])
    assert card(product, "S_LINEAR") == "COMPLETE"


def check_rscd(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    before, found = bench.read(after("linearity"), "GROUPDQ"), fits.getdata(product, "GROUPDQ")
    faint = ~flagged(before, dq.SATURATED).any(axis=(0, 1))  # fewer groups are dropped where a pixel saturates early
    unused = flagged(found, dq.DO_NOT_USE)[:, :, faint]
    assert unused[0, :3].all() and unused[1:, :4].all()  # as the reference says, first and later integrations
    middle = flagged(before, dq.DO_NOT_USE)[:, 4:, faint]
    np.testing.assert_array_equal(unused[:, 4:], middle)
    assert (found != before).any() and card(product, "S_RSCD") == "COMPLETE"


def check_dark(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    taken = bench.read(after("rscd")) - fits.getdata(product, "SCI")
    dark = np.nan_to_num(reference_arrays(SCENARIO).dark)[:, : SCENARIO.ngroups]
    expected = dark[[0, 1, 1]]  # later integrations take the last plane
    np.testing.assert_allclose(taken, expected, atol=8e-3)  # a unit of float32 at 65 000 DN
    assert expected.max() > 100 and card(product, "S_DARK") == "COMPLETE"


def check_refpix(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), bench.read(after("dark_current")))
    assert card(product, "S_REFPIX") == "SKIPPED"  # a subarray of MIRI has no reference pixels


def check_jump(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    before, found = bench.read(after("dark_current"), "GROUPDQ"), fits.getdata(product, "GROUPDQ")
    new = flagged(found, dq.JUMP_DET) & ~flagged(before, dq.JUMP_DET)
    difference = np.diff(bench.read(after("dark_current")).astype(float), axis=1)
    usual = np.median(difference, axis=(0, 1))
    usable = ~flagged(before, dq.DO_NOT_USE)
    steady = ~flagged(before, dq.SATURATED).any(axis=(0, 1)) & (usual < 500)
    steady &= ~flagged(bench.read(after("dark_current"), "PIXELDQ"), dq.DO_NOT_USE)
    pairs = usable[:, 1:] & usable[:, :-1] & steady
    large = (difference - usual > 2000) & pairs  # more than 50 sigma of photon and read noise
    assert large.sum() > 20 and flagged(found, dq.JUMP_DET)[:, 1:][large].all()
    assert new.mean() < 0.2 and card(product, "S_JUMP") == "COMPLETE"
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), bench.read(after("dark_current")))


def check_slopes(bench: Bench, products: list[Path]) -> None:
    planes = {fits.getdata(p, "SCI").ndim: p for p in products}
    assert sorted(planes) == [2, 3]  # of the exposure, and of each integration
    slopes, counts = fits.getdata(planes[3], "SCI"), bench.read(after("jump")).astype(float)
    clean = ~bench.read(after("jump"), "GROUPDQ")[:, 4:-1].any(axis=1) & (fits.getdata(planes[3], "DQ") == 0)
    simple = (counts[:, -2] - counts[:, 4]) / (SCENARIO.ngroups - 6) / GROUP_TIME
    assert clean.sum() > 100 and slopes.shape == (SCENARIO.nints, *SCENARIO.shape)
    error = fits.getdata(planes[3], "ERR")
    clean &= (error > 0) & (reference_arrays(SCENARIO).read_noise > 0)  # without, slopes are NaN, as officially
    pull = (slopes - simple)[clean] / error[clean]
    # all groups against the two ends alone: the difference scatters by less than the error of either
    assert np.std(pull) < 1.0
    assert abs(np.mean(pull)) < 4 * np.std(pull) / np.sqrt(clean.sum())  # four sigma of the mean
    assert all(card(p, "S_RAMP") == "COMPLETE" for p in products)


def check_gain_scale(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    for name, power in (("SCI", 1), ("ERR", 1), ("VAR_POISSON", 2), ("VAR_RNOISE", 2)):
        np.testing.assert_array_equal(fits.getdata(product, name), bench.read(after("ramp_fit"), name) * 2.0**power)
    assert card(product, "S_GANSCL") == "COMPLETE"


def check_detector1(bench: Bench, products: list[Path]) -> None:
    assert [p.stem.rsplit("_", 1)[1] for p in products] == ["rate", "rateints"]
    # the single steps, one after the other; both round their float32 products a few times
    for name in ("SCI", "ERR"):
        np.testing.assert_allclose(fits.getdata(products[1], name), bench.read(after("ramp_fit"), name), rtol=1e-6)
    np.testing.assert_array_equal(fits.getdata(products[1], "DQ"), bench.read(after("ramp_fit"), "DQ"))


def check_background(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    found = fits.getdata(product, "SCI")
    given = bench.read("jw01001001001_rateints.fits")
    background = np.concatenate([bench.read(f"jw010010{n}001_rateints.fits") for n in (30, 31)]).mean(axis=0)
    # a clipped mean of eight: where a value is clipped at 3 sigma the mean moves by 0.05 at most
    np.testing.assert_allclose(given - found, np.broadcast_to(background, given.shape), atol=0.1)
    assert abs(found[:, 60:].mean()) < 2e-3  # noise of 9000 values 1e-3, that of the background 6e-4
    assert found[:, 40, 50].mean() == pytest.approx(7.0, abs=0.3)  # noise of 0.06 and the background's of 0.035
    assert card(product, "S_BKDSUB") == "COMPLETE" and card(product, "BKGNINT") == 8


def check_bad_pixels(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    flags = fits.getdata(product, "DQ")
    assert flags[2, 10, 10] == dq.DO_NOT_USE | dq.OUTLIER and not flags[[0, 1, 3], 10, 10].any()
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), bench.read("jw01001009001_calints.fits"))
    assert card(product, "NBADTIME") == np.count_nonzero(flags) - card(product, "NBADSPAC") * 6 > 0


def check_image2(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    assert product.stem.endswith("_calints")
    found = fits.getdata(product, "SCI")
    background = np.concatenate([bench.read(f"jw010010{n}001_rateints.fits") for n in (30, 31)]).mean(axis=0)
    expected = (bench.read("jw01001001001_rateints.fits") - background) / flat_field()
    np.testing.assert_allclose(found, expected, atol=0.1)  # the clipped mean, see the background
    assert card(product, "S_FLAT") == card(product, "S_BKDSUB") == "COMPLETE"


def check_outliers(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    assert product.stem.endswith("_crfints")
    flags = fits.getdata(product, "DQ")
    bad = dq.DO_NOT_USE | dq.OUTLIER
    assert flags[2, 10, 10] & bad == bad and not flags[[0, 1, 3], 10, 10].any()
    assert card(product, "NOUTLIER") == np.count_nonzero(flags & dq.OUTLIER) <= 5  # of 54 000 values of noise
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), bench.read("jw01001009001_calints.fits"))
    assert card(product, "S_OUTLIR") == "COMPLETE"


def check_stack(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    cubes = [bench.read(f"jw01002001001_0000{i}_calints.fits") for i in range(1, 7)]
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), np.concatenate(cubes))
    np.testing.assert_array_equal(fits.getdata(product, "REFS")["EXPOSURE"], np.repeat(np.arange(6), 2))


def check_align(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    table = fits.getdata(product, "REFS")
    # speckles of another phase are no shift: a tenth of a pixel; the references were made 2.2 times as bright
    assert np.hypot(table["DX"], table["DY"]).max() < 0.5
    np.testing.assert_allclose(table["SCALE"], 2.2, atol=0.1)
    assert table["APPLIED"].all() and card(product, "S_PSFALI") == "COMPLETE"
    assert not np.array_equal(fits.getdata(product, "SCI"), bench.read("target_psfstack.fits"), equal_nan=True)


def check_star(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    table = fits.getdata(product, "STARPOS")
    assert list(table["FILENAME"]) == [f"{name}_calints.fits" for name in SCIENCE]
    offset = (np.array(GIVEN) - STAR) * 1e3 * 0.11  # 0.11 arcsec per pixel, to a percent
    np.testing.assert_allclose(np.stack([table["DX"], table["DY"]], axis=1), np.tile(offset, (2, 1)), rtol=0.02)
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), bench.read("target_psfstack.fits"))


def check_klip(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    found, given = fits.getdata(product, "SCI"), bench.read(f"{SCIENCE[0]}_calints.fits")
    y, x = np.indices(SHAPE)
    near = np.hypot(x - STAR[0], y - STAR[1]) < 15
    px, py = planet_pixel(*PLANET[:2], 108.171)
    away = near & (np.hypot(x - px, y - py) > 8)
    # the star's halo of hundreds goes down to the noise of an integration; fitting six references leaves some of it
    assert np.nanstd(found[:, away]) < 2 * NOISE < 0.02 * np.std(given[:, away])
    peak = found[:, round(py), round(px)].mean()
    assert 0.3 * PLANET[2] < peak < 1.1 * PLANET[2]  # the subtraction takes up to half of it
    assert {"truncations", "strategy"} <= {str(n).strip() for n in fits.getdata(product, "KLIPPARS")["NAME"]}
    assert card(product, "S_KLIP") == "COMPLETE"


def check_combine(bench: Bench, products: list[Path]) -> None:
    by_suffix = {p.stem.split("_", 1)[1]: p for p in products}
    image = next(p for s, p in by_suffix.items() if s.endswith("i2d") and "roll" not in s)
    assert len(products) == 4 and sum("roll" in s for s in by_suffix) == 2  # two rolls and the truncations
    planet_is_seen(image)
    pipeline = bench.read("target_i2d.fits")
    found = fits.getdata(image, "SCI")
    assert found.shape == pipeline.shape
    # the pipeline turns the mean of an exposure and this step the integrations: float32 of psfsub, weights alike
    good = np.isfinite(found) & np.isfinite(pipeline)
    assert good.sum() > 0.95 * np.isfinite(pipeline).sum()
    assert np.std(found[good] - pipeline[good]) < 0.05 * NOISE
    assert {k: card(image, k) for k in STAR_CARDS} == {k: card(bench.folder / "target_i2d.fits", k) for k in STAR_CARDS}


def planet_is_seen(path: Path) -> None:
    """The planet is the maximum of a north-up image near where it was put."""
    image, header = fits.getdata(path, "SCI"), fits.getheader(path)
    y, x = np.indices(image.shape)
    angle = np.radians(PLANET[1])
    px = header["STARX"] - 1 - PLANET[0] / 0.11 * np.sin(angle)
    py = header["STARY"] - 1 + PLANET[0] / 0.11 * np.cos(angle)
    r = np.hypot(x - header["STARX"] + 1, y - header["STARY"] + 1)
    ring = np.where((r > 8) & (r < 25), np.nan_to_num(image), -np.inf)
    at = np.unravel_index(np.argmax(ring), ring.shape)
    assert np.hypot(at[1] - px, at[0] - py) < 1.5  # the maximum of whole pixels, and noise
    assert 0.3 * PLANET[2] < ring[at] < 1.1 * PLANET[2]


def check_refine(bench: Bench, products: list[Path]) -> None:
    (product,) = products
    np.testing.assert_array_equal(fits.getdata(product, "SCI"), bench.read("target_refined.fits"))
    row = fits.getdata(product, "PROTECTED")[0]
    # half a pixel, at 1.6 arcsec 2 degrees
    assert row["SEPARATION"] == pytest.approx(PLANET[0], abs=0.06) and row["PA"] == pytest.approx(PLANET[1], abs=2.0)
    planet_is_seen(product)


def check_coron3(bench: Bench, products: list[Path]) -> None:
    names = {p.name for p in products}
    assert {"target_i2d.fits", "target_psfstack.fits", "target_klcube.fits", "target_refined.fits"} <= names
    planet_is_seen(next(p for p in products if p.name == "target_i2d.fits"))


def stage1_cases() -> dict[str, Case]:
    checks = {
        "dq_init": ("uncal", check_dq_init), "saturation": ("after_dq_init", check_saturation),
        "firstframe": ("after_saturation", check_one_group(0, "S_FRSTFR")),
        "lastframe": ("after_saturation", check_one_group(-1, "S_LASTFR")),
        "reset": ("after_lastframe", check_reset), "linearity": ("after_reset", check_linearity),
        "rscd": ("after_linearity", check_rscd), "dark_current": ("after_rscd", check_dark),
        "refpix": ("after_dark_current", check_refpix), "jump": ("after_dark_current", check_jump),
        "ramp_fit": ("after_jump", check_slopes),
    }  # fmt: skip
    cases = {f"lyot_{name}": Case((f"{RAW}_{source}.fits",), check) for name, (source, check) in checks.items()}
    cases["lyot_gain_scale"] = Case(
        (after("ramp_fit"),), check_gain_scale, parameters={"override_gain": "gain_of_two.fits"}
    )
    cases["lyot_detector1"] = Case((f"{RAW}_uncal.fits",), check_detector1)
    return cases


SKIP = {"skip": True}
STAGE2 = {
    "lyot_bkg_subtract": Case(("image2_asn.json",), check_background),
    "lyot_bad_pixels": Case(("jw01001009001_calints.fits",), check_bad_pixels),
    "lyot_image2": Case(
        ("image2_asn.json",), check_image2,
        steps={"assign_wcs": SKIP, "photom": SKIP, "resample": SKIP, "bad_pixels": SKIP,
               "flat_field": {"user_supplied_flat": "flat.fits"}},
    ),
}  # fmt: skip
NO_THROUGHPUT = {"use_throughput": False}
STAGE3 = {
    "lyot_flag_outliers": Case(("jw01001009001_calints.fits",), check_outliers),
    "lyot_stack_refs": Case(("references_asn.json",), check_stack),
    "lyot_align_refs": Case((f"{SCIENCE[0]}_calints.fits", "target_psfstack.fits"), check_align,
                            parameters={"apply": "always"}),
    "lyot_locate_star": Case(("coron3_asn.json", "target_psfstack.fits"), check_star,
                             parameters={"position": POSITION}),
    "lyot_klip": Case((f"{SCIENCE[0]}_calints.fits", f"{SCIENCE[0]}_a3001_psfalign.fits"), check_klip,
                      parameters=NO_THROUGHPUT),
    "lyot_combine": Case(("subtracted_asn.json",), check_combine),
    "lyot_refine": Case(("coron3_asn.json", f"{SCIENCE[0]}_a3001_psfalign.fits", f"{SCIENCE[0]}_a3001_psfsub.fits"),
                        check_refine),
    "lyot_coron3": Case(("coron3_asn.json",), check_coron3,
                        steps={"klip": NO_THROUGHPUT, "locate_star": {"position": POSITION}}),
}  # fmt: skip
CASES = stage1_cases() | STAGE2 | STAGE3


def parameters_of(bench: Bench, alias: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Parameters of the step and of its steps, with the reference files of the bench."""
    case, name = CASES[alias], alias.removeprefix("lyot_")
    own = {**bench.overrides.get(name, {}), **case.parameters}
    steps = bench.overrides if alias == "lyot_detector1" else case.steps

    def full(values: dict[str, Any]) -> dict[str, Any]:
        return {k: bench.path(v) if isinstance(v, str) and v.endswith(".fits") else v for k, v in values.items()}

    return full(own), {step: full(values) for step, values in steps.items()}


def command_line(bench: Bench, alias: str, folder: Path) -> list[str]:
    own, steps = parameters_of(bench, alias)
    flat = {**own, **{f"steps.{step}.{k}": v for step, values in steps.items() for k, v in values.items()}}
    inputs = [bench.path(name) for name in CASES[alias].inputs]
    return [alias, *inputs, "--save_results=true", f"--output_dir={folder}", *(f"--{k}={v}" for k, v in flat.items())]


def products_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.fits"))


def assert_same_products(ours: list[Path], theirs: list[Path]) -> None:
    assert ours and [p.name for p in ours] == [p.name for p in theirs]
    for a, b in zip(ours, theirs, strict=True):
        with fits.open(a) as first, fits.open(b) as second:
            assert [h.name for h in first] == [h.name for h in second]
            for one, two in zip(first, second, strict=True):
                if one.data is not None and one.name not in ("ASDF", "HDRTAB"):  # which hold the time
                    np.testing.assert_array_equal(one.data, two.data, err_msg=f"{a.name} {one.name}")


def test_every_registered_step_has_a_case():
    assert set(CASES) == {alias for _, alias, _ in get_steps()}


@pytest.mark.parametrize("alias", CASES)
def test_alone_through_call_and_strun(bench, alias, tmp_path, monkeypatch):
    monkeypatch.chdir(bench.folder)  # where the official reader of level-2 associations looks for their members
    called, from_command_line = tmp_path / "call", tmp_path / "strun"
    called.mkdir()
    from_command_line.mkdir()
    own, steps = parameters_of(bench, alias)
    own |= {"steps": steps} if steps else {}
    inputs = [bench.path(name) for name in CASES[alias].inputs]
    alias_class(alias).call(*inputs, save_results=True, output_dir=str(called), **own)
    CASES[alias].check(bench, products_in(called))
    step = Step.from_cmdline(command_line(bench, alias, from_command_line))
    assert isinstance(step, alias_class(alias))
    assert_same_products(products_in(from_command_line), products_in(called))


def test_strun_in_a_process_of_its_own(bench, tmp_path):
    program = Path(sys.executable).with_name("strun")
    command = [str(program), *command_line(bench, "lyot_bad_pixels", tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "Results used lyot version" in done.stdout + done.stderr  # our log is shown
    check_bad_pixels(bench, products_in(tmp_path))


def test_the_star_without_references_is_written_into_each_exposure(bench, tmp_path):
    """As roll subtraction takes it."""
    alias_class("lyot_locate_star").call(
        bench.path("coron3_asn.json"), save_results=True, output_dir=str(tmp_path), position=POSITION
    )
    found = products_in(tmp_path)
    assert len(found) == 2
    for name, path in zip(SCIENCE, found, strict=True):
        assert path.name.startswith(name) and card(path, "STARFROM") == "GIVEN"
        (row,) = fits.getdata(path, "STARPOS")
        assert row["DX"] == pytest.approx(22.0, rel=0.02)  # 0.2 px of 0.11 arcsec, to a percent
        np.testing.assert_array_equal(fits.getdata(path, "SCI"), bench.read(f"{name}_calints.fits"))
