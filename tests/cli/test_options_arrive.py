"""Each option of the measuring commands reaches the library function that uses it, with its value.

The commands run on the small synthetic run; only the measurements underneath are replaced, by functions that record
what they get. `--maps` was once parsed and checked, and nothing read it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from astropy.table import Table
from typer.testing import CliRunner

from lyot.analysis import disks, finished_run, mass_tables, measurements, proper_motion, star_flux, summary
from lyot.analysis import maps as maps_module
from lyot.archive import simbad
from lyot.cli import build_app
from lyot.measure.photometry import Star
from lyot.run import execute
from lyot.run.executors import inline_pool
from tests.cli.test_commands import called
from tests.cli.test_measuring_commands import write_ring
from tests.cli.test_options import COMMANDS, another
from tests.run.exposures import write_sequence

STAR = Star(0.1, 0.01, "recorded")
MASSES = SimpleNamespace(models=SimpleNamespace(name="recorded"))
"""What stands for the evolution models, so that they can be recognized where they arrive."""

TOLD = ("flux", "magnitude", "sed", "acquisition", "k_magnitude", "simbad")
"""Options of which a command takes one: each needs a call of its own."""

WITH = {"bandpass": "sed", "jy_per_unit": "acquisition", "spectral_type": "k_magnitude"}
"""Options that belong to one of these, and are given with it."""

MODES = 2
"""Number of KL modes that the synthetic run has, and that is not the default."""


class Recorder:
    """What the library was called with: sections by name, and other values."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sections: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self._patch = monkeypatch.setattr
        open_run, basis = finished_run.open_run, disks.basis_for_disks

        def opened(*args, modes=None, **kwargs):
            self.values["modes"] = modes
            return open_run(*args, modes=modes, **kwargs)

        def star(section, coronagraph):
            self.sections["star"] = section
            assert coronagraph.filter == "F1550C"
            return STAR

        def read_aged(masses, mass_filter, age, age_error, *, photometry, zero_point):
            self.values["aged"] = dict(masses=masses, mass_filter=mass_filter, age=age, age_error=age_error,
                                       mass_photometry=photometry)  # fmt: skip
            return MASSES

        def rolls(finished, *, rolls=False):
            self.values["rolls"] = rolls
            return basis(finished, rolls=rolls)

        self._patch(finished_run, "open_run", opened)
        self._patch(star_flux, "load_star", star)
        self._patch(mass_tables, "read_aged", read_aged)
        self._patch(disks, "basis_for_disks", rolls)
        self._patch("lyot.report.write_report", lambda out, *_: out / "report" / "index.html")
        self._patch("lyot.report.page.early_sections", lambda *_, **__: {})
        self._patch("lyot.cli.disk.show_disks", lambda *_: None)
        self._patch("lyot.cli.results.show_tables", lambda *_: None)
        self._replace_measurements()

    def _replace_measurements(self) -> None:
        def contrast(run, star, params, *, distance, masses):
            self.sections["contrast"] = params
            self.values |= {"star": star, "distance": distance, "masses": masses}
            return self._written(run, "contrast.ecsv")[:0]

        def companions(run, guesses, star, params, *, systematics, distance, masses):
            self.sections |= {"companion": params, "systematics": systematics}
            self.values |= {"guesses": list(guesses), "star": star, "distance": distance, "masses": masses}
            return self._written(run, "companions.ecsv"), ()

        def motion(run, table, section, *, distance):
            self.sections["astrometry"] = section
            return table, SimpleNamespace(verdict="recorded", chi2_background=1.0, chi2_common=1.0, freedom=1)

        def detections(run, params, *, all_truncations=False):
            self.sections["measure"] = params
            self.values["all_truncations"] = all_truncations

        def maps(run, params, *, sigma, completeness_flux):
            self.sections["maps"] = params
            self.values |= {"sigma": sigma, "completeness_flux": completeness_flux}
            self._written(run, "matched_filter.ecsv")

        def model(path, section):
            self.sections["disk"] = section
            self.values.setdefault("models", []).append(str(path))

        def disk(run, models, ring, params):
            assert params is self.sections["disk"]
            self.values |= {"ring": ring, "images": list(models)}
            self._written(run, "disk.ecsv")

        self._patch(measurements, "measure_contrast", contrast)
        self._patch(measurements, "measure_companions", companions)
        self._patch(measurements, "measure_detections", detections)
        self._patch(proper_motion, "measure_motion", motion)
        self._patch(maps_module, "measure_maps", maps)
        self._patch(disks, "read_disk", model)
        self._patch(disks, "measure_disks", disk)
        self._patch(summary, "read_fitted", lambda *_: ())

    @staticmethod
    def _written(run, name: str) -> Table:
        table = Table({"companion": [1]})
        table.write(run.tables / name, overwrite=True)  # a task that writes nothing has failed
        return table


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def chosen(name: str, **special: Any) -> tuple[list[str], dict[tuple[str, str], Any]]:
    """Arguments that set all generated options of a command, and the value of each by section and parameter.

    Parameters
    ----------
    name : str
        Of the command.
    special
        Values by parameter that are not those of `another`; None leaves the option out.
    """
    arguments: list[str] = []
    values: dict[tuple[str, str], Any] = {}
    for group in COMMANDS[name].groups:
        for info in group.infos():
            text, value = another(info)
            if info.name in special:
                value = special[info.name]
                text = [str(v) for v in value] if isinstance(value, list) else [str(value)]
            if value is None:
                continue
            flag = group.flags(info)[0]
            if info.kind == "boolean":
                arguments.append(flag.split("/")[0 if value else 1])
            else:
                arguments += [part for one in text for part in (flag, one)]
            values[group.section, info.name] = tuple(value) if isinstance(value, list) else value
    return arguments, values


