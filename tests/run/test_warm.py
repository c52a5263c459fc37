"""A warm process: schemas are parsed once, models stay what they are, a loader of an unknown version is left alone.

And the process that workers are forked from: it has loaded what a model needs, and has one thread.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from lyot.run import warm
from tests.run.exposures import write_sequence

SCRIPT = """
import gc
import asdf, asdf.schema
from lyot.run import warm

parsed = []
original = asdf.schema.yaml.load
def load(*a, **k):
    parsed.append(1)
    return original(*a, **k)
import stdatamodels, stdatamodels.validate
checked = []
check = stdatamodels.validate._check_value
def counted(*a):
    checked.append(str(a[0]))
    return check(*a)
stdatamodels.validate._check_value = counted
if {known}:
    asdf.schema.yaml.load = load
else:
    asdf.__version__ = stdatamodels.__version__ = "99.0"
before = asdf.schema._make_schema_loader
warm.warm_process()
warm.warm_process()
from stdatamodels.jwst import datamodels
import numpy as np
counts = []
for k in range(3):
    model = datamodels.CubeModel(data=np.ones((2, 4, 4), dtype="f4"))
    model.meta.instrument.name = "MIRI"
    model.validate()
    counts.append(len(parsed))
import warnings
with warnings.catch_warnings(record=True) as refused:
    warnings.simplefilter("always")
    for name in ("MIRI", "NONE", "NONE", "MIRI"):
        model.meta.instrument.name = name
untouched = stdatamodels.validate._check_value is counted
print(counts[-1] == counts[0], asdf.schema._make_schema_loader is before, gc.get_freeze_count() > 1000)
print(checked.count("MIRI"), checked.count("NONE"), len(refused), model.meta.instrument.name, untouched)
"""


def _run(known: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error::stdatamodels.exceptions.ValidationWarning", "-c", SCRIPT.format(known=known)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.split()


def test_schemas_are_parsed_once_and_valid_values_checked_once() -> None:
    same, untouched, frozen, *checks = _run(True)
    assert (same, untouched, frozen) == ("True", "False", "True")
    # MIRI once though it is set five times; what is no instrument is refused each time
    assert checks == ["1", "2", "2", "MIRI", "False"]


def test_unknown_versions_are_left_alone() -> None:
    _, loader_untouched, _, *checks = _run(False)
    assert loader_untouched == "True"
    assert checks == ["5", "2", "2", "MIRI", "True"]


PRELOADED = """
import sys, threading
import lyot.run.preloaded
import asdf, asdf.schema
from stdatamodels.jwst import datamodels

parsed = []
load = asdf.schema.yaml.load
asdf.schema.yaml.load = lambda *a, **k: parsed.append(1) or load(*a, **k)
loaded = set(sys.modules)
with datamodels.CubeModel((1, 4, 4)) as model:
    model.validate()
print(len(parsed), len(set(sys.modules) - loaded), threading.active_count(), asdf.get_config().validate_on_read)
"""


def test_a_preloaded_process_has_all_that_a_model_needs_and_no_threads() -> None:
    done = subprocess.run([sys.executable, "-c", PRELOADED], capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.split() == ["0", "0", "1", "False"]


FITS_OPTIONS = """
from astropy.io import fits
from lyot.run import warm
warm.warm_process()
print(fits.conf.enable_record_valued_keyword_cards, fits.conf.strip_header_whitespace, fits.conf.use_memmap)
print(all(isinstance(vars(type(fits.conf))[name], bool) for name in warm._FITS_OPTIONS))
header = fits.Header.fromstring("WORD    = 'a b  '" .ljust(80) + "DP1     = 'NAXIS: 2'".ljust(80) + "END".ljust(80))
print(header["WORD"] == "a b", header["DP1.NAXIS"])
"""

WITHOUT_STATISTICS = """
import sys
import lyot.run.preloaded
print("emcee" in sys.modules, "scipy.stats" in sys.modules)
from scipy.stats import norm
print(norm.cdf(0.0))
"""


def test_options_of_the_fits_reader_are_looked_up_once_and_stay_what_they_are() -> None:
    done = subprocess.run([sys.executable, "-c", FITS_OPTIONS], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["True", "True", "True", "True", "True", "2.0"]


def test_sampling_comes_without_the_statistics_of_scipy_which_can_be_imported_later() -> None:
    command = [sys.executable, "-c", WITHOUT_STATISTICS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.split() == ["True", "False", "0.5"]


SCHEMAS = """
import stdatamodels
from stdatamodels.jwst import datamodels
from lyot.run import warm

