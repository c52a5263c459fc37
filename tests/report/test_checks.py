"""Figures of the steps show what the files say."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lyot.report.checks import glow_picture


def test_glow_sticks_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "stage2").mkdir()
    for name, shift in (("a", 0.0), ("b", 1.0)):
        strips = [{"name": "left", "before": [2.0 + shift, 0.1], "after": [0.25 + shift, 0.2]}]
        content = {"unit": "DN/s", "glow_sticks": strips}
        (tmp_path / "stage2" / f"{name}_background.json").write_text(json.dumps(content))
    picture = glow_picture(tmp_path)
    assert picture is not None and picture.table is not None
    (ax,) = picture.figure.axes
    drawn = {c.get_label(): c.lines[0].get_ydata() for c in ax.containers}
    np.testing.assert_array_equal(drawn["left, before"], [2.0, 3.0])
    np.testing.assert_array_equal(drawn["left, after"], [0.25, 1.25])
    bars = {c.get_label(): c.lines[2][0].get_segments() for c in ax.containers}
    np.testing.assert_allclose([np.ptp(s[:, 1]) for s in bars["left, after"]], [0.4, 0.4])
    np.testing.assert_array_equal(picture.table["after"], [0.25, 1.25])
    assert all(picture.table[c].description for c in picture.table.colnames)
    assert str(picture.table["after"].unit) == "DN / s"
    assert glow_picture(tmp_path / "nothing") is None
    plt.close("all")
