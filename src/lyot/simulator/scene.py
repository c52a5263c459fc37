"""Scene and telescope pointing: read from a TOML scene file, or built in Python.

Each table of the file is one of the dataclasses below; names that are not known are refused with the nearest ones.
Values that are left out take the defaults, which describe HIP 65426. `example_scene` gives a complete file,
`BUNDLED_SCENES` are those that come with Lyot.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lyot.errors import ConfigError, MissingInputError, unknown_name
from lyot.params import describe, from_mapping, param

STAR_FLUX: Final[dict[str, float]] = {"F1065C": 0.0686, "F1140C": 0.0603, "F1550C": 0.0341, "F2300C": 0.0170}
"""Flux density of HIP 65426 by filter, Jy."""

COMPANION_CONTRAST: Final[dict[str, float]] = {"F1065C": 4.6e-4, "F1140C": 4.95e-4, "F1550C": 6.1e-4, "F2300C": 9.0e-4}
"""Flux of HIP 65426 b relative to its star by filter; F1140C and F1550C as observed, the others plausible."""

BACKGROUND_LEVEL: Final[dict[str, float]] = {"F1065C": 11.0, "F1140C": 14.7, "F1550C": 42.0, "F2300C": 280.0}
"""Thermal background of telescope and zodiacal light by filter, MJy/sr; F1140C as in archival backgrounds."""


@dataclass(frozen=True)
class Target:
    """A star."""

    name: str = param("HIP-65426", help="name, as in the keyword TARGPROP")
    ra: float = param(201.15014, help="right ascension, ICRS", unit="deg", min=0.0, max=360.0)
    dec: float = param(-51.50447, help="declination, ICRS", unit="deg", min=-90.0, max=90.0)
    flux: float | None = param(None, help="flux density; none: that of HIP 65426 in the filter", unit="Jy", min=0.0)


@dataclass(frozen=True)
class Reference:
    """The reference star."""

    name: str = param("HIP-68245", help="name, as in the keyword TARGPROP")
    ra: float = param(209.56779, help="right ascension, ICRS", unit="deg", min=0.0, max=360.0)
    dec: float = param(-42.10075, help="declination, ICRS", unit="deg", min=-90.0, max=90.0)
    brightness: float = param(4.0, help="flux relative to the star", min=1e-3, max=1e3)
    dither: float = param(0.010, help="step of the 9-point small-grid dither", unit="arcsec", min=0.0, max=1.0)


@dataclass(frozen=True)
class Companion:
    """A point source near the star.

    Examples
    --------
    >>> from lyot.simulator import Companion, Scene
    >>> scene = Scene(companions=(Companion(name="c", separation=1.5, position_angle=45.0, contrast=1e-3),))
    >>> round(scene.companion_flux(scene.companions[0], "F1550C") / scene.star_flux("F1550C"), 9)
    0.001
    """

    name: str = param("b", help="name")
    separation: float = param(0.8176, help="separation from the star", unit="arcsec", min=0.0, max=30.0)
    position_angle: float = param(149.36, help="position angle, east of north", unit="deg", min=-360.0, max=360.0)
    contrast: float | None = param(None, help="flux relative to the star; none: that of HIP 65426 b", min=0.0, max=1.0)


@dataclass(frozen=True)
class Disk:
    """An optically thin inclined ring; omitted if `contrast` is 0.

    Examples
    --------
    >>> from lyot.simulator import Disk
    >>> from lyot.params import describe
    >>> [info.name for info in describe(Disk)][:3]
    ['contrast', 'radius', 'width']
    """

    contrast: float = param(0.0, help="total flux relative to the star, before the mask", min=0.0, max=10.0)
    radius: float = param(1.5, help="radius of maximum surface brightness", unit="arcsec", min=0.05, max=12.0)
    width: float = param(
        0.3, help="full width at half maximum of the Gaussian radial profile", unit="arcsec", min=0.02, max=12.0
    )
    inclination: float = param(70.0, help="inclination, 0 is face-on", unit="deg", min=0.0, max=89.0)
    position_angle: float = param(60.0, help="position angle of the major axis", unit="deg", min=-360.0, max=360.0)
    sources: int = param(300, help="number of point sources that represent the disk", min=10, max=5000)


@dataclass(frozen=True)
class Background:
    """Thermal background and glow sticks."""

    level: float | None = param(
        None, help="background level; none: typical level for the filter", unit="MJy/sr", min=0.0
    )
    glow: float = param(1.0, help="brightness of the glow sticks relative to archival backgrounds", min=0.0, max=50.0)
    drift: float = param(0.003, help="relative rms variation of the level between exposures", min=0.0, max=0.5)


@dataclass(frozen=True)
class Pointing:
    """Position of the star on the mask."""

    mask_offset_x: float = param(0.004, help="offset of the star from the mask center along detector x", unit="arcsec")
    mask_offset_y: float = param(-0.003, help="offset of the star from the mask center along detector y", unit="arcsec")
    repeatability: float = param(0.003, help="rms scatter of this offset per visit and axis", unit="arcsec", min=0.0)
    jitter: float = param(0.002, help="rms scatter per exposure and axis", unit="arcsec", min=0.0)
    commanded_x: float = param(
        0.0,
        help="offset commanded in all visits, included in XOFFSET but not in the position behind the mask",
        unit="arcsec",
    )
    commanded_y: float = param(
        0.0,
        help="offset commanded in all visits, included in YOFFSET but not in the position behind the mask",
        unit="arcsec",
    )
    roll_1: float = param(108.171, help="ROLL_REF of the first science observation", unit="deg", min=-360.0, max=360.0)
    roll_2: float = param(117.550, help="ROLL_REF of the second science observation", unit="deg", min=-360.0, max=360.0)
    roll_reference: float = param(101.34, help="ROLL_REF of the reference star", unit="deg", min=-360.0, max=360.0)


@dataclass(frozen=True)
class Optics:
    """Optics of coronagraph and telescope."""

    stop: str = param(
        "effective",
        help="optics for the light of the star: effective (stop, wavefront and mask errors fitted to a star in "
        "flight), geometric (the shape always used for companions), eroded (pupil with edges moved inward)",
        choices=("effective", "geometric", "eroded"),
    )
    fitted_optics: str = param(
        "", help="file written by lyot fit-optics for the effective optics; empty: those included in Lyot"
    )
    wavefront_rms: float = param(
        120.0,
        help="rms static wavefront error; not for the effective optics, which include their own",
        unit="nm",
        min=0.0,
        max=2000.0,
    )
    drift_reference: float = param(
        4.0, help="rms wavefront change between the two stars", unit="nm", min=0.0, max=500.0
    )
    drift_roll: float = param(1.5, help="rms wavefront change between the two rolls", unit="nm", min=0.0, max=500.0)
    drift_exposure: float = param(1.5, help="rms wavefront change per exposure", unit="nm", min=0.0, max=500.0)


@dataclass(frozen=True)
class Detector:
    """Options of the detector."""

    cosmic_ray_rate: float = param(5.0, help="cosmic rays", unit="1/s/cm2", min=0.0, max=1000.0)
    brighter_fatter: float = param(
        0.0, help="strength of the brighter-fatter effect, see the detector model; 0.3 is strong", min=0.0, max=2.0
    )


@dataclass(frozen=True)
class Scene:
    """Everything that is simulated apart from the instrument.

    Attributes
    ----------
    star, reference, companions, disk, background, pointing, optics, detector
        One table each of the scene file; companions is a list of tables, ``[[companions]]``, brightest or nearest first
        as you like. An empty list (``companions = []``) simulates none.

    Examples
    --------
    HIP 65426 in two filters, Jy, and the background at the longest wavelength, MJy/sr:

    >>> from lyot.simulator import Scene
    >>> scene = Scene()
    >>> scene.star_flux("F1140C"), scene.star_flux("F1550C"), scene.background_level("F2300C")
    (0.0603, 0.0341, 280.0)
    """

    star: Target = field(default_factory=Target)
    reference: Reference = field(default_factory=Reference)
    companions: tuple[Companion, ...] = (Companion(),)
    disk: Disk = field(default_factory=Disk)
    background: Background = field(default_factory=Background)
    pointing: Pointing = field(default_factory=Pointing)
    optics: Optics = field(default_factory=Optics)
    detector: Detector = field(default_factory=Detector)

    def star_flux(self, filter_name: str) -> float:
        """Flux density of the star.

        Parameters
        ----------
        filter_name : str
            F1065C, F1140C, F1550C or F2300C.

        Returns
        -------
        float
            Jy; that of HIP 65426 in the filter if the scene gives none.
        """
        return STAR_FLUX[filter_name] if self.star.flux is None else self.star.flux

    def companion_flux(self, companion: Companion, filter_name: str) -> float:
        """Flux density of a companion before the mask.

        Parameters
        ----------
        companion : Companion
        filter_name : str
            F1065C, F1140C, F1550C or F2300C.

        Returns
        -------
        float
            Jy; with the contrast of HIP 65426 b in the filter if the companion gives none.
        """
        contrast = COMPANION_CONTRAST[filter_name] if companion.contrast is None else companion.contrast
        return contrast * self.star_flux(filter_name)

    def background_level(self, filter_name: str) -> float:
        """Thermal background.

        Parameters
        ----------
        filter_name : str
            F1065C, F1140C, F1550C or F2300C.

        Returns
        -------
        float
            MJy/sr; the typical level of the filter if the scene gives none.
        """
        return BACKGROUND_LEVEL[filter_name] if self.background.level is None else self.background.level


_TABLES: Final[dict[str, type]] = {
    "star": Target,
    "reference": Reference,
    "disk": Disk,
    "background": Background,
    "pointing": Pointing,
    "optics": Optics,
    "detector": Detector,
}


def scene_from_mapping(values: Mapping[str, Any], *, where: str = "scene") -> Scene:
    """Build a `Scene` from the tables of a scene file, checking every name and value.

    Raises
    ------
    UnknownNameError, ConfigError
        Naming the table, the value and what was expected.
    """
    parts: dict[str, Any] = {}
    for name, table in values.items():
        if name == "companions":
            if not isinstance(table, list) or not all(isinstance(row, Mapping) for row in table):
                raise ConfigError(f"{where}: companions: expected a list of tables, [[companions]].")
            rows = [from_mapping(Companion, row, where=f"{where} [[companions]] ") for row in table]
            parts[name] = tuple(rows)
        elif name in _TABLES:
            if not isinstance(table, Mapping):
                raise ConfigError(f"{where}: {name}: expected a table, [{name}].")
            parts[name] = from_mapping(_TABLES[name], table, where=f"{where} [{name}] ")
        else:
            raise unknown_name("table", name, [*_TABLES, "companions"], where=where)
    return Scene(**parts)


def read_scene(path: str | Path) -> Scene:
    """Read a TOML scene file.

    Raises
    ------
    MissingInputError
        If there is no such file.
    ConfigError
        If it is not TOML, or holds a name or value that cannot be used.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such scene file; check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}.") from None
    return scene_from_mapping(values, where=str(path))


