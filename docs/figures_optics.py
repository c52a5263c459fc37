"""Draw the figures of docs/optics.md and print the numbers it quotes.

Usage: ``LYOT_TEST_DATA=... python docs/figures_optics.py``. The comparison with throughput maps modeled by others
needs their files (``miri_reference/transmission_F*.fits`` in that folder); without them the figure shows our curves
alone. The figure of the fit needs the calibrated exposures of HD 218261 and HD 106906 (programs 1194 and 1277, in
``miri_hd106906_f1140c``); without them it is left as it is. ``--only fit`` draws that one alone (about four minutes on
one core).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from PIL import Image
from scipy import ndimage, optimize

from lyot.analysis.optics_fit import fit_exposures
from lyot.geometry import radius_map
from lyot.optics import CoronagraphModel, OpticsParams, Wavefront
from lyot.optics.field import detector_offsets, to_mask_frame
from lyot.report.optics import draw_fit

log = logging.getLogger("figures_optics")
HERE = Path(__file__).parent / "_static"
FQPM = ("F1065C", "F1140C", "F1550C")
RADII = np.array([0.33, 0.5, 0.82, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0])


def their_map(name: str) -> np.ndarray | None:
    """Throughput map modeled by others: (ny, nx), NaN outside the field stop; None if the file is not there."""
    root = os.environ.get("LYOT_TEST_DATA")
    path = Path(root or ".") / "miri_reference" / f"transmission_{name}.fits"
    return np.asarray(fits.getdata(path, 1), dtype=float) if root and path.exists() else None


def radial(model: CoronagraphModel, image: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians at each radius: over azimuths more than 35 degrees from a boundary, and over all."""
    dx, dy = detector_offsets(model.coronagraph)
    u, v = to_mask_frame(dx, dy, model.coronagraph.boundary_tilt)
    r = np.hypot(u, v)
    away = np.degrees(np.arcsin(np.minimum(np.abs(u), np.abs(v)) / np.maximum(r, 1e-9))) > 35
    rings = [np.isfinite(image) & (np.abs(r - radius) < 0.08) for radius in radii]
    return np.array([np.median(image[q & away]) for q in rings]), np.array([np.median(image[q]) for q in rings])