if not {known}:
    stdatamodels.__version__ = "99.0"
alone = datamodels.CubeModel().schema
warm.warm_process()
first, second, third = (datamodels.CubeModel() for _ in range(3))
print(first._schema is second._schema, first.schema == alone)
first.add_schema_entry("meta.observer", {{"type": "string", "title": "who observed"}})
title = first.schema["properties"]["meta"]["properties"]["observer"]["title"]
print(title == "who observed", second.schema == alone, datamodels.CubeModel().schema == alone)
print(datamodels.ImageModel()._schema is third._schema, datamodels.ImageModel().schema == alone)
"""


def test_models_of_a_kind_share_a_schema_until_one_extends_it() -> None:
    for known in (True, False):
        script = SCHEMAS.format(known=known)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.split() == [str(known), "True", "True", "True", "True", "False", "False"]


MANIFESTS = """
import sys
import yaml
import asdf, asdf.extension._manifest as module
from asdf.extension import ManifestExtension
from lyot.steps import asdf_extensions as extensions

if not {known}:
    asdf.__version__ = "99.0"
by_python = []
parse = yaml.SafeLoader.get_single_data
yaml.SafeLoader.get_single_data = lambda self: by_python.append(1) or parse(self)
uri = "asdf://asdf-format.org/core/manifests/core-1.5.0"
with extensions._manifests_by_libyaml():
    tags = ManifestExtension.from_uri(uri)._manifest
used = len(by_python)
print(used, module.yaml is yaml, tags == ManifestExtension.from_uri(uri)._manifest, len(by_python) - used)
"""


def test_lists_of_extensions_are_read_by_the_parser_in_c_where_that_is_known() -> None:
    for known, by_python in ((True, "0"), (False, "1")):
        script = MANIFESTS.format(known=known)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.split() == [by_python, "True", "True", "1"]


PRELOADED_STAGES = """
import sys
stage1 = ("lyot.steps.detector1", "lyot.ramps.engine", "jwst.jump")
import lyot.run.preloaded
print(*(name in sys.modules for name in ("lyot.steps.image2", "lyot.steps.coron3", *stage1)))
import lyot.run.preloaded_stage1
print(*(name in sys.modules for name in stage1), "scipy.stats" in sys.modules)
import stcal.jump.jump
print(stcal.jump.jump.signal.medfilt([1.0, 3.0, 2.0])[1])
"""


def test_stage_1_is_preloaded_apart() -> None:
    command = [sys.executable, "-c", PRELOADED_STAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    loaded, statistics, official = ["True"] * 2 + ["False"] * 3 + ["True"] * 3, "False", "2.0"
    assert done.stdout.split() == [*loaded, statistics, official]


PLANNED = """
import sys
from lyot.run.config import build_config
from lyot.run.plan import make_plan
kinds = {task.kind for task in make_plan([sys.argv[1]], sys.argv[1] + "_out", build_config({})).tasks}
print("stage1" in kinds, "lyot.steps.detector1" in sys.modules, "lyot.steps.coron3" in sys.modules)
"""


@pytest.mark.parametrize("stage", ["uncal", "calints"])
def test_a_plan_imports_stage_1_only_to_do_it(stage, tmp_path) -> None:
    folder = write_sequence(tmp_path / stage, stage)
    command = [sys.executable, "-c", PLANNED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.split() == [str(stage == "uncal")] * 2 + ["True"]


def test_each_kind_of_work_is_left_out_of_collections_once(monkeypatch) -> None:
    frozen: list[int] = []
    monkeypatch.setattr(warm.gc, "collect", lambda: 0)
    monkeypatch.setattr(warm.gc, "freeze", lambda: frozen.append(1))
    warm.settle.cache_clear()
    for kind in ("stage1", "stage1", "stage2"):
        warm.settle(kind)
    warm.settle.cache_clear()
    assert len(frozen) == 2
