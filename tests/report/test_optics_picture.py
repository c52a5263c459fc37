"""The picture of a fit of the optics: panels large enough to look at, for any number of exposures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lyot.optics.stops import geometric_stop
from lyot.report.optics import draw_fit


@pytest.mark.parametrize("number", [1, 3, 4, 11])
def test_panels_are_large_for_any_number_of_exposures(number, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", _recording(drawn))
    frames = np.random.default_rng(1).normal(size=(number, 21, 21))
    optics = SimpleNamespace(stop=geometric_stop, opd=np.random.default_rng(2).normal(0, 5e-8, (64, 64)))
    fit = SimpleNamespace(background=np.zeros(number), models=frames, residuals=frames, optics=optics)
    found = SimpleNamespace(names=["x"] * number, frames=frames, left_out=(0,), fit=fit,
                            coronagraph=SimpleNamespace(filter="F1140C"))  # fmt: skip
    path = tmp_path / "fit.png"
    draw_fit(found, path)
    with Image.open(path) as image:
        assert image.size[0] <= 1700  # as wide as a screen
    images = [ax for ax in drawn[0] if ax.images and ax.images[0].get_array().shape == (21, 21)]
    assert len(images) == 3 * number
    assert min(ax.get_window_extent().width for ax in images) / ax_dpi(images[0]) > 1.7  # inches
    words = [ax.get_title() + ax.get_ylabel() for ax in images]
    assert sum("excluded" in text for text in words) == 1 and sum("residual" in text for text in words) >= 1


def ax_dpi(ax):
    return ax.get_figure(root=True).dpi


def _recording(drawn):
    from matplotlib.figure import Figure

    save = Figure.savefig

    def saved(self, *arguments, **options):
        save(self, *arguments, **options)
        drawn.append(list(self.axes))

    return saved
