"""What happens before, and instead of, the first product: nothing is left behind, and the next try goes on."""

import shutil
from concurrent.futures.process import BrokenProcessPool

import pytest

import lyot.run.execute as execute_module
from lyot.errors import InputError, OutputError, ReductionError, ReferenceFileError, output_error
from lyot.records.manifest import Manifest
from lyot.reference_files.calibration import Calibration, choose_calibration
from lyot.run import executors, pipelines
from lyot.run import worker as tasks
from lyot.run.checks import check_output, only_writer
from lyot.run.config import build_config, load_config
from lyot.run.execute import run
from tests.run.exposures import write_exposure, write_sequence
from tests.run.fakes import SUFFIXES, fake_pipelines


@pytest.fixture
def fakes(monkeypatch):
    classes = fake_pipelines()
    monkeypatch.setattr(pipelines, "pipeline_class", classes.__getitem__)
    pipelines.specification.cache_clear()
    monkeypatch.setattr(execute_module, "choose_calibration", lambda *a, **k: Calibration(context="test.pmap"))
    monkeypatch.setattr(tasks, "_run_measure", lambda task, folder, out: (folder / f"{task.name}.ecsv").write_text("-"))
    yield classes
    pipelines.specification.cache_clear()


@pytest.fixture
def data(tmp_path):
    return write_sequence(tmp_path / "data")


def test_mixed_filters_leave_no_folder_behind(fakes, data, tmp_path):
    write_sequence(data, filter="F1140C", offset=100)
    with pytest.raises(InputError, match="choose one with --filter"):
        run([data], tmp_path / "new" / "out", inline=True)
    assert not (tmp_path / "new").exists()


def test_no_references_leave_no_folder_behind(data, tmp_path, monkeypatch):
    for name in ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ReferenceFileError, match="No calibration references"):
        run([data], tmp_path / "out", inline=True)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_first_task_failed_can_be_run_again(fakes, data, tmp_path):
    fakes["stage1"].failure = ValueError("bad luck")
    with pytest.raises(ReductionError, match="bad luck"):
        run([data], tmp_path / "out", inline=True)
    fakes["stage1"].failure = None
    assert run([data], tmp_path / "out", inline=True).done == 14


def test_exposures_fetched_into_the_output_folder_are_no_foreign_files(fakes, data, tmp_path):
    shutil.copytree(data, tmp_path / "out" / "uncal")
    assert run([tmp_path / "out" / "uncal"], tmp_path / "out", inline=True).done == 14


def test_a_place_where_nothing_can_be_made(fakes, data, tmp_path):
    with pytest.raises(OutputError, match=r"/proc/x: cannot be written: .*; choose another"):
        run([data], "/proc/x", inline=True)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_output(file / "below")
    assert str(output_error("/proc/x", FileNotFoundError(2, "No such file or directory"))) == (
        "/proc/x: cannot be written: no file or folder can be created at this path; choose another folder."
    )