def star_told_by(name: str) -> dict[str, Any]:
    """What leaves out all other options that tell the flux of the star, and those that belong to them."""
    left_out = [n for n in TOLD if n != name] + [n for n, owner in WITH.items() if owner != name]
    return {"spectral_type": "F5V", **dict.fromkeys(left_out)}


def invoke(command: str, *arguments: object) -> None:
    result = CliRunner().invoke(build_app(only=command), [command, *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def check(recorder: Recorder, values: dict[tuple[str, str], Any], *elsewhere: str) -> None:
    """Compare what arrived to what was given; sections of `elsewhere` do not arrive as such."""
    assert values
    for (section, name), value in values.items():
        if section not in elsewhere:
            assert getattr(recorder.sections[section], name) == value, (section, name)


def aged(values: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """What is given of the evolution models."""
    names = ("masses", "mass_filter", "age", "age_error", "mass_photometry")
    return {name: values["contrast", name] for name in names}


def test_contrast(finished, recorder):
    arguments, values = chosen("contrast", modes=MODES, **star_told_by("magnitude"))
    invoke("contrast", finished, *arguments)
    check(recorder, values)
    got = recorder.values
    assert got["star"] is STAR and got["masses"] is MASSES and got["aged"] == aged(values)
    assert (got["modes"], got["distance"]) == (MODES, values["star", "distance"])


@pytest.mark.parametrize("name", TOLD)
def test_each_way_to_give_the_star(finished, recorder, monkeypatch, name):
    """One call for each, as a command takes one of them; the other options of the star are in all calls."""
    found = SimpleNamespace(name="found", k_magnitude=6.0, k_error=0.0, spectral_type="F5V", parallax=10.0)
    asked = []
    monkeypatch.setattr(simbad, "look_up_star", lambda star: (asked.append(star), found)[1])
    arguments, values = chosen("contrast", modes=None, masses=None, **star_told_by(name))
    invoke("contrast", finished, *arguments)
    if name == "simbad":
        assert asked == [values.pop(("star", "simbad"))] and recorder.sections["star"].simbad == "found"
    check(recorder, values)
    assert {("star", n) for n, owner in WITH.items() if owner == name} <= set(values)


def test_companion(finished, recorder):
    arguments, values = chosen("companion", modes=MODES, **star_told_by("flux"))
    invoke("companion", finished, *arguments, "--guess", "2.5,20", "--guess", "1.5,40")
    check(recorder, values, "contrast")
    got = recorder.values
    assert got["star"] is STAR and got["masses"] is MASSES and got["aged"] == aged(values)
    assert (got["modes"], got["distance"]) == (MODES, values["star", "distance"])
    assert got["guesses"] == [(2.5, 20.0), (1.5, 40.0)]


def test_detect(finished, recorder):
    arguments, values = chosen("detect", modes=MODES)
    invoke("detect", finished, *arguments, "--all-truncations", "--maps")
    check(recorder, values)
    got = recorder.values
    assert got["all_truncations"] and got["modes"] == MODES
    assert (got["sigma"], got["completeness_flux"]) == (values["maps", "sigma"], values["maps", "completeness_flux"])


def test_disk(finished, recorder, tmp_path):
    write_ring(tmp_path / "ring.fits")
    arguments, values = chosen("disk", modes=MODES)
    invoke("disk", finished, tmp_path / "ring.fits", *arguments)
    check(recorder, values)
    got = recorder.values
    assert got["models"] == [str(tmp_path / "ring.fits")] and got["images"] == ["ring.fits"]
    assert got["rolls"] is True and got["modes"] == MODES and got["ring"] is recorder.sections["disk"]


# Measurements of lyot run: its tasks run in this process


def run(finished, data, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_choose_pool", lambda plan, *_, **__: inline_pool(plan.calibration.environment))
    invoke("run", data, "--out", finished, "--stages", "3", *arguments)


def test_measurements_of_a_run(finished_once, finished, recorder, monkeypatch, tmp_path):
    write_ring(tmp_path / "ring.fits")
    (tmp_path / "curve.csv").write_text("separation,contrast\n1,1e-4\n2,1e-5\n")
    own = ("filter", "target", "reference", "stages", "background", "calints_background", "jobs", "threads",
           "scheduler", "crds_path", "crds_context")  # fmt: skip
    arguments, values = chosen(
        "run", **dict.fromkeys(own), **{**star_told_by("flux"), "measure": True}, models=[str(tmp_path / "ring.fits")],
        compare_contrast=[str(tmp_path / "curve.csv")],
    )  # fmt: skip
    kept = []
    written = execute.used_configuration
    monkeypatch.setattr(execute, "used_configuration", lambda plan: (kept.append(plan.config), written(plan))[1])
    run(finished, finished_once.parent / "data", *arguments, "--companion", "2.5,20", monkeypatch=monkeypatch)
    assert set(recorder.sections) >= {"contrast", "companion", "maps", "disk", "star"}
    recorder.sections |= {"run": kept[0].run, "report": kept[0].report}
    check(recorder, values)
    got = recorder.values
    assert (2.5, 20.0) in got["guesses"] and got["star"] is STAR and got["distance"] == values["star", "distance"]
    assert got["models"] == [str(tmp_path / "ring.fits")] and got["ring"].ring


@pytest.mark.parametrize(("option", "left"), [("--no-contrast", {"companion", "star"}), ("--no-measure", set())])
def test_what_a_run_is_told_not_to_measure(finished_once, finished, recorder, monkeypatch, option, left):
    run(finished, finished_once.parent / "data", option, monkeypatch=monkeypatch)
    assert set(recorder.sections) - {"systematics"} == left


# Roles given by hand, in the commands that read exposures


def test_roles_of_a_run(recorder, monkeypatch, tmp_path):
    """They decide what stage 3 subtracts from what."""
    data = write_sequence(tmp_path / "data", "calints")
    monkeypatch.setattr(execute, "_execute", lambda *_, **__: (0, ()))
    roles = ("--role", "*386009*=ignore", "--role", "jw01386007001_04101_00002*=background")
    for name, given in (("plain", ()), ("given", roles)):
        invoke("run", data, "--out", tmp_path / name, "--stages", "3", *given)
    members = {name: stage3_members(tmp_path / name) for name in ("plain", "given")}
    dithers = [f"jw01386007001_04101_0000{dither}" for dither in (1, 2)]
    rolls = [f"jw0138600{observation}001_04101_00001" for observation in (8, 9)]
    assert members == {
        "plain": {**dict.fromkeys(rolls, "science"), **dict.fromkeys(dithers, "psf")},
        "given": {rolls[0]: "science", dithers[0]: "psf"},
    }


def stage3_members(out) -> dict[str, str]:
    """Exposures of the association of stage 3, and what they are for."""
    (path,) = out.rglob("*_coron3_asn.json")
    return {
        Path(member["expname"]).name.partition("_mirimage")[0]: member["exptype"]
        for member in json.loads(path.read_text())["products"][0]["members"]
    }


def test_roles_are_shown(tmp_path):
    data = write_sequence(tmp_path, "calints")
    plain = called("info", data).stdout
    given = called("info", data, "--role", "*386009*=background", "--role", "HIP-68245=ignore").stdout
    assert re.search(r"^science, roll 2 +jw01386009001", plain, re.M) and plain.count("reference  ") == 2
    assert re.search(r"^science background +jw01386009001", given, re.M) and "reference  " not in given
    assert len(re.findall(r"^ignored +jw01386007001", given, re.M)) == 2
    wrong = called("info", data, "--role", "*386009*=sciense")
    assert wrong.returncode == 2 and "did you mean 'science'" in wrong.stderr
