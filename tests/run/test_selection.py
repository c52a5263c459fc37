"""What is reduced with what: several targets, stars as each other's references, rolls alone."""

import json

import pytest

from lyot.analysis.finished_run import find_finished
from lyot.errors import InputError, MissingInputError, UnknownNameError
from lyot.exposures.inputs import read_inputs
from lyot.exposures.roles import advice, sort_roles
from lyot.records.manifest import Manifest
from lyot.reference_files.calibration import Calibration
from lyot.report.quality import read_notes
from lyot.report.views import targets_of, view
from lyot.run import execute, measure_task, pipelines
from lyot.run.config import build_config
from lyot.run.plan import make_plan
from tests.run.exposures import write_exposure, write_sequence
from tests.run.fakes import fake_pipelines

STARS = ("HD-1", "HD-2", "HD-3")


@pytest.fixture
def survey(tmp_path):
    """Three stars of one filter, one roll each, none a reference."""
    for i, name in enumerate(STARS, start=1):
        write_exposure(tmp_path / "data" / f"jw0200100{i}001_04101_00001_mirimage_calints.fits", "calints", seed=i,
                       TARGPROP=name, OBSERVTN=f"00{i}", TARG_RA=10.0 + i, PROGRAM="02001")  # fmt: skip
    return tmp_path / "data"


def _plan(data, *, klip=None, **run):
    config = build_config({"run": {"stages": "3", **run}, **({"stage3": {"klip": klip}} if klip else {})})
    return make_plan([data], data.parent / "out", config)


def _products(plan):
    """Science and reference targets of each product of stage 3, by the star's number."""
    found = {}
    for text in plan.associations.values():
        (product,) = json.loads(text)["products"]
        kinds = {kind: sorted({m["expname"].split("/")[-1][9] for m in product["members"] if m["exptype"] == kind})
                 for kind in ("science", "psf")}  # fmt: skip
        found["".join(kinds["science"])] = "".join(kinds["psf"])
    return found


def test_all_stars_are_each_other_s_references(survey):
    plan = _plan(survey, target="all", reference="all")
    assert _products(plan) == {"1": "23", "2": "13", "3": "12"}
    assert len(plan.tasks) == 12  # of each star the image, sources, companions and limits
    assert {task.folder for task in plan.tasks if task.kind == "measure"} == {"hd-1", "hd-2", "hd-3"}
    assert "references of HD-1: HD-2, HD-3, from --reference." in plan.notes


def test_one_target_and_named_references(survey):
    assert _products(_plan(survey, target="hd 1", reference=["HD-2"])) == {"1": "2"}
    assert _products(_plan(survey, target="HD-1", reference="all")) == {"1": "23"}
    assert _products(_plan(survey, reference=["HD-2", "HD-3"])) == {"1": "23"}  # who is a reference need not be chosen
    plan = _plan(survey, target=["HD-1", "HD-3"], reference=["HD-2", "HD-3"])
    assert _products(plan) == {"1": "23", "3": "2"}
    alone = [task for task in _plan(survey, reference=["HD-2", "HD-3"]).tasks if task.kind == "measure"]
    assert [task.folder for task in alone] == ["", "", ""]


def test_a_star_is_never_its_own_reference(survey):
    """Neither by its name, nor by its place under another name."""
    with pytest.raises(InputError, match="HD-1: neither a reference star nor a second roll"):
        _plan(survey, target="HD-1", reference=["HD1"])
    write_exposure(survey / "jw02001009001_04101_00001_mirimage_calints.fits", "calints", TARGPROP="ALIAS-OF-1",
                   OBSERVTN="009", TARG_RA=11.0, PROGRAM="02001")  # fmt: skip
    plan = _plan(survey, target="HD-1", reference="all")
    assert _products(plan) == {"1": "23"}
    assert "ALIAS-OF-1 cannot be a reference for HD-1: it has the same position on the sky." in plan.notes


def test_a_star_in_another_subarray_is_no_reference(survey):
    path = survey / "jw02001009001_04101_00001_mirimage_calints.fits"
    write_exposure(path, "calints", TARGPROP="HD-9", OBSERVTN="009", TARG_RA=55.0, PROGRAM="02001", SUBARRAY="FULL")
    plan = _plan(survey, target="HD-1", reference="all")
    assert _products(plan) == {"1": "23"}
    assert "HD-9 cannot be a reference for HD-1: it was not observed with the same mask and subarray." in plan.notes


def test_what_is_not_there_is_refused(survey):
    with pytest.raises(UnknownNameError, match="--reference: unknown reference star 'HD-4'; did you mean"):
        _plan(survey, target="HD-1", reference=["HD-4"])
    with pytest.raises(InputError, match="choose one with --target, or reduce each with --target all"):
        _plan(survey, reference="all")
    with pytest.raises(InputError, match=r"HD-1: .*use another star of the input with --reference 'HD-2'\.$"):
        _plan(survey, target="HD-1")


