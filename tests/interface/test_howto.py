"""The how-to of the documentation, executed as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_the_how_to_runs_as_it_stands(finished_once, tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) < 15
    assert re.findall(r"^(?:import|from) (\S+)", code, re.M) == ["astropy.units", "lyot"]
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "observations").symlink_to(finished_once.parent / "data")  # in place of the demo's ramps
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert (tmp_path / "contrast.png").stat().st_size > 10_000
    row = names["planet"].fit(separation=2.5, position_angle=30)[0]
    assert abs(row["flux"].to_value("uJy") - 100) < 3 * row["flux_err"].to_value("uJy")
    assert "target STAR" in capsys.readouterr().out
    plt.close("all")
