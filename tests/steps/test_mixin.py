"""What all steps of ours share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from stdatamodels.jwst import datamodels
from stpipe import crds_client

from lyot.reference_files.environment import resolve_crds
from lyot.simulator.crds_cache import write_empty_cache
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.image2 import Image2Pipeline
from lyot.steps.stage2_bad_pixels import BadPixelStep

PARAMETERS = {
    "meta.instrument.name": "MIRI", "meta.instrument.detector": "MIRIMAGE", "meta.instrument.filter": "F1550C",
    "meta.exposure.type": "MIR_4QPM", "meta.observation.date": "2022-07-17", "meta.observation.time": "03:00:00",
}  # fmt: skip


@pytest.mark.parametrize("cls", [BadPixelStep, Image2Pipeline, Coron3Pipeline])
def test_crds_is_not_asked_for_parameters_of_steps_it_cannot_know(cls, tmp_path, monkeypatch) -> None:
    asked = []

    def ask(parameters, reftype, observatory):
        asked.append(reftype)
        return original(parameters, reftype, observatory)

    original = crds_client.get_reference_file
    monkeypatch.setattr(crds_client, "get_reference_file", ask)
    cache = write_empty_cache(tmp_path / "crds_cache")
    with resolve_crds(cache.path).applied():
        # stpipe hands on to the steps what it has read of the exposure
        cls.get_config_from_reference(PARAMETERS, crds_observatory="jwst")
    assert "pars-jwststep" not in asked
    if cls is Image2Pipeline:
        assert {"pars-image2pipeline", "pars-flatfieldstep"} <= set(asked)
    elif cls is Coron3Pipeline:
        assert {"pars-coron3pipeline", "pars-klipstep"} <= set(asked)
    else:
        assert not asked


@pytest.mark.parametrize("extension", ["fits", "asdf"])
def test_file_is_closed_once_it_is_read(extension, tmp_path) -> None:
    path = tmp_path / f"jw01001001001_calints.{extension}"
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    datamodels.CubeModel(data=data).save(path)
    model = BadPixelStep().prepare_output(str(path))
    opened = [Path(file.path).name for file in psutil.Process().open_files()]
    assert (path.name in opened) == (extension == "asdf")  # the arrays of which are read when they are used
    assert np.array_equal(model.data, data)


def test_models_that_are_given_are_not_closed(tmp_path) -> None:
    path = tmp_path / "jw01001001001_calints.fits"
    datamodels.CubeModel((2, 3, 4)).save(path)
    with datamodels.open(path) as model:
        BadPixelStep().prepare_output(model)
        assert path.name in [Path(file.path).name for file in psutil.Process().open_files()]
