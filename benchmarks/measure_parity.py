"""Measurements beside those of VIP and pyKLIP on the same arrays: noise, few-sample correction, throughput, contrast.

Needs ``pip install vip_hci pyklip`` (tried with 2.1.1 and 2.10.1); prints a record.

    python benchmarks/measure_parity.py
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lyot import geometry
from lyot.measure import Injector, snr_map
from lyot.measure.contrast import aperture_response, noise_profile
from lyot.measure.noise import aperture_sums, t_to_gaussian, threshold_for

FWHM = 4.4
SIZE = 121
CENTER = (60.0, 60.0)


def images() -> dict[str, NDArray[np.float64]]:
    """White noise, and noise smoothed as speckles are."""
    rng = np.random.default_rng(1)
    white = rng.normal(size=(SIZE, SIZE))
    return {"white": white, "speckled": ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), FWHM / 2.355) * 6}


def noise_beside_vip(image: NDArray[np.float64]) -> dict[str, float]:
    """Scatter of apertures per annulus: ours over VIP's."""
    from vip_hci.metrics.contrcurve import noise_per_annulus

    theirs, _, radii = noise_per_annulus(image, separation=1, fwhm=FWHM, init_rad=10)
    ours, _ = noise_profile(snr_map(image, CENTER, FWHM, guard=0), CENTER, radii.astype(float))
    use = (radii >= 10) & (radii <= 52)
    ratio = ours[use] / np.asarray(theirs)[use]
    return {"median": float(np.median(ratio)), "scatter": float(np.std(ratio))}


def correction_beside_vip() -> dict[str, float]:
    """Gaussian sigmas of an S/N of 5, and S/N of 5 Gaussian sigmas: ours less VIP's."""
    from vip_hci.metrics import significance

    out = {}
    for r in (8.0, 12.0, 20.0, 40.0):
        n = int(2 * np.pi * r / FWHM)
        sigmas = float(t_to_gaussian(np.array([5.0]), np.array([n - 2]))[0])
        out[f"sigmas of S/N 5 at {r:g} px"] = sigmas - float(significance(5.0, r, FWHM, student_to_gauss=True))
        limit = float(threshold_for(5.0, n - 1))
        out[f"S/N of 5 sigmas at {r:g} px"] = limit - float(significance(5.0, r, FWHM, student_to_gauss=False))
    return out


def throughput_beside_vip() -> dict[str, Any]:
    """Throughput of VIP's own PCA-ADI: from VIP's `throughput`, and from our injections through the same algorithm."""
    from vip_hci.metrics import throughput
    from vip_hci.psfsub import pca

    rng = np.random.default_rng(4)
    angles = np.linspace(0, 80, 16)
    patterns = ndimage.gaussian_filter(rng.normal(size=(6, SIZE, SIZE)), (0, 2, 2)) * 20
    halo = 2000 * np.exp(-geometry.radius_map((SIZE, SIZE), CENTER) / 8)
    cube = halo * (1 + 0.02 * np.einsum("nm,myx->nyx", rng.normal(size=(16, 6)), patterns))
    cube += rng.normal(size=cube.shape)
    sigma = FWHM / 2.355

    def gaussian(x: float, y: float, shape: tuple[int, int]) -> NDArray[np.float64]:
        dx, dy = geometry.offset_grid(shape, (x, y))
        return np.asarray(np.exp(-(dx**2 + dy**2) / (2 * sigma**2)))

    template = gaussian(14.0, 14.0, (29, 29))

    def reduced(frames: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(pca(frames, angles, ncomp=4, verbose=False, imlib="opencv"))[np.newaxis]

    def psf(exposure: int, east: float, north: float) -> NDArray[np.float64]:
        # VIP turns frame i by -angles[i] on the sky: a source at t (from +x to +y) was at t - angle in the frame
        t = np.arctan2(north, -east) - np.radians(angles[exposure])
        r = np.hypot(east, north)
        return gaussian(CENTER[0] + r * float(np.cos(t)), CENTER[1] + r * float(np.sin(t)), (SIZE, SIZE))

    snr, whole = 5.0, aperture_sums(template, FWHM)[14, 14]
    theirs, radii = throughput(
        cube, angles, template / whole, FWHM, pca, nbranch=4, fc_snr=snr, verbose=False, ncomp=4, imlib="opencv"
    )[:2]
    injector = Injector(science=cube, exposure=np.arange(16), psf=psf, reduce=reduced, center=CENTER, pixel_scale=1.0)
    separations = np.array([10.0, 14.0, 20.0, 28.0, 38.0, 48.0])
    noise, _ = noise_profile(snr_map(injector.image, CENTER, FWHM, guard=0), CENTER, separations)
    ours = []
    for r, sigma_r in zip(separations, noise, strict=True):
        flux = snr * float(sigma_r) / float(whole)  # the losses of ADI depend on the flux: the same for both
        places = [(r * np.sin(t), r * np.cos(t)) for t in np.radians(np.arange(0, 360, 45))]
        ours.append(np.mean([aperture_response(injector, e, n, FWHM, flux=flux) for e, n in places]) / whole)
    mean = np.nanmean(np.atleast_2d(theirs), axis=0)
    beside = np.interp(separations, np.asarray(radii, float), mean)
    return {
        "radius": separations.tolist(), "ours": np.round(ours, 3).tolist(), "vip": beside.round(3).tolist(),
        "largest difference": float(np.abs(ours - beside).max()), "mean difference": float(np.mean(ours - beside)),
    }  # fmt: skip


def contrast_beside_pyklip(image: NDArray[np.float64]) -> dict[str, float]:
    """5-sigma flux of a Gaussian source: our apertures over pyKLIP's smoothed pixels, each with its own response.

    On white noise the ratio follows from the two filters alone: an aperture of one width holds half of a Gaussian
    source against sqrt(pi)/2 x width of noise, a Gaussian filter does better by 1.18.
    """
    from pyklip.klip import meas_contrast

    radii, flux = meas_contrast(image, 8, 52, FWHM, center=CENTER)
    sigma = FWHM / 2.355
    theirs = np.asarray(flux) * 4 * np.pi * sigma**2
    maps = snr_map(image, CENTER, FWHM, guard=0)
    noise, elements = noise_profile(maps, CENTER, radii)
    ours = threshold_for(5.0, elements) * noise / 0.5
    use = np.isfinite(ours) & (radii > 12)
    return {"median": float(np.median(ours[use] / theirs[use])), "scatter": float(np.std(ours[use] / theirs[use]))}


def main() -> None:
    """Compare and print."""
    warnings.simplefilter("ignore")
    record: dict[str, Any] = {"t-correction, ours less VIP's": correction_beside_vip()}
    for name, image in images().items():
        record[f"noise per annulus over VIP's, {name}"] = noise_beside_vip(image)
        record[f"raw contrast over pyKLIP's, {name}"] = contrast_beside_pyklip(image)
    record["throughput of PCA-ADI"] = throughput_beside_vip()
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
