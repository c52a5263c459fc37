"""The interactive image in headless Chromium and Firefox, opened from disk, with real keys and clicks."""

import base64
import shutil
import time
import urllib.parse

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits

from lyot.report import write_report
from lyot.report.marks import read_sources
from lyot.report.products import read_product
from lyot.report.viewer import Plane, _packed
from tests.browser import BROWSERS, browser, program
from tests.conftest import without_pictures

PLOT = "#viewer-canvas > div"


@pytest.fixture(scope="module")
def run(finished_once, tmp_path_factory):
    """A copy of the finished run with its report, the static pictures left out."""
    out = shutil.copytree(finished_once, tmp_path_factory.mktemp("interactive") / "out")
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        write_report(out)
    return out


@pytest.fixture(scope="module", params=BROWSERS)
def page(run, tmp_path_factory, request):
    if program(request.param) is None:
        pytest.skip(f"no {request.param.capitalize()}: the interactive image is not looked at with it")
    with browser(tmp_path_factory.mktemp(request.param), request.param) as tab:
        tab.open(run / "report" / "index.html")
        tab.wait("document.getElementById('viewer').dataset.ready === 'yes'")
        yield tab


def text(page, name):
    return page.js(f"document.getElementById('viewer-at-{name}').textContent").replace("\N{MINUS SIGN}", "-")


def shown(page):
    return page.js("document.getElementById('viewer').dataset.shown")


def test_it_opens_from_disk_without_errors_and_asks_for_nothing_else(page, run):
    assert page.errors == []
    assert set(page.requests) <= {(run / "report" / "index.html").as_uri()}  # Firefox reports none of files


def test_keys_move_a_cursor_that_reads_the_image(page, run):
    item = read_product(next(p for p in (run / "stage3").glob("*_i2d.fits") if "_roll" not in p.name))
    page.js("document.getElementById('viewer-canvas').focus()")
    page.key("ArrowRight", shift=True)
    page.key("ArrowUp")
    x, y = (round(v) for v in item.view.center)
    assert text(page, "pixel") == f"{x + 10}, {y + 1}"
    value = item.image[y + 1, x + 10]
    # half precision, and what is shown has three digits
    assert float(text(page, "value").split()[0]) == pytest.approx(value, rel=2e-3, abs=1e-3)
    scale = item.view.pixel_scale[0]
    separation, angle = text(page, "polar").replace("\N{DEGREE SIGN}", "").split(", PA ")
    assert float(separation.rstrip("\N{DOUBLE PRIME}")) == pytest.approx(np.hypot(10, 1) * scale, abs=0.01)
    assert float(angle) == pytest.approx(360 - np.degrees(np.arctan2(10, 1)), abs=0.1)  # +x is west
    ra, dec = (float(v) for v in text(page, "sky").split(", "))
    star = SkyCoord(item.header["CRVAL1"], item.header["CRVAL2"], unit="deg")
    there = SkyCoord(ra, dec, unit="deg")
    assert star.separation(there).to_value(u.arcsec) == pytest.approx(np.hypot(10, 1) * scale, abs=0.01)


def test_the_mouse_reads_the_image_too(page):
    before = text(page, "offset")
    x, y = page.center("#viewer-canvas")
    page.move(x - 40, y)
    page.move(x - 42, y)
    page.wait(f"document.getElementById('viewer-at-offset').textContent !== {before!r}", 10)
    assert text(page, "value")


def test_images_stretches_and_marks_are_chosen(page):
    assert shown(page) == "0"
    rolls = page.js(
        "[...document.querySelectorAll('#viewer-plane option')].find(o => o.textContent === 'roll 1').value"
    )
    page.choose("#viewer-plane", rolls)
    assert shown(page) == rolls
    image = (
        "(d => Array.from((d instanceof Map ? d.get('image') : d.image)[0]).filter(v => v === v))"
        "(lyotViewer.models.image.data_source.data)"
    )
    linear = page.js(image)
    assert 0 <= min(linear) < max(linear) <= 1
    for kind in ("asinh", "log"):
        page.choose("#viewer-stretch", kind)
        assert page.js(image) != linear
    page.choose("#viewer-colors", "cividis")
    assert page.js("lyotViewer.models.mapper.palette[0]").lower() in ("#00224e", "#00204c", "#00224d")
    visible = "lyotViewer.models.plot.renderers.filter(r => r.name === 'viewer-roll-0').every(r => r.visible)"
    assert page.js(visible)
    page.click("input[data-mark=roll-0]")
    assert not page.js(visible)
    page.choose("#viewer-stretch", "linear")
    page.choose("#viewer-plane", "0")


