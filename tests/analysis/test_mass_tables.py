"""Evolution models as published: short tables of our own numbers, laid out as the authors lay out theirs."""

from __future__ import annotations

import numpy as np
import pytest

from lyot.analysis.mass_tables import ANY_AGE, EARTH_MASS, SOLAR_MASS, kind_of, read_aged, read_models
from lyot.analysis.parameters import ContrastSection
from lyot.errors import ConfigError, InputError, MissingInputError
from lyot.instrument import coronagraph
from lyot.run.config import build_config


def magnitude(age, mass):
    """Myr, Jupiter masses."""
    return 15 + 2.5 * np.log10(age / 10) - 5 * np.log10(mass)


def atmo(folder, masses=(0.001, 0.005, 0.02), filters=("MIRI-F1065C", "MIRI-F1140C", "MIRI-F1550C", "MIRI-F2300C")):
    """One file per mass: solar masses and Gyr; 0 where there is no magnitude."""
    folder.mkdir()
    for mass in masses:
        head = f"# {'Mass':>8}{'Age':>14}{'Teff':>12}{'Luminosity':>14}{'Radius':>10}{'Gravity':>10}"
        lines = [head + "".join(f"{name:>14}" for name in filters)]
        for age in (0.001, 0.01, 0.1, 1.0):
            value = magnitude(1e3 * age, SOLAR_MASS * mass)
            magnitudes = [0.0 if age == 1.0 else value + 0.5 * k for k in range(len(filters))]
            lines.append(f"{mass:10.4f}{age:14.6f}{900.0:12.2f}{-5.0:14.4f}{0.12:10.4f}{3.8:10.4f}"
                         + "".join(f"{m:14.4f}" for m in magnitudes))  # fmt: skip
        (folder / f"{mass}_ATMO_CEQ_vega_MIRI.txt").write_text("\n".join(lines) + "\n")
    return folder


def bex(path, *, vizier=False, named=True):
    """Logarithm of the age in years and Earth masses; with VizieR's bars and description, or the authors'."""
    names = ("log(Age/yr)", "Mass/Mearth", "Radius/Rjupiter", "Luminosity/Ljupiter", "Teff/K", "logg/cgs", "NACOJ",
             "F1000W", "F1500W", "SPHEREK2")  # fmt: skip
    lines = ["##atmflag = -2, [M/H] = 0.00, clear"]
    if named:
        lines.append("##" + ", ".join(f"{k}:{name}" for k, name in enumerate(names, start=1)))
    if vizier:
        labels = ("logAge", "Mass", "Rad", "Lum", "Teff", "logg", "JMAGNACO", "F1000WMAG", "F1500WMAG", "K2MAGS")
        units = ("[yr]", "Mgeo", "Jup", "Jup", "K", "[cm/s2]", *["mag"] * 4)
        lines += ["#     Label Format Unit    Explanations"]
        lines += [f"#{a:>10} F5.2   {u:<7} text" for a, u in zip(labels, units, strict=True)]
        lines += ["----|-----|", "  lo| Mas |", "gAge|  s  |"]
    for log_age in (6.0, 7.0, 8.0):
        for mass in (20.0, 100.0, 318.0):
            value = magnitude(10 ** (log_age - 6), EARTH_MASS * mass)
            row = [log_age, mass, 1.1, 400.0, 380.0, 2.4, 20.0, value, value - 1, 21.0]
            lines.append(("|" if vizier else "  ").join(f"{v:.4f}" for v in row))
        lines.append("#")
    path.write_text("\n".join(lines) + "\n")
    return path


def teff_of(age, mass):
    """Myr, solar masses."""
    return 2000 * (mass / 0.01) ** 0.5 * age**-0.2


def logg_of(mass):
    return 4.0 + 0.8 * np.log10(mass / 0.01)


def sonora(path, layout="age"):
    """Evolution tables by age (counts between the blocks), by mass, or of the grid of temperature and gravity."""
    heads = {
        "age": ["  age(Gyr)   M/Msun  log L/Lsun  Teff(K)  log g  R/Rsun"],
        "mass": ["   M/Msun   age(Gyr)  log L/Lsun  Teff(K)  log g  R/Rsun  log I (g cm2)"],
        "mass_age": ["   Teff      log g          Mass     Radius     log L    log age",
                     "    (K)      (cm/s2)        (Msun)    (Rsun)    (Lsun)      (yr)"],
    }  # fmt: skip
    lines = list(heads[layout])
    for age in (3.0, 10.0, 30.0):
        if layout != "mass_age":
            lines.append("   3")
        for mass in (0.003, 0.006, 0.012):
            teff, logg = teff_of(age, mass), logg_of(mass)
            row = {
                "age": [age / 1e3, mass, -5.0, teff, logg, 0.12],
                "mass": [mass, age / 1e3, -5.0, teff, logg, 0.12, 50.0],
                "mass_age": [teff, logg, mass, 0.12, -5.0, np.log10(age) + 6],
            }[layout]
            lines.append("  ".join(f"{v:.5f}" for v in row))
    path.write_text("\n".join(lines) + "\n")
    return path