def _toml(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def _table(header: str, values: Any) -> list[str]:
    lines = [header]
    for info in describe(type(values)):
        value = getattr(values, info.name)
        unit = f" [{info.unit}]" if info.unit else ""
        text = f"# {info.name} =" if value is None else f"{info.name} = {_toml(value)}"
        lines.append(f"{text}  # {info.help}{unit}")
    return [*lines, ""]


def write_scene(scene: Scene) -> str:
    """Return a scene as the text of a TOML file, every value with its help; `read_scene` gives the same scene back."""
    lines = [] if scene.companions else ["companions = []", ""]
    for name in _TABLES:
        lines += _table(f"[{name}]", getattr(scene, name))
    for companion in scene.companions:
        lines += _table("[[companions]]", companion)
    return "\n".join(lines)


def example_scene() -> str:
    """Text of a complete scene file with the default values."""
    return write_scene(Scene())


BUNDLED_SCENES: Final[dict[str, Scene]] = {
    "hip65426": Scene(),
    "bright_planet": Scene(companions=(Companion(contrast=8e-3),)),
    "two_planets": Scene(companions=(Companion(contrast=6e-3), Companion("c", 1.9, 250.0, 2e-3))),
    "disk": Scene(disk=Disk(contrast=5e-2)),
}
"""Scenes by name: HIP 65426 as it is; with a brighter planet for short exposures; with two; with a disk."""


def load_scene(scene: Scene | str | Path | None) -> Scene:
    """Load a `Scene` from a file, a bundled name, or a `Scene` itself.

    Parameters
    ----------
    scene : Scene, str, Path or None
        None (HIP 65426), the name of a bundled scene, a TOML file, or a scene.

    Returns
    -------
    Scene

    Examples
    --------
    >>> from lyot.simulator import load_scene
    >>> [(companion.separation, companion.contrast) for companion in load_scene("two_planets").companions]
    [(0.8176, 0.006), (1.9, 0.002)]
    """
    if scene is None:
        return Scene()
    if isinstance(scene, Scene):
        return scene
    if str(scene) in BUNDLED_SCENES:
        return BUNDLED_SCENES[str(scene)]
    path = Path(scene)
    if path.suffix == ".toml" or path.exists():
        return read_scene(path)
    raise unknown_name("scene", str(scene), BUNDLED_SCENES)


def with_changes(scene: Scene, **tables: Mapping[str, Any]) -> Scene:
    """Copy a scene with some values changed, e.g. ``with_changes(scene, detector={"cosmic_ray_rate": 0.0})``."""
    parts = {name: dataclasses.replace(getattr(scene, name), **values) for name, values in tables.items()}
    return dataclasses.replace(scene, **parts)
