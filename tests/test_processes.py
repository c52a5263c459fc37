"""What a process has from its first moment: standard streams, and the signals that end it."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import weakref

import pytest

from lyot.processes import collections_of_new_objects, without_collections

CLOSED = """
import os, sys
from lyot.processes import provide_streams
os.close(0), os.close(2)
sys.stdin = sys.stderr = None
provide_streams()
stream = open(sys.argv[1], "w")
print(stream.fileno() > 2, os.get_inheritable(0), os.get_inheritable(2), sys.stdin.read() == "")
print("nowhere", file=sys.stderr)
os.write(2, b"nowhere")
"""


def test_closed_streams_are_opened_before_a_file_takes_their_number(tmp_path):
    done = subprocess.run([sys.executable, "-c", CLOSED, tmp_path / "f"], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == ["True"] * 4
    assert not (tmp_path / "f").read_bytes()


def test_open_streams_are_left_alone():
    script = "import sys; from lyot.processes import provide_streams as f; a = sys.stdout; f(); print(a is sys.stdout)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "True\n"


def test_no_garbage_is_collected_within_a_context():
    with without_collections():
        within = gc.isenabled()
        with without_collections():
            pass
        nested = gc.isenabled()
    assert (within, nested, gc.isenabled()) == (False, False, True)


class Ring:
    """An object in a cycle."""

    def __init__(self):
        self.own = self


def test_collections_within_a_context_look_at_new_objects_only():
    gc.unfreeze()
    before = [Ring()]
    old = weakref.ref(before[0])
    with collections_of_new_objects():
        left_out = gc.get_freeze_count()
        before.clear()
        new = weakref.ref(Ring())
        gc.collect()
        assert old() is not None and new() is None
        with collections_of_new_objects():
            pass
        assert gc.get_freeze_count() == left_out > 1000  # a Python process has tens of thousands of objects
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert old() is None


def test_objects_that_are_left_out_for_good_stay_so():
    script = "import gc; from lyot.processes import collections_of_new_objects as within; gc.freeze()\n"
    script += "with within(): pass\nprint(gc.get_freeze_count() > 1000)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "True\n"


FORKED = """
import multiprocessing, os, signal, sys, time
from lyot.processes import serve_parent

def work():
    serve_parent()
    print(*(signal.getsignal(n).name for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)), flush=True)
    time.sleep(100)

signal.signal(signal.SIGTERM, lambda *_: None)
multiprocessing.get_context("fork").Process(target=work).start()
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
@pytest.mark.timeout(60)
def test_a_process_that_works_for_another_ends_with_it():
    """Those that drew figures waited for more for ever when the command was killed."""
    with subprocess.Popen([sys.executable, "-c", FORKED], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().split() == ["SIG_DFL", "SIG_IGN", "SIG_IGN"]
        parent.kill()
        assert parent.stdout.read() == ""  # which comes when the last process that has it has ended


INTERRUPTED = """
import os, signal, sys, time
from lyot import cli
def build_app(*_, **__):
    def app():
        for number in sys.argv[2:]:
            os.kill(os.getpid(), int(number))
        time.sleep({wait})
    return app
cli._asked_for = lambda arguments: arguments[0]
cli.build_app = build_app
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_says_so_in_one_sentence(number):
    """Also while its modules are imported, where no command is there yet to catch Ctrl-C."""
    # also where the tests themselves run under nohup
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)" + INTERRUPTED.format(wait=20)
    done = subprocess.run(
        [sys.executable, "-c", script, "run", str(int(number))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + number
    assert done.stderr == f"Interrupted by {number.name}. Run the same command again to resume.\n"
    done = subprocess.run(
        [sys.executable, "-c", script, "info", str(int(number))], capture_output=True, text=True, check=False
    )
    assert done.stderr == f"Interrupted by {number.name}.\n"


def test_a_command_under_nohup_goes_on():
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + INTERRUPTED.format(wait=0)
    done = subprocess.run([sys.executable, "-c", script, "run", "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="it has no /dev/full")
def test_what_is_printed_to_a_full_disk_is_one_sentence():
    command = [sys.executable, "-m", "lyot", "--version"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: cannot write the standard output or a file: No space left on device.\n"


def test_free_memory_is_given_back():
    from lyot.processes import release_memory

    release_memory()  # where the C library cannot, nothing happens
