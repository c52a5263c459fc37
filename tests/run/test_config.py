"""Configuration against the real specifications of the pipelines: every parameter, no unknown name."""

import re
import tomllib

import pytest

from lyot.errors import ConfigError, MissingInputError, UnknownNameError
from lyot.run.config import apply_settings, build_config, load_config, parse_setting, parse_stages, template
from lyot.run.pipelines import _refuse, check_stage, effective_parameters, step_parameters


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("stage1.jump.rejection_threshold=5", ("stage1", "jump", "rejection_threshold"), 5),
        ("stage1.jump.find_showers = true", ("stage1", "jump", "find_showers"), True),
        ("stage3.klip.method=rdi", ("stage3", "klip", "method"), "rdi"),
        ('run.filter="F1550C"', ("run", "filter"), "F1550C"),
        ("stage3.klip.zones=[1.0, 2.5]", ("stage3", "klip", "zones"), [1.0, 2.5]),
        ("stage1.jump.override_gain=/data/gain=2.fits", ("stage1", "jump", "override_gain"), "/data/gain=2.fits"),
    ],
)
def test_settings_are_written_as_in_toml(text, keys, value):
    assert parse_setting(text) == (keys, value)


@pytest.mark.parametrize("text", ["stage1.jump", "x=1", ".a=1", "a..b=1", "a.b=1\nc=2"])
def test_a_setting_that_is_none(text):
    with pytest.raises(ConfigError, match="--set"):
        parse_setting(text)


def test_later_settings_win_and_the_table_is_not_changed():
    table = {"stage1": {"jump": {"rejection_threshold": 4}}}
    result = apply_settings(table, ["stage1.jump.rejection_threshold=5", "stage1.jump.rejection_threshold=6"])
    assert result == {"stage1": {"jump": {"rejection_threshold": 6}}}
    assert table == {"stage1": {"jump": {"rejection_threshold": 4}}}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stage1.jump.rejection_treshold=5", "did you mean 'rejection_threshold'"),
        ("stage1.jmp.rejection_threshold=5", "did you mean 'jump'"),
        ("stag1.jump.rejection_threshold=5", "did you mean 'stage1'"),
        ("run.filtre=F1550C", "did you mean 'filter'"),
        ("measure.treshold=5", "did you mean 'threshold'"),
        ("stage1.save_calibrated_ramps=true", "did you mean 'save_calibrated_ramp'"),
    ],
)
def test_a_typo_is_refused_with_the_nearest_names(setting, words):
    with pytest.raises(UnknownNameError, match=re.escape(words)):
        load_config(settings=[setting])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stage1.jump.rejection_threshold=high", "[stage1.jump] rejection_threshold: expected a number"),
        ("stage1.jump.rejection_threshold=-1", "must be at least 0 sigma, got -1"),
        ("stage1.jump.flag_4_neighbors=3", "[stage1.jump] flag_4_neighbors: expected true or false"),
        ("stage1.jump=3", "jump is a step"),
        ("stage1.jump.rejection_threshold.x=3", "is a parameter, not a section"),
        ("stage1.jump.output_dir=/tmp", "is set by lyot run"),
        ("run.jobs=-1", "jobs"),
        ("run.stages=1,3", "stages"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(setting, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(settings=[setting])


def test_the_file_is_named(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("[stage1.jump]\nrejection_treshold = 5\n")
    with pytest.raises(UnknownNameError, match=r"my\.toml \[stage1\.jump\]"):
        load_config(path)
    path.write_text("[stage1.jump\n")
    with pytest.raises(ConfigError, match=r"my\.toml: not valid TOML"):
        load_config(path)
    with pytest.raises(MissingInputError, match="no such configuration file"):
        load_config(tmp_path / "none.toml")


def test_options_go_before_settings_and_settings_before_the_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('[run]\nstages = "1"\njobs = 3\n[stage1.jump]\nrejection_threshold = 6\n')
    config = load_config(path, ["run.stages=2", "stage1.jump.rejection_threshold=7"], stages="3", filter=None)
    assert (config.run.stages, config.run.jobs, config.run.filter) == ("3", 3, None)
    assert config.stages["stage1"]["steps"] == {"jump": {"rejection_threshold": 7}}


@pytest.mark.parametrize(("text", "stages"), [("1-3", (1, 2, 3)), ("2", (2,)), ("1,2", (1, 2)), ("2-3", (2, 3))])
def test_stages(text, stages):
    assert parse_stages(text) == stages


@pytest.mark.parametrize("text", ["", "0", "1-4", "1,3", "3-1", "a", "1-2-3"])
def test_stages_that_are_none(text):
    with pytest.raises(ConfigError, match="stages"):
        parse_stages(text)


def test_the_template_names_every_parameter_and_changes_nothing():
    text = template()
    assert not any(values for s in build_config(tomllib.loads(text)).stages.values() for values in s["steps"].values())
    for stage in ("stage1", "stage2", "stage3"):
        for step, parameters in step_parameters(stage).items():
            assert f"[{stage}.{step}]" in text if step else f"[{stage}]" in text
            for parameter in parameters:
                assert re.search(rf"^# {parameter.name} =", text, re.MULTILINE), (stage, step, parameter.name)


def test_the_template_s_defaults_can_be_switched_on():
    """Every default of the template, uncommented, is accepted and is the default."""
    lines = [re.sub(r"^# (\w+ = [^#\s])", r"\1", line) for line in template().splitlines()]
    switched_on = tomllib.loads("\n".join(line for line in lines if not line.startswith("#")))
    for stage in ("stage1", "stage2", "stage3"):
        given = build_config({stage: switched_on[stage]}).stages[stage]
        assert effective_parameters(stage, given) == effective_parameters(stage, {"steps": {}})


def test_unacceptable_values_are_told_with_what_is_accepted() -> None:
    with pytest.raises(
        ConfigError, match=r"\[stage1\.jump\] median_over: expected one of exposure, file, integration, got"
    ):
        build_config({"stage1": {"jump": {"median_over": "row"}}})
    with pytest.raises(ConfigError, match=r"\[stage3\.klip\] mode: expected one of lyot, official, got"):
        build_config({"stage3": {"klip": {"mode": "row"}}})


@pytest.mark.parametrize(
    ("value", "accepted"),
    [(5.5, False), ("20", False), (-3, False), (0, False), (True, False), ([5, 2.5], False), (5, True), ([5, 9], True)],
)
def test_numbers_of_modes_are_whole_and_positive(value, accepted):
    """5.5 was taken as 5, and -3 refused after an hour."""
    table = {"stage3": {"klip": {"truncate": value}}}
    if accepted:
        assert build_config(table).stages["stage3"]["steps"]["klip"]["truncate"] == value
    else:
        with pytest.raises(ConfigError, match=r"\[stage3\.klip\] truncate: must be a whole number of at least 1"):
            build_config(table)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"klip": {"truncations": [3, 0]}}, "truncations: must be at least 1, got 0."),
        ({"klip": {"sectors": 99}}, "sectors: must be between 1 and 36, got 99."),
        ({"klip": {"inner_radius": "1"}}, "inner_radius: expected a number, got '1'."),
        ({"klip": {"inner_radius": -1.0}}, "inner_radius: must be at least 0 arcsec, got -1.0."),
        ({"klip": {"quadrants": 1}}, "quadrants: expected true or false, got 1."),
        ({"klip": {"truncations": 3}}, "truncations: expected a list, got 3."),
    ],
)
def test_types_and_ranges_are_checked_before_any_work(section, sentence):
    """Elements of lists too, of which the specification of a step knows no range."""
    with pytest.raises(ConfigError, match=rf"^\[stage3\.klip\] {re.escape(sentence)}$"):
        build_config({"stage3": section})


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"truncate": 20}, "truncate belongs in [stage3.klip], not outside of all sections."),
        ({"klip": {"truncate": 20}}, "klip belongs in [stage3.klip], not outside of all sections."),
        ({"stage3": {"truncate": 20}}, "truncate belongs in [stage3.klip], not in [stage3]."),
        ({"stage3": {"combine": {"truncate": 20}}}, "truncate belongs in [stage3.klip], not in [stage3.combine]."),
        ({"run": {"rejection_threshold": 5}}, "rejection_threshold belongs in [stage1.jump], not in [run]."),
        ({"stage1": {"klip": {"truncate": 20}}}, "klip belongs in [stage3.klip], not in [stage1]."),
    ],
)
def test_a_parameter_in_the_wrong_place_is_sent_where_it_belongs(table, sentence):
    with pytest.raises(UnknownNameError, match=f"^{re.escape(sentence)}$"):
        build_config(table)


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("stage3.refine.protect=here", "refine.protect: expected auto, or separation,position angle"),
        ("stage3.locate_star.position=there", "locate_star.position: expected reference"),
    ],
)
def test_texts_that_no_step_could_read_are_refused_before_anything_is_done(setting, match):
    with pytest.raises(ConfigError, match=match):
        load_config(settings=[setting])


