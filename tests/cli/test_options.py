"""Options that are generated from parameters: each is there, and each changes the configuration."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import lyot
from lyot.cli import build_app, options
from lyot.cli.companion import COMMANDS as COMPANION
from lyot.cli.contrast import COMMANDS as CONTRAST
from lyot.cli.demo import COMMANDS as DEMO
from lyot.cli.detect import COMMANDS as DETECT
from lyot.cli.disk import COMMANDS as DISK
from lyot.cli.fit_optics import COMMANDS as FIT_OPTICS
from lyot.cli.report import COMMANDS as REPORT
from lyot.cli.run import COMMANDS as RUN
from lyot.cli.simulate import COMMANDS as SIMULATE
from lyot.errors import ConfigError
from lyot.optics.fitting import OpticsFitParams
from lyot.params import describe, from_mapping
from lyot.run.config import MEASURING, build_config, config_of_run, load_config
from lyot.simulator.params import SequenceParams
from lyot.simulator.plan import SIZES
from lyot.simulator.sequence import simulate_sequence

COMMANDS = {
    **CONTRAST, **DETECT, **COMPANION, **DISK, **FIT_OPTICS, **REPORT, **SIMULATE, **DEMO, "run": RUN["run"],
}  # fmt: skip
ARGUMENTS = {"disk": ["x", "y"], "run": ["x", "--out", "y"], "demo": []}
"""Arguments of a command, where they are not one path."""

GROUPS = [(name, group) for name, command in COMMANDS.items() for group in command.groups]
CASES = [(name, group, info) for name, group in GROUPS for info in group.infos()]


ALONE = {"optics": OpticsFitParams, "sequence": SequenceParams}
"""Sections of commands of their own, which are in no configuration file."""

EXAMPLES = {
    "stages": "2",
    "center": "3,4",
    "fit": "radius",
    "epochs": "2015.4,7.1,0.03,307.3,0.2",
    "date": "2024-01-20",
}
"""Texts that are checked."""

PARTNERS = {
    "masses": {"star": {"distance": 40.0}},
    "bandpass": {"star": {"sed": "some"}},
    "epochs": {"astrometry": {"pm_ra": 300.0, "pm_dec": -200.0, "parallax": 25.0}},
    "k_magnitude": {"star": {"spectral_type": "F5V"}},
    "spectral_type": {"star": {"k_magnitude": 6.0}},
}
"""What a parameter needs to be accepted: sections with the others that belong to it."""


def another(info):
    """A value that is allowed and is not the default, as text of the command line and as it arrives."""
    if info.kind == "boolean":
        return [], not info.default
    if info.choices:
        value = next(c for c in info.choices if c != info.default)
    elif info.kind.startswith("string"):
        value = EXAMPLES.get(info.name, "some")
    else:
        value = (info.default or info.min or 1) * 1.5 + 1
        value = min(value, info.max) if info.max is not None else value
        value = int(value) if info.kind.startswith("int") else float(value)
    return [str(value)], [value] if info.kind.endswith("_list") else value


def given(name, *arguments):
    """The sections that a command gets; its body is replaced."""
    caught = {}

    @functools.wraps(COMMANDS[name])
    def body(*args, sections, **values):
        caught.update(sections)

    app = typer.Typer(rich_markup_mode=None)
    app.command()(options.with_options(body))
    result = CliRunner().invoke(app, [*ARGUMENTS.get(name, ["x"]), *arguments])
    assert result.exit_code == 0, result.output
    return caught


@pytest.mark.parametrize(("name", "group", "info"), CASES, ids=lambda v: getattr(v, "section", getattr(v, "name", v)))
def test_every_option_changes_its_section(name, group, info):
    text, value = another(info)
    flag = group.flags(info)[0]
    if info.kind == "boolean":
        flag = flag.split("/")[0 if value else 1]
    sections = given(name, flag, *text)
    assert sections[group.section] == {info.name: value}
    after, before = (getattr(c, info.name) for c in configured(group.section, info.name, value))
    assert after == (tuple(value) if info.kind.endswith("_list") else value) != before


def configured(section, name, value):
    """A section of the configuration with and without one parameter."""
    if section in ALONE:
        return from_mapping(ALONE[section], {name: value}), ALONE[section]()
    assert section in {"run", "measure", *MEASURING}
    plain = PARTNERS.get(name, {})
    before = {} if name in ("k_magnitude", "spectral_type") else plain  # neither is accepted without the other
    after = {**plain, section: {**plain.get(section, {}), name: value}}
    return tuple(getattr(build_config(table), section) for table in (after, before))


def test_every_command_with_generated_options_is_tested():
    app = build_app(all_options=False)
    names = {c.name: getattr(c.callback, "groups", ()) for c in app.registered_commands}
    assert {name for name, groups in names.items() if groups} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_to_the_letter(name):
    result = CliRunner().invoke(build_app(), [name, "--help"], terminal_width=400)
    text = " ".join(result.output.split())
    for group in COMMANDS[name].groups:
        for info in group.infos():
            assert group.flags(info)[0].split("/")[0] in text
            assert " ".join(options.help_text(info).split()) in text


def test_square_brackets_are_not_eaten():
    text = " ".join(CliRunner().invoke(build_app(), ["contrast", "--help"], terminal_width=400).output.split())
    assert "columns age [Myr], mass [MJup]" in text


def test_nothing_given_changes_nothing():
    assert all(not values for name in COMMANDS for values in given(name).values())


def test_maps_are_made_when_asked_for():
    """The option was never read once."""
    sections = given("run", "--maps")
    assert load_config(None, sections=sections).maps.measure is True
    assert load_config(None, sections=given("run", "--no-maps")).maps.measure is False
    assert load_config(None, sections=given("run", "--contrast")).contrast.measure is True


def test_a_measurement_takes_the_parameters_of_the_run(tmp_path):
    (tmp_path / "lyot.toml").write_text("[contrast]\nangles = 4\n[star]\nmagnitude = 6.6\nerror = 0.1\n")
    config = config_of_run(tmp_path, {"contrast": {"separations": 3}})
    assert (config.contrast.angles, config.contrast.separations, config.star.magnitude) == (4, 3, 6.6)
    # another way of telling the star's flux stands in the place of the first
    star = config_of_run(tmp_path, {"star": {"flux": 0.1}}).star
    assert (star.flux, star.magnitude, star.error) == (0.1, None, 0.1)


def test_a_value_out_of_range_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="separations"):
        config_of_run(tmp_path, {"contrast": {"separations": 1}})


def test_companions_by_position_or_as_detected():
    from lyot.cli.run import companion_section

    assert companion_section(None) == {}
    assert companion_section(["detected"]) == {"companion": {"measure": True}}
    assert companion_section(["0.8,149", "2,20"]) == {"companion": {"positions": ["0.8,149", "2,20"]}}
    with pytest.raises(ConfigError, match="not both"):
        companion_section(["DETECTED", "1,2"])


def test_every_parameter_of_the_sections_is_an_option_or_left_out_on_purpose():
    for _, group in GROUPS:
        module, _, cls = group.parameters.partition(":")
        names = {i.name for i in describe(getattr(__import__(module, fromlist=[cls]), cls))}
        assert set(group.leave_out) <= names and set(group.only) <= names
        assert set(group.aliases) <= names, Path(module).name


@pytest.mark.parametrize("function", [simulate_sequence, lyot.simulate])
def test_the_functions_that_simulate_have_the_defaults_of_the_command(function):
    defaults = vars(SequenceParams())
    signature = inspect.signature(function).parameters
    shared = defaults.keys() & signature.keys()
    assert shared >= {"filter", "size", "seed", "scene"}
    assert {name: signature[name].default for name in shared} == {name: defaults[name] for name in shared}


def test_the_sizes_of_the_command_are_those_that_there_are():
    (size,) = (i for i in describe(SequenceParams) if i.name == "size")
    assert set(size.choices) == set(SIZES)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_names_what_an_option_takes_not_a_python_type(name):
    text = CliRunner().invoke(build_app(only=name), [name, "--help"], env={"COLUMNS": "200"}).stdout
    options_text = text.partition("Options:")[2]
    assert options_text and "<" not in options_text and " in lyot run" not in options_text
    assert not re.search(r"\bpixel\. ", options_text)