def test_limits_are_typed(page):
    page.click("#viewer-high")
    page.js("document.getElementById('viewer-high').select()")
    for key in ("1", "2", ".", "5", "Enter"):
        page.key(key)
    assert page.js("lyotViewer.state.high") == 12.5
    page.click("#viewer-auto")
    assert page.js("lyotViewer.state.high") != 12.5


def test_two_images_blink_and_swap(page):
    page.choose("#viewer-plane", "0")
    page.choose("#viewer-other", "1")
    page.click("#viewer-swap")
    assert shown(page) == "1"
    page.click("#viewer-swap")
    page.click("#viewer-blink")
    page.wait("document.getElementById('viewer').dataset.shown === '1'", 5)
    page.wait("document.getElementById('viewer').dataset.shown === '0'", 5)
    page.click("#viewer-blink")
    assert page.js("document.getElementById('viewer-blink').getAttribute('aria-pressed')") == "false"
    assert shown(page) == "0"


def test_regions_are_saved_for_ds9(page, run, tmp_path):
    page.save_downloads(tmp_path)
    page.click("#viewer-regions")
    end = time.monotonic() + 20
    # Firefox reserves the name before it writes
    while not (saved := [p for p in tmp_path.glob("*.reg") if p.stat().st_size]) and time.monotonic() < end:
        time.sleep(0.1)
    assert saved, "no file was saved"
    lines = saved[0].read_text().splitlines()
    assert lines[2] == "icrs"
    circle = next(line for line in lines if line.startswith("circle("))
    ra, dec = (float(v) for v in circle[7:].split(",")[:2])
    row = read_sources(run)[0]
    found = SkyCoord(row["ra"], row["dec"])
    assert found.separation(SkyCoord(ra, dec, unit="deg")).to_value(u.arcsec) < 0.01
    assert urllib.parse.unquote(page.js("document.getElementById('viewer-regions').href")).endswith(lines[-1] + "\n")


def test_controls_have_names_and_the_page_fits_a_narrow_window(page):
    unnamed = page.js(
        "[...document.querySelectorAll('#viewer-controls select, #viewer-controls input')]"
        ".filter(e => !e.closest('label')).length + [...document.querySelectorAll('img')].filter(e => !e.alt).length"
    )
    assert unnamed == 0
    page.size(400, 800)
    page.js("window.dispatchEvent(new Event('resize'))")
    page.wait("lyotViewer.models.plot.frame_width < 400", 10)
    plot, card = (f"document.querySelector({name!r}).getBoundingClientRect().right" for name in (PLOT, "#viewer"))
    page.wait(f"{plot} < {card}", 10)
    assert page.js("document.documentElement.scrollWidth") <= 400
    page.size(1300, 1000)
    page.wait("lyotViewer.models.plot.frame_width > 400", 10)
    assert page.js("document.documentElement.scrollWidth") <= 1300


def test_the_images_are_those_of_the_files(run):
    """Half precision keeps three digits of each pixel."""
    path = next(p for p in (run / "stage3").glob("*_i2d.fits") if "_roll" not in p.name)
    image = np.asarray(fits.getdata(path, "SCI"), dtype=float)
    packed = _packed(Plane("a", "b", image, "MJy/sr", (0.0, 1.0)))
    back = np.frombuffer(base64.b64decode(packed["data"]), "<f2").astype(float).reshape(image.shape) * packed["factor"]
    # 11 bits of half precision, and its smallest numbers
    np.testing.assert_allclose(back, image, rtol=1e-3, atol=1e-4 * packed["factor"])
