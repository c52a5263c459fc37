"""Scene files."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lyot.errors import ConfigError, MissingInputError, UnknownNameError
from lyot.simulator.scene import (
    BUNDLED_SCENES,
    Companion,
    Scene,
    example_scene,
    load_scene,
    read_scene,
    scene_from_mapping,
    with_changes,
    write_scene,
)


def test_example_is_the_default_scene() -> None:
    assert scene_from_mapping(tomllib.loads(example_scene())) == Scene()


@pytest.mark.parametrize("name", sorted(BUNDLED_SCENES))
def test_scenes_survive_writing_and_reading(name: str, tmp_path: Path) -> None:
    path = tmp_path / "scene.toml"
    path.write_text(write_scene(BUNDLED_SCENES[name]))
    assert read_scene(path) == BUNDLED_SCENES[name]


def test_no_companions_and_quotes_survive() -> None:
    scene = with_changes(Scene(companions=()), star={"name": 'a "b" \\ c', "flux": 0.5})
    assert scene_from_mapping(tomllib.loads(write_scene(scene))) == scene


def test_default_fluxes_are_those_of_hip_65426() -> None:
    scene = Scene()
    assert scene.star_flux("F1550C") == 0.0341
    assert scene.companion_flux(scene.companions[0], "F1550C") == pytest.approx(6.1e-4 * 0.0341)
    assert scene.companion_flux(scene.companions[0], "F1140C") == pytest.approx(4.95e-4 * 0.0603)
    assert scene.companion_flux(Companion(contrast=0.01), "F1140C") == pytest.approx(6.03e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stra]", "star"),
        ("[star]\nfluks = 1.0", "flux"),
        ("[star]\nflux = -1.0", "Jy"),
        ("[star]\nflux = 'bright'", "number"),
        ("star = 3", r"\[star\]"),
        ("companions = 3", r"\[\[companions\]\]"),
        ("[[companions]]\nseparatoin = 1.0", "separation"),
        ("not toml", "TOML"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "scene.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_scene(path)
    assert "scene.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_there() -> None:
    with pytest.raises(MissingInputError, match=r"nothing\.toml"):
        load_scene("nothing.toml")
    with pytest.raises(UnknownNameError, match="bright_planet"):
        load_scene("bright_plant")


def test_load_scene_takes_names_scenes_and_none() -> None:
    assert load_scene(None) == load_scene(Scene()) == load_scene("hip65426") == Scene()