def fluxes(path, filters=("F1000W", "F1140C")):
    """Logarithm of mJy at 10 pc against temperature and gravity; a radius with a note."""
    head = ["Sonora models", "flux at 10 pc, log mJy", "", f"{'':50}|  MIRI"]
    head.append("  Teff   log g    mass  R/Rsun   Y     log Kzz   " + "   ".join(filters))
    for teff in np.geomspace(400, 4000, 12):
        for logg in (3.0, 4.0, 5.0):
            flux = 3 * np.log10(teff / 1000) - (logg - 4)
            head.append(f"{teff:9.3f} {logg:6.3f} {1.0:8.2f} 0.1180* 0.28 -99.000 " + f"{flux:9.5f} " * len(filters))
    path.write_text("\n".join(head) + "\n")
    return path


# Each by its content


def test_a_folder_of_atmo_2020(tmp_path):
    models = read_models(atmo(tmp_path / "MIRI"), "F1140C")
    assert models.name == "ATMO 2020 (MIRI)" and models.filter == "F1140C"
    assert len(models.ages) == 9  # those without a magnitude are left out
    for age, mass in ((1.0, 2.0), (30.0, 10.0)):
        assert models.at(age).mass(magnitude(age, mass) + 0.5) == pytest.approx(mass, rel=1e-4)  # four digits
    with pytest.raises(InputError, match="outside the models, 1 to 100 Myr"):
        models.at(500.0)
    single = next((tmp_path / "MIRI").iterdir())
    assert kind_of(single.read_text()) == "atmo"
    with pytest.raises(InputError, match="fewer than two masses"):
        read_aged(single, "F1140C", 10.0)


def test_atmo_without_the_filter_names_those_that_are_there(tmp_path):
    folder = atmo(tmp_path / "NIRCAM", filters=("NIRCAM-F410M", "NIRCAM-F444W"))
    with pytest.raises(InputError, match=r"without F1140C; it has F410M, F444W\. .*--mass-filter"):
        read_models(folder, "F1140C")
    assert read_models(folder, "F444W").filter == "F444W"
    ground = atmo(tmp_path / "MKO", filters=("MKO_J", "W1"))
    with pytest.raises(InputError, match="no JWST filters"):
        read_models(ground, "F1140C")


@pytest.mark.parametrize(("vizier", "named"), [(False, True), (True, True), (True, False)])
def test_bex(tmp_path, vizier, named):
    path = bex(tmp_path / "BEX_evol_mags_-2_MH_0.00.dat", vizier=vizier, named=named)
    models = read_models(path, "F1500W")
    assert models.name.startswith("BEX")
    # magnitudes are written with four decimals
    assert models.at(30.0).mass(magnitude(30.0, 0.5) - 1) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(np.unique(models.masses), np.array([20, 100, 318]) * EARTH_MASS)
    with pytest.raises(InputError, match=r"BEX .* without F1550C; it has F1000W, F1500W"):
        read_models(path, "F1550C")


@pytest.mark.parametrize("layout", ["age", "mass", "mass_age"])
def test_sonora_takes_fluxes_from_a_second_table(tmp_path, layout):
    zero = coronagraph("F1140C").vega_zero_point
    path, flux = sonora(tmp_path / "nc+0.0_co1.0", layout), fluxes(tmp_path / "flux_table_JWST+0.0")
    models = read_models(path, "F1140C", photometry=flux, zero_point=zero)
    age, mass = 10.0, 0.006
    log_flux = 3 * np.log10(teff_of(age, mass) / 1000) - (logg_of(mass) - 4)
    expected = -2.5 * np.log10(10**log_flux * 1e-3 / zero)
    # linear between temperatures whose logarithms are 0.2 apart, in which the flux is linear; five digits of the table
    assert models.at(age).mass(expected) == pytest.approx(mass * SOLAR_MASS, rel=1e-3)
    with pytest.raises(InputError, match="--mass-photometry"):
        read_models(path, "F1140C")
    with pytest.raises(InputError, match="without F2300C; it has F1000W, F1140C"):
        read_models(path, "F2300C", photometry=flux, zero_point=zero)


