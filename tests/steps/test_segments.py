"""A segmented exposure gives what the whole one gives, at every stage."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from lyot import dq
from lyot.errors import InputError
from lyot.steps.coron3 import Coron3Pipeline
from lyot.steps.detector1 import Detector1Pipeline
from lyot.steps.image2 import Image2Pipeline
from lyot.steps.segments import group_segments, join_segments
from lyot.steps.stage2_background import BackgroundStep

from ..ramps.cubes import Scenario, ramps
from .stage1_synthetic import offline, run, write_exposure, write_references
from .stage23_synthetic import SHAPE, exposure, sequence, write_association

pytestmark = pytest.mark.filterwarnings("ignore")  # of the official steps

ARRAYS = ("data", "err", "dq", "var_poisson", "var_rnoise")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


def cut(model, parts, total=None):
    """Segments of an exposure, as models; `parts` are (first, last) integrations."""
    segments = []
    for number, (first, last) in enumerate(parts, start=1):
        mine = slice(first - 1, last)
        part = datamodels.CubeModel(data=model.data[mine].copy())
        part.update(model)
        for name in ARRAYS[1:]:
            setattr(part, name, getattr(model, name)[mine].copy())
        stem, _, rest = str(model.meta.filename).rpartition("_mirimage")
        part.meta.filename = f"{stem}-seg{number:03d}_mirimage{rest}" if stem else None
        e = part.meta.exposure
        e.nints, e.integration_start, e.integration_end = total or parts[-1][1], first, last
        e.segment_number, e.segment_total = number, len(parts)
        segments.append(part)
    return segments


def assert_same_bits(parts, whole, arrays=ARRAYS):
    for name in arrays:
        together = np.concatenate([np.asarray(getattr(p, name)) for p in parts])
        np.testing.assert_array_equal(together, getattr(whole, name), err_msg=name)


@pytest.mark.parametrize("algorithm", ["OLS_C", "LIKELY"])
def test_slopes_of_all_segments_together(tmp_path, algorithm):
    """Three segments, each given the others: every array of every integration has the bits of the whole exposure."""
    scenario = Scenario(nints=6, ngroups=12, seed=41)
    raw = ramps(scenario)
    name = "jw01386008001_04101_00001{}_mirimage_uncal.fits"
    cuts = ((1, 2), (3, 5), (6, 6))
    with offline(tmp_path / "crds"):
        steps = write_references(tmp_path, scenario)
        steps["ramp_fit"] |= {"drop_first_integration": True, "algorithm": algorithm}
        whole = write_exposure(tmp_path / name.format(""), scenario, raw)
        _, expected = run(Detector1Pipeline, whole, steps, tmp_path / "whole")
        files = []
        for number, (first, last) in enumerate(cuts, start=1):
            part = Scenario(nints=last - first + 1, ngroups=12, seed=41, segment=(first, 6))
            files.append(write_exposure(tmp_path / name.format(f"-seg00{number}"), part, raw[first - 1 : last]))
        found = [
            run(Detector1Pipeline, file, steps, tmp_path / f"{k}", segments=[str(f) for f in files], sample_ramps=True)
            for k, file in enumerate(files)
        ]
        alone = run(Detector1Pipeline, files[1], steps, tmp_path / "alone")[1]
    rateints = [ints for _, ints in found]
    assert_same_bits(rateints, expected)
    # not so where the segment is reduced by itself: that the test can fail
    assert not np.array_equal(alone.var_poisson, expected.var_poisson[2:5]) or algorithm == "LIKELY"
    # the rate is that of the segment: the mean of its only integration
    rate = found[2][0]
    np.testing.assert_array_equal(rate.data, expected.data[5])
    samples = [fits.open(next((tmp_path / f"{k}").glob("*_samples.fits")))["SAMPLES"] for k in range(3)]
    assert [table.header["INTEGR"] for table in samples] == [2, 4, 6]
    at = samples[1].data["Y"], samples[1].data["X"]
    np.testing.assert_array_equal(samples[1].data["SLOPE"], expected.data[3][at])


def test_segments_that_do_not_belong_together(tmp_path, caplog):
    scenario = Scenario(nints=2, ngroups=6, seed=41, segment=(1, 9))
    name = "jw01386008001_04101_00001-seg00{}_mirimage_uncal.fits"
    with offline(tmp_path / "crds"):
        steps = write_references(tmp_path, scenario)
        files = [
            write_exposure(tmp_path / name.format(k), replace(scenario, segment=(first, 9)), ramps(scenario))
            for k, first in ((1, 1), (3, 7))
        ]
        run(Detector1Pipeline, files[0], steps, tmp_path / "out", segments=[str(files[1])])
        assert "seg003_mirimage_uncal.fits: not used for the medians and the photon noise" in caplog.text
        run(Detector1Pipeline, files[0], steps, tmp_path / "out", segments=[str(files[1])], fuse=False)
        assert "those of this segment, not of the exposure" in caplog.text
        other = write_exposure(tmp_path / files[0].name.replace("_00001-", "_00002-"), scenario, ramps(scenario))
        with pytest.raises(InputError, match="not a segment of the exposure of jw01386008001_04101_00001-seg001"):
            run(Detector1Pipeline, files[0], steps, tmp_path / "out", segments=[str(other)])
        fits.delval(files[1], "INTSTART")
        with pytest.raises(InputError, match=r"seg003_mirimage_uncal.fits: a segment without INTSTART"):
            run(Detector1Pipeline, files[0], steps, tmp_path / "out", segments=[str(files[1])])


@pytest.mark.parametrize("streamed", [True, False])
def test_slopes(tmp_path, streamed):
    """References that differ between integrations, a first integration that is dropped, jumps: the same bits.

    Each segment by itself. Officially, and here then too, two things are of the file: the photon noise (of the median
    slope of its integrations), and FLUX_ESTIMATED (a ramp of any of its integrations won groups back).
    """
    scenario = Scenario(nints=5, ngroups=12, seed=41)
    raw = ramps(scenario)
    name = "jw01386008001_04101_00001{}_mirimage_uncal.fits"
    with offline(tmp_path / "crds"):
        steps = write_references(tmp_path, scenario)
        # officially jumps stand out from the median of the integrations in the file: here of each integration
        steps["jump"]["median_over"] = "integration"
        steps["ramp_fit"]["drop_first_integration"] = True
        whole = write_exposure(tmp_path / name.format(""), scenario, raw)
        _, expected = run(Detector1Pipeline, whole, steps, tmp_path / "whole", fuse=streamed)
        found = []
        for number, (first, last) in enumerate(((1, 2), (3, 5)), start=1):
            part = Scenario(nints=last - first + 1, ngroups=12, seed=41, segment=(first, 5))
            file = write_exposure(tmp_path / name.format(f"-seg00{number}"), part, raw[first - 1 : last])
            found.append(run(Detector1Pipeline, file, steps, tmp_path / f"{number}", fuse=streamed)[1])
    for model in (*found, expected):
        model.dq = model.dq & ~np.uint32(dq.FLUX_ESTIMATED)
    assert_same_bits(found, expected, ("data", "dq", "var_rnoise"))
    assert str(found[1].meta.filename) == name.format("-seg002").replace("uncal", "rateints")
    # integration 1, and no other, was dropped: some pixels are bad in all
    assert np.isnan(expected.data[0]).all() and np.isfinite(expected.data[1:]).mean() > 0.5


def slopes(rng, name, n=5, source=0.0):
    image = np.full(SHAPE, 15.0) + source * np.exp(-np.hypot(*(np.indices(SHAPE) - 40)) / 5)
    model = exposure(rng.normal(image, 0.2, (n, *SHAPE)), name=name, noise=0.2)
    model.data[0] += 3.0
    model.meta.bunit_data = "DN/s"
    return model


def test_background_of_segments():
    rng = np.random.default_rng(42)
    science = slopes(rng, "jw01001001001_04101_00001_mirimage_rateints.fits", source=20.0)
    backgrounds = [slopes(rng, f"jw01001030001_02101_0000{i}_mirimage_rateints.fits") for i in (1, 2)]
    whole = BackgroundStep().run(science, backgrounds)
    pieces = [s for b in backgrounds for s in cut(b, ((1, 2), (3, 5)))]
    parts = [BackgroundStep().run(s, pieces) for s in cut(science, ((1, 2), (3, 5)))]
    assert_same_bits(parts, whole)
    # the first plane of segment 2 has no first-integration background subtracted (-3 would be left); 3000 pixels of
    # noise 0.22: 0.004
    assert abs(float(parts[1].data[0, 60:].mean())) < 0.03


def test_calibrated_segments(tmp_path):
    """Stage 2 as a pipeline, with outliers in time that only all integrations together show."""
    rng = np.random.default_rng(43)
    science = slopes(rng, "jw01001001001_04101_00001_mirimage_rateints.fits", source=20.0)
    science.data[0] -= 3.0
    science.data[3, 50, 60] += 400
    off = {name: {"skip": True} for name in ("assign_wcs", "flat_field", "photom")}
    with offline(tmp_path / "crds"):
        science.save(tmp_path / str(science.meta.filename))
        Image2Pipeline.call(str(tmp_path / str(science.meta.filename)), steps=off, save_results=True,
                            output_dir=str(tmp_path / "whole"))  # fmt: skip
        products = []
        for part in cut(science, ((1, 2), (3, 5))):
            path = tmp_path / str(part.meta.filename)
            part.save(path)
            name = path.name.removesuffix("_rateints.fits")
            products.append({"name": name, "members": [{"expname": str(path), "exptype": "science"}]})
        association = {"asn_type": "image2", "asn_rule": "DMSLevel2bBase", "asn_id": "a3001", "asn_pool": "none",
                       "program": "01001", "target": "x", "products": products}  # fmt: skip
        (tmp_path / "asn.json").write_text(json.dumps(association))
        Image2Pipeline.call(str(tmp_path / "asn.json"), steps=off, save_results=True, output_dir=str(tmp_path / "cut"))
    (whole,) = (datamodels.open(p) for p in (tmp_path / "whole").glob("*_calints.fits"))
    names = [f"jw01001001001_04101_00001-seg00{k}_mirimage_calints.fits" for k in (1, 2)]
    assert sorted(p.name for p in (tmp_path / "cut").glob("*.fits")) == names
    parts = [datamodels.open(tmp_path / "cut" / name) for name in names]
    assert_same_bits(parts, whole)
    assert parts[1].dq[1, 50, 60] & dq.OUTLIER
    assert [fits.getval(tmp_path / "cut" / n, "NBADTIME") for n in names] == [0, 1]


def test_stage_3_takes_segments_as_one_exposure(tmp_path):
    science, references = sequence(np.random.default_rng(44))
    for model in (*science, *references):
        model.meta.filename = str(model.meta.filename).replace("_calints", "_mirimage_calints")
    settings = {"klip": {"use_throughput": False}, "refine": {"skip": True}}
    images = {}
    for kind in ("whole", "cut"):
        folder = tmp_path / kind
        folder.mkdir()
        if kind == "cut":
            science = [*cut(science[0], ((1, 1), (2, 3))), *science[1:]]
            references = [*cut(references[0], ((1, 1), (2, 2))), *references[1:]]
        association = write_association(folder, science, references)
        Coron3Pipeline.call(str(association), output_dir=str(folder), save_results=True, steps=settings)
        images[kind] = {p.name: p for p in folder.glob("*.fits") if "calints" not in p.name}
    assert set(images["cut"]) == set(images["whole"])  # one psfsub and one roll per exposure, under the same names
    for name, path in images["whole"].items():
        np.testing.assert_array_equal(fits.getdata(images["cut"][name], "SCI"), fits.getdata(path, "SCI"), err_msg=name)
    stack = fits.getdata(images["cut"]["target_psfstack.fits"], "REFS")
    np.testing.assert_array_equal(stack["EXPOSURE"], np.repeat(np.arange(6), 2))


def test_segments_in_any_order_join_in_theirs():
    model = slopes(np.random.default_rng(45), "jw01001001001_04101_00001_mirimage_rateints.fits")
    first, second = cut(model, ((1, 2), (3, 5)))
    (joined,) = join_segments([second, first])
    assert_same_bits([joined], model)
    assert joined.meta.filename == model.meta.filename
    assert (joined.meta.exposure.integration_start, joined.meta.exposure.integration_end) == (1, 5)
    assert join_segments([model]) == [model]


def test_segments_that_do_not_fit_together(caplog):
    model = slopes(np.random.default_rng(46), "jw01001001001_04101_00001_mirimage_rateints.fits")
    first, overlapping = cut(model, ((1, 3), (3, 5)))
    with pytest.raises(InputError, match=r"-seg002.* begins with integration 3, but .*-seg001.* up to 3"):
        join_segments([first, overlapping])
    first, _, last = cut(model, ((1, 2), (3, 3), (4, 5)))
    with caplog.at_level("WARNING"):
        assert len(group_segments([first, last])[0]) == 2
    assert "integrations 3 to 3 are missing" in caplog.text
    last.meta.exposure.integration_start = None
    with pytest.raises(InputError, match=r"a later segment without INTSTART; set INTSTART and INTEND"):
        join_segments([first, last])
