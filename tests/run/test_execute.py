"""Whole runs with pipelines that only copy bytes: order, resume, failures, and nothing left half-written."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from astropy.io import fits

import lyot.run.execute as execute_module
from lyot.errors import ConfigError, InputError, MissingInputError, OutputError, ReductionError, ReferenceFileError
from lyot.records import manifest as manifest_module
from lyot.records.manifest import Manifest
from lyot.reference_files.calibration import Calibration
from lyot.run import pipelines
from lyot.run import worker as tasks
from lyot.run.checks import only_writer
from lyot.run.config import build_config, load_config
from lyot.run.execute import run
from tests.run import fakes as fakes_module
from tests.run.exposures import write_exposure, write_sequence
from tests.run.fakes import fake_pipelines


@pytest.fixture
def fakes(monkeypatch):
    classes = fake_pipelines()
    monkeypatch.setattr(pipelines, "pipeline_class", classes.__getitem__)
    pipelines.specification.cache_clear()
    monkeypatch.setattr(execute_module, "choose_calibration", lambda *a, **k: Calibration(context="test.pmap"))

    def measured(task, folder, out):
        (folder / f"{task.name}.ecsv").write_text("none\n")

    monkeypatch.setattr(tasks, "_run_measure", measured)
    yield classes
    pipelines.specification.cache_clear()


@pytest.fixture
def data(tmp_path):
    return write_sequence(tmp_path / "data")


ALL_MEASURED = ["measure"] * 3
"""Search for sources, their fits, and the contrast curve."""


def _stages(result_or_calls):
    return sorted(call[0] for call in result_or_calls)


def _half_written(out):
    """Files with the bytes of an unfinished product, and folders for partial products."""
    files = [p for p in out.rglob("*.fits") if p.read_bytes() == b"half"]
    return files + [p for p in out.iterdir() if p.name in (tasks.PARTIAL, ".lock")]


def test_a_whole_run(fakes, data, tmp_path):
    events = []
    result = run([data], tmp_path / "out", inline=True, on_event=events.append)
    # 6 exposures through stage 1 (backgrounds too), the 4 of stars through stage 2, one product; 3 measurements
    assert _stages(fakes["stage1"].calls) == ["stage1"] * 6 + ["stage2"] * 4 + ["stage3"]
    assert (result.done, result.current) == (14, 0)
    assert len(result.products("stage1", "_rateints.fits")) == 6
    assert len(result.products("stage2", "_calints.fits")) == 4
    (i2d,) = result.products("stage3", "_i2d.fits")
    assert i2d.name == "jw01386-a3001_hip-65426_miri_f1550c-mask1550_i2d.fits"
    assert i2d.is_file()
    kinds = [e.kind for e in events]
    assert (kinds.count("started"), kinds.count("finished"), kinds[0]) == (14, 14, "planned")
    assert not _half_written(tmp_path / "out")


def test_the_record_of_a_run(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 14
    first = lines[0]
    assert first["versions"]["lyot"]
    assert first["crds_context"] == "test.pmap"
    assert first["parameters"]["jump"] == {"rejection_threshold": 4.0}
    assert 0 < first["wall_time"] < 60  # of a copied file
    assert first["peak_memory"] > 1  # a Python process has more than 1 MB
    digest = manifest_module.file_checksum(data / first["inputs"][0]["path"].rsplit("/")[-1])
    assert first["inputs"][0]["checksum"] == digest
    for line in lines:
        for product in line["products"]:
            path = tmp_path / "out" / product["path"]
            assert (path.stat().st_size, manifest_module.file_checksum(path)) == (product["size"], product["checksum"])


def test_associations_have_one_science_member_and_its_own_backgrounds(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    files = sorted((tmp_path / "out" / "asn").glob("*_image2_asn.json"))
    assert len(files) == 4
    for file in files:
        (product,) = json.loads(file.read_text())["products"]
        science = [m["expname"] for m in product["members"] if m["exptype"] == "science"]
        backgrounds = [m["expname"] for m in product["members"] if m["exptype"] == "background"]
        assert len(science) == 1
        expected = "jw01386031" if "jw01386007" in science[0] else "jw01386030"
        assert [b.rsplit("/")[-1][:10] for b in backgrounds] == [expected]


def test_run_again_does_nothing(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    fakes["stage1"].calls.clear()
    events = []
    result = run([data], tmp_path / "out", inline=True, on_event=events.append)
    assert (result.done, result.current) == (0, 14)
    assert fakes["stage1"].calls == []
    assert [e.kind for e in events] == ["planned"] + ["current"] * 14


def test_overwrite_keeps_the_star_and_says_so(fakes, data, tmp_path):
    out = tmp_path / "out"
    run([data], out, build_config({"star": {"flux": 0.1}}), inline=True)
    again = run([data], out, build_config({}), inline=True, overwrite=True)
    assert again.plan.config.star.flux == 0.1 and "flux = 0.1" in (out / "lyot.toml").read_text()
    measured = any(t.name.startswith(("contrast", "companions")) for t in again.plan.tasks)
    assert measured and any("using the stellar flux of the earlier run: flux = 0.1" in n for n in again.plan.notes)
    other = run([data], out, build_config({"star": {"flux": 0.2}}), inline=True, overwrite=True)
    assert other.plan.config.star.flux == 0.2 and not any("earlier run" in n for n in other.plan.notes)


def test_overwrite_does_everything_again(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    assert run([data], tmp_path / "out", inline=True, overwrite=True).done == 14


@pytest.mark.parametrize(
    ("setting", "again"),
    [
        ("stage3.klip.truncate=20", ["stage3", *ALL_MEASURED]),
        ("stage2.flat_field.skip=true", ["stage2"] * 4 + ["stage3", *ALL_MEASURED]),
        ("stage1.jump.rejection_threshold=5", ["stage1"] * 6 + ["stage2"] * 4 + ["stage3", *ALL_MEASURED]),
        ("measure.threshold=4", ALL_MEASURED),
        ("stage1.jump.rejection_threshold=4", []),  # its default
        ("stage1.jump.maximum_cores=half", []),  # changes how fast, not what
    ],
)
def test_a_changed_parameter_redoes_what_depends_on_it(fakes, data, tmp_path, setting, again):
    run([data], tmp_path / "out", inline=True)
    events = []
    run([data], tmp_path / "out", load_config(settings=[setting]), inline=True, on_event=events.append)
    assert sorted(e.task.kind for e in events if e.kind == "finished") == sorted(again)


def test_a_changed_input_redoes_what_depends_on_it(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    changed = data / "jw01386030001_02101_00001_mirimage_uncal.fits"
    with fits.open(changed, mode="update") as hdus:
        hdus["SCI"].data[:] = 7
    events = []
    run([data], tmp_path / "out", inline=True, on_event=events.append)
    done = sorted(e.task.id[:17] for e in events if e.kind == "finished")
    # the science background, both science exposures that it is subtracted from, and what follows
    assert done == ["measure/companion", "measure/contrast", "measure/jw01386-a", "stage1/jw01386030",
                    "stage2/jw01386008", "stage2/jw01386009", "stage3/jw01386-a3"]  # fmt: skip


def test_an_input_that_changes_while_it_is_read_is_refused(fakes, data, tmp_path):
    """The record would say that its product is of the content that it had before."""
    changing = data / "jw01386030001_02101_00001_mirimage_uncal.fits"
    before = changing.read_bytes()

    def change(event):
        if event.kind == "started" and event.task.id.startswith("stage1/jw01386030001_02101_00001"):
            changing.write_bytes(before[:-1] + b"x")

    with pytest.raises(InputError, match=r"jw01386030001_02101_00001_mirimage_uncal\.fits: changed while"):
        run([data], tmp_path / "out", inline=True, on_event=change)
    assert not any("30001_02101_00001" in r.name for r in Manifest(tmp_path / "out").records)
    events = []
    run([data], tmp_path / "out", inline=True, on_event=events.append)
    assert "stage1/jw01386030001_02101_00001_mirimage" in {e.task.id for e in events if e.kind == "finished"}


def test_inputs_are_read_for_their_checksums_by_the_tasks_that_use_them(fakes, data, tmp_path, monkeypatch):
    """A run begins at once, and files on a slow disk are read once."""
    by_parent, by_worker = [], []
    with monkeypatch.context() as patch:
        patch.setattr(manifest_module, "file_checksum", lambda path: by_parent.append(path) or "0" * 32)
        patch.setattr("lyot.run.worker.file_checksum", lambda path: by_worker.append(path) or "0" * 32)
        result = run([data], tmp_path / "out", inline=True)
    used = sorted(Path(path) for task in result.plan.tasks if task.kind == "stage1" for path in task.inputs)
    assert sorted(by_worker) == used and len(used) == 6
    assert not [path for path in by_parent if path.parent == data]
    known = json.loads((tmp_path / "out" / ".checksums.json").read_text())
    assert sorted(map(Path, known)) == used


def test_an_input_that_is_gone_after_it_was_read_is_no_obstacle(fakes, data, tmp_path):
    name = "jw01386030001_02101_00001_mirimage"

    def remove(event):
        if event.kind == "finished" and event.task.id == f"stage1/{name}":
            (data / f"{name}_uncal.fits").unlink()

    assert run([data], tmp_path / "out", inline=True, on_event=remove).done == 14


def test_an_input_that_is_gone_before_it_is_read_is_named(fakes, data, tmp_path):
    name = "jw01386030001_02101_00001_mirimage"

    def remove(event):
        if event.kind == "planned":
            (data / f"{name}_uncal.fits").unlink()

    with pytest.raises(MissingInputError, match=rf"{name}_uncal\.fits: no such file any more"):
        run([data], tmp_path / "out", inline=True, on_event=remove)


def test_a_touched_input_is_still_the_same(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    for path in data.glob("*.fits"):
        path.touch()
    assert run([data], tmp_path / "out", inline=True).done == 0


def test_a_product_that_is_gone_or_damaged_is_made_again(fakes, data, tmp_path):
    result = run([data], tmp_path / "out", inline=True)
    result.products("stage3", "_i2d.fits")[0].unlink()
    assert run([data], tmp_path / "out", inline=True).done == 4
    result.products("stage2", "_calints.fits")[0].write_bytes(b"damaged")
    assert run([data], tmp_path / "out", inline=True).done == 5


def test_a_product_that_is_not_made_any_more_is_removed(fakes, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(fakes_module.SUFFIXES, "stage3", ("psfstack", "i2d", "refined"))
        first = run([data], tmp_path / "out", inline=True)
    (refined,) = first.products("stage3", "_refined.fits")
    assert refined.is_file()
    again = run([data], tmp_path / "out", load_config(settings=["stage3.klip.truncate=20"]), inline=True)
    assert not refined.exists() and not again.products("stage3", "_refined.fits")
    assert all(p.is_file() for p in again.products("stage3"))


def test_another_version_redoes_everything(fakes, data, tmp_path, monkeypatch):
    run([data], tmp_path / "out", inline=True)
    monkeypatch.setattr("lyot.records.manifest.__version__", "99")
    assert run([data], tmp_path / "out", inline=True).done == 14


def test_a_commit_that_changes_no_source_redoes_nothing(fakes, data, tmp_path, monkeypatch):
    monkeypatch.setattr("lyot.records.manifest.__version__", "0.3.1.dev7")
    run([data], tmp_path / "out", inline=True)
    monkeypatch.setattr("lyot.records.manifest.__version__", "0.3.1.dev8+gabc1234")
    assert run([data], tmp_path / "out", inline=True).done == 0


def test_a_moved_run_is_still_up_to_date(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    shutil.move(tmp_path / "out", tmp_path / "moved")
    assert run([data], tmp_path / "moved", inline=True).done == 0


def test_the_configuration_as_used_can_be_used_again(fakes, data, tmp_path):
    run([data], tmp_path / "out", load_config(settings=["stage3.klip.truncate=7"]), inline=True)
    text = (tmp_path / "out" / "lyot.toml").read_text()
    assert "truncate = 7" in text
    assert "rejection_threshold = 4.0" in text  # defaults too
    assert "#   CRDS context test.pmap\n" in text
    (tmp_path / "again.toml").write_text(text)
    assert run([data], tmp_path / "out", load_config(tmp_path / "again.toml"), inline=True).done == 0


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), OutputError, "quota"),
        (SystemExit(-1), ReferenceFileError, "CRDS_PATH"),
        (MemoryError(), ReductionError, "fewer --jobs"),
        (ValueError("operands could not\nbe broadcast"), ReductionError, "operands could not be broadcast"),
        (InputError("all pixels are bad."), InputError, "all pixels are bad."),
    ],
)
def test_a_failure_is_one_sentence_and_leaves_nothing_half_written(fakes, data, tmp_path, failure, error, words):
    fakes["stage2"].failure = failure
    with pytest.raises(error) as caught:
        run([data], tmp_path / "out", inline=True)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not _half_written(tmp_path / "out")
    # what was finished is kept, and not done again
    fakes["stage2"].failure = None
    fakes["stage1"].calls.clear()
    run([data], tmp_path / "out", inline=True)
    assert _stages(fakes["stage1"].calls) == ["stage2"] * 4 + ["stage3"]


def test_the_log_of_a_failed_task_has_the_traceback(fakes, data, tmp_path):
    fakes["stage3"].failure = ValueError("no inverse")
    with pytest.raises(ReductionError, match="logs/stage3_jw01386"):
        run([data], tmp_path / "out", inline=True)
    (log,) = (tmp_path / "out" / "logs").glob("stage3_*.log")
    assert "Traceback" in log.read_text()


def test_stage_1_alone(fakes, data, tmp_path):
    assert run([data], tmp_path / "one", build_config({"run": {"stages": "1"}}), inline=True).done == 6
    assert _stages(fakes["stage1"].calls) == ["stage1"] * 6


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("rateints", ["stage2"] * 4 + ["stage3"]), ("calints", ["stage3"])],
)
def test_any_stage_is_taken_on_from_where_it_is(fakes, tmp_path, stage, expected):
    run([write_sequence(tmp_path / "data", stage)], tmp_path / "out", inline=True)
    assert _stages(fakes["stage1"].calls) == expected


def test_backgrounds_already_subtracted_are_not_subtracted_again(fakes, tmp_path):
    folder = tmp_path / "data"
    write_exposure(folder / "a_rateints.fits", "rateints", S_BKDSUB="COMPLETE")
    write_exposure(folder / "b_rateints.fits", "rateints", TARGPROP="HIP-65426-BACKGROUND", BKGDTARG=True)
    run([folder], tmp_path / "out", build_config({"run": {"stages": "2"}}), inline=True)
    (file,) = (tmp_path / "out" / "asn").glob("*.json")
    assert [m["exptype"] for m in json.loads(file.read_text())["products"][0]["members"]] == ["science"]


def test_nothing_to_do(fakes, tmp_path):
    folder = write_sequence(tmp_path / "data", "calints")
    with pytest.raises(InputError, match="nothing to do: the input is calints"):
        run([folder], tmp_path / "out", build_config({"run": {"stages": "1"}}), inline=True)


def test_stage_3_of_raw_ramps_alone(fakes, data, tmp_path):
    with pytest.raises(InputError, match="include the earlier stages"):
        run([data], tmp_path / "out", build_config({"run": {"stages": "3"}}), inline=True)


def test_mixed_filters_and_targets_must_be_chosen(fakes, data, tmp_path):
    write_sequence(data, filter="F1140C", offset=100)
    with pytest.raises(InputError, match="choose one with --filter"):
        run([data], tmp_path / "out", inline=True)
    result = run([data], tmp_path / "out", build_config({"run": {"filter": "F1140C"}}), inline=True)
    assert {r.name[3:10] for r in result.records if r.kind == "stage1"} == {"1386107", "1386108", "1386109",
                                                                           "1386130", "1386131"}  # fmt: skip
    write_exposure(data / "jw01386200001_04101_00001_mirimage_uncal.fits", TARGPROP="OTHER", OBSERVTN="200")
    with pytest.raises(InputError, match="choose one with --target"):
        run([data], tmp_path / "two", build_config({"run": {"filter": "F1550C"}}), inline=True)
    # stages 1 and 2 need no choice
    assert run([data], tmp_path / "three", build_config({"run": {"stages": "1"}}), inline=True).done == 13


def test_no_reference_and_one_roll(fakes, tmp_path):
    write_exposure(tmp_path / "data" / "a_calints.fits", "calints")
    with pytest.raises(InputError, match="neither a reference star nor a second roll"):
        run([tmp_path / "data"], tmp_path / "out", inline=True)


def test_output_that_cannot_be_used(fakes, data, tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        run([data], file, inline=True)
    with pytest.raises(OutputError, match="cannot be written"):
        run([data], file / "below", inline=True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="not the folder of an earlier run"):
        run([data], foreign, inline=True)
    assert [p.name for p in foreign.iterdir()] == ["thesis.tex"]


def test_a_disk_that_is_too_small(fakes, data, tmp_path, monkeypatch):
    monkeypatch.setattr("lyot.run.checks.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OutputError, match=r"required, 0\.0 GB free"):
        run([data], tmp_path / "out", inline=True)


def test_one_run_at_a_time(fakes, data, tmp_path):
    (tmp_path / "out").mkdir()
    with only_writer(tmp_path / "out"), pytest.raises(OutputError, match="another run"):
        run([data], tmp_path / "out", inline=True)
    assert run([data], tmp_path / "out", inline=True).done == 14


def test_a_damaged_manifest_line_is_passed_over(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    path = tmp_path / "out" / "manifest.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0][:50], *lines[1:]]) + "\n")
    assert len(Manifest(tmp_path / "out").records) == 13
    assert run([data], tmp_path / "out", inline=True).done == 6  # that exposure, its stage 2, stage 3, measurements


def test_a_wrong_dask_address(fakes, data, tmp_path):
    config = build_config({"run": {"scheduler": "nonsense://nowhere"}})
    with pytest.raises(ConfigError, match="no Dask scheduler"):
        run([data], tmp_path / "out", config)


def _measuring_fails(monkeypatch, failing):
    def measured(task, folder, out):
        if task.name == failing:
            raise ReductionError(f"{failing} cannot be measured.")
        (folder / f"{task.name}.ecsv").write_text("none\n")

    monkeypatch.setattr(tasks, "_run_measure", measured)


@pytest.mark.parametrize("failing", ["companions", "contrast"])
def test_a_measurement_that_fails_costs_nothing_else(fakes, data, tmp_path, monkeypatch, failing):
    _measuring_fails(monkeypatch, failing)
    result = run([data], tmp_path / "out", inline=True)
    assert [str(error) for error in result.failed] == [f"{failing} cannot be measured."]
    assert (result.done, result.current) == (13, 0)
    made = {p.name for p in result.products("measure")}
    assert len(made) == 2 and f"{failing}.ecsv" not in made
    assert Manifest(tmp_path / "out").record(f"measure/{failing}").failure == f"{failing} cannot be measured."
    # it is tried again, and what comes of it then is as if nothing had happened
    monkeypatch.setattr(tasks, "_run_measure", lambda task, folder, out: (folder / f"{task.name}.ecsv").write_text("-"))
    again = run([data], tmp_path / "out", inline=True)
    assert again.failed == () and again.done == {"companions": 2, "contrast": 1}[failing]
    assert run([data], tmp_path / "out", inline=True).done == 0


def test_nothing_is_measured_but_sources_if_asked(fakes, data, tmp_path):
    result = run([data], tmp_path / "out", build_config({"run": {"measure": False}}), inline=True)
    assert [r.name for r in result.records if r.kind == "measure"] == ["jw01386-a3001_hip-65426_miri_f1550c-mask1550"]


def test_the_star_is_kept_with_the_run(fakes, data, tmp_path):
    run([data], tmp_path / "out", build_config({"star": {"magnitude": 6.6}}), inline=True)
    again = run([data], tmp_path / "out", inline=True)
    assert again.done == 0 and again.plan.config.star.magnitude == 6.6
    assert "using the stellar flux of the earlier run: magnitude = 6.6." in again.plan.notes
    other = run([data], tmp_path / "out", build_config({"star": {"flux": 0.03}}), inline=True)
    assert (other.done, other.plan.config.star.magnitude) == (2, None)
    assert "using the stellar flux" not in " ".join(other.plan.notes)


def test_a_star_that_cannot_be_read_is_refused_before_the_work(fakes, data, tmp_path):
    (tmp_path / "sed.txt").write_text("1 1\n2 1\n")
    with pytest.raises(InputError, match=r"sed\.txt.*must reach from"):
        run([data], tmp_path / "out", build_config({"star": {"sed": str(tmp_path / "sed.txt")}}), inline=True)
    assert not (tmp_path / "out").exists()