def test_sonora_takes_magnitudes_as_they_are(tmp_path):
    path = sonora(tmp_path / "nc")
    table = tmp_path / "mag_table+0.0"
    lines = ["magnitudes", "  Teff   log g    mass  R/Rsun   Y     log Kzz   F1140C"]
    lines += [f"{t:.1f} {g:.2f} 1.0 0.1 0.28 -99.0 {20 - 5 * np.log10(t / 500):.5f}"
              for t in (300.0, 1000.0, 4000.0) for g in (3.0, 5.0)]  # fmt: skip
    table.write_text("\n".join(lines))
    models = read_models(path, "F1140C", photometry=table)
    expected = 20 - 5 * np.log10(teff_of(10.0, 0.012) / 500)
    assert models.at(10.0).mass(expected) == pytest.approx(0.012 * SOLAR_MASS, rel=1e-3)  # five digits of the table
    (tmp_path / "text").write_text("no table\n")
    with pytest.raises(InputError, match="begins with Teff"):
        read_models(path, "F1140C", photometry=tmp_path / "text")


def test_plain_columns(tmp_path, caplog):
    path = tmp_path / "grid.txt"
    path.write_text("# age mass mag\n10 1 15\n10 5 12\n10 20 9  # a note\n100 1 18\n100 5 14\n100 20 11\n")
    young = read_aged(path, "F1140C", 10.0)
    np.testing.assert_allclose(young.mass([15.0, 12.0, 9.0]), [1, 5, 20])
    assert np.isnan(young.mass(8.0)) and np.isnan(young.mass(16.0))
    np.testing.assert_allclose(read_models(path, "F1140C").at(10**1.5).magnitudes, [16.5, 13.0, 10.0])
    with pytest.raises(InputError, match="outside the models"):
        read_aged(path, "F1140C", 1000.0)
    with pytest.raises(InputError, match="give the age"):
        read_aged(path, "F1140C", None)
    assert not caplog.records
    read_aged(path, "F1140C", 20.0, 15.0)
    assert (
        "the age range 20 +- 15 Myr extends beyond the models; the age error is computed from 10 to 35 Myr"
        in caplog.text
    )
    path.write_text("1 15\n5 12\n")
    for age in (None, 300.0):  # a table at one age, which it does not say
        found = read_aged(path, "F1140C", age, 20.0)
        assert found.mass(15.0) == pytest.approx(1.0) and found.error == 0 and found.models.name == ANY_AGE


@pytest.mark.parametrize(("text", "words"), [
    ("1 2 3 4\n", "found 4 columns"), ("one two\n", "found 'one two'"), ("", "found no columns"),
])  # fmt: skip
def test_what_cannot_be_read(tmp_path, text, words):
    path = tmp_path / "grid.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_models(path, "F1140C")


def test_files_that_are_not_there_or_no_text(tmp_path):
    with pytest.raises(MissingInputError, match="no such table"):
        read_models(tmp_path / "none.txt", "F1140C")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty folder"):
        read_models(tmp_path / "empty", "F1140C")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="as text"):
        read_models(tmp_path / "binary", "F1140C")
    for name in ("a", "b"):
        (tmp_path / "empty" / name).write_text("words\n")
    with pytest.raises(InputError, match="no file in this folder"):
        read_models(tmp_path / "empty", "F1140C")


# The section


def test_the_section_reads_them_in_the_filter_of_the_images(tmp_path):
    section = ContrastSection(masses=str(atmo(tmp_path / "MIRI")), age=30.0, age_error=5.0)
    found = section.mass_grid(coronagraph("F1550C"))
    assert (found.models.filter, found.age, found.error) == ("F1550C", 30.0, 5.0)
    assert len(section.files) == 3
    other = ContrastSection(masses=section.masses, age=30.0, mass_filter="F1065C").mass_grid(coronagraph("F1550C"))
    assert other.models.filter == "F1065C"
    assert ContrastSection().mass_grid(coronagraph("F1550C")) is None and ContrastSection().files == ()


def test_masses_need_distance_and_age():
    with pytest.raises(ConfigError, match="distance"):
        build_config({"contrast": {"masses": "grid.txt"}})
    with pytest.raises(ConfigError, match="age_error requires the age"):
        build_config({"contrast": {"masses": "grid.txt", "age_error": 3.0}, "star": {"distance": 10.0}})
