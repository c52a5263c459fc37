"""What becomes of faults in the data: they are put into the calints of the demo, which are then reduced by `lyot run`.

    make demo && python benchmarks/faults.py --demo demo --work DIR [--only NAME ...]

Each case is a folder of files that differ from the demo's in one thing (all nine references, second pass left out). Of
its reduction: the planet's S/N and fitted flux relative to the case without a fault, the sources beside it, the level
of the star-subtracted image 3 to 8 arcsec from the star, and what was said. A case takes 15 s on one core.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from stdatamodels.jwst import datamodels

from lyot.analysis.combined_image import read_detections
from lyot.errors import LyotError
from lyot.exposures.headers import star_pixel
from lyot.exposures.names import COMPANIONS, DETECTIONS
from lyot.geometry import radius_map, scale_of_matrix, sky_offset
from lyot.run.config import build_config
from lyot.run.execute import run
from lyot.simulator.truth import read_truth

RESULTS = Path(__file__).parent / "results" / "faults.json"
SETTINGS = {"run": {"stages": "3"}, "stage3": {"refine": {"skip": True}}, "contrast": {"measure": False}}
NEAR = 0.15
SKY = 19.0
"""Background of the files that hold theirs, MJy/sr: the median of that of archival F1140C and F1550C exposures."""
Edit = Callable[[Any], None]


def copied(path: Path, folder: Path, edit: Edit | None = None, *, name: str = "", **header: Any) -> Path:
    """A copy of calints as the archive has them, without Lyot's own extensions, changed by `edit`."""
    target = folder / (name or path.name)
    with datamodels.open(path) as model:
        for own in ("BACKGROUND", "BACKGROUND_ERR"):
            model.instance.get("extra_fits", {}).pop(own, None)
        if edit is not None:
            edit(model)
        model.save(str(target))
    if header:
        with fits.open(target, mode="update") as hdus:
            hdus[0].header.update(header)
    return target


