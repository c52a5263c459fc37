"""The command line as a user meets it: answers at once, one sentence for an error, nothing half-written."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import pytest
from typer.testing import CliRunner

import lyot
from lyot import cli
from lyot.cli.results import _simulated_faint
from lyot.cli.run import _EarlyReport, reduce_and_report
from lyot.errors import InputError, MissingInputError
from lyot.processes import ENDING
from lyot.run.config import build_config
from lyot.run.execute import Event
from lyot.run.plan import NOTE
from lyot.run.task import Task
from lyot.simulator.plan import size_of
from lyot.simulator.scene import load_scene, write_scene
from lyot.simulator.truth import SCHEMA
from tests.run.exposures import write_exposure, write_sequence


def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``lyot`` in a process of its own."""
    command = [sys.executable, "-m", "lyot", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, timeout=800, env=environment, check=False, **options)  # type: ignore[call-overload,no-any-return]


def called(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What `call` gives, by the same entry point in this process, which has imported jwst already (4 s each time)."""
    command = ["lyot", *map(str, arguments)]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in ENDING}
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, COLUMNS="100"),
        mock.patch("atexit.register"),
        mock.patch("lyot.run.executors._OTHER_FORK_SERVER", (0,)),  # the process of the tests is not forked
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return subprocess.CompletedProcess(command, status, *(s.buffer.getvalue().decode() for s in (out, err)))


@pytest.mark.parametrize(
    ("there", "overwrite", "scheduler", "starts"),
    [
        (False, False, None, True),
        (True, False, None, False),
        (True, True, None, True),
        (False, False, "tcp://host:8786", False),
    ],
)
def test_imports_of_workers_begin_with_a_new_run(there, overwrite, scheduler, starts, tmp_path, monkeypatch):
    if there:
        (tmp_path / "manifest.jsonl").touch()
    started = mock.Mock()
    monkeypatch.setattr("lyot.run.executors.start_importing", started)
    config = build_config({"run": {"scheduler": scheduler}})
    broken = tmp_path / "broken_calints.fits"
    broken.touch()
    with pytest.raises(InputError, match="broken_calints"):
        reduce_and_report([broken], tmp_path, config, overwrite=overwrite)
    assert started.called == starts


@pytest.mark.parametrize(("stage", "ramps"), [("uncal", True), ("rateints", False), ("calints", False)])
def test_stage_1_is_imported_for_workers_where_there_may_be_ramps(stage, ramps, tmp_path, monkeypatch):
    started = mock.Mock(side_effect=InputError("far enough"))
    monkeypatch.setattr("lyot.run.executors.start_importing", started)
    folder = write_sequence(tmp_path / stage, stage)
    with pytest.raises(InputError, match="far enough"):
        reduce_and_report([folder], tmp_path / "out", build_config({}))
    assert started.call_args.kwargs["stage1"] == ramps


def test_a_missing_file_is_reported_before_the_imports(tmp_path, monkeypatch):
    started = mock.Mock()
    monkeypatch.setattr("lyot.run.executors.start_importing", started)
    with pytest.raises(MissingInputError, match="no such file"):
        reduce_and_report([tmp_path / "none"], tmp_path / "out", build_config({}))
    assert not started.called


@pytest.mark.parametrize("fails", [False, True])
def test_steps_are_drawn_while_the_first_measurement_runs(tmp_path, monkeypatch, fails):
    made = RuntimeError("broken") if fails else lambda *_, searched: {f"searched {searched}": None}
    drawn = mock.Mock(side_effect=made)
    monkeypatch.setattr("lyot.report.page.early_sections", drawn)
    tasks = {kind: Task(kind, kind, "hip65426", (), {}) for kind in ("stage1", "stage3", "measure")}
    tasks["contrast"] = Task("measure/contrast", "measure", "contrast", (), {})
    early = _EarlyReport(tmp_path)
    early.listen(Event("planned", plan=mock.Mock(tasks=tuple(tasks.values()))))
    early.listen(Event("current", tasks["stage1"]))
    early.listen(Event("started", tasks["stage3"]))
    early.listen(Event("finished", tasks["stage3"]))
    assert not early._begun  # nothing new was measured
    early.listen(Event("started", tasks["measure"]))
    assert early._begun == {False}
    early.listen(Event("finished", tasks["measure"]))
    early.listen(Event("started", tasks["contrast"]))
    early.finish()
    early.close()
    assert early.sections == ({} if fails else {"searched False": None, "searched True": None})
    assert [call.kwargs["searched"] for call in drawn.call_args_list] == [False, True]
    assert not drawn.call_args.args[1]()  # no further figure


def test_figures_with_sources_are_drawn_early_where_the_search_is_up_to_date(tmp_path, monkeypatch):
    drawn = mock.Mock(return_value={})
    monkeypatch.setattr("lyot.report.page.early_sections", drawn)
    search = Task("measure/hip65426", "measure", "hip65426", (), {})
    contrast = Task("measure/contrast", "measure", "contrast", (), {})
    early = _EarlyReport(tmp_path)
    early.listen(Event("planned", plan=mock.Mock(tasks=(search, contrast))))
    early.listen(Event("current", search))
    assert not early._begun  # with nothing to measure the report is made at once
    early.listen(Event("started", contrast))
    early.finish()
    assert [call.kwargs["searched"] for call in drawn.call_args_list] == [False, True]


def assert_one_sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """The program ended with a user's error: status 2, one line, no traceback."""
    assert result.returncode == cli.EXIT_USER_ERROR, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]