def test_rolls_alone_are_subtracted_from_each_other(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    for path in data.glob("jw01386007*"):
        path.unlink()
    plan = _plan(data)
    (stage3,) = (task for task in plan.tasks if task.kind == "stage3")
    assert stage3.arguments["steps"]["klip"]["strategy"] == stage3.parameters["klip"]["strategy"] == "adi"
    assert sum("has no reference star, but 2 rolls" in line for line in plan.notes) == 1
    (stage3,) = (task for task in _plan(data, klip={"strategy": "roll"}).tasks if task.kind == "stage3")
    assert stage3.parameters["klip"]["strategy"] == "roll"
    with pytest.raises(InputError, match=r"strategy is 'rdi', which requires a reference star.*use 'adi'"):
        _plan(data, klip={"strategy": "rdi"})


def test_one_roll_and_one_reference_exposure_are_said_to_be_few(tmp_path):
    """With one exposure of a real star as the reference, seven peaks of S/N 5.6 to 7.7 were listed as sources."""
    data = write_sequence(tmp_path / "data", "calints")
    sentence = "HIP-65426 has only one roll and one reference exposure: residual speckles may be mistaken for sources"

    def said() -> list[bool]:
        return [any(sentence in line for line in lines) for lines in (_plan(data).notes, _advice(data))]

    assert said() == [False, False]
    next(data.glob("jw01386009*")).unlink()
    assert said() == [False, False]  # two dithers of the reference
    next(data.glob("jw01386007*")).unlink()
    assert said() == [True, True]


def _advice(data):
    """What lyot info says."""
    return advice(sort_roles(read_inputs([data]).exposures))


def test_one_roll_without_reference_is_refused_when_it_is_planned(tmp_path):
    write_exposure(tmp_path / "data" / "jw01386008001_calints.fits", "calints")
    with pytest.raises(InputError, match=r"neither a reference star nor a second roll.*add exposures of a ref"):
        _plan(tmp_path / "data")


def test_roll_subtraction_of_one_roll_is_refused_where_there_is_a_reference(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    next(data.glob("jw01386009*")).unlink()
    with pytest.raises(InputError, match="strategy is 'adi', which requires a second roll; use 'rdi'"):
        _plan(data, klip={"strategy": "adi"})


def test_a_sequence_with_references_is_planned_as_before(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    (stage3,) = (task for task in _plan(data).tasks if task.kind == "stage3")
    assert stage3.parameters["klip"]["strategy"] == "rdi"
    assert "strategy" not in stage3.arguments["steps"].get("klip", {})


def test_several_targets_of_raw_data_share_stages_1_and_2(tmp_path):
    data = write_sequence(tmp_path / "data")
    table = {"run": {"target": "all", "reference": "all"}, "roles": {"HIP-68245": "science"}}
    plan = make_plan([data], tmp_path / "out", build_config(table))
    kinds = [task.kind for task in plan.tasks]
    # all six exposures, the four of stars, and then both stars with each other
    assert [kinds.count(kind) for kind in ("stage1", "stage2", "stage3", "measure")] == [6, 4, 2, 6]


def test_the_tables_of_several_targets_do_not_overwrite_each_other(tmp_path, monkeypatch):
    """Each target has its own folder and page, and a finished run finds them."""
    classes = fake_pipelines()
    monkeypatch.setattr(pipelines, "pipeline_class", classes.__getitem__)
    monkeypatch.setattr(execute, "choose_calibration", lambda *a, **k: Calibration(context="test.pmap"))
    monkeypatch.setattr(
        measure_task, "run_measurement", lambda task, folder, out: (folder / "detections.ecsv").write_text(task.name)
    )
    pipelines.specification.cache_clear()
    table = {
        "run": {"stages": "3", "target": "all", "reference": "all", "measure": False},
        "roles": {"HIP-68245": "science"},
    }
    data, out = write_sequence(tmp_path / "data", "calints"), tmp_path / "out"
    result = execute.run([data], out, build_config(table), inline=True)
    tables = {path.parent.name: path.read_text() for path in result.products("measure")}
    assert set(tables) == {"hip-65426", "hip-68245"}
    for i2d in result.products("stage3", "_i2d.fits"):
        finished = find_finished(out, i2d=i2d)
        assert tables[finished.measured.name] == finished.name
        assert finished.measured.parent == out / "measure"
    assert find_finished(out, target="HIP 68245").measured.name == "hip-68245"
    assert find_finished(out, target="HIP-65426").measured.name == "hip-65426"
    assert find_finished(out, target="hip65426").measured.name == "hip-65426"  # as lyot run takes names
    with pytest.raises(MissingInputError, match="no reduction of HD-9 in this folder; expected hip-65426 or hip-68245"):
        find_finished(out, target="HD-9")
    names = targets_of(result.records)
    assert set(names.values()) == set(tables)
    with view(out, *next(iter(names.items()))) as alone:  # as if the other target had never been there
        (record,) = (r for r in Manifest(alone).records if r.kind == "stage3")
        assert record.name == next(iter(names))
        assert (alone / "measure" / "detections.ecsv").read_text() == record.name
        assert len(list((alone / "asn").iterdir())) == 1
        assert read_notes(alone) == list(result.plan.notes) != []
    assert execute.run([data], out, build_config(table), inline=True).done == 0
    one = {
        "run": {"stages": "3", "target": "HIP-65426", "reference": "HIP-68245", "measure": False},
        "roles": table["roles"],
    }
    (path,) = execute.run([data], out, build_config(one), inline=True).products("measure")
    assert path == out / "measure" / "detections.ecsv"
    pipelines.specification.cache_clear()