class Cases:
    """The folders; each method fills one."""

    def __init__(self, demo: Path) -> None:
        folder = demo / "reduction" / "stage2"
        self.science = sorted(folder.glob("jw0138600[89]*_calints.fits"))
        self.references = sorted(folder.glob("jw01386007*_calints.fits"))
        if len(self.science) != 2 or not self.references:
            raise SystemExit(f"{folder}: no calints of the demo; run make demo first, and give its folder with --demo.")

    def plain(self, folder: Path, edit: Edit | None = None) -> None:
        """All calints; `edit` changes the science exposures."""
        for path in self.references:
            copied(path, folder)
        for path in self.science:
            copied(path, folder, edit)

    def no_fault(self, folder: Path) -> None:
        """Nothing is changed."""
        self.plain(folder)

    def integration_without_star(self, folder: Path) -> None:
        """One integration of each roll is noise."""
        rng = np.random.default_rng(5)

        def edit(model: Any) -> None:
            model.data[1] = rng.normal(0.0, float(np.nanmedian(model.err)), model.data[1].shape)

        self.plain(folder, edit)

    def flagged_integrations(self, folder: Path) -> None:
        """Of two integrations of each roll 70 % of the pixels are flagged."""
        rng = np.random.default_rng(6)

        def edit(model: Any) -> None:
            for k in (1, 3):
                bad = rng.uniform(size=model.data[k].shape) < 0.7
                model.data[k][bad] = np.nan
                model.dq[k][bad] |= 1

        self.plain(folder, edit)

    def hot_pixels(self, folder: Path) -> None:
        """Three pixels of 300 MJy/sr that no flag names, one integration each."""

        def edit(model: Any) -> None:
            x, y = int(model.meta.wcsinfo.crpix1), int(model.meta.wcsinfo.crpix2)
            for k, (dy, dx) in enumerate(((5, -7), (-7, 11), (15, 5))):
                model.data[k % len(model.data), y + dy, x + dx] += 300.0

        self.plain(folder, edit)

    def without_asdf(self, folder: Path) -> None:
        """No file has its ASDF extension."""
        self.plain(folder)
        for path in folder.glob("*.fits"):
            with fits.open(path, mode="update") as hdus:
                del hdus["ASDF"]

    def linked_and_compressed(self, folder: Path) -> None:
        """The references in a linked folder, the science as .fits.gz."""
        elsewhere = folder.parent / f"{folder.name}_elsewhere"
        shutil.rmtree(elsewhere, ignore_errors=True)
        elsewhere.mkdir()
        self.plain(elsewhere)
        for path in self.science:
            with gzip.open(folder / f"{path.name}.gz", "wb", compresslevel=1) as stream:
                stream.write((elsewhere / path.name).read_bytes())
            (elsewhere / path.name).unlink()
        (folder / "references").symlink_to(elsewhere.absolute())

    def guide_star_and_damaged(self, folder: Path) -> None:
        """A guide-star file, a truncated file and a text named .fits beside the others."""
        self.plain(folder)
        header = fits.Header([("TELESCOP", "JWST"), ("INSTRUME", "FGS"), ("EXP_TYPE", "FGS_ACQ1")])
        fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(np.zeros((8, 8)), name="SCI")]).writeto(
            folder / "jw01386008001_gs-acq1_2022199180000_cal.fits"
        )
        whole = self.science[0].read_bytes()
        damaged = self.science[0].name.replace("04101_00001", "04101_00002")
        (folder / damaged).write_bytes(whole[: len(whole) // 3])
        (folder / "notes.fits").write_text("not a FITS file\n", encoding="utf-8")

    def holding_background(self, folder: Path) -> None:
        """The references hold their background and do not say so; background calints lie beside."""
        self._background(folder, references=True, science=False)

    def all_holding_background(self, folder: Path) -> None:
        """All hold their background."""
        self._background(folder, references=True, science=True)

    def _background(self, folder: Path, *, references: bool, science: bool) -> None:
        image = fits.getdata(self.science[0], "BACKGROUND").astype(float)
        image = np.where(np.isfinite(image), image, np.nanmedian(image))
        image += SKY - np.median(image)
        rng = np.random.default_rng(1)

        def add(model: Any) -> None:
            model.meta.cal_step.bkg_subtract = None
            model.data = (model.data + image).astype(np.float32)

        def replace(model: Any) -> None:
            model.meta.cal_step.bkg_subtract = None
            error = np.nan_to_num(model.err)
            model.data = (image + error * rng.standard_normal(error.shape)).astype(np.float32)

        for paths, holds in ((self.references, references), (self.science, science)):
            for path in paths:
                copied(path, folder, add if holds else None)
        for star, path, observation in (
            ("HIP-68245", self.references[0], "031"),
            ("HIP-65426", self.science[0], "030"),
        ):
            for k in (1, 2):
                name = f"jw01386{observation}001_02101_0000{k}_mirimage_calints.fits"
                copied(path, folder, replace, name=name, TARGPROP=f"{star}-BACKGROUND", IS_PSF=False, BKGDTARG=True,
                       OBSERVTN=observation, FILENAME=name)  # fmt: skip

    def one_reference(self, folder: Path) -> None:
        """One roll and one reference exposure."""
        copied(self.references[0], folder)
        copied(self.science[0], folder)


CASES = [name for name in vars(Cases) if not name.startswith("_") and name != "plain"]


def outcome(out: Path, notes: tuple[str, ...], planet: dict[str, Any]) -> dict[str, Any]:
    """The planet, what else was found, the level far from the star, and what was said."""
    true = np.array(sky_offset(planet["separation_arcsec"], planet["position_angle_deg"]))

    def away(row: Any) -> float:
        return float(np.hypot(*(sky_offset(float(row["separation"]), float(row["position_angle"])) - true)))

    found = list(read_detections(out / "measure" / DETECTIONS))
    near = [row for row in found if away(row) < NEAR]
    fitted = [r for r in Table.read(out / "measure" / COMPANIONS, format="ascii.ecsv") if away(r) < NEAR]
    (i2d,) = (p for p in (out / "stage3").glob("*_i2d.fits") if "_roll" not in p.name)
    with fits.open(i2d) as hdus:
        image, header = hdus["SCI"].data, hdus["SCI"].header
        center = star_pixel(hdus[0].header, header)
    matrix = [[header.get(f"PC{i}_{j}", float(i == j)) * header[f"CDELT{i}"] for j in (1, 2)] for i in (1, 2)]
    radius = radius_map(image.shape, center) * scale_of_matrix(matrix)[0]
    field = image[(radius > 3) & (radius < 8) & np.isfinite(image)]
    quality = [json.loads(p.read_text(encoding="utf-8")) for p in (out / "stage3").glob("*_quality.json")]
    return {
        "snr": round(float(near[0]["snr"]), 1) if near else None,
        "flux_uJy": round(1e6 * float(fitted[0]["flux"]), 1) if fitted else None,
        "other_sources": len(found) - len(near),
        "level_MJy_sr": round(float(np.median(field)), 3),
        "said": [*notes, *(str(w["text"] if isinstance(w, dict) else w) for q in quality for w in q["warnings"])],
    }


def main() -> None:
    """Reduce all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of the demo")
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs and products, 50 MB each")
    parser.add_argument("--only", nargs="+", choices=CASES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    cases = Cases(options.demo)
    planet = read_truth(options.demo / "observations")["sky"]["companions"][0]
    record = json.loads(options.out.read_text(encoding="utf-8")) if options.only and options.out.is_file() else {}
    for name in options.only or CASES:
        folder = options.work / name
        for old in (folder, options.work / f"{name}_out"):
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True)
        getattr(cases, name)(folder)
        try:
            result = run([folder], options.work / f"{name}_out", build_config(SETTINGS), inline=True)
            record[name] = outcome(result.out, tuple(result.plan.notes), planet)
        except LyotError as error:
            record[name] = {"refused": str(error)}
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(record[name]), flush=True)


if __name__ == "__main__":
    main()
