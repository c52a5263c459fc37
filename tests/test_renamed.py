"""Parameters under former names: they work wherever a parameter is given, and each use says what to write."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lyot.cli import build_app
from lyot.errors import ConfigError, LyotWarning, RenamedWarning
from lyot.params import describe
from lyot.renamed import RENAMED, Renamed, current_names
from lyot.run.config import (
    OWN,
    build_config,
    config_of_run,
    keep_section,
    load_config,
    read_toml,
    report_changes,
    with_kept_report,
    with_kept_star,
)
from lyot.run.pipelines import STAGE_NAMES, step_parameters

EACH = pytest.mark.parametrize("renamed", RENAMED, ids=lambda r: f"{r.section}.{r.former}")


def _value(renamed):
    """A value that the parameter takes and that is not its default."""
    info = next(i for i in describe(OWN[renamed.section]) if i.name == renamed.name)
    assert info.kind == "integer", "give a value for this kind of parameter"
    return int(info.default) + 1


def _of(config, renamed):
    return getattr(getattr(config, renamed.section), renamed.name)


@EACH
def test_a_former_name_is_none_of_today_and_leads_to_one(renamed):
    names = {section: {info.name for info in describe(cls)} for section, cls in OWN.items()}
    for stage in STAGE_NAMES:
        names |= {f"{stage}.{step}": {p.name for p in ps} for step, ps in step_parameters(stage).items()}
    assert renamed.name in names[renamed.section]
    assert renamed.former not in names[renamed.section]


@EACH
def test_a_former_name_in_a_file_a_setting_and_a_mapping(renamed, tmp_path):
    value, section = _value(renamed), renamed.section
    path = tmp_path / "mine.toml"
    path.write_text(f"[{section}]\n{renamed.former} = {value}\n", encoding="utf-8")
    said = f"{renamed.former} is now called {renamed.name}"
    for read in (
        lambda: load_config(path),
        lambda: load_config(settings=[f"{section}.{renamed.former}={value}"]),
        lambda: load_config(sections={section: {renamed.former: value}}),
        lambda: build_config({section: {renamed.former: value}}),
    ):
        with pytest.warns(DeprecationWarning, match=said) as caught:
            config = read()
        assert len(caught) == 1 and issubclass(caught[0].category, LyotWarning)
        assert _of(config, renamed) == value and renamed.former not in config.given[section]


@EACH
@pytest.mark.filterwarnings("ignore::lyot.errors.RenamedWarning")
def test_a_setting_overrides_the_former_name_in_a_file(renamed, tmp_path):
    value, section = _value(renamed), renamed.section
    path = tmp_path / "mine.toml"
    path.write_text(f"[{section}]\n{renamed.former} = {value}\n", encoding="utf-8")
    for name in (renamed.name, renamed.former):
        assert _of(load_config(path, [f"{section}.{name}={value + 1}"]), renamed) == value + 1
    assert _of(load_config(path, sections={section: {renamed.name: value + 1}}), renamed) == value + 1


@EACH
def test_the_folder_of_an_earlier_run_is_read_and_written_with_names_of_today(renamed, tmp_path):
    value, path = _value(renamed), tmp_path / "lyot.toml"
    text = f"# kept\n\n[star]\nflux = 0.1\n\n[report]\n\n[{renamed.section}]\n{renamed.former} = {value}\n"
    path.write_text(text, encoding="utf-8")
    with pytest.warns(RenamedWarning, match="lyot.toml") as caught:
        assert _of(config_of_run(tmp_path), renamed) == value
    assert len(caught) == 1
    with pytest.warns(RenamedWarning):
        config, _ = with_kept_star(build_config({}), tmp_path)
        with_kept_report(config, tmp_path)
        assert not report_changes(config, tmp_path)
        assert config.star.flux == 0.1
        keep_section(tmp_path, "star", build_config({"star": {"flux": 0.2}}).star)
    assert read_toml(path)[renamed.section] == {renamed.name: value}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config_of_run(tmp_path)


def test_the_option_of_a_former_name_works_hidden(tmp_path, monkeypatch):
    seen = {}

    def taken(out, sections):
        seen.update(sections)
        raise ConfigError("enough")

    monkeypatch.setattr("lyot.run.config.config_of_run", taken)
    app = build_app(only="detect")
    shown = CliRunner().invoke(app, ["detect", "--help"]).stdout
    assert "--map-max-sources" in shown and "--map-most" not in shown
    with pytest.warns(RenamedWarning, match=r"--map-most is now called --map-max-sources"):
        CliRunner().invoke(app, ["detect", str(tmp_path), "--map-most", "7"])
    assert seen["maps"] == {"max_sources": 7}
    seen.clear()
    result = CliRunner().invoke(app, ["detect", str(tmp_path), "--map-most", "7", "--map-max-sources", "8"])
    assert not seen and "give --map-max-sources only" in str(result.exception)


def test_both_names_are_refused():
    with pytest.raises(ConfigError, match=r"mine.toml: \[maps\]: most and max_sources are the same.*max_sources only"):
        current_names({"maps": {"most": 1, "max_sources": 2}}, where="mine.toml")


def test_a_renamed_parameter_of_a_step(monkeypatch):
    monkeypatch.setattr("lyot.renamed.RENAMED", (Renamed("stage3.klip", "cut", "truncate", until="9"),))
    with pytest.warns(RenamedWarning, match=r"\[stage3.klip\] cut is now called truncate.* until version 9\."):
        config = load_config(settings=["stage3.klip.cut=4"])
    assert config.stages["stage3"]["steps"]["klip"]["truncate"] == 4


TABLES = st.recursive(st.integers() | st.text(), lambda t: st.dictionaries(st.sampled_from(["maps", "run", "x"]), t))


@given(TABLES.filter(lambda t: isinstance(t, dict)))
def test_other_tables_stay_as_they_are(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert current_names(table) == table
