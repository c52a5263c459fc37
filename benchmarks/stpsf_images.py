"""STPSF itself behind the adaptor: where its images lie, how bright they are, and its phase mask against ours.

STPSF's data files (pupil, Lyot stops, wavefronts, filters) cannot be redistributed. Its code runs on any files of the
same layout, so that this script writes likenesses of them, drawn with this package's own pupil. The images are not
those of the instrument, but conventions of position, sampling, and normalization are STPSF's, and its propagation
through a phase mask is independent of ours.

    pip install stpsf
    python benchmarks/stpsf_images.py --data FOLDER [--out benchmarks/results/stpsf_images.json]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage

from lyot.instrument import coronagraph, nircam_coronagraph
from lyot.optics import CoronagraphModel, OpticsParams, stpsf_adaptor
from lyot.optics.pupil import CIRCUMSCRIBED_DIAMETER, GRID_DIAMETER, jwst_pupil, lyot_stop

FloatArray = NDArray[np.float64]

SAMPLES = 1024
BANDS = {
    "NIRCam": {"F200W": (1.989, 0.461), "F210M": (2.093, 0.205), "F335M": (3.365, 0.347), "F444W": (4.421, 1.024)},
    "MIRI": {"F560W": (5.6, 1.2), "F1065C": (10.575, 0.75), "F1140C": (11.30, 0.8), "F1550C": (15.50, 0.9)},
}
"""Center and width, micron."""

SIZE = 61

PISTON = 1e-12
"""m; STPSF takes a wavefront of exactly zero for an opaque pupil."""


def write_data(folder: Path) -> None:
    """Write files of the names and layout that STPSF reads."""
    if (folder / "version.txt").is_file():
        return
    wide = jwst_pupil(SAMPLES)
    # from our grid to one that is just as wide as the pupil
    scale = CIRCUMSCRIBED_DIAMETER / GRID_DIAMETER
    at = (np.arange(SAMPLES) - (SAMPLES - 1) / 2) * scale + (SAMPLES - 1) / 2
    grid = np.array(np.meshgrid(at, at, indexing="ij"))

    def resampled(image: FloatArray, order: int = 1) -> FloatArray:
        return np.asarray(ndimage.map_coordinates(image, grid, order=order, mode="constant"), dtype=np.float64)

    pupil = resampled(wide.amplitude)
    segment = np.where(pupil > 0.5, resampled(wide.segment.astype(float), order=0), 0)
    header = fits.Header({"PUPLSCAL": CIRCUMSCRIBED_DIAMETER / SAMPLES, "VERSION": "likeness"})

    def image(name: str, data: FloatArray, **more: Any) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.PrimaryHDU(data.astype(np.float32), fits.Header({**header, **more})).writeto(path, overwrite=True)

    image("jwst_pupil_RevW_npix1024.fits.gz", pupil)
    image("JWpupil_segments_RevW_npix1024.fits", segment)
    image("JWST_OTE_OPD_cycle1_example_2022-07-30.fits", np.full(pupil.shape, PISTON), BUNIT="meter")
    image("tricontagon.fits.gz", np.ones_like(pupil))
    image("tricontagon_oversized_4pct.fits.gz", np.ones_like(pupil))
    image("MIRI/optics/MIRI_tricontagon_oversized_rotated.fits.gz", np.ones_like(pupil))
    image("MIRI/optics/MIRI_FQPMLyotStop.fits.gz", resampled(lyot_stop(SAMPLES, transmission=0.62)))
    image("MIRI/optics/MIRI_LyotLyotStop.fits.gz", resampled(lyot_stop(SAMPLES, transmission=0.72)))
    image("NIRCam/optics/NIRCam_Lyot_Somb.fits.gz", resampled(lyot_stop(SAMPLES, transmission=0.30)))
    rows = [
        {"instrument": name, "field_point_name": f"{k}", "V2": v2, "V3": v3, "Zernike_1": PISTON}
        | {f"Zernike_{i}": 0.0 for i in range(2, 37)}
        for name in ("MIRI", "NIRCamLWA", "NIRCamLWB", "NIRCamSWA", "NIRCamSWB")
        for k, (v2, v3) in enumerate((x, y) for x in (-20.0, 0.0, 20.0) for y in (-20.0, 0.0, 20.0))
    ]
    for name in ("si_zernikes_isim_cv3.fits", "si_zernikes_coron_wfe.fits"):
        Table(rows).write(folder / name, overwrite=True)
    for instrument, bands in BANDS.items():
        (folder / instrument / "OPD").mkdir(parents=True, exist_ok=True)
        (folder / instrument / "filters").mkdir(parents=True, exist_ok=True)
        text = "filter\tnlambda\n" + "".join(f"{name}\t9\n" for name in bands)
        (folder / instrument / "filters.tsv").write_text(text)
        for name, (center, width) in bands.items():
            wave = np.linspace(center - 0.6 * width, center + 0.6 * width, 241)
            inside = (np.abs(wave - center) <= width / 2).astype(float)
            table = fits.BinTableHDU(Table({"WAVELENGTH": wave * 1e4, "THROUGHPUT": inside}))
            table.header["WAVEUNIT"] = "angstrom"
            table.writeto(folder / instrument / "filters" / f"{name}_throughput.fits", overwrite=True)
    (folder / "version.txt").write_text("2.1.0\n")


def nircam(filter_name: str, mask: str, module: str, *, check_padding: bool) -> dict[str, Any]:
    """Position and light of the adaptor's images against STPSF's own at the same place."""
    scale = 0.0629 if filter_name > "F25" else 0.0307
    c = nircam_coronagraph(filter_name, mask, (scale, scale))
    assert c is not None
    start = time.monotonic()
    imager = stpsf_adaptor.StpsfImager(c, size=SIZE, module=module)
    found: dict[str, Any] = {"filter": filter_name, "mask": mask, "detector": imager._instrument.detector}
    found["seconds_to_set_up"] = round(time.monotonic() - start, 1)
    found["all_images_moved_by_px"] = [round(v / stpsf_adaptor.OVERSAMPLE, 3) for v in imager._shift]
    step = scale / stpsf_adaptor.OVERSAMPLE
    shift, seconds, rows = imager._shift, [], []
    for r, angle in ((0.5, 20.0), (0.72, 110.0), (1.15, 245.0), (3.0, 145.0)):
        offset = (r * np.cos(np.radians(angle)), r * np.sin(np.radians(angle)))
        size = 2 * (int(np.ceil(r / scale)) + 2) + SIZE
        start = time.monotonic()
        direct = imager._computed(offset, masked=True, size=size)
        seconds.append(time.monotonic() - start)
        # the same brought to the middle: from where the source is put, and what all images are moved by
        by = (-offset[1] / step - shift[1], -offset[0] / step - shift[0])
        n, cut = SIZE * stpsf_adaptor.OVERSAMPLE, (size - SIZE) * stpsf_adaptor.OVERSAMPLE // 2
        direct = ndimage.shift(direct, by, order=3)[cut : cut + n, cut : cut + n]
        direct = direct.reshape(SIZE, stpsf_adaptor.OVERSAMPLE, SIZE, stpsf_adaptor.OVERSAMPLE).sum(axis=(1, 3))
        rows.append(compared(imager(offset), direct / imager._light, offset))
        print(filter_name, mask, rows[-1], flush=True)
    found["seconds_per_image"] = round(float(np.median(seconds)), 1)
    found["interpolated_against_computed"] = rows
    if check_padding:
        offset = (0.6, 0.0)
        images = {}
        for padding in (stpsf_adaptor.FFT_OVERSAMPLE, 4):
            stpsf_adaptor.FFT_OVERSAMPLE, before = padding, stpsf_adaptor.FFT_OVERSAMPLE
            start = time.monotonic()
            images[padding] = imager._computed(offset, masked=True)
            seconds_of = time.monotonic() - start
            stpsf_adaptor.FFT_OVERSAMPLE = before
            found[f"seconds_with_padding_{padding}"] = round(seconds_of, 1)
        coarse, fine = images.values()
        found["padding"] = {
            "light_ratio": float(coarse.sum() / fine.sum()),
            "worst_sample_of_peak": float(np.abs(coarse - fine).max() / fine.max()),
        }
    return found


def compared(ours: FloatArray, theirs: FloatArray, offset: tuple[float, float]) -> dict[str, Any]:
    """Differences of two images of the same source; position by a fit of shift and flux."""
    gradient = np.gradient(theirs)
    design = np.stack([theirs.ravel(), -gradient[1].ravel(), -gradient[0].ravel()], axis=1)
    flux, x, y = np.linalg.lstsq(design, ours.ravel(), rcond=None)[0]
    return {
        "offset_arcsec": [round(float(v), 3) for v in offset],
        "light": round(float(theirs.sum()), 4),
        "light_ratio": round(float(ours.sum() / theirs.sum()), 4),
        "flux_ratio": round(float(flux), 4),
        "displaced_px": [round(float(x / flux), 3), round(float(y / flux), 3)],
        "worst_pixel_of_peak": round(float(np.abs(ours - theirs).max() / theirs.max()), 4),
    }


def miri(filter_name: str) -> dict[str, Any]:
    """Light and images behind the phase mask: STPSF's propagation against ours, with the same pupil and stop."""
    c = coronagraph(filter_name)
    instrument = stpsf_adaptor.stpsf_instrument(filter_name)
    instrument.include_si_wfe = False  # its pick-off mirror shades a part of the pupil
    instrument.options.update(pupil_shift_x=0.0, pupil_shift_y=0.0, jitter=None)
    params = OpticsParams(
        stop="eroded", shear_x=0.0, shear_y=0.0, wavefront_rms=0.0, charge_diffusion=0.0, n_wavelengths=5,
        spectral_index=0.0,
    )  # fmt: skip
    model = CoronagraphModel.build(filter_name, params)
    rows = []
    for offset in ((0.0, 0.0), (0.25, 0.25), (0.6, 0.4), (0.8, 0.05), (1.5, -1.2), (-3.0, 2.5)):
        theirs = stpsf_adaptor.stpsf_psf(filter_name, offset, size=SIZE, n_wavelengths=5, instrument=instrument)
        middle = (SIZE - 1) / 2
        ours = model.psf(offset, shape=(SIZE, SIZE), center=(middle, middle))
        rows.append(compared(ours, theirs, offset))
        print(filter_name, rows[-1], flush=True)
    return {
        "filter": filter_name,
        "boundary_tilt_deg": c.boundary_tilt,
        "rotation_stpsf_deg": instrument._rotation,
        "rows": rows,
    }


def main() -> None:
    """Write the data, take the images, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder for the likenesses of STPSF's data files")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    write_data(args.data)
    os.environ["STPSF_PATH"] = str(args.data.resolve())
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import stpsf

    found: dict[str, Any] = {"what": "STPSF's code on likenesses of its data files", "stpsf": stpsf.__version__}
    found["miri"] = [miri("F1140C"), miri("F1550C")]
    found["nircam"] = [
        nircam("F444W", "MASKA335R", "A", check_padding=True),
        nircam("F210M", "MASKA210R", "A", check_padding=False),
    ]
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
