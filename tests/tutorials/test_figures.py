"""Figures of the tutorials hold the values that they are given, in the panels where they belong."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.wcs import WCS

from lyot import dq
from lyot.report.figures import View
from lyot.tutorials import figures

VIEW = View(center=(10.0, 12.0), pixel_scale=(0.11, 0.11), pa_y=30.0)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def panels(figure) -> list:
    """Axes with an image, without those of the color bars."""
    return [ax for ax in figure.axes if ax.images]


def test_images_side_by_side_have_common_limits_and_their_difference() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(2, 20, 30))
    figure = figures.image_row({"before": before, "after": after + 5}, unit="DN", difference="change")
    one, two, three = panels(figure)
    assert [ax.get_title() for ax in (one, two, three)] == ["before", "after", "change"]
    assert one.images[0].get_clim() == two.images[0].get_clim()
    np.testing.assert_array_equal(three.images[0].get_array(), after + 5 - before)
    low, high = three.images[0].get_clim()
    assert low == -high
    own = panels(figures.image_row({"before": before, "after": after + 5}, share_limits=False))
    assert own[1].images[0].get_clim()[0] > own[0].images[0].get_clim()[0] + 4


def test_flag_maps_have_a_panel_each() -> None:
    flags = np.zeros((12, 16), np.uint32)
    flags[3, 4] = dq.HOT
    figure = figures.flag_row({"ours": flags, "official": flags}, ("HOT", "DEAD"))
    assert [ax.get_title() for ax in panels(figure)] == ["ours", "official"]


def test_ramps_are_those_of_the_pixels() -> None:
    raw = np.arange(2 * 5 * 4 * 6, dtype=float).reshape(2, 5, 4, 6)
    flags = np.zeros(raw.shape, np.uint8)
    flags[1, 3, 2, 5] = dq.JUMP_DET
    pixels = [(5, 2), (0, 1), (3, 3), (1, 0)]
    figure = figures.ramp_grid({"raw": raw, "linear": 2 * raw}, pixels, 0.24, integration=1, groupdq=flags)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(figure.axes) == 6 and len(shown) == 4  # two rows of three
    for (x, y), ax in zip(pixels, shown, strict=True):
        assert ax.get_title() == f"pixel ({x}, {y})"
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), raw[1, :, y, x])
        seconds = ax.lines[0].get_xdata()
        np.testing.assert_allclose(np.diff(seconds), 0.24)
    # the flag is marked on the last of the ramps, where it is, and in no other panel
    marks = [line for line in shown[0].lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(marks[0].get_ydata(), [2 * raw[1, 3, 2, 5]])
    assert not [line for ax in shown[1:] for line in ax.lines if line.get_linestyle() == "None"]


def test_profiles_with_a_legend() -> None:
    curves = {"JUMP_DET": ([0, 1, 2], [0, 0.25, 1]), "SATURATED": ([0, 1, 2], [0, 0, 1])}
    _, ax = plt.subplots()
    figures.draw_profile(ax, curves, xlabel="group", ylabel="part of the pixels")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0, 0.25, 1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["JUMP_DET", "SATURATED"]


def test_many_images_in_rows() -> None:
    images = np.random.default_rng(1).normal(size=(5, 20, 20))
    figure = figures.image_grid(images, list("abcde"), columns=3, view=VIEW, symmetric=True, circle=(0.5, 40.0))
    shown = panels(figure)
    assert [ax.get_title() for ax in shown] == list("abcde")
    assert all(ax.images[0].get_clim()[0] == -ax.images[0].get_clim()[1] for ax in shown)
    hidden = [ax for ax in figure.axes if not ax.get_visible()]
    assert len(hidden) == 1  # of two rows of three
    assert figure.get_supxlabel() == "offset along detector x [arcsec]"
    plain = panels(figures.image_grid(images[:1], ["a"], view=VIEW))
    assert len(shown[0].get_children()) > len(plain[0].get_children())  # the circle


def test_positions_are_drawn_where_they_were_measured() -> None:
    _, ax = plt.subplots()
    # 10 mas farther out to the north, and 1 deg at 1 arcsec to the east: 17.5 mas
    measured = [("one", 1.01, 0.0, 0.005, 0.1), ("two", 1.0, 1.0, 0.005, 0.1)]
    figures.draw_position(ax, measured, (1.0, 0.0), pixel=0.11)
    by_name = {line.get_label(): line for line in ax.lines}
    assert (by_name["one"].get_xdata()[0], by_name["one"].get_ydata()[0]) == pytest.approx((0.0, 10.0), abs=1e-9)
    assert by_name["two"].get_xdata()[0] == pytest.approx(-1e3 * np.sin(np.radians(1.0)))  # west is positive
    assert by_name["truth"].get_xdata()[0] == by_name["truth"].get_ydata()[0] == 0
    radial = ax.lines[1]  # of the first: one error of 5 mas to both sides, along north
    assert radial.get_ydata() == pytest.approx([5.0, 15.0]) and radial.get_xdata() == pytest.approx(
        [0.0, 0.0], abs=1e-9
    )
    assert np.ptp(by_name["one pixel"].get_xdata()) == pytest.approx(110.0)
    assert ax.get_xlabel() == "offset east [mas]"
    assert ax.xaxis.get_major_formatter()(20.0) == "\N{MINUS SIGN}20"  # as in all images: east is left


def test_coordinates_are_named() -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [10.0, 20.0], [-3e-5, 3e-5]
    ax = plt.figure().add_subplot(projection=wcs)
    ax.imshow(np.zeros((10, 10)))
    figures.draw_sky_grid(ax)
    assert [axis.get_axislabel() for axis in ax.coords] == ["right ascension", "declination"]
