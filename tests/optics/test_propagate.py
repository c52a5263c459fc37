"""The focal-plane masks as operators, against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.geometry import ARCSEC
from lyot.optics import propagate
from lyot.optics.pupil import pupil_coordinates

WAVE = 11.4e-6


def _disk(n: int, radius: float, fine: int = 4) -> np.ndarray:
    xi = pupil_coordinates(n * fine)
    inside = (xi[:, None] ** 2 + xi[None, :] ** 2 <= radius**2).astype(float)
    return inside.reshape(n, fine, n, fine).mean(axis=(1, 3))


def _leak(n: int, half_width: float) -> float:
    """Share of an on-axis star's light left inside a clear circular pupil by a perfect four-quadrant mask."""
    xi = pupil_coordinates(n)
    mask = propagate.phase_mask(xi, half_width=half_width, wavelength=WAVE, design_wavelength=WAVE)
    pupil = _disk(n, 3.2)
    out = mask(pupil.astype(complex))
    inner = xi[:, None] ** 2 + xi[None, :] ** 2 <= 2.9**2
    return float((np.abs(out) ** 2)[inner].sum() / pupil[inner].sum())


def test_clear_circular_pupil_is_emptied() -> None:
    # theory: nothing is left inside; the finite field of 24 arcsec (34 lambda/D) keeps 8e-5
    assert _leak(256, 12.0) < 2e-4


def test_rejection_converges_with_sampling_to_zero() -> None:
    # with an unlimited field only the sampling of the pupil's edge is left, and it falls with the sampling
    coarse, fine = _leak(128, 1000.0), _leak(384, 1000.0)
    assert fine < 5e-6
    assert fine < coarse / 3


def test_field_stop_alone_keeps_the_pupil() -> None:
    xi = pupil_coordinates(256)
    kernel = propagate.window_kernel(xi, 12.0, WAVE)
    pupil = _disk(256, 3.2)
    inner = xi[:, None] ** 2 + xi[None, :] ** 2 <= 2.9**2
    out = propagate.two_sided(kernel, pupil.astype(complex), kernel)
    # ringing of a 34 lambda/D field away from the edge
    assert np.abs(out[inner] - 1.0).mean() < 0.02


def test_mask_conserves_energy_over_the_whole_lyot_plane() -> None:
    # a phase mask is transparent: what leaves the aperture is all in the Lyot plane. A square aperture of half side r
    # is separable; of its light 4 r / (pi^2 R) per axis falls beyond the array's edge R (tail of a box's Hilbert
    # transform)
    xi, r = pupil_coordinates(256), 0.6
    mask = propagate.phase_mask(xi, half_width=20.0, wavelength=WAVE, design_wavelength=WAVE)
    line = (np.abs(xi) < r).astype(float)
    aperture = np.outer(line, line)
    kept = (np.abs(mask(aperture.astype(complex))) ** 2).sum() / aperture.sum()
    expected = (1 - 4 * r / (np.pi**2 * xi[-1])) ** 2
    # the window of 20 arcsec cuts 1 % of the light of an aperture this small on each axis
    assert kept == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("phase", [0.7, np.pi, 3.4])
def test_phase_mask_agrees_with_a_sampled_focal_plane(phase: float) -> None:
    # the same mask by brute force: transform to a finely sampled focal plane, multiply, transform back
    n, half = 64, 3.0
    xi = pupil_coordinates(n)
    rng = np.random.default_rng(5)
    field = _disk(n, 3.2) * np.exp(1j * rng.normal(scale=0.5, size=(n, n)))
    mask = propagate.PhaseMask(
        propagate.window_kernel(xi, half, WAVE), propagate.sign_kernel(xi, half, WAVE), float(phase)
    )
    m = 600
    u = (np.arange(m) - (m - 1) / 2) * (2 * half / m)
    transform = propagate.fourier_matrix(u, xi, WAVE)
    quadrant = np.where(np.sign(u)[:, None] * np.sign(u)[None, :] > 0, 1.0, np.exp(1j * phase))
    scale = ((xi[1] - xi[0]) * (u[1] - u[0]) * ARCSEC / WAVE) ** 2
    brute = scale * transform.conj().T @ (quadrant * (transform @ field @ transform.T)) @ transform.conj()
    # midpoint rule with 600 points over 8.4 lambda/D: error (pi/600 * 8.4)^2 / 6 ~ 3e-4
    np.testing.assert_allclose(mask(field), brute, atol=1e-3)


def test_opaque_spot_agrees_with_a_sampled_focal_plane() -> None:
    n, half, wave = 64, 4.0, 22.8e-6
    xi = pupil_coordinates(n)
    spot = propagate.opaque_spot(xi, half_width=half, wavelength=wave, radius=2.125, bar_width=0.722)
    field = _disk(n, 3.2).astype(complex)
    m = 1200
    u = (np.arange(m) - (m - 1) / 2) * (2 * half / m)
    transform = propagate.fourier_matrix(u, xi, wave)
    clear = (u[:, None] ** 2 + u[None, :] ** 2 > 2.125**2) & (np.abs(u)[None, :] > 0.361)
    scale = ((xi[1] - xi[0]) * (u[1] - u[0]) * ARCSEC / wave) ** 2
    brute = scale * transform.conj().T @ (clear * (transform @ field @ transform.T)) @ transform.conj()
    # the brute-force edge is binary on a 0.0067 arcsec grid: relative area error of the spot below 1e-3
    np.testing.assert_allclose(spot(field), brute, atol=4e-3)


def test_two_sided_is_the_matrix_product() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(5, 4)), rng.normal(size=(6, 4))
    field = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    np.testing.assert_allclose(propagate.two_sided(left, field, right), left @ field @ right.T, rtol=1e-12)
