"""Stage 1 on a simulated exposure finds the slopes and cosmic rays that were put in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import stage1_truth as truth

from lyot import dq
from lyot.optics import OpticsParams
from lyot.reference_files.environment import resolve_crds

pytestmark = pytest.mark.slow

SIZE = (3, 30)


@pytest.fixture(scope="module")
def exposure(tmp_path_factory: pytest.TempPathFactory) -> truth.Simulated:
    folder = tmp_path_factory.mktemp("truth")
    return truth.simulate(folder, "science", SIZE, optics=OpticsParams(pupil_pixels=64, n_wavelengths=1))


@pytest.fixture(scope="module")
def products(exposure: truth.Simulated) -> dict[str, Path]:
    folder = exposure.file.parent
    with resolve_crds(search=[folder]).applied():
        return truth.reduce("lyot", exposure, folder / "out", {}, save_calibrated_ramp=True)


@pytest.fixture(scope="module")
def figures(exposure: truth.Simulated, products: dict[str, Path]) -> dict[str, Any]:
    return truth.slope_figures(exposure, products["rateints"], products["rate"])


def test_slopes_are_unbiased(figures: dict[str, Any]) -> None:
    clean = figures["clean"]
    assert clean["count"] > 150_000  # of 194 000: bad pixels, reference columns and cosmic rays take a few percent
    # 0.0023 is the error of the mean. Errors that know the rate only from the same ramps (too small where it came out
    # low) pull the mean to -0.01 in ramps as short as these
    assert abs(clean["mean"]) < 0.02


def test_errors_are_those_of_the_noise_within_what_the_official_formulas_leave_out(
    exposure: truth.Simulated, figures: dict[str, Any]
) -> None:
    d = exposure.detector
    open_field = figures["by_signal"][2]
    formula = truth.stated_over_true(
        np.mean(open_field["signal_dn"]) / (SIZE[1] * exposure.group_time),
        gain=float(np.median(d.gain)),
        read_noise=float(np.median(d.read_noise)),
        group_time=exposure.group_time,
        groups=SIZE[1] - d.rscd_skip[1] - 1,
    )
    expected = formula["true"] / formula["stated"]
    assert 1.02 < expected < 1.07  # what the weights cost, and the official errors do not say
    # 0.003 is the statistical error of the width; 0.02 for rates and noises that differ among the pixels of the bin
    assert open_field["std"] == pytest.approx(expected, abs=0.02)


def test_cosmic_rays_are_found_and_do_no_harm(
    exposure: truth.Simulated, products: dict[str, Path], figures: dict[str, Any]
) -> None:
    flags, pixel_flags = truth.read(products["ramp"], "GROUPDQ", "PIXELDQ")
    usable = ((flags & ~np.uint8(dq.JUMP_DET)) == 0) & ((pixel_flags & dq.DO_NOT_USE) == 0)
    usable[:, 1:] &= ((flags[:, :-1] & ~np.uint8(dq.JUMP_DET)) == 0).copy()
    usable[:, [0, exposure.detector.rscd_skip[1]]] = False
    jumps = truth.jump_figures(exposure, flags, usable, threshold=None)
    # the noise of a difference is 24 electrons at most in the open field: 200 are 8 sigma, 4 above the threshold
    assert jumps["completeness_above_200e"] > 0.99
    # 63 by chance, a third more as the errors come from the ramp itself, and the neighbors of strong jumps
    assert jumps["false_per_million"] < 200
    # without jump detection half of the slopes with a hit are off by more than 5 sigma; none may be with it
    assert figures["hit"]["count"] > 200
    assert figures["hit"]["beyond_5"] < 0.01
    assert abs(figures["hit"]["median"]) < 0.3  # 0.06 is its error; hits below the threshold raise it a little