def smoothed_like(
    model: CoronagraphModel, ours: np.ndarray, theirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Our map under the Gaussian (sigma_y, sigma_x) and scale that bring it closest to theirs within 9 arcsec."""
    c = model.coronagraph
    inner = np.isfinite(theirs) & np.isfinite(ours) & (radius_map(c.shape, c.reference_point) < 82)
    filled = np.nan_to_num(ours)

    def fitted(sigma: np.ndarray) -> tuple[np.ndarray, float]:
        image = ndimage.gaussian_filter(filled, np.abs(sigma))
        scale = float((image * theirs)[inner].sum() / (image**2)[inner].sum())
        return scale * image, scale

    best = optimize.minimize(
        lambda s: np.std((fitted(s)[0] - theirs)[inner]), [3.0, 3.0], method="Nelder-Mead", options={"maxiter": 60}
    )
    image, scale = fitted(best.x)
    residual = (image - theirs)[inner]
    log.info(
        "%s: theirs ~ %.3f x ours smoothed by sigma (y, x) = %.1f, %.1f px; residual rms %.3f, largest %.3f",
        c.filter, scale, *np.abs(best.x), residual.std(), np.abs(residual).max(),
    )  # fmt: skip
    return image, np.abs(best.x), scale


def throughput_figure(models: dict[str, CoronagraphModel]) -> None:
    """Our maps, ours smoothed minus theirs, radial curves."""
    figure, axes = plt.subplots(3, 3, figsize=(11, 9.5), layout="constrained")
    for column, name in zip(axes.T, FQPM, strict=True):
        model = models[name]
        ours, theirs = model.throughput_map(), their_map(name)
        shown = column[0].imshow(ours, origin="lower", vmin=0, vmax=1.05, cmap="cividis")
        column[0].set_title(f"{name}: this model")
        fine = np.linspace(0.2, 9.0, 100)
        away, _ = radial(model, ours, fine)
        column[2].plot(fine, away, "k", label="this model")
        if theirs is not None:
            smooth, _, _ = smoothed_like(model, ours, theirs)
            difference = column[1].imshow(smooth - theirs, origin="lower", vmin=-0.15, vmax=0.15, cmap="RdBu_r")
            column[1].set_title("smoothed, minus the other")
            column[2].plot(fine, radial(model, smooth, fine)[0], "C0", label="this model, smoothed")
            column[2].plot(fine, radial(model, theirs, fine)[0], "C1--", label="the other")
            for label, image in (("raw", ours), ("smoothed", smooth), ("other", theirs)):
                rows = radial(model, image, RADII)
                log.info("%s %-9s %s", name, label, "  ".join(f"{a:.2f}/{b:.2f}" for a, b in zip(*rows, strict=True)))
        column[2].set(xlabel="separation [arcsec]", ylim=(0, 1.1), xlim=(0, 9))
        column[2].axvline(0.82, color="0.7", lw=0.8)
        column[2].legend(loc="lower right", fontsize=8)
    axes[2, 0].set_ylabel("throughput, > 35 deg from boundaries")
    figure.colorbar(shown, ax=axes[0], label="throughput")
    figure.colorbar(difference, ax=axes[1], label="difference") if their_map(FQPM[0]) is not None else None
    figure.savefig(HERE / "optics_throughput.png", dpi=58)


def star_figure(models: dict[str, CoronagraphModel]) -> None:
    """Pupil and stops, and the image of the star behind each coronagraph, with the effective optics."""
    figure, axes = plt.subplots(1, 7, figsize=(17, 2.8), layout="constrained")
    for ax, stop in zip(axes, ("eroded", "geometric", "effective"), strict=False):
        model = CoronagraphModel.build("F1140C", OpticsParams(stop=stop))
        ax.imshow(model.pupil.amplitude + model.lyot_stop, origin="lower", cmap="Greys_r")
        ax.set_title(f"{stop} stop")
    for ax, (name, model) in zip(axes[3:], models.items(), strict=True):
        star = model.psf((0.0, 0.0), shape=(101, 101), center=(50.0, 50.0))
        free = model.off_axis_psf((5.5, 5.5), size=25)
        shown = ax.imshow(np.log10(np.maximum(star / free.max(), 1e-7)), origin="lower", vmin=-6, vmax=-2, cmap="magma")
        ax.set_title(f"{name}, star on axis")
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="log10, of the off-axis peak")
    figure.savefig(HERE / "optics_star.png", dpi=55)


def rejection_table(models: dict[str, CoronagraphModel]) -> None:
    """Print peak and total rejection of the star."""
    for name, model in models.items():
        free = model.off_axis_psf((5.5, 5.5), size=25)
        flat = Wavefront.flat(model.params.pupil_pixels)
        row = []
        for offset, wavefront in (((0, 0), flat), ((0, 0), None), ((0.01, 0.0), None), ((0.03, 0.03), None)):
            star = model.psf(offset, wavefront=wavefront)
            row.append(f"1/{free.max() / star.max():.0f}, 1/{1 / model.energy(offset, wavefront=wavefront):.0f}")
        log.info("%s (peak, total): perfect %s; realistic %s; 10 mas off %s; 42 mas off %s", name, *row)
        places = [(0.58, 0.52), (2.0, 1.0), (5.5, 5.5)]
        change = [model.energy(p) - model.energy(p, wavefront=flat) for p in places]
        log.info("%s throughput change by the wavefront at 0.78, 2.2, 7.8 arcsec: %s", name, np.round(change, 4))


def fit_figure() -> None:
    """Stops and wavefront of the fit to nine dithers, four of them predicted; data, model and residual of each.

    The fit is that of ``lyot fit-optics DITHERS --out FILE --leave-out 2,4,6,8 --star-flux 0.240,0.012`` with the
    companion of HD 106906 (``--science``, ``--companion``).
    """
    folder = Path(os.environ.get("LYOT_TEST_DATA", ".")) / "miri_hd106906_f1140c"
    dithers = sorted(folder.glob("jw01194015001_04101_*_calints.fits"))
    science = next(iter(folder.glob("jw01277019001_*_calints.fits")), None)
    if not dithers or science is None:
        log.warning("%s: no calibrated exposures; the figure of the fit is left as it is", folder)
        return
    found = fit_exposures(
        dithers, science=science, companion=(7.108, 307.43), leave_out=(2, 4, 6, 8), flux=(0.240, 0.012)
    )
    fit = found.fit
    log.info("residual inside 1.6 arcsec: fitted %.3f, predicted %.3f", fit.fitted.inner, fit.left_out.inner)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "fit.png"
        draw_fit(found, path)
        picture = Image.open(path).convert("RGB")
        picture.resize((1400, round(1400 * picture.height / picture.width)), Image.Resampling.LANCZOS).save(
            HERE / "optics_fit.webp", quality=85, method=6
        )


def main() -> None:
    """Draw all."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    HERE.mkdir(exist_ok=True)
    fit_figure()
    if sys.argv[1:] == ["--only", "fit"]:
        return
    models = {name: CoronagraphModel.build(name) for name in (*FQPM, "F2300C")}
    starlight = {name: CoronagraphModel.build(name, OpticsParams(stop="effective")) for name in models}
    throughput_figure(models)
    star_figure(starlight)
    rejection_table(starlight)
    rejection_table(models)


if __name__ == "__main__":
    main()
