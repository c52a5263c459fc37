"""Real observations: the companion of HD 106906 and the disk of AU Mic (needs LYOT_TEST_DATA)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lyot import geometry
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction
from lyot.subtract.register import RegistrationParams, register

DATA = os.environ.get("LYOT_TEST_DATA")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA, reason="LYOT_TEST_DATA is not set: the real observations are not here"),
]


def load(folder: str, science: tuple[str, ...], references: tuple[str, ...], scale: tuple[float, float]):
    from astropy.io import fits

    def read(patterns):
        data, variance, headers = [], [], []
        for path in sorted(p for pattern in patterns for p in (Path(DATA) / folder).glob(pattern)):
            with fits.open(path) as hdus:
                cube = hdus["SCI"].data.astype(float)
                cube[(hdus["DQ"].data & 1) > 0] = np.nan
                data.append(cube[0])
                variance.append(hdus["ERR"].data[0].astype(float) ** 2)
                headers.append(hdus["SCI"].header)
        return np.array(data), np.array(variance), headers

    data, variance, headers = read(science)
    refs, refs_variance, _ = read(references)
    return CoronagraphicSequence(
        science=data,
        science_variance=variance,
        exposure=np.arange(len(data)),
        pa_y=[geometry.pa_of_detector_y(h["ROLL_REF"], h["V3I_YANG"]) for h in headers],
        star=[(h["CRPIX1"] - 1, h["CRPIX2"] - 1) for h in headers],
        pixel_scale=scale,
        references=refs,
        reference_variance=refs_variance,
        boundary_tilt=-4.835,
    )


@pytest.fixture(scope="module")
def hd106906():
    return load("miri_hd106906_f1140c", ("jw01277019*",), ("jw01194015*",), (0.11024593, 0.11065528))


@pytest.fixture(scope="module")
def aumic():
    references = tuple(f"jw01184{n:03d}*" for n in (3, 4, 5, 6, 13, 14))
    return load("nircam_aumic_f444w", ("jw01184001*", "jw01184002*"), references, (0.0626, 0.0626))


def test_hd106906_b_is_where_it_was_published(hd106906):
    result = plan_reduction(hd106906).reduce()
    radius = geometry.radius_map(result.image.shape, result.center) * result.pixel_scale
    image = np.where((radius > 5) & np.isfinite(result.image), result.image, 0.0)
    y, x = np.unravel_index(np.argmax(image), image.shape)
    cut = np.clip(image[y - 3 : y + 4, x - 3 : x + 4], 0, None)
    dy, dx = np.indices(cut.shape) - 3
    px, py = x + (cut * dx).sum() / cut.sum(), y + (cut * dy).sum() / cut.sum()
    separation = np.hypot(px - result.center[0], py - result.center[1]) * result.pixel_scale
    pa = geometry.position_angle(px - result.center[0], py - result.center[1], 0.0)
    # published 7.11 +- 0.03 arcsec and 307.3 +- 0.2 deg; the figures asked for
    assert separation == pytest.approx(7.11, abs=0.03)
    assert float(pa) == pytest.approx(307.3, abs=0.3)


def test_the_disk_of_au_mic_survives_at_its_position_angle(aumic):
    result = plan_reduction(aumic, ReductionParams(zone_edges=(), subtract_mean=False)).reduce()
    dx, dy = geometry.offset_grid(result.image.shape, result.center)
    radius = np.hypot(dx, dy) * result.pixel_scale
    pa = geometry.position_angle(dx, dy, 0.0)
    ring = (radius > 1.5) & (radius < 3.0) & np.isfinite(result.image)
    angles = np.arange(100.0, 160.0, 0.5)
    profile = []
    for angle in angles:
        apart = np.abs((pa - angle + 90.0) % 180.0 - 90.0)
        profile.append(result.image[ring & (apart < 3.0)].mean())
    # both sides of the edge-on disk together; half a step of the profile and its width of 3 deg
    assert angles[int(np.argmax(profile))] == pytest.approx(128.5, abs=1.5)


def test_registration_agrees_with_the_official_one(aumic):
    official = pytest.importorskip("jwst.coron.imageregistration")
    science, references = np.nan_to_num(aumic.science[0]), np.nan_to_num(aumic.references[::2])
    mask = np.isfinite(aumic.science[0]).astype(float)
    found = register(references, np.where(mask > 0, science, np.nan), weight=mask, params=RegistrationParams())
    expected = official.align_array(science, references, mask=mask, return_aligned=False)
    # the figure asked for; the shifts themselves reach 0.04 px
    np.testing.assert_allclose(found.shift, expected[:, :2], atol=1e-3)
