"""The official pipelines are imported alone, and are the official ones."""

import subprocess
import sys

ALONE = """
import sys
from lyot.steps import Coron3Pipeline, Detector1Pipeline, Image2Pipeline
heavy = [name for name in ("photutils", "BayesicFitting", "matplotlib.pyplot", "jwst.extract_1d", "jwst.pipeline")
         if name in sys.modules]
assert not heavy, heavy
import jwst.pipeline
for own in (Coron3Pipeline, Detector1Pipeline, Image2Pipeline):
    assert issubclass(own, getattr(jwst.pipeline, own.__name__)), own
assert jwst.pipeline.Image3Pipeline and jwst.pipeline.__file__
"""

ONE_STAGE = """
import sys
heavy = ("scipy.stats", "jwst.jump", "jwst.refpix", "jwst.outlier_detection.coron", "jwst.resample.resample")
from lyot.steps import Coron3Pipeline, Image2Pipeline
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, loaded
from jwst.outlier_detection import outlier_detection_step as step
assert callable(step.coron.detect_outliers) and heavy[3] in sys.modules
from jwst.resample import resample_step
assert callable(resample_step.resample.ResampleImage) and heavy[4] in sys.modules
from lyot.steps import Detector1Pipeline
assert set(heavy[1:3]) <= set(sys.modules)
"""

LOADED_WHEN_USED = """
import inspect
import sys
from lyot.steps import Detector1Pipeline
from jwst.clean_flicker_noise import clean_flicker_noise_step as step
inspect.getmodule(inspect.currentframe())  # walks through all modules
assert "photutils" not in sys.modules
assert callable(step.clean_flicker_noise.do_correction) and callable(step.autoparam.niriss_image_parameters)
assert "photutils" in sys.modules
"""

NEXT_TO_THE_MODULE = """
from lyot.steps import Detector1Pipeline
import jwst.clean_flicker_noise.clean_flicker_noise as real
from jwst.clean_flicker_noise import clean_flicker_noise, clean_flicker_noise_step as step
assert clean_flicker_noise is real
real.do_correction = "patched"
assert step.clean_flicker_noise.do_correction == "patched"
"""

ONE_FUNCTION = """
import sys
from lyot.steps import Detector1Pipeline
from jwst.picture_frame import picture_frame_step as step
name = "jwst.picture_frame.picture_frame"
assert name not in sys.modules and "jwst.assign_wcs" not in sys.modules and "scipy.optimize" not in sys.modules
try:
    step.correct_picture_frame()
except TypeError as error:  # of the function itself
    assert "correct_picture_frame() missing" in str(error), error
assert sys.modules[name].correct_picture_frame.__module__ == name
from jwst.emicorr import emicorr_step
assert callable(emicorr_step.emicorr.apply_emicorr) and "scipy.optimize" in sys.modules
"""

AFTER_THE_WHOLE = """
import jwst.pipeline
from lyot.steps import Detector1Pipeline
assert issubclass(Detector1Pipeline, jwst.pipeline.Detector1Pipeline)
"""


def _run(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_the_pipelines_of_the_three_stages_are_imported():
    _run(ALONE)


def test_stages_2_and_3_are_imported_without_stage_1_and_what_skipped_steps_use():
    _run(ONE_STAGE)


def test_what_the_flicker_noise_step_uses_is_loaded_when_it_is_used():
    _run(LOADED_WHEN_USED)


def test_a_function_that_a_skipped_step_imports_is_loaded_when_it_is_called():
    _run(ONE_FUNCTION)


def test_the_module_itself_can_be_imported_and_patched():
    _run(NEXT_TO_THE_MODULE)


def test_a_package_that_is_imported_already_is_kept():
    _run(AFTER_THE_WHOLE)
