"""From the scene to the light that falls on the detector in each exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ConfigError
from lyot.geometry import detector_offset, pa_of_detector_y
from lyot.instrument import V3_IDEAL_Y_ANGLE
from lyot.optics import CoronagraphModel, OpticsParams, Wavefront, drifted
from lyot.simulator.background import field_stop, thermal_background
from lyot.simulator.plan import OBSERVATIONS, Exposure
from lyot.simulator.scene import Disk, Optics, Scene

FloatArray = NDArray[np.float64]

_STAMP = 41  # pixels, of each point of the disk
_COARSE = 128  # pupil samples of the one-wavelength model used for the disk


@dataclass(frozen=True)
class Source:
    """A point source in one exposure.

    Attributes
    ----------
    name : str
        ``"star"``, or the companion's name.
    flux : float
        Jy, before the mask.
    position : (x, y)
        0-based pixels on the detector.
    offset : (dx, dy)
        From the mask center, arcsec along detector x and y.
    throughput : float
        Share of its light that passes mask and Lyot stop, 1 far from the mask's features.
    """

    name: str
    flux: float
    position: tuple[float, float]
    offset: tuple[float, float]
    throughput: float


@dataclass(frozen=True)
class Light:
    """What falls on the detector in one exposure.

    Attributes
    ----------
    image : (ny, nx) float64 ndarray
        Surface brightness, MJy/sr on the photometric scale of the products, without noise; no NaN.
    pa_y : float
        Position angle of the detector's +y axis, degrees.
    star : Source or None
        None for backgrounds.
    companions : tuple of Source
        Empty for references and backgrounds.
    background_level : float
        MJy/sr.
    wavefront_rms, wavefront_drift : float
        Wavefront error, and its difference from the sequence's nominal one, nm rms.
    """

    image: FloatArray
    pa_y: float
    star: Source | None
    companions: tuple[Source, ...]
    background_level: float
    wavefront_rms: float
    wavefront_drift: float


class LightMaker:
    """Images of all exposures of one sequence.

    Parameters
    ----------
    scene : Scene
        What is in the sky.
    model : CoronagraphModel
        The optics.
    seed : int
        Of the wavefront drifts and background variations.

    Attributes
    ----------
    model, off_axis : CoronagraphModel
        Optics of the star, and of companions and disks.
    """

    def __init__(self, scene: Scene, model: CoronagraphModel, seed: int) -> None:
        self.scene = scene
        self.model = model
        self.seed = seed
        # effective optics reproduce a star on the mask; companions and disks are imaged through the drawing of the stop
        effective = model.params.stop == "effective"
        params = replace(model.params, stop="geometric", fitted_optics="") if effective else model.params
        self.off_axis = CoronagraphModel.build(model.coronagraph, params)
        half = max(model.params.pupil_pixels // _COARSE, 1)
        self._step = half
        coarse = replace(self.off_axis.params, pupil_pixels=model.params.pupil_pixels // half, n_wavelengths=1)
        self._coarse = CoronagraphModel.build(model.coronagraph, coarse)

    @classmethod
    def build(cls, scene: Scene, filter_name: str, seed: int, *, params: OpticsParams | None = None) -> LightMaker:
        """Make the optics from the scene (`params` replaces them, e.g. for quick tests) and return the maker.

        Raises
        ------
        ConfigError
            If the scene sets a static wavefront where the effective optics have their own.
        InputError
            If fitted optics cannot be read.
        """
        o = scene.optics
        params = params or OpticsParams(stop=o.stop, fitted_optics=o.fitted_optics, wavefront_rms=o.wavefront_rms)
        model = CoronagraphModel.build(filter_name, params)
        if model.fitted is not None and o.wavefront_rms != Optics().wavefront_rms:
            raise ConfigError(
                f"scene: [optics] wavefront_rms is {o.wavefront_rms:g}, but the effective optics of {filter_name} have "
                'their own static wavefront; set [optics] stop = "geometric", or omit wavefront_rms.'
            )
        return cls(scene, model, seed)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0x119A7, *key])

    def wavefront(self, exposure: Exposure) -> Wavefront:
        """Wavefront of an exposure: the telescope's, its drift since the first roll, and a little of its own."""
        o = self.scene.optics
        wavefront = self.model.wavefront
        first_roll = OBSERVATIONS[exposure.coronagraph.filter].science[0]
        if exposure.is_reference:
            wavefront = drifted(wavefront, o.drift_reference, self._rng(1))
        elif exposure.observation != first_roll:
            wavefront = drifted(wavefront, o.drift_roll, self._rng(2))
        return drifted(wavefront, o.drift_exposure, self._rng(3, exposure.index))

    def light(self, exposure: Exposure) -> Light:
        """Make the image of one exposure."""
        c, scene = exposure.coronagraph, self.scene
        pa_y = pa_of_detector_y(exposure.roll, V3_IDEAL_Y_ANGLE)
        change = self._rng(4, exposure.index).standard_normal()
        level = scene.background_level(c.filter) * (1.0 + scene.background.drift * float(change))
        image = thermal_background(c, level, glow=scene.background.glow)
        if exposure.is_background:
            return Light(image, pa_y, None, (), level, 0.0, 0.0)
        wavefront = self.wavefront(exposure)
        flux = scene.star_flux(c.filter) * (scene.reference.brightness if exposure.is_reference else 1.0)
        star = self._source("star", flux, exposure.star_offset, wavefront, self.model)
        sources = self._image_of(star, wavefront, self.model)
        companions: tuple[Source, ...] = ()
        if not exposure.is_reference:
            companions = self._companions(exposure, pa_y, wavefront)
            for companion in companions:
                sources += self._image_of(companion, wavefront, self.off_axis)
            if scene.disk.contrast > 0.0:
                sources += self._disk(scene.disk, scene.disk.contrast * flux, exposure, pa_y, wavefront)
        drift = Wavefront(wavefront.opd - self.model.wavefront.opd)
        return Light(
            image + sources * field_stop(c), pa_y, star, companions, level, wavefront.rms_nm, drift.rms_nm
        )  # fmt: skip

    def _source(
        self, name: str, flux: float, offset: tuple[float, float], wavefront: Wavefront, model: CoronagraphModel
    ) -> Source:
        c = self.model.coronagraph
        x = c.reference_point[0] + offset[0] / c.pixel_scale[0]
        y = c.reference_point[1] + offset[1] / c.pixel_scale[1]
        return Source(name, flux, (x, y), offset, float(model.energy(offset, wavefront=wavefront)))

    def _image_of(self, source: Source, wavefront: Wavefront, model: CoronagraphModel) -> FloatArray:
        scale = source.flux * 1e-6 / model.coronagraph.pixel_area
        return np.asarray(scale * model.psf(source.offset, wavefront=wavefront))

    def _companions(self, exposure: Exposure, pa_y: float, wavefront: Wavefront) -> tuple[Source, ...]:
        out = []
        for companion in self.scene.companions:
            dx, dy = detector_offset(companion.separation, companion.position_angle, pa_y)
            offset = (float(dx) + exposure.star_offset[0], float(dy) + exposure.star_offset[1])
            flux = self.scene.companion_flux(companion, exposure.coronagraph.filter)
            out.append(self._source(companion.name, flux, offset, wavefront, self.off_axis))
        return tuple(out)

    def _disk(self, disk: Disk, flux: float, exposure: Exposure, pa_y: float, wavefront: Wavefront) -> FloatArray:
        """Image of the disk, MJy/sr: coarse off-axis images of points drawn from its brightness distribution."""
        c = exposure.coronagraph
        separation, pa = disk_points(disk, self._rng(5))
        dx, dy = detector_offset(separation, pa, pa_y)
        image = np.zeros(c.shape)
        wavefront = Wavefront(wavefront.opd[:: self._step, :: self._step])
        for x, y in zip(dx + exposure.star_offset[0], dy + exposure.star_offset[1], strict=True):
            px, py = c.reference_point[0] + x / c.pixel_scale[0], c.reference_point[1] + y / c.pixel_scale[1]
            corner = (round(px) - _STAMP // 2, round(py) - _STAMP // 2)
            phase = (float(px - round(px)), float(py - round(py)))
            stamp = self._coarse.off_axis_psf((float(x), float(y)), size=_STAMP, phase=phase, wavefront=wavefront)
            _add_stamp(image, stamp, corner)
        return np.asarray(image * (flux / disk.sources * 1e-6 / c.pixel_area))


def disk_points(disk: Disk, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw points from a disk's brightness distribution: separation [arcsec] and position angle [deg], (n,) each."""
    phi = (np.arange(disk.sources) + rng.random(disk.sources)) / disk.sources * 2 * np.pi
    r = np.abs(disk.radius + rng.standard_normal(disk.sources) * disk.width / 2.3548)
    major, minor = r * np.cos(phi), r * np.sin(phi) * np.cos(np.radians(disk.inclination))
    return np.hypot(major, minor), np.asarray(disk.position_angle + np.degrees(np.arctan2(minor, major)))


def _add_stamp(image: FloatArray, stamp: FloatArray, corner: tuple[int, int]) -> None:
    """Add `stamp` to `image` (in place) with its first pixel at `corner` (x, y), cut at the image's edges."""
    x0, y0 = corner
    ny, nx = image.shape
    ya, yb = max(y0, 0), min(y0 + stamp.shape[0], ny)
    xa, xb = max(x0, 0), min(x0 + stamp.shape[1], nx)
    if ya < yb and xa < xb:
        image[ya:yb, xa:xb] += stamp[ya - y0 : yb - y0, xa - x0 : xb - x0]
