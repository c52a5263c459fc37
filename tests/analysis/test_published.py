"""Published contrast curves: read, and refused in one sentence."""

import numpy as np
import pytest

from lyot.analysis.published import read_published
from lyot.errors import InputError, MissingInputError


def test_units_magnitudes_and_labels(tmp_path):
    path = tmp_path / "them.ecsv"
    path.write_text(
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: separation, unit: mas, datatype: float64}\n"
        "# - {name: delta_mag, datatype: float64}\n# meta: {label: Them 2030}\nseparation delta_mag\n"
        "2000 5.0\n500 2.5\n"
    )
    curve = read_published(path)
    assert curve.label == "Them 2030"
    np.testing.assert_allclose(curve.separation, [0.5, 2.0])
    np.testing.assert_allclose(curve.contrast, [0.1, 0.01])


def test_csv_without_units_is_in_arcsec(tmp_path):
    path = tmp_path / "curve_f1550c.csv"
    path.write_text("separation,contrast_5sigma\n0.5,1e-3\n1,1e-4\n2,\n")
    curve = read_published(path)
    assert curve.label == "curve_f1550c" and curve.separation.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sep,contrast\n1,1e-3\n2,1e-4\n", "its columns are sep, contrast; expected a table"),
        ("separation,contrast\n1,3.2\n2,4.1\n", "contrast must be between 0 and 1"),
        ("separation,contrast\n1,a\n2,b\n", "is not numeric"),
        ("separation,contrast\n1,1e-3\n", "at two or more separations"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(tmp_path, content, said):
    path = tmp_path / "curve.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=said) as error:
        read_published(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        read_published(tmp_path / "none.csv")