def test_help_names_the_commands_and_is_quick():
    result = call("--help")
    assert result.returncode == 0
    for command in ("info", "run", "config", "simulate", "demo"):
        assert command in result.stdout
    # the processor time of the best of three, as the clock depends on what else the machine does
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.75  # 0.35 s on a quiet machine; importing jwst alone takes more than 3 s


def test_help_imports_nothing_heavy():
    code = (
        "import sys, lyot.cli; lyot.cli.build_app(all_options=False); "
        "print([m for m in ('numpy','astropy','jwst') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_version():
    assert call("--version").stdout.strip() == f"lyot {lyot.__version__}"


def test_unknown_command_and_option():
    for arguments in (["reduce"], ["run", "--outt", "x"], ["run"]):
        result = called(*arguments)
        assert result.returncode == cli.EXIT_USER_ERROR
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("options", "said"), [((), True), (("--size", "full"), False), (("--scene", "x"), False)])
def test_a_simulation_whose_planet_is_too_faint_is_announced(monkeypatch, tmp_path, options, said):
    made = SimpleNamespace(uncal=[1, 2], path=tmp_path, truth=tmp_path / "truth.json", crds=None)
    monkeypatch.setattr("lyot.cli.simulate.make_sequence", lambda *_, **__: made)
    shown = called("simulate", tmp_path, *options)
    assert shown.returncode == 0 and shown.stdout.startswith(f"2 raw exposures in {tmp_path}")
    assert ("--scene bright_planet for a detectable planet" in shown.stdout) == said


def test_info(tmp_path):
    result = called("info", write_sequence(tmp_path))
    assert result.returncode == 0
    for word in ("science, roll 1", "science, roll 2", "reference background", "target acquisition", "117.550"):
        assert word in result.stdout
    assert "Nothing is missing" in result.stdout


def test_info_of_a_finished_run(finished):
    (i2d,) = (path for path in (finished / "stage3").glob("*_i2d.fits") if "_roll" not in path.name)
    shown = called("info", finished)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"{finished}: lyot {lyot.__version__}, jwst ")
    assert "stage 3: 1 task, " in shown.stdout
    assert [line for line in shown.stdout.splitlines() if "image: " in line] == [f"image: {i2d}"]
    assert "source at separation 1.59" in shown.stdout  # the planet, detected; it was not fitted in this run
    i2d.unlink()
    assert f"image: {i2d} (missing; rerun lyot run)" in called("info", finished).stdout
    (finished / "manifest.jsonl").write_text("")
    assert "no task of the run has finished yet" in called("info", finished).stdout


