"""What an installed lyot must be able to do, whatever file it was installed from; `.ci/smoke_test` runs this.

Usage: ``python smoke_checks.py NAME`` in the environment, with the name of the wheel or sdist; LYOT_SOURCE is the
package in the checkout.
"""

import doctest
import os
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from stpipe.entry_points import get_steps

import lyot
import lyot.interface.arrays
from lyot.optics import CoronagraphModel, OpticsParams
from lyot.report import write_report
from lyot.simulator import load_scene


def files(package: Path) -> set[Path]:
    """Files of a package, without what Python and numba keep there."""
    return {p.relative_to(package) for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


installed = Path(lyot.__file__).parent
assert installed.is_relative_to(sys.prefix), f"{installed} is used, which is not in {sys.prefix}"
assert sys.argv[1].split("-")[1].removesuffix(".tar.gz") == lyot.__version__, (sys.argv[1], lyot.__version__)
differ = files(installed) ^ files(Path(os.environ["LYOT_SOURCE"]))
assert not differ, f"only in the checkout, or only installed: {sorted(map(str, differ))}"

# the subtraction of a star on arrays
found = doctest.testmod(lyot.interface.arrays, optionflags=doctest.NORMALIZE_WHITESPACE)
assert found.attempted and not found.failed, found

# stpipe finds the steps; scenes and the measured optics are there
assert any(step.class_name.startswith("lyot.") for step in get_steps())
assert len(load_scene("two_planets").companions) == 2
energy = {}
for stop in ("effective", "geometric"):
    optics = OpticsParams(pupil_pixels=64, n_wavelengths=1, wavefront_rms=0.0, stop=stop)
    energy[stop] = CoronagraphModel.build("F1140C", optics).energy((1.0, 1.0))
assert all(0.5 < e < 1.5 for e in energy.values()) and energy["effective"] != energy["geometric"], energy

# a page with its style, the viewer and its script
(Path("run") / "stage3").mkdir(parents=True)
(Path("run") / "manifest.jsonl").touch()
wcs = WCS(naxis=2)
wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (10.0, 10.0)
wcs.wcs.crpix, wcs.wcs.cdelt = (20.5, 20.5), (-3e-5, 3e-5)
image = np.random.default_rng(1).normal(size=(40, 40))
hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, wcs.to_header(), name="SCI")])
hdus.writeto(Path("run") / "stage3" / "star_i2d.fits")
page = write_report("run").read_text(encoding="utf-8")
for name in ("viewer.js", "page.css"):
    assert (installed / "report" / name).read_text(encoding="utf-8").strip() in page, f"{name} is not in the page"
