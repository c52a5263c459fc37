"""The coronagraph model: images and throughput of a point source anywhere in the field."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.geometry import ARCSEC, offset_grid
from lyot.instrument import Coronagraph, coronagraph
from lyot.kept_arrays import Arrays, remembered
from lyot.optics import field as _field
from lyot.optics import propagate
from lyot.optics.fitted import FittedOptics, fitted_optics
from lyot.optics.params import OpticsParams
from lyot.optics.pupil import CIRCUMSCRIBED_DIAMETER, Pupil, jwst_pupil
from lyot.optics.stops import stop_of
from lyot.optics.throughput import ThroughputTable, throughput_table
from lyot.optics.wavefront import Wavefront, realistic_wavefront

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
Operator = Callable[[ComplexArray], ComplexArray]


@dataclass(frozen=True)
class CoronagraphModel:
    """Physical model of a MIRI coronagraph; create it with `CoronagraphModel.build`.

    Images are normalized so that a source far from the mask's boundaries, with the Lyot stop in place, sums to 1 over
    an infinite aperture: ``flux_Jy * 1e-6 / pixel_area_sr * psf`` is an image in MJy/sr on the photometric scale of
    the products. Matrices and images that do not depend on the source are computed on first use and kept.

    Attributes
    ----------
    coronagraph : lyot.instrument.Coronagraph
        The instrument's table entry.
    params : OpticsParams
        How it is modeled.

    Examples
    --------
    A coarse model: the mask takes most of the light of a source at its center, and hardly any 4 arcsec from it:

    >>> from lyot.optics import CoronagraphModel, OpticsParams
    >>> model = CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=1, pupil_pixels=64))
    >>> round(model.energy((0.0, 0.0)), 2), round(model.energy((3.0, 3.0)), 1)
    (0.04, 1.0)
    """

    coronagraph: Coronagraph
    params: OpticsParams = field(default_factory=OpticsParams)

    @classmethod
    def build(cls, filter_name: str | Coronagraph, params: OpticsParams | None = None) -> CoronagraphModel:
        """Model the coronagraph of a filter.

        Parameters
        ----------
        filter_name : str or Coronagraph
            F1065C, F1140C, F1550C or F2300C; or an entry of the instrument's table.
        params : OpticsParams, optional
            Default parameters if not given.

        Returns
        -------
        CoronagraphModel

        Raises
        ------
        UnknownNameError
            If there is no such coronagraphic filter.
        """
        table = filter_name if isinstance(filter_name, Coronagraph) else coronagraph(filter_name)
        return cls(table, params if params is not None else OpticsParams())

    # What does not depend on the source

    @cached_property
    def pupil(self) -> Pupil:
        """The telescope pupil, `pupil_pixels` samples across."""
        return jwst_pupil(self.params.pupil_pixels)

    @cached_property
    def lyot_stop(self) -> FloatArray:
        """Transmission of the Lyot stop, sheared: (n, n) float64."""
        return stop_of(self.coronagraph, self.params, self.params.pupil_pixels)

    @cached_property
    def fitted(self) -> FittedOptics | None:
        """Wavefront and errors of the mask that belong to the effective stop; None with any other."""
        p = self.params
        return fitted_optics(p.fitted_optics) if p.stop == "effective" and self.coronagraph.kind == "4QPM" else None

    @cached_property
    def wavefront(self) -> Wavefront:
        """The model's own wavefront error, used where none is given."""
        p = self.params
        if self.fitted is not None:
            return Wavefront(self.fitted.wavefront(p.pupil_pixels))
        if p.wavefront_rms == 0:
            return Wavefront.flat(p.pupil_pixels)

        def draw() -> Arrays:  # poppy, which has the Zernike terms, takes two seconds to import
            return {"opd": realistic_wavefront(p.wavefront_seed, p.wavefront_rms, npix=p.pupil_pixels).opd}

        content = {"seed": p.wavefront_seed, "rms": p.wavefront_rms, "npix": p.pupil_pixels}
        return Wavefront(remembered("wavefront", content, draw, room=Path(__file__).parent)["opd"])

    @cached_property
    def wavelengths(self) -> FloatArray:
        """Wavelengths that sample the band (a top hat of the table's mean and width), m: (n,) float64."""
        n, c = self.params.n_wavelengths, self.coronagraph
        return np.asarray((c.wavelength + c.bandwidth * ((np.arange(n) + 0.5) / n - 0.5)) * 1e-6)

    @cached_property
    def weights(self) -> FloatArray:
        """Fraction of the detected photons at each wavelength, for flux density ~ frequency ** spectral_index: (n,)."""
        w = self.wavelengths ** -(self.params.spectral_index + 1.0)
        return np.asarray(w / w.sum())

    @cached_property
    def _masks(self) -> list[Operator]:
        """The focal-plane mask at each wavelength, as an operator from the pupil to the Lyot plane."""
        c, xi = self.coronagraph, self.pupil.coordinates
        half = _field.window_half_width(c)
        if c.kind == "4QPM":
            errors = (0.0, 0j) if self.fitted is None else (self.fitted.phase_error, self.fitted.leak)
            return [
                propagate.phase_mask(
                    xi, half_width=half, wavelength=w, design_wavelength=c.design_wavelength * 1e-6,
                    phase_error=errors[0], leak=errors[1],
                )
                for w in self.wavelengths
            ]  # fmt: skip
        return [
            propagate.opaque_spot(xi, half_width=half, wavelength=w, radius=c.spot_radius, bar_width=c.bar_width)
            for w in self.wavelengths
        ]

    @cached_property
    def full_energy(self) -> float:
        """Energy that passes the Lyot stop without a mask, pupil units: images are divided by it."""
        return float(((self.pupil.amplitude * self.lyot_stop) ** 2).sum())

    @property
    def charge_diffusion(self) -> float:
        """Gaussian sigma of charge diffusion, arcsec."""
        return self.params.charge_diffusion if self.fitted is None else self.fitted.charge_diffusion

    @cached_property
    def image_step(self) -> float:
        """Spacing of image samples before integration over pixels, arcsec."""
        resolution = self.wavelengths.min() / self.pupil_diameter / ARCSEC
        return float(resolution / self.params.samples_per_resolution)

    @property
    def pupil_diameter(self) -> float:
        """Circumscribed diameter of the pupil, m."""
        return CIRCUMSCRIBED_DIAMETER

    # Propagation

    def _entrance(self, offset: tuple[float, float], k: int, wavefront: Wavefront | None) -> ComplexArray:
        """Field in the pupil of a source at `offset` (dx, dy) arcsec along the detector's axes, at wavelength k."""
        opd = (self.wavefront if wavefront is None else wavefront).opd
        if opd.shape != self.pupil.amplitude.shape:
            raise InputError(
                f"wavefront: the map has {opd.shape[0]} samples across, the pupil of the model "
                f"{self.params.pupil_pixels}; generate it with npix of the model."
            )
        u, v = _field.to_mask_frame(float(offset[0]), float(offset[1]), self.coronagraph.boundary_tilt)
        xi, wave = self.pupil.coordinates, self.wavelengths[k]
        tilt = 2j * np.pi * ARCSEC / wave * xi
        phase = np.exp(tilt * v)[:, None] * np.exp(tilt * u)[None, :]
        return np.asarray(self.pupil.amplitude * phase * np.exp(2j * np.pi / wave * opd))

    def lyot_field(self, offset: tuple[float, float], k: int, *, wavefront: Wavefront | None = None) -> ComplexArray:
        """Field behind the Lyot stop of a point source, at one wavelength.

        Parameters
        ----------
        offset : (dx, dy)
            Of the source from the mask center along the detector's x and y, arcsec.
        k : int
            Index in `wavelengths`.
        wavefront : Wavefront, optional
            The model's own by default.

        Returns
        -------
        (n, n) complex128 ndarray
            On the pupil grid, in the mask frame; amplitude 1 in an unobstructed pupil without mask.

        Raises
        ------
        InputError
            If the wavefront has another number of samples than the pupil.
        """
        return self.behind_mask(self._entrance(offset, k, wavefront), k)

    def behind_mask(self, entrance: ComplexArray, k: int) -> ComplexArray:
        """Field behind the Lyot stop of any field in the pupil, at one wavelength; linear in the field.

        Parameters
        ----------
        entrance : (n, n) complex128 ndarray
            Field in the entrance pupil, on the pupil grid, in the mask frame.
        k : int
            Index in `wavelengths`.

        Returns
        -------
        (n, n) complex128 ndarray
        """
        return np.asarray(self._masks[k](entrance) * self.lyot_stop)

    def energy(self, offset: tuple[float, float], *, wavefront: Wavefront | None = None) -> float:
        """Throughput of mask and Lyot stop for a point source, averaged over the band.

        Parameters
        ----------
        offset : (dx, dy)
            Of the source from the mask center along the detector's x and y, arcsec.
        wavefront : Wavefront, optional
            The model's own by default.

        Returns
        -------
        float
            Relative to the same pupil and stop without the mask: 1 far from the mask boundaries.

        Raises
        ------
        InputError
            If the wavefront has another number of samples than the pupil.
        """
        total = 0.0
        for k, weight in enumerate(self.weights):
            passed = self.lyot_field(offset, k, wavefront=wavefront)
            total += weight * float((passed.real**2 + passed.imag**2).sum())
        return float(total / self.full_energy)

    def _image(
        self, offset: tuple[float, float], dx: FloatArray, dy: FloatArray, wavefront: Wavefront | None
    ) -> FloatArray:
        """Light on pixels centered at (dx, dy) arcsec from the mask center."""
        c = self.coronagraph
        u, v = _field.to_mask_frame(dx, dy, c.boundary_tilt)
        grid = _field.sample_grid(u, v, step=self.image_step)
        image = np.zeros(grid.shape)
        for k, (wave, weight) in enumerate(zip(self.wavelengths, self.weights, strict=True)):
            lyot = self.lyot_field(offset, k, wavefront=wavefront)
            to_v = propagate.fourier_matrix(grid.v, self.pupil.coordinates, wave)
            to_u = propagate.fourier_matrix(grid.u, self.pupil.coordinates, wave)
            amplitude = to_v @ lyot @ to_u.T
            image += weight * self.pixel_solid_angle(wave) * (amplitude.real**2 + amplitude.imag**2)
        response = _field.pixel_response(grid, c, self.charge_diffusion)
        return _field.on_pixels(image / self.full_energy, response, grid, u, v)

    def pixel_solid_angle(self, wave: float) -> float:
        """Pixel area in units of (wavelength / pupil step)^2.

        With this factor the sum of an image over all pixels is the energy in the pupil.

        Parameters
        ----------
        wave : float
            Wavelength, m.

        Returns
        -------
        float
        """
        sx, sy = self.coronagraph.pixel_scale
        return float(sx * sy * (ARCSEC * self.pupil.step / wave) ** 2)

    # Images

    def psf(
        self,
        offset: tuple[float, float],
        *,
        shape: tuple[int, int] | None = None,
        center: tuple[float, float] | None = None,
        wavefront: Wavefront | None = None,
    ) -> FloatArray:
        """Image of a point source behind the coronagraph.

        Parameters
        ----------
        offset : (dx, dy)
            Of the source from the mask center along the detector's x and y, arcsec.
        shape : (ny, nx), optional
            Of the image; the subarray's by default.
        center : (x, y), optional
            0-based pixel position of the mask center; the instrument's reference point by default.
        wavefront : Wavefront, optional
            The model's own by default.

        Returns
        -------
        (ny, nx) float64 ndarray
            Light per pixel, as a fraction of what a source far off the mask gives in an infinite aperture. No NaN; the
            field stop cuts the light in the mask's plane, its shadow on the detector is `field_stop_mask`.
        """
        c = self.coronagraph
        dx, dy = offset_grid(shape or c.shape, center or c.reference_point)
        return self._image(offset, dx * c.pixel_scale[0], dy * c.pixel_scale[1], wavefront)

    def off_axis_psf(
        self,
        offset: tuple[float, float],
        *,
        size: int = 41,
        phase: tuple[float, float] = (0.0, 0.0),
        wavefront: Wavefront | None = None,
    ) -> FloatArray:
        """Small image centered on the source, with the mask at its position relative to it.

        Parameters
        ----------
        offset : (dx, dy)
            Of the source from the mask center, arcsec along the detector's axes.
        size : int
            Side of the stamp, pixels, odd.
        phase : (x, y)
            Position of the source relative to the center of the stamp's middle pixel, pixels. To inject at (x, y): take
            ``phase = (x - round(x), y - round(y))`` and add the stamp centered on pixel (round(x), round(y)).
        wavefront : Wavefront, optional
            The model's own by default.

        Returns
        -------
        (size, size) float64 ndarray
            As for `psf`.

        Examples
        --------
        >>> import numpy as np
        >>> from lyot.optics import CoronagraphModel, OpticsParams
        >>> model = CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=1, pupil_pixels=64))
        >>> image = model.off_axis_psf((3.0, 3.0), size=61)
        >>> image.shape, np.unravel_index(image.argmax(), image.shape) == (30, 30), bool(0.9 < image.sum() < 1)
        ((61, 61), True, True)
        """
        if size < 1 or size % 2 == 0:
            raise InputError(f"off_axis_psf: size must be a positive odd number of pixels, got {size}.")
        c, half = self.coronagraph, size // 2
        dx, dy = offset_grid((size, size), (half + phase[0], half + phase[1]))
        return self._image(offset, offset[0] + dx * c.pixel_scale[0], offset[1] + dy * c.pixel_scale[1], wavefront)

    # Throughput

    @cached_property
    def _throughput(self) -> ThroughputTable:
        return throughput_table(self.coronagraph, self.params)

    def throughput_at(self, offset: tuple[float, float]) -> float:
        """Throughput for a source, interpolated in the table behind `throughput_map`.

        Parameters
        ----------
        offset : (dx, dy)
            Of the source from the mask center along the detector's x and y, arcsec.

        Returns
        -------
        float
            Of a perfect wavefront, relative to the same source without mask and field stop.
        """
        return float(self._throughput.at(np.asarray(float(offset[0])), np.asarray(float(offset[1]))))

    def throughput_map(self, *, step: float | None = None, field_stop: bool = True) -> FloatArray:
        """Throughput at every pixel of the subarray: flux in an infinite aperture relative to that without mask.

        It is that of a perfect wavefront; a realistic one changes it by less than 0.02 outside the inner working
        angle. It exceeds 1 by a few percent in places: the mask also carries light from the stop's margin into its
        opening.

        Parameters
        ----------
        step : float, optional
            Grid spacing near the mask's features, lambda/D. By default that of the table which the model keeps (0.33).
        field_stop : bool, optional
            With the field stop and the light that is lost along its edges; otherwise that of the mask alone, which is
            also the pattern of a uniform background.

        Returns
        -------
        (ny, nx) float64 ndarray
            NaN outside the field stop, if it is asked for.
        """
        table = self._throughput if step is None else throughput_table(self.coronagraph, self.params, step=step)
        kept = table.at(*_field.detector_offsets(self.coronagraph), field_stop=field_stop)
        if not field_stop:
            return kept
        return np.where(_field.field_stop_mask(self.coronagraph), kept, np.nan)
