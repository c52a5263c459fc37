"""Images of the coronagraph model: normalization, position, symmetry, rejection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyot.errors import InputError, UnknownNameError
from lyot.optics import CoronagraphModel, OpticsParams, Wavefront, field_stop_mask, realistic_wavefront
from lyot.optics.pupil import jwst_pupil

TILT = -4.83544897


def _along(angle: float, radius: float) -> tuple[float, float]:
    return radius * np.cos(np.radians(angle)), radius * np.sin(np.radians(angle))


def _centroid(image: np.ndarray, start: tuple[float, float]) -> tuple[float, float]:
    """Centroid (x, y) under a round Gaussian weight that follows it: blind to the wings, exact for a symmetric core."""
    y, x = np.indices(image.shape)
    cx, cy = start
    for _ in range(40):
        w = image * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 3.0**2))
        # the weight pulls toward the old center: the step is doubled to converge sooner
        cx, cy = 2 * (x * w).sum() / w.sum() - cx, 2 * (y * w).sum() / w.sum() - cy
    return float(cx), float(cy)


def test_unknown_filter_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="F1550C"):
        CoronagraphModel.build("F1551C")


def test_image_holds_the_light_that_passes_the_lyot_stop(fqpm: CoronagraphModel) -> None:
    for offset in ((0.0, 0.0), (0.6, 0.7)):
        image = fqpm.psf(offset, shape=(300, 300), center=(150.0, 150.0))
        # the wings beyond 16 arcsec are missing: 1 % of a source, 2 % of what is left of the star
        assert image.sum() == pytest.approx(fqpm.energy(offset), rel=0.03)
        assert image.sum() < fqpm.energy(offset)
        assert image.min() >= 0.0


def test_far_source_keeps_its_light_on_the_subarray(fqpm: CoronagraphModel) -> None:
    # 1 over infinite aperture; on the subarray measured 1.01, 1.02, 1.03: 1 % of wings lost, and the mask still brings
    # in light from the margin that the stop covers
    assert fqpm.psf(_along(45 + TILT, 5.0)).sum() == pytest.approx(1.0, abs=0.05)


def test_source_appears_where_asked(fqpm: CoronagraphModel) -> None:
    # without phase step, so that the image is the pupil's own, symmetric one
    clear = CoronagraphModel(replace(fqpm.coronagraph, design_wavelength=0.0), fqpm.params)
    sx, sy = fqpm.coronagraph.pixel_scale
    for x, y in ((40.0, 40.0), (40.4, 39.7), (62.25, 23.5)):
        image = clear.psf(((x - 40.0) * sx, (y - 40.0) * sy), shape=(81, 81), center=(40.0, 40.0))
        # the images are sampled at better than Nyquist, so only rounding and the field stop's edge are left
        assert _centroid(image, (round(x), round(y))) == pytest.approx((x, y), abs=0.005)


@pytest.mark.parametrize("phase", [(0.0, 0.0), (0.37, -0.21), (-0.5, 0.5)])
def test_stamp_is_the_cut_of_the_full_image(f1550c: CoronagraphModel, phase: tuple[float, float]) -> None:
    c = f1550c.coronagraph
    pixel = (150, 140)
    offset = tuple((p + f - r) * s for p, f, r, s in zip(pixel, phase, c.reference_point, c.pixel_scale, strict=True))
    stamp = f1550c.off_axis_psf(offset, size=31, phase=phase)  # type: ignore[arg-type]
    full = f1550c.psf(offset)[140 - 15 : 140 + 16, 150 - 15 : 150 + 16]  # type: ignore[arg-type]
    # the two sample the image on different grids before interpolation
    np.testing.assert_allclose(stamp, full, atol=3e-4 * full.max())


def test_stamp_centroid_follows_the_phase(f1550c: CoronagraphModel) -> None:
    clear = CoronagraphModel(replace(f1550c.coronagraph, design_wavelength=0.0), f1550c.params)
    for phase in ((0.0, 0.0), (0.4, -0.3)):
        stamp = clear.off_axis_psf((1.0, -0.7), size=41, phase=phase)
        # wings cut off at the edge of the stamp
        assert _centroid(stamp, (20.0, 20.0)) == pytest.approx((20 + phase[0], 20 + phase[1]), abs=0.005)


def test_source_beside_the_mask_is_where_asked(fqpm: CoronagraphModel) -> None:
    # the mask in the wings of a source 6 arcsec from the star shifts its core by hundredths of a pixel
    stamp = fqpm.off_axis_psf(_along(45 + TILT, 6.0), size=41, phase=(0.25, 0.1))
    assert _centroid(stamp, (20.0, 20.0)) == pytest.approx((20.25, 20.1), abs=0.02)


def test_stamp_refuses_an_even_size(f1550c: CoronagraphModel) -> None:
    with pytest.raises(InputError, match="odd"):
        f1550c.off_axis_psf((1.0, 1.0), size=20)


def test_star_on_axis_is_rejected(fqpm: CoronagraphModel) -> None:
    star, beside = fqpm.psf((0.0, 0.0)), fqpm.psf((5.0, 4.0))
    # a perfect wavefront leaves what the obscuration, the struts and the sheared stop leave: measured 1/140 and 0.04
    assert 1 / 300 < star.max() / beside.max() < 1 / 80
    assert 0.02 < star.sum() < 0.06


def test_smaller_stop_without_shear_rejects_better() -> None:
    def total(fraction: float) -> float:
        params = OpticsParams(
            pupil_pixels=128,
            n_wavelengths=1,
            wavefront_rms=0,
            stop="eroded",
            shear_x=0,
            shear_y=0,
            fqpm_stop_transmission=fraction,
        )
        return CoronagraphModel.build("F1140C", params).energy((0.0, 0.0))

    # the floor is the secondary's: its Lyot-plane light fills the pupil (measured 0.039 to 0.025)
    assert 0.4 * total(0.62) < total(0.35) < 0.8 * total(0.62)


def test_pointing_and_wavefront_errors_leak_starlight(f1550c: CoronagraphModel) -> None:
    quiet = f1550c.energy((0.0, 0.0))
    rough = realistic_wavefront(4, 400.0, npix=128)
    assert f1550c.energy((0.1, 0.1)) > quiet
    assert f1550c.energy((0.0, 0.0), wavefront=rough) > quiet


def test_opposite_offsets_of_a_perfect_pupil_mirror_the_image(f1550c: CoronagraphModel) -> None:
    a = f1550c.psf((0.5, 0.3), shape=(61, 61), center=(30.0, 30.0))
    b = f1550c.psf((-0.5, -0.3), shape=(61, 61), center=(30.0, 30.0))
    # a real pupil field gives I(-x; -s) = I(x; s) exactly at the design wavelength, to 3e-4 of the peak over this band
    np.testing.assert_allclose(a, b[::-1, ::-1], atol=1e-3 * a.max())


def test_same_seed_same_image() -> None:
    params = OpticsParams(pupil_pixels=128, n_wavelengths=1, wavefront_rms=120.0, wavefront_seed=7)
    a, b = (CoronagraphModel.build("F1065C", params).psf((0.01, 0.0), shape=(40, 40), center=(20, 20)) for _ in "ab")
    np.testing.assert_array_equal(a, b)


def test_wavefront_of_another_size_is_refused(f1550c: CoronagraphModel) -> None:
    with pytest.raises(InputError, match="npix"):
        f1550c.psf((0.0, 0.0), wavefront=Wavefront.flat(64))


@pytest.mark.slow
def test_image_has_converged_with_sampling() -> None:
    make = lambda **kw: CoronagraphModel.build("F1140C", OpticsParams(wavefront_rms=0.0, **kw))  # noqa: E731
    usual, fine = make(), make(pupil_pixels=320, n_wavelengths=9, samples_per_resolution=7.0)
    for offset, tolerance in (((0.0, 0.0), 0.03), ((5.0, 4.0), 0.01), ((0.5, 0.65), 0.01)):
        a, b = (m.psf(offset, shape=(61, 61), center=(8.0, 14.0)) for m in (usual, fine))
        # what is left is the pixelated edge of pupil and stop; tolerance as a share of the peak
        assert np.abs(a - b).max() < tolerance * b.max()


def test_field_stop_covers_three_quarters_of_the_subarray(fqpm: CoronagraphModel) -> None:
    mask = field_stop_mask(fqpm.coronagraph)
    assert mask.shape == fqpm.coronagraph.shape
    # 24 arcsec squared of 224 x 288 pixels: about 26 % outside
    assert 1 - mask.mean() == pytest.approx(0.26, abs=0.012)  # pixel scales differ by 2 % between the masks


def test_lyot_spot_hides_the_star_and_the_bar(f2300c: CoronagraphModel) -> None:
    free = f2300c.energy(_along(TILT, 6.0))
    assert f2300c.energy((0.0, 0.0)) < 0.05 * free
    assert f2300c.energy(_along(90 + TILT, 6.0)) < 0.3 * free  # on the bar, which runs along V3
    assert free == pytest.approx(1.0, abs=0.03)  # ringing of the spot's edge
    image = f2300c.psf((0.0, 0.0))
    assert image.shape == (304, 320)
    assert image.max() < f2300c.psf(_along(TILT, 6.0)).max() / 150


def test_inputs_are_left_alone(f1550c: CoronagraphModel) -> None:
    wavefront = realistic_wavefront(2, 50.0, npix=128)
    before, pupil = wavefront.opd.copy(), jwst_pupil(128).amplitude.copy()
    f1550c.psf((0.1, 0.2), shape=(20, 20), center=(10, 10), wavefront=wavefront)
    np.testing.assert_array_equal(wavefront.opd, before)
    np.testing.assert_array_equal(jwst_pupil(128).amplitude, pupil)