def test_what_is_up_to_date_needs_no_room(fakes, data, tmp_path, monkeypatch):
    run([data], tmp_path / "out", inline=True)
    monkeypatch.setattr("lyot.run.checks.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    assert run([data], tmp_path / "out", inline=True).done == 0
    with pytest.raises(OutputError, match="GB required"):
        run([data], tmp_path / "out", load_config(settings=["stage3.klip.truncate=20"]), inline=True)


def test_a_changed_file_that_a_parameter_names_is_noticed(fakes, data, tmp_path, monkeypatch):
    spec = fakes["stage2"].load_spec_file()
    spec["steps"]["flat_field"]["override_flat"] = "string(default=None)"
    monkeypatch.setattr(fakes["stage2"], "load_spec_file", classmethod(lambda cls: spec))
    flat = tmp_path / "my_flat.fits"
    flat.write_bytes(b"one")
    config = load_config(settings=[f'stage2.flat_field.override_flat="{flat}"'])
    run([data], tmp_path / "out", config, inline=True)
    assert run([data], tmp_path / "out", config, inline=True).done == 0
    flat.write_bytes(b"two!")
    assert run([data], tmp_path / "out", config, inline=True).done == 8  # stage 2 of four stars, stage 3, measurements


def test_changed_sources_are_noticed(fakes, data, tmp_path, monkeypatch):
    run([data], tmp_path / "out", inline=True)
    monkeypatch.setattr("lyot.run.plan.source_digest", lambda kind: "other" if kind == "stage3" else "same")
    assert run([data], tmp_path / "out", inline=True).done == 14
    monkeypatch.setattr("lyot.run.plan.source_digest", lambda kind: "third" if kind == "stage3" else "same")
    assert run([data], tmp_path / "out", inline=True).done == 4


def test_exposures_of_different_subarrays_are_not_mixed(fakes, tmp_path):
    write_exposure(tmp_path / "data" / "a_calints.fits", "calints")
    write_exposure(tmp_path / "data" / "b_calints.fits", "calints", IS_PSF=True, SUBARRAY="FULL")
    with pytest.raises(InputError, match="one mask and subarray at a time"):
        run([tmp_path / "data"], tmp_path / "out", inline=True)


def test_a_line_that_broke_off_does_not_take_the_next_with_it(fakes, data, tmp_path):
    run([data], tmp_path / "out", build_config({"run": {"stages": "1"}}), inline=True)
    path = tmp_path / "out" / "manifest.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[5][:40]]))
    assert run([data], tmp_path / "out", build_config({"run": {"stages": "1"}}), inline=True).done == 1
    assert len(Manifest(tmp_path / "out").records) == 6


def test_records_are_in_the_order_of_finishing(fakes, data, tmp_path):
    run([data], tmp_path / "out", inline=True)
    manifest = Manifest(tmp_path / "out")
    first = manifest.records[0]
    manifest.add(first)
    assert manifest.records[-1] == first == Manifest(tmp_path / "out").records[-1]


def test_a_worker_lost_before_a_task_is_handed_out(fakes, data, tmp_path, monkeypatch):
    def refuse(self, task, out):
        raise BrokenProcessPool("a process was terminated abruptly")

    monkeypatch.setattr(executors._InlinePool, "submit", refuse)
    with pytest.raises(ReductionError, match="worker process was killed"):
        run([data], tmp_path / "out", inline=True)


def test_a_lock_file_that_was_removed_in_between_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr("lyot.run.checks.os.path.samestat", lambda a, b: False)
    with pytest.raises(OutputError, match="has just ended"), only_writer(tmp_path):
        pass


def test_stages_without_references_get_an_empty_cache(tmp_path, monkeypatch):
    for name in ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    file = write_exposure(tmp_path / "data" / "a_calints.fits", "calints")
    chosen = choose_calibration([file], needed=False)
    assert chosen.context == "none"
    cache = chosen.prepared(tmp_path / "out")
    assert cache.context == "none"
    assert cache.environment["CRDS_SERVER_URL"] is None
    assert (tmp_path / "out" / ".no_references" / "mappings" / "jwst" / cache.environment["CRDS_CONTEXT"]).is_file()
    assert cache.prepared(tmp_path / "out") == cache  # again, over the first


def test_the_context_is_fixed_before_workers_start(tmp_path, monkeypatch):
    from lyot.simulator.crds_cache import MARKER, write_empty_cache

    cache = write_empty_cache(tmp_path / "cache")
    (cache.path / MARKER).unlink()  # so that it passes for one of the observatory's
    monkeypatch.setenv("CRDS_PATH", str(cache.path))
    monkeypatch.setenv("CRDS_SERVER_URL", "https://localhost:1")  # nobody listens: what is in the cache serves
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)
    file = write_exposure(tmp_path / "data" / "a_rateints.fits", "rateints")
    chosen = choose_calibration([file])
    assert chosen.context == chosen.environment["CRDS_CONTEXT"] == cache.context


def test_products_that_are_made_no_more_are_removed(fakes, data, tmp_path, monkeypatch):
    monkeypatch.setitem(SUFFIXES, "stage3", ("psfstack", "klcube", "rolls", "i2d"))
    run([data], tmp_path / "out", inline=True)
    (rolls,) = (tmp_path / "out" / "stage3").glob("*_rolls.fits")
    rolls.write_bytes(b"mine now")  # changed by the user
    monkeypatch.setitem(SUFFIXES, "stage3", ("psfstack", "i2d"))
    run([data], tmp_path / "out", load_config(settings=["stage3.klip.truncate=20"]), inline=True)
    names = {p.name.rpartition("_")[2] for p in (tmp_path / "out" / "stage3").iterdir()}
    assert names == {"psfstack.fits", "i2d.fits", "rolls.fits"}
