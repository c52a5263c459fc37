"""The association files are those that the official loaders take."""

import json

import pytest
from jwst.associations import load_asn
from jwst.associations.load_as_asn import LoadAsLevel2Asn

from lyot.exposures.associations import dump, level2, level3
from lyot.exposures.read import find_exposures
from lyot.exposures.roles import Role, sort_roles, with_role
from tests.run.exposures import write_sequence

# members are given with their folders, as inputs need not be in one place
pytestmark = pytest.mark.filterwarnings("ignore:Input association file contains path information")


def test_level_2_loads(tmp_path):
    assigned = sort_roles(find_exposures([write_sequence(tmp_path)]))
    science = with_role(assigned, Role.SCIENCE)[0]
    path = tmp_path / "image2_asn.json"
    path.write_text(dump(level2([science], [tmp_path / "a_rateints.fits"], [tmp_path / "b_rateints.fits"])))
    loaded = LoadAsLevel2Asn.load(str(path))
    (product,) = loaded["products"]
    assert product["name"] == science.exposure.root
    assert [m["exptype"] for m in product["members"]] == ["science", "background"]
    assert loaded["asn_rule"] == "DMSLevel2bBase"


def test_level_3_loads(tmp_path):
    assigned = sort_roles(find_exposures([write_sequence(tmp_path)]))
    calints = {a.exposure.root: tmp_path / f"{a.exposure.root}_calints.fits" for a in assigned}
    text = dump(level3(assigned, calints))
    loaded = load_asn(text)
    (product,) = loaded["products"]
    assert product["name"] == "jw01386-a3001_hip-65426_miri_f1550c-mask1550"
    assert sorted(m["exptype"] for m in product["members"]) == ["psf", "psf", "science", "science"]
    assert (loaded["asn_id"], loaded["asn_rule"], loaded["target"]) == ("a3001", "DMS_Level3_Base", "HIP-65426")
    assert json.loads(text)["program"] == "01386"
