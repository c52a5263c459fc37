"""Contrast and companions as tasks of a run: planned when asked for, resumed by all that they depend on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import lyot.run.execute as execute_module
from lyot.analysis import measured_sequence
from lyot.analysis.parameters import ContrastSection
from lyot.errors import ConfigError, InputError
from lyot.reference_files.calibration import Calibration
from lyot.run import pipelines
from lyot.run import worker as tasks
from lyot.run.config import build_config, load_config, template
from lyot.run.execute import run
from lyot.run.plan import make_plan
from tests.cli.test_measuring_commands import write_ring
from tests.finished import PLANET, SETTINGS
from tests.run.exposures import write_exposure, write_sequence
from tests.run.fakes import fake_pipelines


@pytest.fixture
def measured(monkeypatch):
    """Runs whose pipelines copy bytes and whose measurements write their names."""
    classes = fake_pipelines()
    monkeypatch.setattr(pipelines, "pipeline_class", classes.__getitem__)
    pipelines.specification.cache_clear()
    monkeypatch.setattr(execute_module, "choose_calibration", lambda *a, **k: Calibration(context="test.pmap"))
    done = []

    def measure(task, folder, out):
        done.append(task)
        names = {"companions": "companions.ecsv", "contrast": "contrast.ecsv", "maps": "matched_filter.fits",
                 "disk": "disk.ecsv"}  # fmt: skip
        (folder / names.get(task.name, "detections.ecsv")).write_text(task.name)

    monkeypatch.setattr(tasks, "_run_measure", measure)
    yield done
    pipelines.specification.cache_clear()


@pytest.fixture
def data(tmp_path):
    return write_sequence(tmp_path / "data", "calints")


def names(done):
    return ["detect" if t.name.startswith("jw") else t.name for t in done]


BOTH = {"companion": {"positions": ["0.8,149"], "measure": False}, "star": {"magnitude": 6.6}}


def test_nothing_but_detection_if_asked(measured, data, tmp_path):
    run([data], tmp_path / "out", build_config({"run": {"measure": False}, "maps": {"measure": True}}), inline=True)
    assert names(measured) == ["detect"]


def test_companions_and_contrast_unless_asked(measured, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    assert names(measured) == ["detect", "companions", "contrast"]


def test_contrast_waits_for_the_companions_that_it_takes_out(measured, data, tmp_path):
    result = run([data], tmp_path / "out", build_config(BOTH), inline=True)
    assert sorted(names(measured)) == ["companions", "contrast", "detect"]
    assert names(measured).index("contrast") > names(measured).index("companions")
    contrast = next(t for t in measured if t.name == "contrast")
    assert contrast.depends[-1] == "measure/companions"
    assert len(result.products("measure", ".ecsv")) == 3
    # a position that was given needs no detection
    companions = next(t for t in measured if t.name == "companions")
    assert not [d for d in companions.depends if d.startswith("measure")]


def test_companions_of_the_detections_wait_for_them(measured, data, tmp_path):
    run([data], tmp_path / "out", build_config({"contrast": {"measure": False}}), inline=True)
    assert names(measured) == ["detect", "companions"]
    assert measured[1].depends[-1] == measured[0].id


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, []),
        ({"contrast": {"angles": 4}}, ["contrast"]),
        ({"contrast": {"angles": 8}}, []),  # its default
        ({"companion": {"positions": ["0.8,150"], "measure": False}}, ["companions", "contrast"]),
        ({"companion": {"positions": ["0.8,149"]}}, ["companions", "contrast"]),  # and the detections
        ({"star": {"magnitude": 6.7}}, ["companions", "contrast"]),
        ({"maps": {"measure": True}}, ["maps"]),
        ({"disk": {"ring": True}}, ["disk"]),
        (
            {"astrometry": {"epochs": ["2015.4,0.8,0.03,149,1"], "pm_ra": 9.0, "pm_dec": 1.0, "parallax": 9.0}},
            ["companions", "contrast"],
        ),
        ({"stage3": {"klip": {"truncate": 7}}}, ["companions", "contrast", "detect"]),
        ({"measure": {"threshold": 4.0}}, ["contrast", "detect"]),
    ],
)
def test_a_change_redoes_what_depends_on_it(measured, data, tmp_path, change, again):
    run([data], tmp_path / "out", build_config(BOTH), inline=True)
    measured.clear()
    run([data], tmp_path / "out", build_config({**BOTH, **change}), inline=True)
    assert sorted(names(measured)) == sorted(again)


def test_the_star_s_files_count_by_content(measured, data, tmp_path):
    sed = tmp_path / "sed.txt"
    sed.write_text("10 1\n20 0.5\n")
    config = build_config({**BOTH, "star": {"sed": str(sed)}})
    run([data], tmp_path / "out", config, inline=True)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    record = next(line for line in lines if line["name"] == "contrast")
    assert record["parameters"]["star"]["sed"] == "sed.txt"
    measured.clear()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    sed.rename(moved / "sed.txt")
    again = build_config({**BOTH, "star": {"sed": str(moved / "sed.txt")}})
    run([data], tmp_path / "out", again, inline=True)
    assert not measured
    (moved / "sed.txt").write_text("10 2\n20 0.5\n")
    run([data], tmp_path / "out", again, inline=True)
    assert sorted(names(measured)) == ["companions", "contrast"]


def test_disk_models_and_masses_count_by_content(measured, data, tmp_path, monkeypatch):
    monkeypatch.setattr(ContrastSection, "mass_grid", lambda self, coronagraph: None)  # only their bytes matter here
    model, folder = tmp_path / "model.fits", tmp_path / "masses"
    model.write_bytes(b"model")
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)
    table = {**BOTH, "star": {"magnitude": 6.6, "distance": 40.0}, "disk": {"models": [str(model)]},
             "contrast": {"measure": True, "masses": str(folder), "age": 10.0}}  # fmt: skip
    run([data], tmp_path / "out", build_config(table), inline=True)
    assert sorted(names(measured)) == ["companions", "contrast", "detect", "disk"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    records = {line["name"]: line["parameters"] for line in lines}
    assert records["disk"]["disk"]["models"] == ["model.fits"]
    assert records["contrast"]["contrast"]["masses"] == records["companions"]["contrast"]["masses"] == "masses"
    task = next(t for t in measured if t.name == "disk")
    assert task.arguments["disk"]["models"] == [str(model)]
    measured.clear()
    model.write_bytes(b"another")
    run([data], tmp_path / "out", build_config(table), inline=True)
    assert names(measured) == ["disk"]
    measured.clear()
    (folder / "b.txt").write_text("other")
    run([data], tmp_path / "out", build_config(table), inline=True)
    assert sorted(names(measured)) == ["companions", "contrast"]
    with pytest.raises(ConfigError, match=r"none\.fits: no such file"):
        run([data], tmp_path / "out", build_config({"disk": {"models": ["none.fits"]}}), inline=True)


def test_the_configuration_as_used_has_the_sections(measured, data, tmp_path):
    run([data], tmp_path / "out", build_config(BOTH), inline=True)
    measured.clear()
    again = load_config(tmp_path / "out" / "lyot.toml")
    assert again.companion.positions == ("0.8,149",)
    run([data], tmp_path / "out", again, inline=True)
    assert not measured


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            {"star": {"magnitude": 5.0, "flux": 1.0}},
            "give one of flux, magnitude, sed, acquisition, k_magnitude and simbad, not flux and magnitude",
        ),
        ({"star": {"bandpass": "x"}}, "bandpass is used with sed"),
        ({"companion": {"positions": ["nonsense"]}}, "SEPARATION,PA"),
        ({"companion": {"positions": ["-1,20"]}}, "positive separation"),
        ({"contrast": {"masses": "grid.txt"}}, "distance"),
        ({"contrast": {"angels": 3}}, "angles"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_done(table, words):
    with pytest.raises(ConfigError, match=words):
        build_config(table)


def test_a_file_that_is_not_there_is_told_before_the_work(measured, data, tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        run([data], tmp_path / "out", build_config({**BOTH, "star": {"sed": "none.txt"}}), inline=True)
    assert not measured


def test_the_template_has_the_sections():
    text = template()
    for line in (
        "[star]",
        "[contrast]",
        "[companion]",
        "[systematics]",
        "[disk]",
        "[astrometry]",
        "# angles = 8",
        "# positions = []",
    ):
        assert line in text


def test_the_second_pass_searches_as_the_measurement_does(data, tmp_path):
    def refine(**sections):
        plan = make_plan([data], tmp_path / "out", build_config(sections))
        return next(t for t in plan.tasks if t.kind == "stage3").parameters.get("refine", {})

    assert refine(measure={"threshold": 4.0, "outer_radius": 8.0})["threshold"] == 4.0
    assert refine(measure={"outer_radius": 8.0})["outer_radius"] == 5.0  # it searches near the star only
    assert refine(measure={"threshold": 4.0}, stage3={"refine": {"threshold": 6.0}})["threshold"] == 6.0


def test_what_needs_a_model_is_left_out_and_said_for_other_instruments(tmp_path):
    folder = tmp_path / "data"
    keywords = {"INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_CORON", "FILTER": "F444W", "CORONMSK": "MASKA335R"}
    for number, roll in ((1, 63.0), (2, 73.0)):
        write_exposure(folder / f"jw0118400{number}001_03106_00001_nrcalong_calints.fits", "calints", roll=roll,
                       OBSERVTN=f"{number:03d}", **keywords)  # fmt: skip
    write_exposure(folder / "jw01184003001_03106_00001_nrcalong_calints.fits", "calints", OBSERVTN="003",
                   IS_PSF=True, TARGPROP="REF", **keywords)  # fmt: skip
    plan = make_plan([folder], tmp_path / "out", build_config({"maps": {"measure": True}}))
    assert [t.kind for t in plan.tasks] == ["stage3", "measure"]
    assert any(
        "companions, contrast and maps are not measured, because this requires a model of the coronagraph" in line
        for line in plan.notes
    )
    quiet = make_plan([folder], tmp_path / "out", build_config({"run": {"measure": False}}))
    assert not any("not measured" in line for line in quiet.notes)


def test_what_the_official_algorithm_does_not_allow_is_said_before_the_work(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    plan = make_plan([data], tmp_path / "out", build_config({"stage3": {"mode": "official"}}))
    assert [t.kind for t in plan.tasks] == ["stage3", "measure"]
    assert any(
        "companions and contrast are not measured, because this requires stage3.mode = lyot" in line
        for line in plan.notes
    )


def test_masses_that_cannot_be_used_are_refused_before_the_work(measured, data, tmp_path):
    (tmp_path / "masses").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "masses" / name).write_text("nothing\n")
    table = {"star": {"distance": 40.0}, "contrast": {"masses": str(tmp_path / "masses"), "age": 10.0}}
    with pytest.raises(InputError, match="no file in this folder is a supported table of evolutionary models"):
        run([data], tmp_path / "out", build_config(table), inline=True)
    assert not measured and not (tmp_path / "out").exists()


# The measurements themselves, on the small synthetic run


def test_maps_disk_and_contrast_of_one_run_share_one_plan(finished_once, finished, tmp_path, monkeypatch):
    """Opening the reduction takes as long as measuring it on a full sequence; the disk once opened it again."""
    plans, plan = [], measured_sequence.plan_exposures
    monkeypatch.setattr(measured_sequence, "plan_exposures", lambda *a, **k: (plans.append(a), plan(*a, **k))[1])
    flux = write_ring(tmp_path / "ring.fits")
    sections = {
        **SETTINGS, "run": {"stages": "3"}, "companion": {"measure": False},
        "maps": {"measure": True, "outer_radius": 2.0},
        "disk": {"models": [str(tmp_path / "ring.fits")], "position_angle": 40.0, "outer_radius": 3.0},
    }  # fmt: skip
    result = run([finished_once.parent / "data"], finished, build_config(sections), inline=True)
    assert not result.failed and result.done == 3  # stage 3 and the search for sources are up to date
    assert len(plans) == 1
    separation, _, planet = PLANET
    with fits.open(finished / "measure" / "matched_filter.fits") as hdus:
        header, limit = hdus["MODEL"].header, hdus["LIMIT"].data
        assert header["NSOURCE"] == 1
        # three errors of the flux there, 2.2 % each (S/N 45)
        assert header["SRCF1"] == pytest.approx(planet, rel=0.07)
        assert np.isfinite(limit).any()
    contrast = Table.read(finished / "measure" / "contrast.ecsv", format="ascii.ecsv")
    assert len(contrast) == SETTINGS["contrast"]["separations"] and contrast.meta["known_sources"] == 1
    assert contrast["flux_5sigma"][np.argmin(abs(contrast["separation"] - separation))] < planet
    disk = Table.read(finished / "measure" / "disk.ecsv", format="ascii.ecsv")
    assert list(disk["model"]) == ["ring.fits"] and disk.meta["strategy"] == "rdi"
    assert disk["flux"][0] == pytest.approx(disk["scale"][0] * flux, rel=1e-6)
    # there is no disk of 1 mJy; a planet of 0.1 mJy in the ring is a tenth of it at most
    assert abs(disk["scale"][0]) < 0.3
    assert {p.name for p in result.products("measure")} == {
        "detections.ecsv", "snr_map.fits", "contrast.ecsv", "contrast_map.fits", "matched_filter.fits",
        "stim_map.fits", "disk.ecsv", "disk_residual.fits",
    }  # fmt: skip