@pytest.mark.parametrize(
    ("stage", "step", "values", "words"),
    [
        ("stage3", "outlier_detection", {"maskpt": "a"}, "maskpt: expected a number, got 'a'."),
        ("stage3", "outlier_detection", {"rolling_window_width": 1.5}, "expected a whole number, got 1.5."),
        ("stage3", "resample", {"weight_type": "bad"}, "weight_type: expected one of ivm, exptime, got 'bad'."),
        ("stage3", "resample", {"output_shape": [1, 2, 3]}, "expected a list of 2 values, got [1, 2, 3]."),
        ("stage3", "resample", {"crpix": ["a", "b"]}, "crpix: expected a number, got 'a'."),
        ("stage3", "resample", {"in_memory": "maybe"}, "in_memory: expected true or false, got 'maybe'."),
    ],
)
def test_values_of_official_steps_are_refused_in_our_words(stage, step, values, words):
    with pytest.raises(ConfigError) as error:
        check_stage(stage, {step: values}, where="my.toml")
    assert str(error.value).startswith(f"my.toml [{stage}.{step}] ") and str(error.value).endswith(words)


def test_ranges_of_official_steps_are_said_in_our_words():
    with pytest.raises(ConfigError, match=r"^x: must be between 0 and 1, got -0\.5\.$"):
        _refuse("x", "float(min=0.0, max=1.0, default=0.5)", -0.5, "")
    with pytest.raises(ConfigError, match=r"^x: must be at least 1, got 0\.$"):
        _refuse("x", "integer(min=1, default=None)", 0, "")
    _refuse("x", "float(min=0.0, max=1.0, default=0.5)", 0.5, "")