def test_info_says_of_broken_files_what_a_run_does_with_them(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    broken = data / "text_calints.fits"
    broken.write_text("hello")
    sentence = f"not used: {broken}: not a FITS file (it does not begin with SIMPLE =)."
    shown = called("info", data)
    assert shown.returncode == 0
    assert "science, roll 1" in shown.stdout
    assert f"- {sentence}\n" in shown.stdout
    refused = call("run", data, "--out", tmp_path / "out", "--target", "NOBODY")  # so that it ends when it is planned
    assert sentence in refused.stderr
    # named, it is an error for both, after the table of the rest
    shown = called("info", data, broken)
    assert "science, roll 1" in shown.stdout
    assert shown.returncode == cli.EXIT_USER_ERROR
    assert shown.stderr.endswith(f"Error: {sentence.removeprefix('not used: ')}\n")
    assert_one_sentence(
        called("run", data, broken, "--out", tmp_path / "other"), "text_calints.fits", "not a FITS file"
    )


def test_bad_input_leaves_nothing_behind(tmp_path):
    good = write_exposure(tmp_path / "good_uncal.fits")
    short, text = tmp_path / "short_uncal.fits", tmp_path / "text_uncal.fits"
    short.write_bytes(good.read_bytes()[:-2880])
    text.write_text("hello")
    bare = write_exposure(tmp_path / "bare_uncal.fits", FILTER=None)
    for path, word in ((short, "truncated"), (text, "not a FITS"), (bare, "FILTER"), (tmp_path / "none", "no such")):
        assert_one_sentence(called("run", path, "--out", tmp_path / "out"), str(path), word)
        assert not (tmp_path / "out").exists()


def test_mixed_filters(tmp_path):
    write_sequence(tmp_path / "data", "calints")
    write_sequence(tmp_path / "data", "calints", filter="F1140C", offset=100)
    result = called("run", tmp_path / "data", "--out", tmp_path / "out")
    assert_one_sentence(result, "F1140C and F1550C", "--filter")
    assert not list((tmp_path / "out").rglob("*.fits"))


def test_misspelt_parameter(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    result = called("run", data, "--out", tmp_path / "out", "--set", "stage1.jump.rejection_treshold=5")
    assert_one_sentence(result, "did you mean 'rejection_threshold'")
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written(tmp_path):
    data = write_sequence(tmp_path / "data", "calints")
    (tmp_path / "file").write_text("x")
    assert_one_sentence(called("run", data, "--out", tmp_path / "file" / "out"), "cannot be written")
    assert_one_sentence(called("run", data, "--out", tmp_path / "file"), "is a file")


def test_full_disk(tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails half-way."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    result = call("config", "--out", tmp_path / "lyot.toml", preexec_fn=limit)
    assert_one_sentence(result, "cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_config_is_written_once(tmp_path):
    runner = CliRunner()
    path = tmp_path / "lyot.toml"
    assert runner.invoke(cli.build_app(), ["config", "--out", str(path)]).exit_code == 0
    assert "rejection_threshold = 4.0" in path.read_text()
    assert_one_sentence(called("config", "--out", path), "already exists")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.xdist_group("hd106906")
def test_the_companion_of_hd_106906_is_found(hd106906, hd106906_run):
    from astropy.table import Table

    assert str(hd106906_run / "report" / "index.html") in (hd106906_run.parent / "stdout").read_text()
    table = Table.read(hd106906_run / "measure" / "detections.ecsv", format="ascii.ecsv")
    # published from the ground: 7.11 +- 0.03 arcsec, 307.3 +- 0.2 deg; 0.1 arcsec is 0.8 deg there
    assert table["separation"][0] == pytest.approx(7.11, abs=0.1)
    assert table["position_angle"][0] == pytest.approx(307.3, abs=0.8)
    assert table["snr"][0] > 10
    again = call("run", hd106906, "--out", hd106906_run)
    assert "everything is up to date" in again.stdout


def test_a_note_of_the_input_is_printed_once(tmp_path, capsys, monkeypatch, caplog):
    data = tmp_path / "data"
    write_sequence(data)
    note = "1 background exposure is not used"

    def plan_only(inputs, out, config, **_):
        logger = logging.getLogger("lyot.run.plan")
        logger.warning("%s", note, extra=NOTE)
        logger.warning("something else")
        if out.name == "fails":
            raise InputError("no exposures")
        plan = SimpleNamespace(notes=(note,), config=config, exposures=())
        return SimpleNamespace(out=out, plan=plan, done=0, current=1, failed=(), is_news=False, products=lambda *_: ())

    monkeypatch.setattr("lyot.run.execute.run", plan_only)
    monkeypatch.setattr("lyot.cli.run._write_report", lambda *_: None)
    reduce_and_report([data], tmp_path / "out", build_config({}))
    assert capsys.readouterr().err.count(note) == 1 and note not in caplog.text and "something else" in caplog.text
    with pytest.raises(InputError):  # there is no result to print it with
        reduce_and_report([data], tmp_path / "fails", build_config({}))
    assert capsys.readouterr().err.count(f"Note: {note}") == 1


@pytest.mark.parametrize(
    ("scene", "size", "said"),
    [(None, "small", True), ("bright_planet", "small", False), (None, "full", False), ("none", "small", False)],
)
def test_that_a_simulated_planet_is_too_faint_is_said_only_where_it_is_known(tmp_path, scene, size, said):
    if scene != "none":
        sizes = size_of(size)
        truth = {"schema": SCHEMA, "size": {"science": list(sizes.science), "reference": list(sizes.reference)}}
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "scene.toml").write_text(write_scene(load_scene(scene)))
    assert _simulated_faint([tmp_path]) is said


def test_no_line_of_the_list_of_commands_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # as in a pipe
    text = CliRunner().invoke(cli.build_app(all_options=False), ["--help"], terminal_width=80).output
    commands = text.partition("Commands:")[2].strip().splitlines()
    assert len(commands) == 12
    assert all(line.rstrip().endswith(".") and not line.rstrip().endswith("...") for line in commands), text
